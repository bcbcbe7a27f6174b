package toolkit

import (
	"bytes"
	"fmt"

	"github.com/valyala/fasthttp"
)

// Middleware wraps a handler: one of Timeout, Compress, CORS, SecurityHeaders, ETag and
// LimitInFlight, or an application's own. Builder.Use puts it around all routes,
// Group.Use around some. Use(m1, m2) is m1(m2(routes)), and an order that works for those
// is
//
//	CORS(SecurityHeaders(Compress(ETag(Timeout(LimitInFlight(handler))))))
//
// CORS comes first, to answer preflights before anything else looks at them. What adds
// headers comes before what may answer in the handler's place, so that a 503 has
// them too. A tag of ETag is that of a body before Compress. A handler that Timeout has
// given up on counts for LimitInFlight until it returns.
//
// What a Middleware was asked for wrongly is an error from Build. Where something else
// calls it, it panics with that error.
//
// Middleware of an application's own that is outside of Timeout may not use ctx when next
// has returned and ctx.LastTimeoutErrorResponse is not nil: the handler still does.
type Middleware func(fasthttp.RequestHandler) fasthttp.RequestHandler

// mistake is what a Middleware was asked for wrongly. It panics with it when Build has it
// wrap a handler: it has no other way to return it.
type mistake struct{ error }

// refuse returns a Middleware that Build does not take.
func refuse(format string, args ...any) Middleware {
	return func(fasthttp.RequestHandler) fasthttp.RequestHandler {
		panic(mistake{fmt.Errorf(format, args...)})
	}
}

// answered is the response that the client gets when a handler has returned, which is
// not the handler's where it has timed out.
func answered(ctx *fasthttp.RequestCtx) *fasthttp.Response {
	if resp := ctx.LastTimeoutErrorResponse(); resp != nil {
		return resp
	}
	return &ctx.Response
}

// addVary adds names of request headers to those by which caches tell responses of a
// URL apart, unless they are there: RFC 9110, section 12.5.5.
func addVary(h *fasthttp.ResponseHeader, names ...string) {
	for _, name := range names {
		lines := h.PeekAll(fasthttp.HeaderVary)
		switch {
		case listed(lines, name) || listed(lines, "*"):
		case len(lines) == 0:
			h.Set(fasthttp.HeaderVary, name)
		default:
			h.Set(fasthttp.HeaderVary, string(bytes.Join(lines, []byte(", ")))+", "+name)
		}
	}
}

// listed reports whether a header that is a list, on any number of lines, has a token.
func listed(lines [][]byte, token string) bool {
	for _, line := range lines {
		for part := range bytes.SplitSeq(line, []byte(",")) {
			if bytes.EqualFold(bytes.TrimSpace(part), []byte(token)) {
				return true
			}
		}
	}
	return false
}
