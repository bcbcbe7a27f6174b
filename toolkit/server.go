package toolkit

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// Server is what Build makes: a lifecycle.Server with everything in it, whose
// methods (Drain, ShutdownWithContext, Close, Phase, Draining, Conns, Go, ...)
// are its own.
type Server struct {
	*lifecycle.Server

	log     zerolog.Logger
	handler fasthttp.RequestHandler
}

// Run runs the server until it is drained, as lifecycle.Server.Run does: no
// signals, no globals. It logs the report at the end.
func (s *Server) Run(ctx context.Context) error {
	err := s.Server.Run(ctx)
	if !errors.Is(err, lifecycle.ErrAlreadyRun) {
		s.logReport(s.Report())
	}
	return err
}

// Handler returns the handler with all middleware around it, for tests that need
// no server.
func (s *Server) Handler() fasthttp.RequestHandler { return s.handler }

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
