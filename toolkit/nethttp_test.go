package toolkit

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/toolkit/nethttp"
)

// legacy is a net/http handler that says what it was asked for.
func legacy(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	fmt.Fprintf(w, "net %s %s %q %v", r.Method, r.RequestURI, body, err)
}

// mixed has both kinds of routes.
func mixed() *Builder {
	return loopback().
		Get("/native", answer("native")).
		Post("/native", func(ctx *fasthttp.RequestCtx) { fmt.Fprintf(ctx, "native %q", ctx.PostBody()) }).
		NetHTTP("/net/{path:*}", http.HandlerFunc(legacy))
}

func TestNetHTTPBothKindsOnOneConnection(t *testing.T) {
	r := run(t, mixed())
	c := r.dial()
	for range 3 {
		if got := c.get("/native").String(); got != "200 native" {
			t.Error(got)
		}
		if got := c.get("/net/a?b=c").String(); got != `200 net GET /net/a?b=c "" <nil>` {
			t.Error(got)
		}
		c.send("POST /net/x HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello")
		if got := c.reply("POST").String(); got != `200 net POST /net/x "hello" <nil>` {
			t.Error(got)
		}
		c.send("POST /native HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
		if got := c.reply("POST").String(); got != `200 native "hello"` {
			t.Error(got)
		}
	}
	for range 20 {
		if got := c.get("/native").String(); got != "200 native" {
			t.Error(got)
		}
	}
	if conns := r.Conns(); len(conns) != 1 || conns[0].Adopted || conns[0].Requests != 32 {
		t.Errorf("after many native requests: %+v", conns)
	}
	if got := c.get("/net/a").String(); !strings.HasPrefix(got, "200 net") {
		t.Error(got)
	}
	if conns := r.Conns(); len(conns) != 1 || !conns[0].Adopted {
		t.Errorf("after one for net/http: %+v", conns)
	}
	r.finish()
	c.wantEOF()
}

func TestNetHTTPRoutes(t *testing.T) {
	none := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "app "+r.RequestURI)
	}
	b := loopback().
		Get("/users/{id}", answer("one user")).
		Get("/files/{path:*}", answer("a file")).
		Any("/any", answer("any")).
		Handle("PROPFIND", "/dav", answer("dav")).
		NetHTTP("/files/api/{path:*}", http.HandlerFunc(legacy)).
		NetHTTP("/users/{id}", http.HandlerFunc(legacy))
	for _, withApp := range []bool{false, true} {
		if withApp {
			b.NetHTTP("/", http.HandlerFunc(none))
		}
		r := run(t, b)
		c := r.dial()
		for _, tt := range []struct{ method, target, want, app string }{
			{"GET", "/users/1", "200 one user", ""},
			{"GET", "/users/1?x=/files/api/y", "200 one user", ""},
			{"POST", "/users/1", `200 net POST /users/1 "" <nil>`, ""},
			{"GET", "/files/a/b", "200 a file", ""},
			{"GET", "/files/api/b", `200 net GET /files/api/b "" <nil>`, ""}, // the more specific one
			{"DELETE", "/any", "200 any", ""},
			{"PROPFIND", "/dav", "200 dav", ""},
			{"PROPFIND", "/users/1", `200 net PROPFIND /users/1 "" <nil>`, ""},
			{"MKCOL", "/users/1", `200 net MKCOL /users/1 "" <nil>`, ""}, // which no route names
			{"MKCOL", "/any", "200 any", ""},
			{"GET", "http://t/users/1", "200 one user", ""},
			{"PUT", "http://t/users/1", `200 net PUT http://t/users/1 "" <nil>`, ""},
			{"GET", "/livez", "200 ok\n", ""},
			{"GET", "/none", "404 Not Found", "418 app /none"},
			{"GET", "/any/", "301 ", "418 app /any/"},
			{"POST", "/files/a", "405 Method Not Allowed", "418 app /files/a"},
			{"OPTIONS", "/files/a", "200 ", "418 app /files/a"},
			{"GET", "http://t", "404 Not Found", "418 app http://t"},
		} {
			want := tt.want
			if withApp && tt.app != "" {
				want = tt.app
			}
			if got := c.do(tt.method, tt.target).String(); got != want {
				t.Errorf("app %v: %s %s: %q; want %q", withApp, tt.method, tt.target, got, want)
			}
		}
		r.finish()
	}
}

