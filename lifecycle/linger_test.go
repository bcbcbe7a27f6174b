//go:build unix

package lifecycle

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// A client that sends its whole upload before it looks for an answer gets the
// answer all the same.
func TestLingerAnswersAnUploadThatIsTooLarge(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			h := quiet(hello)
			h.MaxRequestBodySize = 1000
			r := runKind(t, kind, &Server{HTTP: h})
			for range 5 {
				c := r.dial()
				c.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 8000000\r\n\r\n")
				chunk := strings.Repeat("x", 100_000)
				for range 80 {
					c.send(chunk)
				}
				if resp := c.response(); resp.StatusCode != fasthttp.StatusRequestEntityTooLarge {
					t.Error(resp.Status)
				}
				c.wantEOF()
				_ = c.Close()
			}
			for r.lingering.len() > 0 {
				time.Sleep(time.Millisecond)
			}
		})
	}
}

// A client that pipelines without an end sees its last response, told to close,
// and then an end of file: not a reset that might have swallowed it.
func TestContract06PipeliningWhileTheDrainBegins(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			for range 5 {
				var ran atomic.Int64
				r := runKind(t, kind, &Server{HTTP: quiet(func(ctx *fasthttp.RequestCtx) {
					ran.Add(1)
					ctx.SetBodyString("hello")
				})})
				c := r.dial()
				closed := make(chan struct{})
				go func() {
					for {
						select {
						case <-closed:
							return
						default:
							if _, err := io.WriteString(c.Conn, strings.Repeat(request, 8)); err != nil {
								return
							}
						}
					}
				}()
				var answered int64
				for told := false; !told; answered++ {
					resp, err := http.ReadResponse(c.r, nil)
					if err != nil {
						t.Fatalf("after %d responses of %d: %v", answered, ran.Load(), err)
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					told = resp.Close
					if answered == 100 {
						r.Drain()
					}
				}
				c.wantEOF()
				close(closed)
				if answered != ran.Load() {
					t.Errorf("%d handlers ran, %d responses came", ran.Load(), answered)
				}
				_ = c.Close()
				if err := r.wait(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestLingerEndsAtTheDeadline(t *testing.T) {
	r := runTCP(t, &Server{HTTP: quiet(hello), DrainTimeout: 30 * time.Millisecond, AbortTimeout: -1})
	c := r.dial()
	c.send("nonsense\r\n\r\nand more of it")
	if resp := c.response(); resp.StatusCode != fasthttp.StatusBadRequest {
		t.Error(resp.Status)
	}
	c.wantEOF() // but does not close
	r.Drain()
	if err := r.wait(); !errors.Is(err, ErrDrainTimeout) {
		t.Errorf("the client's connection was not awaited: %v", err)
	}
}

// What is kept alive after all keeps no second descriptor.
func TestLingerIsDroppedWhenTheBodyWasRead(t *testing.T) {
	h := quiet(func(ctx *fasthttp.RequestCtx) {
		if body := ctx.RequestBodyStream(); body != nil {
			_, _ = io.Copy(ctx, body)
		}
	})
	h.StreamRequestBody = true
	r := runTCP(t, &Server{HTTP: h, ParkAfter: time.Hour}) // to park takes descriptors
	c := r.dial()
	c.get("/")
	before := openFiles(t)
	for range 20 {
		c.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbody")
		if resp := c.response(); body(resp) != "body" || resp.Close {
			t.Fatal(resp.Status)
		}
	}
	for openFiles(t) > before {
		time.Sleep(time.Millisecond)
	}
}

// A connection on which its client may still be sending is closed in stages, but not
// where whoever closes it wants a reset: a response that must not look whole.
func TestACloseThatIsAResetStaysOne(t *testing.T) {
	h := quiet(func(ctx *fasthttp.RequestCtx) {
		ctx.SetBodyStream(io.MultiReader(), -1)
		_ = ctx.Conn().(*net.TCPConn).SetLinger(0)
		ctx.SetConnectionClose()
	})
	h.StreamRequestBody = true
	c := runTCP(t, &Server{HTTP: h}).dial()
	c.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc")
	if all, err := io.ReadAll(c.r); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%q, %v; want a reset", all, err)
	}
}
