package lifecycle

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// Clients of these tests that are too slow are so by far, and honest ones far from it.
var (
	strict  = Rate{Bytes: 2000, Per: 100 * time.Millisecond}
	lenient = Rate{Bytes: 100, Per: time.Second}
)

// tooSlow collects the events of clients that were too slow.
type tooSlow struct {
	mu    sync.Mutex // guards names
	names []string
}

func (s *tooSlow) note(e Event) {
	if e.Kind == EventTooSlow && e.Addr != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.names = append(s.names, e.Name)
	}
}

func (s *tooSlow) want(t *testing.T, want string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := strings.Join(s.names, " "); got != want {
		t.Errorf("too slow were %q; want %q", got, want)
	}
}

// dribble sends a byte now and then, until the connection ends.
func (c *client) dribble() {
	for {
		if _, err := c.Write([]byte("1")); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestSlowRequestIsAnsweredWith408(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		for half, text := range halves {
			for _, used := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, used %v", kind, half, used), func(t *testing.T) {
					t.Parallel()
					var seen tooSlow
					h := quiet(hello)
					h.MaxRequestBodySize = 1 << 20
					s := &Server{HTTP: h, MinReadRate: strict, OnEvent: seen.note}
					r := runKind(t, kind, s)
					c := r.dial()
					if used {
						c.get("/")
					}
					c.send(strings.Replace(text, "100\r\n", "100000\r\n", 1))
					if half != "chunk" { // whose length would not be one
						go c.dribble()
					}
					if resp := c.response(); resp.StatusCode != fasthttp.StatusRequestTimeout || !resp.Close {
						t.Errorf("answered %v, close %v", resp.Status, resp.Close)
					}
					_ = c.Close()
					r.Drain()
					if err := r.wait(); err != nil {
						t.Error(err)
					}
					seen.want(t, "request")
					if n := s.pace.slowRequests.Load(); n != 1 {
						t.Errorf("%d counted", n)
					}
				})
			}
		}
	}
}

// The reader's deadline is fasthttp's, too: with all of its timeouts, and a body that
// has one of its own.
func TestSlowRequestWithTimeouts(t *testing.T) {
	t.Parallel()
	h := quiet(hello)
	h.ReadTimeout, h.WriteTimeout, h.IdleTimeout = time.Hour, time.Hour, time.Hour
	h.HeaderReceived = func(*fasthttp.RequestHeader) fasthttp.RequestConfig {
		return fasthttp.RequestConfig{ReadTimeout: 2 * time.Hour}
	}
	r := runTCP(t, &Server{HTTP: h, MinReadRate: strict})
	c := r.dial()
	c.get("/")
	c.send(halves["body"])
	if resp := c.response(); resp.StatusCode != fasthttp.StatusRequestTimeout {
		t.Error(resp.Status)
	}
	c.wantEOF()
}

func TestHonestSlowRequestIsServed(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			r := runKind(t, kind, &Server{HTTP: quiet(hello), MinReadRate: lenient, MinWriteRate: lenient})
			c := r.dial()
			const pieces = 100
			c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n", pieces*20))
			for range pieces {
				time.Sleep(25 * time.Millisecond)
				c.send(strings.Repeat("x", 20))
			}
			if resp := c.response(); body(resp) != "hello" {
				t.Error(resp.Status)
			}
		})
	}
}

// Who has begun to read a body in a handler may take his time.
func TestSlowStreamedRequestIsTheHandlers(t *testing.T) {
	t.Parallel()
	began := make(chan struct{})
	h := quiet(func(ctx *fasthttp.RequestCtx) {
		close(began)
		all, err := io.ReadAll(ctx.RequestBodyStream())
		fmt.Fprint(ctx, len(all), err)
	})
	h.StreamRequestBody = true
	r := runTCP(t, &Server{HTTP: h, MinReadRate: strict, MinWriteRate: strict})
	c := r.dial()
	half := strings.Repeat("x", 50_000) // more than fasthttp reads ahead
	c.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n" + half)
	<-began
	time.Sleep(5 * strict.Per)
	c.send(half)
	if resp := c.response(); body(resp) != "100000 <nil>" {
		t.Error(resp.Status)
	}
}

