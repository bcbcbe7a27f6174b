package nethttp

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// wrap is middleware as the ecosystem has it.
type wrap = func(http.Handler) http.Handler

// statusWriter is what loggers and metrics put around an http.ResponseWriter.
type statusWriter struct {
	http.ResponseWriter
	status, size int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.size += n
	return n, err
}

// zipped is what compressors put around one.
type zipped struct {
	http.ResponseWriter
	to *gzip.Writer
}

func (w *zipped) WriteHeader(status int) {
	w.Header().Set("Content-Encoding", "gzip")
	w.Header().Del("Content-Length")
	w.to = gzip.NewWriter(w.ResponseWriter)
	w.ResponseWriter.WriteHeader(status)
}

func (w *zipped) Write(p []byte) (int, error) {
	if w.to == nil {
		w.WriteHeader(http.StatusOK)
	}
	return w.to.Write(p)
}

func compress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Accept-Encoding")
		z := &zipped{ResponseWriter: w}
		next.ServeHTTP(z, r)
		if z.to != nil {
			_ = z.to.Close()
		}
	})
}

// dump says all that a native handler sees of a request.
func dump(ctx *fasthttp.RequestCtx) {
	ctx.Response.Header.Set("X-Native", "yes")
	ctx.SetStatusCode(fasthttp.StatusAccepted)
	fmt.Fprintf(ctx, "%s %s host %s query %s body %q a %q b %q from %s auth %v",
		ctx.Method(), ctx.Path(), ctx.Host(), ctx.QueryArgs(), ctx.PostBody(),
		ctx.Request.Header.Peek("X-A"), ctx.Request.Header.PeekAll("X-B"), ctx.RemoteIP(), Context(ctx).Value(userKey{}))
}

type userKey struct{}

// do asks a server with the middleware around its native handler, as fasthttp has read
// the request and as http.Server has.
func askBoth(t *testing.T, m wrap, native fasthttp.RequestHandler, text, method string, f func(reply)) {
	t.Helper()
	r := run(t, "tcp", app{native: Middleware(m)(native)})
	for _, first := range []string{"", "/net"} {
		c := r.dial()
		if first != "" {
			c.get(first)
		}
		for range 2 { // nothing is left of the request before
			c.send(text)
			f(c.reply(method))
		}
	}
	r.finish()
}

