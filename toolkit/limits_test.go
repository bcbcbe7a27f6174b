package toolkit

import (
	"bufio"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
)

// at wants that it is now d after began, to the nanosecond: time is fake here.
func at(t *testing.T, began time.Time, d time.Duration) {
	t.Helper()
	if took := time.Since(began); took != d {
		t.Errorf("after %v, want %v", took, d)
	}
}

func length(ctx *fasthttp.RequestCtx) { fmt.Fprint(ctx, len(ctx.PostBody())) }

const getRequest = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"

func TestHeaderTimeout(t *testing.T) {
	b := quiet().ReadHeaderTimeout(2*time.Second).ReadBodyTimeout(time.Hour).IdleTimeout(time.Hour).Get("/", hello)
	bubble(t, b, func(t *testing.T, r *running) {
		fresh, used := r.dial(), r.dial()
		began := time.Now()
		time.Sleep(time.Second) // on a new connection it counts from the begin
		fresh.send(getRequest[:20])
		if resp := fresh.reply("GET"); resp.StatusCode != 408 || !resp.Close {
			t.Errorf("half a header answered %v, close %v", resp, resp.Close)
		}
		at(t, began, 2*time.Second)
		fresh.wantEOF()

		used.wantEOF() // it was silent, and is told nothing

		used = r.dial()
		used.get("/")
		time.Sleep(time.Minute) // between requests another limit counts
		began = time.Now()
		used.send(getRequest[:1])
		time.Sleep(1500 * time.Millisecond)
		used.send(getRequest[1:20])
		if resp := used.reply("GET"); resp.StatusCode != 408 {
			t.Errorf("half a header answered %v", resp)
		}
		at(t, began, 2*time.Second)
		used.wantEOF()
	})
}

// A body has its own time from the end of the header on, however long that took.
func TestBodyTimeout(t *testing.T) {
	for _, tt := range []struct {
		name         string
		header, body time.Duration
	}{
		{"longer", 2 * time.Second, 30 * time.Second},
		{"shorter", 30 * time.Second, 2 * time.Second},
		{"the same", 2 * time.Second, 2 * time.Second},
		{"no limit for the header", 0, 2 * time.Second},
	} {
		for _, framing := range []string{"Content-Length: 10", "Transfer-Encoding: chunked"} {
			t.Run(tt.name+", "+framing, func(t *testing.T) {
				b := quiet().ReadHeaderTimeout(tt.header).ReadBodyTimeout(tt.body).IdleTimeout(time.Hour).Post("/", length)
				bubble(t, b, func(t *testing.T, r *running) {
					c := r.dial()
					began := time.Now()
					slowHeader := max(tt.header*3/4, time.Second)
					c.send("POST / HTTP/1.1\r\n")
					time.Sleep(slowHeader)
					c.send("Host: t\r\n" + framing + "\r\n\r\n")
					time.Sleep(tt.body * 3 / 4)
					if strings.HasPrefix(framing, "C") {
						c.send("0123456789")
					} else {
						c.send("a\r\n0123456789\r\n0\r\n\r\n")
					}
					if resp := c.reply("POST"); resp.String() != "200 10" {
						t.Errorf("a slow body answered %v", resp)
					}
					at(t, began, slowHeader+tt.body*3/4)

					began = time.Now()
					c.send("POST / HTTP/1.1\r\nHost: t\r\n" + framing + "\r\n\r\n5\r\n01")
					if resp := c.reply("POST"); resp.StatusCode != 408 {
						t.Errorf("half a body answered %v", resp)
					}
					at(t, began, tt.body)
					c.wantEOF()
				})
			})
		}
	}
}

func TestNoBodyTimeout(t *testing.T) {
	b := quiet().ReadHeaderTimeout(2*time.Second).ReadBodyTimeout(0).Post("/", length)
	bubble(t, b, func(t *testing.T, r *running) {
		c := r.dial()
		c.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n0")
		time.Sleep(24 * time.Hour)
		c.send("1")
		if resp := c.reply("POST"); resp.String() != "200 2" {
			t.Error(resp)
		}
	})
}

