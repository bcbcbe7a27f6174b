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
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"
)

// await waits for the line with the message msg: it may be written after the client
// has had its answer.
func (l *logs) await(t testing.TB, msg string) map[string]any {
	t.Helper()
	for began := time.Now(); len(l.lines(t, msg)) == 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("no line %q in the log:\n%s", msg, &l.buf)
		}
	}
	return l.line(t, msg)
}

// dialTLS connects to a server that has only TLS, with the certificate of certificate.
func (r *running) dialTLS() *client {
	c := r.dial()
	c.Conn = tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
	c.r = bufio.NewReader(c.Conn)
	return c
}

// all reads until the connection ends.
func (c *client) all() (string, error) {
	text, err := io.ReadAll(c.r)
	return string(text), err
}

// cutShort wants a response to end before its end, after begin.
func (c *client) cutShort(begin string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		if begin != "" {
			c.t.Errorf("response: %v", err)
		}
		return
	}
	body, err := io.ReadAll(resp.Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) || string(body) != begin {
		c.t.Errorf("body %q, error %v; want %q, cut short", body, err, begin)
	}
}

func status500(c *client) {
	c.t.Helper()
	if resp := c.reply("GET"); resp.StatusCode != 500 {
		c.t.Errorf("answered %v", resp)
	}
}

const askPanic = "GET /panic HTTP/1.1\r\nHost: t\r\nX-Request-ID: x\r\n\r\n"

func boom() { panic("on purpose") }

func boomHandler(*fasthttp.RequestCtx) { boom() }

func boomMiddleware(fasthttp.RequestHandler) fasthttp.RequestHandler { return boomHandler }

