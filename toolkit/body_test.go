package toolkit

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// received is what a handler got of a body.
type received struct {
	n   int64
	err error
}

// receive reads a body, says how that ended and answers as usual.
func receive(into chan<- received) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		n, err := io.Copy(io.Discard, ctx.RequestBodyStream())
		into <- received{n, err}
		if err != nil {
			ctx.Error("bad body", fasthttp.StatusBadRequest)
			return
		}
		fmt.Fprint(ctx, n)
	}
}

func chunk(size int) string { return fmt.Sprintf("%x\r\n%s\r\n", size, strings.Repeat("x", size)) }

const (
	limit    = 100_000
	chunked  = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
	lastZero = "0\r\n\r\n"
)

func fixed(size int) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n", size)
}

// The limit holds for a body that is streamed, at the byte, and what is left of it
// is not taken for a request.
func TestStreamedBodiesAreLimited(t *testing.T) {
	for name, b := range map[string]*Builder{
		"by the builder": loopback().StreamRequestBody(true).MaxBodySize(limit),
		"by Configure": loopback().Configure(func(h *fasthttp.Server) {
			h.StreamRequestBody = true
			h.MaxRequestBodySize = limit
		}),
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan received, 1)
			r := run(t, b.Post("/", receive(got)).Get("/", hello))
			c := r.dial()
			for _, body := range []string{
				fixed(limit) + strings.Repeat("x", limit),
				fixed(0),
				fixed(5) + "small",
				chunked + chunk(limit) + lastZero,
				chunked + chunk(limit/2) + chunk(limit/2) + lastZero,
				chunked + lastZero,
			} {
				c.send(body)
				if resp := c.reply("POST"); resp.StatusCode != 200 || resp.Close {
					t.Errorf("%.70q: %v", body, resp)
				}
				if g := <-got; g.err != nil {
					t.Errorf("%.70q: %v", body, g)
				}
			}
			for _, body := range []string{
				chunked + chunk(limit+1) + lastZero + getRequest,
				chunked + chunk(limit) + chunk(1) + lastZero + getRequest,
			} {
				c := r.dial()
				c.send(body)
				if resp := c.reply("POST"); resp.String() != "400 bad body" || !resp.Close {
					t.Errorf("%.70q: %v, close %v", body, resp, resp.Close)
				}
				if g := <-got; g.n != limit || !errors.Is(g.err, fasthttp.ErrBodyTooLarge) {
					t.Errorf("%.70q: the handler got %v", body, g)
				}
				c.wantEOF()
			}
			for _, more := range []string{"", strings.Repeat("x", limit+1) + getRequest} {
				c := r.dial()
				c.send(fixed(limit+1) + strings.Repeat("x", 8<<10) + more) // fasthttp asks for 8 kB first
				if resp := c.reply("POST"); resp.StatusCode != 413 || !resp.Close {
					t.Errorf("a Content-Length over the limit: %v, close %v", resp, resp.Close)
				}
				c.wantEOF()
			}
			if len(got) != 0 {
				t.Error("the handler has run")
			}
			r.finish()
		})
	}
}

