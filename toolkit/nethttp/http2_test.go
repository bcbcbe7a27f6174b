package nethttp

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// httpClient is a client of net/http that speaks HTTP/2.
func (r *running) httpClient() *http.Client {
	addr := r.ListenAddrs()[0]
	p := new(http.Protocols)
	p.SetHTTP2(r.HTTP.TLSConfig != nil)
	p.SetUnencryptedHTTP2(r.HTTP.TLSConfig == nil)
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, addr.Network(), addr.String())
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		Protocols:       p,
	}
	r.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

func (r *running) url(path string) string {
	if r.HTTP.TLSConfig != nil {
		return "https://t" + path
	}
	return "http://t" + path
}

// fetch makes a request and returns the response's text.
func (r *running) fetch(c *http.Client, method, path, body string) string {
	r.t.Helper()
	req, err := http.NewRequest(method, r.url(path), strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return fmt.Sprintf("%s %d %s", resp.Proto, resp.StatusCode, b)
}

func TestHTTP2(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		r := run(t, kind, app{fresh: fresh})
		c := r.httpClient()
		for range 3 {
			for _, tt := range []struct{ method, path, body, want string }{
				{"GET", "/net/1?a=b", "", `HTTP/2.0 200 net GET /net/1?a=b "" <nil>`},
				{"GET", "/native/1?a=b", "", `HTTP/2.0 200 native GET /native/1?a=b ""`},
				{"POST", "/native/2", "hello", `HTTP/2.0 200 native POST /native/2 "hello"`},
				{"POST", "/net/2", "hello", `HTTP/2.0 200 net POST /net/2 "hello" <nil>`},
				{"HEAD", "/native/3", "", `HTTP/2.0 200 `},
			} {
				if got := r.fetch(c, tt.method, tt.path, tt.body); got != tt.want {
					t.Errorf("%s; want %s", got, tt.want)
				}
			}
		}
		r.until("its requests are counted", func() bool {
			infos := r.Conns()
			return len(infos) == 1 && infos[0].Requests == 15 && infos[0].State == lifecycle.StateIdle
		})
		if info := r.Conns()[0]; !info.Adopted || !info.Multiplexed || info.Route != "" {
			t.Errorf("%+v", info)
		}
		one := r.dial() // of HTTP/1, on the same listener
		if got := one.get("/native/1").text; got != `native GET /native/1 ""` {
			t.Error(got)
		}
		if got := one.get("/net/1").text; got != `net GET /net/1 "" <nil>` {
			t.Error(got)
		}
		r.finish()
		if report := r.Report(); report.Open.Total() != 2 || len(report.Cut) != 0 {
			t.Errorf("%+v", report)
		}
	})
}

// What handlers see is what they see in net/http.
func TestHTTP2Request(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			plain := kind == "tcp"
			r := run(t, kind, app{
				net: func(w http.ResponseWriter, r *http.Request) {
					_, hijacks := w.(http.Hijacker)
					_, reads := w.(io.ReaderFrom)
					_, flushes := w.(http.Flusher)
					_, pushes := w.(http.Pusher)
					_, local := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
					_, server := r.Context().Value(http.ServerContextKey).(*http.Server)
					fmt.Fprint(w, r.Proto, r.Host, r.TLS == nil, hijacks, reads, flushes, pushes, local, server, http.NewResponseController(w).EnableFullDuplex())
				},
				native: func(ctx *fasthttp.RequestCtx) {
					ctx.SetConnectionClose() // which would not be HTTP/2
					ctx.Response.Header.Set("Keep-Alive", "timeout=5")
					fmt.Fprintf(ctx, "%s %s %s %s %v %v %s", ctx.Request.Header.Protocol(), ctx.Host(), ctx.URI().Scheme(), ctx.Request.Header.Peek("X-A"), IsStream(ctx), ctx.IsTLS(), ctx.RemoteAddr().Network())
				},
			})
			c := r.httpClient()
			if got, want := r.fetch(c, "GET", "/net", ""), fmt.Sprint("HTTP/2.0 200 HTTP/2.0t", plain, false, false, true, true, true, true, nil); got != want {
				t.Errorf("%s; want %s", got, want)
			}
			for range 2 {
				req, _ := http.NewRequest("GET", r.url("/native"), nil)
				req.Header.Set("X-A", "b")
				resp, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				b, _ := io.ReadAll(resp.Body)
				scheme := "https"
				if plain {
					scheme = "http"
				}
				if want := fmt.Sprintf("HTTP/2.0 t %s b true %v tcp", scheme, !plain); string(b) != want {
					t.Errorf("%s; want %s", b, want)
				}
				if resp.Header.Get("Keep-Alive") != "" || resp.Header.Get("Connection") != "" {
					t.Errorf("%v", resp.Header)
				}
			}
			if infos := r.Conns(); len(infos) != 1 {
				t.Errorf("more than one connection: %+v", infos)
			}
		})
	}
}