// places is where code of a user's may panic: how to put a panic there, what to
// send, what the client must see, and the message of the line in the log.
var places = []struct {
	name    string
	put     func(b *Builder)
	send    string
	see     func(c *client)
	line    string
	request bool // the line has a request's fields
}{
	{"handler", func(b *Builder) { b.Get("/panic", boomHandler) }, askPanic, status500, "handler panicked", true},
	{"middleware", func(b *Builder) {
		b.Use(func(next fasthttp.RequestHandler) fasthttp.RequestHandler {
			return func(ctx *fasthttp.RequestCtx) {
				if string(ctx.Path()) == "/panic" {
					boom()
				}
				next(ctx)
			}
		})
	}, askPanic, status500, "handler panicked", true},
	{"middleware of a group", func(b *Builder) {
		b.Group("", func(g *Group) { g.Use(boomMiddleware).Get("/panic", hello) })
	}, askPanic, status500, "handler panicked", true},
	{"NotFound", func(b *Builder) { b.NotFound(boomHandler) }, askPanic, status500, "handler panicked", true},
	{"handler that has dropped its user values", func(b *Builder) {
		b.Get("/panic", func(ctx *fasthttp.RequestCtx) { ctx.ResetUserValues(); boom() })
	}, askPanic, status500, "handler panicked", true},
	{"after Stream", func(b *Builder) {
		b.Get("/panic", func(ctx *fasthttp.RequestCtx) {
			Stream(ctx, func(w *bufio.Writer) error {
				for w.Flush() == nil {
					fmt.Fprint(w, "endless")
				}
				return errors.New("the client has gone")
			})
			boom()
		})
	}, askPanic, status500, "handler panicked", true},
	{"Stream, at once", func(b *Builder) {
		b.Get("/panic", func(ctx *fasthttp.RequestCtx) {
			Stream(ctx, func(*bufio.Writer) error { boom(); return nil })
		})
	}, askPanic, func(c *client) { c.cutShort("") }, "panic after or beside a handler", true},
	{"Stream, later", func(b *Builder) { b.Get("/panic", streamOf("begin", boom)) },
		askPanic, func(c *client) { c.cutShort("begin") }, "panic after or beside a handler", true},
	{"Stream, compressed", func(b *Builder) {
		b.Get("/panic", fasthttp.CompressHandler(streamOf(strings.Repeat("begin", 1000), boom)))
	}, strings.Replace(askPanic, "\r\n\r\n", "\r\nAccept-Encoding: gzip\r\n\r\n", 1), func(c *client) {
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil || resp.Header.Get("Content-Encoding") != "gzip" {
			c.t.Fatalf("%v, %v", resp, err)
		}
		if body, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
			c.t.Errorf("%d bytes, error %v", len(body), err)
		}
	}, "panic after or beside a handler", true},
	{"Stream in middleware", func(b *Builder) {
		b.Use(func(next fasthttp.RequestHandler) fasthttp.RequestHandler {
			return func(ctx *fasthttp.RequestCtx) {
				if string(ctx.Path()) != "/panic" {
					next(ctx)
					return
				}
				streamOf("begin", boom)(ctx)
			}
		})
	}, askPanic, func(c *client) { c.cutShort("begin") }, "panic after or beside a handler", true},
	{"hijack handler", func(b *Builder) {
		b.Get("/panic", func(ctx *fasthttp.RequestCtx) {
			catch := Catch(ctx)
			ctx.SetStatusCode(101)
			ctx.Hijack(func(net.Conn) {
				defer catch()
				boom()
			})
		})
	}, askPanic, func(c *client) { c.reply("GET"); c.wantEOF() }, "panic after or beside a handler", true},
	{"WebSocket", func(b *Builder) {
		upgrader := websocket.FastHTTPUpgrader{}
		b.Get("/panic", func(ctx *fasthttp.RequestCtx) {
			catch := Catch(ctx)
			_ = upgrader.Upgrade(ctx, func(*websocket.Conn) {
				defer catch()
				boom()
			})
		})
	}, strings.Replace(askPanic, "\r\n\r\n", "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", 1), func(c *client) {
		if resp := c.reply("GET"); resp.StatusCode != 101 {
			c.t.Error(resp)
		}
		c.wantEOF()
	}, "panic after or beside a handler", true},
	{"goroutine", func(b *Builder) {
		b.Get("/panic", func(ctx *fasthttp.RequestCtx) {
			catch := Catch(ctx)
			go func() {
				defer catch()
				boom()
			}()
		})
	}, askPanic, func(c *client) { c.reply("GET") }, "panic after or beside a handler", true},
	{"TimeoutHandler", func(b *Builder) {
		b.Get("/panic", fasthttp.TimeoutHandler(Recover(boomHandler), patience, "too slow"))
	}, askPanic, status500, "handler panicked", true},
	{"TimeoutHandler, too late", func(b *Builder) {
		over := make(chan struct{})
		late := fasthttp.TimeoutHandler(Recover(func(*fasthttp.RequestCtx) { <-over; boom() }), time.Millisecond, "too slow")
		b.Get("/panic", func(ctx *fasthttp.RequestCtx) {
			late(ctx)
			close(over)
		})
	}, askPanic, func(c *client) {
		if resp := c.reply("GET"); resp.String() != "408 too slow" {
			c.t.Error(resp)
		}
	}, "handler panicked", true},
	{"readiness check", func(b *Builder) { b.ReadyCheck("c", func(context.Context) error { boom(); return nil }) },
		"GET /readyz HTTP/1.1\r\nHost: t\r\nX-Request-ID: x\r\n\r\n", func(c *client) {
			if resp := c.reply("GET"); resp.StatusCode != 503 {
				c.t.Error(resp)
			}
		}, "not ready", false},
	{"work", func(b *Builder) {
		b.Get("/panic", func(ctx *fasthttp.RequestCtx) { FromRequest(ctx).Go("work", func(context.Context) { boom() }) })
	}, askPanic, func(c *client) { c.reply("GET") }, "panic", false},
	{"tracked handler", func(b *Builder) {
		b.Get("/panic", func(ctx *fasthttp.RequestCtx) {
			fasthttp.TimeoutHandler(FromRequest(ctx).Track("tracked", boomHandler), patience, "too slow")(ctx)
		})
	}, askPanic, status500, "panic", false},
	{"ConnState", func(b *Builder) {
		b.Configure(func(h *fasthttp.Server) {
			first := true
			h.ConnState = func(_ net.Conn, st fasthttp.ConnState) {
				if st == fasthttp.StateActive && first {
					first = false
					boom()
				}
			}
		}).Get("/panic", hello)
	}, askPanic, func(c *client) { c.reply("GET") }, "panic", false},
	{"HeaderReceived", func(b *Builder) {
		b.Configure(func(h *fasthttp.Server) {
			h.HeaderReceived = func(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
				if string(h.RequestURI()) == "/panic" {
					boom()
				}
				return fasthttp.RequestConfig{}
			}
		}).Get("/panic", hello)
	}, askPanic, func(c *client) { c.reply("GET") }, "panic", false},
	{"HeaderReceived, without time limits", func(b *Builder) {
		b.ReadHeaderTimeout(0).ReadBodyTimeout(0).Configure(func(h *fasthttp.Server) {
			h.HeaderReceived = func(h *fasthttp.RequestHeader) (rc fasthttp.RequestConfig) {
				if string(h.RequestURI()) == "/panic" {
					boom()
				}
				return rc
			}
		}).Get("/panic", hello)
	}, askPanic, func(c *client) { c.reply("GET") }, "panic", false},
	{"ContinueHandler", func(b *Builder) {
		b.Configure(func(h *fasthttp.Server) {
			h.ContinueHandler = func(*fasthttp.RequestHeader) bool { boom(); return true }
		}).Post("/panic", hello)
	}, "POST /panic HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", func(c *client) {
		if resp := c.reply("POST"); resp.StatusCode != 417 || !resp.Close {
			c.t.Errorf("%v, close %v", resp, resp.Close)
		}
	}, "panic", false},
	{"ExpectHandler", func(b *Builder) {
		b.Configure(func(h *fasthttp.Server) {
			h.ExpectHandler = func(*fasthttp.RequestCtx) int { boom(); return 100 }
		}).Post("/panic", hello)
	}, "POST /panic HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", status500, "panic", false},
	{"ErrorHandler", func(b *Builder) {
		b.Configure(func(h *fasthttp.Server) {
			h.ErrorHandler = func(ctx *fasthttp.RequestCtx, _ error) { ctx.SetBodyString("half"); boom() }
		})
	}, "nonsense\r\n\r\n", func(c *client) {
		if resp := c.reply("GET"); resp.StatusCode != 400 || strings.Contains(resp.text, "half") {
			c.t.Error(resp)
		}
	}, "panic", false},
}

