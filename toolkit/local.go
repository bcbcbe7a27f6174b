package toolkit

import (
	"bytes"
	"net"
	"net/netip"
	"slices"

	"github.com/valyala/fasthttp"
)

// LocalOnly is a Middleware that answers requests from elsewhere than this machine with
// a 403. From here is one that came over loopback or a Unix socket, for localhost or a
// loopback address, as its Host says: a web page elsewhere can have a browser here connect
// to loopback by another name. One with a header that proxies add is not: who sits behind a
// proxy on this machine is not on it. A proxy that adds none, and sends a Host of its
// own, lets everybody in.
func LocalOnly(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		if !fromHere(ctx) {
			ctx.Error("for clients on this machine only\n", fasthttp.StatusForbidden)
			return
		}
		next(ctx)
	}
}

// proxied are headers that only proxies send.
var proxied = []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"}

func fromHere(ctx *fasthttp.RequestCtx) bool {
	for _, name := range proxied {
		if ctx.Request.Header.Peek(name) != nil {
			return false
		}
	}
	switch addr := ctx.RemoteAddr().(type) {
	case *net.UnixAddr:
		return true // which no browser can connect to
	case *net.TCPAddr:
		return addr.IP.IsLoopback() && isLoopback(ctx.Host())
	}
	return false
}

// isLoopback reports whether a Host, with or without a port, is this machine.
func isLoopback(host []byte) bool {
	if h, _, err := net.SplitHostPort(string(host)); err == nil {
		host = []byte(h)
	}
	if bytes.EqualFold(host, []byte("localhost")) {
		return true
	}
	ip, err := netip.ParseAddr(string(bytes.Trim(host, "[]")))
	return err == nil && ip.Unmap().IsLoopback()
}

// Guard is guard1(guard2(...)) of those that an extension was given for its endpoints, or
// LocalOnly where it was given none.
func Guard(guards ...Middleware) Middleware {
	if len(guards) == 0 {
		return LocalOnly
	}
	return func(h fasthttp.RequestHandler) fasthttp.RequestHandler {
		for _, guard := range slices.Backward(guards) {
			h = guard(h)
		}
		return h
	}
}