// Fifty streams at a time, of both kinds, on one connection.
func TestHTTP2Streams(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			const n = 50
			var all sync.WaitGroup
			all.Add(n)
			meet := func() { all.Done(); all.Wait() }
			r := run(t, kind, app{
				net:    func(w http.ResponseWriter, r *http.Request) { meet(); sayNet(w, r) },
				native: func(ctx *fasthttp.RequestCtx) { meet(); sayNative(ctx) },
			})
			c := r.httpClient()
			// The first one makes the connection.
			var clients sync.WaitGroup
			for i := range n {
				if i == 1 {
					r.until("the first one runs", func() bool { return r.Counts().Active == 1 })
				}
				clients.Go(func() {
					path, want := fmt.Sprintf("/net/%d", i), `HTTP/2.0 200 net POST /net/%d "hello" <nil>`
					if i%2 == 0 {
						path, want = fmt.Sprintf("/native/%d", i), `HTTP/2.0 200 native POST /native/%d "hello"`
					}
					if got := r.fetch(c, "POST", path, "hello"); got != fmt.Sprintf(want, i) {
						t.Error(got)
					}
				})
			}
			clients.Wait()
			if infos := r.Conns(); len(infos) != 1 || infos[0].Requests != n {
				t.Errorf("%+v", infos)
			}
			r.finish()
		})
	}
}

// Bodies larger than all windows, both ways at the same time, and trailers.
func TestHTTP2Bodies(t *testing.T) {
	const size = 8 << 20
	for _, kind := range []string{"tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			r := run(t, kind, app{
				net: func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Trailer", "X-Sum")
					n, err := io.Copy(w, r.Body)
					w.Header().Set("X-Sum", fmt.Sprint(n, err, r.Trailer.Get("X-Sent")))
					w.Header().Set(http.TrailerPrefix+"X-Late", "yes")
				},
				native: func(ctx *fasthttp.RequestCtx) {
					_ = ctx.Response.Header.SetTrailer("X-Sum")
					ctx.Response.Header.Set("X-Sum", fmt.Sprint(len(ctx.PostBody()), string(ctx.Request.Header.Peek("X-Sent"))))
					ctx.Response.SetBodyStream(bytes.NewReader(bytes.Clone(ctx.PostBody())), -1)
				},
				set: func(s *lifecycle.Server) { s.HTTP.MaxRequestBodySize = size },
			})
			c := r.httpClient()
			for path, want := range map[string]string{"/net": fmt.Sprint(size, nil, "end"), "/native": fmt.Sprint(size, "end")} {
				req, _ := http.NewRequest("POST", r.url(path), io.LimitReader(endless{}, size))
				req.Trailer = http.Header{"X-Sent": {"end"}}
				resp, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				n, err := io.Copy(io.Discard, resp.Body)
				if n != size || err != nil || resp.Trailer.Get("X-Sum") != want {
					t.Errorf("%s: %d, %v, %v; want %s", path, n, err, resp.Trailer, want)
				}
				if path == "/net" && resp.Trailer.Get("X-Late") != "yes" {
					t.Errorf("%v", resp.Trailer)
				}
			}
			r.finish()
		})
	}
}

