package toolkit

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

func sayClient(ctx *fasthttp.RequestCtx) { ctx.SetBodyString(ClientIP(ctx).String()) }

// fromAddr makes a request from an address of a handler alone.
func fromAddr(h fasthttp.RequestHandler, addr net.Addr, headers ...string) string {
	var req fasthttp.Request
	req.SetRequestURI("/")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	ctx := new(fasthttp.RequestCtx)
	ctx.Init(&req, addr, nil)
	h(ctx)
	return string(ctx.Response.Body())
}

func TestClientIP(t *testing.T) {
	const xff, fwd = "X-Forwarded-For", "Forwarded"
	const proxy, proxy6 = "10.0.0.1", "2001:db8:1::1" // trusted, as 10.0.0.2
	for _, tt := range []struct {
		name, header, remote string
		lines                []string
		want                 string
	}{
		{"not a proxy", xff, "192.0.2.1", []string{"6.6.6.6"}, "192.0.2.1"},
		{"no header", xff, proxy, nil, proxy},
		{"one hop", xff, proxy, []string{"192.0.2.1"}, "192.0.2.1"},
		{"forged", xff, proxy, []string{"6.6.6.6, 192.0.2.1"}, "192.0.2.1"},
		{"forged as a proxy", xff, proxy, []string{"10.0.0.2, 192.0.2.1"}, "192.0.2.1"},
		{"two proxies", xff, proxy, []string{"6.6.6.6, 192.0.2.1,10.0.0.2"}, "192.0.2.1"},
		{"lines", xff, proxy, []string{"6.6.6.6", "192.0.2.1", "10.0.0.2"}, "192.0.2.1"},
		{"all trusted", xff, proxy, []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"garbage", xff, proxy, []string{"6.6.6.6, garbage"}, proxy},
		{"garbage behind a proxy", xff, proxy, []string{"6.6.6.6, unknown, 10.0.0.2"}, "10.0.0.2"},
		{"empty element", xff, proxy, []string{"6.6.6.6,"}, proxy},
		{"empty line", xff, proxy, []string{"6.6.6.6", ""}, proxy},
		{"the other header", xff, proxy, nil, proxy},
		{"port", xff, proxy, []string{"192.0.2.1:4711"}, "192.0.2.1"},
		{"no port", xff, proxy, []string{"192.0.2.1:"}, proxy},
		{"bad port", xff, proxy, []string{"192.0.2.1:47x"}, proxy},
		{"IPv6", xff, proxy6, []string{"2001:db8:2::1"}, "2001:db8:2::1"},
		{"IPv6, brackets", xff, proxy6, []string{"[2001:db8:2::1]"}, "2001:db8:2::1"},
		{"IPv6, port", xff, proxy6, []string{"[2001:db8:2::1]:80"}, "2001:db8:2::1"},
		{"IPv6, half a bracket", xff, proxy6, []string{"[2001:db8:2::1"}, proxy6},
		{"IPv4 in brackets", xff, proxy, []string{"[192.0.2.1]"}, proxy},
		{"text behind brackets", xff, proxy, []string{"[2001:db8:2::1]80"}, proxy},
		{"zone", xff, proxy, []string{"fe80::1%eth0"}, "fe80::1"},
		{"mapped", xff, proxy, []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		{"mapped proxies", xff, "::ffff:10.0.0.1", []string{"192.0.2.1, ::ffff:10.0.0.2"}, "192.0.2.1"},
		{"in quotes, where there are none", xff, proxy, []string{`"192.0.2.1"`}, proxy},

		{"Forwarded", fwd, proxy, []string{"for=192.0.2.1"}, "192.0.2.1"},
		{"Forwarded, in any case", "forwarded", proxy, []string{"FOR=192.0.2.1"}, "192.0.2.1"},
		{"Forwarded, all of it", fwd, proxy, []string{`by=10.0.0.1;for="192.0.2.1:80";host="a b";proto=https`}, "192.0.2.1"},
		{"Forwarded, IPv6", fwd, proxy, []string{`for="[2001:db8:2::1]:_port"`}, "2001:db8:2::1"},
		{"Forwarded, not quoted", fwd, proxy, []string{"for=[2001:db8:2::1]:80"}, "2001:db8:2::1"},
		{"Forwarded, spaces", fwd, proxy, []string{"for=6.6.6.6 ,\tproto=http; for=192.0.2.1 ;"}, "192.0.2.1"},
		{"Forwarded, two proxies", fwd, proxy, []string{"for=6.6.6.6, for=192.0.2.1", "for=10.0.0.2"}, "192.0.2.1"},
		{"Forwarded, unknown", fwd, proxy, []string{"for=6.6.6.6, for=unknown"}, proxy},
		{"Forwarded, hidden", fwd, proxy, []string{"for=6.6.6.6, for=_hidden"}, proxy},
		{"Forwarded, without for", fwd, proxy, []string{"for=6.6.6.6, proto=http"}, proxy},
		{"Forwarded, two for", fwd, proxy, []string{"for=6.6.6.6;for=192.0.2.1"}, proxy},
		{"Forwarded, an address alone", fwd, proxy, []string{"192.0.2.1"}, proxy},
		{"Forwarded, text behind a quote", fwd, proxy, []string{`for="192.0.2.1"x`}, proxy},
		{"Forwarded, an open quote on the left", fwd, proxy, []string{`for="6.6.6.6, for=192.0.2.1`}, "192.0.2.1"},
		{"Forwarded, an open quote on the right", fwd, proxy, []string{`for=6.6.6.6, for="192.0.2.1`}, proxy},
		// The proxy puts the client's Host in quotes.
		{"Forwarded, a comma in quotes", fwd, proxy, []string{`for=192.0.2.1;host="a,for=6.6.6.6"`}, proxy},
		{"Forwarded, a parameter in quotes", fwd, proxy, []string{`for=192.0.2.1;host="a,for=6.6.6.6;x="`}, proxy},
		{"Forwarded, and another", fwd, proxy, []string{`for=192.0.2.1;host="a,for=6.6.6.6;x=";by="b"`}, proxy},
		{"Forwarded, and yet another", fwd, proxy, []string{`for=192.0.2.1;host="a,for=6.6.6.6;x=";by=";y=z"`}, proxy},
		{"Forwarded, an escaped quote", fwd, proxy, []string{`for=192.0.2.1;host="a,for=6.6.6.6;x=\"y\""`}, proxy},
		{"Forwarded, an escape", fwd, proxy, []string{`host="\";for=6.6.6.6";for=192.0.2.1`}, "192.0.2.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := build(t, loopback().Get("/", sayClient).TrustedProxies(tt.header, "10.0.0.0/8", proxy6))
			other := fwd
			if strings.EqualFold(tt.header, fwd) {
				other = xff
			}
			headers := []string{other, "6.6.6.6", other, "for=6.6.6.6"}
			for _, line := range tt.lines {
				headers = append(headers, tt.header, line)
			}
			remote := &net.TCPAddr{IP: net.ParseIP(tt.remote), Port: 1, Zone: ""}
			if got := fromAddr(s.Handler(), remote, headers...); got != tt.want {
				t.Errorf("%s; want %s", got, tt.want)
			}
		})
	}
}