// What a middleware changes of a request reaches the native handler.
func TestMiddlewareChangesTheRequest(t *testing.T) {
	const plain = "POST /native/a?q=1 HTTP/1.1\r\nHost: t\r\nX-A: 1\r\nX-B: 1\r\nX-B: 2\r\nContent-Length: 5\r\n\r\nhello"
	for _, tt := range []struct {
		name, text, want string
		m                func(w http.ResponseWriter, r *http.Request) *http.Request
	}{
		{name: "nothing"},
		{name: "method", want: `PUT /native/a host t query q=1 body "hello" a "1" b ["1" "2"] from 127.0.0.1 auth <nil>`,
			m: func(_ http.ResponseWriter, r *http.Request) *http.Request { r.Method = "PUT"; return r }},
		{name: "path", want: `POST /a b host t query q=1 body "hello" a "1" b ["1" "2"] from 127.0.0.1 auth <nil>`,
			m: func(_ http.ResponseWriter, r *http.Request) *http.Request { r.URL.Path = "/a b"; return r }},
		{name: "query", want: `POST /native/a host t query z=2 body "hello" a "1" b ["1" "2"] from 127.0.0.1 auth <nil>`,
			m: func(_ http.ResponseWriter, r *http.Request) *http.Request { r.URL.RawQuery = "z=2"; return r }},
		{name: "host", want: `POST /native/a host u query q=1 body "hello" a "1" b ["1" "2"] from 127.0.0.1 auth <nil>`,
			m: func(_ http.ResponseWriter, r *http.Request) *http.Request { r.Host = "u"; return r }},
		{name: "header", want: `POST /native/a host t query q=1 body "hello" a "" b ["3" "4"] from 127.0.0.1 auth <nil>`,
			m: func(_ http.ResponseWriter, r *http.Request) *http.Request {
				r.Header.Del("X-A")
				r.Header["X-B"][0] = "3" // in its place
				r.Header["X-B"][1] = "4"
				return r
			}},
		{name: "address", want: `POST /native/a host t query q=1 body "hello" a "1" b ["1" "2"] from 192.0.2.1 auth <nil>`,
			m: func(_ http.ResponseWriter, r *http.Request) *http.Request { r.RemoteAddr = "192.0.2.1"; return r }},
		{name: "address and port", want: `POST /native/a host t query q=1 body "hello" a "1" b ["1" "2"] from 2001:db8::1 auth <nil>`,
			m: func(_ http.ResponseWriter, r *http.Request) *http.Request {
				r.RemoteAddr = "[2001:db8::1]:99"
				return r
			}},
		{name: "no address",
			m: func(_ http.ResponseWriter, r *http.Request) *http.Request { r.RemoteAddr = "nobody"; return r }},
		{name: "context", want: `POST /native/a host t query q=1 body "hello" a "1" b ["1" "2"] from 127.0.0.1 auth me`,
			m: func(_ http.ResponseWriter, r *http.Request) *http.Request {
				return r.WithContext(context.WithValue(r.Context(), userKey{}, "me"))
			}},
		{name: "clone", want: `POST /native/a host t query q=1 body "hello" a "9" b ["1" "2"] from 127.0.0.1 auth <nil>`,
			m: func(_ http.ResponseWriter, r *http.Request) *http.Request {
				r = r.Clone(r.Context())
				r.Header.Set("X-A", "9")
				return r
			}},
		{name: "body that is read", m: func(_ http.ResponseWriter, r *http.Request) *http.Request {
			if b, err := io.ReadAll(r.Body); string(b) != "hello" || err != nil || r.ContentLength != 5 {
				panic(fmt.Sprint(string(b), err))
			}
			return r
		}},
		{name: "body in its place", want: `POST /native/a host t query q=1 body "HELLO" a "1" b ["1" "2"] from 127.0.0.1 auth <nil>`,
			m: func(_ http.ResponseWriter, r *http.Request) *http.Request {
				b, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(bytes.ToUpper(b)))
				return r
			}},
		{name: "a longer one, of chunks", text: "POST /native/a?q=1 HTTP/1.1\r\nHost: t\r\nX-A: 1\r\nX-B: 1\r\nX-B: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
			want: `POST /native/a host t query q=1 body "hellohello" a "1" b ["1" "2"] from 127.0.0.1 auth <nil>`,
			m: func(_ http.ResponseWriter, r *http.Request) *http.Request {
				b, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(append(b, b...)))
				return r
			}},
		{name: "a limit that is kept", m: func(w http.ResponseWriter, r *http.Request) *http.Request {
			r.Body = http.MaxBytesReader(w, r.Body, 5)
			return r
		}},
	} {
		m := func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tt.m != nil {
					r = tt.m(w, r)
				}
				next.ServeHTTP(w, r)
			})
		}
		want := tt.want
		if want == "" {
			want = `POST /native/a host t query q=1 body "hello" a "1" b ["1" "2"] from 127.0.0.1 auth <nil>`
		}
		text := tt.text
		if text == "" {
			text = plain
		}
		askBoth(t, m, dump, text, "POST", func(got reply) {
			if got.text != want || got.StatusCode != http.StatusAccepted || got.Header.Get("X-Native") != "yes" {
				t.Errorf("%s: %d %s %v\nwant %s", tt.name, got.StatusCode, got.text, got.Header, want)
			}
		})
	}
}

