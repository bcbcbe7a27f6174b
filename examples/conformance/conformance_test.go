package main

import (
	"net/http"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

var all = choose(regexp.MustCompile(""))

func TestNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, b := range all {
		if seen[b.String()] {
			t.Errorf("two behaviours are %q", b)
		}
		seen[b.String()] = true
	}
}

func TestMain(m *testing.M) {
	limit = 20 * time.Second // only turns a hang into a failure
	os.Exit(m.Run())
}

// A behaviour that differs from itself says nothing of another server.
func TestReferenceIsEqualToItself(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			want, got := show(reference, v, all), show(reference, v, all)
			for i, b := range all {
				if want[i] != got[i] {
					t.Errorf("%s\n%s", b, diff(want[i], got[i]))
				}
			}
		})
	}
}

// Contenders with a second engine are ours. One that says where it differs does so
// nowhere else, save in what describes a refusal where fasthttp reads requests, too.
func TestContendersWithTwoEngines(t *testing.T) {
	for _, v := range variants {
		var want []string
		for _, c := range contenders {
			if c.known == nil {
				continue
			}
			t.Run(c.name+"/"+v.name, func(t *testing.T) {
				if want == nil {
					want = show(reference, v, all)
				}
				got, read := show(c, v, all), slices.Contains(c.read, v.name)
				for i, b := range all {
					switch {
					case want[i] == got[i] || c.reason(b, v) != "":
					case !read || outcome(want[i]) != outcome(got[i]):
						t.Errorf("%s\n%s", b, diff(want[i], got[i]))
					}
				}
			})
		}
	}
}

// Each reason is one for something.
func TestReasonsAreNeeded(t *testing.T) {
	for reasons, v := range map[*map[string]string]variant{&knownMount: variants[0], &knownRead: variants[1]} {
		for name, reason := range *reasons {
			list := choose(regexp.MustCompile("^" + regexp.QuoteMeta(name) + "$"))
			if len(list) != 1 {
				t.Errorf("%d behaviours are %q", len(list), name)
				continue
			}
			c := contenders[1] // which differs wherever the other does
			if want, got := show(reference, v, list), show(c, v, list); want[0] == got[0] {
				t.Errorf("%s: is said to differ (%s), and does not", name, reason)
			}
		}
	}
}

// What a careless middleware does is seen where it is to be seen, and nowhere else.
func TestDifferencesAreSeen(t *testing.T) {
	careless := &contender{name: "careless", serve: func(s *http.Server, _ fasthttp.RequestHandler) server {
		next := s.Handler
		s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			u := *r.URL
			u.RawPath = ""
			r = r.WithContext(r.Context())
			r.URL = &u
			next.ServeHTTP(struct{ http.ResponseWriter }{w}, r)
		})
		return s
	}}
	for name, differs := range map[string]bool{
		"targets: root":                                        false,
		"targets: encoded slash keeps RawPath":                 true,
		"framing: a declared trailer":                          false,
		"streams: a flush sends the header":                    true,
		"hijack: a response of one's own":                      true,
		"control: what a writer can do":                        true,
		"life: three requests, one after the other":            false,
		"response body: WriteString and Write in turn":         true,
		"control: a context ends when its client goes":         false,
		"request line: a method that is no token":              false,
		"response header: 103 is sent at once":                 false,
		"life: ConnState of two requests":                      false,
		"handlers: ServeMux: an encoded slash in a path value": true,
	} {
		list := choose(regexp.MustCompile("^" + regexp.QuoteMeta(name) + "$"))
		if len(list) != 1 {
			t.Errorf("%d behaviours are %q", len(list), name)
			continue
		}
		want, got := show(reference, variants[0], list), show(careless, variants[0], list)
		if (want[0] != got[0]) != differs {
			t.Errorf("%s: differs %v, want %v\n%s", name, !differs, differs, diff(want[0], got[0]))
		}
	}
}
