package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/internal/servertest"
	"github.com/lastcall-go/lastcall/toolkit"
	"github.com/lastcall-go/lastcall/toolkit/debug"
)

// path is where the live page is.
const path = "/debug/lastcall"

// server is a server with a live page, in this process.
type server struct {
	*servertest.Server
	release chan struct{} // lets slow requests and hijacked connections go on
}

// builder has what the tests ask for.
func (s *server) builder(addr string) *toolkit.Builder {
	wait := func(context.Context) error { return nil }
	return servertest.Quiet().Addr(addr).LastCall(200*time.Millisecond).
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
	s := &server{release: make(chan struct{})}
	b := s.builder(addr)
	if more != nil {
		more(b)
	}
	s.Server = servertest.Run(t, b)
	return s
}

// page is the live page's address.
func (s *server) page() string { return "http://" + s.Addr() + path }

// client is a connection.
type client struct{ *servertest.Client }

func (s *server) dial() client {
	s.T.Helper()
	return client{s.Dial()}
}

func (c client) send(path string) client {
	c.T.Helper()
	c.Ask("GET", path, "")
	return c
}

// receive wants a response.
func (c client) receive() client {
	c.T.Helper()
	c.Reply("GET")
	return c
}

// row is an expression for the connection's row, with what it may be asked for.
func (c client) row(ask string) string {
	return fmt.Sprintf(`(r => %s)([...document.querySelectorAll('tbody tr')].find(r => r.cells[1].textContent === '%s'))`, ask, c.LocalAddr())
}

// in is an expression that says whether the connection is shown in a state, with a route.
func (c client) in(state, route string) string {
	return c.row(fmt.Sprintf("r && r.cells[2].textContent === '%s' && r.cells[6].textContent === '%s'", state, route))
}