// streamOf streams text, then does what comes next.
func streamOf(text string, next func()) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		Stream(ctx, func(w *bufio.Writer) error {
			if _, err := io.WriteString(w, text); err != nil {
				return err
			}
			if err := w.Flush(); err != nil {
				return err
			}
			next()
			return nil
		})
	}
}

// Wherever a user's code panics, the process lives, the log says where and for
// which request, the client is not told that all is well, and the next one is served.
func TestPanicsEverywhere(t *testing.T) {
	for _, tt := range places {
		t.Run(tt.name, func(t *testing.T) {
			var log logs
			b := loopback().Logger(log.logger()).Get("/", hello)
			tt.put(b)
			r := run(t, b)
			c := r.dial()
			c.send(tt.send)
			tt.see(c)
			line := log.await(t, tt.line)
			if stack := fmt.Sprint(line["stack"]); !strings.Contains(stack, "toolkit.boom(") {
				t.Errorf("the stack does not show where: %s", stack)
			}
			if tt.request {
				if line["request_id"] != "x" || line["method"] != "GET" || line["path"] != "/panic" || line["panic"] != "on purpose" {
					t.Errorf("logged %v", line)
				}
			} else if text := fmt.Sprint(line["error"]); !strings.Contains(text, "on purpose") {
				t.Errorf("logged %v", line)
			}
			if resp := r.dial().get("/"); resp.String() != "200 hello" {
				t.Errorf("the next request is answered with %v", resp)
			}
			r.finish()
		})
	}
}

