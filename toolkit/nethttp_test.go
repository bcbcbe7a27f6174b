package toolkit

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// legacy is a net/http handler that says what it was asked for.
func legacy(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	fmt.Fprintf(w, "net %s %s %q %v", r.Method, r.RequestURI, body, err)
}

// mixed has both kinds of routes.
func mixed() *Builder {
	return loopback().
		Get("/native", answer("native")).
		Post("/native", func(ctx *fasthttp.RequestCtx) { fmt.Fprintf(ctx, "native %q", ctx.PostBody()) }).
		NetHTTP("/net/{path:*}", http.HandlerFunc(legacy))
}

func TestNetHTTPBothKindsOnOneConnection(t *testing.T) {
	r := run(t, mixed())
	c := r.dial()
	for range 3 {
		if got := c.get("/native").String(); got != "200 native" {
			t.Error(got)
		}
		if got := c.get("/net/a?b=c").String(); got != `200 net GET /net/a?b=c "" <nil>` {
			t.Error(got)
		}
		c.send("POST /net/x HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello")
		if got := c.reply("POST").String(); got != `200 net POST /net/x "hello" <nil>` {
			t.Error(got)
		}
		c.send("POST /native HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
		if got := c.reply("POST").String(); got != `200 native "hello"` {
			t.Error(got)
		}
	}
	for range 20 {
		if got := c.get("/native").String(); got != "200 native" {
			t.Error(got)
		}
	}
	if conns := r.Conns(); len(conns) != 1 || conns[0].Adopted || conns[0].Requests != 32 {
		t.Errorf("after many native requests: %+v", conns)
	}
	if got := c.get("/net/a").String(); !strings.HasPrefix(got, "200 net") {
		t.Error(got)
	}
	if conns := r.Conns(); len(conns) != 1 || !conns[0].Adopted {
		t.Errorf("after one for net/http: %+v", conns)
	}
	r.finish()
	c.wantEOF()
}