// endless is an endless body.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// A client that resets its stream is noticed, in handlers of both kinds, and nothing
// else on the connection is.
func TestHTTP2Reset(t *testing.T) {
	entered, ended := make(chan struct{}, 1), make(chan error, 1)
	var life *lifecycle.Server
	r := run(t, "tcp", app{
		net: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/net/wait" {
				entered <- struct{}{}
				<-r.Context().Done()
				ended <- r.Context().Err()
			}
			sayNet(w, r)
		},
		native: func(ctx *fasthttp.RequestCtx) {
			client := life.ClientContext(ctx)
			if client != life.ClientContext(ctx) {
				t.Error("two contexts for one request")
			}
			entered <- struct{}{}
			<-client.Done()
			ended <- context.Cause(client)
		},
		set: func(s *lifecycle.Server) { life = s },
	})
	c := r.httpClient()
	for path, want := range map[string]error{"/net/wait": context.Canceled, "/native": lifecycle.ErrClientGone} {
		ctx, cancel := context.WithCancel(context.Background())
		req, _ := http.NewRequestWithContext(ctx, "GET", r.url(path), nil)
		done := make(chan error, 1)
		go func() {
			_, err := c.Do(req)
			done <- err
		}()
		<-entered
		if got := r.fetch(c, "GET", "/net", ""); got != `HTTP/2.0 200 net GET /net "" <nil>` {
			t.Error(got)
		}
		cancel()
		if err := <-ended; !errors.Is(err, want) {
			t.Errorf("%s: %v; want %v", path, err, want)
		}
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if infos := r.Conns(); len(infos) != 1 {
		t.Errorf("%+v", infos)
	}
	r.until("it is idle", func() bool { return r.Counts().Idle == 1 })
}

// A panic ends its stream and no other.
func TestHTTP2Panic(t *testing.T) {
	g := newGate()
	r := run(t, "tls", app{net: func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/net/panic" {
			panic(http.ErrAbortHandler)
		}
		g.serve(w, r)
	}})
	c := r.httpClient()
	other := make(chan string, 1)
	go func() { other <- r.fetch(c, "GET", "/net", "") }()
	<-g.entered
	for range 3 {
		if resp, err := c.Get(r.url("/net/panic")); err == nil || !strings.Contains(err.Error(), "INTERNAL_ERROR") {
			t.Errorf("%+v, %v", resp, err)
		}
	}
	close(g.release)
	if got := <-other; got != "HTTP/2.0 200 late" {
		t.Error(got)
	}
	if infos := r.Conns(); len(infos) != 1 || infos[0].Requests != 4 {
		t.Errorf("%+v", infos)
	}
	r.finish()
}

// raw is a client of HTTP/2 that sends frames as the test wants them. Its requests are
// for "/net" and what follows.
type raw struct {
	*client
	next uint32 // stream
}

// rawHTTP2 connects, and says the preface and SETTINGS.
func (r *running) rawHTTP2() *raw {
	r.t.Helper()
	return dialHTTP2(r.t, r.ListenAddrs()[0], r.HTTP.TLSConfig != nil)
}

func dialHTTP2(t testing.TB, addr net.Addr, secure bool) *raw {
	t.Helper()
	nc, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	if secure {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	}
	t.Cleanup(func() { _ = nc.Close() })
	c := &raw{client: newClient(t, nc), next: 1}
	c.send(preface + string(appendFrame(nil, 0x4, 0, 0, nil)))
	return c
}

func appendFrame(b []byte, kind, flags byte, stream uint32, payload []byte) []byte {
	b = append(b, byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload)), kind, flags)
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

// headers is a header block: RFC 7541, literals that are not indexed.
func headers(fields ...string) (b []byte) {
	for i := 0; i+1 < len(fields); i += 2 {
		b = append(b, 0)
		for _, text := range fields[i : i+2] {
			b = append(append(b, byte(len(text))), text...)
		}
	}
	return b
}

// ask opens a stream, with a body to come if flags say so.
func (c *raw) ask(path string, flags byte) (stream uint32) {
	c.t.Helper()
	method := "GET"
	if flags&flagEndStream == 0 {
		method = "POST"
	}
	c.send(string(appendFrame(nil, frameHeaders, flags|flagEndHeaders, c.next,
		headers(":method", method, ":scheme", "http", ":authority", "t", ":path", path))))
	c.next += 2
	return c.next - 2
}

