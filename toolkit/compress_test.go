package toolkit

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

func TestNegotiate(t *testing.T) {
	for accept, want := range map[string]string{
		"":                               "",
		"gzip":                           "gzip",
		"GZIP":                           "gzip",
		"x-gzip":                         "gzip",
		"gzip, deflate, br, zstd":        "zstd",
		"gzip, deflate, br":              "br",
		"deflate":                        "",
		"gzipped, abr":                   "",
		"gzip;q=1, br;q=0.9, zstd;q=0.5": "gzip",
		"br ; Q=0.001":                   "br",
		"br;q=0":                         "",
		"br;q=0.000, gzip":               "gzip",
		"br;q=2, gzip;q=0.1":             "gzip",
		"br;q=1.1":                       "br",
		"br;q=abc":                       "",
		"br;q=":                          "",
		"br;q=0.1234, gzip;q=0.1":        "gzip",
		"*":                              "zstd",
		"*;q=0.5, gzip":                  "gzip",
		"zstd;q=0, *":                    "br",
		"*;q=0":                          "",
		"identity":                       "",
		"identity, gzip;q=0.5":           "",
		"identity;q=0.5, gzip;q=0.5":     "gzip",
		"identity;q=0":                   "",
		"identity;q=0, gzip":             "gzip!",
		"gzip, *;q=0":                    "gzip!",
		"gzip, identity, *;q=0":          "gzip",
		",, ,gzip,":                      "gzip",
	} {
		chosen, must := negotiate([][]byte{[]byte(accept)}, nil)
		got := ""
		if chosen != nil {
			got = chosen.name
		}
		if must {
			got += "!"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", accept, got, want)
		}
	}
	if chosen, _ := negotiate([][]byte{[]byte("gzip;q=0.5"), []byte("br")}, nil); chosen == nil || chosen.name != "br" {
		t.Errorf("two lines: %v", chosen)
	}
}

// decoded is a body as it was before it was compressed.
func decoded(t testing.TB, r reply) string {
	t.Helper()
	var resp fasthttp.Response
	resp.SetBodyString(r.text)
	resp.Header.SetContentEncoding(r.Header.Get("Content-Encoding"))
	body, err := resp.BodyUncompressed()
	if err != nil {
		t.Fatalf("%v: %v", r.Header, err)
	}
	return string(body)
}

var longText = strings.Repeat("a long text, and more of it. ", 500)

// typed answers with a body of a type.
func typed(contentType, body string, headers ...string) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		ctx.SetContentType(contentType)
		ctx.SetBodyString(body)
		for i := 0; i < len(headers); i += 2 {
			ctx.Response.Header.Set(headers[i], headers[i+1])
		}
	}
}

