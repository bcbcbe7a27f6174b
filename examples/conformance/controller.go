package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"
)

// wrapping is a writer around another, with or without a way to it.
type wrapping struct{ http.ResponseWriter }

type unwrapping struct{ http.ResponseWriter }

func (u unwrapping) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// controlled is a behaviour of a ResponseController.
func controlled(name, send string, h func(x *run, w http.ResponseWriter, r *http.Request, rc *http.ResponseController)) behaviour {
	return answerTo(name, send, func(x *run, w http.ResponseWriter, r *http.Request) {
		h(x, w, r, http.NewResponseController(w))
	})
}

var past = time.Unix(1, 0)

func timedOut(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout() && errors.Is(err, os.ErrDeadlineExceeded)
}

var controller = []behaviour{
	controlled("a read deadline that has passed", post("abc", "Content-Length: 3"), func(x *run, w http.ResponseWriter, r *http.Request, rc *http.ResponseController) {
		x.sawf("%v", rc.SetReadDeadline(past))
		_, err := io.ReadAll(r.Body)
		x.sawf("%v", err)
		_, err = r.Body.Read(make([]byte, 1))
		x.sawf("%v", err)
		_, _ = io.WriteString(w, "a")
	}),
	{name: "a read deadline that has passed, for a body that has not come", script: func(_ *run, c *conn) {
		c.send(post("a", "Content-Length: 3"))
		c.rest()
	}, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		x.sawf("%v", http.NewResponseController(w).SetReadDeadline(past))
		_, err := io.ReadAll(r.Body)
		x.sawf("%v", timedOut(err))
		_, err = r.Body.Read(make([]byte, 1))
		x.sawf("%v", timedOut(err))
		_, _ = io.WriteString(w, "a")
	}},
	{name: "a read deadline of a request without a body, and a request after it", script: func(_ *run, c *conn) {
		c.get("/a")
		c.send(target("/b"))
		c.rest()
	}, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/b" {
			w.Header().Set("Connection", "close")
			return
		}
		x.sawf("%v", http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Hour)))
	}},
	controlled("a read deadline within a write", target("/"), func(x *run, w http.ResponseWriter, _ *http.Request, rc *http.ResponseController) {
		_, _ = io.WriteString(w, "a")
		x.sawf("%v", rc.SetReadDeadline(time.Now().Add(time.Hour)))
		_, _ = io.WriteString(w, "b")
		x.sawf("%v", rc.SetReadDeadline(time.Time{}))
	}),
	{name: "a write deadline that has passed, then a flush", script: func(_ *run, c *conn) {
		c.send(get11)
		c.rest()
	}, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		rc := http.NewResponseController(w)
		x.sawf("%v", rc.SetWriteDeadline(past))
		_, err := io.WriteString(w, "a")
		x.sawf("%v", err)
		err = rc.Flush()
		x.sawf("%v %v", err != nil, timedOut(err))
		x.sawf("%v", rc.SetWriteDeadline(time.Time{}))
		err = rc.Flush()
		x.sawf("%v", err != nil)
	}},
	{name: "a write deadline that has passed, and is taken back before a write", script: func(_ *run, c *conn) {
		c.get("/a")
	}, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		rc := http.NewResponseController(w)
		x.sawf("%v", rc.SetWriteDeadline(past))
		x.sawf("%v", rc.SetWriteDeadline(time.Time{}))
		_, _ = io.WriteString(w, "a")
	}},
	{name: "a write deadline that has passed, and a body of 1 MB", script: func(_ *run, c *conn) {
		c.send(get11)
		c.rest()
	}, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		x.sawf("%v", http.NewResponseController(w).SetWriteDeadline(past))
		_, err := w.Write([]byte(strings.Repeat("a", 1<<20)))
		x.sawf("%v", timedOut(err))
		_, err = io.WriteString(w, "a")
		x.sawf("%v", err != nil)
	}},
	controlled("EnableFullDuplex", post("abc", "Content-Length: 3"), func(x *run, w http.ResponseWriter, r *http.Request, rc *http.ResponseController) {
		x.sawf("%v", rc.EnableFullDuplex())
		_, _ = io.WriteString(w, "first")
		x.sawf("%v", rc.Flush())
		dumpBody(x, r)
		x.sawf("%v", rc.EnableFullDuplex())
	}),
	{name: "EnableFullDuplex, and a body that is not read", send: post(strings.Repeat("a", 1000), "Content-Length: 1000") + target("/after"), serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		x.sawf("%v", http.NewResponseController(w).EnableFullDuplex())
		_, _ = io.WriteString(w, "first")
	}},
	{name: "EnableFullDuplex, and a body of 300 kB that is not read", send: post(strings.Repeat("a", 300_000), "Content-Length: 300000"), serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		x.sawf("%v", http.NewResponseController(w).EnableFullDuplex())
		_, _ = io.WriteString(w, "first")
	}},
	controlled("Unwrap, twice", target("/"), func(x *run, w http.ResponseWriter, _ *http.Request, _ *http.ResponseController) {
		rc := http.NewResponseController(unwrapping{unwrapping{w}})
		x.sawf("%v %v %v %v", rc.Flush(), rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{}), rc.EnableFullDuplex())
	}),
	controlled("without Unwrap nothing is supported", target("/"), func(x *run, w http.ResponseWriter, _ *http.Request, _ *http.ResponseController) {
		rc := http.NewResponseController(unwrapping{wrapping{w}})
		_, _, err := rc.Hijack()
		for _, err := range []error{err, rc.Flush(), rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{}), rc.EnableFullDuplex()} {
			x.sawf("%v %v", err, errors.Is(err, http.ErrNotSupported))
		}
	}),
	controlled("the server's writer has no Unwrap", target("/"), func(x *run, w http.ResponseWriter, _ *http.Request, _ *http.ResponseController) {
		_, unwraps := w.(interface{ Unwrap() http.ResponseWriter })
		_, pushes := w.(http.Pusher)
		_, closes := w.(io.Closer)
		_, seeks := w.(io.Seeker)
		_, writesTo := w.(io.WriterTo)
		_, reads := w.(io.Reader)
		_, flushes := w.(interface{ FlushError() error })
		_, strs := w.(io.StringWriter)
		_, duplex := w.(interface{ EnableFullDuplex() error })
		x.sawf("%v %v %v %v %v %v %v %v %v", unwraps, pushes, closes, seeks, writesTo, reads, flushes, strs, duplex)
	}),
	controlled("all of it after a hijack", target("/"), func(x *run, _ http.ResponseWriter, r *http.Request, rc *http.ResponseController) {
		c, _, err := rc.Hijack()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		x.sawf("%v %v %v", rc.SetReadDeadline(time.Time{}) != nil, rc.SetWriteDeadline(time.Time{}) != nil, rc.EnableFullDuplex() != nil)
		_, _ = io.WriteString(c, "a")
		_ = c.Close()
	}),
	{name: "all of it after the handler has returned", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		go func() {
			<-r.Context().Done()
			rc := http.NewResponseController(w)
			_, err := r.Body.Read(make([]byte, 1))
			x.sawf("%v", err)
			defer x.signal("late")
			defer func() { x.sawf("%v", recover()) }()
			_, _, err = rc.Hijack()
			x.sawf("hijack: %v", err != nil)
		}()
	}, script: func(x *run, c *conn) {
		c.send(post("abc", "Content-Length: 3"))
		c.response("POST")
		_ = c.Close()
		c.over = "left"
		x.awaitHandlers()
		x.wait("late")
	}, plain: true},
	{name: "a hijack with a reader of the body at work", script: func(x *run, c *conn) {
		c.send(post("ab", "Content-Length: 6"))
		x.wait("hijacked")
		c.write("cdef")
		c.rest()
	}, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 2)
		_, err := io.ReadFull(r.Body, b)
		x.sawf("%q %v", b, err)
		c, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		x.signal("hijacked")
		b = make([]byte, 4)
		_, err = io.ReadFull(buf, b)
		x.sawf("%q %v", b, err)
		_ = c.Close()
	}},
	{name: "a body is not to be read after a hijack", send: post("abc", "Content-Length: 3"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		_, err = r.Body.Read(make([]byte, 1))
		x.sawf("%v %v", err, errors.Is(err, http.ErrHijacked))
		x.sawf("%v", r.Body.Close())
		_, _ = io.WriteString(c, "a")
		_ = c.Close()
	}},
	{name: "a hijack of a request with chunks leaves them raw", send: chunked("3\r\nabc\r\n0\r\n\r\n"), serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		c, b, err := http.NewResponseController(w).Hijack()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		raw := make([]byte, 13)
		_, err = io.ReadFull(b, raw)
		x.sawf("%q %v", raw, err)
		_, _ = io.WriteString(c, "a")
		_ = c.Close()
	}},
	{name: "a hijack with a pipeline behind it", send: upgrade + target("/x") + target("/y"), serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		c, b, err := http.NewResponseController(w).Hijack()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		for range 2 {
			r, err := http.ReadRequest(b.Reader)
			if err != nil {
				x.sawf("%v", err)
				break
			}
			x.sawf("%v", r.URL)
		}
		_, _ = io.WriteString(c, "a")
		_ = c.Close()
	}},
	{name: "the size of a hijack's buffers", send: get11, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		c, b, err := http.NewResponseController(w).Hijack()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		x.sawf("%d %d %d", b.Writer.Size(), b.Writer.Buffered(), b.Reader.Size())
		_ = c.Close()
	}},
	{name: "a hijack after headers were set", send: get11, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("A", "1")
		c, b, err := http.NewResponseController(w).Hijack()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		_, _ = b.WriteString("raw")
		_ = b.Flush()
		_ = c.Close()
		w.Header().Set("B", "2")
	}},
	{name: "a hijacked connection's Write after Close", send: get11, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		_ = c.Close()
		_, err = io.WriteString(c, "a")
		x.sawf("%v", errors.Is(err, net.ErrClosed))
		_, err = c.Read(make([]byte, 1))
		x.sawf("%v", errors.Is(err, net.ErrClosed))
		x.sawf("%v", errors.Is(c.Close(), net.ErrClosed))
		x.sawf("%v", errors.Is(c.SetDeadline(time.Time{}), net.ErrClosed))
	}},
	{name: "a hijack, and Goexit", send: get11, logs: true, serve: func(_ *run, w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(c, "a")
			_ = c.Close()
		}
		runtime.Goexit()
	}},
	{name: "SetLinger and CloseWrite of a hijacked connection", send: get11, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		_, lingers := c.(interface{ SetLinger(int) error })
		_, delays := c.(interface{ SetNoDelay(bool) error })
		_, keeps := c.(interface{ SetKeepAlive(bool) error })
		_, closesRead := c.(interface{ CloseRead() error })
		_, files := c.(interface{ File() (*os.File, error) })
		_, writesTo := c.(io.WriterTo)
		x.sawf("%v %v %v %v %v %v", lingers, delays, keeps, closesRead, files, writesTo)
		_ = c.Close()
	}},
}