// frame reads the next frame that is not SETTINGS, WINDOW_UPDATE or PING, which it
// acknowledges.
func (c *raw) frame() (f frame, payload []byte, err error) {
	for {
		var header [9]byte
		if _, err := io.ReadFull(c.r, header[:]); err != nil {
			return f, nil, err
		}
		var fs frames
		fs.header = header
		fs.parse()
		payload = make([]byte, fs.size)
		if _, err := io.ReadFull(c.r, payload); err != nil {
			return f, nil, err
		}
		switch fs.kind {
		case 0x4, 0x8:
		case framePing:
			_, _ = c.Write(appendFrame(nil, framePing, flagAck, 0, payload))
		default:
			return fs.frame, payload, nil
		}
	}
}

// until reads frames until one of the kind, on the stream, with the flags.
func (c *raw) until(kind byte, stream uint32, flags byte) (f frame, payload []byte) {
	c.t.Helper()
	for {
		f, payload, err := c.frame()
		if err != nil {
			c.t.Fatalf("waiting for a frame %d of stream %d: %v", kind, stream, err)
		}
		if f.kind == kind && f.stream == stream && f.flags&flags == flags {
			return f, payload
		}
		if f.kind == frameGoAway || f.kind == frameReset && f.stream == stream {
			c.t.Fatalf("waiting for a frame %d of stream %d: frame %+v %x", kind, stream, f, payload)
		}
	}
}

// wantGoAway wants a GOAWAY as the next frame.
func (c *raw) wantGoAway(last uint32, code uint32) {
	c.t.Helper()
	f, payload, err := c.frame()
	if err != nil || f.kind != frameGoAway {
		c.t.Fatalf("%+v, %v; want GOAWAY", f, err)
	}
	if gotLast, gotCode := binary.BigEndian.Uint32(payload), binary.BigEndian.Uint32(payload[4:]); gotLast != last || gotCode != code {
		c.t.Fatalf("GOAWAY of %d, %d; want %d, %d", gotLast, gotCode, last, code)
	}
}

// On the drain's begin clients are asked at once to open no more streams; those that
// are on their way are served. The second GOAWAY says which was the last one, and the
// connection ends, with a FIN and without the second for which net/http waits.
func TestHTTP2GoAway(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		g := newGate()
		r := run(t, kind, app{fresh: fresh, set: withLastCall(100 * time.Millisecond), net: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/net/late" {
				g.serve(w, r)
				return
			}
			sayNet(w, r)
		}})
		c, idle := r.rawHTTP2(), r.rawHTTP2()
		idle.until(frameData, idle.ask("/net", flagEndStream), flagEndStream)
		late := c.ask("/net/late", flagEndStream)
		<-g.entered
		began := time.Now()
		r.Drain()
		c.wantGoAway(maxStream, noError)
		idle.wantGoAway(maxStream, noError)
		c.until(frameData, c.ask("/net/crosses", flagEndStream), flagEndStream)
		idle.wantGoAway(1, noError)
		idle.wantEOF()
		_ = idle.Close()
		if took := time.Since(began); took < 100*time.Millisecond {
			t.Errorf("the last call was over after %v", took)
		}
		select {
		case <-r.done:
			t.Fatal("the drain is over")
		case <-time.After(20 * time.Millisecond):
		}
		close(g.release)
		c.wantGoAway(3, noError) // with the response, as the client is known to know
		c.until(frameData, late, flagEndStream)
		answered := time.Now()
		c.wantEOF()
		_ = c.Close()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		if took := time.Since(answered); took > 900*time.Millisecond {
			t.Errorf("it took %v after the last response", took)
		}
		if report := r.Report(); report.Told != 2 || report.LastCalled != 1 {
			t.Errorf("%+v", report)
		}
	})
}

