package nethttp

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/lifecycle/rehearsal"
)

// runServer serves srv on a listener of its own, and ends it with the test.
func runServer(t testing.TB, srv *Server) (addr string, ended <-chan error) {
	t.Helper()
	if srv.ErrorLog == nil {
		srv.ErrorLog = log.New(io.Discard, "", 0)
	}
	ln := listenTCP(t)
	end := make(chan error, 1)
	go func() { end <- srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	return ln.Addr().String(), end
}

func says(text string) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		fmt.Fprint(ctx, text)
		ctx.VisitUserValues(func(name []byte, value any) { fmt.Fprintf(ctx, " %s=%v", name, value) })
	}
}

func TestServerNative(t *testing.T) {
	srv := &Server{Handler: http.HandlerFunc(sayNet)}
	for _, pattern := range []string{"GET /hot/{id}", "GET /hot/fixed", "POST /hot/{id}/sub", "/files/{path...}", "/tree/", "GET /{$}"} {
		srv.Native(pattern, says(pattern))
	}
	addr, _ := runServer(t, srv)
	const net = "net"
	for _, tt := range []struct{ method, target, want string }{
		{"GET", "/hot/1", "GET /hot/{id} id=1"},
		{"GET", "/hot/1?q=/x//y", "GET /hot/{id} id=1"},
		{"GET", "/hot/a%2Fb%20c", "GET /hot/{id} id=a/b c"},
		{"GET", "http://" + addr + "/hot/1", "GET /hot/{id} id=1"},
		{"POST", "/hot/1", net}, // whose handler says 405, or not
		{"PUT", "/hot/fixed", net},
		{"GET", "/hot/fixed", "GET /hot/fixed"},
		{"GET", "/hot/%66ixed", "GET /hot/fixed"},
		{"POST", "/hot/1/sub", "POST /hot/{id}/sub id=1"},
		{"GET", "/hot/", net},
		{"GET", "/hot/%zz", ""}, // which http.Server refuses
		{"GET", "/hot//1", net},
		{"GET", "/hot/../hot/1", net},
		{"GET", "/hot/%2e%2e", net},
		{"GET", "/files/", "/files/{path...} path="},
		{"GET", "/files/a/b%20c/", "/files/{path...} path=a/b c/"},
		{"GET", "/files", net},
		{"GET", "/tree", net},
		{"GET", "/tree/", "/tree/"},
		{"GET", "/tree/a/b", "/tree/"},
		{"GET", "/", "GET /{$}"},
		{"GET", "/other", net},
	} {
		for _, before := range []string{"", "/other"} { // also on a connection that the http.Server has
			c := dialAddr(t, addr)
			if before != "" {
				c.get(before)
			}
			got := c.do(tt.method, tt.target, "").text
			switch {
			case tt.want == net && strings.HasPrefix(got, "net "), got == tt.want:
			case tt.want == "" && strings.HasPrefix(got, "400 "):
			default:
				t.Errorf("%s %s: %q; want %q", tt.method, tt.target, got, tt.want)
			}
		}
	}
	c := dialAddr(t, addr)
	if got := c.do("HEAD", "/hot/1", ""); got.ContentLength != int64(len("GET /hot/{id} id=1")) || got.Header.Get("Server") != "" {
		t.Errorf("HEAD: %v", got.Response)
	}
}

func TestServerNativeMistakes(t *testing.T) {
	srv := &Server{}
	srv.Native("/a/{x}", sayNative)
	for _, tt := range []struct{ pattern, want string }{
		{"", "invalid pattern"},
		{"a", "missing /"},
		{"G@T /", "invalid method"},
		{"/{", "bad wildcard"},
		{"/{x}/{x}", "duplicate wildcard"},
		{"/a/{y}", "conflicts with pattern"},
		{"/{y}/b", "conflicts with pattern"},
		{"example.com/", "for all hosts"},
	} {
		if got := panicOf(func() { srv.Native(tt.pattern, sayNative) }); !strings.Contains(got, tt.want) {
			t.Errorf("Native(%q): %q; want %q", tt.pattern, got, tt.want)
		}
	}
	if got := panicOf(func() { srv.Native("/nil", nil) }); !strings.Contains(got, "nil handler of /nil") {
		t.Errorf("Native of nil: %q", got)
	}
	addr, _ := runServer(t, srv)
	dialAddr(t, addr).get("/a/1")
	if got := panicOf(func() { srv.Native("/late", sayNative) }); !strings.Contains(got, "after Serve: /late") {
		t.Errorf("Native after Serve: %q", got)
	}
}