// soon is a timeout that a script waits for, and late is when it is over on a busy
// machine too: a connection's deadline is a timer, which may be late itself.
const (
	soon = 100 * time.Millisecond
	late = time.Second
)

func timeouts(set func(s *http.Server)) func(*run, *http.Server) {
	return func(_ *run, s *http.Server) { set(s) }
}

var timeout = []behaviour{
	{name: "a handler is late, and has extended the write deadline", plain: true, server: timeouts(func(s *http.Server) { s.WriteTimeout = soon }), serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		x.sawf("%v", http.NewResponseController(w).SetWriteDeadline(time.Time{}))
		time.Sleep(late)
		_, _ = io.WriteString(w, "late")
	}, script: func(_ *run, c *conn) { c.get("/") }},
	{name: "a handler is late, and so is its body's end, with a write deadline set late", plain: true, server: timeouts(func(s *http.Server) { s.WriteTimeout = soon }), serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		time.Sleep(late)
		x.sawf("%v", http.NewResponseController(w).SetWriteDeadline(time.Time{}))
		_, _ = io.WriteString(w, "late")
	}, script: func(_ *run, c *conn) { c.get("/") }},
	{name: "WriteTimeout does not end a context", plain: true, server: timeouts(func(s *http.Server) { s.WriteTimeout = soon }), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		time.Sleep(late)
		_, has := r.Context().Deadline()
		x.sawf("%v %v", r.Context().Err(), has)
	}, script: func(_ *run, c *conn) {
		c.send(get11)
		c.rest()
	}},
	{name: "all timeouts below zero", plain: true, server: timeouts(func(s *http.Server) {
		s.IdleTimeout, s.ReadTimeout, s.ReadHeaderTimeout, s.WriteTimeout = -1, -1, -1, -1
	}), serve: dumpFraming, script: func(_ *run, c *conn) {
		c.get("/a")
		c.send(post("abc", "Content-Length: 3"))
		c.response("POST")
	}},
	{name: "a deadline of a handler before its hijack", plain: true, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		rc := http.NewResponseController(w)
		x.sawf("%v %v", rc.SetReadDeadline(past), rc.SetWriteDeadline(past))
		c, b, err := rc.Hijack()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		x.signal("hijacked")
		s, err := b.ReadString('\n')
		x.sawf("%q %v", s, err)
		_, err = io.WriteString(c, "answer")
		x.sawf("%v", err)
		_ = c.Close()
	}, script: func(x *run, c *conn) {
		c.send(get11)
		x.wait("hijacked")
		c.write("line\n")
		c.rest()
	}},
	{name: "WriteTimeout and a client that does not receive", plain: true, server: timeouts(func(s *http.Server) { s.WriteTimeout = soon }), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		var err error
		for n := 0; err == nil && n < total; n += len(block) { // no socket takes as much, but memory would
			_, err = w.Write(block)
		}
		x.sawf("%v", timedOut(err))
		x.signal("ended")
		gone(x, r)
	}, script: func(x *run, c *conn) {
		c.send(get11)
		x.wait("ended")
		_ = c.Close()
		c.over = "left"
	}},
	{name: "TLS: ReadHeaderTimeout ends a handshake that does not begin", plain: true, logs: true, server: func(x *run, s *http.Server) {
		withTLS(x, s)
		s.ReadHeaderTimeout = soon
	}, serve: path, script: func(x *run, c *conn) {
		c.rest()
		x.wait("logged")
	}},
}
