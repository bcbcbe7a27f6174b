package benchmarks

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

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
		{"toolkit,notstrict", plainRequest, built(func(b *toolkit.Builder) { b.Strict(false) })},
		{"toolkit,hardened", plainRequest, built(harden)},
		{"toolkit,log", plainRequest, built(func(b *toolkit.Builder) { b.Logger(zerolog.New(io.Discard)) })},
	}
}

// harden sets those limits without a default that are looked at with each request.
func harden(b *toolkit.Builder) {
	b.MaxInFlight(100_000, time.Second).MaxConnAge(time.Hour).MaxRequestsPerConn(1_000_000_000)
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

// BenchmarkPipelined is one request of those that come sixteen at a time, on a
// connection that is never waited for: what is measured is the server alone.
func BenchmarkPipelined(b *testing.B) {
	for _, v := range variants() {
		b.Run(v.name, func(b *testing.B) {
			const segment = 16
			nc := &fed{segment: bytes.Repeat([]byte(v.request), segment), over: make(chan struct{})}
			nc.left = max(1, b.N/segment)
			ln := &single{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
			stop := v.serve(ln)
			b.ReportAllocs()
			b.ResetTimer()
			ln.conns <- nc
			<-nc.over
			b.StopTimer()
			stop()
			if want := "HTTP/1.1 200"; string(nc.answer[:len(want)]) != want {
				b.Fatalf("%s", nc.answer[:])
			}
		})
	}
}

// single is a listener for one connection.
type single struct {
	conns     chan net.Conn
	closed    chan struct{}
	closeOnce sync.Once
}

func (l *single) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *single) Close() error   { l.closeOnce.Do(func() { close(l.closed) }); return nil }
func (l *single) Addr() net.Addr { return new(net.TCPAddr) }

// fed is a connection on which the same requests come, left times, and whose client
// then goes away.
type fed struct {
	segment   []byte
	left      int
	answer    [64]byte // the begin of the last one
	over      chan struct{}
	closeOnce sync.Once
}

func (c *fed) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	c.left--
	return copy(p, c.segment), nil // less than the least read buffer
}

func (c *fed) Write(p []byte) (int, error)    { copy(c.answer[:], p); return len(p), nil }
func (c *fed) Close() error                   { c.closeOnce.Do(func() { close(c.over) }); return nil }
func (*fed) LocalAddr() net.Addr              { return new(net.TCPAddr) }
func (*fed) RemoteAddr() net.Addr             { return new(net.TCPAddr) }
func (*fed) SetDeadline(time.Time) error      { return nil }
func (*fed) SetReadDeadline(time.Time) error  { return nil }
func (*fed) SetWriteDeadline(time.Time) error { return nil }

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
