package benchmarks

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
)

func hello(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("Hello World!") }

// contenders serve hello on a listener until stopped, each around the same
// fasthttp.Server.
var contenders = []struct {
	name  string
	serve func(ln net.Listener) (stop func())
}{
	{"fasthttp", func(ln net.Listener) func() {
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = (&fasthttp.Server{Handler: hello}).Serve(ln)
		}()
		return func() { _ = ln.Close(); <-done }
	}},
	{"lifecycle", func(ln net.Listener) func() {
		return run(&lifecycle.Server{HTTP: &fasthttp.Server{Handler: hello}, Listeners: []net.Listener{ln}})
	}},
	{"toolkit", func(ln net.Listener) func() { return build(ln, zerolog.Nop()) }},
	{"toolkit+log", func(ln net.Listener) func() { return build(ln, zerolog.New(io.Discard)) }},
}

func build(ln net.Listener, log zerolog.Logger) func() {
	s, err := toolkit.New().Listener(ln).Logger(log).Get("/", hello).Build()
	if err != nil {
		panic(err)
	}
	return run(s.Server)
}

func run(s *lifecycle.Server) func() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Run(context.Background())
	}()
	<-s.Reached(lifecycle.PhaseReady)
	return func() { _ = s.Close(); <-done }
}

var request = []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")

// BenchmarkRequest is one request on a keep-alive connection, in memory and over
// loopback, server and client in one process.
func BenchmarkRequest(b *testing.B) {
	for _, network := range []string{"memory", "tcp"} {
		for _, c := range contenders {
			b.Run(network+"/"+c.name, func(b *testing.B) {
				ln, dial := listen(b, network)
				defer c.serve(ln)()
				nc, err := dial()
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = nc.Close() }()
				buf := make([]byte, 4096)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := nc.Write(request); err != nil {
						b.Fatal(err)
					}
					if _, err := nc.Read(buf); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func listen(b *testing.B, network string) (net.Listener, func() (net.Conn, error)) {
	b.Helper()
	if network == "memory" {
		ln := fasthttputil.NewInmemoryListener()
		return ln, ln.Dial
	}
	ln, err := net.Listen(network, "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return ln, func() (net.Conn, error) { return net.Dial(network, ln.Addr().String()) }
}
