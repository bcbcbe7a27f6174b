// A program whose server is shut down from another goroutine: once by a caller in
// a hurry, then by one that waits. TestShutdownOfAProcess runs it.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

func main() {
	release := make(chan struct{})
	srv := &lifecycle.Server{HTTP: &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		fmt.Println("serving")
		<-release
		ctx.SetBodyString("late")
	}}}
	go func() {
		<-srv.Reached(lifecycle.PhaseReady)
		fmt.Println(srv.ListenAddrs()[0])
		in := bufio.NewScanner(os.Stdin)
		in.Scan()

		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		fmt.Println("hurried:", srv.ShutdownWithContext(ctx))
		in.Scan()
		close(release)
		_ = srv.ShutdownWithContext(context.Background())
	}()
	err := srv.ListenAndServe("127.0.0.1:0")
	fmt.Println("over:", err)
	os.Exit(lifecycle.ExitCode(err))
}
