package toolkit

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// No value that a handler puts on a response, by whatever method of fasthttp's, can end
// a line of its header or the header. Nor can a name, with two exceptions, so that
// names are better not taken from a client: SetCanonical writes it as it is, and one
// that begins with a line's end becomes the continuation of the line before.
func TestResponseIsNotSplit(t *testing.T) {
	const evil = "a\r\nInjected: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\ninjected"
	evils := []string{evil, strings.ReplaceAll(evil, "\r", ""), strings.ReplaceAll(evil, "\n", ""), "\n" + evil, evil + "\r"}
	type response = fasthttp.ResponseHeader
	onHeader := map[string]func(h *response, evil string){
		"Set":                     func(h *response, evil string) { h.Set("X", evil) },
		"Set, name":               func(h *response, evil string) { h.Set("a"+evil, "x") },
		"SetBytesK":               func(h *response, evil string) { h.SetBytesK([]byte("a"+evil), evil) },
		"SetBytesV":               func(h *response, evil string) { h.SetBytesV("a"+evil, []byte(evil)) },
		"SetBytesKV":              func(h *response, evil string) { h.SetBytesKV([]byte("a"+evil), []byte(evil)) },
		"SetCanonical":            func(h *response, evil string) { h.SetCanonical([]byte("X"), []byte(evil)) },
		"Add":                     func(h *response, evil string) { h.Add("X", evil) },
		"Add, name":               func(h *response, evil string) { h.Add("a"+evil, "x") },
		"AddBytesK":               func(h *response, evil string) { h.AddBytesK([]byte("a"+evil), evil) },
		"AddBytesV":               func(h *response, evil string) { h.AddBytesV("a"+evil, []byte(evil)) },
		"AddBytesKV":              func(h *response, evil string) { h.AddBytesKV([]byte("a"+evil), []byte(evil)) },
		"Set, not normalized":     func(h *response, evil string) { h.DisableNormalizing(); h.Set("a"+evil, evil) },
		"Add, not normalized":     func(h *response, evil string) { h.DisableNormalizing(); h.Add("a"+evil, evil) },
		"SetNoDefaultContentType": func(h *response, evil string) { h.SetNoDefaultContentType(true); h.SetContentType(evil) },
		"SetContentType":          func(h *response, evil string) { h.SetContentType(evil) },
		"SetContentTypeBytes":     func(h *response, evil string) { h.SetContentTypeBytes([]byte(evil)) },
		"SetContentEncoding":      func(h *response, evil string) { h.SetContentEncoding(evil) },
		"SetContentEncodingBytes": func(h *response, evil string) { h.SetContentEncodingBytes([]byte(evil)) },
		"SetServer":               func(h *response, evil string) { h.SetServer(evil) },
		"SetServerBytes":          func(h *response, evil string) { h.SetServerBytes([]byte(evil)) },
		"SetStatusMessage":        func(h *response, evil string) { h.SetStatusMessage([]byte(evil)) },
		"SetProtocol":             func(h *response, evil string) { h.SetProtocol([]byte("HTTP/1.1 200 " + evil)) },
		"Set, special names": func(h *response, evil string) {
			for _, name := range []string{"Content-Type", "Content-Encoding", "Server", "Location", "Date", "Connection", "Set-Cookie"} {
				h.Set(name, evil)
			}
		},
		"Set, Content-Length":    func(h *response, evil string) { h.Set("Content-Length", evil) },
		"Set, Transfer-Encoding": func(h *response, evil string) { h.Set("Transfer-Encoding", evil) },
		"SetTrailer":             func(h *response, evil string) { _ = h.SetTrailer("X," + evil) },
		"AddTrailer":             func(h *response, evil string) { _ = h.AddTrailer(evil); h.Set("a"+evil, evil) },
		"SetCookie, key":         func(h *response, evil string) { h.SetCookie(cookie(func(c *fasthttp.Cookie) { c.SetKey(evil) })) },
		"SetCookie, value":       func(h *response, evil string) { h.SetCookie(cookie(func(c *fasthttp.Cookie) { c.SetValue(evil) })) },
		"SetCookie, path":        func(h *response, evil string) { h.SetCookie(cookie(func(c *fasthttp.Cookie) { c.SetPath(evil) })) },
		"SetCookie, path bytes": func(h *response, evil string) {
			h.SetCookie(cookie(func(c *fasthttp.Cookie) { c.SetPathBytes([]byte(evil)) }))
		},
		"SetCookie, domain": func(h *response, evil string) { h.SetCookie(cookie(func(c *fasthttp.Cookie) { c.SetDomain(evil) })) },
		"SetCookie, value bytes": func(h *response, evil string) {
			h.SetCookie(cookie(func(c *fasthttp.Cookie) { c.SetValueBytes([]byte(evil)) }))
		},
		"DelClientCookie": func(h *response, evil string) { h.DelClientCookie(evil) },
	}
	onCtx := map[string]func(ctx *fasthttp.RequestCtx, evil string){
		"Redirect":       func(ctx *fasthttp.RequestCtx, evil string) { ctx.Redirect(evil, 302) },
		"Redirect, path": func(ctx *fasthttp.RequestCtx, evil string) { ctx.Redirect("/"+evil, 302) },
		"RedirectBytes":  func(ctx *fasthttp.RequestCtx, evil string) { ctx.RedirectBytes([]byte(evil), 302) },
		"RedirectToHost": func(ctx *fasthttp.RequestCtx, evil string) { ctx.Redirect("http://"+evil+"/", 302) },
		"Success":        func(ctx *fasthttp.RequestCtx, evil string) { ctx.Success(evil, []byte("x")) },
		"SetContentType": func(ctx *fasthttp.RequestCtx, evil string) { ctx.SetContentType(evil) },
		"trailer": func(ctx *fasthttp.RequestCtx, evil string) {
			_ = ctx.Response.Header.AddTrailer("X")
			ctx.Response.Header.Set("X", evil)
			ctx.SetBodyStream(strings.NewReader("x"), -1)
		},
		"request id": func(ctx *fasthttp.RequestCtx, evil string) { ctx.Request.Header.Set(HeaderRequestID, evil) },
		"EarlyHints": func(ctx *fasthttp.RequestCtx, evil string) {
			ctx.Response.Header.Set("Link", evil)
			_ = ctx.EarlyHints()
		},
	}
	for name, f := range onHeader {
		onCtx["Header."+name] = func(ctx *fasthttp.RequestCtx, evil string) { f(&ctx.Response.Header, evil) }
	}
	r := run(t, loopback().Get("/next", answer("next")).Get("/", func(ctx *fasthttp.RequestCtx) {
		onCtx[string(ctx.Request.Header.Peek("Do"))](ctx, evils[ctx.QueryArgs().GetUintOrZero("with")])
	}))
	for name := range onCtx {
		for i := range evils {
			t.Run(name, func(t *testing.T) {
				c := dialAddr(t, r.ListenAddrs()[0])
				c.send(fmt.Sprintf("GET /?with=%d HTTP/1.1\r\nHost: t\r\nDo: %s\r\n\r\n", i, name))
				c.wantWhole()
			})
		}
	}
	r.finish()
}

