package toolkit

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"
)

// route is a call that mounted a handler.
type route struct {
	call    string // for messages: "Get" or `Group("/api").Get`
	method  string
	path    string
	handler fasthttp.RequestHandler
	wrap    []Middleware // of the groups around it, outermost first
	maxBody int          // 0: the server's
	static  *static      // in the handler's place
	probe   bool         // see Probe
}

// Handle mounts a handler for a method and a path. Paths are those of
// github.com/fasthttp/router: "/users/{name}", "/files/{path:*}",
// "/{id:[0-9]+}", "/a/{optional?}"; a parameter is ctx.UserValue("name"). A path
// that cannot be, a duplicate and a nil handler are errors from Build.
func (b *Builder) Handle(method, path string, h fasthttp.RequestHandler) *Builder {
	return b.mount("Handle", method, path, h)
}

// Get mounts a handler for GET; HEAD wants its own. See Handle.
func (b *Builder) Get(path string, h fasthttp.RequestHandler) *Builder {
	return b.mount("Get", fasthttp.MethodGet, path, h)
}

// Head mounts a handler for HEAD. See Handle.
func (b *Builder) Head(path string, h fasthttp.RequestHandler) *Builder {
	return b.mount("Head", fasthttp.MethodHead, path, h)
}

// Post mounts a handler for POST. See Handle.
func (b *Builder) Post(path string, h fasthttp.RequestHandler) *Builder {
	return b.mount("Post", fasthttp.MethodPost, path, h)
}

// Put mounts a handler for PUT. See Handle.
func (b *Builder) Put(path string, h fasthttp.RequestHandler) *Builder {
	return b.mount("Put", fasthttp.MethodPut, path, h)
}

// Patch mounts a handler for PATCH. See Handle.
func (b *Builder) Patch(path string, h fasthttp.RequestHandler) *Builder {
	return b.mount("Patch", fasthttp.MethodPatch, path, h)
}

// Delete mounts a handler for DELETE. See Handle.
func (b *Builder) Delete(path string, h fasthttp.RequestHandler) *Builder {
	return b.mount("Delete", fasthttp.MethodDelete, path, h)
}

// Connect mounts a handler for CONNECT. See Handle.
func (b *Builder) Connect(path string, h fasthttp.RequestHandler) *Builder {
	return b.mount("Connect", fasthttp.MethodConnect, path, h)
}

// Options mounts a handler for OPTIONS, which is otherwise answered with the
// methods that a path allows. See Handle.
func (b *Builder) Options(path string, h fasthttp.RequestHandler) *Builder {
	return b.mount("Options", fasthttp.MethodOptions, path, h)
}

// Trace mounts a handler for TRACE. See Handle.
func (b *Builder) Trace(path string, h fasthttp.RequestHandler) *Builder {
	return b.mount("Trace", fasthttp.MethodTrace, path, h)
}

// Any mounts a handler for every method that has none of its own on the path. See
// Handle.
func (b *Builder) Any(path string, h fasthttp.RequestHandler) *Builder {
	return b.mount("Any", router.MethodWild, path, h)
}

// NotFound takes requests for which there is no route. The default is a 404.
func (b *Builder) NotFound(h fasthttp.RequestHandler) *Builder {
	b.notFound = h
	return b
}

// MethodNotAllowed takes requests whose path has routes, but not for their
// method. The default is a 405; the header Allow is set in both cases.
func (b *Builder) MethodNotAllowed(h fasthttp.RequestHandler) *Builder {
	b.methodNotAllowed = h
	return b
}

// Group mounts what f mounts on the group under a prefix, and inside the group's
// middleware. A prefix begins with a slash and ends with none; "" is for a group
// that only shares middleware.
func (b *Builder) Group(prefix string, f func(g *Group)) *Builder {
	(&Group{b: b, call: "Builder"}).Group(prefix, f)
	return b
}

func (b *Builder) mount(call, method, path string, h fasthttp.RequestHandler) *Builder {
	b.routes = append(b.routes, route{call: call, method: method, path: path, handler: h})
	return b
}

// Group is a set of routes under a common prefix. Its methods return the group.
type Group struct {
	b      *Builder
	call   string
	prefix string

	wrap    []Middleware
	maxBody int
}

