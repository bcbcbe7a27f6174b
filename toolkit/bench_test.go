package toolkit

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// variant is a way to serve the same request.
type variant struct {
	name    string
	request string
	logs    bool                                // a line a request
	serve   func(t testing.TB, ln net.Listener) // until the test's end
}

const (
	ownIDRequest = "GET / HTTP/1.1\r\nHost: t\r\nX-Request-ID: 0e6a1f3c-98f4-4b5e-8a49-5b0d7f0f7b1c\r\n\r\n"
	postRequest  = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbody"
)

// variants are the toolkit's, beside what they build on.
func variants() []variant {
	discard := zerolog.New(io.Discard)
	toolkit := func(log zerolog.Logger) func(testing.TB, net.Listener) {
		return func(t testing.TB, ln net.Listener) {
			run(t, quiet().Logger(log).Get("/", hello).Post("/", hello).Listener(ln))
		}
	}
	return []variant{
		{"bare", getRequest, false, serveBare},
		{"lifecycle", getRequest, false, serveLifecycle},
		{"toolkit", getRequest, false, toolkit(zerolog.Nop())},
		{"toolkit-not-strict", getRequest, false, func(t testing.TB, ln net.Listener) { run(t, quiet().Strict(false).Get("/", hello).Listener(ln)) }},
		{"toolkit-own-id", ownIDRequest, false, toolkit(zerolog.Nop())},
		{"toolkit-body", postRequest, false, toolkit(zerolog.Nop())},
		{"toolkit-max-in-flight", getRequest, false, func(t testing.TB, ln net.Listener) {
			run(t, quiet().MaxInFlight(100, time.Second).Get("/", hello).Listener(ln))
		}},
		{"toolkit-beside-nethttp", getRequest, false, func(t testing.TB, ln net.Listener) {
			run(t, quiet().Get("/", hello).NetHTTP("/", http.NotFoundHandler()).NetHTTP("/net/{path:*}", http.NotFoundHandler()).Listener(ln))
		}},
		{"toolkit-observed", getRequest, false, func(t testing.TB, ln net.Listener) {
			run(t, quiet().Observe(passing()).Get("/", hello).Listener(ln))
		}},
		{"toolkit-log-disabled", getRequest, false, toolkit(discard.Level(zerolog.Disabled))},
		{"toolkit-log-warn", getRequest, false, toolkit(discard.Level(zerolog.WarnLevel))},
		{"toolkit-log-info", getRequest, true, toolkit(discard.Level(zerolog.InfoLevel))},
	}
}

func serveBare(t testing.TB, ln net.Listener) {
	over := make(chan error, 1)
	s := &fasthttp.Server{Handler: hello, ReadBufferSize: DefaultMaxHeaderSize, IdleTimeout: DefaultIdleTimeout,
		ReadTimeout: DefaultReadHeaderTimeout, WriteTimeout: DefaultWriteTimeout, NoDefaultServerHeader: true}
	go func() { over <- s.Serve(ln) }()
	t.Cleanup(func() {
		_ = ln.Close()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
}

func serveLifecycle(t testing.TB, ln net.Listener) {
	s := &lifecycle.Server{Listeners: []net.Listener{ln}, HTTP: &fasthttp.Server{
		Handler: hello, ReadBufferSize: DefaultMaxHeaderSize, IdleTimeout: DefaultIdleTimeout,
		ReadTimeout: DefaultReadHeaderTimeout, WriteTimeout: DefaultWriteTimeout, NoDefaultServerHeader: true,
	}}
	over := make(chan struct{})
	go func() { defer close(over); _ = s.Run(t.Context()) }()
	t.Cleanup(func() { _ = s.Close(); <-over })
}

// exchange is a client whose requests allocate nothing, on one connection.
type exchange struct {
	t        testing.TB
	conn     net.Conn
	request  []byte
	response []byte // as long as each response is
}

func newExchange(t testing.TB, v variant) *exchange {
	t.Helper()
	ln := fasthttputil.NewInmemoryListener()
	v.serve(t, ln)
	conn, err := ln.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	x := &exchange{t, conn, []byte(v.request), make([]byte, 4096)}
	if _, err := conn.Write(x.request); err != nil {
		t.Fatal(err)
	}
	n, err := conn.Read(x.response) // it comes in one piece
	if err != nil {
		t.Fatal(err)
	}
	x.response = x.response[:n]
	return x
}

func (x *exchange) do() {
	if _, err := x.conn.Write(x.request); err != nil {
		x.t.Fatal(err)
	}
	if _, err := io.ReadFull(x.conn, x.response); err != nil {
		x.t.Fatal(err)
	}
	if string(x.response[:12]) != "HTTP/1.1 200" {
		x.t.Fatalf("%s", x.response)
	}
}

func BenchmarkRequest(b *testing.B) {
	for _, v := range variants() {
		b.Run(v.name, func(b *testing.B) {
			x := newExchange(b, v)
			b.ReportAllocs()
			for b.Loop() {
				x.do()
			}
		})
	}
}