func TestUnixSocketsHaveNoRate(t *testing.T) {
	t.Parallel()
	s := &Server{HTTP: quiet(hello), MinReadRate: strict, MinWriteRate: strict}
	listenOnKind(t, "unix", s)
	s.Addrs = append(s.Addrs, "127.0.0.1:0")
	r := run(t, s)
	c := r.dial()
	c.send(request[:10])
	time.Sleep(5 * strict.Per)
	c.send(request[10:])
	if resp := c.response(); body(resp) != "hello" {
		t.Error(resp.Status)
	}
}

// Requests that come to their end when the verdict comes: a handler that runs is
// answered, always.
func TestSlowRequestRacesItsVerdict(t *testing.T) {
	t.Parallel()
	var ran, answered, ended atomic.Int64
	h := quiet(func(ctx *fasthttp.RequestCtx) {
		ran.Add(1)
		all, err := io.ReadAll(ctx.RequestBodyStream())
		if err != nil || string(all) != "body" {
			t.Errorf("body %q, %v", all, err)
		}
		hello(ctx)
	})
	h.StreamRequestBody = true
	rate := Rate{Bytes: 10_000, Per: 20 * time.Millisecond}
	r := runTCP(t, &Server{HTTP: h, MinReadRate: rate, MinWriteRate: strict})
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			for range 30 {
				c := r.dial()
				c.send("POST / HTTP/1.1\r\nHost: t\r\nContent-")
				time.Sleep(rate.Per + rand.N(8*time.Millisecond))
				_, _ = io.WriteString(c.Conn, "Length: 4\r\n\r\nbody")
				switch resp, err := http.ReadResponse(c.r, nil); {
				case err != nil:
					ended.Add(1)
				case resp.StatusCode == fasthttp.StatusOK:
					answered.Add(1)
				case resp.StatusCode != fasthttp.StatusRequestTimeout:
					t.Error(resp.Status)
				}
				_ = c.Close()
			}
		})
	}
	clients.Wait()
	if ran.Load() != answered.Load() {
		t.Errorf("%d handlers ran, %d responses came", ran.Load(), answered.Load())
	}
	t.Logf("%d answered, %d ended without a response", answered.Load(), ended.Load())
}

// large is a response that no socket's buffers hold, medium one that they do.
var large, medium = bytes.Repeat([]byte("x"), 32<<20), bytes.Repeat([]byte("x"), 200<<10)

// dialSmall connects with a receive buffer that is as small as can be.
func (r *running) dialSmall() *client {
	r.t.Helper()
	d := net.Dialer{Control: func(_, _ string, rc syscall.RawConn) error {
		return rc.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	nc, err := d.Dial("tcp", r.ListenAddrs()[0].String())
	if err != nil {
		r.t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	if r.HTTP.TLSConfig != nil {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
	}
	return r.client(nc)
}

func TestSlowResponseIsReset(t *testing.T) {
	for name, answer := range map[string]fasthttp.RequestHandler{
		"buffered": func(ctx *fasthttp.RequestCtx) { ctx.Response.SetBodyRaw(large) },
		"reader":   func(ctx *fasthttp.RequestCtx) { ctx.SetBodyStream(bytes.NewReader(large), len(large)) },
		"writer": func(ctx *fasthttp.RequestCtx) {
			ctx.SetBodyStreamWriter(func(w *bufio.Writer) { _, _ = w.Write(large) })
		},
		"on an idle connection": func(ctx *fasthttp.RequestCtx) { ctx.Response.SetBodyRaw(medium) },
	} {
		for _, kind := range []string{"tcp", "tls"} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				var seen tooSlow
				s := &Server{HTTP: quiet(answer), MinWriteRate: strict, OnEvent: seen.note, LastCall: UntilIdle, ParkAfter: time.Hour}
				r := runKind(t, kind, s)
				c := r.dialSmall()
				c.send(request)
				if _, err := c.r.Peek(1); err != nil {
					t.Fatal(err)
				}
				r.Drain() // which waits for it
				if err := r.wait(); err != nil {
					t.Error(err)
				}
				if _, err := io.Copy(io.Discard, c.r); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the client sees %v; want a reset", err)
				}
				seen.want(t, "response")
				if n := s.pace.slowResponses.Load(); n != 1 {
					t.Errorf("%d counted", n)
				}
			})
		}
	}
}

