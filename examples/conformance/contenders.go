package main

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"
)

// server is what the suite needs of a server. *http.Server is one, and a server
// that replaces it is one.
type server interface {
	Serve(l net.Listener) error
	ServeTLS(l net.Listener, certFile, keyFile string) error
	Shutdown(ctx context.Context) error
	Close() error
	SetKeepAlivesEnabled(v bool)
	RegisterOnShutdown(f func())
}

// contender is a kind of server that is compared with the reference.
type contender struct {
	name   string
	native bool              // it mounts native handlers, at nativePath
	known  map[string]string // where it differs, and why; nil says nothing
	read   []string          // variants in which fasthttp reads the requests, too

	// serve makes a server with the exported fields of s.
	serve func(s *http.Server, native fasthttp.RequestHandler) server
}

// reason is why a behaviour differs in a variant, "" where it is not known to.
func (c *contender) reason(b *behaviour, v variant) string {
	if reason := c.known[b.String()]; reason != "" {
		return reason
	}
	if slices.Contains(c.read, v.name) {
		return knownRead[b.String()]
	}
	return ""
}

// reference is the program that says what is right.
var reference = &contender{
	name:  "net/http",
	serve: func(s *http.Server, _ fasthttp.RequestHandler) server { return s },
}

// contenders are printed from left to right.
var contenders = []*contender{
	{name: "nethttp.Server", known: known, serve: func(s *http.Server, _ fasthttp.RequestHandler) server { return replaced(s) }},
	{name: "Mount", native: true, known: knownMount, read: []string{"alternating", "pipelined", "to and fro"}, serve: func(s *http.Server, native fasthttp.RequestHandler) server { return mounted(s, native, false) }},
	{name: "Mount, Fresh", native: true, known: knownMount, read: []string{"to and fro"}, serve: func(s *http.Server, native fasthttp.RequestHandler) server { return mounted(s, native, true) }},
	{name: "fasthttpadaptor", serve: adapt},
}

// adapted is a fasthttp server with fasthttpadaptor, as near to net/http as its
// settings bring it.
type adapted struct {
	fasthttp.Server
	mu         sync.Mutex
	conns      map[net.Conn]bool
	l          net.Listener
	onShutdown []func()
}

func adapt(s *http.Server, _ fasthttp.RequestHandler) server {
	a := &adapted{conns: map[net.Conn]bool{}}
	handler := fasthttpadaptor.NewFastHTTPHandler(s.Handler)
	a.Server = fasthttp.Server{
		Handler: func(ctx *fasthttp.RequestCtx) {
			// It panics where the handler did, in a goroutine of fasthttp's, which
			// ends the process. Here that ends all its connections.
			defer func() {
				if v := recover(); v != nil {
					s.ErrorLog.Printf("the process ends: %v", v)
					_ = a.Close()
				}
			}()
			handler(ctx)
		},
		ReadTimeout:           max(s.ReadTimeout, s.ReadHeaderTimeout),
		WriteTimeout:          s.WriteTimeout,
		IdleTimeout:           s.IdleTimeout,
		ReadBufferSize:        max(s.MaxHeaderBytes, 8<<10),
		MaxRequestBodySize:    1 << 30,
		NoDefaultServerHeader: true,
		NoDefaultContentType:  true,
		StreamRequestBody:     true,
		CloseOnShutdown:       true,
		TLSConfig:             s.TLSConfig,
		Logger:                s.ErrorLog,
		ConnState: func(c net.Conn, state fasthttp.ConnState) {
			a.mu.Lock()
			defer a.mu.Unlock()
			switch state { //nolint:exhaustive // the others change nothing
			case fasthttp.StateNew:
				a.conns[c] = true
			case fasthttp.StateClosed:
				delete(a.conns, c)
			}
		},
	}
	if s.MaxHeaderBytes == 0 {
		a.ReadBufferSize = http.DefaultMaxHeaderBytes
	}
	return a
}

func (a *adapted) listen(l net.Listener) net.Listener {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.l = l
	return l
}

func (a *adapted) Serve(l net.Listener) error { return a.Server.Serve(a.listen(l)) }

func (a *adapted) ServeTLS(l net.Listener, certFile, keyFile string) error {
	return a.Server.ServeTLS(a.listen(l), certFile, keyFile)
}

func (a *adapted) Shutdown(ctx context.Context) error {
	for _, f := range a.onShutdown {
		go f()
	}
	return a.ShutdownWithContext(ctx)
}

// Close ends all that fasthttp has begun; it has no such call itself.
func (a *adapted) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.l != nil {
		_ = a.l.Close()
	}
	for c := range a.conns {
		if t, ok := c.(interface{ SetLinger(int) error }); ok {
			_ = t.SetLinger(0)
		}
		_ = c.Close()
	}
	return nil
}

func (a *adapted) SetKeepAlivesEnabled(v bool) { a.DisableKeepalive = !v }
func (a *adapted) RegisterOnShutdown(f func()) { a.onShutdown = append(a.onShutdown, f) }