func TestClientIPTrustsNobodyByDefault(t *testing.T) {
	s := build(t, loopback().Get("/", sayClient))
	remote := &net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}
	if got := fromAddr(s.Handler(), remote, "X-Forwarded-For", "6.6.6.6", "Forwarded", "for=6.6.6.6"); got != "fe80::1" {
		t.Error(got)
	}
}

func TestClientIPOverUnixSocket(t *testing.T) {
	for want, networks := range map[string][]string{
		"invalid IP": {"10.0.0.0/8"},
		"192.0.2.1":  {"unix:", "10.0.0.0/8"},
		"10.0.0.2":   {"unix:"},
	} {
		path := filepath.Join(t.TempDir(), "s")
		r := run(t, quiet().Unix(path, 0).Get("/", sayClient).TrustedProxies("X-Forwarded-For", networks...))
		c := r.dial()
		if got := c.get("/", "X-Forwarded-For", "192.0.2.1, 10.0.0.2").text; got != want {
			t.Errorf("%q: %s; want %s", networks, got, want)
		}
		if got := c.get("/").text; got != "invalid IP" {
			t.Errorf("%q: %s without a header", networks, got)
		}
	}
}

// What the client sends beside the proxy's header is not taken for it, and what a
// handler adds changes nothing.
func TestClientIPFromTheWire(t *testing.T) {
	for name, tt := range map[string]struct {
		request string
		header  string
		set     func(*fasthttp.Server)
	}{
		"in a trailer": {"POST / HTTP/1.1\r\nHost: t\r\nForwarded: for=192.0.2.1\r\nTransfer-Encoding: chunked\r\n" +
			"Trailer: Forwarded\r\n\r\n1\r\nx\r\n0\r\nForwarded: for=6.6.6.6\r\n\r\n", "Forwarded", func(*fasthttp.Server) {}},
		"written otherwise": {"POST / HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 192.0.2.1\r\nContent-Length: 0\r\n\r\n",
			"X-Forwarded-For", func(h *fasthttp.Server) { h.DisableHeaderNamesNormalizing = true }},
	} {
		t.Run(name, func(t *testing.T) {
			var log logs
			seen := make(chan netip.Addr, 1)
			r := run(t, loopback().Logger(log.logger()).Strict(false).TrustedProxies(tt.header, "127.0.0.0/8").Configure(tt.set).
				Use(func(next fasthttp.RequestHandler) fasthttp.RequestHandler {
					return func(ctx *fasthttp.RequestCtx) {
						seen <- ClientIP(ctx)
						ctx.Request.Header.Add(tt.header, "for=7.7.7.7") // as who forwards it
						next(ctx)
					}
				}).Post("/", sayClient))
			c := r.dial()
			c.send(tt.request)
			if got := c.reply("POST").text; got != "192.0.2.1" {
				t.Fatalf("handler: %s", got)
			}
			r.finish()
			if got := <-seen; got != netip.MustParseAddr("192.0.2.1") {
				t.Errorf("middleware: %v", got)
			}
			if got := log.line(t, "request")["remote"]; got != "192.0.2.1" {
				t.Errorf("log: %v", got)
			}
		})
	}
}

