package lifecycle

import (
	"errors"
	"os"

	"github.com/valyala/fasthttp"
)

// serveRequest is the handler that fasthttp calls.
func (s *Server) serveRequest(ctx *fasthttp.RequestCtx) {
	c := s.conns.get(ctx.Conn())
	if c == nil { // not from a listener of ours: fasthttp.Server.ServeConn
		s.handler(ctx)
		return
	}
	if s.cutting.Load() || !c.enter(ctx, s.epoch) {
		if c.word.Load()&flagSlow != 0 { // its last byte came with the verdict
			s.serveError(ctx, os.ErrDeadlineExceeded)
			ctx.SetConnectionClose()
			return
		}
		cut(c.Conn) // else fasthttp would answer, and with a 200
		ctx.Error("the server is going down", fasthttp.StatusServiceUnavailable)
		ctx.SetConnectionClose()
		return
	}
	c.showRemote(ctx)
	s.handler(ctx)
	c.leave()
	c.endClientContext()
	if ctx.Hijacked() {
		if c.adopted.Load() == nil {
			s.trackHijack(ctx, c)
		}
		return
	}
	if s.wornOut(c) {
		tellClose(ctx)
	}
	if s.phases.load() >= PhaseDraining && tellClose(ctx) {
		s.told.Add(1)
	}
	if s.mayStillSend(ctx, c) {
		c.lingerAfter()
	}
}

// tellClose puts Connection: close on a response, and reports whether it was not
// there. That of a handler which timed out is a copy: the handler may still be
// writing to the original.
func tellClose(ctx *fasthttp.RequestCtx) bool {
	resp := ctx.LastTimeoutErrorResponse()
	if resp == nil {
		resp = &ctx.Response
	}
	if resp.ConnectionClose() {
		return false
	}
	resp.SetConnectionClose()
	return true
}

// serveError is called by fasthttp for a request that it could not read. It also
// calls it for a connection that never sent one, which gets no answer: nobody
// asked, and a client that is about to send its first request would take it for
// the answer to that.
func (s *Server) serveError(ctx *fasthttp.RequestCtx, err error) {
	if c := s.conns.get(ctx.Conn()); c != nil {
		if stateOf(c.word.Load()) != StateActive {
			_ = c.Close()
			return
		}
		c.showRemote(ctx)
		c.lingerAfter()
	}
	if s.errorHandler != nil {
		s.errorHandler(ctx, err)
		return
	}
	AnswerError(ctx, err)
}

// AnswerError answers where HTTP has no ErrorHandler: as fasthttp's own does, which it
// does not export, save that a body over the limit is a 413. It is for an ErrorHandler
// that has more to do than to answer.
func AnswerError(ctx *fasthttp.RequestCtx, err error) {
	var tooBig *fasthttp.ErrSmallBuffer
	switch {
	case errors.As(err, &tooBig):
		ctx.Error("Too big request header", fasthttp.StatusRequestHeaderFieldsTooLarge)
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		ctx.Error("Request body too large", fasthttp.StatusRequestEntityTooLarge)
	case isTimeout(err):
		ctx.Error("Request timeout", fasthttp.StatusRequestTimeout)
	default:
		ctx.Error("Error when parsing request", fasthttp.StatusBadRequest)
	}
}
