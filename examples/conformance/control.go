package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing/fstest"
	"time"
)

// hijacked is a behaviour of a handler that takes its connection. Its errors are
// noted.
func hijacked(name, send string, h func(x *run, c net.Conn, b *bufio.ReadWriter), script func(x *run, c *conn)) behaviour {
	return behaviour{name: name, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		c, b, err := http.NewResponseController(w).Hijack()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		defer func() { _ = c.Close() }()
		h(x, c, b)
	}, script: func(x *run, c *conn) {
		c.send(send)
		if script != nil {
			script(x, c)
		}
		c.rest()
	}}
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"

var upgrade = header("Connection: Upgrade", "Upgrade: x")

var hijack = []behaviour{
	hijacked("a response of one's own", get11, func(_ *run, c net.Conn, _ *bufio.ReadWriter) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 Mine\r\nContent-Length: 1\r\n\r\na")
	}, nil),
	hijacked("a response through the buffer", get11, func(x *run, _ net.Conn, b *bufio.ReadWriter) {
		_, _ = b.WriteString("not HTTP at all")
		x.sawf("%v", b.Flush())
	}, nil),
	hijacked("nothing is sent", get11, func(*run, net.Conn, *bufio.ReadWriter) {}, nil),
	hijacked("bytes that came with the request are in the buffer", upgrade+"first", func(x *run, c net.Conn, b *bufio.ReadWriter) {
		got := make([]byte, 5)
		_, err := io.ReadFull(b, got)
		x.sawf("%q %v", got, err)
		_, _ = io.WriteString(c, switching)
	}, nil),
	hijacked("a request that came with the request is in the buffer", upgrade+get11, func(x *run, c net.Conn, b *bufio.ReadWriter) {
		r, err := http.ReadRequest(b.Reader)
		x.sawf("%v %v", err, err == nil && r.URL.Path == "/")
		_, _ = io.WriteString(c, switching)
	}, nil),
	hijacked("bytes that come later", upgrade, func(x *run, c net.Conn, b *bufio.ReadWriter) {
		_, _ = io.WriteString(c, switching)
		for {
			s, err := b.ReadString('\n')
			if err != nil {
				x.sawf("%q %v", s, err)
				return
			}
			_, _ = io.WriteString(c, "echo "+s)
		}
	}, func(_ *run, c *conn) {
		c.until("\r\n\r\n")
		for i := range 3 {
			c.write(fmt.Sprintf("%d\n", i))
			c.until(fmt.Sprintf("echo %d\n", i))
		}
		c.closeWrite()
	}),
	hijacked("1 MB each way", upgrade, func(x *run, c net.Conn, b *bufio.ReadWriter) {
		n, err := io.Copy(c, io.LimitReader(b, 1<<20))
		x.sawf("%d %v", n, err)
	}, func(_ *run, c *conn) {
		go func() {
			for range 16 {
				_, _ = c.Write(block)
			}
		}()
	}),
	hijacked("in HTTP/1.0", get10, func(_ *run, c net.Conn, _ *bufio.ReadWriter) {
		_, _ = io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\na")
	}, nil),
	hijacked("a body is in the buffer", post("abc", "Content-Length: 3"), func(x *run, c net.Conn, b *bufio.ReadWriter) {
		got := make([]byte, 3)
		_, err := io.ReadFull(b, got)
		x.sawf("%q %v", got, err)
	}, nil),
	hijacked("the connection is what it was", get11, func(x *run, c net.Conn, b *bufio.ReadWriter) {
		x.sawf("%v %v", c.RemoteAddr().Network(), c.LocalAddr().String() == x.addr)
		_, closes := c.(interface{ CloseWrite() error })
		_, reads := c.(io.ReaderFrom)
		_, raw := c.(syscall.Conn)
		x.sawf("CloseWrite %v, ReadFrom %v, syscall.Conn %v", closes, reads, raw)
	}, nil),
	hijacked("it has no deadline", get11, func(x *run, c net.Conn, b *bufio.ReadWriter) {
		x.signal("hijacked")
		s, err := b.ReadString('\n')
		x.sawf("%q %v", s, err)
	}, func(x *run, c *conn) {
		x.wait("hijacked")
		time.Sleep(30 * time.Millisecond) // longer than all timeouts
		c.write("later\n")
	}),
	hijacked("deadlines are kept", get11, func(x *run, c net.Conn, b *bufio.ReadWriter) {
		_ = c.SetReadDeadline(time.Now().Add(-time.Second))
		_, err := c.Read(make([]byte, 1))
		x.sawf("%v", errors.Is(err, os.ErrDeadlineExceeded))
		_ = c.SetReadDeadline(time.Time{})
		x.signal("again")
		s, err := b.ReadString('\n')
		x.sawf("%q %v", s, err)
	}, func(x *run, c *conn) {
		x.wait("again")
		c.write("a\n")
	}),
	hijacked("a tunnel by CONNECT", request("CONNECT a:1 HTTP/1.1", "Host: a:1"), func(x *run, c net.Conn, b *bufio.ReadWriter) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 Connected\r\n\r\n")
		s, err := b.ReadString('\n')
		x.sawf("%q %v", s, err)
		_, _ = io.WriteString(c, "through\n")
	}, func(_ *run, c *conn) {
		c.until("\r\n\r\n")
		c.write("tunnel\n")
		c.until("through\n")
	}),
	hijacked("a half-close", upgrade, func(x *run, c net.Conn, b *bufio.ReadWriter) {
		if hc, ok := c.(interface{ CloseWrite() error }); ok {
			_, _ = io.WriteString(c, "bye")
			_ = hc.CloseWrite()
		}
		s, err := b.ReadString('\n')
		x.sawf("%q %v", s, err)
	}, func(_ *run, c *conn) {
		c.rest()
		c.write("heard\n")
		c.closeWrite()
	}),
	{name: "it lives on when the handler has returned", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		go func() {
			defer func() { _ = c.Close() }()
			x.wait("returned")
			_, _ = io.WriteString(c, "late")
		}()
	}, script: func(x *run, c *conn) {
		c.send(get11)
		x.awaitHandlers()
		c.quiet()
		x.signal("returned")
		c.rest()
	}},
	{name: "twice", send: get11, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		c, _, err := rc.Hijack()
		_, _, err2 := rc.Hijack()
		x.sawf("%v, %v %v", err, err2, errors.Is(err2, http.ErrHijacked))
		if c != nil {
			_ = c.Close()
		}
	}},
	{name: "the writer is dead after it", send: get11, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		w.WriteHeader(500)
		n, err := io.WriteString(w, "a")
		x.sawf("%d %v %v", n, err, errors.Is(err, http.ErrHijacked))
		_ = c.Close()
	}, logs: true},
	{name: "after a write that is not flushed", send: get11, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "a")
		c, b, err := http.NewResponseController(w).Hijack()
		x.sawf("%v", err)
		if err == nil {
			_, _ = b.WriteString("b")
			_ = b.Flush()
			_ = c.Close()
		}
	}},
	{name: "after a flush", send: get11, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "a")
		flush(x, w)
		c, _, err := http.NewResponseController(w).Hijack()
		x.sawf("%v", err)
		if err == nil {
			_, _ = io.WriteString(c, "b")
			_ = c.Close()
		}
	}},
	{name: "after a status", send: get11, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusSwitchingProtocols)
		c, _, err := http.NewResponseController(w).Hijack()
		x.sawf("%v", err)
		if err == nil {
			_, _ = io.WriteString(c, "b")
			_ = c.Close()
		}
	}},
	{name: "after the body was read", send: post("abc", "Content-Length: 3"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		dumpBody(x, r)
		c, _, err := http.NewResponseController(w).Hijack()
		x.sawf("%v", err)
		if err == nil {
			_, _ = io.WriteString(c, "b")
			_ = c.Close()
		}
	}},
	{name: "a panic after it", logs: true, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(c, "b")
			go func() { x.wait("logged"); _ = c.Close() }()
		}
		panic("after a hijack")
	}, script: func(_ *run, c *conn) {
		c.send(get11)
		c.rest()
	}},
	{name: "the request's context lives on", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		x.sawf("%v %v", err, r.Context().Err())
		if err == nil {
			_, _ = io.WriteString(c, "b")
			_ = c.Close()
		}
	}, send: get11},
	{name: "after other requests on the connection", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/hijack" {
			return
		}
		c, b, err := http.NewResponseController(w).Hijack()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		s, err := b.ReadString('\n')
		x.sawf("%q %v", s, err)
		_, _ = io.WriteString(c, "b")
		_ = c.Close()
	}, script: func(_ *run, c *conn) {
		c.get("/a")
		c.get("/b")
		c.send(request("GET /hijack HTTP/1.1", "Host: x") + "raw\n")
		c.rest()
	}},
	{name: "over TLS", server: withTLS, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		x.sawf("%v", err)
		if err == nil {
			_, isTLS := c.(*tls.Conn)
			x.sawf("*tls.Conn %v", isTLS)
			_, _ = io.WriteString(c, "b")
			_ = c.Close()
		}
	}, script: overTLS(func(_ *run, c *conn) {
		c.send(get11)
		c.rest()
	})},
}