// What holds an address is used again, but not while a handler that timed out may look
// at it.
func TestAnAbandonedHandlerKeepsItsClient(t *testing.T) {
	g, found := newGate(), make(chan netip.Addr, 1)
	r := run(t, loopback().TrustedProxies("X-Forwarded-For", "127.0.0.1").Get("/", hello).
		Get("/slow", fasthttp.TimeoutHandler(func(ctx *fasthttp.RequestCtx) {
			<-g.release
			found <- ClientIP(ctx)
		}, time.Millisecond, "too late")))
	c := r.dial()
	if resp := c.get("/slow", "X-Forwarded-For", "192.0.2.1"); resp.StatusCode != 408 {
		t.Error(resp)
	}
	for range 100 {
		if resp := c.get("/", "X-Forwarded-For", "192.0.2.2"); resp.StatusCode != 200 {
			t.Error(resp)
		}
	}
	close(g.release)
	if ip := <-found; ip != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("it sees %v", ip)
	}
	r.finish()
}

func FuzzClientIP(f *testing.F) {
	for _, seed := range []string{
		"192.0.2.1", "6.6.6.6, 10.0.0.2", "[2001:db8::1]:80", "::ffff:10.0.0.1%eth0, 10.1.1.1", "unknown,",
		`for="[2001:db8::1]:_x";host="a,b"`, "for=6.6.6.6, for=10.0.0.2;by=_x", `for="a\"b`, "for=10.0.0.1;;for=10.0.0.2",
	} {
		f.Add(false, seed, "6.6.6.6")
		f.Add(true, seed, `for="6.6.6.6`)
	}
	f.Fuzz(func(t *testing.T, forwarded bool, header, left string) {
		trusted := &trustedProxies{forwarded: forwarded, networks: networks{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}}
		walk := func(lines ...string) netip.Addr {
			var values [][]byte
			for _, line := range lines {
				values = append(values, []byte(line))
			}
			return trusted.walk(netip.MustParseAddr("10.0.0.1"), values)
		}
		got := walk(header)
		if !got.IsValid() || got.Zone() != "" || got.Is4In6() {
			t.Fatalf("%v", got)
		}
		if !trusted.networks.has(got) { // it is in the header
			for _, more := range []netip.Addr{walk(left, header), walk(left + "," + header)} {
				if more != got {
					t.Fatalf("%v, and %v with more on the left", got, more)
				}
			}
			return
		}
		for _, element := range slices.Backward(strings.Split(header, ",")) {
			ip, ok := trusted.parse(element)
			if !ok {
				break
			}
			if !trusted.networks.has(ip) {
				t.Fatalf("%v, and there is %v", got, ip)
			}
		}
	})
}

func TestNetClientIP(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "[::ffff:192.0.2.1]:80": "192.0.2.1", "[fe80::1%eth0]:80": "fe80::1", "@": "invalid IP",
	} {
		if got := NetClientIP(&http.Request{RemoteAddr: remote}).String(); got != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
	r := run(t, loopback().TrustedProxies("X-Forwarded-For", "127.0.0.1").
		NetHTTP("/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, NetClientIP(r)) })))
	if got := r.dial().get("/", "X-Forwarded-For", "192.0.2.7").text; got != "192.0.2.7" {
		t.Error(got)
	}
}
