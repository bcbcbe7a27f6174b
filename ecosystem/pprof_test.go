package ecosystem

import (
	"bytes"
	"encoding/json"
	"expvar"
	"net/http"
	"net/http/pprof"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

// The profiles are read by what go tool pprof reads them by.
func TestPprof(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	each(t, mux, func(s *server) {
		s.want(s.get("/debug/pprof/"), 200, "goroutine")
		s.want(s.get("/debug/pprof/cmdline"), 200, "ecosystem")
		s.want(s.get("/debug/pprof/goroutine?debug=2"), 200, "testing.tRunner")
		units := map[string]string{"heap": "bytes", "goroutine": "count"}
		if s.protocol == plain { // it takes a second
			units["profile?seconds=1"] = "nanoseconds"
		}
		for path, unit := range units {
			got := s.get("/debug/pprof/" + path)
			p, err := profile.Parse(bytes.NewReader([]byte(got.text)))
			if err != nil {
				s.Errorf("%s: %v: %.200q", path, err, got.text)
				continue
			}
			if err := p.CheckValid(); err != nil || p.SampleType[len(p.SampleType)-1].Unit != unit {
				s.Error(path, err, p.SampleType)
			}
		}
		if got := s.get("/debug/pprof/trace?seconds=0.1"); !strings.HasPrefix(got.text, "go 1.") {
			s.Errorf("%.20q", got.text)
		}
	})
}

var visits = expvar.NewInt("visits")

func TestExpvar(t *testing.T) {
	t.Parallel()
	each(t, http.DefaultServeMux, func(s *server) { // where expvar puts itself
		visits.Add(1)
		got := s.get("/debug/vars")
		var vars struct {
			Visits   int64
			Cmdline  []string
			Memstats struct{ Alloc uint64 }
		}
		if err := json.Unmarshal([]byte(got.text), &vars); err != nil {
			s.Fatalf("%v: %.200q", err, got.text)
		}
		if vars.Visits != visits.Value() || len(vars.Cmdline) == 0 || vars.Memstats.Alloc == 0 {
			s.Error(vars)
		}
	})
}
