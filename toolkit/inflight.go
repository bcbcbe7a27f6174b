package toolkit

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// LimitInFlight is how many requests may be with the handlers that it is around, all of them
// together, at a time: one value of it is one limit. One more waits for up to wait, first
// come, first served; then it gets a 503 with a Retry-After, as it does at once when the
// drain's deadline comes. A request counts until its handler has returned: inside of a
// Timeout also when that has given up on it. See Builder.MaxInFlight for a limit of the whole
// server.
func LimitInFlight(n int, wait time.Duration) Middleware {
	if n < 1 || wait < 0 {
		return refuse("LimitInFlight(%d, %v): less than one, or negative", n, wait)
	}
	f := &inFlight{limit: int64(n)}
	made := sync.OnceFunc(func() { f.handed = make(chan struct{}, n) })
	return func(next fasthttp.RequestHandler) fasthttp.RequestHandler {
		made() // by Build, in whose bubble a test of time has its channels
		retryAfter := seconds(wait)
		return func(ctx *fasthttp.RequestCtx) { f.pass(ctx, FromRequest(ctx), wait, retryAfter, next) }
	}
}

// inFlight is what MaxInFlight and LimitInFlight need. To take a place and to give it back is an
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
func (s *Server) limitInFlight(b *Builder, probes paths, next fasthttp.RequestHandler) fasthttp.RequestHandler {
	s.inFlight.limit, s.inFlight.handed = int64(b.maxInFlight), make(chan struct{}, b.maxInFlight)
	wait, retryAfter := b.maxWait, b.retryAfter()
	return func(ctx *fasthttp.RequestCtx) {
		if probes.has(ctx.Path()) {
			next(ctx)
			return
		}
		s.inFlight.pass(ctx, s, wait, retryAfter, next)
	}
}

// pass lets a request through to next, or refuses it.
func (f *inFlight) pass(ctx *fasthttp.RequestCtx, s *Server, wait time.Duration, retryAfter string, next fasthttp.RequestHandler) {
	if !f.enter(s, wait) {
		ctx.SetUserValue(refusedKey{}, tooManyRequests)
		ctx.Error(tooManyRequests, fasthttp.StatusServiceUnavailable)
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, retryAfter)
		return
	}
	defer f.leave()
	next(ctx)
}

const tooManyRequests = "too many requests at a time"

// retryAfter is when who was refused may come again, in seconds.
func (b *Builder) retryAfter() string { return seconds(b.maxWait) }

// enter reports whether a request may go on to its handler. It waits no longer than the
// server, if there is one, lives.
func (f *inFlight) enter(s *Server, wait time.Duration) bool {
	if f.n.Add(1) <= f.limit || f.awaitPlace(s, wait) {
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
func (f *inFlight) awaitPlace(s *Server, wait time.Duration) bool {
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		var over <-chan struct{}
		if s != nil {
			over = s.Context().Done()
		}
		select {
		case <-f.handed:
			return true
		case <-t.C:
		case <-over:
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
