package toolkit

import (
	"fmt"
	"runtime/debug"

	"github.com/valyala/fasthttp"
)

// recoverPanics turns a panic into a 500 and a log line with its stack. fasthttp
// has no recovery of its own: there, a panic ends the process.
func (s *Server) recoverPanics(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			s.log.Error().
				Str("request_id", RequestID(ctx)).
				Bytes("method", ctx.Method()).
				Bytes("path", ctx.Path()).
				Str("route", Route(ctx)).
				Str("panic", fmt.Sprint(v)).
				Bytes("stack", debug.Stack()).
				Msg("handler panicked")
			ctx.Hijack(nil)
			ctx.Response.Reset()
			ctx.Error(fasthttp.StatusMessage(fasthttp.StatusInternalServerError), fasthttp.StatusInternalServerError)
		}()
		next(ctx)
	}
}
