package toolkit

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// urlOf is where a server of b is for its client, over TLS or not.
func urlOf(b *Builder, secure bool) string {
	if !secure {
		return "http://t"
	}
	b.TLSConfig(&tls.Config{Certificates: []tls.Certificate{certificate()}, MinVersion: tls.VersionTLS12})
	return "https://t"
}

// http2Client is net/http's, and speaks HTTP/2 with the server's first address.
func (r *running) http2Client() *http.Client {
	addr, secure := r.ListenAddrs()[0], r.HTTP.TLSConfig != nil
	protocols := new(http.Protocols)
	protocols.SetHTTP2(secure)
	protocols.SetUnencryptedHTTP2(!secure)
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, addr.Network(), addr.String())
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		Protocols:       protocols,
	}
	r.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// askHTTP2 makes a request and returns what came.
func askHTTP2(t *testing.T, c *http.Client, method, url, body string) string {
	t.Helper()
	req, err := http.NewRequest(method, url, io.MultiReader(strings.NewReader(body))) // of unknown length
	if err != nil {
		t.Fatal(err)
	}
	if body == "" {
		req.Body = http.NoBody
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Sprintf("%s %d %q cut: %v", resp.Proto, resp.StatusCode, b, errors.Unwrap(err))
	}
	if resp.Header.Get(HeaderRequestID) == "" && resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("%s %s: no request id: %v", method, url, resp.Header)
	}
	return fmt.Sprintf("%s %d %s", resp.Proto, resp.StatusCode, b)
}

// All that a server of ours does for a request it does for a stream of HTTP/2, once,
// and the connection goes on.
func TestHTTP2(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS=%v", secure), func(t *testing.T) {
			var lines logs
			b := New().Logger(lines.logger()).Addr("127.0.0.1:0").MaxBodySize(1000).
				Get("/native", answer("native")).
				Post("/native", func(ctx *fasthttp.RequestCtx) { fmt.Fprintf(ctx, "native %q", ctx.PostBody()) }).
				Get("/panic", func(*fasthttp.RequestCtx) { panic("on purpose") }).
				Get("/cut", func(ctx *fasthttp.RequestCtx) {
					Stream(ctx, func(w *bufio.Writer) error {
						_, _ = w.WriteString("half")
						_ = w.Flush()
						return errors.New("broken")
					})
				}).
				NetHTTP("/net/panic", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("on purpose") })).
				NetHTTP("/net/{path:*}", http.HandlerFunc(legacy))
			url := urlOf(b, secure)
			r := run(t, b)
			c := r.http2Client()
			large := strings.Repeat("x", 2000)
			for _, tt := range []struct{ method, path, body, want string }{
				{"GET", "/native", "", "HTTP/2.0 200 native"},
				{"POST", "/native", "hello", `HTTP/2.0 200 native "hello"`},
				{"GET", "/none", "", "HTTP/2.0 404 Not Found"},
				{"GET", "/net/a", "", `HTTP/2.0 200 net GET /net/a "" <nil>`},
				{"POST", "/native", large, "HTTP/2.0 413 Request body too large"},
				{"POST", "/net/a", large, `HTTP/2.0 200 net POST /net/a "` + large[:1000] + `" http: request body too large`},
				{"GET", "/panic", "", "HTTP/2.0 500 Internal Server Error"},
				{"GET", "/cut", "", `HTTP/2.0 200 "half" cut: <nil>`},
				{"GET", "/readyz", "", "HTTP/2.0 200 ok\n"},
			} {
				if got := askHTTP2(t, c, tt.method, url+tt.path, tt.body); got != tt.want {
					t.Errorf("%s %s: %q; want %q", tt.method, tt.path, got, tt.want)
				}
			}
			if resp, err := c.Get(url + "/net/panic"); err == nil {
				t.Errorf("%+v", resp)
			}
			req, _ := http.NewRequest("POST", url+"/net/a", strings.NewReader(large)) // of known length
			if resp, err := c.Do(req); err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("%+v, %v", resp, err)
			}
			if infos := r.Conns(); len(infos) != 1 || infos[0].Requests != 11 || !infos[0].Multiplexed {
				t.Errorf("%+v", infos)
			}
			r.finish()
			for message, n := range map[string]int{"request": 11, "handler panicked": 2, "stream failed": 1} {
				if got := lines.lines(t, message); len(got) != n {
					t.Errorf("%d lines %q; want %d: %v", len(got), message, n, got)
				}
			}
		})
	}
}

