//go:build linux

package lifecycle

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
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
		"reset": resetConn,
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

// A client over TLS that goes on sending what the handler has not read yet is there,
// wherever in a record its watcher looks.
func TestClientThatStreamsOverTLSIsNotGone(t *testing.T) {
	s := &Server{}
	s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
		client := s.ClientContext(ctx)
		select {
		case <-client.Done():
			t.Errorf("context ended: %v", context.Cause(client))
		case <-time.After(time.Millisecond):
		}
		_, _ = io.Copy(io.Discard, ctx.RequestBodyStream())
		if err := client.Err(); err != nil {
			t.Errorf("context ended: %v", context.Cause(client))
		}
	})
	s.HTTP.StreamRequestBody = true
	r := runKind(t, "tls", s)
	body := strings.Repeat("x", 100_000)
	var all sync.WaitGroup
	for range 2 {
		c := r.dial()
		all.Go(func() {
			for range 150 {
				if _, err := fmt.Fprintf(c.Conn, "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
					t.Errorf("send: %v", err)
					return
				}
				resp, err := http.ReadResponse(c.r, nil)
				if err != nil {
					t.Errorf("response: %v", err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
			}
		})
	}
	all.Wait()
}

// One that leaves is noticed, when the handler has read all that was sent, whether it
// waits for more or not.
func TestClientThatStreamsOverTLSIsNoticedToLeave(t *testing.T) {
	const parts, part = 20, 1000
	const first = 10 // more than fasthttp reads before it calls the handler
	for _, waits := range []bool{true, false} {
		t.Run(fmt.Sprintf("waiting for more %v", waits), func(t *testing.T) {
			s := &Server{}
			read, ended := make(chan struct{}, parts), make(chan error, 1)
			s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
				client := s.ClientContext(ctx)
				done := client.Done()
				var reader sync.WaitGroup
				reader.Go(func() {
					buf := make([]byte, part)
					for range parts {
						if _, err := io.ReadFull(ctx.RequestBodyStream(), buf); err != nil {
							t.Errorf("body: %v", err)
						}
						read <- struct{}{}
					}
					if waits {
						_, _ = io.ReadFull(ctx.RequestBodyStream(), buf)
					}
				})
				select {
				case <-done:
					ended <- context.Cause(client)
				case <-time.After(patience):
					ended <- errors.New("not ended")
				}
				reader.Wait()
			})
			s.HTTP.StreamRequestBody = true
			r := runKind(t, "tls", s)
			for range 10 {
				c := r.dial()
				c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n", parts*part+1))
				c.send(strings.Repeat("x", first*part))
				for i := range parts {
					<-read // so that the watcher is told of each part
					if i >= first-1 && i < parts-1 {
						c.send(strings.Repeat("x", part))
					}
				}
				_ = c.Close()
				if err := <-ended; !errors.Is(err, ErrClientGone) {
					t.Fatalf("cause %v", err)
				}
			}
		})
	}
}

// A watcher that comes to look when the handler has read what woke it goes on watching
// for a close_notify.
func TestClientOverTLSIsWatchedOn(t *testing.T) {
	const parts, part = 3, 10_000 // more than fasthttp reads before it calls the handler
	s := &Server{}
	asked, read, ended := make(chan *clientContext, 1), make(chan struct{}), make(chan error, 1)
	s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
		client := s.ClientContext(ctx)
		done := client.Done()
		buf := make([]byte, part)
		_, _ = io.ReadFull(ctx.RequestBodyStream(), buf)
		asked <- client.(*clientContext)
		for range parts {
			_, _ = io.ReadFull(ctx.RequestBodyStream(), buf)
			read <- struct{}{}
		}
		select {
		case <-done:
			ended <- context.Cause(client)
		case <-time.After(patience):
			ended <- errors.New("not ended")
		}
	})
	s.HTTP.StreamRequestBody = true
	r := runKind(t, "tls", s)
	c := r.dial()
	c.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", part))
	client := <-asked
	for range parts {
		client.mu.Lock() // the watcher is held up
		c.send(strings.Repeat("x", part))
		<-read
		time.Sleep(time.Millisecond) // it has woken
		client.mu.Unlock()
	}
	_ = c.Conn.(*tls.Conn).CloseWrite()
	if err := <-ended; !errors.Is(err, ErrClientGone) {
		t.Errorf("cause %v", err)
	}
}

// A client's end hides behind what the handler has not read; a reset does not.
func TestClientGoneWithItsBodyUnread(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		for _, how := range []string{"close", "reset"} {
			t.Run(kind+"/"+how, func(t *testing.T) {
				s := &Server{}
				entered, left, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
				s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
					client := s.ClientContext(ctx)
					done := client.Done()
					close(entered)
					if how == "close" {
						<-left
						_, _ = io.Copy(io.Discard, ctx.RequestBodyStream())
					}
					select {
					case <-done:
						ended <- context.Cause(client)
					case <-time.After(patience):
						ended <- errors.New("not ended")
					}
				})
				s.HTTP.StreamRequestBody = true
				r := runKind(t, kind, s)
				c := r.dial()
				c.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("x", 60_000))
				<-entered
				if how == "close" {
					_ = c.Close()
					time.Sleep(5 * time.Millisecond) // the watcher has looked, and seen what is unread
				} else {
					resetConn(c)
				}
				close(left)
				if err := <-ended; !errors.Is(err, ErrClientGone) {
					t.Errorf("cause %v", err)
				}
			})
		}
	}
}

// What an abandoned handler watches is watched until its connection has gone.
func TestClientOfAnAbandonedHandler(t *testing.T) {
	s := &Server{ParkAfter: time.Hour}
	answered, late := make(chan struct{}), make(chan context.Context, 1)
	s.HTTP = quiet(fasthttp.TimeoutHandler(func(ctx *fasthttp.RequestCtx) {
		<-answered
		client := s.ClientContext(ctx)
		_ = client.Done()
		late <- client
	}, time.Millisecond, "too slow"))
	r := runTCP(t, s)
	c := r.dial()
	c.get("/")
	close(answered)
	client := <-late
	_ = c.Close()
	select {
	case <-client.Done():
	case <-time.After(patience):
		t.Error("its context has not ended")
	}
	for began := time.Now(); r.conns.open.Load() > 0 && time.Since(began) < patience; {
		time.Sleep(time.Millisecond)
	}
	s.clients.mu.Lock()
	defer s.clients.mu.Unlock()
	if n := len(s.clients.watched); n != 0 {
		t.Errorf("%d are still watched", n)
	}
}
