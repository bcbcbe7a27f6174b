// The smallest server: Ctrl-C or SIGTERM drains it.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "`address` to listen on")
	flag.Parse()
	err := toolkit.New().
		Addr(*addr).
		Get("/hello/{name}", func(ctx *fasthttp.RequestCtx) {
			fmt.Fprintf(ctx, "Hello, %s!\n", ctx.UserValue("name"))
		}).
		Run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "minimal:", err)
	}
	os.Exit(lifecycle.ExitCode(err))
}
