package toolkit

import (
	"bytes"
	"net"
	"net/netip"
	"slices"

	"github.com/valyala/fasthttp"
)

// LocalOnly is a Middleware that answers requests from elsewhere than this machine with
// a 403, which says what it takes for a sign of that. From here is a request
//   - that came over loopback or a Unix socket,
//   - for localhost or a loopback address, as its Host says: a web page elsewhere can have a
//     browser here connect to loopback by a name of its own (DNS rebinding),
//   - that no other site's page has a browser make, save to open it as a page,
//   - and that has no sign of a proxy, as who sits behind one on this machine is not on it: no header
//     that proxies add, no HTTP/1.0 and no Connection: close, which nginx sends unless told otherwise.
//
// A proxy on this machine may leave no sign: one that sends the Host which its client has
// sent, or the server's own address, in HTTP/1.1, over connections that it keeps, and no
// X-Forwarded-For. That is what nginx does by default from 1.29.7 on, and HAProxy without
// "option forwardfor". Have it add that header or not forward the path, or use another guard,
// such as one that asks for a password.
func LocalOnly(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		if sign := elsewhere(ctx); sign != "" {
			ctx.Error("for clients on this machine only: "+sign+"\n", fasthttp.StatusForbidden)
			return
		}
		next(ctx)
	}
}

// proxied are headers that only proxies send.
var proxied = []string{
	"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Server",
	"X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Cdn-Loop",
}

// elsewhere returns what shows that a request is not from this machine, or "".
func elsewhere(ctx *fasthttp.RequestCtx) (sign string) {
	switch addr := ctx.RemoteAddr().(type) {
	case *net.UnixAddr:
	case *net.TCPAddr:
		if !addr.IP.IsLoopback() {
			return "this one is at " + addr.IP.String()
		}
	default:
		return "this one is at an address of an unknown kind"
	}
	h := &ctx.Request.Header
	if !isLoopback(ctx.Host()) {
		return "Host is neither localhost nor a loopback address"
	}
	for _, name := range proxied {
		if h.Peek(name) != nil {
			return name + " is a proxy's"
		}
	}
	if string(h.Protocol()) == "HTTP/1.0" || h.ConnectionClose() {
		return "HTTP/1.0 and Connection: close are taken for a proxy's"
	}
	switch string(h.Peek("Sec-Fetch-Site")) {
	case "", "same-origin", "none": // no browser, the same server's page, the user
	default:
		if string(h.Peek("Sec-Fetch-Mode")) != "navigate" || string(h.Peek("Sec-Fetch-Dest")) != "document" {
			return "another site's page has made this request"
		}
	}
	return ""
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
