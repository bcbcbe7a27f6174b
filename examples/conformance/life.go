package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// path answers with the path that was asked for.
func path(x *run, w http.ResponseWriter, r *http.Request) {
	x.sawf("%s %s", r.Method, r.URL)
	_, _ = io.WriteString(w, r.URL.Path+"\n") //nolint:gosec // no browser reads it
}

// busy is a request that is answered when the script says so.
func busy(x *run, w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/busy" {
		x.signal("running")
		x.wait("go on")
	}
	path(x, w, r)
}

// states notes the states of the script's only connection.
func states(x *run, s *http.Server) {
	s.ConnState = func(_ net.Conn, state http.ConnState) {
		x.sawf("%v", state)
		x.signal(state.String())
	}
}

func onShutdown(x *run) { x.server.RegisterOnShutdown(func() { x.signal("shutting down") }) }

// ample is a timeout that a client keeps, if it is not to be late, on a busy machine too.
const ample = 2 * time.Second

var life = []behaviour{
	{name: "three requests, one after the other", script: func(_ *run, c *conn) {
		c.get("/a")
		c.get("/b")
		c.get("/c")
	}},
	{name: "requests with bodies, one after the other", serve: dumpFraming, script: func(_ *run, c *conn) {
		for range 3 {
			c.send(post("abc", "Content-Length: 3"))
			c.response("POST")
			c.send(chunked("3\r\nabc\r\n0\r\n\r\n"))
			c.response("POST")
		}
	}},
	{name: "HEAD, 204 and 304 do not confuse the next", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(204)
		case "/304":
			w.WriteHeader(304)
		default:
			path(x, w, r)
		}
	}, script: func(_ *run, c *conn) {
		for range 2 {
			c.send(line("HEAD /head HTTP/1.1"))
			c.response("HEAD")
			c.get("/204")
			c.get("/304")
			c.get("/a")
		}
	}},
	{name: "a client's Connection: close", script: func(_ *run, c *conn) {
		c.get("/a")
		c.send(header("Connection: close"))
		c.rest()
	}},
	{name: "a client's Connection: close, and a request after it", send: header("Connection: close") + target("/after")},
	{name: "a handler's Connection: close", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		path(x, w, r)
	}, script: func(_ *run, c *conn) {
		c.send(target("/a"))
		c.rest()
	}},
	{name: "a handler's Connection: close, and a request after it", send: target("/a") + target("/after"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		path(x, w, r)
	}},
	{name: "a handler's Connection: close with a stream", send: target("/a"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		flush(x, w)
		path(x, w, r)
	}},
	{name: "HTTP/1.0 is closed", send: line("GET /a HTTP/1.0") + target("/after")},
	{name: "HTTP/1.0 is kept alive where it asks", send: request("GET /a HTTP/1.0", "Connection: Keep-Alive") + target("/after")},
	{name: "HTTP/1.0 and Keep-Alive in a list", send: request("GET /a HTTP/1.0", "Connection: foo, keep-alive") + target("/after")},
	{name: "HTTP/1.1 and keep-alive and close", send: header("Connection: keep-alive, close") + target("/after")},
	{name: "a pipeline of three", send: target("/a") + target("/b") + target("/c")},
	{name: "a pipeline of 100", send: strings.Repeat(target("/a"), 100)},
	{name: "a pipeline of bodies", send: strings.Repeat(post("abc", "Content-Length: 3")+chunked("2;x\r\nde\r\n0\r\nA: b\r\n\r\n"), 10), serve: dumpFraming},
	{name: "a pipeline of bodies that are not read", send: strings.Repeat(post("abc", "Content-Length: 3")+chunked("2\r\nde\r\n0\r\n\r\n"), 10), serve: unread},
	{name: "a pipeline of streams", send: strings.Repeat(target("/a"), 5), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		flush(x, w)
		path(x, w, r)
		flush(x, w)
	}},
	{name: "a pipeline of large responses, read late", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		for range 8 {
			_, _ = w.Write(block)
		}
		x.signal("written")
	}, script: func(x *run, c *conn) {
		c.send(strings.Repeat(target("/a"), 40))
		x.wait("written")
		for range 40 {
			c.response("GET")
		}
	}},
	{name: "a pipeline with a malformed request", send: target("/a") + target("/b") + "malformed\r\n\r\n" + target("/c")},
	{name: "a pipeline with a panic", send: target("/a") + target("/panic") + target("/c"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic("boom")
		}
		path(x, w, r)
	}},
	{name: "a pipeline after Expect", send: post("abc", "Content-Length: 3", "Expect: 100-continue") + target("/after"), serve: dumpFraming},
	{name: "a pipeline is answered one by one", serve: busy, script: func(x *run, c *conn) {
		c.send(target("/busy") + target("/b") + target("/busy") + target("/d"))
		x.wait("running")
		c.quiet()
		x.signal("go on")
		c.response("GET")
		c.response("GET")
		x.wait("running")
		x.signal("go on")
		c.response("GET")
		c.response("GET")
	}},
	{name: "the next request waits for the handler, though its response is whole", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1")
		_, _ = io.WriteString(w, "a")
		flush(x, w)
		if r.URL.Path == "/first" {
			x.wait("go on")
			x.sawf("first is over")
		} else {
			x.sawf("second")
		}
	}, script: func(x *run, c *conn) {
		c.send(target("/first") + target("/second"))
		c.until("\r\n\r\na")
		c.quiet()
		x.signal("go on")
		c.until("\r\n\r\na")
	}},
	{name: "a client that closes its side gets its answer", script: truncated(target("/a"))},
	{name: "a client that closes its side gets all its answers", script: truncated(target("/a") + target("/b") + target("/c"))},
	{name: "a client that closes its side while idle", script: func(_ *run, c *conn) {
		c.get("/a")
		c.closeWrite()
		c.rest()
	}},
	{name: "a client that closes its side before its body has come", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		dumpBody(x, r)
		_, _ = io.WriteString(w, "answered")
	}, script: truncated(post("a", "Content-Length: 3"))},
	{name: "SetKeepAlivesEnabled(false) closes after a response", plain: true, script: func(x *run, c *conn) {
		x.server.SetKeepAlivesEnabled(false)
		c.send(target("/a"))
		c.rest()
	}},
	{name: "SetKeepAlivesEnabled(true) again", plain: true, script: func(x *run, c *conn) {
		x.server.SetKeepAlivesEnabled(false)
		x.server.SetKeepAlivesEnabled(true)
		c.get("/a")
		c.get("/b")
	}},
	{name: "SetKeepAlivesEnabled(false) while a handler runs", serve: busy, plain: true, script: func(x *run, c *conn) {
		c.send(target("/busy"))
		x.wait("running")
		x.server.SetKeepAlivesEnabled(false)
		x.signal("go on")
		c.rest()
	}},
	{name: "IdleTimeout closes what is idle, without a word", server: func(_ *run, s *http.Server) { s.IdleTimeout = 200 * time.Millisecond }, plain: true, script: func(_ *run, c *conn) {
		c.send(target("/a"))
		c.rest()
	}},
	{name: "ReadTimeout is the idle timeout where there is none", server: func(_ *run, s *http.Server) { s.ReadTimeout = ample }, plain: true, script: func(_ *run, c *conn) {
		c.send(target("/a"))
		c.rest()
	}},
	{name: "ReadHeaderTimeout closes a new connection, without a word", server: func(_ *run, s *http.Server) { s.ReadHeaderTimeout = 20 * time.Millisecond }, plain: true, script: func(_ *run, c *conn) { c.rest() }},
	{name: "ReadHeaderTimeout closes half a header, without a word", server: func(_ *run, s *http.Server) { s.ReadHeaderTimeout = 20 * time.Millisecond }, plain: true, script: func(_ *run, c *conn) {
		c.send("GET / HTTP/1.1\r\nHost:")
		c.rest()
	}},
	{name: "ReadHeaderTimeout does not concern a body", server: func(_ *run, s *http.Server) { s.ReadHeaderTimeout = ample }, plain: true, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		x.signal("running")
		dumpBody(x, r)
	}, script: func(x *run, c *conn) {
		c.send(post("", "Content-Length: 3"))
		x.wait("running")
		time.Sleep(ample + ample/4) // longer than the timeout, which is what this is about
		c.send("abc")
		c.response("POST")
	}},
	{name: "ReadTimeout ends the reading of a body", server: func(_ *run, s *http.Server) { s.ReadTimeout = ample }, plain: true, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		var ne net.Error
		x.sawf("%q %v", b, errors.As(err, &ne) && ne.Timeout())
		w.WriteHeader(http.StatusRequestTimeout)
	}, script: func(_ *run, c *conn) {
		c.send(post("abc", "Content-Length: 10"))
		c.rest()
	}},
	{name: "WriteTimeout cuts a response that is late", server: func(_ *run, s *http.Server) { s.WriteTimeout = soon }, plain: true, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		time.Sleep(late)
		n, err := io.WriteString(w, "a")
		x.sawf("%d %v", n, err)
	}, script: func(_ *run, c *conn) {
		c.send(get11)
		c.rest()
	}},
	{name: "ConnState of two requests", server: states, plain: true, script: func(x *run, c *conn) {
		c.get("/a")
		x.wait("idle")
		c.get("/b")
		x.wait("idle")
		_ = c.Close()
		c.over = "left"
		x.wait("closed")
	}},
	{name: "ConnState of a hijack", server: states, plain: true, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = c.Close()
		}
	}, script: func(x *run, c *conn) {
		c.send(get11)
		x.wait("hijacked")
		c.rest()
	}},
	{name: "ConnState of a malformed request", server: states, plain: true, script: func(x *run, c *conn) {
		c.send("malformed\r\n\r\n")
		c.rest()
		x.wait("closed")
	}},
	{name: "ConnState of Connection: close", server: states, plain: true, script: func(x *run, c *conn) {
		c.send(header("Connection: close"))
		c.rest()
		x.wait("closed")
	}},
	{name: "ConnState of a pipeline", server: states, plain: true, script: func(x *run, c *conn) {
		c.send(target("/a") + target("/b"))
		c.response("GET")
		c.response("GET")
		x.wait("idle")
		x.wait("idle")
		_ = c.Close()
		c.over = "left"
		x.wait("closed")
	}},
	{name: "ConnState of a connection that says nothing", server: states, plain: true, script: func(x *run, c *conn) {
		x.wait("new")
		_ = c.Close()
		c.over = "left"
		x.wait("closed")
	}},
	{name: "Shutdown closes what is idle, and takes no more", script: func(x *run, c *conn) {
		c.get("/a")
		x.notef("Shutdown: %v", x.shutdown(limit))
		c.rest()
		x.noteServe()
		nc, err := net.Dial("tcp", x.addr)
		x.notef("refused %v", err != nil)
		if err == nil {
			_ = nc.Close()
		}
	}},
	{name: "Shutdown waits for what is busy, and its response closes", serve: busy, script: func(x *run, c *conn) {
		onShutdown(x)
		c.send(target("/busy"))
		x.wait("running")
		done := make(chan error, 1)
		go func() { done <- x.shutdown(limit) }()
		x.wait("shutting down")
		select {
		case err := <-done:
			x.notef("it does not wait: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
		x.signal("go on")
		c.rest()
		x.notef("Shutdown: %v", <-done)
	}},
	{name: "Shutdown leaves a context alone", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		x.signal("running")
		x.wait("go on")
		x.sawf("%v", r.Context().Err())
	}, script: func(x *run, c *conn) {
		onShutdown(x)
		c.send(target("/busy"))
		x.wait("running")
		done := make(chan error, 1)
		go func() { done <- x.shutdown(limit) }()
		x.wait("shutting down")
		x.signal("go on")
		c.rest()
		x.notef("Shutdown: %v", <-done)
	}},
	{name: "Shutdown lets a stream end", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begin")
		flush(x, w)
		x.wait("go on")
		_, _ = io.WriteString(w, "end")
	}, script: func(x *run, c *conn) {
		onShutdown(x)
		c.send(target("/stream"))
		c.until("begin\r\n")
		done := make(chan error, 1)
		go func() { done <- x.shutdown(limit) }()
		x.wait("shutting down")
		x.signal("go on")
		c.rest()
		x.notef("Shutdown: %v", <-done)
	}},
	{name: "Shutdown lets a body come", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		x.signal("running")
		dumpBody(x, r)
	}, script: func(x *run, c *conn) {
		onShutdown(x)
		c.send(post("", "Content-Length: 3"))
		x.wait("running")
		done := make(chan error, 1)
		go func() { done <- x.shutdown(limit) }()
		x.wait("shutting down")
		c.send("abc")
		c.rest()
		x.notef("Shutdown: %v", <-done)
	}},
	{name: "Shutdown gives up when its context ends", serve: busy, plain: true, script: func(x *run, c *conn) {
		c.send(target("/busy"))
		x.wait("running")
		err := x.shutdown(20 * time.Millisecond)
		x.notef("%v", errors.Is(err, context.DeadlineExceeded))
		x.signal("go on")
		_ = x.server.Close()
		c.rest()
		c.mu.Lock()
		c.raw = nil // whether the response was faster than Close is chance
		c.mu.Unlock()
	}},
	{name: "Shutdown without a connection", plain: true, script: func(x *run, c *conn) {
		_ = c.Close()
		c.over = "left"
		x.notef("%v", x.shutdown(2*limit))
		x.notef("again: %v", x.shutdown(limit))
		x.noteServe()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err == nil {
			defer time.AfterFunc(x.patience(), func() { _ = l.Close() }).Stop()
			x.notef("Serve again: %v", x.server.Serve(l))
			_ = l.Close()
		}
	}},
	{name: "RegisterOnShutdown is called once for each", plain: true, script: func(x *run, c *conn) {
		for range 3 {
			x.server.RegisterOnShutdown(func() { x.signal("called") })
		}
		c.get("/a")
		x.notef("%v", x.shutdown(limit))
		for range 3 {
			x.wait("called")
		}
		x.never("called")
	}},
	{name: "Close cuts all", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begin")
		flush(x, w)
		gone(x, r)
	}, plain: true, script: func(x *run, c *conn) {
		c.send(target("/stream"))
		c.until("begin\r\n")
		x.notef("Close: %v", x.server.Close())
		c.rest()
		x.noteServe()
	}},
	{name: "50 connections at once", script: func(x *run, c *conn) {
		cs := []*conn{c}
		for range 49 {
			cs = append(cs, x.dial())
		}
		for _, c := range cs {
			c.send(target("/a"))
		}
		for _, c := range slices.Backward(cs) {
			c.response("GET")
		}
	}, serve: func(_ *run, w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }},
	{name: "a request in two segments, at each byte", plain: true, serve: func(_ *run, w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		_, _ = w.Write(append(b, r.URL.Path...))
	}, script: func(x *run, _ *conn) {
		// Each is a connection of its own, with native requests in between.
		text := target("/a") + nativeRequest + post("abc", "Content-Length: 3") + nativeRequest + chunked("3\r\ndef\r\n0\r\nA: b\r\n\r\n") + lastRequest
		var first []byte
		for i := range len(text) {
			c := x.dial()
			c.write(text[:i])
			time.Sleep(100 * time.Microsecond) // so that most are read by themselves
			c.write(text[i:])
			c.rest()
			got := []byte(strings.Join(wire(slices.Clone(c.taken())), "\n"))
			if first == nil {
				first = got
			} else if !bytes.Equal(first, got) {
				x.notef("split at %d:\n%s", i, got)
			}
			_ = c.Close()
		}
		x.conns = x.conns[:2]
		x.mu.Lock()
		x.seen = nil // once for each
		x.mu.Unlock()
	}},
}