func TestNetHTTPMistakes(t *testing.T) {
	_, err := quiet().Addr("127.0.0.1:0").
		NetHTTP("/nil", nil).
		NetHTTP("no-slash", http.NotFoundHandler()).
		NetHTTP("/", http.NotFoundHandler()).
		NetHTTP("/", http.NotFoundHandler()).
		NetHTTP("/twice", http.NotFoundHandler()).
		NetHTTP("/twice", http.NotFoundHandler()).
		Build()
	for _, want := range []string{`NetHTTP("/nil"): nil handler`, `NetHTTP("no-slash"): `, `NetHTTP("/"): given twice`, `NetHTTP("/twice"): given twice`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

// What is around native routes is around those for net/http, once.
func TestNetHTTPIsLogged(t *testing.T) {
	var l logs
	r := run(t, loopback().Logger(l.logger()).MaxBodySize(100).
		Get("/native", answer("native")).
		NetHTTP("/net/{path:*}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/net/panic":
				panic("oh no")
			case "/net/teapot":
				w.WriteHeader(http.StatusTeapot)
			case "/net/id":
				_, _ = io.WriteString(w, r.Header.Get(HeaderRequestID))
			default:
				legacy(w, r)
			}
		})))
	c := r.dial()
	if got := c.get("/net/id", HeaderRequestID, "mine"); got.text != "mine" || got.Header.Get(HeaderRequestID) != "mine" {
		t.Errorf("%v %v", got, got.Header)
	}
	if got := c.get("/net/id", HeaderRequestID, "not sane\""); len(got.text) != 32 || got.Header.Get(HeaderRequestID) != got.text {
		t.Errorf("%v %v", got, got.Header)
	}
	c.get("/net/teapot")
	c.get("/native") // in the http.Server
	if got := c.do("GET", "/net/a", "Content-Length", "0"); got.StatusCode != 200 {
		t.Error(got)
	}
	c.send("GET /net/panic HTTP/1.1\r\nHost: t\r\n\r\n")
	c.wantEOF()
	c = r.dial()
	c.send("POST /net/a HTTP/1.1\r\nHost: t\r\nContent-Length: 101\r\n\r\n")
	if got := c.reply("POST"); got.StatusCode != http.StatusRequestEntityTooLarge || !got.Close {
		t.Error(got)
	}
	_ = c.Close() // http.Server waits for a body of this size
	c = r.dial()
	c.send("POST /net/a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + strings.Repeat("x", 0x65) + "\r\n0\r\n\r\n")
	if got := c.reply("POST"); !strings.Contains(got.text, "too large") {
		t.Error(got)
	}
	r.finish()

	var got []string
	for _, line := range l.lines(t, "request") {
		if line["request_id"] == "" || line["remote"] == "" {
			t.Errorf("%v", line)
		}
		got = append(got, fmt.Sprintf("%v %v %v %v %v", line["method"], line["path"], line["route"], line["status"], line["bytes"]))
	}
	want := []string{
		"GET /net/id /net/{path:*} 200 4", "GET /net/id /net/{path:*} 200 32", "GET /net/teapot /net/{path:*} 418 0",
		"GET /native /native 200 6", "GET /net/a /net/{path:*} 200 23", "GET /net/panic /net/{path:*} 500 0",
		"POST /net/a /net/{path:*} 413 23", "POST /net/a /net/{path:*} 200",
	}
	for i, w := range want {
		if i >= len(got) || !strings.HasPrefix(got[i], w) {
			t.Errorf("lines %q; want %q", got, want)
			break
		}
	}
	if line := l.line(t, "handler panicked"); line["panic"] != "oh no" || line["path"] != "/net/panic" {
		t.Errorf("%v", line)
	}
}