func TestCompress(t *testing.T) {
	noise := make([]byte, 4096)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	const html = "text/html; charset=utf-8"
	r := run(t, loopback().Use(Compress()).
		Get("/", typed(html, longText, "ETag", `"a"`, "Accept-Ranges", "bytes", "Vary", "Cookie")).
		Head("/", typed(html, longText, "ETag", `"a"`)).
		Head("/bodyless", func(ctx *fasthttp.RequestCtx) {
			ctx.SetContentType(html)
			ctx.Response.SkipBody = true
			ctx.Response.Header.SetContentLength(5000)
		}).
		Get("/json", typed("application/problem+json", longText, "Vary", "accept-encoding")).
		Get("/short", typed(html, longText[:minCompressed-1])).
		Get("/noise", typed("text/plain", string(noise))).
		Get("/png", typed("image/png", longText)).
		Get("/encoded", typed(html, longText, "Content-Encoding", "gzip")).
		Get("/no-transform", typed(html, longText, "Cache-Control", "public, no-transform")).
		Get("/content-digest", typed(html, longText, "Content-Digest", "sha-256=:AAAA:")).
		Get("/repr-digest", typed(html, longText, "Repr-Digest", "sha-256=:AAAA:")).
		Get("/part", func(ctx *fasthttp.RequestCtx) {
			typed(html, longText, "Content-Range", "bytes 0-1/2")(ctx)
			ctx.SetStatusCode(206)
		}).
		Get("/none", func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(204) }).
		Get("/same", func(ctx *fasthttp.RequestCtx) {
			ctx.SetStatusCode(304)
			ctx.Response.Header.Set("ETag", `"a"`)
		}).
		Get("/missing", func(ctx *fasthttp.RequestCtx) { ctx.Error(longText, 404) }).
		Get("/timeout", Timeout(time.Millisecond, longText)(func(*fasthttp.RequestCtx) { time.Sleep(50 * time.Millisecond) })))
	c := r.dial()
	for _, tt := range []struct {
		method, path, accept string
		encoding, vary, etag string
	}{
		{"GET", "/", "br", "br", "Cookie, Accept-Encoding", `W/"a"`},
		{"GET", "/", "gzip", "gzip", "Cookie, Accept-Encoding", `W/"a"`},
		{"GET", "/", "zstd", "zstd", "Cookie, Accept-Encoding", `W/"a"`},
		{"GET", "/", "", "", "Cookie, Accept-Encoding", `"a"`},
		{"HEAD", "/", "br", "br", "Accept-Encoding", `W/"a"`},
		{"HEAD", "/bodyless", "br", "br", "Accept-Encoding", ""},
		{"HEAD", "/bodyless", "", "", "Accept-Encoding", ""},
		{"GET", "/json", "br", "br", "accept-encoding", ""},
		{"GET", "/short", "br", "", "", ""},
		{"GET", "/short", "br, identity;q=0", "br", "Accept-Encoding", ""},
		{"GET", "/noise", "br", "", "Accept-Encoding", ""},
		{"GET", "/png", "br", "", "", ""},
		{"GET", "/no-transform", "br", "", "", ""},
		{"GET", "/content-digest", "br", "", "", ""},
		{"GET", "/repr-digest", "br", "", "", ""},
		{"GET", "/part", "br", "", "", ""},
		{"GET", "/none", "br", "", "", ""},
		{"GET", "/same", "br", "", "Accept-Encoding", `W/"a"`},
		{"GET", "/same", "", "", "Accept-Encoding", `"a"`},
		{"GET", "/missing", "gzip", "gzip", "Accept-Encoding", ""},
		{"GET", "/timeout", "gzip", "", "", ""},
	} {
		var headers []string
		if tt.accept != "" {
			headers = []string{"Accept-Encoding", tt.accept}
		}
		got := c.do(tt.method, tt.path, headers...)
		h := got.Header
		if h.Get("Content-Encoding") != tt.encoding || strings.Join(h.Values("Vary"), "|") != tt.vary || h.Get("ETag") != tt.etag {
			t.Errorf("%s %s %q: %v", tt.method, tt.path, tt.accept, h)
		}
		if tt.encoding != "" && h.Get("Accept-Ranges") != "" {
			t.Errorf("%s: ranges of what is compressed: %v", tt.path, h)
		}
		if length := h.Get("Content-Length"); tt.path == "/bodyless" && (length == "5000") != (tt.encoding == "") {
			t.Errorf("%s %q: Content-Length %q", tt.path, tt.accept, length)
		}
		if tt.method == "GET" && tt.encoding != "" {
			want := longText
			if tt.path == "/short" {
				want = longText[:minCompressed-1]
			}
			if body := decoded(t, got); body != want || tt.path != "/short" && len(got.text) > len(want)/4 {
				t.Errorf("%s %q: %d bytes, decoded %d", tt.path, tt.accept, len(got.text), len(body))
			}
		}
	}
	// GET and HEAD say the same.
	get, head := c.get("/", "Accept-Encoding", "br"), c.do("HEAD", "/", "Accept-Encoding", "br")
	if get.Header.Get("Content-Length") != head.Header.Get("Content-Length") || head.Header.Get("Content-Length") == "" {
		t.Errorf("GET %v, HEAD %v", get.Header, head.Header)
	}
	// What the application has encoded stays as it is.
	if got := c.get("/encoded", "Accept-Encoding", "br"); got.text != longText || got.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("%v", got.Header)
	}
	r.finish()
}

