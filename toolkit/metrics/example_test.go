package metrics_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
	"github.com/lastcall-go/lastcall/toolkit/metrics"
)

// A server with metrics, and what Prometheus gets of it.
func Example() {
	srv, err := toolkit.New().
		Addr("127.0.0.1:0").
		Logger(zerolog.Nop()).
		With(metrics.At("/metrics")).
		Get("/hello/{name}", func(ctx *fasthttp.RequestCtx) {
			fmt.Fprintf(ctx, "Hello, %s!", ctx.UserValue("name"))
		}).
		Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	over := make(chan error)
	go func() { over <- srv.Run(context.Background()) }()
	<-srv.Reached(lifecycle.PhaseReady)

	for _, path := range []string{"/hello/Ada", "/hello/Grace", "/nowhere", "/metrics"} {
		resp, err := http.Get("http://" + srv.ListenAddrs()[0].String() + path)
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		for line := range strings.Lines(string(body)) {
			if path == "/metrics" && strings.HasPrefix(line, "lastcall_requests_total") {
				fmt.Print(line)
			}
		}
	}
	srv.Drain()
	fmt.Println(<-over)
	// Output:
	// lastcall_requests_total{method="GET",route="/hello/{name}",status="2xx"} 2
	// lastcall_requests_total{method="GET",route="none",status="4xx"} 1
	// <nil>
}

// The server's metrics beside the application's own, in a registry that it has, for
// clients on this machine.
func ExampleInto() {
	registry := prometheus.NewRegistry()
	jobs := prometheus.NewCounter(prometheus.CounterOpts{Name: "jobs_total", Help: "Jobs that were done."})
	registry.MustRegister(jobs)

	_, err := toolkit.New().
		Addr("127.0.0.1:0").
		With(metrics.Into(registry)).
		Probe("/metrics", toolkit.LocalOnly(metrics.Handler(registry))).
		Build()
	fmt.Println(err)
	// Output: <nil>
}
