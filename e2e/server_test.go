package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
	"github.com/lastcall-go/lastcall/toolkit/debug"
)

// path is where the live page is.
const path = "/debug/lastcall"

// server is a server with a live page, in this process.
type server struct {
	*toolkit.Server
	t       *testing.T
	release chan struct{} // lets slow requests and hijacked connections go on
	done    chan error
}

// builder has what the tests ask for.
func (s *server) builder(addr string) *toolkit.Builder {
	wait := func(context.Context) error { return nil }
	return toolkit.New().Addr(addr).Logger(zerolog.Nop()).LastCall(200*time.Millisecond).
		IdleTimeout(time.Minute).ParkAfter(1500*time.Millisecond).DrainTimeout(10*time.Second).
		With(debug.At(path)).
		Get("/hello/{name}", func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("hello") }).
		Get("/slow/{path:*}", func(ctx *fasthttp.RequestCtx) {
			select {
			case <-s.release:
			case <-toolkit.ClientContext(ctx).Done():
			}
		}).
		Get("/ws", func(ctx *fasthttp.RequestCtx) {
			ctx.Hijack(func(nc net.Conn) {
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					_, _ = io.Copy(io.Discard, nc)
				}()
				select {
				case <-s.release:
				case <-gone:
				}
				_ = nc.SetReadDeadline(time.Now())
				<-gone
			})
		}).
		NetHTTP("/legacy/{path:*}", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })).
		ReadyCheck("database", wait).
		ReadyCheck("broker", func(context.Context) error { return errors.New("no route to 10.1.2.3:5672") }).
		OnDrain("registry", wait).
		PreExit("database", wait).
		PreExit("queue", wait)
}

// serve starts a server at an address.
func serve(t *testing.T, addr string, more func(*toolkit.Builder)) *server {
	t.Helper()
	s := &server{t: t, release: make(chan struct{}), done: make(chan error, 1)}
	b := s.builder(addr)
	if more != nil {
		more(b)
	}
	var err error
	if s.Server, err = b.Build(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.done <- s.Run(context.Background())
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-ended
	})
	select {
	case <-s.Reached(lifecycle.PhaseReady):
	case <-time.After(patience):
		t.Fatal("not ready")
	}
	return s
}

func (s *server) addr() string { return s.ListenAddrs()[0].String() }

// page is the live page's address.
func (s *server) page() string { return "http://" + s.addr() + path }

// wait waits for Run's return.
func (s *server) wait() error {
	s.t.Helper()
	select {
	case err := <-s.done:
		return err
	case <-time.After(patience):
		s.t.Fatalf("Run has not returned: %+v", s.Conns())
		return nil
	}
}

// client is a connection.
type client struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (s *server) dial() *client {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.addr())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = nc.Close() })
	return &client{nc, s.t, bufio.NewReader(nc)}
}

func (c *client) send(path string) *client {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.Conn, "GET %s HTTP/1.1\r\nHost: t\r\n\r\n", path); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// receive wants a response.
func (c *client) receive() *client {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	resp, err := http.ReadResponse(c.r, nil)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return c
}

// row is an expression for the connection's row, with what it may be asked for.
func (c *client) row(ask string) string {
	return fmt.Sprintf(`(r => %s)([...document.querySelectorAll('tbody tr')].find(r => r.cells[1].textContent === '%s'))`, ask, c.LocalAddr())
}

// in is an expression that says whether the connection is shown in a state, with a route.
func (c *client) in(state, route string) string {
	return c.row(fmt.Sprintf("r && r.cells[2].textContent === '%s' && r.cells[6].textContent === '%s'", state, route))
}
