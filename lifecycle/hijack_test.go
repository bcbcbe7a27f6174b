package lifecycle

import (
	"bufio"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// wantFarewell drains, and wants what a hijacked connection says when it is told.
func (r *running) wantFarewell(c *client) {
	r.t.Helper()
	for r.Counts() != (Counts{Hijacked: 1}) {
		time.Sleep(time.Millisecond)
	}
	r.Drain()
	if all, err := io.ReadAll(c.r); err != nil || string(all) != "bye" {
		r.t.Errorf("farewell %q, %v", all, err)
	}
	if err := r.wait(); err != nil {
		r.t.Error(err)
	}
	if rep := r.Report(); rep.Open != (Counts{Hijacked: 1}) || len(rep.Cut) != 0 {
		r.t.Errorf("report %+v", rep)
	}
}

// A hijack of which fasthttp sends no response is one as any other.
func TestContract09HijackWithoutAResponse(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			s := &Server{DrainTimeout: -1}
			s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
				ctx.HijackSetNoResponse(true)
				ctx.Hijack(func(c net.Conn) {
					_, _ = io.WriteString(c, "raw")
					<-s.Draining()
					_, _ = io.WriteString(c, "bye")
				})
			})
			r := runKind(t, kind, s)
			c := r.dial()
			c.send(request)
			got := make([]byte, 3)
			if _, err := io.ReadFull(c.r, got); err != nil || string(got) != "raw" {
				t.Fatalf("%q, %v", got, err)
			}
			r.wantFarewell(c)
		})
	}
}

// keepHijacked is a server that hands each connection it hijacks to another
// goroutine.
func keepHijacked() (s *Server, handed chan net.Conn) {
	handed = make(chan net.Conn, 1)
	s = &Server{HTTP: quiet(func(ctx *fasthttp.RequestCtx) {
		ctx.Hijack(func(c net.Conn) { handed <- c })
	})}
	s.HTTP.KeepHijackedConns = true
	return s, handed
}

func (r *running) awaitKept(n int) {
	for r.kept.len() < n {
		time.Sleep(time.Millisecond)
	}
}

// What outlives its hijack handler is awaited all the same, can be told, and its
// end is noticed.
func TestContract09KeptConnsAreTold(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			s, handed := keepHijacked()
			s.DrainTimeout = -1
			r := runKind(t, kind, s)
			c := r.dial()
			c.get("/")
			r.awaitKept(1)
			nc := <-handed
			go func() {
				<-r.Draining()
				_, _ = io.WriteString(nc, "bye")
				_ = nc.Close()
			}()
			r.wantFarewell(c)
		})
	}
}

func TestContract09KeptConnsAreCutAtTheDeadline(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			s, handed := keepHijacked()
			s.DrainTimeout, s.AbortTimeout = 30*time.Millisecond, -1
			r := runKind(t, kind, s)
			c := r.dial()
			c.get("/kept")
			r.awaitKept(1)
			nc := <-handed
			r.Drain()
			if err := r.wait(); !errors.Is(err, ErrDrainTimeout) {
				t.Error(err)
			}
			if n, err := nc.Read(make([]byte, 1)); err == nil {
				t.Errorf("its owner reads %d bytes", n)
			}
			c.wantNothing()
			if cut := r.Report().Cut; len(cut) != 1 || cut[0].State != StateHijacked || cut[0].Route != "GET /kept" || cut[0].Age < 30*time.Millisecond {
				t.Errorf("cut %+v", cut)
			}
		})
	}
}