// What a client sends comes back in a header of its response in these places.
func TestResponseIsNotSplitByRequests(t *testing.T) {
	r := run(t, loopback().Get("/next", answer("next")).Get("/a/{name}", hello).Get("/files/", fasthttp.FSHandler(t.TempDir(), 1)))
	for _, path := range []string{
		"/a/x%0d%0aInjected:1/",                 // redirected to the path without a slash
		"/a/x%0d%0aInjected:1%0d%0a%0d%0abody/", // as before
		"/a/x%0aInjected:1/", "/a/x%0dInjected:1/", "/A/x%0d%0aInjected:1",
		"//a//x%0d%0aInjected:1", "/files/../files%0d%0aInjected:1/",
		"/a/x/?%0d%0aInjected:1", "/%0d%0aInjected:1",
	} {
		t.Run(path, func(t *testing.T) {
			c := dialAddr(t, r.ListenAddrs()[0])
			c.send("GET " + path + " HTTP/1.1\r\nHost: t\r\nX-Request-ID: %0d%0aInjected:1\r\n\r\n")
			c.wantWhole()
		})
	}
	r.finish()
}

func cookie(set func(*fasthttp.Cookie)) *fasthttp.Cookie {
	var c fasthttp.Cookie
	c.SetKey("k")
	c.SetValue("v")
	set(&c)
	return &c
}

// wantWhole wants one response with nothing injected, and then either the
// connection's end or the answer to a further request.
func (c *client) wantWhole() {
	c.t.Helper()
	for {
		resp := c.reply("GET")
		if resp.StatusCode == http.StatusInternalServerError {
			c.t.Fatal(resp)
		}
		if _, ok := resp.Header["Injected"]; ok || resp.text == "injected" {
			c.t.Fatalf("split: %v %v", resp, resp.Header)
		}
		for name := range resp.Trailer {
			if name == "Injected" {
				c.t.Fatalf("trailer split: %v", resp.Trailer)
			}
		}
		if resp.StatusCode == http.StatusEarlyHints {
			continue
		}
		if resp.Close {
			c.wantEOF()
			return
		}
		if next := c.get("/next"); next.String() != "200 next" {
			c.t.Fatalf("the next request was answered %v", next)
		}
		return
	}
}
