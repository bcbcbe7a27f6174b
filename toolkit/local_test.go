package toolkit

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

func TestLocalOnly(t *testing.T) {
	h := LocalOnly(hello)
	for _, tt := range []struct {
		remote, host string
		headers      []string
		want         int
	}{
		{"127.0.0.1", "127.0.0.1:8080", nil, 200},
		{"127.0.0.1", "localhost:8080", nil, 200},
		{"127.0.0.1", "LocalHost", nil, 200},
		{"127.1.2.3", "[::1]:80", nil, 200},
		{"::1", "[::1]", nil, 200},
		{"::ffff:127.0.0.1", "127.0.0.1", nil, 200},
		{"192.0.2.1", "127.0.0.1", nil, 403},
		{"192.0.2.1", "localhost", []string{"X-Forwarded-For", "127.0.0.1"}, 403},
		{"2001:db8::1", "localhost", nil, 403},
		{"127.0.0.1", "rebound.example:8080", nil, 403},
		{"127.0.0.1", "localhost.example", nil, 403},
		{"127.0.0.1", "0.0.0.0", nil, 403},
		{"127.0.0.1", "", nil, 403},
		{"127.0.0.1", "localhost", []string{"X-Forwarded-For", "192.0.2.1"}, 403},
		{"127.0.0.1", "localhost", []string{"x-forwarded-for", ""}, 403},
		{"127.0.0.1", "localhost", []string{"Forwarded", "for=192.0.2.1"}, 403},
		{"127.0.0.1", "localhost", []string{"X-Real-IP", "192.0.2.1"}, 403},
		{"127.0.0.1", "localhost", []string{"Via", "1.1 proxy"}, 403},
		{"127.0.0.1", "localhost", []string{"CDN-Loop", "somewhere"}, 403},
		{"127.0.0.1", "localhost", []string{"Connection", "close"}, 403},
		{"127.0.0.1", "localhost", []string{"Connection", "keep-alive"}, 200},
		{"127.0.0.1", "localhost", []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 200},
		{"127.0.0.1", "localhost", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}, 200},
		{"127.0.0.1", "localhost", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 200}, // a link
		{"127.0.0.1", "localhost", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, 403},
		{"127.0.0.1", "localhost", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, 403},
		{"127.0.0.1", "localhost", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}, 403},
	} {
		var req fasthttp.Request
		req.SetRequestURI("/")
		req.Header.SetHost(tt.host)
		for i := 0; i+1 < len(tt.headers); i += 2 {
			req.Header.Set(tt.headers[i], tt.headers[i+1])
		}
		ctx := new(fasthttp.RequestCtx)
		ctx.Init(&req, &net.TCPAddr{IP: net.ParseIP(tt.remote), Port: 1}, nil)
		h(ctx)
		if got := ctx.Response.StatusCode(); got != tt.want {
			t.Errorf("from %s, Host %q, %q: %d, want %d", tt.remote, tt.host, tt.headers, got, tt.want)
		}
	}
}

// What is asked for says why it is refused.
func TestLocalOnlySaysWhy(t *testing.T) {
	r := run(t, loopback().Get("/", LocalOnly(hello)))
	for text, why := range map[string]string{
		"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n":                            "Host",
		"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n":                               "HTTP/1.0",
		"GET / HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n":     "HTTP/1.0",
		"GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n": "X-Forwarded-For",
	} {
		c := r.dial()
		c.send(text)
		if got := c.reply("GET"); got.StatusCode != 403 || !strings.Contains(got.text, why) {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestLocalOnlyOverUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	r := run(t, quiet().Unix(path, 0).Get("/", LocalOnly(hello)))
	for text, want := range map[string]int{
		"Host: localhost\r\n":                               200,
		"Host: localhost\r\nX-Forwarded-For: 192.0.2.1\r\n": 403,
		"Host: shop.example\r\n":                            403,
	} {
		c := r.dial()
		c.send("GET / HTTP/1.1\r\n" + text + "\r\n")
		if got := c.reply("GET"); got.StatusCode != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// What sits behind a proxy on this machine is not on it, whatever the proxy sends: as those
// that are installed do when they are told nothing.
func TestLocalOnlyBehindProxies(t *testing.T) {
	for _, p := range []proxy{
		{"nginx", proxies[1].args, nginxHead + `
	server {
		listen unix:%[1]s/in;
		location / { proxy_pass http://%[2]s; }
	}
}
`},
		{"haproxy", proxies[0].args, `
defaults
	mode http
	timeout connect 5s
	timeout server 5s
	timeout client 5s
frontend in
	bind unix@%[1]s/in
	default_backend out
backend out
	server one %[2]s
`},
	} {
		t.Run(p.name, func(t *testing.T) {
			r := run(t, loopback().Get("/", LocalOnly(hello)))
			addr := p.start(t, r.ListenAddrs()[0])
			if got := dialAddr(t, addr).get("/"); got.StatusCode != 403 {
				t.Errorf("through %s: %v", p.name, got)
			}
		})
	}
}
