package toolkit_test

import (
	"fmt"
	"strings"
	"testing/fstest"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/toolkit"
)

// ask makes a request of what b builds. Headers are names and values by turns.
func ask(b *toolkit.Builder, method, uri string, headers ...string) *fasthttp.Response {
	srv, err := b.Addr("127.0.0.1:0").Logger(zerolog.Nop()).Build()
	if err != nil {
		fmt.Println(err)
		return &fasthttp.Response{}
	}
	var req fasthttp.Request
	req.Header.SetMethod(method)
	req.SetRequestURI(uri)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	var ctx fasthttp.RequestCtx
	ctx.Init(&req, nil, nil)
	srv.Handler()(&ctx)
	if resp := ctx.LastTimeoutErrorResponse(); resp != nil {
		return resp
	}
	return &ctx.Response
}

// A query that takes the context ends with the time that its request has.
func ExampleTimeout() {
	report := func(ctx *fasthttp.RequestCtx) {
		c := toolkit.ClientContext(ctx) // as for db.QueryContext(c, ...)
		<-c.Done()
	}
	resp := ask(toolkit.New().Use(toolkit.Timeout(time.Millisecond, "try again later")).Get("/report", report), "GET", "/report")
	fmt.Println(resp.StatusCode(), string(resp.Body()))
	// Output: 503 try again later
}

func ExampleCompress() {
	list := func(ctx *fasthttp.RequestCtx) {
		ctx.SetContentType("application/json")
		ctx.SetBodyString(`["` + strings.Repeat("lastcall ", 1000) + `"]`)
	}
	b := toolkit.New().Use(toolkit.Compress()).Get("/list", list)
	resp := ask(b, "GET", "/list", "Accept-Encoding", "gzip, br;q=0.5")
	fmt.Printf("%s, %v\n", resp.Header.ContentEncoding(), len(resp.Body()) < 200)
	resp = ask(b, "GET", "/list")
	fmt.Printf("%q, %d, Vary: %s\n", resp.Header.ContentEncoding(), len(resp.Body()), resp.Header.Peek("Vary"))
	// Output:
	// gzip, true
	// "", 9004, Vary: Accept-Encoding
}

func ExampleCORS() {
	b := toolkit.New().
		Use(toolkit.CORS(toolkit.CORSOptions{
			Origins:     []string{"https://app.example", "https://*.preview.example"},
			Methods:     []string{"PUT", "DELETE"},
			Headers:     []string{"Content-Type"},
			Credentials: true,
			MaxAge:      time.Hour,
		})).
		Put("/things/{id}", func(*fasthttp.RequestCtx) {})
	resp := ask(b, "OPTIONS", "/things/7", "Origin", "https://app.example", "Access-Control-Request-Method", "PUT")
	fmt.Println(resp.StatusCode())
	fmt.Printf("%s may send %s\n", resp.Header.Peek("Access-Control-Allow-Origin"), resp.Header.Peek("Access-Control-Allow-Methods"))

	_, err := toolkit.New().Addr(":8080").Use(toolkit.CORS(toolkit.CORSOptions{Origins: []string{"*"}, Credentials: true})).Build()
	fmt.Println(err)
	// Output:
	// 204
	// https://app.example may send PUT, DELETE
	// toolkit: Use: CORS: "*" in Origins with Credentials: any page could act in its user's name
}

func ExampleSecurityHeaders() {
	b := toolkit.New().
		Use(toolkit.SecurityHeaders(map[string]string{
			"Content-Security-Policy":   "default-src 'self'",
			"Strict-Transport-Security": "max-age=31536000", // over TLS alone
			"X-Frame-Options":           "",                 // left out
		})).
		Get("/", func(*fasthttp.RequestCtx) {})
	resp := ask(b, "GET", "/")
	for _, name := range []string{"X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Content-Security-Policy", "Strict-Transport-Security"} {
		fmt.Printf("%s: %q\n", name, resp.Header.Peek(name))
	}
	// Output:
	// X-Content-Type-Options: "nosniff"
	// X-Frame-Options: ""
	// Referrer-Policy: "strict-origin-when-cross-origin"
	// Content-Security-Policy: "default-src 'self'"
	// Strict-Transport-Security: ""
}

