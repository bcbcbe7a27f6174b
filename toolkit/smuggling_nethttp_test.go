package toolkit

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// ServeHTTP is record for net/http.
func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		http.Error(w, "Bad Request", http.StatusBadRequest) // nothing has been read that counts
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, fmt.Sprintf("%s %s %s %s", req.Method, req.RequestURI, req.Host, body))
}

// engines are the ways on which a request may come to be read: by fasthttp or net/http
// alone, and on a mixed server, where a request before it decides by whom.
func engines(seen *recorder) map[string]struct {
	b      *Builder
	before string
} {
	const toNative, toNet = "GET /first/native HTTP/1.1\r\nHost: t\r\n\r\n", "GET /first/net HTTP/1.1\r\nHost: t\r\n\r\n"
	skip := func(next fasthttp.RequestHandler) fasthttp.RequestHandler {
		return func(ctx *fasthttp.RequestCtx) {
			if !strings.HasPrefix(string(ctx.Path()), "/first/") {
				next(ctx)
			}
		}
	}
	recordNative := skip(func(ctx *fasthttp.RequestCtx) { seen.record(ctx) })
	recordNet := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/first/") {
			seen.ServeHTTP(w, r)
		}
	})
	native := func() *Builder {
		// Without HTTP/2, as its preface is one of the messages.
		return loopback().HTTP2(false).Use(func(fasthttp.RequestHandler) fasthttp.RequestHandler { return recordNative })
	}
	return map[string]struct {
		b      *Builder
		before string
	}{
		"fasthttp":                              {native(), ""},
		"net/http":                              {loopback().HTTP2(false).NetHTTP("/", recordNet), ""},
		"net/http, first":                       {native().Get("/first/native", hello).NetHTTP("/", recordNet), ""},
		"net/http, behind a native one":         {native().Get("/first/native", hello).NetHTTP("/", recordNet), toNative},
		"native, behind one for net/http":       {native().NetHTTP("/first/net", recordNet), toNet},
		"native, first":                         {native().NetHTTP("/first/net", recordNet), ""},
		"native, behind nine of its own":        {native().NetHTTP("/first/net", recordNet), toNet + strings.Repeat(toNative, 9)},
		"net/http, behind one and nine natives": {native().Get("/first/native", hello).NetHTTP("/", recordNet), toNet + strings.Repeat(toNative, 9)},
	}
}

// Nothing is read differently by the two engines, whichever gets it: of each message each
// reads what the others do, or refuses it, and then nothing that comes behind it.
func TestSmugglingNetHTTP(t *testing.T) {
	read := make(map[string]map[string][]string) // by message and engine
	for _, m := range corpus {
		read[m.name] = make(map[string][]string)
	}
	var mu sync.Mutex // guards read
	t.Run("read", func(t *testing.T) {
		for name := range engines(nil) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				var seen recorder
				e := engines(&seen)[name]
				r := run(t, e.b)
				for _, m := range corpus {
					before := strings.Count(e.before, "GET ")
					behind := m
					behind.raw = e.before + m.raw
					behind.want = append(slices.Repeat([]string{"GET "}, before), m.want...)
					_, _ = converse(t, r.ListenAddrs()[0], behind)
					for r.Counts().Total() > 0 { // a handler may be reading still
						time.Sleep(time.Millisecond)
					}
					mu.Lock()
					read[m.name][name] = same(seen.take())
					mu.Unlock()
				}
				r.finish()
			})
		}
	})
	refused := 0
	for _, m := range corpus {
		longest := read[m.name]["fasthttp"]
		for _, got := range read[m.name] {
			if len(got) > len(longest) {
				longest = got
			}
		}
		for name, got := range read[m.name] {
			if !slices.Equal(got, longest[:len(got)]) {
				t.Errorf("%s: %s reads %q, others %q", m.name, name, got, longest)
			}
			if strings.HasPrefix(name, "net/http") && m.then == byStrict && len(got) == 0 {
				refused++
			}
		}
	}
	t.Logf("net/http refuses %d of what Strict does", refused)
}

// same is what has been read, without what the two are known to make different things
// of, as they may: the case of a host; the port of a CONNECT's, whose Host has none; and
// the asterisk's OPTIONS, which http.Server answers itself.
func same(seen []string) (all []string) {
	for _, s := range seen {
		method, rest, _ := strings.Cut(s, " ")
		target, rest, _ := strings.Cut(rest, " ")
		host, body, _ := strings.Cut(rest, " ")
		switch {
		case method == "CONNECT":
			host = target
		case method == "OPTIONS" && target == "*":
			continue
		}
		all = append(all, strings.Join([]string{method, target, strings.ToLower(host), body}, " "))
	}
	return all
}