// panicReader is a body whose Read panics after its text.
type panicReader struct{ io.Reader }

func (r panicReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil {
		boom()
	}
	return n, nil
}

// The Read of a body stream is the one place where fasthttp itself catches a panic. Its
// line has no stack: a reader in between would cost files their sendfile.
func TestPanicOfABodysReader(t *testing.T) {
	var log logs
	r := run(t, loopback().Logger(log.logger()).Get("/", hello).
		Get("/panic", func(ctx *fasthttp.RequestCtx) { ctx.SetBodyStream(panicReader{strings.NewReader("begin")}, -1) }))
	c := r.dial()
	c.send(askPanic)
	c.cutShort("begin")
	if resp := r.dial().get("/"); resp.String() != "200 hello" {
		t.Error(resp)
	}
	r.finish()
	if !strings.Contains(log.buf.String(), "panic while writing body stream: on purpose") {
		t.Errorf("logged %s", &log.buf)
	}
}

// Hooks fail by a panic, with the stack in their line.
func TestPanicsOfHooks(t *testing.T) {
	hook := func(context.Context) error { boom(); return nil }
	for name, add := range map[string]func(b *Builder){
		"start": func(b *Builder) { b.OnStart("h", hook) },
		"drain": func(b *Builder) { b.OnDrain("h", hook) },
		"exit":  func(b *Builder) { b.PreExit("h", hook) },
	} {
		t.Run(name, func(t *testing.T) {
			var log logs
			b := loopback().Logger(log.logger())
			add(b)
			r := run(t, b)
			r.Drain()
			if err := r.wait(); !strings.Contains(fmt.Sprint(err), "on purpose") {
				t.Errorf("Run returned %v", err)
			}
			if stack := fmt.Sprint(log.line(t, "hook")["stack"]); !strings.Contains(stack, "toolkit.boom(") {
				t.Errorf("the stack does not show where: %s", stack)
			}
		})
	}
}

// The time limit for a body holds where the user's HeaderReceived panics.
func TestBodyTimeoutHoldsWhereHeaderReceivedPanics(t *testing.T) {
	b := quiet().ReadHeaderTimeout(time.Hour).ReadBodyTimeout(5*time.Second).Post("/", length).Configure(func(h *fasthttp.Server) {
		h.HeaderReceived = func(*fasthttp.RequestHeader) (rc fasthttp.RequestConfig) { boom(); return rc }
	})
	bubble(t, b, func(t *testing.T, r *running) {
		c := r.dial()
		began := time.Now()
		c.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n0")
		if resp := c.reply("POST"); resp.StatusCode != 408 {
			t.Error(resp)
		}
		at(t, began, 5*time.Second)
	})
}

