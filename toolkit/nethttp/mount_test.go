package nethttp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// exchanges are requests of both kinds, and their answers.
var exchanges = []struct{ method, text, answer string }{
	{"GET", "GET /native/1 HTTP/1.1\r\nHost: t\r\n\r\n", `native GET /native/1 ""`},
	{"GET", "GET /net/1 HTTP/1.1\r\nHost: t\r\n\r\n", `net GET /net/1 "" <nil>`},
	{"POST", "POST /net/2 HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nGET /", `net POST /net/2 "GET /" <nil>`},
	{"POST", "POST /native/2 HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello", `native POST /native/2 "hello"`},
	{"PUT", "PUT /net/3 HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", `net PUT /net/3 "abcde" <nil>`},
	{"PUT", "PUT /native/3 HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", `native PUT /native/3 "abc"`},
	{"GET", "GET /native/4 HTTP/1.1\r\nHost: t\r\n\r\n", `native GET /native/4 ""`},
	{"GET", "GET /net/4?a=%20b HTTP/1.1\r\nHost: t\r\nX: y\r\nx: z\r\n\r\n", `net GET /net/4?a=%20b "" <nil>`},
	{"POST", "POST /net/5 HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n", `net POST /net/5 "" <nil>`},
}

func allExchanges() (text string) {
	for _, e := range exchanges {
		text += e.text
	}
	return text
}

func (c *client) wantAll() {
	c.t.Helper()
	for _, e := range exchanges {
		c.want(e.method, e.answer)
	}
}

// forms are the servers that all of this is to hold on.
func forms(t *testing.T, f func(t *testing.T, kind string, fresh bool)) {
	for _, kind := range kinds {
		for _, fresh := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s fresh=%v", kind, fresh), func(t *testing.T) { f(t, kind, fresh) })
		}
	}
}

func TestAlternate(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		r := run(t, kind, app{fresh: fresh})
		c := r.dial()
		for range 3 {
			for _, e := range exchanges {
				c.send(e.text)
				c.want(e.method, e.answer)
			}
		}
		r.finish()
		c.wantEOF()
	})
}

// Each may be a connection's first, and be followed by what is taken for no request if
// its body is read by the wrong server.
func TestFirstRequest(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		r := run(t, kind, app{fresh: fresh})
		for _, e := range exchanges {
			c := r.dial()
			for range 2 {
				c.send(e.text)
				c.want(e.method, e.answer)
			}
		}
		c := r.dial()
		c.send("POST /net HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		for _, want := range []string{"HTTP/1.1 100 Continue\r\n", "\r\n"} {
			c.wantLine(want)
		}
		c.send("hello")
		c.want("POST", `net POST /net "hello" <nil>`)
	})
}

func TestPipelined(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		r := run(t, kind, app{fresh: fresh})
		c := r.dial()
		for range 3 {
			c.send(allExchanges())
			c.wantAll()
		}
		infos := r.Conns()
		if want := uint64(3 * len(exchanges)); len(infos) != 1 || infos[0].Requests != want {
			t.Errorf("connections %+v; want %d requests", infos, want)
		}
		r.finish()
		c.wantEOF()
	})
}

// Wherever a segment ends, and whatever the server has read by then, the answers are
// the same.
func TestSplitAtEveryByte(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		r := run(t, kind, app{fresh: fresh})
		text := allExchanges()
		step := 1
		if kind != "tcp" {
			step = 7
		}
		for i := 1; i < len(text); i += step {
			c := r.dial()
			c.send(text[:i])
			if i%2 == 0 {
				time.Sleep(100 * time.Microsecond) // it need not be long enough
			}
			c.send(text[i:])
			c.wantAll()
			_ = c.Close()
			if t.Failed() {
				t.Fatalf("split at %d", i)
			}
		}
	})
}

func TestByteByByte(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		r := run(t, kind, app{fresh: fresh})
		c := r.dial()
		go func() {
			for _, b := range []byte(allExchanges()) {
				_, _ = c.Write([]byte{b})
			}
		}()
		c.wantAll()
	})
}