func panicOf(f func()) (text string) {
	defer func() {
		if v := recover(); v != nil {
			text = fmt.Sprint(v)
		}
	}()
	f()
	return ""
}

// What routes find is what http.ServeMux finds among the same patterns, as far as it does
// not redirect, with the same values.
func FuzzRoutes(f *testing.F) {
	for _, target := range []string{
		"/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/a/x/c", "/x/y/z", "/files/a/b", "/files/", "/end/", "/end/x",
		"/%61/b", "/a/%2f", "/a//b", "/a/./b", "/a/..", "/a?x=/b", "/a%zz", "/a/b%20c/d?", "/a/%2e%2e/x", "/a/...", "/x/", "/%",
	} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			f.Add(method, target)
		}
	}
	patterns := []string{
		"/a/b", "GET /a/{x}", "/a/{x}/c", "/{x}/{y}/z", "GET /{x}/b", "POST /files/{path...}", "/files/a/", "HEAD /a/b", "/", "/{a}",
		"/end/{$}", "/a/b/", "/{x}/", "/%61b/{q}/{r...}", "DELETE /", "GET\t/x/{x}/{$}", "POST /a/{x}/{y...}", "GET /{$}", "/{a}/{b}/{c...}",
	}
	tables := []*table{newTable([]string{"/a/b", "GET /a", "HEAD /a", "/x/y/z"})} // of which no tree is needed
	for i := range patterns {                                                     // each with those after it that go with it
		tables = append(tables, newTable(append(slices.Clone(patterns[i:]), patterns[:i]...)))
	}
	f.Fuzz(func(t *testing.T, method, target string) {
		u, err := url.ParseRequestURI(target)
		if method == "" || method == http.MethodConnect || err != nil || !strings.HasPrefix(target, "/") {
			tables[0].ours.find(method, target) // no panic
			return
		}
		r := &http.Request{Method: method, URL: u}
		for _, tb := range tables {
			tb.compare(t, r, target)
		}
	})
}

// table has the same patterns in routes and in http.ServeMux.
type table struct {
	ours routes
	mux  *http.ServeMux
}

func newTable(patterns []string) *table {
	tb := &table{mux: http.NewServeMux()}
	for _, pattern := range patterns {
		if panicOf(func() { tb.mux.HandleFunc(pattern, func(http.ResponseWriter, *http.Request) {}) }) == "" {
			tb.ours.add(pattern, sayNative)
		}
	}
	return tb
}

func (tb *table) compare(t *testing.T, r *http.Request, target string) {
	t.Helper()
	h, pattern := tb.mux.Handler(r)
	if _, ok := h.(http.HandlerFunc); !ok {
		pattern = "" // a redirect
	}
	rt, got := tb.ours.find(r.Method, target), ""
	if rt != nil {
		got = rt.path
	}
	if path := r.URL.EscapedPath(); got == "" && (dotted(path) || !strings.HasPrefix(target, path)) {
		return // left to Handler: the path is not plain, or not escaped as it should be
	}
	if want := pattern[min(len(pattern), strings.IndexByte(pattern+"/", '/')):]; got != want {
		t.Fatalf("%s %q: %q; http.ServeMux has %q", r.Method, target, got, pattern)
	}
	if rt == nil {
		return
	}
	tb.mux.ServeHTTP(nil, r)
	var ctx fasthttp.RequestCtx
	rt.values(&ctx, target)
	ctx.VisitUserValues(func(name []byte, value any) {
		if want := r.PathValue(string(name)); value != want {
			t.Errorf("%s %q by %q: %s is %q; http.ServeMux has %q", r.Method, target, pattern, name, value, want)
		}
	})
}

// dotted reports whether a segment stands for dots or a slash.
func dotted(path string) bool {
	return slices.ContainsFunc(strings.Split(path, "/"), func(segment string) bool {
		plain, err := url.PathUnescape(segment)
		return err != nil || plain == "." || plain == ".." || plain == "/"
	})
}

