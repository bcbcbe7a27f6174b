package toolkit

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// logAccess writes a line for each request that fasthttp could read: at level info,
// 5xx at error, those of probes at debug. One that strict, MaxInFlight or LimitInFlight
// has refused says why, as "refused"; those of the latter two are at warn. A line that the
// logger would drop costs next to nothing.
func (s *Server) logAccess(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	if s.log.GetLevel() == zerolog.Disabled {
		return next
	}
	return func(ctx *fasthttp.RequestCtx) {
		// The handler may rewrite the request, and one that times out keeps it.
		var buf struct {
			method [16]byte
			path   [256]byte
			id     [maxRequestID]byte
		}
		method := append(buf.method[:0], ctx.Method()...)
		path := append(buf.path[:0], ctx.Path()...)
		id := append(buf.id[:0], ctx.Request.Header.PeekCanonical(headerRequestID)...)
		var proxied netip.Addr // the client's address, where there are proxies
		if c, ok := ctx.UserValue(clientIPKey{}).(*clientIP); ok {
			proxied = c.Addr
		}
		fields, _ := ctx.UserValue(LogFields).(zerolog.LogObjectMarshaler)
		began := ctx.Time()
		next(ctx)

		resp, route, refused, level := answerForLog(ctx)
		e := s.log.WithLevel(level)
		if e == nil {
			return
		}
		withFields(e, fields).
			Bytes("method", method).
			Bytes("path", path).
			Str("route", route).
			Int("status", resp.StatusCode())
		if size := bodySize(resp); string(method) == fasthttp.MethodHead {
			e.Int("bytes", 0)
		} else if size >= 0 {
			e.Int("bytes", size)
		}
		if resp.IsBodyStream() {
			e.Bool("stream", true)
		}
		if refused != "" {
			e.Str("refused", refused)
		}
		remote := fmt.Stringer(ctx.RemoteAddr())
		if proxied.IsValid() {
			remote = proxied
		}
		s.took(e, "duration", time.Since(began)).
			Stringer("remote", remote).
			Bytes("request_id", id).
			Msg("request")
	}
}

// answerForLog is the response of a request that its handler has returned from, with what a
// line about it says of it. Of one that has timed out nothing but the response is known: the
// handler may still use the rest.
func answerForLog(ctx *fasthttp.RequestCtx) (resp *fasthttp.Response, route, refused string, level zerolog.Level) {
	level = zerolog.InfoLevel
	resp = ctx.LastTimeoutErrorResponse()
	if resp == nil {
		resp = &ctx.Response
		if m := matchedOf(ctx); m != nil {
			route = m.pattern
			if m.probe {
				level = zerolog.DebugLevel
			}
		}
		if resp.StatusCode() >= fasthttp.StatusBadRequest {
			refused, _ = ctx.UserValue(refusedKey{}).(string)
		}
	}
	if resp.StatusCode() >= fasthttp.StatusInternalServerError && level == zerolog.InfoLevel {
		level = levelOfFailure(refused)
	}
	return resp, route, refused, level
}

// logUnread is the ErrorHandler that writes a line for a request which fasthttp could
// not read, or would not: no handler gets it. Such a line has "refused" in it, and what
// was asked for only where fasthttp has kept the header, which is whole then. What fasthttp
// says of the error is left out: it quotes the header, with whatever secrets are in it.
func (s *Server) logUnread(answer func(*fasthttp.RequestCtx, error)) func(*fasthttp.RequestCtx, error) {
	if answer == nil {
		answer = lifecycle.AnswerError
	}
	if s.log.GetLevel() == zerolog.Disabled {
		return answer
	}
	return func(ctx *fasthttp.RequestCtx, err error) {
		answer(ctx, err)
		code := ctx.Response.StatusCode()
		e := s.log.Info()
		if len(ctx.Request.Header.RawHeaders()) > 0 {
			e.Bytes("method", ctx.Method()).Bytes("path", ctx.Path())
		}
		e.Int("status", code).
			Str("refused", fasthttp.StatusMessage(code)).
			Stringer("remote", ctx.RemoteAddr()).
			Msg("request")
	}
}

// levelOfFailure is the level of a 5xx's line. To refuse a request is no failure of the
// server, but somebody may want to know that it is at its limit.
func levelOfFailure(refused string) zerolog.Level {
	if refused != "" {
		return zerolog.WarnLevel
	}
	return zerolog.ErrorLevel
}

// bodySize is the size of a response's body, -1 for a stream of unknown length.
func bodySize(resp *fasthttp.Response) int {
	if resp.IsBodyStream() {
		return max(-1, resp.Header.ContentLength())
	}
	return len(resp.Body())
}
