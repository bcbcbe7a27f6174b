package nethttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// watched tells of the deadlines for reads that a connection gets.
type watched struct {
	net.Conn
	hook func(time.Time) error
}

func (c watched) SetReadDeadline(t time.Time) error {
	if err := c.hook(t); err != nil {
		return err
	}
	return c.Conn.SetReadDeadline(t)
}

// watchedPipe is a pipe with such connections.
type watchedPipe struct {
	*pipe
	hook func(time.Time) error
}

func (p watchedPipe) Accept() (net.Conn, error) {
	nc, err := p.pipe.Accept()
	if err != nil {
		return nil, err
	}
	return watched{nc, p.hook}, nil
}

// mounted is a Mount's server.
type mounted struct{ *lifecycle.Server }

func (m mounted) Serve(l net.Listener) error {
	m.Listeners = []net.Listener{l}
	return m.Run(context.Background())
}

func (mounted) ServeTLS(net.Listener, string, string) error { return errors.ErrUnsupported }

type rawKey struct{}

func keepConn(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, rawKey{}, nc)
}

// A handler that sets a deadline of the connection itself, as was done before there was an
// http.ResponseController, has it hold as with an http.Server, which sets none later.
func TestDeadlinesOfHandlersHold(t *testing.T) {
	slow := func(s *scene) {
		s.send("GET {1}/echo" + getEcho)
		s.after(2, "POST {1}/raw HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nabc")
		s.after(50, "d")
		s.after(1, "GET {1}/echo"+getEcho)
	}
	play := func(serverOf func(h http.Handler) served) (log []string) {
		synctest.Test(t, func(*testing.T) {
			s, l := &scene{paths: strings.NewReplacer("{1}", "/all")}, newPipe()
			srv := serverOf(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/raw") {
					_ = r.Context().Value(rawKey{}).(net.Conn).SetReadDeadline(time.Time{})
				}
				b, err := io.ReadAll(r.Body)
				s.note("body %q, timeout: %v", b, errors.Is(err, os.ErrDeadlineExceeded))
			}))
			whileServed(srv, l, false, func() { log = s.play(l, false, slow) })
		})
		return log
	}
	const header, read, idle = 3 * time.Second, 5 * time.Second, 20 * time.Second
	want := play(func(h http.Handler) served {
		return &http.Server{Handler: h, ConnContext: keepConn, ReadHeaderTimeout: header, ReadTimeout: read, IdleTimeout: idle}
	})
	got := play(func(h http.Handler) served {
		return &Server{Handler: h, ConnContext: keepConn, ReadHeaderTimeout: header, ReadTimeout: read, IdleTimeout: idle}
	})
	if !slices.Equal(got, want) || !strings.Contains(strings.Join(want, ""), `"abcd"`) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	native := func(ctx *fasthttp.RequestCtx) {
		_ = ctx.Conn().SetReadDeadline(time.Time{})
		b, err := io.ReadAll(ctx.RequestBodyStream())
		fmt.Fprintf(ctx, "%s %v", b, err)
	}
	for _, onMount := range []bool{false, true} {
		got = play(func(h http.Handler) served {
			fast := &fasthttp.Server{Handler: native, StreamRequestBody: true, MaxIdleWorkerDuration: time.Hour}
			if onMount {
				m := mounted{&lifecycle.Server{HTTP: fast, DrainTimeout: -1}}
				Mount{HTTP: &http.Server{ReadHeaderTimeout: header, ReadTimeout: read, IdleTimeout: idle}, Route: func(_, target string) http.Handler {
					if target == "/all/raw" {
						return nil
					}
					return h
				}}.On(m.Server)
				return m
			}
			srv := &Server{Handler: h, ReadHeaderTimeout: header, ReadTimeout: read, IdleTimeout: idle}
			srv.Life.HTTP = fast
			srv.Native("/all/raw", native)
			return srv
		})
		if !strings.Contains(strings.Join(got, ""), "abcd <nil>") {
			t.Errorf("native, Mount %v: got %q", onMount, got)
		}
	}
}

// The drain wakes idle connections by a deadline where they have no socket. None of
// http.Server's may follow it.
func TestDeadlineIsSetBeforeIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = 77 * time.Second
		s := &Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), IdleTimeout: idle}
		var told []string
		l := watchedPipe{newPipe(), func(d time.Time) error {
			if time.Until(d) == idle {
				told = append(told, s.Life.Counts().String())
			}
			return nil
		}}
		whileServed(s, l, false, func() {
			client := l.dial()
			answers := make([]byte, 64<<10)
			for range 3 {
				_, _ = io.WriteString(client, "GET / HTTP/1.1\r\nHost: t\r\n\r\n")
				if _, err := client.Read(answers); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if n := s.Life.Counts().Idle; n != 1 {
					t.Errorf("%d connections are idle", n)
				}
				time.Sleep(time.Second)
			}
			one := "1 active"
			if len(told) != 3 || !strings.Contains(told[0], one) || !strings.Contains(told[1], one) || !strings.Contains(told[2], one) {
				t.Errorf("when the deadline was set there were %q", told)
			}
			_ = s.Shutdown(t.Context())
			_ = client.Close()
		})
	})
}

// A connection that knows no deadlines says so to the handler that sets one.
func TestReadDeadlineFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unable := errors.New("unable")
		s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(99 * time.Second)); !errors.Is(err, unable) {
				t.Errorf("SetReadDeadline: %v", err)
			}
		})}
		l := watchedPipe{newPipe(), func(d time.Time) error {
			if time.Until(d) == 99*time.Second {
				return unable
			}
			return nil
		}}
		whileServed(s, l, false, func() {
			client := l.dial()
			_, _ = io.WriteString(client, "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx") // nothing is being read then
			if _, err := client.Read(make([]byte, 64<<10)); err != nil {
				t.Error(err)
			}
			_ = client.Close()
			_ = s.Shutdown(t.Context())
		})
	})
}

// A deadline that has passed ends the reading of what has come as well, be it in a socket
// or handed over with the connection.
func TestDeadlineOfWhatWasHandedOver(t *testing.T) {
	const size = 9000 // more than http.Server reads at once
	play := func(serverOf func(h http.Handler) served) (n int, err error) {
		synctest.Test(t, func(t *testing.T) {
			l := newPipe()
			srv := serverOf(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/native" {
					return
				}
				_ = http.NewResponseController(w).SetReadDeadline(time.Now())
				var b []byte
				b, err = io.ReadAll(r.Body)
				n = len(b)
			}))
			whileServed(srv, l, false, func() {
				client, answer := l.dial(), make([]byte, 64<<10)
				_, _ = io.WriteString(client, "GET /native HTTP/1.1\r\nHost: t\r\n\r\n")
				if _, err := client.Read(answer); err != nil {
					t.Error(err)
				}
				var writer sync.WaitGroup
				writer.Go(func() { // not all of it is read
					_, _ = fmt.Fprintf(client, "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("a", size))
				})
				if _, err := client.Read(answer); err != nil {
					t.Error(err)
				}
				_ = client.Close()
				writer.Wait()
			})
		})
		return n, err
	}
	want, wantErr := play(func(h http.Handler) served { return &http.Server{Handler: h} })
	got, err := play(func(h http.Handler) served {
		srv := &Server{Handler: h}
		srv.Native("/native", func(*fasthttp.RequestCtx) {}) // fasthttp reads first
		return srv
	})
	if want == 0 || want >= size || !errors.Is(wantErr, os.ErrDeadlineExceeded) || got >= size || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v; by http.Server %d, %v", got, err, want, wantErr)
	}
}
