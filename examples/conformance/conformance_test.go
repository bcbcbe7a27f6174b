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

// Contenders with a second engine are ours. One that says where it differs does so
// there, and nowhere else, save in what describes a refusal where fasthttp reads
// requests, too. Two variants or contenders at a time have the one compute while the
// other waits.
func TestServers(t *testing.T) {
	t.Parallel()
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			want := show(reference, v, all)
			// A behaviour that differs from itself says nothing of another server.
			t.Run(reference.name, func(t *testing.T) {
				t.Parallel()
				got := show(reference, v, all)
				for i, b := range all {
					if want[i] != got[i] {
						t.Errorf("%s\n%s", b, diff(want[i], got[i]))
					}
				}
			})
			for _, c := range contenders {
				if c.known == nil {
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					got, read := show(c, v, all), slices.Contains(c.read, v.name)
					needed := neededReasons(c, v)
					for i, b := range all {
						switch same := want[i] == got[i]; {
						case same && needed[b.String()] != "":
							t.Errorf("%s: is said to differ (%s), and does not", b, needed[b.String()])
						case same || c.reason(b, v) != "":
						case !read || outcome(want[i]) != outcome(got[i]):
							t.Errorf("%s\n%s", b, diff(want[i], got[i]))
						}
					}
				})
			}
		})
	}
}

// neededReasons are the reasons for what c has to differ in. Others share them, and
// differ in less.
func neededReasons(c *contender, v variant) map[string]string {
	if c == contenders[1] {
		switch v {
		case variants[0]:
			return knownMount
		case variants[1]:
			return knownRead
		}
	}
	return nil
}

func TestReasonsAreForBehaviours(t *testing.T) {
	for _, reasons := range []map[string]string{knownMount, knownRead} {
		for name := range reasons {
			if !slices.ContainsFunc(all, func(b *behaviour) bool { return b.String() == name }) {
				t.Errorf("no behaviour is %q", name)
			}
		}
	}
}

// What a careless middleware does is seen where it is to be seen, and nowhere else.
func TestDifferencesAreSeen(t *testing.T) {
	t.Parallel()
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
	differs := map[string]bool{
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
	}
	var list []*behaviour
	for _, b := range all {
		if _, is := differs[b.String()]; is {
			list = append(list, b)
		}
	}
	if len(list) != len(differs) {
		t.Errorf("of %d names, %d are a behaviour's", len(differs), len(list))
	}
	want, got := show(reference, variants[0], list), show(careless, variants[0], list)
	for i, b := range list {
		if (want[i] != got[i]) != differs[b.String()] {
			t.Errorf("%s: differs %v, want %v\n%s", b, !differs[b.String()], differs[b.String()], diff(want[i], got[i]))
		}
	}
}