// What it answers is the response; what it sets before the next handler is in it; what
// it wraps sees all of it.
func TestMiddlewareAnswers(t *testing.T) {
	around := func(f func(w http.ResponseWriter, r *http.Request, next http.Handler)) wrap {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f(w, r, next) })
		}
	}
	const body = "<!DOCTYPE html><p>native"
	native := func(ctx *fasthttp.RequestCtx) {
		if string(ctx.Response.Header.Peek("X-Before")) == "1" {
			ctx.Response.Header.Set("X-Before", "seen")
		}
		ctx.Response.Header.Add("X-Native", "1")
		ctx.Response.Header.Add("X-Native", "2")
		c := fasthttp.AcquireCookie()
		defer fasthttp.ReleaseCookie(c)
		c.SetKey("k")
		c.SetValue("v")
		ctx.Response.Header.SetCookie(c)
		ctx.SetContentType("text/x-native")
		ctx.SetStatusCode(fasthttp.StatusCreated)
		ctx.SetBodyString(body)
	}
	var rec *statusWriter
	for _, tt := range []struct {
		name   string
		m      wrap
		status int
		text   string
		header map[string]string // "" is for none
		same   func(reply) error
	}{
		{name: "nothing", m: func(next http.Handler) http.Handler { return next }, status: 201, text: body,
			header: map[string]string{"X-Native": "1|2", "Set-Cookie": "k=v", "Content-Type": "text/x-native", "Server": "fasthttp"}},
		{name: "header before", m: around(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			w.Header().Set("X-Before", "1")
			w.Header().Set("Cache-Control", "no-cache")
			next.ServeHTTP(w, r)
		}), status: 201, text: body, header: map[string]string{"X-Before": "seen", "Cache-Control": "no-cache", "X-Native": "1|2"}},
		{name: "header after", m: around(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(w, r)
			if w.Header().Get("X-Native") != "1" || w.Header().Get("Content-Type") != "text/x-native" {
				panic(fmt.Sprint(w.Header()))
			}
			w.Header().Set("X-After", "1")
			w.WriteHeader(http.StatusTeapot)
		}), status: 201, text: body, header: map[string]string{"X-After": "", "X-Native": "1|2"}},
		{name: "a recorder", m: around(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			rec = &statusWriter{ResponseWriter: w}
			next.ServeHTTP(rec, r)
			w.Header().Set("X-After", "1")
		}), status: 201, text: body, header: map[string]string{"X-After": "", "X-Native": "1|2", "Set-Cookie": "k=v", "Content-Type": "text/x-native"},
			same: func(reply) error {
				if rec.status != 201 || rec.size != len(body) {
					return fmt.Errorf("recorded %+v", rec)
				}
				return nil
			}},
		{name: "a compressor", m: compress, status: 201, header: map[string]string{"Content-Encoding": "gzip", "Vary": "Accept-Encoding", "X-Native": "1|2"},
			same: func(got reply) error {
				z, err := gzip.NewReader(strings.NewReader(got.text))
				if err != nil {
					return err
				}
				if b, err := io.ReadAll(z); string(b) != body || err != nil {
					return fmt.Errorf("%q, %w", b, err)
				}
				return nil
			}},
		{name: "more behind it", m: around(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(w, r)
			_, _ = io.WriteString(w, " and more")
		}), status: 201, text: body + " and more", header: map[string]string{"X-Native": "1|2", "Content-Type": "text/x-native"}},
		{name: "more around it", m: around(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			_, _ = io.WriteString(w, "before ")
			next.ServeHTTP(w, r)
		}), status: 200, text: "before " + body},
		{name: "an answer", m: around(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			http.Error(w, "no", http.StatusUnauthorized)
		}), status: 401, text: "no\n", header: map[string]string{
			"Www-Authenticate": `Basic realm="x"`, "X-Content-Type-Options": "nosniff", "Content-Type": "text/plain; charset=utf-8", "X-Native": ""}},
		{name: "a redirect", m: around(func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		}), status: 302, header: map[string]string{"Location": "/elsewhere"}},
		{name: "what net/http would guess", m: around(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			_, _ = io.WriteString(w, body)
		}), status: 200, text: body, header: map[string]string{"Content-Type": "text/html; charset=utf-8"}},
		{name: "a preflight", m: around(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Access-Control-Allow-Origin", "*")
			w.WriteHeader(http.StatusNoContent)
		}), status: 204, header: map[string]string{"Access-Control-Allow-Origin": "*"}},
		{name: "no answer", m: around(func(http.ResponseWriter, *http.Request, http.Handler) {}), status: 200},
		{name: "in time", m: func(next http.Handler) http.Handler { return http.TimeoutHandler(next, patience, "late") }, status: 201, text: body,
			header: map[string]string{"X-Native": "1|2", "Content-Type": "text/x-native"}},
		{name: "body beyond a limit", m: around(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			r.Body = http.MaxBytesReader(w, r.Body, 1)
			next.ServeHTTP(w, r)
		}), status: 413, text: "Request Entity Too Large\n"},
		{name: "a context that is another", m: around(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(w, r.WithContext(context.Background()))
		}), status: 500, text: "the request's context is not the server's\n"},
	} {
		askBoth(t, tt.m, native, request("POST", "/native", "hello"), "POST", func(got reply) {
			if got.StatusCode != tt.status || tt.text != "" && got.text != tt.text {
				t.Errorf("%s: %d %q", tt.name, got.StatusCode, got.text)
			}
			for name, want := range tt.header {
				if has := strings.Join(got.Header.Values(name), "|"); has != want {
					t.Errorf("%s: %s is %q; want %q", tt.name, name, has, want)
				}
			}
			if tt.same != nil {
				if err := tt.same(got); err != nil {
					t.Errorf("%s: %v", tt.name, err)
				}
			}
		})
	}
}

