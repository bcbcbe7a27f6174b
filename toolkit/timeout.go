package toolkit

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// maxAbandoned is how many handlers of one Timeout may go on at a time though it has given
// up on them. So many hang on something that will not answer the next one either, and
// each holds its request.
const maxAbandoned = 1000

// Timeout gives a handler a time, after which its client gets a 503 with the message. A
// Timeout inside of another one takes its place, with a time that begins when the request
// comes to it: a group may have a longer one, or a shorter one, than Builder.Use gave to all.
//
// Go cannot end a handler, so it goes on, and is to find out by the context that ClientContext
// returns: that has the deadline, and ends with context.DeadlineExceeded. What the handler then
// does to ctx changes nothing any more, nor what it answers because of that. The drain awaits
// it, under the request's name, and a panic of it is logged. While 1,000 handlers of a Timeout
// go on like that, requests get the 503 at once. A body that a handler streams may take as long
// as it likes: only what comes before its return is measured. With StreamRequestBody a timeout
// closes the connection, of which the handler may still be reading.
//
// It costs a goroutine a request.
func Timeout(d time.Duration, message string) Middleware {
	if d <= 0 {
		return refuse("Timeout(%v): not positive", d)
	}
	l := &timeLimit{d: d, message: message}
	return func(next fasthttp.RequestHandler) fasthttp.RequestHandler { return l.limit(Recover(next)) }
}

// timeLimit is what a Timeout was asked for.
type timeLimit struct {
	d         time.Duration
	message   string
	abandoned atomic.Int64
}

func (l *timeLimit) limit(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		if t := timedOf(ctx); t != nil {
			t.restart(l)
			next(ctx)
			return
		}
		if l.abandoned.Load() >= maxAbandoned {
			ctx.Error(l.message, fasthttp.StatusServiceUnavailable)
			ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, seconds(l.d))
			return
		}
		t := &timed{limit: l, deadline: time.Now().Add(l.d), timer: time.NewTimer(l.d), over: make(chan struct{})}
		ctx.SetUserValue(timedKey{}, t)
		name, head := "abandoned "+string(ctx.Method())+" "+string(ctx.Path()), ctx.IsHead()
		s := FromRequest(ctx)
		go t.run(ctx, next)
		select {
		case <-t.over:
		case <-t.timer.C:
			if t.abandon(ctx, head) {
				l.await(s, name, t)
				return
			}
			<-t.over // it has made it after all
		}
		t.timer.Stop()
		ctx.RemoveUserValue(timedKey{})
		if t.ctx != nil && errors.Is(t.ctx.Err(), context.DeadlineExceeded) && !ctx.Hijacked() {
			ctx.Error(t.limit.message, fasthttp.StatusServiceUnavailable) // it knows; who was first is chance
		}
	}
}

// await counts a handler that was given up on until it returns, and has the drain wait for
// it.
func (l *timeLimit) await(s *Server, name string, t *timed) {
	l.abandoned.Add(1)
	wait := func(context.Context) {
		<-t.over
		l.abandoned.Add(-1)
	}
	if s == nil {
		go wait(nil)
		return
	}
	s.Go(name, wait)
}

// timedKey is where a request has its time.
type timedKey struct{}

func timedOf(ctx *fasthttp.RequestCtx) *timed {
	t, _ := ctx.UserValue(timedKey{}).(*timed)
	return t
}

// timed is a request with a time, from when the handler begins until it returns. It is
// not used again: timers and channels would not go from one bubble of testing/synctest to
// another.
type timed struct {
	timer *time.Timer
	over  chan struct{} // closed when the handler has returned

	mu        sync.Mutex // guards what follows
	limit     *timeLimit
	deadline  time.Time
	returned  bool
	abandoned bool
	ctx       context.Context // of ClientContext, nil until asked for
	cancel    context.CancelFunc
}

// restart has the time of a Timeout inside of the first one.
func (t *timed) restart(l *timeLimit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.abandoned {
		return
	}
	t.limit, t.deadline = l, time.Now().Add(l.d)
	t.timer.Reset(l.d)
	t.ctx = nil // has the other deadline, and ends with the request
}

func (t *timed) run(ctx *fasthttp.RequestCtx, next fasthttp.RequestHandler) {
	defer close(t.over)
	defer t.end(ctx)
	next(ctx)
}

// end is for when the handler has returned.
func (t *timed) end(ctx *fasthttp.RequestCtx) {
	t.mu.Lock()
	t.returned = true
	abandoned, cancel := t.abandoned, t.cancel
	t.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	if abandoned {
		release(ctx)
	}
}

// release closes what a request leaves behind that was given up on: fasthttp does not look
// at it again.
func release(ctx *fasthttp.RequestCtx) {
	defer Catch(ctx)()
	_ = ctx.Response.CloseBodyStream() // else its writer waits for a reader for ever
	ctx.Request.RemoveMultipartFormFiles()
	ctx.VisitUserValuesAll(func(_, value any) {
		if c, ok := value.(interface{ Close() error }); ok {
			_ = c.Close()
		}
	})
}

// abandon answers in the place of a handler that has not returned.
func (t *timed) abandon(ctx *fasthttp.RequestCtx, head bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.returned {
		return false
	}
	t.abandoned = true
	if t.ctx != nil {
		<-t.ctx.Done() // as is due; else it could end as a request does that was answered
	}
	var resp fasthttp.Response
	resp.SetStatusCode(fasthttp.StatusServiceUnavailable)
	resp.SetBodyString(t.limit.message)
	resp.SkipBody = head // fasthttp no longer knows the method
	ctx.TimeoutErrorWithResponse(&resp)
	return true
}

// expired is the context of a request whose time is over.
var expired = func() context.Context {
	ctx, cancel := context.WithDeadline(context.Background(), time.Time{})
	cancel()
	return ctx
}()

// context is ClientContext for a request with a time. Once that is over, the connection
// is another request's.
func (t *timed) context(s *Server, ctx *fasthttp.RequestCtx) context.Context {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.abandoned:
		return expired
	case t.ctx == nil:
		t.ctx, t.cancel = context.WithDeadline(s.ClientContext(ctx), t.deadline)
	}
	return t.ctx
}

// watch is Server.Watch for a request with a time.
func (t *timed) watch(s *Server, ctx *fasthttp.RequestCtx) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.abandoned {
		return s.Draining()
	}
	return s.Server.Watch(ctx)
}

// seconds are a time for Retry-After, at least one.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int((d+time.Second-1)/time.Second)))
}
