package toolkit

import (
	"crypto/tls"
	"net/http"
	"testing"

	"github.com/valyala/fasthttp"
)

func TestSecurityHeaders(t *testing.T) {
	cert := certificate()
	b := loopback().
		TLSConfig(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}).
		Use(SecurityHeaders(map[string]string{
			"referrer-policy": "", "Content-Security-Policy": "default-src 'self'", "Strict-Transport-Security": "max-age=60",
		})).
		Get("/", hello).
		Get("/own", func(ctx *fasthttp.RequestCtx) { ctx.Response.Header.Set("x-frame-options", "DENY") }).
		Get("/panic", func(*fasthttp.RequestCtx) { panic("boo") })
	r := run(t, b)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	for path, frames := range map[string]string{"/": "SAMEORIGIN", "/own": "DENY", "/nothing": "SAMEORIGIN", "/panic": "SAMEORIGIN"} {
		resp, err := (&http.Client{Transport: transport}).Get("https://" + r.ListenAddrs()[0].String() + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": frames, "Referrer-Policy": "",
			"Content-Security-Policy": "default-src 'self'", "Strict-Transport-Security": "max-age=60",
		} {
			if got := resp.Header.Values(name); len(got) > 1 || resp.Header.Get(name) != want {
				t.Errorf("%s: %s: %q, want %q", path, name, got, want)
			}
		}
	}
	transport.CloseIdleConnections()
	r.finish()
}

func TestSecurityHeadersWithoutTLS(t *testing.T) {
	r := run(t, loopback().Use(SecurityHeaders(map[string]string{"Strict-Transport-Security": "max-age=60"})).Get("/", hello))
	got := r.dial().get("/").Header
	for name, value := range DefaultSecurityHeaders() {
		if got.Get(name) != value {
			t.Errorf("%s: %q", name, got.Get(name))
		}
	}
	if value := got.Get("Strict-Transport-Security"); value != "" {
		t.Errorf("%q without TLS", value)
	}
	r.finish()
}
