package lifecycle

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

func boom() { panic("on purpose") }

// What users set may panic: the process lives, an event tells of it with its stack,
// the request has an answer, and the next one too. With bare fasthttp the process
// dies of each; see TestBareFasthttpDies in package toolkit.
func TestCallbacksMayPanic(t *testing.T) {
	const get, post = "GET /panic HTTP/1.1\r\nHost: t\r\n\r\n", "POST /panic HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
	for name, tt := range map[string]struct {
		put    func(s *Server)
		send   string
		status int
	}{
		"ConnState": {func(s *Server) { s.HTTP.ConnState = func(net.Conn, fasthttp.ConnState) { boom() } }, get, 200},
		"ErrorHandler": {func(s *Server) {
			s.HTTP.ErrorHandler = func(ctx *fasthttp.RequestCtx, _ error) { ctx.SetStatusCode(200); boom() }
		}, "nonsense\r\n\r\n", 400},
		"HeaderReceived": {func(s *Server) {
			s.HTTP.HeaderReceived = func(*fasthttp.RequestHeader) (rc fasthttp.RequestConfig) { boom(); return rc }
		}, get, 200},
		"ContinueHandler": {func(s *Server) { s.HTTP.ContinueHandler = func(*fasthttp.RequestHeader) bool { boom(); return true } }, post, 417},
		"ExpectHandler":   {func(s *Server) { s.HTTP.ExpectHandler = func(*fasthttp.RequestCtx) int { boom(); return 100 } }, post, 500},
		"tracked": {func(s *Server) {
			s.HTTP.Handler = fasthttp.TimeoutHandler(s.Track("tracked", func(ctx *fasthttp.RequestCtx) {
				if string(ctx.Path()) == "/panic" {
					ctx.Hijack(func(net.Conn) {})
					boom()
				}
			}), patience, "too slow")
		}, get, 500},
	} {
		t.Run(name, func(t *testing.T) {
			events := make(chan Event, 100)
			s := &Server{HTTP: quiet(hello), LastCall: -1, OnEvent: func(e Event) {
				if e.Kind == EventPanic {
					events <- e
				}
			}}
			tt.put(s)
			r := runTCP(t, s)
			c := r.dial()
			c.send(tt.send)
			if resp := c.response(); resp.StatusCode != tt.status {
				t.Errorf("answered %v", resp.Status)
			}
			e := <-events
			if p, ok := errors.AsType[*PanicError](e.Err); !ok || e.Name != name || !strings.Contains(string(p.Stack), "lifecycle.boom(") {
				t.Errorf("event %v", e)
			}
			if resp := r.dial().get("/"); resp.StatusCode != 200 {
				t.Errorf("the next request is answered with %v", resp.Status)
			}
			r.Drain()
			if err := r.wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Of a handler that has been given up on, a panic is an event all the same.
func TestAbandonedHandlerMayPanic(t *testing.T) {
	late, events := make(chan struct{}), make(chan Event, 1)
	s := &Server{OnEvent: func(e Event) {
		if e.Kind == EventPanic {
			events <- e
		}
	}}
	s.HTTP = quiet(fasthttp.TimeoutHandler(s.Track("late", func(*fasthttp.RequestCtx) { <-late; boom() }), time.Millisecond, "too slow"))
	r := runTCP(t, s)
	c := r.dial()
	if resp := c.get("/"); body(resp) != "too slow" {
		t.Errorf("answered %v", resp.Status)
	}
	close(late)
	if e := <-events; e.Name != "late" {
		t.Errorf("event %v", e)
	}
	if resp := c.get("/"); resp.StatusCode != 500 && body(resp) != "too slow" {
		t.Errorf("then %v", resp.Status)
	}
}

func TestOnEventMayPanic(t *testing.T) {
	var seen atomic.Int64
	s := &Server{HTTP: quiet(hello), LastCall: -1, OnEvent: func(e Event) {
		if e.Kind == EventPhase {
			seen.Add(1)
		}
		boom()
	}}
	s.PreExit("hook", func(context.Context) error { return nil })
	r := runTCP(t, s)
	if resp := r.dial().get("/"); resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
	r.Drain()
	if err := r.wait(); err != nil || seen.Load() != 5 {
		t.Errorf("%v, %d phases", err, seen.Load())
	}
}