// After eight native requests in a row a connection is fasthttp's again, and after one
// for net/http the http.Server's.
func TestConnectionGoesBack(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			r := run(t, kind, app{})
			adopted := func() bool {
				infos := r.Conns()
				return len(infos) == 1 && infos[0].Adopted
			}
			c := r.dial()
			for range 3 {
				c.get("/net")
				for i := range nativesInARow {
					if !adopted() {
						t.Fatalf("fasthttp's after %d", i)
					}
					if got := c.get("/native"); got.text != `native GET /native ""` || got.Header.Get("Server") != "fasthttp" {
						t.Fatal(got)
					}
				}
				r.until("it is fasthttp's again", func() bool { return !adopted() })
				c.get("/native")
			}
			// One by turns: a proxy's connection.
			c.get("/net")
			for range 3 * nativesInARow {
				c.get("/native")
				c.get("/net")
				if !adopted() {
					t.Fatal("it goes to and fro")
				}
			}
			r.finish()
			c.wantEOF()
		})
	}
}

// The client's own bytes reach the handler: the target as it was sent, duplicates in
// their order, both names of the framing.
func TestRequestAsSent(t *testing.T) {
	type seen struct {
		uri, proto, host string
		header           http.Header
		te               []string
		length           int64
		tls              bool
	}
	got := make(chan seen, 1)
	forms(t, func(t *testing.T, kind string, fresh bool) {
		r := run(t, kind, app{fresh: fresh, net: func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			got <- seen{r.RequestURI, r.Proto, r.Host, r.Header, r.TransferEncoding, r.ContentLength, r.TLS != nil}
		}})
		c := r.dial()
		c.send("POST /net/%61/../b//c;d?x=%zz&y HTTP/1.1\r\nhOST: Example.COM:80\r\nX-a:  1 \r\nx-A: 2\r\nX-A:\r\ncookie: a=b\r\nCookie: c=d\r\ntransfer-encoding: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n")
		c.reply("POST")
		want := seen{
			"/net/%61/../b//c;d?x=%zz&y", "HTTP/1.1", "Example.COM:80",
			http.Header{"X-A": {"1", "2", ""}, "Cookie": {"a=b", "c=d"}}, []string{"chunked"}, -1, kind == "tls",
		}
		if g := <-got; fmt.Sprint(g) != fmt.Sprint(want) {
			t.Errorf("\ngot  %v\nwant %v", g, want)
		}
		c.send("GET /net HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
		c.reply("GET")
		want = seen{"/net", "HTTP/1.0", "", http.Header{"Connection": {"keep-alive"}}, nil, 0, kind == "tls"}
		if g := <-got; fmt.Sprint(g) != fmt.Sprint(want) {
			t.Errorf("\ngot  %v\nwant %v", g, want)
		}
	})
}

func TestExpectContinue(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		r := run(t, kind, app{fresh: fresh, net: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/net/no" {
				http.Error(w, "no", http.StatusForbidden)
				return
			}
			sayNet(w, r)
		}})
		for _, path := range []string{"/native/a", "/net/a", "/native/b"} {
			c := r.dial()
			c.get("/net") // so that the native one is asked for in the http.Server, too
			if path == "/native/b" {
				c = r.dial()
			}
			c.send("POST " + path + " HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
			if line, err := c.r.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
				t.Fatalf("%s: %q, %v", path, line, err)
			}
			if line, err := c.r.ReadString('\n'); line != "\r\n" {
				t.Fatalf("%q, %v", line, err)
			}
			c.send("hello")
			if got := c.reply("POST"); !strings.Contains(got.text, `"hello"`) {
				t.Error(got.text)
			}
			c.get("/net")
		}
		c := r.dial()
		c.send("POST /net/no HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		if got := c.reply("POST"); got.StatusCode != http.StatusForbidden {
			t.Error(got)
		}
	})
}