func TestNoHeaderTimeout(t *testing.T) {
	b := quiet().ReadHeaderTimeout(0).ReadBodyTimeout(time.Second).IdleTimeout(time.Minute).Get("/", hello)
	bubble(t, b, func(t *testing.T, r *running) {
		c := r.dial()
		for range 2 { // on a new connection, and on one that has been idle
			c.send(getRequest[:20])
			time.Sleep(24 * time.Hour)
			c.send(getRequest[20:])
			if resp := c.reply("GET"); resp.String() != "200 hello" {
				t.Error(resp)
			}
		}
	})
}

func TestIdleTimeout(t *testing.T) {
	b := quiet().ReadHeaderTimeout(time.Hour).IdleTimeout(4*time.Second).Get("/", hello).Post("/", length)
	bubble(t, b, func(t *testing.T, r *running) {
		silent, used := r.dial(), r.dial()
		began := time.Now()
		time.Sleep(3 * time.Second)
		used.get("/")
		silent.wantEOF() // without any byte
		at(t, began, 4*time.Second)
		used.wantEOF()
		at(t, began, 7*time.Second)

		posted := r.dial()
		began = time.Now()
		posted.do("POST", "/", "Content-Length", "0")
		time.Sleep(3 * time.Second)
		posted.get("/")
		posted.wantEOF() // the time counts anew from each response
		at(t, began, 7*time.Second)
	})
}

// The same on a socket, where other means end the connection.
func TestIdleTimeoutOnASocket(t *testing.T) {
	r := run(t, loopback().IdleTimeout(20*time.Millisecond).Get("/", hello))
	silent, used := r.dial(), r.dial()
	used.get("/")
	silent.wantEOF()
	used.wantEOF()
	r.finish()
}

func TestNoIdleTimeout(t *testing.T) {
	for name, b := range map[string]*Builder{
		"with a header timeout":      quiet().ReadHeaderTimeout(10 * time.Second),
		"with a body timeout alone":  quiet().ReadHeaderTimeout(0).ReadBodyTimeout(10 * time.Second),
		"with one for both":          quiet().ReadHeaderTimeout(10 * time.Second).ReadBodyTimeout(10 * time.Second),
		"without another limit":      quiet().ReadHeaderTimeout(0).ReadBodyTimeout(0),
		"with a header timeout only": quiet().ReadHeaderTimeout(10 * time.Second).ReadBodyTimeout(0),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, b.IdleTimeout(0).Post("/", length), func(t *testing.T, r *running) {
				c := r.dial()
				for range 3 {
					c.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n01")
					if resp := c.reply("POST"); resp.String() != "200 2" {
						t.Error(resp)
					}
					time.Sleep(time.Hour)
					synctest.Wait()
					if r.Counts().Idle != 1 {
						t.Fatalf("the connection was closed; open: %v", r.Counts())
					}
				}
			})
		})
	}
}

func TestMaxBodySize(t *testing.T) {
	b := quiet().MaxBodySize(10).Post("/", length)
	bubble(t, b, func(t *testing.T, r *running) {
		c := r.dial()
		c.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n0123456789")
		if resp := c.reply("POST"); resp.String() != "200 10" {
			t.Errorf("at the limit: %v", resp)
		}
		for _, rest := range []string{"Content-Length: 11\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n"} {
			c := r.dial()
			c.send("POST / HTTP/1.1\r\nHost: t\r\n" + rest)
			if resp := c.reply("POST"); resp.StatusCode != 413 || !resp.Close {
				t.Errorf("over the limit, %q: %v, close %v", rest, resp, resp.Close)
			}
			c.wantEOF()
		}
	})
}