// mixed are pipelines of what both ends may do, in an order and in segments that
// are chance, but the same in each run.
var mixed = func() (bs []behaviour) {
	pieces := []string{
		target("/a"), target("/b?c=d"), target("http://x/e"), line("HEAD /f HTTP/1.1"), line("OPTIONS * HTTP/1.1"),
		post("abc", "Content-Length: 3"), post("", "Content-Length: 0"), post(strings.Repeat("g", 5000), "Content-Length: 5000"),
		post(get11, fmt.Sprintf("Content-Length: %d", len(get11))), post("abc", "Content-Length: 3", "Expect: 100-continue"),
		chunked("3\r\nabc\r\n0\r\n\r\n"), chunked("0\r\n\r\n"), chunked("1;x=y\r\na\r\n2\r\nbc\r\n0\r\nT: u\r\n\r\n"),
		chunked(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(get11), get11)), header("A: " + strings.Repeat("h", 3000)), nativeRequest, nativeRequest,
	}
	for seed := range uint64(20) {
		chance := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // nothing secret
		var text strings.Builder
		for range 40 {
			text.WriteString(pieces[chance.IntN(len(pieces))])
		}
		bs = append(bs, behaviour{name: fmt.Sprintf("pipeline no. %d", seed), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
			switch n := len(r.RequestURI) + int(r.ContentLength); {
			case n%3 == 0 && r.Header.Get("Expect") == "": // which would close the connection
				unread(x, w, r)
				return
			case n%3 == 1:
				flush(x, w)
			}
			dumpFraming(x, w, r)
		}, script: func(_ *run, c *conn) {
			all := text.String() + lastRequest
			chance := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // nothing secret
			for all != "" {
				n := min(len(all), 1+chance.IntN(2000))
				c.send(all[:n])
				all = all[n:]
			}
			c.rest()
		}})
	}
	return bs
}()
