package toolkit

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// middlewareVariant is a way to serve the same request, without or with a middleware.
type middlewareVariant struct {
	variant
	allocs float64 // at most; -1 for what the benchmark tells
}

func middlewareVariants(t testing.TB) []middlewareVariant {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "1kB")
	if err := errors.Join(os.WriteFile(file, []byte(strings.Repeat("x", 1<<10)), 0o600), os.Chtimes(file, changed, changed)); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat(`{"id":1,"name":"a name"},`, 100) // 2.5 kB
	h := func(ctx *fasthttp.RequestCtx) {
		ctx.SetContentType("application/json")
		ctx.SetBodyString(text)
	}
	request := func(path string, headers ...string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: t\r\n" + strings.Join(append(headers, "\r\n"), "\r\n")
	}
	build := func(name string, allocs float64, request string, set func(b *Builder)) middlewareVariant {
		return middlewareVariant{variant{name: name, request: request, serve: func(t testing.TB, ln net.Listener) {
			b := quiet().Listener(ln)
			set(b)
			run(t, b)
		}}, allocs}
	}
	use := func(name string, allocs float64, m Middleware, headers ...string) middlewareVariant {
		return build(name, allocs, request("/", headers...), func(b *Builder) { b.Use(m).Get("/", h) })
	}
	files := func(name, path string, fs *fasthttp.FS) middlewareVariant {
		return build(name, -1, request(path), func(b *Builder) { b.Get("/{path:*}", fs.NewRequestHandler()) })
	}
	netHTTP := func(name, path string, files http.FileSystem) middlewareVariant {
		return middlewareVariant{variant{name: name, request: request(path), serve: func(t testing.TB, ln net.Listener) {
			s := &http.Server{Handler: http.FileServer(files)}
			over := make(chan struct{})
			go func() { defer close(over); _ = s.Serve(ln) }()
			t.Cleanup(func() { _ = s.Close(); <-over })
		}}, -1}
	}
	const (
		embeddedFile = "/testdata/static/sub/style.css"
		byRouter     = 3 // allocations, for what it makes of {path:*}
	)
	cors := CORS(CORSOptions{Origins: []string{"https://app.example"}, Credentials: true})
	return []middlewareVariant{
		use("without", 0, func(next fasthttp.RequestHandler) fasthttp.RequestHandler { return next }),
		use("timeout", 7, Timeout(time.Minute, "")),
		use("timeout-fasthttp", 1, func(h fasthttp.RequestHandler) fasthttp.RequestHandler {
			return fasthttp.TimeoutHandler(h, time.Minute, "")
		}),
		use("compress-identity", 0, Compress()),
		use("compress-gzip", -1, Compress(), "Accept-Encoding: gzip"),
		use("compress-zstd", -1, Compress(), "Accept-Encoding: gzip, deflate, br, zstd"),
		use("compress-fasthttp-gzip", -1, fasthttp.CompressHandler, "Accept-Encoding: gzip"),
		use("cors", 1, cors, "Origin: https://app.example"),
		use("cors-same-origin", 0, cors),
		use("security-headers", 0, SecurityHeaders(nil)),
		use("etag", 0, ETag()),
		use("limit-in-flight", 0, LimitInFlight(10, time.Second)),
		build("body", 0, postRequest, func(b *Builder) { b.Post("/", h) }),
		build("body-of-a-group", 0, postRequest, func(b *Builder) { b.Group("", func(g *Group) { g.MaxBodySize(1<<20).Post("/", h) }) }),
		build("static", byRouter, request("/1kB"), func(b *Builder) { b.Static("/", dir) }),
		build("static-as-browsers-ask", byRouter, request("/1kB", "Accept-Encoding: gzip, deflate, br, zstd"), func(b *Builder) { b.Static("/", dir) }),
		files("static-fasthttp", "/1kB", &fasthttp.FS{Root: dir, AcceptByteRange: true, SkipCache: true}),
		files("static-fasthttp-cached", "/1kB", &fasthttp.FS{Root: dir, AcceptByteRange: true}),
		netHTTP("static-nethttp", "/1kB", http.Dir(dir)),
		build("static-embed", byRouter, request(embeddedFile), func(b *Builder) { b.StaticFS("/", embedded) }),
		build("static-embed-as-browsers-ask", byRouter, request(embeddedFile, "Accept-Encoding: gzip, deflate, br, zstd"), func(b *Builder) { b.StaticFS("/", embedded) }),
		files("static-embed-fasthttp", embeddedFile, &fasthttp.FS{FS: embedded, AllowEmptyRoot: true, AcceptByteRange: true, SkipCache: true}),
		files("static-embed-fasthttp-cached", embeddedFile, &fasthttp.FS{FS: embedded, AllowEmptyRoot: true, AcceptByteRange: true}),
		netHTTP("static-embed-nethttp", embeddedFile, http.FS(embedded)),
	}
}

func BenchmarkMiddleware(b *testing.B) {
	for _, v := range middlewareVariants(b) {
		b.Run(v.name, func(b *testing.B) {
			x := newExchange(b, v.variant)
			b.ReportAllocs()
			for b.Loop() {
				x.do()
			}
		})
	}
}