func TestMaxHeaderSize(t *testing.T) {
	b := quiet().MaxHeaderSize(1000).Get("/", hello)
	bubble(t, b, func(t *testing.T, r *running) {
		padded := func(size int) string {
			return strings.Replace(getRequest, "\r\n\r\n", "\r\nX: "+strings.Repeat("x", size-len(getRequest)-5)+"\r\n\r\n", 1)
		}
		c := r.dial()
		c.send(padded(1000))
		if resp := c.reply("GET"); resp.String() != "200 hello" {
			t.Errorf("at the limit: %v", resp)
		}
		c.send(padded(1001))
		if resp := c.reply("GET"); resp.StatusCode != 431 || !resp.Close {
			t.Errorf("over the limit: %v, close %v", resp, resp.Close)
		}
		c.wantEOF()
	})
}

func TestWriteTimeoutEndsAClientThatDoesNotRead(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	b := quiet().WriteTimeout(2*time.Second).
		Get("/big", func(ctx *fasthttp.RequestCtx) {
			time.Sleep(time.Minute) // a handler's own time does not count
			ctx.SetBodyString(big)
		}).
		Get("/stream", func(ctx *fasthttp.RequestCtx) { ctx.SetBodyStream(strings.NewReader("streamed"), -1) })
	bubble(t, b, func(t *testing.T, r *running) {
		c := r.dial()
		if resp := c.get("/stream"); resp.String() != "200 streamed" { // whose exemption ends with it
			t.Error(resp)
		}
		c.send("GET /big HTTP/1.1\r\nHost: t\r\n\r\n")
		time.Sleep(time.Minute + 2*time.Second - 1)
		synctest.Wait()
		if r.Counts().Active != 1 {
			t.Error("given up too early")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if n := r.Counts().Total(); n != 0 {
			t.Errorf("%d connections after the timeout", n)
		}
	})
}

func TestWriteTimeoutDoesNotCutAStream(t *testing.T) {
	b := quiet().WriteTimeout(2*time.Second).Get("/", func(ctx *fasthttp.RequestCtx) {
		ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
			for n := range 10 {
				fmt.Fprint(w, n)
				if w.Flush() != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
	})
	bubble(t, b, func(t *testing.T, r *running) {
		c := r.dial()
		for range 2 {
			began := time.Now()
			if resp := c.get("/"); resp.String() != "200 0123456789" {
				t.Error(resp)
			}
			at(t, began, 10*time.Second)
		}
	})
}

func TestMaxConns(t *testing.T) {
	for code, b := range map[int]*Builder{503: loopback().MaxConns(1), 429: loopback().MaxConnsPerIP(1)} {
		b.MaxConnAge(time.Hour)
		g := newGate()
		r := run(t, b.Get("/", g.handle))
		first := r.dial()
		first.send(getRequest)
		<-g.entered
		if resp := r.dial().get("/"); resp.StatusCode != code || !resp.Close {
			t.Errorf("one connection too many: %v, want %d", resp, code)
		}
		close(g.release)
		if resp := first.reply("GET"); resp.String() != "200 late" {
			t.Error(resp)
		}
		r.finish()
	}
}

func TestMaxRequestsPerConn(t *testing.T) {
	r := run(t, loopback().MaxRequestsPerConn(3).Get("/", hello))
	c := r.dial()
	for n := 1; n <= 3; n++ {
		if resp := c.get("/"); resp.String() != "200 hello" || resp.Close != (n == 3) {
			t.Errorf("request %d: %v, close %v", n, resp, resp.Close)
		}
	}
	c.wantEOF()
}

func TestKeepAliveOff(t *testing.T) {
	r := run(t, loopback().KeepAlive(false).Get("/", hello))
	c := r.dial()
	if resp := c.get("/"); resp.String() != "200 hello" || !resp.Close {
		t.Errorf("%v, close %v", resp, resp.Close)
	}
	c.wantEOF()
}
