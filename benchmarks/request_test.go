package benchmarks

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/fasthttp/router"
	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
)

func hello(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("Hello World!") }

const (
	plainRequest = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
	ownIDRequest = "GET / HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: 0e6a1f3c-98f4-4b5e-8a49-5b0d7f0f7b1c\r\n\r\n"
)

// variant is a way to serve hello on a listener until stopped.
type variant struct {
	name    string
	request string
	serve   func(ln net.Listener) (stop func())
}

// variants add one thing after the other. What a middleware costs is the
// difference between two of them: request id and recovery cannot be left out of
// a toolkit server, but an id that comes with the request need not be made, and a
// write timeout that is not set needs no care for streams.
func variants() []variant {
	return []variant{
		{"fasthttp", plainRequest, bare},
		{"lifecycle", plainRequest, alive(hello)},
		{"lifecycle+router", plainRequest, alive(routed())},
		{"toolkit", plainRequest, built(func(*toolkit.Builder) {})},
		{"toolkit,noaccesslog", plainRequest, built(func(b *toolkit.Builder) { b.AccessLog(false) })},
		{"toolkit,ownid", ownIDRequest, built(func(*toolkit.Builder) {})},
		{"toolkit,nowritetimeout", plainRequest, built(func(b *toolkit.Builder) { b.WriteTimeout(0) })},
		{"toolkit,least", ownIDRequest, built(func(b *toolkit.Builder) { b.AccessLog(false).WriteTimeout(0) })},
		{"toolkit,middleware", plainRequest, built(func(b *toolkit.Builder) { b.Use(pass) })},
		{"toolkit,log", plainRequest, built(func(b *toolkit.Builder) { b.Logger(zerolog.New(io.Discard)) })},
	}
}

// pass is the least that a middleware can be.
func pass(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) { next(ctx) }
}

// routed is toolkit's router without anything around it.
func routed() fasthttp.RequestHandler {
	r := router.New()
	r.GET("/", hello)
	return r.Handler
}

// server has the time limits that toolkit sets.
func server(h fasthttp.RequestHandler) *fasthttp.Server {
	return &fasthttp.Server{
		Handler:               h,
		ReadTimeout:           toolkit.DefaultReadHeaderTimeout,
		WriteTimeout:          toolkit.DefaultWriteTimeout,
		IdleTimeout:           toolkit.DefaultIdleTimeout,
		ReadBufferSize:        toolkit.DefaultMaxHeaderSize,
		NoDefaultServerHeader: true,
	}
}

func bare(ln net.Listener) func() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server(hello).Serve(ln)
	}()
	return func() { _ = ln.Close(); <-done }
}

func alive(h fasthttp.RequestHandler) func(net.Listener) func() {
	return func(ln net.Listener) func() {
		return run(&lifecycle.Server{HTTP: server(h), Listeners: []net.Listener{ln}})
	}
}

func built(with func(*toolkit.Builder)) func(net.Listener) func() {
	return func(ln net.Listener) func() {
		b := toolkit.New().Logger(zerolog.Nop()).Get("/", hello).Listener(ln)
		with(b)
		s, err := b.Build()
		if err != nil {
			panic(err)
		}
		return run(s.Server)
	}
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

// BenchmarkRequest is one request on a keep-alive connection, in memory and over
// loopback, server and client in one process.
func BenchmarkRequest(b *testing.B) {
	for _, network := range []string{"memory", "tcp"} {
		for _, v := range variants() {
			b.Run(network+"/"+v.name, func(b *testing.B) {
				ln, dial := listen(b, network)
				defer v.serve(ln)()
				nc, err := dial()
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = nc.Close() }()
				request, buf := []byte(v.request), make([]byte, 4096)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := nc.Write(request); err != nil {
						b.Fatal(err)
					}
					if _, err := nc.Read(buf); err != nil { // it comes in one piece
						b.Fatal(err)
					}
				}
				if string(buf[:12]) != "HTTP/1.1 200" {
					b.Fatalf("%s", buf)
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