// A form is limited too: fasthttp would read it to its end, onto the disk, before
// anybody is asked.
func TestStreamedFormsAreLimited(t *testing.T) {
	form := func(size int) string {
		body := "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n" + strings.Repeat("y", size) + "\r\n--x--\r\n"
		return fmt.Sprintf("POST / HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	r := run(t, loopback().StreamRequestBody(true).MaxBodySize(limit).
		Post("/", func(ctx *fasthttp.RequestCtx) { fmt.Fprint(ctx, len(ctx.FormValue("a"))) }))
	c := r.dial()
	for range 2 {
		c.send(form(limit / 2))
		if resp := c.reply("POST"); resp.String() != fmt.Sprint("200 ", limit/2) {
			t.Error(resp)
		}
	}
	c.send(form(limit))
	if resp := c.reply("POST"); resp.StatusCode != 413 {
		t.Error(resp)
	}
}

// The answer is the user's to give, as for a body that is not streamed.
func TestStreamedBodyTooLargeIsAnErrorHandlersToAnswer(t *testing.T) {
	r := run(t, loopback().StreamRequestBody(true).MaxBodySize(limit).Configure(func(h *fasthttp.Server) {
		h.ErrorHandler = func(ctx *fasthttp.RequestCtx, err error) { ctx.Error(err.Error(), 499) }
	}).Post("/", hello))
	c := r.dial()
	c.send(fixed(limit+1) + strings.Repeat("x", 8<<10))
	if resp := c.reply("POST"); resp.StatusCode != 499 || resp.text != fasthttp.ErrBodyTooLarge.Error() || !resp.Close {
		t.Error(resp)
	}
}

// However a body is cut short, its handler can tell.
func TestTruncatedBodiesDoNotLookWhole(t *testing.T) {
	for name, body := range map[string]string{
		"Content-Length":               fixed(limit) + strings.Repeat("x", limit-1),
		"in a chunk":                   chunked + chunk(10000) + "ff\r\nx",
		"after a chunk":                chunked + strings.TrimSuffix(chunk(10000), "\r\n"),
		"between two chunks":           chunked + chunk(10000),
		"before the first chunk":       chunked,
		"in a chunk's size":            chunked + chunk(10000) + "f",
		"in the last chunk":            chunked + chunk(10000) + "0",
		"after pipelined requests":     fixed(9000) + strings.Repeat("x", 9000) + chunked + lastZero + chunked + chunk(10000),
		"behind another that is whole": chunked + chunk(7) + lastZero + fixed(limit) + strings.Repeat("x", 9000),
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan received, 3)
			r := run(t, loopback().StreamRequestBody(true).MaxBodySize(limit).Post("/", receive(got)))
			c := r.dial()
			c.send(body)
			if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			text, err := c.all()
			if err != nil || !strings.Contains(text, "400 Bad Request") || !strings.Contains(text, "Connection: close") {
				t.Errorf("answered %q, %v", text, err)
			}
			r.finish()
			var last received
			for len(got) > 0 {
				if last.err != nil {
					t.Errorf("a whole body ended in %v", last.err)
				}
				last = <-got
			}
			if last.err == nil {
				t.Errorf("the handler has read %d bytes and a clean end", last.n)
			}
		})
	}
}

// What is whole stays whole for a client that shuts its side down behind it, and
// trailers arrive.
func TestWholeBodiesLookWhole(t *testing.T) {
	for _, body := range []string{
		fixed(limit) + strings.Repeat("x", limit),
		chunked + chunk(9000) + lastZero,
		chunked + lastZero,
		strings.Replace(chunked, "\r\n\r\n", "\r\nTrailer: X-Sum\r\n\r\n", 1) + chunk(9000) + "0\r\nX-Sum: 7\r\n\r\n",
	} {
		got := make(chan received, 1)
		read := receive(got)
		r := run(t, loopback().StreamRequestBody(true).MaxBodySize(limit).Post("/", func(ctx *fasthttp.RequestCtx) {
			read(ctx)
			if sum := string(ctx.Request.Header.Peek("X-Sum")); strings.Contains(body, "X-Sum") != (sum == "7") {
				t.Errorf("the trailer is %q", sum)
			}
		}))
		c := r.dial()
		c.send(body)
		_ = c.Conn.(*net.TCPConn).CloseWrite()
		if resp := c.reply("POST"); resp.StatusCode != 200 {
			t.Errorf("%.70q: %v", body, resp)
		}
		if g := <-got; g.err != nil {
			t.Errorf("%.70q: %v", body, g.err)
		}
	}
}