// Of a stream each write arrives when it was made; events are not compressed.
func TestCompressStreams(t *testing.T) {
	goOn := make(chan struct{})
	stream := func(contentType string) fasthttp.RequestHandler {
		return func(ctx *fasthttp.RequestCtx) {
			ctx.SetContentType(contentType)
			Stream(ctx, func(w *bufio.Writer) error {
				for range 3 {
					if _, err := w.WriteString("data: tick\n\n"); err != nil {
						return err
					}
					if err := w.Flush(); err != nil {
						return err
					}
					<-goOn
				}
				return nil
			})
		}
	}
	l := &logs{}
	r := run(t, loopback().Logger(l.logger()).Use(Compress()).
		Get("/events", stream("text/event-stream")).
		Get("/text", stream("text/plain")).
		Head("/text", stream("text/plain")).
		Get("/broken", func(ctx *fasthttp.RequestCtx) {
			Stream(ctx, func(w *bufio.Writer) error {
				_, _ = w.WriteString(longText)
				return io.ErrUnexpectedEOF
			})
		}))
	for path, encoding := range map[string]string{"/events": "", "/text": "gzip"} {
		c := r.dial()
		c.send("GET " + path + " HTTP/1.1\r\nHost: t\r\nAccept-Encoding: gzip\r\nX-Request-ID: a\r\n\r\n")
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.Header.Get("Content-Encoding"); got != encoding {
			t.Errorf("%s: %q", path, got)
		}
		var body io.Reader = resp.Body
		if encoding == "gzip" {
			if body, err = gzip.NewReader(body); err != nil {
				t.Fatal(err)
			}
		}
		tick := make([]byte, len("data: tick\n\n"))
		for range 3 {
			if _, err := io.ReadFull(body, tick); err != nil || !bytes.HasSuffix(tick, []byte("tick\n\n")) {
				t.Fatalf("%s: %q, %v", path, tick, err)
			}
			goOn <- struct{}{}
		}
		if n, err := body.Read(tick); n != 0 || err != io.EOF {
			t.Errorf("%s: %d bytes more, %v", path, n, err)
		}
	}
	go func() { // what nobody reads is written to its first failure
		for range 3 {
			select {
			case goOn <- struct{}{}:
			case <-t.Context().Done():
			}
		}
	}()
	if got := r.dial().do("HEAD", "/text", "Accept-Encoding", "gzip"); got.Header.Get("Content-Encoding") != "gzip" || got.text != "" {
		t.Errorf("%v", got.Header)
	}
	c := r.dial()
	c.send("GET /broken HTTP/1.1\r\nHost: t\r\nAccept-Encoding: gzip\r\n\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("a broken stream looks complete")
	}
	r.finish()
	for _, line := range l.lines(t, "request") {
		if line["path"] == "/text" && line["stream"] != true {
			t.Errorf("access log: %v", line)
		}
	}
}

// The access log has the size that was sent.
func TestCompressInTheAccessLog(t *testing.T) {
	l := &logs{}
	r := run(t, loopback().Logger(l.logger()).Use(Compress()).Get("/", typed("text/plain", longText)))
	got := r.dial().get("/", "Accept-Encoding", "gzip")
	r.finish()
	if size := l.line(t, "request")["bytes"]; size != float64(len(got.text)) || got.Header.Get("Content-Length") != strconv.Itoa(len(got.text)) {
		t.Errorf("%v bytes, sent %d", size, len(got.text))
	}
}

// A tag is that of the body before it is compressed, and the request that it comes back
// with is answered without compressing anything.
func TestETagInCompress(t *testing.T) {
	r := run(t, loopback().Use(Compress(), ETag()).Get("/", typed("text/plain", longText)))
	c := r.dial()
	plain := c.get("/").Header.Get("ETag")
	packed := c.get("/", "Accept-Encoding", "gzip").Header.Get("ETag")
	if packed != "W/"+plain {
		t.Errorf("%s and %s", plain, packed)
	}
	for _, tag := range []string{plain, packed} {
		got := c.get("/", "Accept-Encoding", "gzip", "If-None-Match", tag)
		if got.StatusCode != 304 || got.Header.Get("ETag") != packed || got.Header.Get("Vary") != "Accept-Encoding" || got.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: %v %v", tag, got, got.Header)
		}
	}
	r.finish()
}

func FuzzNegotiate(f *testing.F) {
	for _, seed := range []string{"gzip;q=0.5, br", "*;q=0", "identity;q=0,zstd;q=1.000", ";q=1,,q"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, accept string) {
		chosen, must := negotiate([][]byte{[]byte(accept)}, nil)
		if chosen == nil && must {
			t.Error("no coding, but one is needed")
		}
		if chosen != nil && !strings.Contains(strings.ToLower(accept), chosen.name) && !strings.Contains(accept, "*") {
			t.Errorf("%s was not asked for", chosen.name)
		}
	})
}