// A client that opens streams though it was asked not to does not hold up the drain.
func TestHTTP2DeafClient(t *testing.T) {
	r := run(t, "tcp", app{fresh: true})
	c := r.rawHTTP2()
	c.until(frameData, c.ask("/net", flagEndStream), flagEndStream)
	r.Drain()
	for err := error(nil); err == nil; {
		var f frame
		if f, _, err = c.frame(); f.kind == frameData || f.kind == frameGoAway {
			_, _ = c.Write(appendFrame(nil, frameHeaders, flagEndStream|flagEndHeaders, c.next,
				headers(":method", "GET", ":scheme", "http", ":authority", "t", ":path", "/net")))
			c.next += 2
		}
	}
	_ = c.Close()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

// A client whose bytes come one by one is served.
func TestHTTP2ByteByByte(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		r := run(t, kind, app{fresh: fresh})
		addr := r.ListenAddrs()[0]
		nc, err := net.Dial(addr.Network(), addr.String())
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(patience))
		if kind == "tls" {
			nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		}
		defer func() { _ = nc.Close() }()
		c := &raw{client: newClient(t, nc), next: 3}
		text := preface + string(appendFrame(nil, 0x4, 0, 0, nil)) + string(appendFrame(nil, frameHeaders, flagEndStream|flagEndHeaders, 1,
			headers(":method", "GET", ":scheme", "http", ":authority", "t", ":path", "/net")))
		for i := range text {
			c.send(text[i : i+1])
			time.Sleep(100 * time.Microsecond)
		}
		_, payload := c.until(frameData, 1, 0)
		if want := `net GET /net "" <nil>`; string(payload) != want {
			t.Errorf("%q; want %q", payload, want)
		}
	})
}

// Something else that begins as the preface does is a request of HTTP/1.
func TestHTTP2AlmostPreface(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		r := run(t, "tcp", app{fresh: fresh})
		for _, text := range []string{"P", "PR", "PRI * HTTP/2.0\r\n"} {
			c := r.dial()
			c.send(text)
			time.Sleep(10 * time.Millisecond) // a segment of its own
			if text == "P" {
				c.send("OST /net HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nhi")
				c.want("POST", `net POST /net "hi" <nil>`)
				continue
			}
			c.send("X: y\r\nHost: t\r\n\r\n")
			got := c.reply("GET")
			if asNetHTTP := fresh && got.text == `net PRI * "" <nil>`; got.StatusCode < 400 && !asNetHTTP {
				t.Errorf("%q: %+v", text, got)
			}
		}
		c := r.dial()
		c.get("/net") // behind a request there is no preface
		c.send(preface)
		if b, err := c.r.ReadByte(); err == nil && b != 'H' {
			t.Errorf("%q", b)
		}
		r.finish()
	}
}

// protocols makes a set of them.
func protocols(http1, http2, unencrypted bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(http1)
	p.SetHTTP2(http2)
	p.SetUnencryptedHTTP2(unencrypted)
	return p
}

// HTTP/2 is on or off by what net/http is told of it.
func TestHTTP2Settings(t *testing.T) {
	for _, tt := range []struct {
		name       string
		set        func(*http.Server)
		tls, clear bool
	}{
		{"none", func(*http.Server) {}, true, true},
		{"HTTP/1", func(h *http.Server) { h.Protocols = protocols(true, false, false) }, false, false},
		{"HTTP/2", func(h *http.Server) { h.Protocols = protocols(true, true, false) }, true, false},
		{"without TLS", func(h *http.Server) { h.Protocols = protocols(true, false, true) }, false, true},
		{"alone", func(h *http.Server) { h.Protocols = protocols(false, true, true) }, true, true},
		{"TLSNextProto", func(h *http.Server) { h.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){} }, false, false},
	} {
		forms(t, func(t *testing.T, kind string, fresh bool) {
			t.Run(tt.name, func(t *testing.T) {
				r := run(t, kind, app{fresh: fresh, mount: func(m *Mount) { tt.set(m.HTTP) }})
				on, c := tt.clear, r.httpClient()
				if kind == "tls" {
					on = tt.tls
				}
				if !on {
					if resp, err := c.Get(r.url("/net")); err == nil && resp.ProtoMajor > 1 {
						t.Errorf("%+v", resp)
					}
					if infos := r.Conns(); len(infos) > 0 && infos[0].Multiplexed {
						t.Errorf("%+v", infos)
					}
					return
				}
				if got := r.fetch(c, "GET", "/net", ""); got != `HTTP/2.0 200 net GET /net "" <nil>` {
					t.Error(got)
				}
			})
		})
	}
}

