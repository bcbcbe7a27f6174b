//go:build unix

package main

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/lifecycle/rehearsal"
	"github.com/lastcall-go/lastcall/toolkit/nethttp"
)

func do(t *testing.T, method, url, body string) (status int, kind, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(b)
}

// Handlers are tested as before, by httptest.
func TestRoutes(t *testing.T) {
	srv := httptest.NewServer(newShop().routes())
	defer srv.Close()
	testShop(t, srv.URL)
}

// The native route answers as the one that it replaces.
func TestNative(t *testing.T) {
	shop := newShop()
	srv := &nethttp.Server{Handler: shop.routes(), ErrorLog: log.New(io.Discard, "", 0)}
	srv.Native("GET /items/{id}", shop.get)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- srv.Serve(ln) }()
	testShop(t, "http://"+ln.Addr().String())
	http.DefaultClient.CloseIdleConnections()
	if err := srv.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != http.ErrServerClosed { //nolint:errorlint // as programs compare it
		t.Error(err)
	}
}

func testShop(t *testing.T, base string) {
	t.Helper()
	for _, tt := range []struct {
		method, path, body string
		status             int
		kind, text         string
	}{
		{"GET", "/items/tea", "", 200, "application/json", `{"id":"tea","price":4.5}` + "\n"},
		{"GET", "/items/none", "", 404, "text/plain; charset=utf-8", "404 page not found"},
		{"PUT", "/items/none", "12.5", 204, "", ""},
		{"PUT", "/items/none", "x", 400, "text/plain; charset=utf-8", "want a price"},
		{"GET", "/items/none", "", 200, "application/json", `{"id":"none","price":12.5}` + "\n"},
		{"HEAD", "/items/none", "", 200, "application/json", ""},
		{"POST", "/items/none", "", 405, "", ""},
		{"GET", "/nowhere", "", 404, "text/plain; charset=utf-8", "404 page not found"},
	} {
		status, kind, text := do(t, tt.method, base+tt.path, tt.body)
		if tt.status >= 400 {
			text = strings.TrimSuffix(text, "\n")
		}
		if status != tt.status || kind != tt.kind || text != tt.text {
			t.Errorf("%s %s: %d %q %q; want %d %q %q", tt.method, tt.path, status, kind, text, tt.status, tt.kind, tt.text)
		}
	}
}

// A restart loses nothing of either kind, and streams are told.
func TestNothingIsLost(t *testing.T) {
	program := filepath.Join(t.TempDir(), "nethttp")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	addr, err := rehearsal.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	rehearsal.Run(t, rehearsal.Plan{
		Start: rehearsal.Command(program, "-addr", addr).At(addr),
		Clients: []rehearsal.Clients{ // Streaming is GET
			{Kind: rehearsal.Streaming, Count: 32, Path: "/items/tea", Pause: 3 * time.Millisecond},
			{Kind: rehearsal.Streaming, Count: 4, Path: "/events"},
		},
		Rounds: 5,
	})
}
