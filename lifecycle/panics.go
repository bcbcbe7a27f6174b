package lifecycle

import (
	"net"
	"runtime/debug"

	"github.com/valyala/fasthttp"
)

// try runs code of the user's whose panic nobody outside could catch. A panic is an
// event.
func (s *Server) try(name string, f func()) (ok bool) {
	defer s.catch(name)
	f()
	return true
}

// catch is what try defers.
func (s *Server) catch(name string) {
	if v := recover(); v != nil {
		s.emit(Event{Kind: EventPanic, Name: name, Err: &PanicError{Value: v, Stack: debug.Stack()}})
	}
}

// catchCallbacks has what the user has set on HTTP, beside its Handler, survive a
// panic: fasthttp calls it from goroutines of its own. What is not set costs nothing.
func (s *Server) catchCallbacks() {
	h := s.HTTP
	if f := h.ConnState; f != nil {
		s.connState = func(nc net.Conn, st fasthttp.ConnState) {
			defer s.catch("ConnState")
			f(nc, st)
		}
	}
	if f := h.ErrorHandler; f != nil {
		s.errorHandler = func(ctx *fasthttp.RequestCtx, err error) {
			if !s.try("ErrorHandler", func() { f(ctx, err) }) {
				AnswerError(ctx, err)
			}
		}
	}
	if f := h.HeaderReceived; f != nil {
		h.HeaderReceived = func(header *fasthttp.RequestHeader) fasthttp.RequestConfig {
			defer s.catch("HeaderReceived")
			return f(header)
		}
	}
	if f := h.ContinueHandler; f != nil {
		h.ContinueHandler = func(header *fasthttp.RequestHeader) bool {
			defer s.catch("ContinueHandler")
			return f(header)
		}
	}
	if f := h.ExpectHandler; f != nil {
		h.ExpectHandler = func(ctx *fasthttp.RequestCtx) (status int) {
			if !s.try("ExpectHandler", func() { status = f(ctx) }) {
				return fasthttp.StatusInternalServerError
			}
			return status
		}
	}
}
