package nethttp_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/toolkit/nethttp"
)

// An http.Server's place is taken, and one of its routes made native.
func ExampleServer() {
	app := http.NewServeMux()
	app.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s, by net/http", r.PathValue("name"))
	})
	srv := &nethttp.Server{Handler: app}
	srv.Native("GET /hot/{name}", func(ctx *fasthttp.RequestCtx) {
		fmt.Fprintf(ctx, "hello %s, by fasthttp", ctx.UserValue("name"))
	})

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error)
	go func() { ended <- srv.Serve(ln) }()
	for _, path := range []string{"/hello/you", "/hot/you"} {
		resp, err := http.Get("http://" + ln.Addr().String() + path)
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		fmt.Printf("%s\n", body)
	}
	fmt.Println("Shutdown:", srv.Shutdown(context.Background()))
	fmt.Println("Serve:", <-ended)
	// Output:
	// hello you, by net/http
	// hello you, by fasthttp
	// Shutdown: <nil>
	// Serve: http: Server closed
}

// Middleware that net/http has goes around a native handler.
func ExampleMiddleware() {
	srv := &nethttp.Server{Handler: http.NotFoundHandler()}
	stripped := nethttp.Middleware(func(next http.Handler) http.Handler { return http.StripPrefix("/api", next) })
	srv.Native("GET /api/{path...}", stripped(func(ctx *fasthttp.RequestCtx) {
		fmt.Fprintf(ctx, "%s", ctx.Path())
	}))

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error)
	go func() { ended <- srv.Serve(ln) }()
	resp, err := http.Get("http://" + ln.Addr().String() + "/api/hello")
	if err != nil {
		fmt.Println(err)
		return
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	fmt.Printf("%s\n", body)
	_ = srv.Close()
	<-ended
	// Output: /hello
}
