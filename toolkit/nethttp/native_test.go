package nethttp

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// wire is what a client sees of a response, but for what differs for good: fasthttp sends
// chunks and trailers to HTTP/1.0, too, and announces chunks to a HEAD, where net/http
// announces trailers.
func (r reply) wire(method string) string {
	r.Header.Del("Date")
	if r.Close {
		r.Header.Del("Connection")
	}
	if method == "HEAD" || method == "1.0" {
		r.TransferEncoding, r.Trailer = nil, nil
		r.Header.Del("Trailer")
	}
	var b strings.Builder
	_ = r.Header.Write(&b) // sorted
	return fmt.Sprintf("%s close=%v length=%d coding=%v trailer=%v\n%s\n%.200q", r.Status, r.Close, r.ContentLength, r.TransferEncoding, r.Trailer, b.String(), r.text)
}

// A native handler's answer is the same, whichever server asks it.
func TestNativeAnswersTheSame(t *testing.T) {
	handlers := map[string]fasthttp.RequestHandler{
		"nothing": func(*fasthttp.RequestCtx) {},
		"text":    func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("hello") },
		"html":    func(ctx *fasthttp.RequestCtx) { ctx.SetContentType("text/html"); ctx.SetBodyString("<html>") },
		"error":   func(ctx *fasthttp.RequestCtx) { ctx.Error("oh", fasthttp.StatusBadGateway) },
		"header": func(ctx *fasthttp.RequestCtx) {
			ctx.Response.Header.Add("X-One", "1")
			ctx.Response.Header.Add("X-One", "2")
			ctx.Response.Header.Set("Server", "mine")
			ctx.Response.Header.Set("Content-Encoding", "gzip")
			cookie := fasthttp.AcquireCookie()
			cookie.SetKey("a")
			cookie.SetValue("b")
			ctx.Response.Header.SetCookie(cookie)
		},
		"no content":   func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(fasthttp.StatusNoContent) },
		"not modified": func(ctx *fasthttp.RequestCtx) { ctx.NotModified() },
		"redirect":     func(ctx *fasthttp.RequestCtx) { ctx.Redirect("/native/x?y=z", fasthttp.StatusFound) },
		"close":        func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("bye"); ctx.SetConnectionClose() },
		"large":        func(ctx *fasthttp.RequestCtx) { ctx.SetBody(bytes.Repeat([]byte("x"), 1<<20)) },
		"stream": func(ctx *fasthttp.RequestCtx) {
			ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
				for i := range 3 {
					fmt.Fprintln(w, i)
					_ = w.Flush()
				}
			})
		},
		"sized stream": func(ctx *fasthttp.RequestCtx) { ctx.SetBodyStream(strings.NewReader("hello"), 5) },
		"trailer": func(ctx *fasthttp.RequestCtx) {
			_ = ctx.Response.Header.AddTrailer("X-Sum")
			ctx.SetBodyStreamWriter(func(w *bufio.Writer) { _, _ = io.WriteString(w, "summed") })
			ctx.Response.Header.Set("X-Sum", "7")
		},
		"seen": func(ctx *fasthttp.RequestCtx) {
			fmt.Fprintf(ctx, "%s %s %s %s %s %q %q %v %v", ctx.Method(), ctx.RequestURI(), ctx.Path(), ctx.Host(), ctx.QueryArgs(),
				ctx.Request.Header.Cookie("c"), ctx.Request.Header.Peek("X-Name"), ctx.IsTLS(), ctx.Request.Header.IsHTTP11())
			fmt.Fprintf(ctx, " %s %s", ctx.URI().Scheme(), ctx.UserAgent())
		},
		"form": func(ctx *fasthttp.RequestCtx) {
			fmt.Fprintf(ctx, "%s %q %q %v", ctx.Request.Header.ContentType(), ctx.PostArgs().Peek("k"), ctx.PostBody(), max(0, ctx.Request.Header.ContentLength()))
		},
		"request trailer": func(ctx *fasthttp.RequestCtx) {
			fmt.Fprintf(ctx, "%q %q", ctx.PostBody(), ctx.Request.Header.Peek("X-Sum"))
		},
		"timed out": fasthttp.TimeoutWithCodeHandler(func(ctx *fasthttp.RequestCtx) {
			<-time.After(50 * time.Millisecond)
			ctx.SetBodyString("too late")
		}, time.Millisecond, "timed out", fasthttp.StatusGatewayTimeout),
	}
	requests := map[string]string{
		"GET":  "GET /native?a=b HTTP/1.1\r\nHost: Example.com\r\nUser-Agent: me\r\nCookie: c=d; e=f\r\nx-NAME: v w\r\n\r\n",
		"HEAD": "HEAD /native HTTP/1.1\r\nHost: t\r\n\r\n",
		"POST": "POST /native/%61?q HTTP/1.1\r\nHost: t\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 5\r\n\r\nk=v%20",
		"PUT":  "PUT /native HTTP/1.1\r\nHost: t\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 5\r\n\r\n",
		"1.0":  "GET /native HTTP/1.0\r\nHost: t\r\n\r\n",
	}
	for name, handler := range handlers {
		t.Run(name, func(t *testing.T) {
			for _, kind := range []string{"tcp", "tls"} {
				r := run(t, kind, app{native: handler})
				for method, text := range requests {
					direct, through := r.dial(), r.dial()
					direct.send(text)
					want := direct.reply(method).wire(method)
					through.get("/net")
					through.send(text)
					got := through.reply(method).wire(method)
					if got != want {
						t.Errorf("%s %s: through http.Server\n%s\nand by fasthttp\n%s", kind, method, got, want)
					}
				}
			}
		})
	}
}

// A stream's parts come as they are flushed.
func TestNativeStreamIsFlushed(t *testing.T) {
	next := make(chan struct{})
	r := run(t, "tcp", app{native: func(ctx *fasthttp.RequestCtx) {
		ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
			for i := range 3 {
				fmt.Fprintln(w, i)
				_ = w.Flush()
				<-next
			}
		})
	}})
	c := r.dial()
	c.get("/net")
	c.send(request("GET", "/native", ""))
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(resp.Body)
	for i := range 3 {
		if line, err := in.ReadString('\n'); line != fmt.Sprintln(i) {
			t.Fatalf("%q, %v", line, err)
		}
		next <- struct{}{}
	}
}

// The fasthttp.Server's limits hold for its handlers in the http.Server.
func TestNativeLimits(t *testing.T) {
	r := run(t, "tcp", app{set: func(s *lifecycle.Server) { s.HTTP.MaxRequestBodySize = 10 }})
	for _, text := range []string{
		"POST /native HTTP/1.1\r\nHost: t\r\nContent-Length: 11\r\n\r\n12345678901",
		"POST /native HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n",
	} {
		c := r.dial()
		c.get("/net")
		c.send(text)
		if got := c.reply("POST"); got.StatusCode != http.StatusRequestEntityTooLarge || !got.Close {
			t.Errorf("%+v", got)
		}
		c.wantEOF()
	}
	c := r.dial()
	c.get("/net")
	c.send("POST /native HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
	if got := c.reply("POST"); got.StatusCode != http.StatusBadRequest || !got.Close {
		t.Errorf("%+v", got)
	}
}