// A stream goes by: not at all through one that leaves the writer alone, or records the
// status; and is refused where its body would have to be another.
func TestMiddlewareAndStreams(t *testing.T) {
	native := func(ctx *fasthttp.RequestCtx) {
		ctx.SetContentType("text/event-stream")
		ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
			for range 3 {
				_, _ = io.WriteString(w, "data\n\n")
				_ = w.Flush()
			}
		})
	}
	recorded := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Before", "1")
			next.ServeHTTP(&statusWriter{ResponseWriter: w}, r)
		})
	}
	held := func(next http.Handler) http.Handler { return http.TimeoutHandler(next, patience, "late") }
	for _, tt := range []struct {
		m      wrap
		status int
		text   string
	}{
		{func(next http.Handler) http.Handler { return next }, 200, "data\n\ndata\n\ndata\n\n"},
		{recorded, 200, "data\n\ndata\n\ndata\n\n"},
		{compress, 500, ""}, {held, 500, "Internal Server Error"},
	} {
		askBoth(t, tt.m, native, request("GET", "/native", ""), "GET", func(got reply) {
			if got.StatusCode != tt.status || tt.text != "" && got.text != tt.text {
				t.Errorf("%d %q; want %d %q", got.StatusCode, got.text, tt.status, tt.text)
			}
			if before := got.Header.Get("X-Before"); tt.status == 200 && before != "" && before != "1" {
				t.Error(got.Header)
			}
		})
	}
	r := run(t, "tcp", app{native: Middleware(recorded)(func(ctx *fasthttp.RequestCtx) {
		ctx.SetStatusCode(fasthttp.StatusSwitchingProtocols)
		ctx.Hijack(func(nc net.Conn) { _, _ = io.Copy(nc, nc) })
	})})
	c := r.dial()
	c.wantEcho("/native")
	_ = c.Close()
	r.finish()
}

// A middleware that gives up on the native handler answers, and the handler's RequestCtx
// stays its own; so does what a middleware keeps.
func TestMiddlewareGivesUp(t *testing.T) {
	var mu sync.Mutex
	kept := map[string]*http.Request{}
	release, ended := make(chan struct{}), make(chan string, 100)
	m := func(next http.Handler) http.Handler {
		limited := http.TimeoutHandler(next, 30*time.Millisecond, "late")
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			kept[r.RequestURI] = r
			mu.Unlock()
			if strings.HasPrefix(r.URL.Path, "/native/slow") {
				limited.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	r := run(t, "tcp", app{native: Middleware(m)(func(ctx *fasthttp.RequestCtx) {
		if bytes.HasPrefix(ctx.Path(), []byte("/native/slow")) {
			<-release
			ctx.Response.Header.Set("X-Late", "1")
			ctx.SetBodyString("too late")
			ended <- string(ctx.RequestURI()) + string(ctx.Request.Header.Peek("X-Name"))
			return
		}
		sayNative(ctx)
	})})
	c := r.dial()
	for i := range 5 {
		slow, fast := fmt.Sprintf("/native/slow/%d", i), fmt.Sprintf("/native/fast/%d", i)
		if got := c.do("POST", slow, "body", "X-Name", slow); got.StatusCode != http.StatusServiceUnavailable || got.text != "late" || got.Header.Get("X-Late") != "" {
			t.Errorf("%v %v", got, got.Header)
		}
		if got := c.do("POST", fast, "body"); got.text != fmt.Sprintf("native POST %s %q", fast, "body") {
			t.Error(got)
		}
	}
	close(release)
	for range 5 {
		if got := <-ended; got[:len(got)/2] != got[len(got)/2:] {
			t.Errorf("a handler that was given up has become %s", got)
		}
	}
	r.finish()
	mu.Lock()
	defer mu.Unlock()
	for uri, req := range kept {
		if req.URL.Path != uri || strings.Contains(uri, "slow") && req.Header.Get("X-Name") != uri {
			t.Errorf("%s has become %s, %v", uri, req.URL, req.Header)
		}
		if _, err := req.Body.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) && strings.Contains(uri, "fast") {
			t.Errorf("%s: a read afterwards: %v", uri, err)
		}
	}
	if len(kept) != 10 {
		t.Errorf("%d requests", len(kept))
	}
}

// A native handler that has timed out itself leaves its response's copy to be sent.
func TestMiddlewareAroundATimeout(t *testing.T) {
	m := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Before", "1")
			if r.URL.Path == "/native/recorded" {
				w = &statusWriter{ResponseWriter: w}
			}
			next.ServeHTTP(w, r)
		})
	}
	release := make(chan struct{})
	defer close(release)
	native := fasthttp.TimeoutHandler(func(*fasthttp.RequestCtx) { <-release }, time.Millisecond, "timed out")
	for _, path := range []string{"/native", "/native/recorded"} {
		askBoth(t, m, native, request("GET", path, ""), "GET", func(got reply) {
			if got.StatusCode != http.StatusRequestTimeout || got.text != "timed out" || got.Header.Get("X-Before") != "1" {
				t.Errorf("%s: %d %q %v", path, got.StatusCode, got.text, got.Header)
			}
		})
	}
}

