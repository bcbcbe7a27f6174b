package toolkit

import (
	"fmt"
	"runtime/debug"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
)

// recoverPanics turns a panic into a 500 and a log line with its stack. fasthttp
// has no recovery of its own: there, a panic ends the process.
func (s *Server) recoverPanics(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		defer s.answerPanic(ctx)
		next(ctx)
	}
}

// Recover answers a panic of next with a 500, and logs it with its stack and the
// request's id. All handlers of a server have that around them; Recover is for one
// that something runs in a goroutine of its own, where it would end the process:
//
//	fasthttp.TimeoutHandler(toolkit.Recover(report), time.Second, "too slow")
//
// Outside of a server it does nothing.
func Recover(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		if s := FromRequest(ctx); s != nil {
			defer s.answerPanic(ctx)
		}
		next(ctx)
	}
}

// answerPanic is deferred.
func (s *Server) answerPanic(ctx *fasthttp.RequestCtx) {
	v := recover()
	if v == nil {
		return
	}
	s.asked(ctx).logPanic(v, "handler panicked")
	if ctx.Hijacked() { // to write would be a race, where the request has timed out
		ctx.Hijack(nil)
	}
	ctx.Error(fasthttp.StatusMessage(fasthttp.StatusInternalServerError), fasthttp.StatusInternalServerError)
}

// Catch returns what a function defers whose panic would else end the process,
// because it runs after the request's handler or beside it: a hijack handler, that
// of a WebSocket, a goroutine. A panic is then logged, with its stack and the
// request's id, and the function returns; a hijacked connection is closed with that,
// save with fasthttp.Server.KeepHijackedConns.
//
//	catch := toolkit.Catch(ctx)
//	ctx.Hijack(func(c net.Conn) {
//		defer catch()
//		...
//	})
//
// Call Catch in the handler: it takes what it needs of the request, which may be
// another one's later. What it returns may be used by any number of goroutines, and
// is itself to be deferred. Outside of a server it catches nothing.
func Catch(ctx *fasthttp.RequestCtx) (catch func()) {
	s := FromRequest(ctx)
	if s == nil {
		return func() {}
	}
	return s.asked(ctx).catch
}

// request is what the log says of a request, also when that is over.
type request struct {
	server                  *Server
	id, method, path, route string
	refused                 string                     // why its handler was not called
	fields                  zerolog.LogObjectMarshaler // see LogFields; or nil
}

func (s *Server) asked(ctx *fasthttp.RequestCtx) *request {
	fields, _ := ctx.UserValue(LogFields).(zerolog.LogObjectMarshaler)
	return &request{
		server: s,
		id:     RequestID(ctx),
		method: string(ctx.Method()),
		path:   string(ctx.Path()),
		route:  Route(ctx),
		fields: fields,
	}
}

// line begins a line of the log.
func (r *request) line() *zerolog.Event {
	return withFields(r.server.log.Error(), r.fields).
		Str("request_id", r.id).
		Str("method", r.method).
		Str("path", r.path).
		Str("route", r.route)
}

func (r *request) logPanic(v any, msg string) {
	r.server.panics.Add(1)
	r.line().Str("panic", fmt.Sprint(v)).Bytes("stack", debug.Stack()).Msg(msg)
}

// catch is deferred.
func (r *request) catch() {
	if v := recover(); v != nil {
		r.logPanic(v, "panic after or beside a handler")
	}
}