// Who sends one request after the other and takes no response is too slow as well.
func TestSlowPipelineIsReset(t *testing.T) {
	t.Parallel()
	r := runTCP(t, &Server{HTTP: quiet(func(ctx *fasthttp.RequestCtx) { ctx.Response.SetBodyRaw(medium) }), MinWriteRate: strict})
	c := r.dialSmall()
	for {
		if _, err := io.WriteString(c.Conn, strings.Repeat(request, 100)); err != nil {
			if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Error(err)
			}
			return
		}
	}
}

func TestHonestSlowReaderIsServed(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			r := runKind(t, kind, &Server{HTTP: quiet(func(ctx *fasthttp.RequestCtx) { ctx.Response.SetBodyRaw(medium) }), MinReadRate: lenient, MinWriteRate: lenient})
			c := r.dialSmall()
			c.send(request)
			resp, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for {
				some, err := io.CopyN(io.Discard, resp.Body, 2000)
				n += int(some)
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Millisecond)
			}
			if n != len(medium) {
				t.Errorf("%d bytes", n)
			}
		})
	}
}

// A stream that has nothing to send, or little, is not its client's fault; nor is a
// handler that takes its time, a connection that rests, or a WebSocket.
func TestStreamsAndHandlersHaveNoRate(t *testing.T) {
	pause := 5 * strict.Per
	events := func(w *bufio.Writer) {
		for range 3 {
			_, _ = w.WriteString("event\n")
			_ = w.Flush()
			time.Sleep(pause)
		}
		for range 20 {
			_, _ = w.WriteString(".")
			_ = w.Flush()
			time.Sleep(strict.Per / 10)
		}
	}
	for _, kind := range []string{"tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			r := runKind(t, kind, &Server{MinReadRate: strict, MinWriteRate: strict, HTTP: quiet(func(ctx *fasthttp.RequestCtx) {
				switch string(ctx.Path()) {
				case "/stream":
					ctx.SetBodyStreamWriter(events)
				case "/hijack":
					ctx.Hijack(func(nc net.Conn) {
						time.Sleep(pause)
						_, _ = io.Copy(nc, nc)
					})
				default:
					time.Sleep(pause)
					hello(ctx)
				}
			})})
			c := r.dial()
			if got := body(c.get("/")); got != "hello" {
				t.Errorf("%q", got)
			}
			time.Sleep(pause)
			if got := body(c.get("/stream")); got != "event\nevent\nevent\n"+strings.Repeat(".", 20) {
				t.Errorf("%q", got)
			}
			c.get("/hijack")
			c.send("echo")
			_ = c.Conn.(interface{ CloseWrite() error }).CloseWrite()
			if got, err := io.ReadAll(c.r); string(got) != "echo" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// A client far away has something queued at every look, of a stream that has little to
// send: what was queued at the last one is gone.
func TestMarkOfATrickle(t *testing.T) {
	var m mark
	const queued = 10
	for now := time.Second; now < time.Minute; now += time.Second {
		acked := uint64(now / time.Second * queued)
		if m = m.next(acked, queued, now); now-m.since >= 2*time.Second {
			t.Fatalf("slow after %v: %+v", now, m)
		}
	}
	for range 3 { // nothing more is taken
		m = m.next(m.goal-1, queued, time.Hour)
	}
	if time.Hour-m.since < time.Minute/2 {
		t.Errorf("not slow: %+v", m)
	}
}

func TestSweepInterval(t *testing.T) {
	for _, tt := range []struct {
		a, b, want time.Duration
	}{
		{0, 0, 0},
		{time.Hour, 0, time.Second},
		{0, time.Second, 100 * time.Millisecond},
		{2 * time.Second, time.Second, 100 * time.Millisecond},
		{1, 0, time.Millisecond},
	} {
		if got := sweepInterval(Rate{1, tt.a}, Rate{1, tt.b}); got != tt.want {
			t.Errorf("%v and %v: %v; want %v", tt.a, tt.b, got, tt.want)
		}
	}
}
