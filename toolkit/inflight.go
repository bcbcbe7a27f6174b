package toolkit

import (
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// inFlight is what MaxInFlight needs.
type inFlight struct {
	slots   chan struct{} // one taken a request; who waits is served in order
	refused atomic.Uint64
}

// InFlight returns how many requests are with their handlers now, and how many
// have been refused so far. Without Builder.MaxInFlight nobody counts, and both are
// 0.
func (s *Server) InFlight() (now int, refused uint64) {
	return len(s.inFlight.slots), s.inFlight.refused.Load()
}

// limitInFlight lets so many requests at a time through to next.
func (s *Server) limitInFlight(b *Builder, next fasthttp.RequestHandler) fasthttp.RequestHandler {
	slots := make(chan struct{}, b.maxInFlight)
	s.inFlight.slots = slots
	livez, readyz, wait := b.livez, b.readyz, b.maxWait
	retryAfter := b.retryAfter()
	return func(ctx *fasthttp.RequestCtx) {
		if path := ctx.Path(); string(path) == livez || string(path) == readyz {
			next(ctx)
			return
		}
		if !s.takeSlot(wait) {
			ctx.Error(tooManyRequests, fasthttp.StatusServiceUnavailable)
			ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, retryAfter)
			return
		}
		defer func() { <-slots }()
		next(ctx)
	}
}

const tooManyRequests = "too many requests at a time"

// retryAfter is when who was refused may come again, in seconds.
func (b *Builder) retryAfter() string { return seconds(b.maxWait) }

// takeSlot reports whether a request may go on to its handler.
func (s *Server) takeSlot(wait time.Duration) bool {
	select {
	case s.inFlight.slots <- struct{}{}:
		return true
	default:
	}
	if s.awaitSlot(wait) {
		return true
	}
	s.inFlight.refused.Add(1)
	return false
}

// awaitSlot reports whether a slot could be taken in time.
func (s *Server) awaitSlot(wait time.Duration) bool {
	if wait == 0 {
		return false
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case s.inFlight.slots <- struct{}{}:
		return true
	case <-t.C:
	case <-s.Context().Done():
	}
	return false
}