// HTTP/2 can be turned off, and is off where nothing speaks it.
func TestHTTP2Off(t *testing.T) {
	cert := certificate()
	offer := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}
	if _, err := mixed().HTTP2(false).TLSConfig(offer).Build(); err == nil || !strings.Contains(err.Error(), "TLSConfig: NextProtos offers h2") {
		t.Error(err)
	}
	for _, b := range []*Builder{mixed().HTTP2(false), loopback().Get("/native", answer("native"))} {
		r := run(t, b.TLSConfig(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}))
		c, err := tls.Dial("tcp", r.ListenAddrs()[0].String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
		if err == nil {
			if got := c.ConnectionState().NegotiatedProtocol; got == "h2" {
				t.Errorf("negotiated %q", got)
			}
			_ = c.Close()
		}
		r.finish()
	}
	r := run(t, mixed().TLSConfig(offer))
	if got := askHTTP2(t, r.http2Client(), "GET", "https://t/native", ""); got != "HTTP/2.0 200 native" {
		t.Error(got)
	}
}

// A request in HTTP/1's form that says it is of HTTP/2 is doubtful, as any other
// version.
func TestHTTP2AsAVersion(t *testing.T) {
	r := run(t, mixed())
	c := r.dial()
	c.send("GET /native HTTP/2.0\r\nHost: t\r\n\r\n")
	if got := c.reply("GET").String(); got != "400 Bad Request: HTTP version" {
		t.Error(got)
	}
}

// Streams are what MaxInFlight counts, of both kinds of handlers: one too many is answered
// with a 503, and nothing happens to the others. A stream that its client has reset counts
// until its handler has returned.
func TestHTTP2MaxInFlight(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS=%v", secure), func(t *testing.T) {
			entered, release := make(chan struct{}, 9), make(chan struct{})
			b := loopback().MaxInFlight(2, 0).
				Get("/native", func(ctx *fasthttp.RequestCtx) { entered <- struct{}{}; <-release; ctx.SetBodyString("native") }).
				NetHTTP("/net", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					entered <- struct{}{}
					<-release
					_, _ = io.WriteString(w, "net")
				}))
			url := urlOf(b, secure)
			r := run(t, b)
			c := r.http2Client()
			if got := askHTTP2(t, c, "GET", url+"/readyz", ""); got != "HTTP/2.0 200 ok\n" { // which makes the connection
				t.Error(got)
			}
			native := make(chan string, 1)
			go func() { native <- askHTTP2(t, c, "GET", url+"/native", "") }()
			<-entered
			ctx, reset := context.WithCancel(context.Background())
			gone := make(chan error, 1)
			go func() {
				req, _ := http.NewRequestWithContext(ctx, "GET", url+"/net", nil)
				_, err := c.Do(req)
				gone <- err
			}()
			<-entered
			refuses := func(n uint64) {
				t.Helper()
				for _, path := range []string{"/native", "/net"} {
					resp, err := c.Get(url + path)
					if err != nil {
						t.Fatal(err)
					}
					text, _ := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if resp.ProtoMajor != 2 || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || strings.TrimSpace(string(text)) != tooManyRequests {
						t.Errorf("%s: %v, %v, %q", path, resp.Status, resp.Header, text)
					}
				}
				if now, refused := r.InFlight(); now != 2 || refused != n {
					t.Errorf("%d in flight, %d refused; want 2, %d", now, refused, n)
				}
			}
			refuses(2)
			reset()
			if err := <-gone; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			refuses(4)
			close(release)
			if got := <-native; got != "HTTP/2.0 200 native" {
				t.Error(got)
			}
			for began := time.Now(); ; time.Sleep(time.Millisecond) {
				if now, _ := r.InFlight(); now == 0 {
					break
				} else if time.Since(began) > patience {
					t.Fatalf("%d in flight", now)
				}
			}
			for _, path := range []string{"net", "native"} {
				if got := askHTTP2(t, c, "GET", url+"/"+path, ""); got != "HTTP/2.0 200 "+path {
					t.Error(got)
				}
			}
			if infos := r.Conns(); len(infos) != 1 {
				t.Errorf("%+v", infos)
			}
			r.finish()
		})
	}
}
