// An application on bare fasthttp, of which three lines were changed.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "`address` to listen on")
	flag.Parse()
	app := &fasthttp.Server{
		Name:        "an existing app",
		ReadTimeout: 10 * time.Second,
		IdleTimeout: time.Minute,
		Handler: func(ctx *fasthttp.RequestCtx) {
			fmt.Fprintf(ctx, "%s %s\n", ctx.Method(), ctx.Path())
		},
	}

	// It was:
	//
	//	if err := app.ListenAndServe(*addr); err != nil {
	//		log.Fatal(err)
	//	}
	srv := &lifecycle.Server{HTTP: app, Signals: lifecycle.DefaultSignals()}
	err := srv.ListenAndServe(*addr) // returns when the drain is over
	fmt.Fprint(os.Stderr, srv.Report().Table())
	os.Exit(lifecycle.ExitCode(err))
}