// A panic of a native handler ends its connection, and nothing else, in either server.
func TestServerNativePanic(t *testing.T) {
	var logged syncBuffer
	srv := &Server{Handler: http.HandlerFunc(sayNet), ErrorLog: log.New(&logged, "", 0)}
	srv.Native("/panic", func(ctx *fasthttp.RequestCtx) {
		ctx.SetBodyString("half")
		panic("oh no")
	})
	srv.Native("/abort", func(*fasthttp.RequestCtx) { panic(http.ErrAbortHandler) })
	srv.Native("/fine", sayNative)
	addr, _ := runServer(t, srv)
	for _, before := range []string{"/fine", "/net"} {
		for _, path := range []string{"/panic", "/abort"} {
			c := dialAddr(t, addr)
			c.send(request("GET", before, "") + request("GET", before, "") + request("GET", path, "") + request("GET", before, ""))
			for range 2 {
				if got := c.reply("GET"); got.StatusCode != http.StatusOK {
					t.Errorf("what came before: %v", got.Status)
				}
			}
			if b, err := c.r.ReadByte(); err == nil {
				t.Errorf("read %q behind a panic", b)
			}
		}
	}
	got := logged.String()
	if strings.Count(got, "http: panic serving 127.0.0.1:") != 2 || strings.Count(got, "oh no") != 2 || !strings.Contains(got, "goroutine ") {
		t.Errorf("logged %q", got)
	}
	for began := time.Now(); srv.Life.Counts().Total() > 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("connections are left: %+v", srv.Life.Conns())
		}
	}
}

// Each connection that is new in a server ends in it, so that who counts comes to nothing.
func TestServerConnStateMoves(t *testing.T) {
	var seen states
	srv := &Server{Handler: http.HandlerFunc(sayNet), ConnState: seen.note}
	srv.Native("/native", sayNative)
	addr, _ := runServer(t, srv)
	c := dialAddr(t, addr)
	c.get("/native")
	c.get("/net")
	for range nativesInARow + 1 {
		c.get("/native")
	}
	_ = c.Close()
	idle := "new active idle active"
	for range nativesInARow - 1 {
		idle += " idle active"
	}
	seen.want(t, "[new active idle active hijacked "+idle+" hijacked new active idle closed]")
}

// The shutdown loses nothing of either kind, on connections that have one or both.
func TestServerRehearsal(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 2
	}
	for _, native := range []bool{false, true} {
		t.Run(fmt.Sprintf("native=%v", native), func(t *testing.T) {
			const pause = 3 * time.Millisecond
			rehearsal.Run(t, rehearsal.Plan{
				Start: func() (*rehearsal.Target, error) {
					srv := &Server{Handler: http.HandlerFunc(sayNet), ReadTimeout: time.Minute}
					srv.Life.LastCall = patience // for clients that get no CPU; all of them ask again
					if native {
						srv.Native("/native", sayNative)
					}
					ln := listenTCP(t)
					ended, down := make(chan error, 1), make(chan error, 1)
					go func() { ended <- srv.Serve(ln) }()
					for len(srv.Life.ListenAddrs()) == 0 { // a Serve that comes after Shutdown serves nobody
						time.Sleep(time.Millisecond)
					}
					return &rehearsal.Target{
						Addr:     ln.Addr().String(),
						Shutdown: func() error { go func() { down <- srv.Shutdown(context.Background()) }(); return nil },
						Wait: func() error {
							wantClosed(t, ended)
							return <-down
						},
					}, nil
				},
				Clients: []rehearsal.Clients{
					{Kind: rehearsal.KeepAlive, Count: 16, Path: "/net", Pause: pause, Body: 100},
					{Kind: rehearsal.KeepAlive, Count: 8, Path: "/native", Turns: []string{"/net"}, Pause: pause, Body: 100},
					{Kind: rehearsal.Pipelined, Count: 4, Path: "/native", Pause: pause, Body: 10},
				},
				Rounds: rounds,
			})
		})
	}
}

// What Life has works beside: parking, and the state of connections of both servers.
func TestServerLifeOfBoth(t *testing.T) {
	srv := &Server{Handler: http.HandlerFunc(sayNet), Life: lifecycle.Server{ParkAfter: time.Millisecond}}
	srv.Native("/native", sayNative)
	addr, ended := runServer(t, srv)
	net, native := dialAddr(t, addr), dialAddr(t, addr)
	for range 3 {
		net.get("/net")
		native.get("/native")
		for began := time.Now(); srv.Life.Counts().Parked != 2; time.Sleep(time.Millisecond) {
			if time.Since(began) > patience {
				t.Fatalf("not parked: %+v", srv.Life.Conns())
			}
		}
	}
	srv.Life.Drain()
	wantClosed(t, ended)
	net.wantEOF()
	native.wantEOF()
}