// Use adds middleware around the routes that are mounted on the group after it,
// outermost first, inside the Builder's and that of outer groups.
func (g *Group) Use(m ...Middleware) *Group {
	g.wrap = append(slices.Clip(g.wrap), m...)
	return g
}

// Handle mounts a handler. See Builder.Handle.
func (g *Group) Handle(method, path string, h fasthttp.RequestHandler) *Group {
	return g.mount("Handle", method, path, h)
}

// Get mounts a handler for GET. See Builder.Handle.
func (g *Group) Get(path string, h fasthttp.RequestHandler) *Group {
	return g.mount("Get", fasthttp.MethodGet, path, h)
}

// Head mounts a handler for HEAD. See Builder.Handle.
func (g *Group) Head(path string, h fasthttp.RequestHandler) *Group {
	return g.mount("Head", fasthttp.MethodHead, path, h)
}

// Post mounts a handler for POST. See Builder.Handle.
func (g *Group) Post(path string, h fasthttp.RequestHandler) *Group {
	return g.mount("Post", fasthttp.MethodPost, path, h)
}

// Put mounts a handler for PUT. See Builder.Handle.
func (g *Group) Put(path string, h fasthttp.RequestHandler) *Group {
	return g.mount("Put", fasthttp.MethodPut, path, h)
}

// Patch mounts a handler for PATCH. See Builder.Handle.
func (g *Group) Patch(path string, h fasthttp.RequestHandler) *Group {
	return g.mount("Patch", fasthttp.MethodPatch, path, h)
}

// Delete mounts a handler for DELETE. See Builder.Handle.
func (g *Group) Delete(path string, h fasthttp.RequestHandler) *Group {
	return g.mount("Delete", fasthttp.MethodDelete, path, h)
}

// Options mounts a handler for OPTIONS. See Builder.Options.
func (g *Group) Options(path string, h fasthttp.RequestHandler) *Group {
	return g.mount("Options", fasthttp.MethodOptions, path, h)
}

// Any mounts a handler for every method. See Builder.Any.
func (g *Group) Any(path string, h fasthttp.RequestHandler) *Group {
	return g.mount("Any", router.MethodWild, path, h)
}

// Group mounts what f mounts under this group's prefix and a further one.
func (g *Group) Group(prefix string, f func(g *Group)) *Group {
	inner := &Group{b: g.b, call: fmt.Sprintf("%s.Group(%q)", g.call, prefix), prefix: g.prefix + prefix, wrap: g.wrap, maxBody: g.maxBody}
	switch {
	case f == nil:
		inner.mistake("nil function")
	case prefix != "" && (!strings.HasPrefix(prefix, "/") || strings.HasSuffix(prefix, "/")):
		inner.mistake("want a prefix that begins with a slash and ends with none")
	default:
		f(inner)
	}
	return g
}

func (g *Group) mount(call, method, path string, h fasthttp.RequestHandler) *Group {
	g.b.routes = append(g.b.routes, route{
		call: g.call + "." + call, method: method, path: g.prefix + path, handler: h, wrap: g.wrap, maxBody: g.maxBody,
	})
	return g
}

// mistake is for Build to tell of.
func (g *Group) mistake(format string, args ...any) {
	g.b.early = append(g.b.early, fmt.Errorf("toolkit: %s: %s", g.call, fmt.Sprintf(format, args...)))
}

// matched is stored with a request once its route is known. It must not have a
// method Close() error: fasthttp calls that of every user value after a request.
type matched struct {
	server  *Server
	pattern string // "" where there is no route
	probe   bool
}

type matchedKey struct{}

func matchedOf(ctx *fasthttp.RequestCtx) *matched {
	m, _ := ctx.UserValue(matchedKey{}).(*matched)
	return m
}

// Route returns the pattern of the route that the request has taken, "" where it
// has taken none (yet).
func Route(ctx *fasthttp.RequestCtx) string {
	if m := matchedOf(ctx); m != nil {
		return m.pattern
	}
	return ""
}

// FromRequest returns the server that serves the request, for handlers and
// middleware that begin a drain or watch one. It is nil outside of a server.
func FromRequest(ctx *fasthttp.RequestCtx) *Server {
	if m := matchedOf(ctx); m != nil {
		return m.server
	}
	return nil
}

