package toolkit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// mark is middleware that leaves its name on the request.
func mark(name string) Middleware {
	return func(next fasthttp.RequestHandler) fasthttp.RequestHandler {
		return func(ctx *fasthttp.RequestCtx) {
			ctx.SetUserValue(name, true)
			path, _ := ctx.UserValue("trace").(string)
			ctx.SetUserValue("trace", path+name+" ")
			next(ctx)
		}
	}
}

// trace answers with the names of the middleware that the request came through.
func trace(ctx *fasthttp.RequestCtx) {
	path, _ := ctx.UserValue("trace").(string)
	ctx.SetBodyString(path + "handler")
}

func TestEachMethodHasItsHelper(t *testing.T) {
	helpers := map[string]func(*Builder, string, fasthttp.RequestHandler) *Builder{
		"GET": (*Builder).Get, "HEAD": (*Builder).Head, "POST": (*Builder).Post, "PUT": (*Builder).Put, "PATCH": (*Builder).Patch,
		"DELETE": (*Builder).Delete, "CONNECT": (*Builder).Connect, "OPTIONS": (*Builder).Options, "TRACE": (*Builder).Trace,
	}
	inGroup := map[string]func(*Group, string, fasthttp.RequestHandler) *Group{
		"GET": (*Group).Get, "HEAD": (*Group).Head, "POST": (*Group).Post, "PUT": (*Group).Put, "PATCH": (*Group).Patch,
		"DELETE": (*Group).Delete, "OPTIONS": (*Group).Options,
	}
	b := loopback().Handle("PURGE", "/x", answer("PURGE"))
	for method, mount := range helpers {
		mount(b, "/x", answer(method))
	}
	b.Group("/g", func(g *Group) {
		g.Handle("PURGE", "/x", answer("g PURGE"))
		for method, mount := range inGroup {
			mount(g, "/x", answer("g "+method))
		}
	})
	h := build(t, b).Handler()
	for method := range helpers {
		if got := got(call(h, method, "/x")); got != "200 "+method {
			t.Errorf("%s /x: %s", method, got)
		}
	}
	for method := range inGroup {
		if got := got(call(h, method, "/g/x")); got != "200 g "+method {
			t.Errorf("%s /g/x: %s", method, got)
		}
	}
	if got := got(call(h, "PURGE", "/x")) + got(call(h, "PURGE", "/g/x")); got != "200 PURGE200 g PURGE" {
		t.Errorf("PURGE: %s", got)
	}
}

func TestAnyTakesMethodsWithoutARouteOfTheirOwn(t *testing.T) {
	h := build(t, loopback().
		Any("/x", answer("any")).
		Get("/x", answer("get")).
		Group("/g", func(g *Group) { g.Any("/x", answer("any in g")) })).Handler()
	for request, want := range map[string]string{
		"GET /x": "200 get", "POST /x": "200 any", "HEAD /x": "200 any", "OPTIONS /x": "200 any", "PURGE /x": "200 any",
		"GET /g/x": "200 any in g", "DELETE /g/x": "200 any in g",
	} {
		method, path, _ := strings.Cut(request, " ")
		if got := got(call(h, method, path)); got != want {
			t.Errorf("%s: %s, want %s", request, got, want)
		}
	}
}