// Where net/http has no HTTP/2, HTTP/1 is what there is, and it is said.
func TestHTTP2NotToBeHad(t *testing.T) {
	t.Setenv("GODEBUG", "http2server=0")
	var said bytes.Buffer
	r := run(t, "tls", app{mount: func(m *Mount) { m.HTTP.ErrorLog = log.New(&said, "", 0) }})
	if !strings.Contains(said.String(), "HTTP/2 is off") || slices.Contains(r.HTTP.TLSConfig.NextProtos, "h2") {
		t.Errorf("%q, %q", said.String(), r.HTTP.TLSConfig.NextProtos)
	}
	if got := r.dial().get("/net").text; got != `net GET /net "" <nil>` {
		t.Error(got)
	}
}

// Who connects while the drain has begun gets a request served, and is asked to leave
// with its response.
func TestHTTP2ComesLate(t *testing.T) {
	r := run(t, "tcp", app{set: func(s *lifecycle.Server) { s.ShutdownDelay = patience }})
	r.Drain()
	c := r.rawHTTP2()
	stream := c.ask("/net", flagEndStream)
	asked, answered := false, false
	for !asked || !answered {
		f, payload, err := c.frame()
		if err != nil {
			t.Fatal(err)
		}
		asked = asked || f.kind == frameGoAway && binary.BigEndian.Uint32(payload) == maxStream
		answered = answered || f.kind == frameData && f.stream == stream && f.flags&flagEndStream != 0
	}
}

// Thousands of streams, most of which their client resets at once, leave nothing.
func TestHTTP2NothingIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, kind := range []string{"tcp", "tls"} {
		r := run(t, kind, app{})
		for range 20 {
			c := r.rawHTTP2()
			for range 100 {
				stream := c.ask("/net", flagEndStream)
				c.send(string(appendFrame(nil, frameReset, 0, stream, []byte{0, 0, 0, 8})))
			}
			last := c.ask("/net", flagEndStream)
			c.until(frameData, last, flagEndStream)
			_ = c.Close()
		}
		r.until("all have gone", func() bool { return r.Counts().Total() == 0 })
		r.finish()
	}
	noneLeft(t, before)
}

// What TLS offers is in the order of preference, nothing twice, and the user's is kept.
func TestHTTP2NextProtos(t *testing.T) {
	for _, tt := range []struct {
		given, want []string
		off         bool
	}{
		{nil, []string{"h2", "http/1.1"}, false},
		{[]string{"http/1.1"}, []string{"http/1.1", "h2"}, false},
		{[]string{"h2"}, []string{"h2", "http/1.1"}, false},
		{[]string{"acme-tls/1", "h2", "http/1.1"}, []string{"acme-tls/1", "h2", "http/1.1"}, false},
		{[]string{"h2", "http/1.1"}, []string{"http/1.1"}, true},
	} {
		given := &tls.Config{Certificates: []tls.Certificate{certificate()}, MinVersion: tls.VersionTLS12, NextProtos: slices.Clone(tt.given)}
		r := run(t, "tls", app{
			set: func(s *lifecycle.Server) { s.HTTP.TLSConfig = given },
			mount: func(m *Mount) {
				if tt.off {
					m.HTTP.Protocols = protocols(true, false, false)
				}
			},
		})
		if got := r.HTTP.TLSConfig.NextProtos; !slices.Equal(got, tt.want) || !slices.Equal(given.NextProtos, tt.given) {
			t.Errorf("%q gives %q, and is %q; want %q", tt.given, got, given.NextProtos, tt.want)
		}
	}
}

