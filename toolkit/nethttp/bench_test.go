package nethttp

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"

	"github.com/valyala/fasthttp"
)

// BenchmarkRequest is one request over loopback, its client included: beside a plain
// http.Server and a bare fasthttp.Server.
func BenchmarkRequest(b *testing.B) {
	netHello := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "Hello, World!") }
	hello := func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("Hello, World!") }
	listen := func(b *testing.B) net.Listener {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = ln.Close() })
		return ln
	}
	mounted := func(fresh bool) func(b *testing.B) net.Addr {
		return func(b *testing.B) net.Addr {
			return run(b, "tcp", app{native: hello, net: netHello, fresh: fresh}).ListenAddrs()[0]
		}
	}
	plain := func(b *testing.B) net.Addr {
		ln := listen(b)
		go func() { _ = http.Serve(ln, http.HandlerFunc(netHello)) }()
		return ln.Addr()
	}
	bare := func(b *testing.B) net.Addr {
		ln := listen(b)
		go func() { _ = fasthttp.Serve(ln, hello) }()
		return ln.Addr()
	}
	for _, bb := range []struct {
		name  string
		paths []string
		start func(*testing.B) net.Addr
	}{
		{"net/plain", []string{"/net"}, plain},
		{"net/mounted", []string{"/net"}, mounted(false)},
		{"net/fresh", []string{"/net"}, mounted(true)},
		{"native/bare", []string{"/native"}, bare},
		{"native/mounted", []string{"/native"}, mounted(false)},
		{"by turns", []string{"/native", "/net"}, mounted(false)},
		{"to and fro", []string{"/net", "/native", "/native", "/native", "/native", "/native", "/native", "/native", "/native"}, mounted(false)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			nc, err := net.Dial("tcp", bb.start(b).String())
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = nc.Close() }()
			buf := make([]byte, 4<<10)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := io.WriteString(nc, "GET "+bb.paths[i%len(bb.paths)]+" HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"); err != nil {
					b.Fatal(err)
				}
				if _, err := nc.Read(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRoutes is what it takes to know a request for a native route, beside what
// http.ServeMux would.
func BenchmarkRoutes(b *testing.B) {
	tb := newTable([]string{"GET /hot/{id}", "/plain", "/bodies/16kB", "/static/"})
	for i := range 20 {
		pattern := fmt.Sprintf("/api/v1/thing%d/{id}/x", i)
		tb.ours.add(pattern, sayNative)
		tb.mux.Handle(pattern, http.NotFoundHandler())
	}
	for _, path := range []string{"/plain", "/hot/123", "/static/js/app.js", "/api/v1/thing7/12/x", "/not/native"} {
		b.Run("ours"+path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tb.ours.find("GET", path)
			}
		})
		b.Run("ServeMux"+path, func(b *testing.B) {
			b.ReportAllocs()
			r := &http.Request{Method: "GET", URL: &url.URL{Path: path}}
			for b.Loop() {
				tb.mux.Handler(r)
			}
		})
	}
}

func TestRoutesAlloc(t *testing.T) {
	tb := newTable([]string{"GET /hot/{id}", "/static/", "/plain"})
	for _, path := range []string{"/plain", "/hot/123", "/static/js/app.js", "/not/native"} {
		if n := testing.AllocsPerRun(100, func() { tb.ours.find("GET", path) }); n != 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}
