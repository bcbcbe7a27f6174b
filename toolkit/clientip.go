package toolkit

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/valyala/fasthttp"
)

// TrustedProxies has ClientIP and the access log give the client's own address where
// a request came through proxies: the rightmost address in a header of theirs that is
// not a trusted proxy's. The header is "X-Forwarded-For" or "Forwarded" (RFC 7239),
// the one that your proxies set: the other would be the client's to forge. The
// networks are those of your proxies, as "10.0.0.0/8" or "192.0.2.1"; "unix:" stands
// for whoever connects to a Unix socket. A network that is too wide lets clients in it
// forge their address. In the access log it is without a port. The default trusts no
// header.
func (b *Builder) TrustedProxies(header string, networks ...string) *Builder {
	b.trustHeader, b.trustNetworks, b.trusts = header, slices.Clone(networks), true
	return b
}

// ClientIP returns the address of the request's client: that of its connection,
// or, if that is a proxy's of TrustedProxies, the rightmost address in their header
// that is none. All that stands left of it, clients can forge, and it changes nothing.
//
// What is no address ends the search, as do "unknown" and names like "_hidden" of RFC
// 7239, an element without one, and a comma within quotes: the result is then the
// proxy that wrote it. It is a proxy's too if all are, or none is in the header. An IPv4 address
// in IPv6 form is returned as IPv4, and no address has a zone. Over a Unix socket, of
// which the header says nothing, it is the zero Addr.
//
// The address is found once, before any middleware runs.
func ClientIP(ctx *fasthttp.RequestCtx) netip.Addr {
	if c, ok := ctx.UserValue(clientIPKey{}).(*clientIP); ok {
		return c.Addr
	}
	return ipOf(ctx.RemoteAddr())
}

// NetClientIP is ClientIP for handlers of net/http.
func NetClientIP(r *http.Request) netip.Addr {
	if client, ok := r.Context().Value(clientIPKey{}).(netip.Addr); ok {
		return client
	}
	client, _ := netip.ParseAddrPort(r.RemoteAddr)
	return client.Addr().Unmap().WithZone("")
}

// clientIP is what is stored with a request. It comes from a pool, as an address in an
// interface is an allocation.
type clientIP struct{ netip.Addr }

type clientIPKey struct{}

var clientIPs = sync.Pool{New: func() any { return new(clientIP) }}

// Close is called by fasthttp when the request is over; for one that something has given
// up on, never.
func (c *clientIP) Close() error {
	clientIPs.Put(c)
	return nil
}

// ipOf is the IP address in a network address, or the zero Addr.
func ipOf(addr net.Addr) netip.Addr {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip, _ := netip.AddrFromSlice(tcp.IP)
	return ip.Unmap()
}

// networks is a set of addresses.
type networks []netip.Prefix

// parseNetworks takes single addresses too.
func parseNetworks(texts []string) (nets networks, err error) {
	if len(texts) == 0 {
		return nil, errors.New("no network")
	}
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if ip, ipErr := netip.ParseAddr(text); ipErr == nil && ip.Zone() == "" {
			p, err = ip.Prefix(ip.BitLen())
		}
		if err != nil {
			return nil, err
		}
		if p.Addr().Is4In6() {
			return nil, fmt.Errorf("%q: write it as IPv4", text)
		}
		nets = append(nets, p)
	}
	return nets, nil
}

