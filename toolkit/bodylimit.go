package toolkit

import (
	"cmp"

	"github.com/valyala/fasthttp"
)

// MaxBodySize is how many bytes a request's body may have, on the routes that are mounted on
// the group after it, and on its groups: in the place of Builder.MaxBodySize, which may be
// less or more. It holds before the body is read, where its length is known, and while it
// is read in chunks; more is a 413. Group("", ...) gives a route a limit of its own:
//
//	Group("", func(g *toolkit.Group) { g.MaxBodySize(1 << 30).Post("/upload", upload) })
//
// A server in which it is called looks for the route of each request with a body when its
// header has come, and a second time with StreamRequestBody.
func (g *Group) MaxBodySize(bytes int) *Group {
	if bytes < 1 {
		g.mistake("MaxBodySize(%d): less than 1", bytes)
	}
	g.maxBody = bytes
	return g
}

// bodyLimits knows the limits of routes from a request's header: each is the number of
// its route, or noLimit. nil knows of none.
type bodyLimits struct{ table *numbers }

// noLimit says that a route has the server's limit.
const noLimit = -1

// newBodyLimits takes the routes that the router has taken.
func newBodyLimits(routes []route) *bodyLimits {
	some := false
	for _, rt := range routes {
		some = some || rt.maxBody > 0
	}
	if !some {
		return nil
	}
	l := &bodyLimits{table: newNumbers()}
	for _, rt := range routes {
		l.table.add(rt.method, rt.path, cmp.Or(rt.maxBody, noLimit))
	}
	return l
}

// of is the limit of the route that a request takes, or def.
func (l *bodyLimits) of(h *fasthttp.RequestHeader, def int) int {
	if l == nil {
		return def
	}
	if limit := l.table.of(string(h.Method()), string(h.RequestURI())); limit > 0 {
		return limit
	}
	return def
}

// received has fasthttp keep the limits.
func (l *bodyLimits) received(next func(*fasthttp.RequestHeader) fasthttp.RequestConfig) func(*fasthttp.RequestHeader) fasthttp.RequestConfig {
	return func(h *fasthttp.RequestHeader) (rc fasthttp.RequestConfig) {
		if next != nil {
			rc = next(h)
		}
		if n := h.ContentLength(); rc.MaxRequestBodySize == 0 && (n > 0 || n == -1) {
			rc.MaxRequestBodySize = l.of(h, 0)
		}
		return rc
	}
}