// A body may be larger than anything that buffers it, each way.
func TestLargeBodies(t *testing.T) {
	const size = 8 << 20
	forms(t, func(t *testing.T, kind string, fresh bool) {
		r := run(t, kind, app{fresh: fresh, net: func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
			_, _ = io.Copy(w, r.Body)
		}})
		c := r.dial()
		go func() {
			_, _ = fmt.Fprintf(c, "POST /net HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n", size)
			_, _ = c.Write(bytes.Repeat([]byte("x"), size))
		}()
		if got := c.reply("POST"); len(got.text) != size {
			t.Errorf("%d bytes", len(got.text))
		}
	})
}

// What a handler flushes is sent, and the client's end ends its context.
func TestStreamIsFlushed(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		gone := make(chan error, 1)
		r := run(t, kind, app{fresh: fresh, net: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for i := 0; r.Context().Err() == nil && i < 3; i++ {
				fmt.Fprintf(w, "data: %d\n\n", i)
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
			gone <- r.Context().Err()
		}})
		c := r.dial()
		c.send(request("GET", "/net", ""))
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(resp.Body)
		for i := range 3 {
			if line, _ := in.ReadString('\n'); line != fmt.Sprintf("data: %d\n", i) {
				t.Errorf("%q", line)
			}
			_, _ = in.ReadString('\n')
		}
		_ = c.Close()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		r.until("it is gone", func() bool { return r.Counts().Total() == 0 })
	})
}

// echo hijacks its connection and echoes lines until the client goes or the drain
// begins.
func echo(draining func() <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		nc, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		go func() { // as those do that leave their handler
			defer func() { _ = nc.Close() }()
			_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			lines := make(chan string)
			go func() {
				defer close(lines)
				for {
					line, err := rw.ReadString('\n')
					if err != nil {
						return
					}
					lines <- line
				}
			}()
			for {
				select {
				case line, ok := <-lines:
					if !ok {
						return
					}
					_, _ = io.WriteString(nc, line)
				case <-draining():
					_, _ = io.WriteString(nc, "bye\n")
					_ = nc.(interface{ CloseWrite() error }).CloseWrite()
					for range lines {
					}
					return
				}
			}
		}()
	}
}

const upgrade = " HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

// wantEcho wants an upgrade, and one line to be echoed.
func (c *client) wantEcho(path string) {
	c.t.Helper()
	c.send("GET " + path + upgrade + "early\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		c.t.Fatalf("%v, %v", resp, err)
	}
	c.wantLine("early\n")
	c.send("hello\n")
	c.wantLine("hello\n")
}

func (c *client) wantLine(want string) {
	c.t.Helper()
	if line, err := c.r.ReadString('\n'); line != want {
		c.t.Fatalf("%q, %v; want %q", line, err, want)
	}
}

func TestHijack(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		a := app{fresh: fresh}
		var r *running
		a.net = echo(func() <-chan struct{} { return r.Draining() })
		r = run(t, kind, a)
		gone, stays := r.dial(), r.dial()
		gone.wantEcho("/net")
		stays.wantEcho("/net")
		if n := r.Counts().Hijacked; n != 2 {
			t.Errorf("%d hijacked", n)
		}
		_ = gone.Close()
		r.until("its end is known", func() bool { return r.Counts().Total() == 1 })
		r.Drain() // tells it, and awaits it
		stays.wantLine("bye\n")
		stays.wantEOF()
		if n := r.Counts().Hijacked; n != 1 {
			t.Errorf("%d hijacked", n)
		}
		_ = stays.Close()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
	})
}

// A native handler can hijack a request on a connection that the http.Server had.
func TestNativeHijack(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		r := run(t, kind, app{fresh: fresh, native: func(ctx *fasthttp.RequestCtx) {
			ctx.SetStatusCode(fasthttp.StatusSwitchingProtocols)
			ctx.Hijack(func(nc net.Conn) { _, _ = io.Copy(nc, nc) })
		}})
		for range 2 {
			c := r.dial()
			c.get("/net")
			c.wantEcho("/native")
			_ = c.Close()
		}
		r.until("they are gone", func() bool { return r.Counts().Total() == 0 })
		c := r.dial()
		c.get("/net")
		if got := c.get("/native"); got.StatusCode != http.StatusInternalServerError {
			t.Error(got) // without an Upgrade
		}
		r.finish()
	})
}

