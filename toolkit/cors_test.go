package toolkit

import (
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// allowedOrigin is Access-Control-Allow-Origin of a GET from an origin.
func allowedOrigin(h fasthttp.RequestHandler, origin string) string {
	return string(call(h, "GET", "/", "Origin", origin).Response.Header.Peek("Access-Control-Allow-Origin"))
}

func TestCORSOrigins(t *testing.T) {
	h := CORS(CORSOptions{
		Origins: []string{"https://app.example", "http://localhost:3000", "https://*.tenants.example", "https://*.example:8443"},
		Allow:   func(origin string) bool { return origin == "null" || strings.HasPrefix(origin, "chrome-extension://") },
	})(hello)
	for _, origin := range []string{
		"https://app.example", "http://localhost:3000", "https://a.tenants.example", "https://a-b.c_d.tenants.example",
		"https://x.example:8443", "chrome-extension://abc",
	} {
		if got := allowedOrigin(h, origin); got != origin {
			t.Errorf("%s: %q", origin, got)
		}
	}
	for _, origin := range []string{
		"", "null", "http://app.example", "https://app.example:444", "https://app.example.evil", "https://APP.example", "https://app.example/",
		"https://tenants.example", "https://.tenants.example", "https://atenants.example", "https://a.tenants.example:444",
		"https://evil.example/.tenants.example", "https://evil.example:1.tenants.example", "https://evil@a.tenants.example",
		"https://a.tenants.example.evil.example", "https://x.example", "http://localhost",
	} {
		if got := allowedOrigin(h, origin); got != "" {
			t.Errorf("%s: %q", origin, got)
		}
	}
	// Two are none: which one counts is not known.
	ctx := call(h, "GET", "/", "Origin", "https://app.example", "Origin", "https://app.example")
	if got := ctx.Response.Header.Peek("Access-Control-Allow-Origin"); len(got) > 0 {
		t.Errorf("two origins: %s", got)
	}
}

func TestCORSAnyOrigin(t *testing.T) {
	h := CORS(CORSOptions{Origins: []string{"*"}, Expose: []string{"*"}})(hello)
	for _, headers := range [][]string{
		{"Origin", "https://app.example"},
		{"Origin", "null"},
		nil, // caches may answer others with it: https://fetch.spec.whatwg.org/#cors-protocol-and-http-caches
	} {
		ctx := call(h, "GET", "/", headers...)
		if got := string(ctx.Response.Header.Peek("Access-Control-Allow-Origin")); got != "*" {
			t.Errorf("%s: %q", headers, got)
		}
		if h := &ctx.Response.Header; len(h.Peek("Vary")) > 0 || string(h.Peek("Access-Control-Expose-Headers")) != "*" {
			t.Errorf("%s: %s", headers, h)
		}
	}
}

// The whole way, where the router would have answered a preflight with what it knows.
func TestCORSPreflight(t *testing.T) {
	b := loopback().
		Use(CORS(CORSOptions{
			Origins: []string{"https://app.example"}, Methods: []string{"PUT", "DELETE"}, Headers: []string{"Content-Type", "X-Token"},
			Expose: []string{"X-Total", "X-Page"}, Credentials: true, MaxAge: 10 * time.Minute,
		})).
		Put("/things/{id}", hello).
		Get("/panic", func(*fasthttp.RequestCtx) { panic("boo") })
	r := run(t, b)
	c := r.dial()
	const (
		origin = "Access-Control-Allow-Origin"
		creds  = "Access-Control-Allow-Credentials"
	)
	for _, tt := range []struct {
		name, method, path string
		headers            []string
		status             int
		want               map[string]string
	}{
		{"preflight", "OPTIONS", "/things/7", []string{"Origin", "https://app.example", "Access-Control-Request-Method", "PUT"}, 204, map[string]string{
			origin: "https://app.example", creds: "true", "Access-Control-Allow-Methods": "PUT, DELETE", "Access-Control-Allow-Headers": "Content-Type, X-Token",
			"Access-Control-Max-Age": "600", "Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
			"Access-Control-Expose-Headers": "", "Content-Length": "", "Allow": "",
		}},
		{"preflight of a stranger", "OPTIONS", "/things/7", []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "PUT"}, 204, map[string]string{
			origin: "", creds: "", "Access-Control-Allow-Methods": "", "Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
		}},
		{"preflight of what is not there", "OPTIONS", "/nothing", []string{"Origin", "https://app.example", "Access-Control-Request-Method", "PUT"}, 204, map[string]string{origin: "https://app.example"}},
		{"OPTIONS, but no preflight", "OPTIONS", "/things/7", []string{"Origin", "https://app.example"}, 200, map[string]string{origin: "https://app.example", "Allow": "OPTIONS, PUT"}},
		{"request", "PUT", "/things/7", []string{"Origin", "https://app.example"}, 200, map[string]string{
			origin: "https://app.example", creds: "true", "Vary": "Origin", "Access-Control-Expose-Headers": "X-Total, X-Page", "Access-Control-Allow-Methods": "",
		}},
		{"request of a stranger", "PUT", "/things/7", []string{"Origin", "https://evil.example"}, 200, map[string]string{origin: "", creds: "", "Vary": "Origin"}},
		{"request of the same origin", "PUT", "/things/7", nil, 200, map[string]string{origin: "", "Vary": "Origin"}},
		{"404", "GET", "/nothing", []string{"Origin", "https://app.example"}, 404, map[string]string{origin: "https://app.example"}},
		{"panic", "GET", "/panic", []string{"Origin", "https://app.example"}, 500, map[string]string{origin: "https://app.example"}},
	} {
		got := c.do(tt.method, tt.path, tt.headers...)
		if got.StatusCode != tt.status {
			t.Errorf("%s: %v", tt.name, got)
		}
		for name, value := range tt.want {
			if got := got.Header.Get(name); got != value {
				t.Errorf("%s: %s: %q, want %q", tt.name, name, got, value)
			}
		}
	}
	r.finish()
}

