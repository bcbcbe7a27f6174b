//go:build !race

package toolkit

import (
	"net"
	"net/netip"
	"testing"

	"github.com/valyala/fasthttp"
)

// The race detector allocates; without it a request costs what bare fasthttp
// makes it cost, which is nothing.
func TestRequestsAllocateNothing(t *testing.T) {
	for _, v := range variants() {
		if v.logs {
			continue // what a line costs is the benchmark's to tell
		}
		t.Run(v.name, func(t *testing.T) {
			x := newExchange(t, v)
			for range 100 { // pools and buffers fill
				x.do()
			}
			if n := testing.AllocsPerRun(1000, x.do); n != 0 {
				t.Errorf("%v allocations a request", n)
			}
		})
	}
}

func TestClientsBehindProxiesAllocateNothing(t *testing.T) {
	const first, second = "2001:db8:1:2:3:4:5:6, 192.0.2.1, 10.0.0.2", "10.0.0.3, 10.0.0.4:4711"
	trusted, err := newTrustedProxies(fasthttp.HeaderXForwardedFor, []string{"10.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	ctx := new(fasthttp.RequestCtx)
	ctx.Init(new(fasthttp.Request), &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}, nil)
	ctx.Request.Header.Add(fasthttp.HeaderXForwardedFor, first)
	ctx.Request.Header.Add(fasthttp.HeaderXForwardedFor, second)
	want := netip.MustParseAddr("192.0.2.1")
	handler := trusted.findClient(func(ctx *fasthttp.RequestCtx) {
		if ip := ClientIP(ctx); ip != want {
			t.Errorf("%v", ip)
		}
	})
	request := func() {
		handler(ctx)
		ctx.ResetUserValues() // as fasthttp does behind each request
	}
	request()
	if n := testing.AllocsPerRun(1000, request); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

// What a middleware costs is told by its benchmark; that it is no more, here.
func TestMiddlewareAllocations(t *testing.T) {
	for _, v := range middlewareVariants(t) {
		if v.allocs < 0 {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			x := newExchange(t, v.variant)
			for range 100 {
				x.do()
			}
			if n := testing.AllocsPerRun(1000, x.do); n > v.allocs {
				t.Errorf("%v allocations a request, want at most %v", n, v.allocs)
			}
		})
	}
}