// Suites that HTTP/2 prohibits are refused, and it is not offered where none is left.
func TestHTTP2CipherSuites(t *testing.T) {
	const required, prohibited = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA
	for _, fresh := range []bool{false, true} {
		r := run(t, "tls", app{fresh: fresh, set: func(s *lifecycle.Server) { s.HTTP.TLSConfig.CipherSuites = []uint16{required, prohibited} }})
		for suite, want := range map[uint16]byte{required: 0x4, prohibited: frameGoAway} {
			c, err := tls.Dial("tcp", r.ListenAddrs()[0].String(), &tls.Config{
				InsecureSkipVerify: true, NextProtos: []string{"h2"}, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite},
			})
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			_, _ = io.WriteString(c, preface)
			var header [9]byte
			if _, err := io.ReadFull(c, header[:]); err != nil || header[3] != want {
				t.Errorf("%x: frame %x, %v; want %d", suite, header, err, want)
			}
			_ = c.Close()
		}
		r = run(t, "tls", app{fresh: fresh, set: func(s *lifecycle.Server) { s.HTTP.TLSConfig.CipherSuites = []uint16{prohibited} }})
		if got := r.HTTP.TLSConfig.NextProtos; slices.Contains(got, "h2") {
			t.Errorf("%q", got)
		}
	}
}

// At the deadline contexts end, handlers have time to answer; what is left is cut, and
// it is said which request had been under way for longest.
func TestHTTP2Deadline(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		t.Parallel() // most of it is the AbortTimeout
		never := make(chan struct{})
		defer close(never)
		g := &gate{make(chan struct{}, 9), never}
		r := run(t, kind, app{
			fresh: fresh,
			net: func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/net/heeds":
					g.entered <- struct{}{}
					<-r.Context().Done()
					_, _ = io.WriteString(w, "in time")
				default:
					g.serve(w, r)
				}
			},
			set: func(s *lifecycle.Server) { s.DrainTimeout, s.AbortTimeout = 50*time.Millisecond, time.Second },
		})
		c := r.rawHTTP2()
		heeds := c.ask("/net/heeds", flagEndStream)
		<-g.entered
		for _, path := range []string{"/net/stuck", "/net/other"} {
			c.ask(path, flagEndStream)
			<-g.entered
		}
		if infos := r.Conns(); len(infos) != 1 || infos[0].Route != "GET /net/heeds" || infos[0].Requests != 3 {
			t.Errorf("%+v", infos)
		}
		r.Drain()
		c.wantGoAway(maxStream, noError)
		for last, answer := uint32(maxStream), ""; last != 5 || answer != "in time"; { // in any order
			f, payload, err := c.frame()
			if err != nil {
				t.Fatalf("%v; the last GOAWAY was of %d, the answer %q", err, last, answer)
			}
			switch {
			case f.kind == frameGoAway:
				last = binary.BigEndian.Uint32(payload)
			case f.kind == frameData && f.stream == heeds:
				answer += string(payload)
			}
		}
		if err := r.wait(); !errors.Is(err, lifecycle.ErrDrainTimeout) {
			t.Error(err)
		}
		cut := r.Report().Cut
		if len(cut) != 1 || cut[0].Route != "GET /net/stuck" || !cut[0].Multiplexed {
			t.Errorf("%+v", cut)
		}
	})
}

// Handlers are awaited whose clients have gone.
func TestHTTP2HandlersAreAwaited(t *testing.T) {
	g := newGate()
	r := run(t, "tls", app{net: g.serve})
	c := r.rawHTTP2()
	c.ask("/net", flagEndStream)
	<-g.entered
	_ = c.Close()
	r.Drain()
	select {
	case <-r.done:
		t.Fatal("the drain is over")
	case <-time.After(50 * time.Millisecond):
	}
	close(g.release)
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

// Limits of connections hold: the client is asked to leave, politely, or is not let in.
func TestHTTP2ConnectionLimits(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		r := run(t, kind, app{fresh: fresh, set: func(s *lifecycle.Server) { s.HTTP.MaxRequestsPerConn = 2 }})
		c := r.rawHTTP2()
		c.until(frameData, c.ask("/net", flagEndStream), flagEndStream)
		c.ask("/net", flagEndStream)
		asked := false
		for range 3 {
			f, payload, err := c.frame()
			if err != nil {
				t.Fatal(err)
			}
			asked = asked || f.kind == frameGoAway && binary.BigEndian.Uint32(payload) == maxStream
		}
		if !asked {
			t.Error("it is not asked to leave")
		}
		if kind != "tls" {
			return
		}
		r = run(t, kind, app{fresh: fresh, set: func(s *lifecycle.Server) { s.HTTP.Concurrency = 1 }})
		c = r.rawHTTP2()
		c.until(frameData, c.ask("/net", flagEndStream), flagEndStream)
		r.rawHTTP2().wantGoAway(0, enhanceYourCalm)
		c.until(frameData, c.ask("/net", flagEndStream), flagEndStream)
	})
}

