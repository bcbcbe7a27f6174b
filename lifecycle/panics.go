package lifecycle

import (
	"net"

	"github.com/valyala/fasthttp"
)

// try runs code of the user's whose panic nobody outside could catch. A panic is an
// event.
func (s *Server) try(name string, f func()) (ok bool) {
	err := guard(func() error { f(); return nil })
	if err != nil {
		s.emit(Event{Kind: EventPanic, Name: name, Err: err})
	}
	return err == nil
}

// catchCallbacks has what the user has set on HTTP, beside its Handler, survive a
// panic: fasthttp calls it from goroutines of its own. What is not set costs nothing.
func (s *Server) catchCallbacks() {
	h := s.HTTP
	if f := h.ConnState; f != nil {
		s.connState = func(nc net.Conn, st fasthttp.ConnState) {
			s.try("ConnState", func() { f(nc, st) })
		}
	}
	if f := h.ErrorHandler; f != nil {
		s.errorHandler = func(ctx *fasthttp.RequestCtx, err error) {
			if !s.try("ErrorHandler", func() { f(ctx, err) }) {
				answerError(ctx, err)
			}
		}
	}
	if f := h.HeaderReceived; f != nil {
		h.HeaderReceived = func(header *fasthttp.RequestHeader) (rc fasthttp.RequestConfig) {
			s.try("HeaderReceived", func() { rc = f(header) })
			return rc
		}
	}
	if f := h.ContinueHandler; f != nil {
		h.ContinueHandler = func(header *fasthttp.RequestHeader) (goOn bool) {
			s.try("ContinueHandler", func() { goOn = f(header) })
			return goOn
		}
	}
	if f := h.ExpectHandler; f != nil {
		h.ExpectHandler = func(ctx *fasthttp.RequestCtx) int {
			status := fasthttp.StatusInternalServerError
			s.try("ExpectHandler", func() { status = f(ctx) })
			return status
		}
	}
}