// Handler has no connection to hand over.
func TestNetHTTPNeedsAConnection(t *testing.T) {
	s := build(t, mixed())
	if ctx := call(s.Handler(), "GET", "/native"); string(ctx.Response.Body()) != "native" {
		t.Error(got(ctx))
	}
	if ctx := call(s.Handler(), "GET", "/net/a"); ctx.Response.StatusCode() != http.StatusNotFound {
		t.Error(got(ctx))
	}
}

// What M4 gives native routes holds for net/http: the client behind a proxy, and the
// limit of requests in flight.
func TestNetHTTPBehindAProxy(t *testing.T) {
	for _, withApp := range []bool{false, true} {
		var l logs
		b := loopback().Logger(l.logger()).
			ProxyProtocol("127.0.0.0/8").
			TrustedProxies("X-Forwarded-For", "192.0.2.0/24")
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) })
		if withApp {
			b.NetHTTP("/", h)
		} else {
			b.NetHTTP("/net", h).Get("/native", func(ctx *fasthttp.RequestCtx) { fmt.Fprint(ctx, ctx.RemoteAddr()) })
		}
		r := run(t, b)
		c := r.dial()
		c.send("PROXY TCP4 192.0.2.7 192.0.2.8 4711 80\r\n")
		for range 2 {
			if got := c.get("/net", "X-Forwarded-For", "203.0.113.9"); got.text != "192.0.2.7:4711" {
				t.Error(got)
			}
		}
		if got := c.get("/native"); got.text != "192.0.2.7:4711" {
			t.Error(got)
		}
		r.finish()
		if lines := l.lines(t, "request"); len(lines) != 3 || lines[0]["remote"] != "203.0.113.9" || lines[1]["remote"] != "203.0.113.9" {
			t.Errorf("%v", lines)
		}
	}
}

func TestNetHTTPMaxInFlight(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	r := run(t, mixed().MaxInFlight(1, 0).NetHTTP("/slow", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-release
	})))
	slow := r.dial()
	slow.send("GET /slow HTTP/1.1\r\nHost: t\r\n\r\n")
	<-entered
	c := r.dial()
	for _, path := range []string{"/net/a", "/native"} {
		if got := c.get(path); got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") != "1" {
			t.Error(got)
		}
	}
	if got := c.get("/livez"); got.StatusCode != http.StatusOK {
		t.Error(got)
	}
	close(release)
	slow.reply("GET")
	if _, refused := r.InFlight(); refused != 2 {
		t.Errorf("%d refused", refused)
	}
	if got := c.get("/net/a"); got.StatusCode != http.StatusOK {
		t.Error(got)
	}
	r.finish()
}

// In memory there is no socket, and the drain ends idle connections by a deadline.
func TestNetHTTPInMemory(t *testing.T) {
	for _, withApp := range []bool{false, true} {
		b := quiet().LastCall(time.Second).NetHTTP("/net/{path:*}", http.HandlerFunc(legacy))
		if withApp {
			b.NetHTTP("/", http.HandlerFunc(legacy))
		} else {
			b.Get("/native", answer("native"))
		}
		bubble(t, b, func(t *testing.T, r *running) {
			c, idle := r.dial(), r.dial()
			for range 3 {
				if got := c.get("/net/a").String(); got != `200 net GET /net/a "" <nil>` {
					t.Error(got)
				}
			}
			for range 20 {
				c.get("/native")
			}
			idle.get("/net/a")
			began := time.Now()
			r.Drain()
			if got := c.get("/net/a"); !got.Close {
				t.Error("not told")
			}
			c.wantEOF()
			idle.wantEOF()
			if err := r.wait(); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("drained in %v", took)
			}
		})
	}
}

