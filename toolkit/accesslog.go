package toolkit

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
)

// logAccess writes a line for each request that fasthttp could read: at level info,
// 5xx at error, those of probes at debug. One that strict has refused
// says why, as "refused". A line that the logger would
// drop costs next to nothing.
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
		id := append(buf.id[:0], ctx.Request.Header.PeekBytes(headerRequestID)...)
		client, _ := ctx.UserValue(clientIPKey{}).(netip.Addr)
		fields, _ := ctx.UserValue(LogFields).(zerolog.LogObjectMarshaler)
		began := ctx.Time()
		next(ctx)

		resp, route, refused, level := &ctx.Response, "", "", zerolog.InfoLevel
		if timedOut := ctx.LastTimeoutErrorResponse(); timedOut != nil {
			resp = timedOut
		} else if m := matchedOf(ctx); m != nil {
			route = m.pattern
			if m.probe {
				level = zerolog.DebugLevel
			}
			if route == "" {
				refused, _ = ctx.UserValue(refusedKey{}).(string)
			}
		}
		code := resp.StatusCode()
		if code >= fasthttp.StatusInternalServerError && level == zerolog.InfoLevel {
			level = zerolog.ErrorLevel
		}
		e := s.log.WithLevel(level)
		if e == nil {
			return
		}
		withFields(e, fields).
			Bytes("method", method).
			Bytes("path", path).
			Str("route", route).
			Int("status", code)
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
		if client.IsValid() {
			remote = client
		}
		e.Dur("duration", time.Since(began)).
			Stringer("remote", remote).
			Bytes("request_id", id).
			Msg("request")
	}
}

// bodySize is the size of a response's body, -1 for a stream of unknown length.
func bodySize(resp *fasthttp.Response) int {
	if resp.IsBodyStream() {
		return max(-1, resp.Header.ContentLength())
	}
	return len(resp.Body())
}
