package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// An existing fasthttp app: three lines change.
func Example() {
	app := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		ctx.SetBodyString("Hello World!")
	}}

	srv := &lifecycle.Server{HTTP: app} // and Signals: lifecycle.DefaultSignals()
	go func() {
		<-srv.Reached(lifecycle.PhaseReady)
		_, body, err := fasthttp.Get(nil, "http://"+srv.ListenAddrs()[0].String())
		fmt.Printf("%s %v\n", body, err)
		srv.Drain()
	}()
	err := srv.ListenAndServe("127.0.0.1:0") // returns when the drain is over
	fmt.Println("exit code", lifecycle.ExitCode(err))
	// Output:
	// Hello World! <nil>
	// exit code 0
}

func ExampleServer_ShutdownWithContext() {
	srv := &lifecycle.Server{
		HTTP:  &fasthttp.Server{Handler: func(*fasthttp.RequestCtx) {}},
		Addrs: []string{"127.0.0.1:0"},
	}
	ended := make(chan error)
	go func() { ended <- srv.Run(context.Background()) }()
	<-srv.Reached(lifecycle.PhaseReady)

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println("shutdown:", srv.ShutdownWithContext(ctx))
	fmt.Println("run:", <-ended)
	fmt.Println("phase:", srv.Phase(), "because of", srv.Report().Cause)
	// Output:
	// shutdown: <nil>
	// run: <nil>
	// phase: stopped because of ShutdownWithContext
}

// Exit hooks run last registered first, each whatever became of the others. One
// that a start hook registers has something to undo.
func ExampleServer_PreExit() {
	srv := &lifecycle.Server{
		HTTP:  &fasthttp.Server{Handler: func(*fasthttp.RequestCtx) {}},
		Addrs: []string{"127.0.0.1:0"},
	}
	srv.PreExit("logs", func(context.Context) error {
		fmt.Println("logs flushed")
		return nil
	})
	srv.OnStart("database", func(context.Context) error {
		fmt.Println("database opened")
		srv.PreExit("database", func(context.Context) error {
			fmt.Println("database closed")
			return errors.New("one connection was busy")
		}, 5*time.Second)
		return nil
	})
	go func() {
		<-srv.Reached(lifecycle.PhaseReady)
		srv.Drain()
	}()
	err := srv.Run(context.Background())
	fmt.Println(err)
	fmt.Println("exit code", lifecycle.ExitCode(err))
	// Output:
	// database opened
	// database closed
	// logs flushed
	// lifecycle: exit hook "database": one connection was busy
	// exit code 3
}

// Background work heeds Draining; the drain awaits it.
func ExampleServer_Go() {
	srv := &lifecycle.Server{
		HTTP:  &fasthttp.Server{Handler: func(*fasthttp.RequestCtx) {}},
		Addrs: []string{"127.0.0.1:0"},
	}
	srv.OnStart("worker", func(context.Context) error {
		srv.Go("worker", func(context.Context) {
			<-srv.Draining()
			fmt.Println("the worker finishes its batch")
		})
		return nil
	})
	go func() {
		<-srv.Reached(lifecycle.PhaseReady)
		srv.Drain()
	}()
	fmt.Println(srv.Run(context.Background()))
	// Output:
	// the worker finishes its batch
	// <nil>
}

func ExampleServer_Conns() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := &lifecycle.Server{}
	srv.HTTP = &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		for _, c := range srv.Conns() {
			fmt.Fprintf(ctx, "connection %d: %v, %s", c.ID, c.State, c.Route)
		}
		srv.Drain()
	}}
	var client sync.WaitGroup
	client.Go(func() {
		_, body, _ := fasthttp.Get(nil, "http://"+ln.Addr().String()+"/who")
		fmt.Printf("%s\n", body)
	})
	err = srv.Serve(ln)
	client.Wait()
	fmt.Println(err)
	// Output:
	// connection 1: active, GET /who
	// <nil>
}
