package lifecycle

import (
	"sync"

	"github.com/valyala/fasthttp"
)

// hijackEnd is stored among a hijacked request's user values, which fasthttp
// closes when it releases the request's context: after the hijack handler has
// returned. No other event tells of it.
type hijackEnd struct {
	s *Server
	c *conn
}

type hijackKey struct{}

func (s *Server) trackHijack(ctx *fasthttp.RequestCtx, c *conn) {
	if s.hijack(c) != StateClosed {
		ctx.SetUserValue(hijackKey{}, &hijackEnd{s, c})
	}
}

// hijack is for a connection that a handler has taken over, and returns the state that
// it leaves.
func (s *Server) hijack(c *conn) (from ConnState) {
	if c.silence != nil {
		c.silence.Stop() // it has spoken, and nobody may tell of its end
	}
	return c.to(StateHijacked, s.now())
}

// Close is called by fasthttp.
func (h *hijackEnd) Close() error {
	if h.s.HTTP.KeepHijackedConns && !isClosed(h.c.Conn) {
		h.s.sweepKept(keptSweep)
		h.s.kept.add(h.c)
		h.s.noticeIdle()
		return nil
	}
	h.s.removeConn(h.c)
	return nil
}

// kept are the hijacked connections that outlive their hijack handler
// (fasthttp.Server.KeepHijackedConns). Nothing tells of their end, so they are
// looked at now and then.
type kept struct {
	mu    sync.Mutex // guards conns and next
	conns []*conn
	next  int
}

// keptSweep is how many kept connections are looked at when one is added: more
// than one, so that those that are closed cannot pile up.
const keptSweep = 2

// refusedSweep is how many are looked at before a connection is refused: those that
// are closed count until then, and what is refused adds none.
const refusedSweep = 1024

func (k *kept) add(c *conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conns = append(k.conns, c)
}

// sweep returns up to limit connections that have been closed.
func (k *kept) sweep(limit int) (gone []*conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for range min(limit, len(k.conns)) {
		k.next %= len(k.conns)
		c := k.conns[k.next]
		if !isClosed(c.Conn) {
			k.next++
			continue
		}
		gone = append(gone, c)
		last := len(k.conns) - 1
		k.conns[k.next], k.conns[last] = k.conns[last], nil
		k.conns = k.conns[:last]
	}
	return gone
}

func (k *kept) len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.conns)
}

// sweepKept forgets kept connections that have been closed.
func (s *Server) sweepKept(limit int) {
	for _, c := range s.kept.sweep(limit) {
		s.removeConn(c)
	}
}