// A client that takes nothing of one stream loses that one. So does one that does not
// send its body.
func TestHTTP2Timeouts(t *testing.T) {
	failed := make(chan error, 9)
	r := run(t, "tcp", app{
		net: func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/net/large":
				_, err := io.Copy(w, io.LimitReader(endless{}, 10<<20))
				failed <- err
			case "/net/upload":
				_, err := io.ReadAll(r.Body)
				failed <- err
			default:
				for range 4 { // with pauses longer than a write may take
					time.Sleep(60 * time.Millisecond)
					_, _ = io.WriteString(w, "tick")
					_ = http.NewResponseController(w).Flush()
				}
			}
		},
		mount: func(m *Mount) { m.WriteTimeout, m.ReadBodyTimeout = 50*time.Millisecond, 50*time.Millisecond },
	})
	c := r.rawHTTP2()
	large := c.ask("/net/large", flagEndStream)
	if err := <-failed; err == nil {
		t.Error("all was taken")
	}
	c.untilReset(large)
	upload := c.ask("/net/upload", 0)
	if err := <-failed; err == nil {
		t.Error("all was sent")
	}
	c.untilReset(upload)
	c.send(string(appendFrame(nil, 0x8, 0, 0, []byte{0, 16, 0, 0}))) // the connection's window
	slow := c.ask("/net/slow", flagEndStream)
	c.until(frameData, slow, flagEndStream)
}

// untilReset reads until a stream is reset, or has ended.
func (c *raw) untilReset(stream uint32) {
	c.t.Helper()
	for {
		f, _, err := c.frame()
		if err != nil || f.kind == frameGoAway {
			c.t.Fatalf("%+v, %v", f, err)
		}
		if f.stream == stream && f.kind == frameReset {
			return
		}
	}
}

// Native handlers do what they can do by HTTP/2.
func TestHTTP2Native(t *testing.T) {
	r := run(t, "tls", app{native: func(ctx *fasthttp.RequestCtx) {
		switch string(ctx.Path()) {
		case "/native/hijack":
			ctx.Hijack(func(net.Conn) {})
		case "/native/nothing": // nor has it a length
			ctx.SetStatusCode(http.StatusNoContent)
			ctx.SetBodyString("nothing")
		case "/native/timeout":
			ctx.TimeoutError("too slow")
		case "/native/stream":
			ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
				for i := range 3 {
					fmt.Fprint(w, i)
					_ = w.Flush()
				}
			})
		}
	}, set: func(s *lifecycle.Server) { s.HTTP.MaxRequestBodySize = 1000 }})
	c := r.httpClient()
	for path, want := range map[string]string{
		"/native/hijack": "HTTP/2.0 501 HTTP/2 cannot be hijacked", "/native/timeout": "HTTP/2.0 408 too slow", "/native/stream": "HTTP/2.0 200 012",
		"/native/nothing": "HTTP/2.0 204 ",
	} {
		if got := r.fetch(c, "GET", path, ""); got != want {
			t.Errorf("%s; want %s", got, want)
		}
	}
	if got := r.fetch(c, "POST", "/native", strings.Repeat("x", 2000)); !strings.HasPrefix(got, "HTTP/2.0 413") {
		t.Error(got)
	}
	if infos := r.Conns(); len(infos) != 1 || infos[0].Requests != 5 {
		t.Errorf("%+v", infos)
	}
}