// The time limit for a body holds while a handler reads it.
func TestBodyTimeoutOfAStream(t *testing.T) {
	for _, header := range []string{fixed(limit), chunked} {
		got := make(chan received, 1)
		b := quiet().StreamRequestBody(true).MaxBodySize(limit).ReadHeaderTimeout(time.Hour).ReadBodyTimeout(5*time.Second).
			Post("/", receive(got))
		bubble(t, b, func(t *testing.T, r *running) {
			c := r.dial()
			began := time.Now()
			c.send(header)
			first := chunk(9000)
			if header != chunked {
				first = strings.Repeat("x", 9000)
			}
			time.Sleep(3 * time.Second)
			c.send(first)
			if resp := c.reply("POST"); resp.String() != "400 bad body" || !resp.Close {
				t.Errorf("%v, close %v", resp, resp.Close)
			}
			at(t, began, 5*time.Second)
			if g := <-got; g.n != 9000 || !errors.Is(g.err, os.ErrDeadlineExceeded) {
				t.Errorf("the handler got %v", g)
			}
		})
	}
}

// What a handler leaves unread, and what it hands on, goes as with fasthttp alone.
func TestStreamedBodiesLeftUnread(t *testing.T) {
	r := run(t, loopback().StreamRequestBody(true).Strict(false).Get("/", hello).
		Post("/", hello).
		Post("/close", func(ctx *fasthttp.RequestCtx) { _ = ctx.Request.CloseBodyStream() }).
		Post("/reset", func(ctx *fasthttp.RequestCtx) { ctx.Request.Reset() }).
		Post("/post", func(ctx *fasthttp.RequestCtx) { fmt.Fprint(ctx, len(ctx.PostBody())) }).
		Post("/echo", func(ctx *fasthttp.RequestCtx) { ctx.SetBodyStream(ctx.RequestBodyStream(), -1) }))
	c := r.dial()
	for _, path := range []string{"/", "/close", "/reset", "/post", "/echo"} {
		for _, body := range []string{fixed(20000) + strings.Repeat("x", 20000), chunked + chunk(20000) + lastZero} {
			c.send(strings.Replace(body, " / ", " "+path+" ", 1))
			resp := c.reply("POST")
			if resp.StatusCode != 200 || resp.Close || path == "/post" && resp.text != "20000" || path == "/echo" && len(resp.text) != 20000 {
				t.Errorf("%s: %.50v, close %v", path, resp, resp.Close)
			}
			if resp := c.get("/"); resp.String() != "200 hello" {
				t.Errorf("after %s: %v", path, resp)
			}
		}
	}
	r.finish()
}

// A client that asks first is told to go on, and limited all the same.
func TestStreamedBodiesThatWereAskedFor(t *testing.T) {
	got := make(chan received, 1)
	r := run(t, loopback().StreamRequestBody(true).MaxBodySize(limit).Post("/", receive(got)))
	for _, tt := range []struct {
		header, body string
		status       int
	}{
		{fixed(limit), strings.Repeat("x", limit), 200},
		{chunked, chunk(limit) + lastZero, 200},
		{chunked, chunk(limit+1) + lastZero, 400},
		{fixed(limit + 1), strings.Repeat("x", limit+1), 413},
	} {
		c := r.dial()
		c.send(strings.Replace(tt.header, "\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n", 1))
		if resp := c.reply("POST"); resp.StatusCode != 100 {
			t.Fatal(resp)
		}
		c.send(tt.body)
		if resp := c.reply("POST"); resp.StatusCode != tt.status || resp.Close != (tt.status != 200) {
			t.Errorf("%.70q: %v, close %v", tt.header, resp, resp.Close)
		}
		if tt.status != 413 {
			<-got
		}
	}
}

// A chunked body that PostBody has read is one that was read to its end: its connection
// goes on.
func TestStreamedBodyReadByPostBodyKeepsItsConnection(t *testing.T) {
	r := run(t, loopback().StreamRequestBody(true).Post("/", func(ctx *fasthttp.RequestCtx) { ctx.SetBody(ctx.PostBody()) }))
	c := r.dial()
	for range 2 {
		c.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
		if resp := c.reply("POST"); resp.String() != "200 abc" || resp.Close {
			t.Errorf("answered %v, close %v", resp, resp.Close)
		}
	}
}