// Its client has gone before the hijack could begin.
func TestContract09HijackThatFails(t *testing.T) {
	for _, keeps := range []bool{false, true} {
		entered, release := make(chan struct{}), make(chan struct{})
		h := quiet(func(ctx *fasthttp.RequestCtx) {
			close(entered)
			<-release
			ctx.SetBody(make([]byte, 1<<20))
			ctx.Hijack(func(net.Conn) { t.Error("hijacked") })
		})
		h.KeepHijackedConns = keeps
		h.WriteTimeout = time.Nanosecond
		r := runTCP(t, &Server{HTTP: h, DrainTimeout: -1})
		c := r.dial()
		c.send(request)
		<-entered
		_ = c.Close()
		close(release)
		r.Drain()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		if n := r.conns.open.Load(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	}
}

// Thousands of hijacks in a row leave nothing behind while the server runs.
func TestContract09ManyHijacksLeaveNothing(t *testing.T) {
	const clients, each = 8, 250
	for name, tt := range map[string]struct {
		keeps  bool
		hijack func(net.Conn)
	}{
		"closed by fasthttp":      {false, func(c net.Conn) { _, _ = io.WriteString(c, "x") }},
		"closed by its handler":   {true, func(c net.Conn) { _, _ = io.WriteString(c, "x"); _ = c.Close() }},
		"closed when it was kept": {true, func(c net.Conn) { go func() { _, _ = io.WriteString(c, "x"); _ = c.Close() }() }},
		"closed by its client":    {false, func(c net.Conn) { _, _ = io.WriteString(c, "x"); _, _ = io.Copy(io.Discard, c) }},
	} {
		t.Run(name, func(t *testing.T) {
			h := quiet(func(ctx *fasthttp.RequestCtx) { ctx.Hijack(tt.hijack) })
			h.KeepHijackedConns = tt.keeps
			settle(t)
			r := runTCP(t, &Server{HTTP: h})
			addr := r.ListenAddrs()[0].String()
			if err := hijackOnce(addr); err != nil { // now all goroutines of the server run
				t.Fatal(err)
			}
			goroutines, files := runtime.NumGoroutine(), openFiles(t)
			var all sync.WaitGroup
			for range clients {
				all.Go(func() {
					for range each {
						if err := hijackOnce(addr); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			// A connection leaves the counts first, then the table, then those that are open.
			for began := time.Now(); r.Counts() != (Counts{}) || r.conns.open.Load() != 0; time.Sleep(time.Millisecond) {
				if time.Since(began) > patience {
					break
				}
			}
			entries := 0
			r.conns.each(func(*conn) bool { entries++; return true })
			if open, kept := r.conns.open.Load(), r.kept.len(); entries != 0 || open != 0 || kept != 0 {
				t.Errorf("%d entries, %d open, %d kept", entries, open, kept)
			}
			// fasthttp's workers and the client's last descriptors go on their own time.
			awaitNoMore(t, goroutines, files)
			r.Drain()
			if err := r.wait(); err != nil {
				t.Error(err)
			}
			if id := r.conns.lastID.Load(); id != clients*each+1 {
				t.Errorf("%d connections", id)
			}
		})
	}
}

// hijackOnce reads the response of a hijack, and the byte that its handler sends.
func hijackOnce(addr string) error {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(nc, request); err != nil {
		return err
	}
	in := bufio.NewReader(nc)
	c := client{Conn: nc, r: in}
	if err := c.skipHeader(); err != nil {
		return err
	}
	_, err = in.ReadByte()
	return err
}

// skipHeader reads the header of a response without a body.
func (c *client) skipHeader() error {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil || line == "\r\n" {
			return err
		}
	}
}

// A hijack may come with the last request that a connection may make: it ends the
// connection's use for requests itself.
func TestHijackWithTheLastRequest(t *testing.T) {
	h := quiet(func(ctx *fasthttp.RequestCtx) {
		if string(ctx.Path()) == "/hijack" {
			ctx.Hijack(func(c net.Conn) { _, _ = io.WriteString(c, "hijacked") })
		}
	})
	h.MaxRequestsPerConn = 2
	c := runTCP(t, &Server{HTTP: h}).dial()
	c.get("/")
	c.send("GET /hijack HTTP/1.1\r\nHost: t\r\n\r\n")
	if all, err := io.ReadAll(c.r); err != nil || !strings.HasSuffix(string(all), "\r\n\r\nhijacked") {
		t.Errorf("%q, %v", all, err)
	}
}

// A handler that fasthttp.TimeoutHandler has given up on still has its response, of
// which the last one on a connection is told by the other.
func TestTimeoutWithTheLastRequest(t *testing.T) {
	var handlers sync.WaitGroup
	handlers.Add(1)
	answered := make(chan struct{})
	h := quiet(fasthttp.TimeoutHandler(func(ctx *fasthttp.RequestCtx) {
		defer handlers.Done()
		for {
			ctx.Response.Header.SetContentType("text/plain") // which the race detector watches
			ctx.Response.Header.ResetConnectionClose()
			select {
			case <-answered:
				return
			default:
			}
		}
	}, 5*time.Millisecond, "too slow"))
	h.MaxRequestsPerConn = 1
	c := runTCP(t, &Server{HTTP: h}).dial()
	if resp := c.get("/"); body(resp) != "too slow" || !resp.Close {
		t.Errorf("answered %v, close %v", resp.Status, resp.Close)
	}
	close(answered)
	handlers.Wait()
}