// bareFaults is what bare fasthttp makes of the same: see TestBareFasthttpDies.
var bareFaults = map[string]func(h *fasthttp.Server){
	"handler": func(h *fasthttp.Server) { h.Handler = boomHandler },
	"stream": func(h *fasthttp.Server) {
		h.Handler = func(ctx *fasthttp.RequestCtx) { ctx.SetBodyStreamWriter(func(*bufio.Writer) { boom() }) }
	},
	"hijack handler": func(h *fasthttp.Server) {
		h.Handler = func(ctx *fasthttp.RequestCtx) { ctx.Hijack(func(net.Conn) { boom() }) }
	},
	"TimeoutHandler": func(h *fasthttp.Server) { h.Handler = fasthttp.TimeoutHandler(boomHandler, patience, "") },
	"ConnState":      func(h *fasthttp.Server) { h.ConnState = func(net.Conn, fasthttp.ConnState) { boom() } },
	"HeaderReceived": func(h *fasthttp.Server) {
		h.HeaderReceived = func(*fasthttp.RequestHeader) (rc fasthttp.RequestConfig) { boom(); return rc }
	},
	"ContinueHandler": func(h *fasthttp.Server) {
		h.ContinueHandler = func(*fasthttp.RequestHeader) bool { boom(); return true }
	},
	"ExpectHandler": func(h *fasthttp.Server) { h.ExpectHandler = func(*fasthttp.RequestCtx) int { boom(); return 100 } },
	"ErrorHandler":  func(h *fasthttp.Server) { h.ErrorHandler = func(*fasthttp.RequestCtx, error) { boom() } },
}

// With bare fasthttp each of these ends the process, here one of its own. Should it
// once survive one, what is done about it here can go.
func TestBareFasthttpDies(t *testing.T) {
	if name := os.Getenv("BARE_FASTHTTP"); name != "" {
		h := &fasthttp.Server{Handler: hello}
		bareFaults[name](h)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = h.Serve(ln) }()
		c := dialAddr(t, ln.Addr())
		text := "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n1"
		if name == "ErrorHandler" {
			text = "nonsense\r\n\r\n"
		}
		c.send(text)
		_, _ = c.all()
		select {} // until it dies
	}
	if testing.Short() {
		t.Skip("a process each")
	}
	for name := range bareFaults {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestBareFasthttpDies$")
			cmd.Env = append(os.Environ(), "BARE_FASTHTTP="+name)
			out, err := cmd.CombinedOutput()
			if err == nil || ctx.Err() != nil || !strings.Contains(string(out), "panic: on purpose") {
				t.Errorf("it survived: %v\n%s", err, out)
			}
		})
	}
}