// A panic ends its connection, and nothing else, as in net/http.
func TestPanic(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		r := run(t, kind, app{fresh: fresh, net: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/net/panic" {
				panic("oh")
			}
			sayNet(w, r)
		}})
		c := r.dial()
		c.get("/net")
		c.send(request("GET", "/net/panic", ""))
		c.wantEOF()
		r.until("it is gone", func() bool { return r.Counts().Total() == 0 })
		r.dial().get("/net")
		r.finish()
	})
}

// What a handler keeps of its request is its own.
func TestRequestsMayBeKept(t *testing.T) {
	var mu sync.Mutex
	kept := map[string]*http.Request{}
	ctxs := map[string]*fasthttp.RequestCtx{}
	r := run(t, "tcp", app{
		net: func(_ http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			kept[strings.Clone(r.RequestURI)] = r
		},
		native: func(ctx *fasthttp.RequestCtx) {
			mu.Lock()
			defer mu.Unlock()
			ctxs[string(ctx.RequestURI())] = ctx
		},
	})
	for i := range 4 {
		c := r.dial()
		for j := range 5 {
			c.do("POST", fmt.Sprintf("/net/%d/%d", i, j), "x", "X-Name", fmt.Sprint(i, j))
			c.do("POST", fmt.Sprintf("/native/%d/%d", i, j), fmt.Sprint(i, j))
		}
	}
	r.finish()
	if len(kept) != 20 || len(ctxs) != 20 {
		t.Fatalf("%d and %d requests", len(kept), len(ctxs))
	}
	for uri, req := range kept {
		if name := strings.ReplaceAll(req.Header.Get("X-Name"), " ", "/"); "/net/"+name != uri || req.URL.Path != uri {
			t.Errorf("%s has become %s, %s", uri, req.URL, name)
		}
	}
	for uri, ctx := range ctxs {
		if name := strings.ReplaceAll(string(ctx.PostBody()), " ", "/"); "/native/"+name != uri || string(ctx.Path()) != uri {
			t.Errorf("%s has become %s, %s", uri, ctx.Path(), name)
		}
	}
}

// All timeouts, hidden states and settings aside: a server leaves nothing behind.
func TestNothingIsLeft(t *testing.T) {
	count := func() (goroutines, descriptors int) {
		files, _ := filepath.Glob("/proc/self/fd/*")
		return runtime.NumGoroutine(), len(files)
	}
	round := func(kind string) {
		var r *running
		a := app{net: func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/net/echo" {
				echo(func() <-chan struct{} { return r.Draining() })(w, req)
				return
			}
			sayNet(w, req)
		}}
		r = run(t, kind, a)
		var clients []*client
		for i := range 12 {
			c := r.dial()
			clients = append(clients, c)
			switch c.get("/net"); i % 4 {
			case 0:
				for range nativesInARow {
					c.get("/native")
				}
			case 1:
				c.wantEcho("/net/echo")
			case 2:
				c.send("POST /net/half HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhe")
				_ = c.Close()
			}
		}
		for i, c := range clients {
			if i%4 == 1 {
				_ = c.Close()
			}
		}
		r.Drain()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		for _, c := range clients {
			_ = c.Close()
		}
	}
	for _, kind := range kinds {
		round(kind)
	}
	goroutines, descriptors := count()
	for _, kind := range kinds {
		round(kind)
	}
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		g, d := count()
		if g <= goroutines && d <= descriptors {
			return
		}
		if time.Since(began) > patience {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines and %d descriptors; were %d and %d\n%s", g, d, goroutines, descriptors, buf[:runtime.Stack(buf, true)])
		}
	}
}

