//go:build linux

package lifecycle

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
)

// watching is a server whose handler waits for its client's context to end, and
// hands it on; for /quick it does not wait.
func watching(s *Server) (entered chan struct{}, ended chan error) {
	entered, ended = make(chan struct{}, 10), make(chan error, 10)
	s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
		client := s.ClientContext(ctx)
		done := client.Done()
		entered <- struct{}{}
		if string(ctx.Path()) != "/quick" {
			<-done
			ended <- context.Cause(client)
		}
		ctx.SetBodyString("late")
	})
	return entered, ended
}

func TestClientGone(t *testing.T) {
	leave := map[string]func(*client){
		"close": func(c *client) { _ = c.Close() },
		"half-close": func(c *client) {
			_ = c.Conn.(interface{ CloseWrite() error }).CloseWrite()
		},
		"reset": func(c *client) {
			nc := c.Conn
			if tc, ok := nc.(*tls.Conn); ok {
				nc = tc.NetConn()
			}
			if tcp, ok := nc.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = nc.Close()
		},
	}
	for _, kind := range kinds {
		for how, leave := range leave {
			t.Run(kind+"/"+how, func(t *testing.T) {
				s := &Server{}
				entered, ended := watching(s)
				r := runKind(t, kind, s)
				c := r.dial()
				c.get("/quick") // what was watched once can be watched again
				<-entered
				c.send(request)
				<-entered
				select {
				case err := <-ended:
					t.Fatalf("ended before: %v", err)
				case <-time.After(10 * time.Millisecond):
				}
				leave(c)
				select {
				case err := <-ended:
					if !errors.Is(err, ErrClientGone) {
						t.Errorf("cause %v", err)
					}
				case <-time.After(patience):
					t.Fatal("not ended")
				}
			})
		}
	}
}

// A client that pipelines is there, and loses nothing.
func TestClientThatPipelinesIsNotGone(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			s := &Server{}
			g := newGate()
			ended := make(chan error, 10)
			s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
				client := s.ClientContext(ctx)
				_ = client.Done()
				g.handle(ctx)
				ended <- client.Err()
				if client != s.ClientContext(ctx) {
					t.Error("another context in the same request")
				}
			})
			r := runKind(t, kind, s)
			c := r.dial()
			c.send(request)
			<-g.entered
			c.send(request + "GET /last HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
			time.Sleep(10 * time.Millisecond) // the bytes are there
			for range 3 {
				g.release <- struct{}{} // fasthttp answers the last two together
			}
			for range 3 {
				if resp := c.response(); body(resp) != "late" {
					t.Errorf("answered %v", resp.Status)
				}
				if err := <-ended; err != nil {
					t.Errorf("context ended: %v", err)
				}
			}
			c.wantEOF()
		})
	}
}

func TestClientContextEnds(t *testing.T) {
	t.Run("with the handler", func(t *testing.T) {
		s := &Server{}
		var watched, unwatched context.Context
		s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
			if string(ctx.Path()) == "/watched" {
				watched = s.ClientContext(ctx)
				_ = watched.Done()
			} else {
				unwatched = s.ClientContext(ctx)
			}
		})
		r := runTCP(t, s)
		c := r.dial()
		c.get("/watched")
		c.get("/")
		for _, ctx := range []context.Context{watched, unwatched} {
			<-ctx.Done()
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				t.Errorf("cause %v", cause)
			}
		}
		if n := len(s.clients.watched); n != 0 {
			t.Errorf("%d are still watched", n)
		}
	})
	t.Run("at the deadline", func(t *testing.T) {
		s := &Server{DrainTimeout: time.Millisecond}
		entered, ended := watching(s)
		r := runTCP(t, s)
		c := r.dial()
		c.send(request)
		<-entered
		r.Drain()
		if err := <-ended; !errors.Is(err, ErrDrainTimeout) {
			t.Errorf("cause %v", err)
		}
		if resp := c.response(); body(resp) != "late" {
			t.Errorf("answered %v", resp.Status)
		}
	})
}

// The handler reads a body while its client is watched.
func TestClientGoneWhileItsBodyIsStreamed(t *testing.T) {
	s := &Server{}
	ended := make(chan error, 1)
	first := make(chan struct{})
	const part = 16 << 10 // more than fasthttp reads before it calls the handler
	s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
		done := s.ClientContext(ctx).Done()
		buf := make([]byte, part)
		_, _ = io.ReadFull(ctx.RequestBodyStream(), buf)
		close(first)
		<-done
		ended <- context.Cause(s.ClientContext(ctx))
	})
	s.HTTP.StreamRequestBody = true
	r := runTCP(t, s)
	c := r.dial()
	c.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", part))
	<-first
	_ = c.Close()
	if err := <-ended; !errors.Is(err, ErrClientGone) {
		t.Errorf("cause %v", err)
	}
}

// Connections without a socket are not watched; their contexts end all the same.
func TestClientWithoutASocket(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &Server{DrainTimeout: time.Second}
		_, ended := watching(s)
		r := runMem(t, s)
		r.dial().send(request)
		synctest.Wait()
		r.Drain()
		if err := <-ended; !errors.Is(err, ErrDrainTimeout) {
			t.Errorf("cause %v", err)
		}
	})
}
