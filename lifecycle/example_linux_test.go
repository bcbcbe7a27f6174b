package lifecycle_test

import (
	"context"
	"fmt"
	"net"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

func ExampleServer_ClientContext() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := &lifecycle.Server{}
	waiting := make(chan struct{})
	srv.HTTP = &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		client := srv.ClientContext(ctx)
		gone := client.Done()
		close(waiting)
		<-gone // as a query would that gets this context
		fmt.Println(context.Cause(client))
		srv.Drain()
	}}
	go func() {
		client, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			return
		}
		fmt.Fprint(client, "GET /report HTTP/1.1\r\nHost: example.org\r\n\r\n")
		<-waiting
		_ = client.Close()
	}()
	fmt.Println(srv.Serve(ln))
	// Output:
	// lifecycle: client has gone
	// <nil>
}
