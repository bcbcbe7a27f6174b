package toolkit

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// Server is what Build makes: a lifecycle.Server with everything in it, whose
// methods (Run, Drain, ShutdownWithContext, Close, Phase, Draining, Conns, Go, ...)
// are its own. Run heeds no signals, unless Signals is set on it; Builder.Run
// does. The report is logged at the end.
type Server struct {
	*lifecycle.Server

	log      zerolog.Logger
	console  *console  // nil for none
	telling  sync.Once // starts watchDrain
	ran      atomic.Bool
	handler  fasthttp.RequestHandler
	warnings []Warning
	settings []Setting
	checks   []*checker
	inFlight inFlight
	panics   atomic.Uint64
	observed bool // there are observers
}

// Handler returns the handler with all middleware around it, for tests that need
// no server.
func (s *Server) Handler() fasthttp.RequestHandler { return s.handler }

// Logger returns the server's logger, for hooks and work. Logger, the function, is for
// handlers.
func (s *Server) Logger() zerolog.Logger { return s.log }

// Panics returns how many panics were caught so far, each with a line in the log: of
// handlers, of what runs beside and after them, and of callbacks, hooks and checks.
func (s *Server) Panics() uint64 { return s.panics.Load() }

// exemptStreams lifts the write timeout from streamed responses: fasthttp counts
// it from a response's begin to its end.
func exemptStreams(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		next(ctx)
		if ctx.LastTimeoutErrorResponse() == nil && ctx.Response.IsBodyStream() {
			_ = ctx.SetWriteDeadline(time.Time{})
		}
	}
}

// ClientContext returns a context that ends when the request's client has gone, the
// drain's deadline has come, the time is over that a Timeout gives, or the handler has
// returned. See lifecycle.Server.ClientContext, which has the details and the price. Outside
// of a server it returns one that does not end.
func ClientContext(ctx *fasthttp.RequestCtx) context.Context {
	s := FromRequest(ctx)
	if s == nil {
		return context.Background()
	}
	if t := timedOf(ctx); t != nil {
		return t.context(s, ctx)
	}
	return s.ClientContext(ctx)
}

// Watch is lifecycle.Server.Watch, which is promoted, for a handler that a Timeout may have given up
// on: then the connection is another request's, and the channel is closed when the drain begins.
func (s *Server) Watch(ctx *fasthttp.RequestCtx) (over <-chan struct{}) {
	if t := timedOf(ctx); t != nil {
		return t.watch(s, ctx)
	}
	return s.Server.Watch(ctx)
}