// withTLS has the server serve TLS.
func withTLS(_ *run, s *http.Server) { s.TLSConfig = &tls.Config{Certificates: certificates()} }

// certificates are those of httptest.
func certificates() []tls.Certificate {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	return s.TLS.Certificates
}

// overTLS puts a TLS client over the script's connection.
func overTLS(script func(x *run, c *conn)) func(x *run, c *conn) {
	return func(x *run, c *conn) {
		x.conns = nil
		script(x, x.use(tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}))) //nolint:gosec // our own, on loopback
	}
}

// gone waits until the request's context has ended.
func gone(x *run, r *http.Request) {
	select {
	case <-r.Context().Done():
		x.sawf("context: %v, cause: %v", r.Context().Err(), context.Cause(r.Context()))
	case <-time.After(x.patience()):
		x.sawf("the context does not end")
		x.impatient.Store(true)
	}
}

type key struct{}

var control = []behaviour{
	{name: "ErrAbortHandler before all else", send: get11, logs: true, serve: func(*run, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	{name: "ErrAbortHandler after a write", send: get11, logs: true, serve: func(_ *run, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "a")
		panic(http.ErrAbortHandler)
	}},
	{name: "ErrAbortHandler after a flush cuts the chunks", send: get11, logs: true, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "a")
		flush(x, w)
		panic(http.ErrAbortHandler)
	}},
	{name: "ErrAbortHandler within Content-Length", send: get11, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "abc")
		flush(x, w)
		panic(http.ErrAbortHandler)
	}},
	{name: "a panic before all else", send: get11, logs: true, serve: func(*run, http.ResponseWriter, *http.Request) { panic("boom") }},
	{name: "a panic after a write", send: get11, logs: true, serve: func(_ *run, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "a")
		panic("boom")
	}},
	{name: "a panic after a flush", send: get11, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "a")
		flush(x, w)
		panic("boom")
	}},
	{name: "a panic with an error", send: get11, logs: true, serve: func(*run, http.ResponseWriter, *http.Request) { panic(fmt.Errorf("boom: %w", io.EOF)) }},
	{name: "a panic of nil", send: get11, logs: true, serve: func(*run, http.ResponseWriter, *http.Request) { panic(nil) }},
	{name: "a panic that the handler recovers from", send: get11, serve: func(_ *run, w http.ResponseWriter, _ *http.Request) {
		defer func() { http.Error(w, fmt.Sprint(recover()), 500) }()
		panic("boom")
	}},
	{name: "Goexit", send: get11, serve: func(*run, http.ResponseWriter, *http.Request) { runtime.Goexit() }},
	{name: "a panic ends its own connection alone", serve: func(_ *run, _ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic("boom")
		}
	}, script: func(x *run, c *conn) {
		c.get("/a")
		other := x.dial()
		other.send(target("/panic"))
		other.rest()
		c.get("/b")
		x.dial().get("/c")
	}},
	{name: "a context ends when its client goes", serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.signal("running")
		gone(x, r)
	}, script: func(x *run, c *conn) {
		c.send(get11)
		x.wait("running")
		_ = c.Close()
		c.over = "left"
	}},
	{name: "a context ends when its client closes its side", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		x.signal("running")
		gone(x, r)
		_, _ = io.WriteString(w, "still answered")
	}, script: func(x *run, c *conn) {
		c.send(get11)
		x.wait("running")
		c.closeWrite()
		c.rest()
	}},
	{name: "a context ends when its client goes, after its body was read", serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		dumpBody(x, r)
		x.signal("running")
		gone(x, r)
	}, script: func(x *run, c *conn) {
		c.send(post("abc", "Content-Length: 3"))
		x.wait("running")
		_ = c.Close()
		c.over = "left"
	}},
	{name: "a context ends when its client goes, on a later request", serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			x.signal("running")
			gone(x, r)
		}
	}, script: func(x *run, c *conn) {
		c.get("/a")
		c.get("/b")
		c.send(target("/wait"))
		x.wait("running")
		_ = c.Close()
		c.over = "left"
	}},
	{name: "a context does not end when the next request comes", serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/first" {
			x.signal("running")
			x.wait("pipelined")
			select {
			case <-r.Context().Done():
				x.sawf("it ends")
			case <-time.After(20 * time.Millisecond):
				x.sawf("it does not")
			}
		}
	}, script: func(x *run, c *conn) {
		c.send(target("/first"))
		x.wait("running")
		c.send(target("/second"))
		x.signal("pipelined")
		c.response("GET")
		c.response("GET")
	}},
	{name: "a context ends when its handler has returned", serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		go func() {
			gone(x, r)
			x.signal("ended")
		}()
	}, script: func(x *run, c *conn) {
		c.get("/")
		x.wait("ended")
	}},
	{name: "a context has no deadline", send: get11, serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		_, ok := r.Context().Deadline()
		x.sawf("%v %v", ok, r.Context().Err())
	}},
	{name: "CloseNotify", serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		n, ok := w.(http.CloseNotifier) //nolint:staticcheck // old handlers use it
		if !ok {
			x.sawf("none")
			return
		}
		ch := n.CloseNotify()
		x.signal("running")
		select {
		case <-ch:
			x.sawf("notified")
		case <-time.After(limit):
			x.sawf("not notified")
		}
	}, script: func(x *run, c *conn) {
		c.send(get11)
		x.wait("running")
		_ = c.Close()
		c.over = "left"
	}},
	{name: "ServerContextKey and LocalAddrContextKey", send: get11, serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		s, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
		x.sawf("%v %v", ok, s != nil)
		a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		x.sawf("%v %v", ok, ok && a.String() == x.addr)
	}},
	{name: "BaseContext and ConnContext", server: func(x *run, s *http.Server) {
		s.BaseContext = func(l net.Listener) context.Context {
			return context.WithValue(context.Background(), key{}, "base "+l.Addr().Network())
		}
		s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, key{}, fmt.Sprint(ctx.Value(key{}), ", conn ", c.RemoteAddr().Network(), ", server ", ctx.Value(http.ServerContextKey) != nil))
		}
	}, serve: func(x *run, _ http.ResponseWriter, r *http.Request) { x.sawf("%v", r.Context().Value(key{})) }, send: get11},
	{name: "RemoteAddr", script: func(x *run, c *conn) {
		c.get("/")
		s := <-x.event(c.LocalAddr().String())
		x.notef("%v", s)
	}, serve: func(x *run, _ http.ResponseWriter, r *http.Request) { x.signal(r.RemoteAddr) }},
	{name: "what a writer can do", send: get11, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		_, flusher := w.(http.Flusher)
		_, hijacker := w.(http.Hijacker)
		_, readerFrom := w.(io.ReaderFrom)
		_, stringWriter := w.(io.StringWriter)
		_, pusher := w.(http.Pusher)
		x.sawf("%v %v %v %v %v", flusher, hijacker, readerFrom, stringWriter, pusher)
	}},
	{name: "ResponseController finds a writer within another", send: get11, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		rc := http.NewResponseController(within{w})
		x.sawf("%v %v %v", rc.Flush(), rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{}))
	}},
	{name: "ResponseController.SetReadDeadline ends the reading of a body", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		x.sawf("%v", http.NewResponseController(w).SetReadDeadline(time.Now().Add(-time.Second)))
		b, err := io.ReadAll(r.Body)
		x.sawf("%q %v", b, errors.Is(err, os.ErrDeadlineExceeded))
	}, script: func(_ *run, c *conn) {
		c.send(post("", "Content-Length: 3"))
		c.rest()
	}},
	{name: "ResponseController.SetReadDeadline later than the body", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		x.sawf("%v", http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Hour)))
		dumpBody(x, r)
	}, send: post("abc", "Content-Length: 3")},
	{name: "ResponseController.SetWriteDeadline ends the response", send: get11, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		rc := http.NewResponseController(w)
		x.sawf("%v", rc.SetWriteDeadline(time.Now().Add(-time.Second)))
		_, _ = io.WriteString(w, "a")
		x.sawf("%v", errors.Is(rc.Flush(), os.ErrDeadlineExceeded))
	}},
	{name: "ResponseController.SetWriteDeadline is the request's alone", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/a" {
			x.sawf("%v", http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Hour)))
		}
		_, _ = io.WriteString(w, r.URL.Path)
	}, script: func(_ *run, c *conn) {
		c.get("/a")
		c.get("/b")
	}},
	{name: "ResponseController.FlushError tells that the client has gone", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		x.signal("running")
		gone(x, r)
		for range 1000 {
			_, _ = io.WriteString(w, "a")
			if err := http.NewResponseController(w).Flush(); err != nil {
				x.sawf("an error")
				return
			}
		}
		x.sawf("no error")
	}, script: func(x *run, c *conn) {
		c.send(get11)
		x.wait("running")
		_ = c.Conn.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
		c.over = "left"
	}},
	{name: "a writer's header that is set late is no other response's", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/first" {
			go func() {
				x.wait("answered")
				w.Header().Set("Late", "1")
				x.signal("late")
			}()
		}
		path(x, w, r)
	}, script: func(x *run, c *conn) {
		c.get("/first")
		x.signal("answered")
		x.wait("late")
		c.get("/second")
	}},
	{name: "a request that is kept stays what it was", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		x.mu.Lock()
		kept := x.kept
		if kept == nil {
			x.kept = r
		}
		x.mu.Unlock()
		if kept != nil {
			x.sawf("%s %s %q %q %q %q", kept.Method, kept.URL, kept.Host, kept.RequestURI, kept.Header, kept.Form)
		} else {
			_ = r.ParseForm()
		}
	}, script: func(_ *run, c *conn) {
		c.send(request("GET /aaaa?a=1111 HTTP/1.1", "Host: one", "A: 1111", "Authorization: secret"))
		c.response("GET")
		for range 3 {
			c.send(request("PUT /bbbb?b=2222 HTTP/1.1", "Host: two", "B: 2222", "Authorization: public"))
			c.response("PUT")
		}
	}},
	{name: "TimeoutHandler in time", send: get11, serve: func(_ *run, w http.ResponseWriter, r *http.Request) {
		http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("A", "1")
			w.WriteHeader(201)
			_, _ = io.WriteString(w, "in time")
		}), time.Hour, "late").ServeHTTP(w, r)
	}},
	{name: "TimeoutHandler, and the handler uses its request and writer late", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/late" {
			_, _ = io.WriteString(w, "another")
			return
		}
		http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer x.signal("over")
			<-r.Context().Done()
			x.wait("served others")
			n, err := io.WriteString(w, "late")
			x.sawf("%d %v %v", n, err, errors.Is(err, http.ErrHandlerTimeout))
			x.sawf("%s %q %q %v", r.URL, r.Host, r.Header, r.Context().Err())
		}), time.Millisecond, "<p>too late").ServeHTTP(w, r)
	}, script: func(x *run, c *conn) {
		c.send(request("GET /late HTTP/1.1", "Host: x", "A: mine"))
		c.response("GET")
		for i := range 5 {
			c.send(request(fmt.Sprintf("GET /%d HTTP/1.1", i), "Host: other", "A: theirs"))
			c.response("GET")
		}
		x.signal("served others")
		x.wait("over")
	}},
	{name: "TimeoutHandler has no flush and no hijack", send: get11, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			rc := http.NewResponseController(w)
			_, _, err := rc.Hijack()
			x.sawf("%v, %v", rc.Flush(), err)
		}), time.Hour, "").ServeHTTP(w, r)
	}},
	{name: "TimeoutHandler, and a panic within", send: get11, logs: true, serve: func(_ *run, w http.ResponseWriter, r *http.Request) {
		http.TimeoutHandler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") }), time.Hour, "").ServeHTTP(w, r)
	}},
	{name: "MaxBytesReader within its limit", send: post("abc", "Content-Length: 3"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 3)
		dumpBody(x, r)
	}},
	{name: "MaxBytesReader beyond its limit closes the connection", send: post("abcd", "Content-Length: 4"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 3)
		dumpBody(x, r)
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
	}},
	{name: "MaxBytesReader beyond its limit, with chunks", send: chunked("4\r\nabcd\r\n0\r\n\r\n"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 3))
		var e *http.MaxBytesError
		x.sawf("%v %v", err, errors.As(err, &e) && e.Limit == 3)
	}},
	{name: "MaxBytesReader before a body of 1 MB has come", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 1000))
		x.sawf("%d %v", n, err)
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}, script: func(_ *run, c *conn) {
		c.send(post(strings.Repeat("a", 2000), "Content-Length: 1048576"))
		c.rest()
	}},
	{name: "MaxBytesReader in a MaxBytesReader", send: post("abcdef", "Content-Length: 6"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, http.MaxBytesReader(w, r.Body, 4), 5)
		dumpBody(x, r)
	}},
	{name: "MaxBytesReader and a decoder", send: post(`{"a":"0123456789"}`, "Content-Length: 18"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		var v any
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 10)).Decode(&v)
		x.sawf("%v %v", v, err)
		http.Error(w, "no", http.StatusBadRequest)
	}},
	{name: "MaxBytesReader and a decoder that is content", send: post(`{"a":1} and more`, "Content-Length: 16"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		var v any
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 100)).Decode(&v)
		x.sawf("%v %v", v, err)
	}},
	{name: "MaxBytesReader and an Expect", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 3)
		dumpBody(x, r)
	}, script: func(_ *run, c *conn) {
		c.send(post("abcd", "Content-Length: 4", "Expect: 100-continue"))
		c.rest()
	}},
	{name: "MaxBytesReader and an Expect, and nothing is read", send: post("abc", "Content-Length: 3", "Expect: 100-continue"), serve: func(_ *run, w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 3)
	}},
	{name: "MaxBytesReader beyond its limit, copied to the response and flushed", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(w, http.MaxBytesReader(w, r.Body, 3))
		w.(http.Flusher).Flush()
		x.sawf("%d %v", n, err)
	}, script: func(_ *run, c *conn) {
		c.send(post("abcd", "Content-Length: 5")) // which is not waited for
		c.rest()
	}},
	{name: "MaxBytesReader, of which a part is read", send: post("abcdef", "Content-Length: 6"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(io.LimitReader(http.MaxBytesReader(w, r.Body, 100), 2))
		x.sawf("%q %v", b, err)
	}},
	{name: "MaxBytesReader, read in parts", send: post("abcdef", "Content-Length: 6"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		body, buf := http.MaxBytesReader(w, r.Body, 6), make([]byte, 100)
		n, err := io.ReadFull(body, buf[:2])
		x.sawf("%d %v", n, err)
		b, err := io.ReadAll(body)
		x.sawf("%q %v", b, err)
	}},
	{name: "MaxBytesHandler and a form", send: urlencoded("a=0123456789"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		http.MaxBytesHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			x.sawf("%v %q", r.ParseForm(), r.Form)
		}), 5).ServeHTTP(w, r)
	}},
	{name: "TLS is seen", server: withTLS, serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		if x.sawf("TLS %v, URL %v", r.TLS != nil, r.URL); r.TLS != nil {
			x.sawf("%v %q %v %x", r.TLS.HandshakeComplete, r.TLS.NegotiatedProtocol, r.TLS.ServerName, r.TLS.Version)
		}
	}, script: overTLS(func(_ *run, c *conn) {
		c.get("/a")
		c.get("/b")
		c.send(lastRequest)
		c.rest()
	})},
	{name: "TLS and HTTP/2, which is on by itself", server: withTLS, plain: true, serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.sawf("%s %s %v", r.Proto, r.TLS.NegotiatedProtocol, r.Header)
	}, script: func(x *run, c *conn) {
		_ = c.Close()
		x.conns = nil
		protocols := new(http.Protocols)
		protocols.SetHTTP2(true)
		tr := &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // our own, on loopback
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr, Timeout: limit}).Get("https://" + x.addr + "/a")
		if err != nil {
			x.notef("no response over HTTP/2")
			return
		}
		_ = resp.Body.Close()
		x.notef("%s %s", resp.Proto, resp.Status)
	}},
	{name: "TLS with a stream and a body", server: withTLS, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		dumpBody(x, r)
		flush(x, w)
		_, _ = w.Write(block)
	}, script: overTLS(func(_ *run, c *conn) {
		c.send(post(strings.Repeat("a", 100_000), "Content-Length: 100000"))
		c.response("POST")
		c.send(lastRequest)
		c.rest()
	})},
	{name: "a plain request to a TLS server", server: withTLS, plain: true, script: func(_ *run, c *conn) {
		c.send(get11)
		c.rest()
	}},
	{name: "a context ends when its TLS client goes", server: withTLS, serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.signal("running")
		gone(x, r)
	}, script: overTLS(func(x *run, c *conn) {
		c.send(get11)
		x.wait("running")
		_ = c.Close()
		c.over = "left"
	})},
}

