package toolkit

import (
	"sync"

	"github.com/fasthttp/router"
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

// bodyLimits knows the limits of routes from a request's header, as the router does from
// the request; what they are they say by a status code, as in dispatch. nil knows of none.
type bodyLimits struct {
	table  *router.Router
	probes sync.Pool // of *fasthttp.RequestCtx
}

// newBodyLimits takes the routes that the router has taken.
func newBodyLimits(routes []route) *bodyLimits {
	some := false
	for _, rt := range routes {
		some = some || rt.maxBody > 0
	}
	if !some {
		return nil
	}
	l := &bodyLimits{table: router.New()}
	l.probes.New = func() any { return new(fasthttp.RequestCtx) }
	for _, rt := range routes {
		limit := rt.maxBody
		if limit == 0 {
			limit = -1 // fasthttp takes a status code of 0 for 200
		}
		l.table.Handle(rt.method, rt.path, func(probe *fasthttp.RequestCtx) { probe.SetStatusCode(limit) })
	}
	return l
}

// of is the limit of the route that a request takes, or def.
func (l *bodyLimits) of(h *fasthttp.RequestHeader, def int) int {
	if l == nil {
		return def
	}
	says, _ := l.table.Lookup(string(h.Method()), pathOf(string(h.RequestURI())), nil)
	if says == nil {
		return def
	}
	probe := l.probes.Get().(*fasthttp.RequestCtx)
	defer l.probes.Put(probe)
	says(probe)
	if limit := probe.Response.StatusCode(); limit > 0 {
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
