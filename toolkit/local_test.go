package toolkit

import (
	"net"
	"path/filepath"
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

func TestLocalOnlyOverUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	r := run(t, quiet().Unix(path, 0).Get("/", LocalOnly(hello)))
	if got := r.dial().get("/").String(); got != "200 hello" {
		t.Error(got)
	}
	if got := r.dial().get("/", "X-Forwarded-For", "192.0.2.1"); got.StatusCode != 403 {
		t.Error(got)
	}
}