// A stream that fails looks cut short to every kind of client, one that does not fail
// to none, and its connection goes on.
func TestStreamsThatFailLookCutShort(t *testing.T) {
	cert := certificate()
	for _, secure := range []bool{false, true} {
		for _, version := range []string{"1.1", "1.0"} {
			t.Run(fmt.Sprintf("HTTP/%s, TLS %v", version, secure), func(t *testing.T) {
				var log logs
				b := loopback().Logger(log.logger()).Get("/whole", streamOf("whole", func() {})).Get("/panic", streamOf("begin", boom)).
					Get("/error", func(ctx *fasthttp.RequestCtx) {
						Stream(ctx, func(w *bufio.Writer) error {
							_, _ = io.WriteString(w, "begin") // without a Flush it is sent too
							return errors.New("no more rows")
						})
					})
				if secure {
					b.TLSConfig(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
				}
				r := run(t, b)
				dial := r.dial
				if secure {
					dial = r.dialTLS
				}
				if version == "1.1" {
					c := dial()
					for range 2 {
						if resp := c.get("/whole"); resp.String() != "200 whole" {
							t.Error(resp)
						}
					}
				}
				for _, path := range []string{"/whole", "/panic", "/error"} {
					c := dial()
					c.send("GET " + path + " HTTP/" + version + "\r\nHost: t\r\nConnection: close\r\nX-Request-ID: x\r\n\r\n")
					text, err := c.all()
					switch {
					case path == "/whole":
						if err != nil || !strings.Contains(text, "whole") {
							t.Errorf("%s: %q, %v", path, text, err)
						}
					case version == "1.1": // the chunked framing tells
						if strings.HasSuffix(text, "0\r\n\r\n") || !strings.Contains(text, "begin") || err != nil {
							t.Errorf("%s: %q, %v", path, text, err)
						}
					case err == nil:
						t.Errorf("%s: %q ends as if it were whole", path, text)
					case !secure && !errors.Is(err, syscall.ECONNRESET):
						t.Errorf("%s: %q, %v", path, text, err)
					}
				}
				r.finish()
				if line := log.line(t, "stream failed"); line["error"] != "no more rows" || line["request_id"] != "x" || line["route"] != "/error" {
					t.Errorf("logged %v", line)
				}
				log.line(t, "panic after or beside a handler")
			})
		}
	}
}

// What goes wrong with a stream that nobody reads is nobody's loss: neither a HEAD's
// connection is cut, nor is an error logged that only says that the client has gone.
func TestStreamsThatNobodyReads(t *testing.T) {
	var log logs
	ended := make(chan error, 2)
	endless := func(ctx *fasthttp.RequestCtx) {
		Stream(ctx, func(w *bufio.Writer) (err error) {
			for err == nil {
				_, _ = io.WriteString(w, "more")
				err = w.Flush()
			}
			ended <- err
			return err
		})
	}
	r := run(t, loopback().Logger(log.logger()).Get("/", hello).Head("/endless", endless).Get("/endless", endless).Head("/panic", streamOf("", boom)))
	c := r.dial()
	c.do("HEAD", "/endless")
	<-ended
	c.do("HEAD", "/panic")
	if resp := c.get("/"); resp.String() != "200 hello" {
		t.Error(resp)
	}
	gone := r.dial()
	gone.send("GET /endless HTTP/1.1\r\nHost: t\r\n\r\n")
	_, _ = gone.r.ReadByte()
	_ = gone.Close()
	<-ended
	r.finish()
	if lines := log.lines(t, "stream failed"); len(lines) != 0 {
		t.Errorf("logged %v", lines)
	}
	log.line(t, "panic after or beside a handler")
}

// Line 9 of the drain's contract: a stream of Stream is awaited, and told.
func TestTheDrainAwaitsAStream(t *testing.T) {
	r := run(t, loopback().Get("/", func(ctx *fasthttp.RequestCtx) {
		draining := FromRequest(ctx).Draining()
		Stream(ctx, func(w *bufio.Writer) error {
			_, _ = io.WriteString(w, "begin ")
			if err := w.Flush(); err != nil {
				return err
			}
			<-draining
			_, err := io.WriteString(w, "end")
			return err
		})
	}))
	c := r.dial()
	c.send(getRequest)
	if _, err := c.r.Peek(1); err != nil {
		t.Fatal(err)
	}
	r.Drain()
	if resp := c.reply("GET"); resp.String() != "200 begin end" {
		t.Error(resp)
	}
	if err := r.wait(); err != nil || len(r.Report().Cut) != 0 {
		t.Errorf("%v, cut %v", err, r.Report().Cut)
	}
}

// Without a server nothing is caught: a test is to fail where the code does.
func TestCatchOutsideOfAServer(t *testing.T) {
	for name, f := range map[string]func(ctx *fasthttp.RequestCtx){
		"Catch":   func(ctx *fasthttp.RequestCtx) { defer Catch(ctx)(); boom() },
		"Recover": func(ctx *fasthttp.RequestCtx) { Recover(boomHandler)(ctx) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s has caught a panic", name)
				}
			}()
			f(new(fasthttp.RequestCtx))
		}()
	}
	ctx := new(fasthttp.RequestCtx)
	Stream(ctx, func(w *bufio.Writer) error { _, err := io.WriteString(w, "streamed"); return err })
	if got := got(ctx); got != "200 streamed" {
		t.Error(got)
	}
}

// A client that may still be sending is closed on in stages, but not with a response
// that must not look whole.
func TestStreamsThatFailUnderAnUploadAreReset(t *testing.T) {
	b := loopback().StreamRequestBody(true).Post("/panic", streamOf("begin", boom))
	r := run(t, b)
	c := r.dial()
	c.send("POST /panic HTTP/1.0\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc")
	if text, err := c.all(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%q, %v; want a reset", text, err)
	}
	r.finish()
}
