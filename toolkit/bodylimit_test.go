package toolkit

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// readBody answers with the size of the body, in either way of reading it.
func readBody(ctx *fasthttp.RequestCtx) {
	stream := ctx.RequestBodyStream()
	if stream == nil {
		fmt.Fprint(ctx, len(ctx.PostBody()))
		return
	}
	n, err := io.Copy(io.Discard, stream)
	if err != nil {
		ctx.Error(err.Error(), fasthttp.StatusRequestEntityTooLarge)
		return
	}
	fmt.Fprint(ctx, n)
}

func TestGroupMaxBodySize(t *testing.T) {
	const small, all, large = 100, 1000, 50_000
	for _, stream := range []bool{false, true} {
		b := loopback().MaxBodySize(all).StreamRequestBody(stream).
			Post("/", readBody).
			Post("/files/list", readBody).
			Group("/small", func(g *Group) {
				g.Post("/before", readBody)
				g.MaxBodySize(small).Post("/{name}", readBody)
				g.Group("/inner", func(g *Group) {
					g.Post("/small", readBody)
					g.MaxBodySize(large).Post("/large", readBody)
				})
			}).
			Group("", func(g *Group) { g.MaxBodySize(large).Any("/files/{path:*}", readBody) })
		r := run(t, b)
		for _, tt := range []struct {
			target string
			limit  int
			status int
		}{
			{"/", all, 200}, {"/?q=/small/x", all, 200}, {"/nothing", all, 404},
			{"/small/before", all, 200}, {"/small/x", small, 200}, {"/small/x?q=1", small, 200}, {"http://t/small/x", small, 200},
			{"/sm%61ll/x", all, 308}, {"/SMALL/x", all, 308}, // the router redirects
			{"/small/inner/small", small, 200}, {"/small/inner/large", large, 200},
			{"/files/a/b", large, 200}, {"/files/list", all, 200},
		} {
			for _, size := range []int{tt.limit, tt.limit + 1} {
				for framing, body := range map[string]string{
					fmt.Sprintf("Content-Length: %d", size): strings.Repeat("x", size),
					"Transfer-Encoding: chunked":            fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", 1, "x", size-1, strings.Repeat("x", size-1)),
				} {
					want := tt.status
					if size > tt.limit && (!stream || want == 200 || !strings.Contains(framing, "chunked")) { // else nobody reads it
						want = 413
					}
					c := r.dial()
					c.send("POST " + tt.target + " HTTP/1.1\r\nHost: t\r\n" + framing + "\r\n\r\n" + body)
					got := c.reply("POST")
					if got.StatusCode != want || want == 200 && got.text != fmt.Sprint(size) {
						t.Errorf("stream %v, %s, %s, %d bytes: %v, want %d", stream, tt.target, framing, size, got, want)
					}
					if want == 413 && !got.Close {
						t.Errorf("stream %v, %s: the connection goes on", stream, tt.target)
					}
				}
			}
		}
		r.finish()
	}
}

// A route for any method has its limit for those, too, that no route names.
func TestGroupMaxBodySizeOfAnyMethod(t *testing.T) {
	r := run(t, loopback().Group("", func(g *Group) { g.MaxBodySize(10).Any("/any", readBody) }))
	for size, want := range map[int]int{10: 200, 11: 413} {
		c := r.dial()
		c.send(fmt.Sprintf("MKCOL /any HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size)))
		if got := c.reply("MKCOL"); got.StatusCode != want {
			t.Errorf("%d bytes: %v, want %d", size, got, want)
		}
	}
	r.finish()
}

// The refusal comes before the body has, and arrives though its client goes on sending.
func TestGroupMaxBodySizeRefusesEarly(t *testing.T) {
	r := run(t, loopback().Group("", func(g *Group) { g.MaxBodySize(10).Post("/small", readBody) }))
	c := r.dial()
	c.send("POST /small HTTP/1.1\r\nHost: t\r\nContent-Length: 3000000\r\n\r\n")
	if got := c.reply("POST"); got.StatusCode != 413 {
		t.Error(got)
	}
	c.send(strings.Repeat("x", 1000))
	c = r.dial() // that asks first is told, whatever comes before it
	c.send("POST /small HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 3000000\r\n\r\n")
	got := c.reply("POST")
	if got.StatusCode == 100 {
		got = c.reply("POST")
	}
	if got.StatusCode != 413 {
		t.Error(got)
	}
	c = r.dial()
	c.send("POST /small HTTP/1.1\r\nHost: t\r\nContent-Length: 3000000\r\n\r\n" + strings.Repeat("x", 3_000_000))
	if got := c.reply("POST"); got.StatusCode != 413 {
		t.Error(got)
	}
	r.finish()
}

// A limit that the application sets for one request counts.
func TestGroupMaxBodySizeBesideHeaderReceived(t *testing.T) {
	r := run(t, loopback().
		Configure(func(h *fasthttp.Server) {
			h.HeaderReceived = func(h *fasthttp.RequestHeader) (rc fasthttp.RequestConfig) {
				if len(h.Peek("X-Large")) > 0 {
					rc.MaxRequestBodySize = 1000
				}
				return rc
			}
		}).
		Group("", func(g *Group) { g.MaxBodySize(10).Post("/small", readBody) }))
	for header, status := range map[string]int{"X-Large": 200, "X-Other": 413} {
		c := r.dial()
		c.send("POST /small HTTP/1.1\r\nHost: t\r\n" + header + ": 1\r\nContent-Length: 20\r\n\r\n" + strings.Repeat("x", 20))
		if got := c.reply("POST"); got.StatusCode != status {
			t.Errorf("%s: %v", header, got)
		}
	}
	r.finish()
}
