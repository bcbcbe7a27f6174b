//go:build linux || darwin || freebsd

// A program that soon has no descriptor left. TestNoDescriptors runs it.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

func main() {
	limit, err := strconv.ParseUint(os.Args[1], 10, 64)
	if err == nil {
		err = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: limit, Max: limit})
	}
	if err != nil {
		panic(err)
	}
	srv := &lifecycle.Server{
		HTTP: &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {}},
		OnEvent: func(e lifecycle.Event) {
			if e.Kind == lifecycle.EventAcceptRetry {
				fmt.Fprintln(os.Stderr, e)
			}
		},
	}
	go func() {
		<-srv.Reached(lifecycle.PhaseReady)
		fmt.Println(srv.ListenAddrs()[0])
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			t := srv.Totals()
			fmt.Printf("starving %v, errors %v, refused %v\n", srv.Starving() != nil, t.AcceptErrors > 0, t.RefusedStarved > 0)
		}
		_ = srv.ShutdownWithContext(context.Background())
	}()
	os.Exit(lifecycle.ExitCode(srv.ListenAndServe("127.0.0.1:0")))
}
