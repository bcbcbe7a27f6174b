package toolkit

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

// Observer sees each request with what became of it, but for those of probes: Native those
// for native handlers, Net those for handlers of net/http, by whichever server they came.
// Both are required. They call next once, and return what it returns. They are around the
// access log and all that is inside of that; requests that fasthttp or net/http itself
// refuses come to no handler, and to no Observer.
//
// When next has returned, a handler that has timed out may still use ctx: only
// ctx.LastTimeoutErrorResponse may then be called, if that is not known not to be. A panic
// of a handler is an Outcome, and does not come through next. Net passes w on as it
// is; what it puts on a request's context its handler finds there.
type Observer struct {
	Native func(ctx *fasthttp.RequestCtx, next func(*fasthttp.RequestCtx) Outcome) Outcome
	Net    func(w http.ResponseWriter, r *http.Request, next func(http.ResponseWriter, *http.Request) Outcome) Outcome
}

// Outcome is what became of a request.
type Outcome struct {
	// Route is the pattern of the route that it has taken, "" if none. That of a NetHTTP
	// route is the one of the http.ServeMux below it, without method and host, if
	// there is one and it has set http.Request.Pattern.
	Route string
	// Status is that of the response. A handler of net/http that has panicked before it had
	// answered is shown as a 500, though its client sees the connection end.
	Status int
	// Size is how many bytes the response's body has, before it is sent; -1 for a native
	// stream of unknown length.
	Size int64
	// Cut says that a handler of net/http has panicked, which closes its connection.
	Cut bool
}

// LogFields is the key under which an Observer may leave a zerolog.LogObjectMarshaler with a
// request: as a user value of ctx, and on the context of an http.Request. Its fields are in
// all lines of the log about the request.
const LogFields = logFields("log fields")

type logFields string

// Observe adds an Observer, outside of those that are added after it.
func (b *Builder) Observe(o Observer) *Builder {
	b.observers = append(b.observers, o)
	return b
}

// noted is where the router leaves a request's route for observers. Unlike a user value,
// it can be read while a handler that has timed out still runs; it is not used again
// then.
type noted struct{ route atomic.Pointer[matched] }

type notedKey struct{}

var notes = sync.Pool{New: func() any { return new(noted) }}

// noteRoute is around the handler of a route.
func noteRoute(m *matched, next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		if n, ok := ctx.UserValue(notedKey{}).(*noted); ok {
			n.route.Store(m)
		}
		next(ctx)
	}
}

// observe puts observers around the native handlers, and catches their panics.
func (s *Server) observe(observers []Observer, probes paths, h fasthttp.RequestHandler) fasthttp.RequestHandler {
	next := func(ctx *fasthttp.RequestCtx) Outcome { return outcomeOf(ctx, h) }
	for _, o := range slices.Backward(observers) {
		inner := next
		next = func(ctx *fasthttp.RequestCtx) Outcome { return o.Native(ctx, inner) }
	}
	return func(ctx *fasthttp.RequestCtx) {
		if probes.has(ctx.Path()) {
			h(ctx)
			return
		}
		defer s.answerPanic(ctx)
		next(ctx)
	}
}

// outcomeOf has h answer, and says what it has answered.
func outcomeOf(ctx *fasthttp.RequestCtx, h fasthttp.RequestHandler) (o Outcome) {
	n, head := notes.Get().(*noted), ctx.IsHead()
	n.route.Store(nil)
	ctx.SetUserValue(notedKey{}, n)
	h(ctx)
	resp := ctx.LastTimeoutErrorResponse()
	if m := n.route.Load(); m != nil {
		o.Route = m.pattern
	}
	if resp == nil {
		resp = &ctx.Response
		notes.Put(n)
	}
	o.Status = resp.StatusCode()
	if !head {
		o.Size = int64(bodySize(resp))
	}
	return o
}

// observeNet puts observers around a handler of net/http.
func observeNet(observers []Observer, next func(http.ResponseWriter, *http.Request) Outcome) http.HandlerFunc {
	for _, o := range slices.Backward(observers) {
		inner := next
		next = func(w http.ResponseWriter, r *http.Request) Outcome { return o.Net(w, r, inner) }
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if next(w, r).Cut {
			panic(http.ErrAbortHandler) // http.Server closes the connection, and logs nothing more
		}
	}
}
