package metrics_test

import (
	"io"
	"net"
	"testing"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/lastcall-go/lastcall/internal/servertest"
	"github.com/lastcall-go/lastcall/toolkit"
	"github.com/lastcall-go/lastcall/toolkit/metrics"
)

// exchange is a client in memory whose requests allocate nothing.
type exchange struct {
	testing.TB
	conn     net.Conn
	response []byte // as long as each response is
}

func newExchange(t testing.TB, extensions ...toolkit.Extension) *exchange {
	t.Helper()
	ln := fasthttputil.NewInmemoryListener()
	servertest.Run(t, servertest.Loopback().Listener(ln).With(extensions...).Get("/hello", hello))
	conn, err := ln.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	x := &exchange{t, conn, make([]byte, 4096)}
	x.write()
	n, err := conn.Read(x.response) // it comes in one piece
	if err != nil {
		t.Fatal(err)
	}
	x.response = x.response[:n]
	return x
}

var request = []byte("GET /hello HTTP/1.1\r\nHost: t\r\n\r\n")

func (x *exchange) write() {
	if _, err := x.conn.Write(request); err != nil {
		x.Fatal(err)
	}
}

func (x *exchange) do() {
	x.write()
	if _, err := io.ReadFull(x.conn, x.response); err != nil {
		x.Fatal(err)
	}
}

// BenchmarkHandler is what it costs beside the toolkit's own handling, without a network.
func BenchmarkHandler(b *testing.B) {
	for name, extensions := range map[string][]toolkit.Extension{"without": nil, "with": {metrics.At("/metrics")}} {
		b.Run(name, func(b *testing.B) {
			s, err := servertest.Loopback().With(extensions...).Get("/hello", hello).Build()
			if err != nil {
				b.Fatal(err)
			}
			var req fasthttp.Request
			req.SetRequestURI("/hello")
			var ctx fasthttp.RequestCtx
			ctx.Init(&req, nil, nil)
			h := s.Handler()
			b.ReportAllocs()
			for b.Loop() {
				h(&ctx)
				ctx.ResetUserValues()
				ctx.Response.Reset()
			}
		})
	}
}

func BenchmarkScrape(b *testing.B) {
	c := servertest.Run(b, application()).Dial()
	b.ReportAllocs()
	for b.Loop() {
		scrape(b, c)
	}
}
