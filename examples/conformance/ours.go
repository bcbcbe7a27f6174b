package main

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit/nethttp"
)

// known is where a nethttp.Server differs, and why.
var known = map[string]string{
	"hijack: the connection is what it was":                         "it is a wrapper, whose NetConn is the *net.TCPConn",
	"hijack: over TLS":                                              "it is a wrapper, whose NetConn is the *tls.Conn",
	"controller: SetLinger and CloseWrite of a hijacked connection": "it is a wrapper, whose NetConn is the *net.TCPConn",
	"control: MaxBytesReader, of which a part is read":              "who reads a part of a buffer, and no more, is taken for one that has met the limit",
	"library: MaxBytesReader around another writer":                 "the connection is closed beyond the limit through whatever writer",
}

// knownMount is where a Mount in a lifecycle.Server differs.
var knownMount = func() map[string]string {
	m := maps.Clone(known)
	m["life: ConnState of a connection that says nothing"] = "the http.Server gets a connection once it has said something, unless Fresh is set"
	for _, name := range []string{
		"life: Shutdown without a connection", "life: Close cuts all", "serving: Close, then Shutdown", "serving: Close by a handler",
		"serving: Serve twice, side by side", "serving: Serve of a listener that is closed", "serving: ServeTLS without a certificate",
		"serving: a listener's error ends Serve", "serving: a listener's temporary error is logged, and it goes on",
	} {
		m[name] = "a lifecycle.Server has methods and errors of its own: nethttp.Server has http.Server's"
	}
	return m
}()

// knownRead is where it differs, as well, if fasthttp reads the request: one on a
// connection that has asked for nothing but native routes before. That a refusal has a
// Date and a Content-Length then goes without saying.
var knownRead = map[string]string{
	"targets: opaque":                        "fasthttp wants a path, or a scheme and an authority: a 400",
	"targets: only an asterisk":              "fasthttp has an asterisk for OPTIONS alone: a 400",
	"request line: an empty line before":     "fasthttp skips it, as RFC 9112 has it, section 2.2",
	"request line: two empty lines before":   "fasthttp skips them",
	"request line: the preface of HTTP/2":    "fasthttp refuses it: a 400",
	"request header: an empty Host":          "fasthttp wants a name in it: a 400",
	"request header: Host with an escape":    "fasthttp wants none: a 400",
	"framing: two equal Content-Lengths":     "fasthttp wants one: a 400",
	"framing: Transfer-Encoding in HTTP/1.0": "fasthttp refuses it, where net/http takes no notice of it: a 400",
}

// replaced is a nethttp.Server where an http.Server was.
func replaced(s *http.Server) server {
	r := &nethttp.Server{
		Handler: s.Handler, DisableGeneralOptionsHandler: s.DisableGeneralOptionsHandler, TLSConfig: s.TLSConfig,
		ReadTimeout: s.ReadTimeout, ReadHeaderTimeout: s.ReadHeaderTimeout, WriteTimeout: s.WriteTimeout, IdleTimeout: s.IdleTimeout,
		MaxHeaderBytes: s.MaxHeaderBytes, TLSNextProto: s.TLSNextProto, ConnState: s.ConnState, ErrorLog: s.ErrorLog,
		BaseContext: s.BaseContext, ConnContext: s.ConnContext, HTTP2: s.HTTP2, Protocols: s.Protocols,
	}
	r.Life.LastCall = 50 * time.Millisecond
	return r
}

// two is a server with both engines, by Mount: it has no more of an http.Server's methods
// than its life has.
type two struct {
	*lifecycle.Server
	http *http.Server
	once *atomic.Bool // for the one Run
}

// mounted gives new connections to the http.Server at once if fresh is set.
func mounted(s *http.Server, native fasthttp.RequestHandler, fresh bool) server {
	life := &lifecycle.Server{
		HTTP: &fasthttp.Server{
			Handler: native, TLSConfig: s.TLSConfig, NoDefaultServerHeader: true, Logger: s.ErrorLog,
			ReadTimeout: max(s.ReadTimeout, s.ReadHeaderTimeout), IdleTimeout: s.IdleTimeout, WriteTimeout: s.WriteTimeout,
			ReadBufferSize: 1 << 20,
		},
		LastCall: 50 * time.Millisecond,
	}
	if s.MaxHeaderBytes > 0 {
		life.HTTP.ReadBufferSize = s.MaxHeaderBytes + 4096
	}
	h := s.Handler
	if h == nil {
		h = http.DefaultServeMux
	}
	nethttp.Mount{HTTP: s, Fresh: fresh, Route: func(_, target string) http.Handler {
		if target == nativePath {
			return nil
		}
		return h
	}}.On(life)
	return two{life, s, new(atomic.Bool)}
}

func (t two) Serve(l net.Listener) error {
	if t.once.Swap(true) {
		return errors.New("there is one Run")
	}
	t.Listeners = []net.Listener{l}
	if err := t.Run(context.Background()); err != nil {
		return err
	}
	return http.ErrServerClosed
}

func (t two) ServeTLS(l net.Listener, _, _ string) error {
	return t.Serve(tls.NewListener(l, t.HTTP.TLSConfig))
}

func (t two) Shutdown(ctx context.Context) error {
	if err := t.ShutdownWithContext(ctx); err != nil && !errors.Is(err, lifecycle.ErrDrainTimeout) {
		return err
	}
	return nil
}

func (t two) SetKeepAlivesEnabled(v bool) { t.http.SetKeepAlivesEnabled(v) }

func (t two) RegisterOnShutdown(f func()) {
	go func() { <-t.Draining(); f() }()
}