// A body beyond a limit, the handler's or the server's, closes its connection, as in
// net/http; and a client that waits for a 100 is answered before it has sent it.
func TestNetHTTPBodiesBeyondALimit(t *testing.T) {
	handlers := map[string]http.HandlerFunc{
		"/reader": func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, 3)
			legacy(w, r)
		},
		"/handler": func(w http.ResponseWriter, r *http.Request) {
			http.MaxBytesHandler(http.HandlerFunc(legacy), 3).ServeHTTP(w, r)
		},
		"/parts": func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, 100)
			buf := make([]byte, 100)
			_, _ = io.ReadFull(r.Body, buf[:2])
			legacy(w, r)
		},
		"/some": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadFull(io.LimitReader(r.Body, 2), make([]byte, 100))
		},
		"/server": legacy,
		"/unread": func(http.ResponseWriter, *http.Request) {},
	}
	b := loopback().MaxBodySize(50)
	for path, h := range handlers {
		b.NetHTTP(path, h)
	}
	r := run(t, b)
	for _, tt := range []struct {
		path, header, body string
		closes             bool
	}{
		{"/reader", "Content-Length: 3", "abc", false},
		{"/reader", "Content-Length: 4", "abcd", true},
		{"/reader", "Transfer-Encoding: chunked", "4\r\nabcd\r\n0\r\n\r\n", true},
		{"/handler", "Content-Length: 3", "abc", false},
		{"/handler", "Content-Length: 4", "abcd", true},
		{"/parts", "Content-Length: 4", "abcd", false},
		{"/some", "Content-Length: 4", "abcd", false},
		{"/server", "Transfer-Encoding: chunked", "33\r\n" + strings.Repeat("x", 0x33) + "\r\n0\r\n\r\n", true},
		{"/unread", "Expect: 100-continue\r\nContent-Length: 4", "", true},
	} {
		c := r.dial()
		c.send("POST " + tt.path + " HTTP/1.1\r\nHost: t\r\n" + tt.header + "\r\n\r\n" + tt.body)
		if got := c.reply("POST"); got.Close != tt.closes {
			t.Errorf("%s, %s: %v, close %v", tt.path, tt.header, got, got.Close)
		}
		switch {
		case !tt.closes:
			if got := c.get("/server"); got.StatusCode != http.StatusOK {
				t.Error(got)
			}
		case tt.body != "": // for which http.Server waits, even so
			c.wantEOF()
		}
		_ = c.Close()
	}
	r.finish()
}

// Middleware of net/http is around native routes as any other is: a panic in it, or below
// it, is a 500, the server's own fields are in its answers, and mistakes are told by Build.
func TestNetHTTPMiddleware(t *testing.T) {
	var l logs
	r := run(t, loopback().Logger(l.logger()).
		Use(nethttp.Middleware(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/no":
					http.Error(w, "no", http.StatusForbidden)
				case "/panic/middleware":
					panic("oh no")
				default:
					w.Header().Set("X-Middleware", "1")
					next.ServeHTTP(w, r)
				}
			})
		})).
		Get("/yes", hello).Get("/no", hello).Get("/panic/middleware", hello).
		Get("/panic/handler", func(*fasthttp.RequestCtx) { panic("oh no") }))
	c := r.dial()
	for range 2 {
		for path, want := range map[string]string{"/yes": "200 hello", "/no": "403 no\n", "/panic/middleware": "500 Internal Server Error", "/panic/handler": "500 Internal Server Error"} {
			got := c.get(path, HeaderRequestID, "mine")
			if got.String() != want || got.Header.Get(HeaderRequestID) != "mine" || path == "/yes" && got.Header.Get("X-Middleware") != "1" {
				t.Errorf("%s: %v %v", path, got, got.Header)
			}
		}
	}
	r.finish()
	if n := len(l.lines(t, "handler panicked")); n != 4 {
		t.Errorf("%d panics", n)
	}
	for _, m := range []func(http.Handler) http.Handler{nil, func(http.Handler) http.Handler { return nil }} {
		if _, err := loopback().Use(nethttp.Middleware(m)).Get("/", hello).Build(); err == nil || !strings.Contains(err.Error(), "nil handler") {
			t.Errorf("Build: %v", err)
		}
	}
}
