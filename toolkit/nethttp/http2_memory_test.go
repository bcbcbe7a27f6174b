package nethttp

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// HTTP/2 without TLS needs no socket, beside native routes neither.
func TestHTTP2InMemory(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		mem := fasthttputil.NewInmemoryListener()
		a := app{fresh: fresh, native: sayNative, net: sayNet}
		life := &lifecycle.Server{HTTP: &fasthttp.Server{Handler: a.native, Logger: nolog{}}, Listeners: []net.Listener{mem}}
		Mount{HTTP: &http.Server{}, Route: a.route, Fresh: fresh}.On(life)
		done := make(chan error, 1)
		go func() { done <- life.Run(context.Background()) }()
		<-life.Reached(lifecycle.PhaseReady)
		transport := &http.Transport{
			Protocols:   new(http.Protocols),
			DialContext: func(context.Context, string, string) (net.Conn, error) { return mem.Dial() },
		}
		transport.Protocols.SetUnencryptedHTTP2(true)
		for _, path := range []string{"/net", "/native"} {
			resp, err := (&http.Client{Transport: transport}).Get("http://t" + path)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.ProtoMajor != 2 || resp.StatusCode != http.StatusOK {
				t.Errorf("fresh %v, %s: %v %q, %v", fresh, path, resp.Proto, body, err)
			}
		}
		transport.CloseIdleConnections()
		life.Drain()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