func (s *Server) match(pattern string, probe bool, h fasthttp.RequestHandler) fasthttp.RequestHandler {
	m := &matched{server: s, pattern: pattern, probe: probe}
	if pattern != "" && s.observed {
		h = noteRoute(m, h)
	}
	return func(ctx *fasthttp.RequestCtx) {
		ctx.SetUserValue(matchedKey{}, m)
		h(ctx)
	}
}

// route builds the router and all middleware around it.
func (s *Server) route(b *Builder, routes []route, proxies *trustedProxies) (fasthttp.RequestHandler, error) {
	r := router.New()
	probes := probesOf(routes)
	s.observed = len(b.observers) > 0
	var errs []error
	for _, rt := range routes {
		errs = append(errs, s.add(r, rt))
	}
	r.NotFound = s.match("", false, orHandler(b.notFound, status(fasthttp.StatusNotFound)))
	r.MethodNotAllowed = s.match("", false, orHandler(b.methodNotAllowed, status(fasthttp.StatusMethodNotAllowed)))
	h := fasthttp.RequestHandler(r.Handler)
	for _, m := range slices.Backward(b.middleware) {
		if m == nil {
			continue
		}
		if err := guard(func() (err error) { h, err = wrap(m, h); return err }); err != nil {
			return nil, errors.Join(append(errs, fmt.Errorf("toolkit: Use: %w", err))...)
		}
	}
	if len(b.middleware) > 0 {
		h = s.match("", false, h) // until the router knows better
	}
	if b.maxInFlight > 0 {
		h = s.limitInFlight(b, probes, h)
	}
	h = s.recoverPanics(h)
	if b.strict {
		h = strict(h) // inside the access log, which tells of it
	}
	if b.accessLog {
		h = s.logAccess(h)
	}
	if s.observed {
		h = s.observe(b.observers, probes, h)
	}
	h = requestID(h)
	if proxies != nil {
		h = proxies.findClient(h)
	}
	return h, errors.Join(errs...)
}

// add mounts one route. The router tells of mistakes by panics.
func (s *Server) add(r *router.Router, rt route) (err error) {
	defer func() {
		if v := recover(); v != nil {
			text := strings.ReplaceAll(fmt.Sprint(v), "\n", `\n`) // the path is in it as it is
			err = fmt.Errorf("toolkit: %s(%q): %s", rt.call, rt.path, text)
		}
	}()
	if strings.ToUpper(rt.method) != rt.method {
		return fmt.Errorf("toolkit: %s(%q, %q): methods are in upper case (RFC 9110, section 9.1)", rt.call, rt.method, rt.path)
	}
	if rt.probe && strings.ContainsRune(rt.path, '{') {
		return fmt.Errorf("toolkit: %s(%q): a parameter", rt.call, rt.path)
	}
	if rt.static != nil {
		if rt.handler, err = rt.static.handler(func(ctx *fasthttp.RequestCtx) { r.NotFound(ctx) }); err != nil {
			if rt.method == fasthttp.MethodHead {
				return nil // as was told of GET
			}
			return fmt.Errorf("toolkit: %s(%q): %w", rt.call, cmp.Or(rt.static.prefix, "/"), err)
		}
	}
	if rt.handler == nil {
		return fmt.Errorf("toolkit: %s(%q): nil handler", rt.call, rt.path)
	}
	h := rt.handler
	for _, m := range slices.Backward(rt.wrap) {
		if m == nil {
			return fmt.Errorf("toolkit: %s(%q): nil middleware in its group", rt.call, rt.path)
		}
		if h, err = wrap(m, h); err != nil {
			return fmt.Errorf("toolkit: %s(%q): %w", rt.call, rt.path, err)
		}
	}
	r.Handle(rt.method, rt.path, s.match(rt.path, rt.probe, h))
	return nil
}

func wrap(m Middleware, h fasthttp.RequestHandler) (fasthttp.RequestHandler, error) {
	if h = m(h); h == nil {
		return nil, errors.New("middleware returned a nil handler")
	}
	return h, nil
}

func orHandler(h, def fasthttp.RequestHandler) fasthttp.RequestHandler {
	if h == nil {
		return def
	}
	return h
}

func status(code int) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		ctx.SetStatusCode(code)
		ctx.SetBodyString(fasthttp.StatusMessage(code))
	}
}