// With "*" a preflight gets what it asks for, but nothing that is not a header.
func TestCORSAnyMethodAndHeader(t *testing.T) {
	h := CORS(CORSOptions{Origins: []string{"https://app.example"}, Methods: []string{"*"}, Headers: []string{"*"}, Credentials: true})(hello)
	for asked, want := range map[string]string{
		"authorization, x-a": "authorization, x-a", "authorization,x-a": "authorization,x-a", "": "", "a b": "", "a,,b": "", "a\x00": "",
	} {
		ctx := call(h, "OPTIONS", "/", "Origin", "https://app.example", "Access-Control-Request-Method", "PURGE", "Access-Control-Request-Headers", asked)
		h := &ctx.Response.Header
		if got := string(h.Peek("Access-Control-Allow-Headers")); got != want {
			t.Errorf("%q: %q", asked, got)
		}
		if got := string(h.Peek("Access-Control-Allow-Methods")); got != "PURGE" {
			t.Errorf("methods: %q", got)
		}
	}
}

// In a group preflights need a route.
func TestCORSInAGroup(t *testing.T) {
	s := build(t, loopback().Put("/other", hello).Group("/api", func(g *Group) {
		g.Use(CORS(CORSOptions{Origins: []string{"https://app.example"}, Methods: []string{"PUT"}}))
		g.Options("/{path:*}", func(*fasthttp.RequestCtx) {})
		g.Put("/things/{id}", hello)
	}))
	preflight := []string{"Origin", "https://app.example", "Access-Control-Request-Method", "PUT"}
	ctx := call(s.Handler(), "OPTIONS", "/api/things/7", preflight...)
	if got := string(ctx.Response.Header.Peek("Access-Control-Allow-Methods")); ctx.Response.StatusCode() != 204 || got != "PUT" {
		t.Errorf("%s", &ctx.Response.Header)
	}
	if ctx := call(s.Handler(), "OPTIONS", "/other", preflight...); len(ctx.Response.Header.Peek("Access-Control-Allow-Origin")) > 0 {
		t.Errorf("outside: %s", &ctx.Response.Header)
	}
	if ctx := call(s.Handler(), "POST", "/api/things/7"); ctx.Response.StatusCode() != 405 {
		t.Errorf("%s", &ctx.Response.Header)
	}
}
