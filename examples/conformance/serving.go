package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"time"
)

// stating is a behaviour of ConnState, on the script's connection.
func stating(name string, serve func(x *run, w http.ResponseWriter, r *http.Request), script func(x *run, c *conn)) behaviour {
	return behaviour{name: "ConnState: " + name, server: states, plain: true, serve: serve, script: func(x *run, c *conn) {
		script(x, c)
		x.wait("closed")
	}}
}

// kinds notes what connections are to hooks.
func kinds(x *run, s *http.Server) {
	s.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
		x.sawf("%T", nc)
		return ctx
	}
	s.ConnState = func(nc net.Conn, st http.ConnState) {
		if st == http.StateActive {
			x.sawf("active: %T", nc)
		}
	}
}

// left is a client that goes.
func left(c *conn) {
	_ = c.Close()
	c.over = "left"
}

// panicking is a behaviour of a handler that panics: what is logged.
func panicking(name string, v any) behaviour {
	return behaviour{name: "a panic of " + name, send: get11, logs: true, serve: func(*run, http.ResponseWriter, *http.Request) { panic(v) }}
}

type stringer struct{}

func (stringer) String() string { return "a stringer" }

var serving = []behaviour{
	stating("a panic", func(*run, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, func(_ *run, c *conn) {
		c.send(get11)
		c.rest()
	}),
	stating("HTTP/1.0", path, func(_ *run, c *conn) {
		c.send(get10)
		c.rest()
	}),
	stating("HTTP/1.0, kept alive", path, func(x *run, c *conn) {
		c.send(request("GET / HTTP/1.0", "Connection: keep-alive"))
		c.response("GET")
		x.wait("idle")
		left(c)
	}),
	stating("a header over its limit", path, func(_ *run, c *conn) {
		c.send("GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: "+strings.Repeat("b", 8000)+"\r\n", 140))
		c.rest()
	}),
	stating("a client that closes its side within a body", dumpFraming, func(_ *run, c *conn) {
		c.send(post("a", "Content-Length: 3"))
		c.closeWrite()
		c.rest()
	}),
	stating("a client that goes while its handler runs", func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.signal("running")
		gone(x, r)
	}, func(x *run, c *conn) {
		c.send(get11)
		x.wait("running")
		left(c)
		x.awaitHandlers()
	}),
	stating("a body that is not read", unread, func(x *run, c *conn) {
		c.send(post("abc", "Content-Length: 3"))
		c.response("POST")
		x.wait("idle")
		left(c)
	}),
	stating("a large body that is not read", unread, func(_ *run, c *conn) {
		c.send(post(strings.Repeat("a", 300_000), "Content-Length: 300000"))
		c.rest()
	}),
	stating("an Expect that is refused", func(_ *run, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(417) }, func(_ *run, c *conn) {
		c.send(post("", "Content-Length: 3", "Expect: 100-continue"))
		c.response("POST")
		left(c)
	}),
	stating("an Expect that is not known", path, func(_ *run, c *conn) {
		c.send(header("Expect: b"))
		c.rest()
	}),
	stating("OPTIONS *", path, func(x *run, c *conn) {
		c.send(line("OPTIONS * HTTP/1.1"))
		c.response("OPTIONS")
		x.wait("idle")
		left(c)
	}),
	stating("a stream", func(x *run, w http.ResponseWriter, r *http.Request) {
		flush(x, w)
		path(x, w, r)
	}, func(x *run, c *conn) {
		c.get("/a")
		x.wait("idle")
		left(c)
	}),
	stating("too little of Content-Length", func(_ *run, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "a")
	}, func(_ *run, c *conn) {
		c.send(get11)
		c.rest()
	}),
	stating("Shutdown of what is idle", path, func(x *run, c *conn) {
		c.get("/a")
		x.wait("idle")
		x.notef("%v", x.shutdown(limit))
		c.rest()
	}),
	stating("Close of what is idle", path, func(x *run, c *conn) {
		c.get("/a")
		x.wait("idle")
		x.notef("%v", x.server.Close())
		c.rest()
	}),
	stating("SetKeepAlivesEnabled(false) with one that is idle", path, func(x *run, c *conn) {
		c.get("/a")
		x.wait("idle")
		x.server.SetKeepAlivesEnabled(false)
		c.rest()
	}),
	{name: "ConnState: two connections", plain: true, server: states, serve: path, script: func(x *run, c *conn) {
		c.send(closing())
		c.rest()
		x.wait("closed")
		c = x.dial()
		c.send(closing())
		c.rest()
		x.wait("closed")
	}},
	{name: "ConnState: the connection is that of ConnContext", plain: true, server: func(x *run, s *http.Server) {
		var from net.Conn
		s.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
			from = nc
			return ctx
		}
		s.ConnState = func(nc net.Conn, st http.ConnState) {
			if st == http.StateActive {
				x.sawf("%v", nc == from)
			}
		}
	}, serve: path, script: func(_ *run, c *conn) {
		c.get("/a")
		c.get("/b")
	}},
	{name: "ConnContext and ConnState: what a TCP connection is", plain: true, server: kinds, serve: path, script: func(_ *run, c *conn) { c.get("/a") }},
	{name: "ConnContext and ConnState: what a TLS connection is", plain: true, server: func(x *run, s *http.Server) {
		withTLS(x, s)
		kinds(x, s)
	}, serve: path, script: overTLS(func(_ *run, c *conn) { c.get("/a") })},
	{name: "ConnState: of TLS", plain: true, server: func(x *run, s *http.Server) {
		withTLS(x, s)
		states(x, s)
	}, serve: path, script: overTLS(func(x *run, c *conn) {
		c.get("/a")
		x.wait("idle")
		left(c)
		x.wait("closed")
	})},
	{name: "ConnState: of TLS, and a plain request", plain: true, server: func(x *run, s *http.Server) {
		withTLS(x, s)
		states(x, s)
	}, serve: path, script: func(x *run, c *conn) {
		c.send(get11)
		c.rest()
		x.wait("closed")
	}},

	panicking("an error", errors.New("an error")),
	panicking("a number", 42),
	panicking("a Stringer", stringer{}),
	panicking("a pointer to nothing", (*error)(nil)),
	panicking("lines", "one\ntwo"),
	panicking("a wrapped ErrAbortHandler", fmt.Errorf("wrapped: %w", http.ErrAbortHandler)),
	{name: "a panic of the runtime", send: get11, logs: true, serve: func(_ *run, _ http.ResponseWriter, r *http.Request) {
		var m map[string]int
		m[r.Method] = 1 //nolint:staticcheck // that is the point
	}},
	{name: "a panic, after a body of 10 kB", send: get11, logs: true, serve: func(_ *run, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("a", 10_000))
		panic("late")
	}},
	{name: "a panic within a deferred function", send: get11, logs: true, serve: func(*run, http.ResponseWriter, *http.Request) {
		defer func() { panic("second") }()
		panic("first")
	}},
	{name: "a panic with a body to be read", send: post(strings.Repeat("a", 10_000), "Content-Length: 10000"), logs: true, serve: func(*run, http.ResponseWriter, *http.Request) { panic("boom") }},
	{name: "Goexit after a flush", send: get11, logs: true, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "a")
		flush(x, w)
		runtime.Goexit()
	}},
	{name: "a panic ends the context", logs: true, send: get11, serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		context.AfterFunc(r.Context(), func() { x.sawf("%v", r.Context().Err()); x.signal("ended") })
		panic("boom")
	}, script: func(x *run, c *conn) {
		c.send(get11)
		c.rest()
		x.wait("ended")
	}},
	{name: "a panic of ConnContext's context: a value is there", server: func(_ *run, s *http.Server) {
		s.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
			return context.WithValue(ctx, key{}, nc.RemoteAddr().String())
		}
	}, send: get11, serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.sawf("%v", r.Context().Value(key{}) == r.RemoteAddr)
		addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		x.sawf("%v", ok && addr.String() == x.addr)
	}},
	{name: "a ConnContext that drops what was there", logs: true, plain: true, server: func(_ *run, s *http.Server) {
		s.ConnContext = func(context.Context, net.Conn) context.Context { return context.TODO() }
	}, send: get11, serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		_, has := r.Context().Value(http.ServerContextKey).(*http.Server)
		x.sawf("%v %v", r.Context().Err(), has)
	}},
	{name: "BaseContext gets the listener", plain: true, server: func(x *run, s *http.Server) {
		s.BaseContext = func(l net.Listener) context.Context {
			return context.WithValue(context.Background(), key{}, l.Addr().String())
		}
	}, serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.sawf("%v", r.Context().Value(key{}) == x.addr)
	}, send: get11},
	{name: "context values of the server after a hijack", send: get11, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		_, has := r.Context().Value(http.ServerContextKey).(*http.Server)
		x.sawf("%v %v", has, r.Context().Err())
		_ = c.Close()
	}},
	{name: "a context of a hijacked request ends when its handler has returned", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		context.AfterFunc(r.Context(), func() { x.signal("ended"); _ = c.Close() })
	}, script: func(x *run, c *conn) {
		c.send(get11)
		x.wait("ended")
		c.rest()
	}},

	{name: "TLS: a handshake of nonsense is logged", plain: true, logs: true, server: withTLS, serve: path, script: func(x *run, c *conn) {
		c.send("\x16\x03\x01\x00\x05hello, and no more")
		c.rest()
		x.wait("logged")
	}},
	{name: "TLS: a client that goes before its handshake is logged", plain: true, logs: true, server: withTLS, serve: path, script: func(x *run, c *conn) {
		left(c)
		x.wait("logged")
	}},
	{name: "TLS: a plain request is logged and answered", plain: true, logs: true, server: withTLS, serve: path, script: func(x *run, c *conn) {
		c.send(get11)
		c.rest()
		x.wait("logged")
	}},
	{name: "TLS: a plain POST is answered", plain: true, logs: true, server: withTLS, serve: path, script: func(x *run, c *conn) {
		c.send(post("abc", "Content-Length: 3"))
		c.rest()
		x.wait("logged")
	}},
	{name: "TLS: a plain request of few bytes", plain: true, logs: true, server: withTLS, serve: path, script: func(x *run, c *conn) {
		c.send("GET /")
		c.rest()
		x.wait("logged")
	}},
	{name: "TLS: an old version is refused", plain: true, logs: true, server: withTLS, serve: path, script: func(x *run, c *conn) {
		tc := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}) //nolint:gosec // that is the point
		_ = tc.SetDeadline(time.Now().Add(limit))
		x.notef("%v", tc.Handshake())
		left(c)
		x.wait("logged")
	}},
	{name: "TLS: a protocol that is not offered is refused", plain: true, logs: true, server: withTLS, serve: path, script: func(x *run, c *conn) {
		tc := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"spdy/9"}}) //nolint:gosec // our own
		_ = tc.SetDeadline(time.Now().Add(limit))
		x.notef("%v", tc.Handshake())
		left(c)
		x.wait("logged")
	}},
	{name: "TLS: another protocol that is agreed on", plain: true, server: func(x *run, s *http.Server) {
		withTLS(x, s)
		s.TLSConfig.NextProtos = []string{"a", "http/1.1"}
	}, serve: path, script: func(x *run, c *conn) {
		x.conns = nil
		c = x.use(tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"a"}})) //nolint:gosec // our own, on loopback
		c.send(get11)
		c.rest()
	}},
	{name: "TLS: without ALPN", plain: true, server: withTLS, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		x.sawf("%s %q %v %v", r.Proto, r.TLS.NegotiatedProtocol, r.TLS.HandshakeComplete, r.TLS.DidResume)
		_, _ = io.WriteString(w, "a")
	}, script: func(x *run, c *conn) {
		x.conns = nil
		c = x.use(tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})) //nolint:gosec // our own
		c.get("/a")
		c.get("/b")
	}},
	{name: "TLS: the name asked for is seen", plain: true, server: withTLS, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		x.sawf("%q %v %v %v", r.TLS.ServerName, r.TLS.Version == tls.VersionTLS12, len(r.TLS.PeerCertificates), r.URL)
		_, _ = io.WriteString(w, "a")
	}, script: func(x *run, c *conn) {
		x.conns = nil
		c = x.use(tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, ServerName: "example.com", MaxVersion: tls.VersionTLS12})) //nolint:gosec // our own
		c.get("/a")
	}},
	{name: "TLS: a certificate of the client is seen", plain: true, server: func(x *run, s *http.Server) {
		withTLS(x, s)
		s.TLSConfig.ClientAuth = tls.RequestClientCert
	}, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		x.sawf("%v", len(r.TLS.PeerCertificates))
		_, _ = io.WriteString(w, "a")
	}, script: func(x *run, c *conn) {
		x.conns = nil
		c = x.use(tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, Certificates: certificates()})) //nolint:gosec // our own
		c.get("/a")
	}},
	{name: "TLS: a certificate of the client that is wanted and not there", plain: true, logs: true, server: func(x *run, s *http.Server) {
		withTLS(x, s)
		s.TLSConfig.ClientAuth = tls.RequireAnyClientCert
	}, serve: path, script: func(x *run, c *conn) {
		tc := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}) //nolint:gosec // our own
		_ = tc.SetDeadline(time.Now().Add(limit))
		x.notef("%v", tc.Handshake() != nil)
		left(c)
		x.wait("logged")
	}},
	{name: "TLS: GetConfigForClient", plain: true, server: func(x *run, s *http.Server) {
		of := certificates()
		s.TLSConfig = &tls.Config{Certificates: of, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			x.sawf("%q", h.ServerName)
			return &tls.Config{Certificates: of, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}, nil
		}}
	}, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		x.sawf("%s %q", r.Proto, r.TLS.NegotiatedProtocol)
		_, _ = io.WriteString(w, "a")
	}, script: func(x *run, c *conn) {
		x.conns = nil
		c = x.use(tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, ServerName: "a.b", NextProtos: []string{"h2", "http/1.1"}})) //nolint:gosec // our own
		c.get("/a")
	}},
	{name: "TLS: NextProtos of the server alone", plain: true, server: func(x *run, s *http.Server) {
		withTLS(x, s)
		s.TLSConfig.NextProtos = []string{"http/1.1"}
	}, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		x.sawf("%s %q", r.Proto, r.TLS.NegotiatedProtocol)
	}, script: func(x *run, c *conn) {
		x.conns = nil
		c = x.use(tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})) //nolint:gosec // our own
		c.get("/a")
	}},
	{name: "TLS: Connection: close sends a close_notify", plain: true, server: withTLS, serve: path, script: overTLS(func(x *run, c *conn) {
		c.send(closing())
		c.rest()
		x.notef("%v", c.err)
	})},
	{name: "TLS: a panic", plain: true, logs: true, server: withTLS, serve: func(*run, http.ResponseWriter, *http.Request) { panic("boom") }, script: overTLS(func(x *run, c *conn) {
		c.send(get11)
		c.rest()
		x.notef("%v", c.err)
	})},
	{name: "TLS: a pipeline", plain: true, server: withTLS, serve: path, script: overTLS(func(_ *run, c *conn) {
		c.send(target("/a") + target("/b") + closing())
		c.rest()
	})},
	{name: "TLS: a malformed request", plain: true, logs: true, server: withTLS, serve: path, script: overTLS(func(_ *run, c *conn) {
		c.send("malformed\r\n\r\n")
		c.rest()
	})},
	{name: "TLS: a client that closes its side", plain: true, server: withTLS, serve: path, script: overTLS(func(_ *run, c *conn) {
		c.send(target("/a") + target("/b"))
		c.closeWrite()
		c.rest()
	})},
	{name: "TLS: 1 MB each way", plain: true, server: withTLS, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(w, r.Body)
		x.sawf("%d %v", n, err)
	}, script: overTLS(func(_ *run, c *conn) {
		c.send(post("", "Content-Length: 1048576", "Connection: close"))
		go func() {
			for range 16 {
				_, _ = c.Write(block)
			}
		}()
		c.rest()
	})},

	{name: "Serve twice, side by side", plain: true, serve: path, script: func(x *run, c *conn) {
		c.get("/a")
		if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
			over := make(chan error, 1)
			go func() { over <- x.server.Serve(l) }()
			nc, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				x.notef("%v", err)
				return
			}
			c2 := x.use(nc)
			c2.get("/b")
			x.notef("%v", x.shutdown(limit))
			select {
			case err := <-over:
				x.notef("%v", errors.Is(err, http.ErrServerClosed))
			case <-time.After(x.patience()):
				x.notef("the second Serve does not return")
			}
			c2.rest()
		}
		c.rest()
	}},
	{name: "Shutdown twice at once", plain: true, serve: busy, script: func(x *run, c *conn) {
		onShutdown(x)
		c.send(target("/busy"))
		x.wait("running")
		over := make(chan error, 2)
		for range 2 {
			go func() { over <- x.shutdown(limit) }()
		}
		x.wait("shutting down")
		x.signal("go on")
		c.rest()
		x.notef("%v %v", <-over, <-over)
	}},
	{name: "Close, then Shutdown", plain: true, serve: path, script: func(x *run, c *conn) {
		c.get("/a")
		x.notef("%v", x.server.Close())
		x.notef("%v", x.shutdown(limit))
		x.notef("%v", x.server.Close())
		c.rest()
		x.noteServe()
	}},
	{name: "Shutdown by a handler, which does not wait", plain: true, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		over := make(chan error, 1)
		x.server.RegisterOnShutdown(func() { x.signal("begun") })
		go func() { over <- x.shutdown(limit); x.signal("over") }()
		x.wait("begun")
		_, _ = io.WriteString(w, "a")
	}, script: func(x *run, c *conn) {
		c.send(get11)
		c.rest()
		x.wait("over")
		x.noteServe()
	}},
	{name: "Close by a handler", plain: true, serve: func(x *run, _ http.ResponseWriter, _ *http.Request) {
		x.sawf("%v", x.server.Close())
	}, script: func(x *run, c *conn) {
		c.send(get11)
		c.rest()
		x.noteServe()
	}},
	{name: "Shutdown with a hijacked connection", plain: true, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		x.server.RegisterOnShutdown(func() {
			_, _ = io.WriteString(c, "bye")
			_ = c.Close()
		})
		x.signal("hijacked")
	}, script: func(x *run, c *conn) {
		c.send(upgrade)
		x.wait("hijacked")
		x.notef("%v", x.shutdown(limit))
		c.rest()
	}},
	{name: "Shutdown with a pipeline", plain: true, serve: busy, script: func(x *run, c *conn) {
		onShutdown(x)
		c.send(target("/busy") + target("/b"))
		x.wait("running")
		over := make(chan error, 1)
		go func() { over <- x.shutdown(limit) }()
		x.wait("shutting down")
		x.signal("go on")
		c.response("GET")
		c.rest()
		x.notef("%v", <-over)
	}},
	{name: "Shutdown with a context that has ended", plain: true, serve: path, script: func(x *run, c *conn) {
		c.get("/a")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		err := x.server.Shutdown(ctx)
		x.notef("%v", err == nil || errors.Is(err, context.Canceled))
		_ = x.server.Close()
		c.rest()
	}},
	{name: "Serve of a listener that is closed", plain: true, serve: path, script: func(x *run, c *conn) {
		left(c)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			x.notef("%v", err)
			return
		}
		_ = l.Close()
		over := make(chan error, 1)
		go func() { over <- x.server.Serve(l) }()
		select {
		case err := <-over:
			x.notef("%v", errors.Is(err, net.ErrClosed))
		case <-time.After(x.patience()):
			x.notef("it does not return")
		}
	}},
	{name: "ServeTLS without a certificate", plain: true, serve: path, script: func(x *run, c *conn) {
		left(c)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			x.notef("%v", err)
			return
		}
		over := make(chan error, 1)
		go func() { over <- x.server.ServeTLS(l, "", "") }()
		select {
		case err := <-over:
			x.notef("%v", err)
		case <-time.After(x.patience()):
			x.notef("it does not return")
		}
		_ = l.Close()
	}},
	{name: "a handler that is nil is the DefaultServeMux", plain: true, server: func(_ *run, s *http.Server) { s.Handler = nil }, script: func(_ *run, c *conn) {
		c.get("/a-path-that-nobody-has")
	}},
	{name: "a listener's error ends Serve", plain: true, serve: path, script: func(x *run, c *conn) {
		c.get("/a")
		over := make(chan error, 1)
		go func() { over <- x.server.Serve(failing{}) }()
		select {
		case err := <-over:
			x.notef("%v", err)
		case <-time.After(x.patience()):
			x.notef("it does not return")
		}
		c.get("/b")
	}},
	{name: "a listener's temporary error is logged, and it goes on", plain: true, logs: true, serve: path, script: func(x *run, c *conn) {
		left(c)
		over := make(chan error, 1)
		go func() { over <- x.server.Serve(&faltering{x: x}) }()
		select {
		case err := <-over:
			x.notef("%v", err)
		case <-time.After(x.patience()):
			x.notef("it does not return")
		}
	}},
}

// failing is a listener that fails.
type failing struct{}

func (failing) Accept() (net.Conn, error) { return nil, errors.New("a listener's error") }
func (failing) Close() error              { return nil }
func (failing) Addr() net.Addr            { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// faltering fails twice in a way that passes, and then for good.
type faltering struct {
	failing
	x *run
	n int
}

type temporary struct{}

func (temporary) Error() string   { return "a moment, please" }
func (temporary) Timeout() bool   { return false }
func (temporary) Temporary() bool { return true }

func (f *faltering) Accept() (net.Conn, error) {
	if f.n++; f.n <= 2 {
		return nil, temporary{}
	}
	return f.failing.Accept()
}