// within is a middleware's writer.
type within struct{ http.ResponseWriter }

func (w within) Unwrap() http.ResponseWriter { return w.ResponseWriter }

var modified = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)

// handled is a behaviour of one of net/http's own handlers.
func handled(name, send string, h http.Handler) behaviour {
	return answerTo(name, send, func(_ *run, w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r) })
}

// content serves 100 bytes, which is what a range is of.
var content = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Etag", `"tag"`)
	http.ServeContent(w, r, "a.txt", modified, strings.NewReader(strings.Repeat("0123456789", 10)))
})

var files = http.FileServerFS(fstest.MapFS{
	"index.html":      {Data: []byte("<p>index"), ModTime: modified},
	"a b.txt":         {Data: []byte("text"), ModTime: modified},
	"big.bin":         {Data: bytes.Repeat([]byte("big"), 100_000), ModTime: modified},
	"dir/x.css":       {Data: []byte("p{}"), ModTime: modified},
	"dir2/index.html": {Data: []byte("<p>dir2"), ModTime: modified},
})

func mux() http.Handler {
	m := http.NewServeMux()
	say := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %q %q", r.Pattern, r.Method, r.PathValue("id"), r.PathValue("rest")) //nolint:gosec // no browser reads it
	}
	for _, p := range []string{"GET /items/{id}", "POST /items/{id}", "/tree/", "/files/{rest...}", "example.com/", "GET /exact/{$}", "HEAD /head"} {
		m.HandleFunc(p, say)
	}
	return m
}

