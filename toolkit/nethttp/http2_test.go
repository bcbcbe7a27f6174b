package nethttp

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// httpClient is a client of net/http that speaks HTTP/2.
func (r *running) httpClient() *http.Client {
	addr := r.ListenAddrs()[0]
	p := new(http.Protocols)
	p.SetHTTP2(r.HTTP.TLSConfig != nil)
	p.SetUnencryptedHTTP2(r.HTTP.TLSConfig == nil)
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, addr.Network(), addr.String())
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		Protocols:       p,
	}
	r.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

func (r *running) url(path string) string {
	if r.HTTP.TLSConfig != nil {
		return "https://t" + path
	}
	return "http://t" + path
}

func TestHTTP2(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		r := run(t, kind, app{fresh: fresh})
		c := r.httpClient()
		for _, path := range []string{"/net/a", "/native/a", "/net/b", "/native/c"} {
			resp, err := c.Post(r.url(path), "text/plain", strings.NewReader("hello"))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			fmt.Println(resp.Proto, resp.Header, string(b), err)
			fmt.Printf("%+v\n", r.Conns())
		}
		began := time.Now()
		r.finish()
		fmt.Println(time.Since(began))
	})
}
