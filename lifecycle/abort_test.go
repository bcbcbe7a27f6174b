package lifecycle

import (
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// What comes to its end after the deadline, within AbortTimeout, is seen to: it is
// not cut, and Run does not wait for longer than for that.
func TestContract11StreamThatEndsInTheAbort(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &Server{DrainTimeout: 5 * time.Second, AbortTimeout: time.Hour}
		s.HTTP = quiet(sse(s.Context().Done(), make(chan error, 1)))
		r := runMem(t, s)
		c := r.dial()
		resp := c.streaming("/", "event: tick\n")
		began := time.Now()
		r.Drain()
		c.wantStreamsEnd(resp)
		<-r.done
		if took := time.Since(began); took > 5*time.Second+DefaultLastCall {
			t.Errorf("Run returned after %v", took)
		}
		if cut := r.Report().Cut; len(cut) != 0 || !errors.Is(r.err, ErrDrainTimeout) {
			t.Errorf("error %v, cut %+v", r.err, cut)
		}
		c.wantNothing()
	})
}

func TestContract11WhatEndsInTheAbortOnSockets(t *testing.T) {
	for name, handle := range map[string]func(*Server) fasthttp.RequestHandler{
		"stream": func(s *Server) fasthttp.RequestHandler { return sse(s.Context().Done(), make(chan error, 1)) },
		"kept": func(s *Server) fasthttp.RequestHandler {
			s.HTTP.KeepHijackedConns = true
			return func(ctx *fasthttp.RequestCtx) {
				ctx.Hijack(func(c net.Conn) {
					go func() {
						<-s.Context().Done()
						_ = c.Close()
					}()
				})
			}
		},
	} {
		for _, kind := range kinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				s := &Server{HTTP: quiet(nil), DrainTimeout: 20 * time.Millisecond, AbortTimeout: 5 * time.Second}
				s.HTTP.Handler = handle(s)
				r := runKind(t, kind, s)
				c := r.dial()
				c.send(request)
				resp, err := http.ReadResponse(c.r, nil)
				if err != nil {
					t.Fatal(err)
				}
				for r.Counts().Busy() == 0 {
					time.Sleep(time.Millisecond)
				}
				r.Drain()
				if _, err := io.ReadAll(resp.Body); err != nil {
					t.Error(err)
				}
				c.wantEOF()
				if err := r.wait(); !errors.Is(err, ErrDrainTimeout) {
					t.Error(err)
				}
				rep := r.Report()
				if len(rep.Cut) != 0 || rep.Spent(PhaseDraining) >= s.AbortTimeout {
					t.Errorf("drained in %v, cut %+v", rep.Spent(PhaseDraining), rep.Cut)
				}
			})
		}
	}
}