func TestPathParameters(t *testing.T) {
	param := func(name string) fasthttp.RequestHandler {
		return func(ctx *fasthttp.RequestCtx) { fmt.Fprintf(ctx, "%s=%v %s", name, ctx.UserValue(name), Route(ctx)) }
	}
	h := build(t, loopback().
		Get("/users/{name}", param("name")).
		Get("/users/{name}/pets/{pet}", param("pet")).
		Get("/files/{path:*}", param("path")).
		Get("/id/{id:[0-9]+}", param("id")).
		Get("/a/{optional?}", param("optional")).
		Group("/v{version}", func(g *Group) { g.Get("/x", param("version")) })).Handler()
	for path, want := range map[string]string{
		"/users/ada":          "200 name=ada /users/{name}",
		"/users/ada/pets/cat": "200 pet=cat /users/{name}/pets/{pet}",
		"/files/a/b/c.txt":    "200 path=a/b/c.txt /files/{path:*}",
		"/files/":             "200 path= /files/{path:*}",
		"/id/42":              "200 id=42 /id/{id:[0-9]+}",
		"/id/x":               "404 Not Found",
		"/a":                  "200 optional=<nil> /a/{optional?}",
		"/a/b":                "200 optional=b /a/{optional?}",
		"/v2/x":               "200 version=2 /v{version}/x",
	} {
		if got := got(call(h, "GET", path)); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestMiddlewareOrder(t *testing.T) {
	h := build(t, loopback().
		Use(mark("m1"), mark("m2")).
		Get("/", trace).
		Group("/a", func(g *Group) {
			g.Get("/before", trace).Use(mark("g1")).Use(mark("g2"))
			g.Get("/after", trace)
			g.Group("/b", func(inner *Group) { inner.Use(mark("b")).Get("/x", trace) })
			g.Group("/c", func(inner *Group) { inner.Use(mark("c")).Get("/x", trace) })
			g.Use(mark("g3")).Get("/last", trace)
		}).
		Group("", func(g *Group) { g.Use(mark("g")).Get("/bare", trace) }).
		Use(mark("m3"))).Handler()
	for path, want := range map[string]string{
		"/":         "m1 m2 m3 handler",
		"/bare":     "m1 m2 m3 g handler",
		"/a/before": "m1 m2 m3 handler",
		"/a/after":  "m1 m2 m3 g1 g2 handler",
		"/a/b/x":    "m1 m2 m3 g1 g2 b handler",
		"/a/c/x":    "m1 m2 m3 g1 g2 c handler",
		"/a/last":   "m1 m2 m3 g1 g2 g3 handler",
	} {
		if got := got(call(h, "GET", path)); got != "200 "+want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// Whether "/api/" is taken for "/api" or refused, no route may end up at "/api//x".
func TestGroupPrefixWithASlashAtItsEnd(t *testing.T) {
	for prefix, path := range map[string]string{"/": "/x", "/api/": "/api/x"} {
		s, err := loopback().Group(prefix, func(g *Group) { g.Get("/x", hello) }).Build()
		switch {
		case err != nil && !strings.Contains(err.Error(), "Group("):
			t.Error(err)
		case err == nil && got(call(s.Handler(), "GET", path)) != "200 hello":
			t.Errorf("Group(%q): no error, but %s is not found", prefix, path)
		}
	}
}

// RequestID(AccessLog(Recover(m1(m2(routes))))): a panic of the outermost
// middleware of the user's is recovered, what became of it is logged, and both
// know the request by its id.
func TestDefaultMiddlewareIsOutsideTheUsers(t *testing.T) {
	var log logs
	var idInside string
	h := build(t, loopback().Logger(log.logger()).Use(func(fasthttp.RequestHandler) fasthttp.RequestHandler {
		return func(ctx *fasthttp.RequestCtx) {
			idInside = RequestID(ctx)
			panic("before the routes")
		}
	})).Handler()
	ctx := call(h, "GET", "/x")
	id := string(ctx.Response.Header.Peek(HeaderRequestID))
	line := log.line(t, "request")
	if ctx.Response.StatusCode() != 500 || line["status"] != 500.0 {
		t.Errorf("answered %s, logged %v", got(ctx), line)
	}
	if id == "" || id != idInside || id != line["request_id"] || id != log.line(t, "handler panicked")["request_id"] {
		t.Errorf("id %q in the response, %q in middleware, logged %v", id, idInside, line)
	}
}

func TestNoRouteAndNoMethod(t *testing.T) {
	teapot := func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(418); trace(ctx) }
	plain := loopback().Get("/x", hello).Post("/x", hello)
	custom := loopback().Get("/x", hello).Post("/x", hello).Use(mark("m")).NotFound(teapot).MethodNotAllowed(teapot)
	for _, tt := range []struct {
		name, method, path, want, allow string
		b                               *Builder
	}{
		{"no route", "GET", "/y", "404 Not Found", "", plain},
		{"no method", "DELETE", "/x", "405 Method Not Allowed", "GET, OPTIONS, POST", plain},
		{"HEAD wants its own", "HEAD", "/x", "405 Method Not Allowed", "GET, OPTIONS, POST", plain},
		{"OPTIONS by itself", "OPTIONS", "/x", "200 ", "GET, OPTIONS, POST", plain},
		{"OPTIONS without a route", "OPTIONS", "/y", "404 Not Found", "", plain},
		{"custom no route", "GET", "/y", "418 m handler", "", custom},
		{"custom no method", "DELETE", "/x", "418 m handler", "GET, OPTIONS, POST", custom},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := call(build(t, tt.b).Handler(), tt.method, tt.path)
			if allow := string(ctx.Response.Header.Peek("Allow")); got(ctx) != tt.want || allow != tt.allow {
				t.Errorf("%s, Allow %q; want %s, Allow %q", got(ctx), allow, tt.want, tt.allow)
			}
		})
	}
}

// "/hello/" is not "/hello", but likely to be meant.
func TestRedirects(t *testing.T) {
	h := build(t, loopback().Get("/hello", hello).Post("/hello", hello)).Handler()
	for request, want := range map[string]int{"GET /hello/?q=1": 301, "GET /HELLO?q=1": 301, "POST /hello/?q=1": 308} {
		method, path, _ := strings.Cut(request, " ")
		ctx := call(h, method, path)
		if at := string(ctx.Response.Header.Peek("Location")); ctx.Response.StatusCode() != want || !strings.HasSuffix(at, "/hello?q=1") {
			t.Errorf("%s: %d to %q", request, ctx.Response.StatusCode(), at)
		}
	}
}

func TestRouteAndFromRequest(t *testing.T) {
	type seen struct {
		route  string
		server *Server
	}
	look := func(ctx *fasthttp.RequestCtx) seen { return seen{Route(ctx), FromRequest(ctx)} }
	var before, after, in seen
	watch := func(next fasthttp.RequestHandler) fasthttp.RequestHandler {
		return func(ctx *fasthttp.RequestCtx) {
			before = look(ctx)
			next(ctx)
			after = look(ctx)
		}
	}
	handler := func(ctx *fasthttp.RequestCtx) { in = look(ctx) }
	s := build(t, loopback().Use(watch).Get("/a/{x}", handler).NotFound(handler).MethodNotAllowed(handler).
		Group("/g", func(g *Group) { g.Get("/{y}", handler) }))
	for request, route := range map[string]string{
		"GET /a/1": "/a/{x}", "GET /g/1": "/g/{y}", "GET /none": "", "POST /a/1": "",
	} {
		method, path, _ := strings.Cut(request, " ")
		call(s.Handler(), method, path)
		if want := (seen{route, s}); before != (seen{"", s}) || in != want || after != want {
			t.Errorf("%s: %v, %v, %v, want the server, then %v twice", request, before, in, after, want)
		}
	}
	if outside := look(new(fasthttp.RequestCtx)); outside != (seen{}) {
		t.Errorf("outside of a server: %v", outside)
	}
}

// Values of one request do not show in the next one of its connection.
func TestRouteIsForgottenBetweenRequests(t *testing.T) {
	var log logs
	r := run(t, loopback().Logger(log.logger()).Get("/x", hello))
	c := r.dial()
	c.get("/x")
	c.do("OPTIONS", "/x") // answered by the router itself
	lines := log.lines(t, "request")
	if len(lines) != 2 || lines[0]["route"] != "/x" || lines[1]["route"] != "" {
		t.Errorf("logged %v", lines)
	}
}

// Tests need no server to see what a handler streams.
func TestHandlerServesStreamsWithoutAServer(t *testing.T) {
	h := build(t, loopback().Get("/", func(ctx *fasthttp.RequestCtx) { ctx.SetBodyStream(strings.NewReader("streamed"), -1) })).Handler()
	defer func() {
		if v := recover(); v != nil {
			t.Errorf("panic: %v", v)
		}
	}()
	if got := got(call(h, "GET", "/")); got != "200 streamed" {
		t.Error(got)
	}
}