// A file is sent as one: http.Server finds what it needs for that on the connection.
func TestConnectionKeepsSendfile(t *testing.T) {
	var c net.Conn = &tcpConn{}
	if _, ok := c.(io.ReaderFrom); !ok {
		t.Error("no ReadFrom")
	}
	if _, ok := net.Conn(&tlsConn{}).(io.ReaderFrom); ok {
		t.Error("ReadFrom on a TLS connection, which has none")
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, bytes.Repeat([]byte("x"), 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	forms(t, func(t *testing.T, kind string, fresh bool) {
		r := run(t, kind, app{
			fresh: fresh,
			net:   func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) },
			mount: func(m *Mount) { m.WriteTimeout = patience },
		})
		c := r.dial()
		for range 2 {
			if got := c.get("/net"); len(got.text) != 3<<20 {
				t.Errorf("%d bytes", len(got.text))
			}
		}
	})
}

// An idle connection of the http.Server is parked as any other.
func TestParked(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("connections are parked on Linux")
	}
	for _, fresh := range []bool{false, true} {
		r := run(t, "tcp", app{fresh: fresh, set: func(s *lifecycle.Server) { s.ParkAfter = time.Millisecond }})
		c := r.dial()
		for range 5 {
			if got := c.do("POST", "/net", "x"); got.text != `net POST /net "x" <nil>` {
				t.Error(got.text)
			}
			r.until("it is parked", func() bool { return r.Counts().Parked == 1 })
		}
		if infos := r.Conns(); len(infos) != 1 || infos[0].Requests != 5 {
			t.Errorf("connections %+v", infos)
		}
		r.finish()
		c.wantEOF()
	}
}

// The limits of connections hold in the http.Server, too.
func TestConnectionLimits(t *testing.T) {
	for name, set := range map[string]func(*lifecycle.Server){
		"MaxRequestsPerConn": func(s *lifecycle.Server) { s.HTTP.MaxRequestsPerConn = 3 },
		"MaxConnAge":         func(s *lifecycle.Server) { s.MaxConnAge = time.Nanosecond },
		"DisableKeepalive":   func(s *lifecycle.Server) { s.HTTP.DisableKeepalive = true },
	} {
		for _, last := range []string{"/net", "/native"} {
			for _, fresh := range []bool{false, true} {
				r := run(t, "tcp", app{fresh: fresh, set: set})
				c := r.dial()
				if name == "MaxRequestsPerConn" {
					c.get("/net")
					c.get("/net")
				}
				if got := c.get(last); !got.Close {
					t.Errorf("%s: %s does not close", name, last)
				}
				c.wantEOF()
			}
		}
	}
}

// A client that dribbles a header, or keeps a handler waiting for its body, is ended.
func TestSlowClients(t *testing.T) {
	const short = 50 * time.Millisecond
	for name, set := range map[string]func(*Mount, *lifecycle.Server){
		"ReadHeaderTimeout": func(m *Mount, _ *lifecycle.Server) { m.HTTP.ReadHeaderTimeout = short },
		"MinReadRate":       func(_ *Mount, s *lifecycle.Server) { s.MinReadRate = lifecycle.Rate{Bytes: 1000, Per: short} },
		"ReadBodyTimeout":   func(m *Mount, _ *lifecycle.Server) { m.ReadBodyTimeout = short },
	} {
		if name == "MinReadRate" && runtime.GOOS != "linux" {
			continue
		}
		var life *lifecycle.Server
		r := run(t, "tcp", app{set: func(s *lifecycle.Server) { life = s }, mount: func(m *Mount) { set(m, life) }})
		c := r.dial()
		c.get("/net")
		if name == "ReadBodyTimeout" {
			c.send("POST /net HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhe")
			if got := c.reply("POST"); !strings.Contains(got.text, "i/o timeout") {
				t.Error(got.text)
			}
		} else {
			c.send("GET /net HTTP/1.1\r\nHo")
			if got := c.reply("GET"); got.StatusCode != http.StatusBadRequest { // so does http.Server alone
				t.Errorf("%s: %v", name, got)
			}
		}
		c.wantEOF()
	}
}