func (n networks) has(ip netip.Addr) bool {
	for _, p := range n {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// trustedProxies finds clients behind proxies.
//
// github.com/realclientip/realclientip-go does the like, but trusts the header of whoever
// connects to a Unix socket, and gives no result where we give that of the last proxy.
type trustedProxies struct {
	forwarded bool // the header is Forwarded
	header    []byte
	networks  networks
	unix      bool
}

// proxies is what TrustedProxies has said, nil where it was not called.
func (b *Builder) proxies() (*trustedProxies, error) {
	if !b.trusts {
		return nil, nil //nolint:nilnil // to trust nobody is no error
	}
	return newTrustedProxies(b.trustHeader, b.trustNetworks)
}

func newTrustedProxies(header string, texts []string) (*trustedProxies, error) {
	t := &trustedProxies{header: []byte(header), forwarded: strings.EqualFold(header, fasthttp.HeaderForwarded)}
	wrong := func(err error) (*trustedProxies, error) {
		return nil, fmt.Errorf("toolkit: TrustedProxies(%q, %q): %w", header, texts, err)
	}
	if !t.forwarded && !strings.EqualFold(header, fasthttp.HeaderXForwardedFor) {
		return wrong(errors.New("the header is X-Forwarded-For or Forwarded"))
	}
	others := slices.DeleteFunc(slices.Clone(texts), func(text string) bool { return text == "unix:" })
	t.unix = len(others) < len(texts)
	if t.unix && len(others) == 0 {
		return t, nil
	}
	var err error
	if t.networks, err = parseNetworks(others); err != nil {
		return wrong(err)
	}
	return t, nil
}

// findClient notes the client's address for ClientIP.
func (t *trustedProxies) findClient(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		c := clientIPs.Get().(*clientIP)
		c.Addr = t.client(ctx)
		ctx.SetUserValue(clientIPKey{}, c)
		next(ctx)
	}
}

func (t *trustedProxies) client(ctx *fasthttp.RequestCtx) netip.Addr {
	ip, trusted := t.proxy(ctx.RemoteAddr())
	if !trusted {
		return ip
	}
	// Not PeekAll: it returns trailers too, which are the client's own, and where names
	// are left as they were sent it misses a proxy's that are in lower case.
	var few [4][]byte
	lines := few[:0]
	for name, value := range ctx.Request.Header.All() {
		if bytes.EqualFold(name, t.header) {
			lines = append(lines, value)
		}
	}
	return t.walk(ip, lines)
}

// proxy returns the address of who has connected, and whether that is a trusted proxy.
func (t *trustedProxies) proxy(remote net.Addr) (ip netip.Addr, trusted bool) {
	_, isUnix := remote.(*net.UnixAddr)
	ip = ipOf(remote)
	return ip, t.networks.has(ip) || isUnix && t.unix
}

// walk goes through the header from its end, from the last proxy on. Elements are cut
// at every comma, as what stands left of one must not change how it is read. What
// remains of an element with a comma in quotes has a quote too many, and is garbage.
func (t *trustedProxies) walk(last netip.Addr, lines [][]byte) netip.Addr {
	for _, line := range slices.Backward(lines) {
		text := unsafe.String(unsafe.SliceData(line), len(line)) //nolint:gosec // nothing keeps it
		for rest, more := text, true; more; {
			element := rest
			at := strings.LastIndexByte(rest, ',')
			if more = at >= 0; more {
				element, rest = rest[at+1:], rest[:at]
			}
			ip, ok := t.parse(element)
			if !ok {
				return last
			}
			if !t.networks.has(ip) {
				return ip
			}
			last = ip
		}
	}
	return last
}

// parse returns the address in an element of the header.
func (t *trustedProxies) parse(element string) (ip netip.Addr, ok bool) {
	element = strings.Trim(element, " \t")
	if t.forwarded {
		element = forwardedFor(element)
	}
	return parseNode(element)
}

// parseNode reads an address, with or without brackets and a port. A port may be a
// name (RFC 7239, section 6.2).
func parseNode(text string) (ip netip.Addr, ok bool) {
	host, port := text, ""
	bracketed := strings.HasPrefix(text, "[")
	if bracketed {
		if host, port, ok = strings.Cut(text[1:], "]"); !ok {
			return ip, false
		}
	} else if at := strings.IndexByte(text, ':'); at >= 0 && at == strings.LastIndexByte(text, ':') {
		host, port = text[:at], text[at:]
	}
	if port != "" && !isPort(port) {
		return ip, false
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || bracketed && !ip.Is6() {
		return ip, false
	}
	return ip.Unmap().WithZone(""), true
}

// isPort reports whether text is a port behind a colon.
func isPort(text string) bool {
	name, ok := strings.CutPrefix(text, ":")
	return ok && name != "" && (name[0] == '_' || strings.Trim(name, "0123456789") == "")
}

// forwardedFor returns the parameter "for" of an element of Forwarded, "" if it has
// none, or is not what RFC 7239, section 4, says. White space around semicolons is let
// pass, and what should be in quotes need not be.
func forwardedFor(element string) (node string) {
	for {
		name, rest, ok := strings.Cut(element, "=")
		if !ok || name == "" || strings.ContainsAny(name, "\" \t;\\") {
			return ""
		}
		value, rest, ok := cutValue(rest)
		if !ok {
			return ""
		}
		if strings.EqualFold(name, "for") {
			if node != "" {
				return "" // it may not occur twice
			}
			node = value
		}
		rest = strings.TrimLeft(rest, " \t")
		if rest == "" {
			return node
		}
		if rest[0] != ';' {
			return ""
		}
		if element = strings.TrimLeft(rest[1:], " \t;"); element == "" {
			return node
		}
	}
}

// cutValue cuts a token or a quoted string from text. Escapes in it stay as they are:
// no address has one.
func cutValue(text string) (value, rest string, ok bool) {
	if !strings.HasPrefix(text, `"`) {
		end := strings.IndexAny(text, "\" \t;\\")
		if end < 0 {
			end = len(text)
		}
		return text[:end], text[end:], end > 0
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return text[1:i], text[i+1:], true
		}
	}
	return "", "", false
}
