package toolkit

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// inFlight is what MaxInFlight needs. To take a place and to give it back is an
// addition each, as long as there are enough.
//
// Who leaves while others wait hands them a place, which stays counted, so that nobody
// who comes later can take it. So places handed over are never more than those who
// wait, and there are as many who wait without one as n exceeds limit.
type inFlight struct {
	limit   int64
	n       atomic.Int64  // requests with their handlers, and those that wait
	handed  chan struct{} // a value is a place, for who has waited longest; never full
	refused atomic.Uint64
}

// InFlight returns how many requests are with their handlers now, and how many
// have been refused so far. Without Builder.MaxInFlight nobody counts, and both are
// 0.
func (s *Server) InFlight() (now int, refused uint64) {
	f := &s.inFlight
	return int(min(f.n.Load(), f.limit)), f.refused.Load()
}

// limitInFlight lets so many requests at a time through to next.
func (s *Server) limitInFlight(b *Builder, probes map[string]bool, next fasthttp.RequestHandler) fasthttp.RequestHandler {
	s.inFlight.limit, s.inFlight.handed = int64(b.maxInFlight), make(chan struct{}, b.maxInFlight)
	wait, retryAfter := b.maxWait, b.retryAfter()
	return func(ctx *fasthttp.RequestCtx) {
		if probes[string(ctx.Path())] {
			next(ctx)
			return
		}
		if !s.enter(wait) {
			ctx.SetUserValue(refusedKey{}, tooManyRequests)
			ctx.Error(tooManyRequests, fasthttp.StatusServiceUnavailable)
			ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, retryAfter)
			return
		}
		defer s.inFlight.leave()
		next(ctx)
	}
}

const tooManyRequests = "too many requests at a time"

// retryAfter is when who was refused may come again, in seconds.
func (b *Builder) retryAfter() string {
	return strconv.Itoa(max(1, int((b.maxWait+time.Second-1)/time.Second)))
}

// enter reports whether a request may go on to its handler.
func (s *Server) enter(wait time.Duration) bool {
	f := &s.inFlight
	if f.n.Add(1) <= f.limit || s.awaitPlace(wait) {
		return true
	}
	f.refused.Add(1)
	return false
}

// leave is for who has entered.
func (f *inFlight) leave() {
	if f.n.Add(-1) >= f.limit {
		f.handed <- struct{}{}
	}
}

// awaitPlace reports whether a place was handed over in time. It is for who is counted
// already, and not if that fails.
func (s *Server) awaitPlace(wait time.Duration) bool {
	f := &s.inFlight
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-f.handed:
			return true
		case <-t.C:
		case <-s.Context().Done():
		}
	}
	for {
		n := f.n.Load()
		if n <= f.limit { // there is a place for each who waits
			<-f.handed
			return true
		}
		if f.n.CompareAndSwap(n, n-1) {
			return false
		}
	}
}
