package toolkit

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

func TestETag(t *testing.T) {
	r := run(t, loopback().Use(ETag()).
		Get("/", hello).
		Head("/", hello).
		Post("/", hello).
		Head("/bodyless", func(*fasthttp.RequestCtx) {}).
		Get("/error", func(ctx *fasthttp.RequestCtx) { ctx.Error("no", 404) }).
		Get("/no-store", func(ctx *fasthttp.RequestCtx) {
			ctx.Response.Header.Set("Cache-Control", "private, no-store")
		}).
		Get("/stream", func(ctx *fasthttp.RequestCtx) {
			Stream(ctx, func(w *bufio.Writer) error { _, err := w.WriteString("hello"); return err })
		}).
		Get("/rich", func(ctx *fasthttp.RequestCtx) {
			ctx.Response.Header.Set("Cache-Control", "max-age=60")
			ctx.Response.Header.Set("X-Other", "stays")
			ctx.Response.Header.Set("Vary", "Cookie")
			ctx.SetContentType("application/json")
			ctx.SetBodyString("{}")
		}))
	c := r.dial()
	first := c.get("/")
	tag := first.Header.Get("ETag")
	if first.String() != "200 hello" || tag != `"LPJNul-wow4m6Dsqxbning"` { // of printf hello | openssl dgst -sha256 -binary | head -c16 | base64
		t.Fatalf("%v, tag %s", first, tag)
	}
	for _, tt := range []struct {
		method, path string
		headers      []string
		status       int
		tagged       bool
	}{
		{"GET", "/", []string{"If-None-Match", tag}, 304, true},
		{"GET", "/", []string{"If-None-Match", "W/" + tag}, 304, true},
		{"HEAD", "/", []string{"If-None-Match", tag}, 304, true},
		{"HEAD", "/", nil, 200, true},
		{"POST", "/", []string{"If-None-Match", tag}, 200, false},
		{"GET", "/", []string{"If-Match", `"x"`}, 412, true},
		{"GET", "/", []string{"If-None-Match", `"x", *`}, 200, true}, // RFC 9110, section 13.1.2: alone; net/http says 304
		{"GET", "/", []string{"If-None-Match", `"x"`, "If-None-Match", tag}, 304, true},
		{"HEAD", "/bodyless", nil, 200, false},
		{"GET", "/error", nil, 404, false},
		{"GET", "/no-store", nil, 200, false},
		{"GET", "/stream", []string{"If-None-Match", tag}, 200, false},
	} {
		got := c.do(tt.method, tt.path, tt.headers...)
		if got.StatusCode != tt.status || (got.Header.Get("ETag") != "") != tt.tagged {
			t.Errorf("%s %s %q: %v %v", tt.method, tt.path, tt.headers, got, got.Header)
		}
	}
	rich := c.get("/rich")
	got := c.get("/rich", "If-None-Match", rich.Header.Get("ETag"))
	for name, want := range map[string]string{
		"ETag": rich.Header.Get("ETag"), "Cache-Control": "max-age=60", "X-Other": "stays", "Vary": "Cookie", "Content-Type": "", "Content-Length": "",
	} {
		if value := got.Header.Get(name); got.StatusCode != 304 || value != want {
			t.Errorf("%d with %s: %q, want %q", got.StatusCode, name, value, want)
		}
	}
	if got := c.get("/rich", "If-Match", `"x"`); got.StatusCode != 412 || got.Header.Get("Cache-Control") != "" {
		t.Errorf("a 412 to be cached: %v %v", got, got.Header)
	}
	if c.r.Buffered() > 0 {
		t.Error("a 304 with a body")
	}
	r.finish()
}

// Each combination of conditions is answered as net/http's file server answers it.
func TestPreconditionsAsNetHTTP(t *testing.T) {
	modified := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	earlier, same, later := modified.Add(-time.Second).Format(http.TimeFormat), modified.Format(http.TimeFormat), modified.Add(time.Second).Format(http.TimeFormat)
	tags := []string{"", "*", `"a"`, `W/"a"`, `"b"`, `"b", W/"a"`, `"b" ,, "a"`, `"b"x "a"`, `a`, `"a`, `"b,", "a"`, " * "}
	dates := []string{"", earlier, same, later, "yesterday", "Monday, 06-May-24 07:08:09 GMT"}
	n := 0
	for _, tag := range []string{"", `"a"`, `W/"a"`} {
		own := ETag()(func(ctx *fasthttp.RequestCtx) {
			ctx.Response.Header.Set("Last-Modified", same)
			ctx.Response.Header.Set("ETag", tag)
			ctx.Response.Header.Set("Cache-Control", "no-store") // none of its own
			ctx.SetBodyString("body")
		})
		for _, match := range tags {
			for _, noneMatch := range tags {
				for _, since := range dates {
					for _, unmodified := range dates {
						header := http.Header{}
						for name, value := range map[string]string{"If-Match": match, "If-None-Match": noneMatch, "If-Modified-Since": since, "If-Unmodified-Since": unmodified} {
							if value != "" {
								header.Set(name, value)
							}
						}
						if tag == "" && (match != "" || noneMatch != "") {
							continue // net/http finds nothing in "", RFC 9110 any representation in *
						}
						var list []string
						for name := range header {
							list = append(list, name, header.Get(name))
						}
						req := httptest.NewRequest("GET", "/", nil)
						req.Header = header
						rec := httptest.NewRecorder()
						if tag != "" {
							rec.Header().Set("ETag", tag)
						}
						http.ServeContent(rec, req, "x.txt", modified, strings.NewReader("body"))
						if got := call(own, "GET", "/", list...).Response.StatusCode(); got != rec.Code {
							t.Errorf("%s with %q: %d, net/http %d", tag, header, got, rec.Code)
						}
						n++
					}
				}
			}
		}
	}
	t.Logf("%d combinations", n)
}