// A response that nobody reads does not hold its handler for ever.
func TestWriteTimeout(t *testing.T) {
	failed := make(chan error, 1)
	r := run(t, "tcp", app{
		net: func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					failed <- err
					return
				}
			}
		},
		mount: func(m *Mount) { m.WriteTimeout = 50 * time.Millisecond },
	})
	r.dial().send(request("GET", "/net", ""))
	if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

// None of the fasthttp.Server's settings changes who is answered what.
func TestSettings(t *testing.T) {
	for name, set := range map[string]func(*fasthttp.Server){
		"KeepHijackedConns":             func(h *fasthttp.Server) { h.KeepHijackedConns = true },
		"ReduceMemoryUsage":             func(h *fasthttp.Server) { h.ReduceMemoryUsage = true },
		"both":                          func(h *fasthttp.Server) { h.KeepHijackedConns, h.ReduceMemoryUsage = true, true },
		"StreamRequestBody":             func(h *fasthttp.Server) { h.StreamRequestBody = true },
		"DisableHeaderNamesNormalizing": func(h *fasthttp.Server) { h.DisableHeaderNamesNormalizing = true },
		"timeouts":                      func(h *fasthttp.Server) { h.ReadTimeout, h.WriteTimeout, h.IdleTimeout = patience, patience, patience },
		"HeaderReceived": func(h *fasthttp.Server) {
			h.HeaderReceived = func(*fasthttp.RequestHeader) fasthttp.RequestConfig { panic("oh") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, "tcp", app{set: func(s *lifecycle.Server) { set(s.HTTP) }})
			c := r.dial()
			for range 2 {
				for _, e := range exchanges {
					c.send(e.text)
					c.want(e.method, e.answer)
				}
				c.send(allExchanges())
				c.wantAll()
			}
			for range 2 * nativesInARow {
				c.get("/native")
			}
			c.get("/net")
			r.finish()
			c.wantEOF()
		})
	}
}

// Clients that vanish within a body, or before the response has been written, and
// handlers that use what they were given after they have returned, disturb nobody.
func TestClientsVanish(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		var late sync.WaitGroup
		use := func(r *http.Request) {
			late.Go(func() {
				for range 20 {
					if name := r.Header.Get("X-Name"); name != r.URL.Path {
						t.Errorf("%s has become %s", r.URL, name)
					}
					if n, err := r.Body.Read(make([]byte, 10)); n > 0 && err == nil && r.Context().Err() != nil {
						t.Error("read from another's body")
					}
					time.Sleep(100 * time.Microsecond)
				}
			})
		}
		r := run(t, kind, app{fresh: fresh, net: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/net/timeout" {
				http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					late.Go(func() {
						time.Sleep(2 * time.Millisecond)
						_, _ = io.WriteString(w, "late")
					})
					sayNet(w, r)
				}), time.Millisecond, "timeout").ServeHTTP(w, r)
				return
			}
			sayNet(w, r)
			use(r)
		}})
		var clients sync.WaitGroup
		for i := range 20 {
			clients.Go(func() {
				c := r.dial()
				defer func() { _ = c.Close() }()
				paths := []string{"/net/keep", "/native", "/net/timeout"}
				for j := range 6 {
					path := paths[(i+j)%len(paths)]
					text := request("POST", path, strings.Repeat("x", 5000), "X-Name", path)
					if j == 5 {
						text = text[:len(text)-1-i*100]
					}
					if _, err := io.WriteString(c.Conn, text); err != nil || j == 5 {
						return
					}
					if i%2 == 0 {
						if resp, err := http.ReadResponse(c.r, nil); err == nil {
							_, _ = io.Copy(io.Discard, resp.Body)
						}
					}
				}
			})
		}
		clients.Wait()
		r.until("they are gone", func() bool { return r.Counts().Total() == 0 })
		late.Wait()
		c := r.dial()
		c.send(request("POST", "/net/keep", "whole", "X-Name", "/net/keep"))
		c.want("POST", `net POST /net/keep "whole" <nil>`)
		late.Wait()
		r.finish()
	})
}