// The address that a middleware finds is that of the one request, not of its
// connection's next ones.
func TestMiddlewareAddressIsOfOneRequest(t *testing.T) {
	m := Middleware(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if ip := r.Header.Get("X-Real-Ip"); ip != "" {
				r.RemoteAddr = ip
			}
			next.ServeHTTP(w, r)
		})
	})
	say := func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString(ctx.RemoteIP().String()) }
	around := m(say)
	r := run(t, "tcp", app{native: func(ctx *fasthttp.RequestCtx) {
		if string(ctx.Path()) == "/without" {
			say(ctx)
			return
		}
		around(ctx)
	}})
	c := r.dial()
	for _, path := range []string{"/with", "/without", "/with"} {
		if got := c.get("/with", "X-Real-IP", "192.0.2.7").text; got != "192.0.2.7" {
			t.Error(got)
		}
		if got := c.get(path).text; got != "127.0.0.1" {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// A middleware may answer where the native handler has not, and keeps its header where
// that panics.
func TestMiddlewareAnswersForAHandler(t *testing.T) {
	m := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				_ = recover()
				w.WriteHeader(http.StatusGatewayTimeout)
				_, _ = io.WriteString(w, "late")
			}()
			next.ServeHTTP(w, r)
		})
	}
	for _, panics := range []bool{false, true} {
		native := func(ctx *fasthttp.RequestCtx) {
			ctx.Response.Header.Set("X-A", "b")
			if panics {
				panic("as is wanted")
			}
		}
		r := run(t, "tcp", app{native: Middleware(m)(native)})
		if got := r.dial().get("/"); got.StatusCode != http.StatusGatewayTimeout || got.text != "late" || got.Header.Get("X-A") != "b" {
			t.Errorf("panics %v: %v %v %q", panics, got.Status, got.Header, got.text)
		}
	}
}

// BenchmarkMiddleware is what an empty middleware adds to a native handler.
func BenchmarkMiddleware(b *testing.B) {
	hello := func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("Hello, World!") }
	for _, bb := range []struct {
		name string
		h    fasthttp.RequestHandler
	}{
		{"none", hello},
		{"empty", Middleware(func(next http.Handler) http.Handler { return next })(hello)},
		{"recorder", Middleware(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(&statusWriter{ResponseWriter: w}, r) })
		})(hello)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			var ctx fasthttp.RequestCtx
			var req fasthttp.Request
			req.SetRequestURI("/native")
			for name, value := range map[string]string{"Host": "localhost", "User-Agent": "bench", "Accept": "*/*"} {
				req.Header.Set(name, value)
			}
			ctx.Init(&req, nil, nil)
			b.ReportAllocs()
			for b.Loop() {
				ctx.Response.Reset()
				bb.h(&ctx)
			}
		})
	}
}