func ExampleETag() {
	b := toolkit.New().Use(toolkit.ETag()).Get("/", func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("hello") })
	resp := ask(b, "GET", "/")
	fmt.Printf("%d %s %s\n", resp.StatusCode(), resp.Header.Peek("ETag"), resp.Body())
	resp = ask(b, "GET", "/", "If-None-Match", string(resp.Header.Peek("ETag")))
	fmt.Printf("%d %q\n", resp.StatusCode(), resp.Body())
	// Output:
	// 200 "LPJNul-wow4m6Dsqxbning" hello
	// 304 ""
}

// The reports of all routes together are one at a time.
func ExampleLimitInFlight() {
	b := toolkit.New()
	b.Group("/reports", func(g *toolkit.Group) {
		g.Use(toolkit.LimitInFlight(1, 0))
		g.Get("/inner", func(ctx *fasthttp.RequestCtx) {})
		g.Get("/outer", func(ctx *fasthttp.RequestCtx) {
			resp := ask(b, "GET", "/reports/inner") // comes while the outer one runs
			fmt.Println(resp.StatusCode(), string(resp.Body()), string(resp.Header.Peek("Retry-After")))
		})
	})
	fmt.Println(ask(b, "GET", "/reports/outer").StatusCode())
	fmt.Println(ask(b, "GET", "/reports/inner").StatusCode())
	// Output:
	// 503 too many requests at a time 1
	// 200
	// 200
}

func ExampleGroup_MaxBodySize() {
	upload := func(ctx *fasthttp.RequestCtx) {}
	_, err := toolkit.New().
		Addr(":8080").
		MaxBodySize(64<<10).
		Post("/login", upload).
		Group("/files", func(g *toolkit.Group) {
			g.MaxBodySize(100<<20).Post("/{name}", upload)
		}).
		Group("/webhook", func(g *toolkit.Group) {
			g.MaxBodySize(0)
		}).
		Build()
	fmt.Println(err)
	// Output: toolkit: Builder.Group("/webhook"): MaxBodySize(0): less than 1
}

// The files would be those of an embed.FS.
func ExampleBuilder_StaticFS() {
	files := fstest.MapFS{"index.html": {Data: []byte("<h1>home</h1>")}, "app.5f3c.js": {Data: []byte("run()")}}
	b := toolkit.New().StaticFS("/", files, "public, max-age=3600")
	resp := ask(b, "GET", "/app.5f3c.js", "Range", "bytes=0-2")
	fmt.Printf("%d %s, %s, %s\n", resp.StatusCode(), resp.Body(), resp.Header.ContentType(), resp.Header.Peek("Content-Range"))
	fmt.Println(ask(b, "GET", "/", "If-None-Match", string(ask(b, "GET", "/").Header.Peek("ETag"))).StatusCode())
	fmt.Println(ask(b, "GET", "/../secret").StatusCode())
	// Output:
	// 206 run, text/javascript; charset=utf-8, bytes 0-2/5
	// 304
	// 404
}

func ExampleBuilder_Static() {
	_, err := toolkit.New().Addr(":8080").Static("/assets", "testdata/nothing").Build()
	fmt.Println(err)
	resp := ask(toolkit.New().Static("/assets", "testdata/static"), "GET", "/assets/sub/style.css")
	fmt.Printf("%s, %s, %s", resp.Header.ContentType(), resp.Header.Peek("Cache-Control"), resp.Body())
	// Output:
	// toolkit: Static("/assets"): stat testdata/nothing: no such file or directory
	// text/css; charset=utf-8, no-cache, body { margin: 0 }
}