var handlers = []behaviour{
	handled("Error", get11, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Header().Set("Etag", "x")
		http.Error(w, "an error", http.StatusTeapot)
	})),
	handled("NotFound", get11, http.NotFoundHandler()),
	handled("Redirect to a relative path", target("/a/b?c"), http.RedirectHandler("../d?e", http.StatusFound)),
	handled("Redirect to another host", get11, http.RedirectHandler("http://example.com/ä ", http.StatusMovedPermanently)),
	handled("Redirect of a POST", post("", "Content-Length: 0"), http.RedirectHandler("/a", http.StatusSeeOther)),
	handled("Redirect of HEAD", line("HEAD / HTTP/1.1"), http.RedirectHandler("/a", http.StatusTemporaryRedirect)),
	handled("SetCookie", get11, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b c", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: 5})
		http.SetCookie(w, &http.Cookie{Name: "d", Value: "e,f", Secure: true, Partitioned: true})
	})),
	handled("StripPrefix", target("/a/b%2Fc"), http.StripPrefix("/a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%q %q %q", r.URL.Path, r.URL.RawPath, r.RequestURI)
	}))),
	handled("AllowQuerySemicolons", target("/?a=1;b=2"), http.AllowQuerySemicolons(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%q", r.FormValue("b"))
	}))),
	handled("ServeMux: a path value", target("/items/a%20b"), mux()),
	handled("ServeMux: an encoded slash in a path value", target("/items/a%2Fb"), mux()),
	handled("ServeMux: another method", line("DELETE /items/1 HTTP/1.1"), mux()),
	handled("ServeMux: HEAD by GET", line("HEAD /items/1 HTTP/1.1"), mux()),
	handled("ServeMux: a slash is added", target("/tree?a"), mux()),
	handled("ServeMux: a path is cleaned", target("/tree/../tree//a/./b"), mux()),
	handled("ServeMux: two slashes at the begin", target("//tree/"), mux()),
	handled("ServeMux: the rest", target("/files/a/b%2Fc/"), mux()),
	handled("ServeMux: a host", request("GET /x HTTP/1.1", "Host: example.com:80"), mux()),
	handled("ServeMux: the host of an absolute form", target("http://example.com/x"), mux()),
	handled("ServeMux: CONNECT", line("CONNECT /tree/../x HTTP/1.1"), mux()),
	handled("ServeMux: an asterisk", line("OPTIONS * HTTP/1.1"), mux()),
	handled("ServeMux: not found", target("/exact/a"), mux()),
	handled("ServeContent", get11, content),
	handled("ServeContent: HEAD", line("HEAD / HTTP/1.1"), content),
	handled("ServeContent: a range", header("Range: bytes=10-19"), content),
	handled("ServeContent: the last bytes", header("Range: bytes=-5"), content),
	handled("ServeContent: from a byte on", header("Range: bytes=95-"), content),
	handled("ServeContent: a range beyond the end", header("Range: bytes=200-"), content),
	handled("ServeContent: a malformed range", header("Range: bytes=b"), content),
	handled("ServeContent: If-None-Match", header(`If-None-Match: "tag"`), content),
	handled("ServeContent: If-Match of another", header(`If-Match: "other"`), content),
	handled("ServeContent: If-Modified-Since", header("If-Modified-Since: Thu, 02 Jan 2020 03:04:05 GMT"), content),
	handled("ServeContent: If-Unmodified-Since", header("If-Unmodified-Since: Wed, 01 Jan 2020 00:00:00 GMT"), content),
	handled("ServeContent: If-Range that does not match", header(`If-Range: "other"`, "Range: bytes=0-1"), content),
	{name: "ServeContent: two ranges", script: func(x *run, c *conn) {
		c.send(header("Range: bytes=0-1,50-52"))
		x.notef("%v", strings.HasPrefix(c.response("GET").Get("Content-Type"), "multipart/byteranges; boundary="))
		c.mu.Lock()
		c.raw = bytes.ReplaceAll(c.raw, boundary(c.raw), []byte("BOUNDARY"))
		c.mu.Unlock()
	}, serve: func(_ *run, w http.ResponseWriter, r *http.Request) { content(w, r) }},
	handled("FileServer: index", get11, files),
	handled("FileServer: index by name", target("/index.html"), files),
	handled("FileServer: a space", target("/a%20b.txt"), files),
	handled("FileServer: 300 kB", target("/big.bin"), files),
	handled("FileServer: a directory without a slash", target("/dir2"), files),
	handled("FileServer: a listing", target("/dir/"), files),
	handled("FileServer: dots", target("/../a%20b.txt"), files),
	handled("FileServer: not there", target("/no"), files),
	{name: "ServeFile of a real file, and a request after it", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		f, err := os.CreateTemp("", "conformance")
		if err != nil {
			x.sawf("%v", err)
			return
		}
		defer func() { _ = f.Close(); _ = os.Remove(f.Name()) }()
		for range 20 {
			_, _ = f.Write(block)
		}
		w.Header().Set("Content-Type", "a/b")
		http.ServeContent(w, r, "", modified, f)
	}, script: func(_ *run, c *conn) {
		c.get("/a")
		c.send(request("GET / HTTP/1.1", "Host: x", "Range: bytes=100000-900000"))
		c.response("GET")
		c.send(lastRequest)
		c.rest()
	}},
	{name: "ReverseProxy: a request and a response", send: post("3\r\nabc\r\n0\r\nA: 1\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: A", "X-Forwarded-For: 10.0.0.1", "Connection: B", "B: hop"), serve: proxied(func(x *run, w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		x.sawf("behind: %s %q %v %q %q %q %v", r.Method, body, err, r.Trailer, r.Header["X-Forwarded-For"], r.Header["B"], r.URL)
		w.Header().Set("Trailer", "T")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, strings.Repeat("b", 5000))
		w.Header().Set("T", "2")
	})},
	{name: "ReverseProxy: an upgrade", serve: proxied(func(x *run, w http.ResponseWriter, _ *http.Request) {
		c, b, err := http.NewResponseController(w).Hijack()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, switching)
		s, err := b.ReadString('\n')
		x.sawf("behind: %q %v", s, err)
		_, _ = io.WriteString(c, "answer\n")
	}), script: func(_ *run, c *conn) {
		c.send(upgrade)
		c.until("\r\n\r\n")
		c.write("question\n")
		c.until("answer\n")
		c.rest()
	}},
	{name: "ReverseProxy: an answer that is cut", send: get11, serve: proxied(func(x *run, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "begin")
		flush(x, w)
		panic(http.ErrAbortHandler)
	})},
	{name: "ReverseProxy: a client that goes", serve: proxied(func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.signal("running")
		gone(x, r)
	}), script: func(x *run, c *conn) {
		c.send(get11)
		x.wait("running")
		_ = c.Close()
		c.over = "left"
	}},
	{name: "DumpRequest", send: post("3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked", "B: 2", "A: 1", "B: 3"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		b, err := httputil.DumpRequest(r, true)
		x.sawf("%q %v", b, err)
	}},
	{name: "Request.Write and Clone", send: post("abc", "Content-Length: 3", "A: 1"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		err := r.Clone(r.Context()).Write(&b)
		x.sawf("%q %v", b.String(), err)
	}},
}

// boundary is that of a multipart response.
func boundary(raw []byte) []byte {
	_, b, _ := bytes.Cut(raw, []byte("boundary="))
	b, _, _ = bytes.Cut(b, []byte("\r\n"))
	if len(b) == 0 {
		return raw
	}
	return b
}

// proxied serves through a reverse proxy to a plain net/http server.
func proxied(behind func(x *run, w http.ResponseWriter, r *http.Request)) func(x *run, w http.ResponseWriter, r *http.Request) {
	return func(x *run, w http.ResponseWriter, r *http.Request) {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { behind(x, w, r) }))
		defer s.Close()
		u, err := url.Parse(s.URL)
		if err != nil {
			x.sawf("%v", err)
			return
		}
		p := &httputil.ReverseProxy{
			Rewrite:  func(pr *httputil.ProxyRequest) { pr.SetURL(u); pr.SetXForwarded() },
			ErrorLog: r.Context().Value(http.ServerContextKey).(*http.Server).ErrorLog,
		}
		defer s.CloseClientConnections()
		p.ServeHTTP(w, r)
	}
}
