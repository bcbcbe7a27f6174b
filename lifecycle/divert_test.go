package lifecycle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// divertOther has other get the connections that begin with a request for it.
func divertOther(s *Server) *Server {
	s.LastCall = -1
	s.Divert = func(a *Adopted, unread []byte) { go other{s}.serve(a, unread) }
	s.DivertIf = func(begin []byte) bool { return bytes.Contains(begin, []byte("/other")) }
	return s
}

// Divert spares fasthttp the connection.
func TestDivert(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			s := divertOther(&Server{})
			s.DivertIf = nil
			r := both(t, kind, s)
			c := r.dial()
			for _, path := range []string{"/x", "/other/back", "/other/1"} {
				c.send("GET " + path + " HTTP/1.1\r\nHost: t\r\n\r\n")
				c.want("other")
			}
			r.Drain()
			c.wantEOF()
			if err := r.wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// What a connection begins with says who gets it, and nothing of it is lost. fasthttp
// serves a socket itself. HTTP.ConnState is told of each once, and of its end.
func TestDivertIf(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			var mu sync.Mutex
			states := map[net.Conn][]fasthttp.ConnState{}
			s := divertOther(&Server{})
			s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
				switch ctx.Conn().(type) {
				case *net.TCPConn, *net.UnixConn, *replayedTLS:
				default:
					t.Errorf("fasthttp serves a %T", ctx.Conn())
				}
				fmt.Fprintf(ctx, "fasthttp %s", ctx.PostBody())
			})
			s.HTTP.ConnState = func(nc net.Conn, st fasthttp.ConnState) {
				mu.Lock()
				defer mu.Unlock()
				if st != fasthttp.StateActive && st != fasthttp.StateIdle {
					states[nc] = append(states[nc], st)
				}
			}
			r := runKind(t, kind, s)
			silent := r.dialRaw()
			defer func() { _ = silent.Close() }()
			for range 3 {
				c := r.dial()
				c.send("POST /fast HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabcGET /fast HTTP/1.1\r\nHost: t\r\n\r\n")
				c.want("fasthttp abc")
				c.want("fasthttp ")
				c = r.dial()
				c.send("GET /other HTTP/1.1\r\nHost: t\r\n\r\nGET /other HTTP/1.1\r\nHost: t\r\n\r\n")
				c.want("other")
				c.want("other")
			}
			if n := r.Counts(); n.Total() != 7 || n.New != 1 {
				t.Errorf("%v", n)
			}
			for _, info := range r.Conns() {
				if info.State != StateNew && info.Requests != 2 {
					t.Errorf("%+v", info)
				}
			}
			r.Drain()
			if err := r.wait(); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, seen := range states {
				if len(seen) != 2 || seen[0] != fasthttp.StateNew || seen[1] != fasthttp.StateClosed && seen[1] != fasthttp.StateHijacked {
					t.Errorf("states %v", seen)
				}
			}
			if len(states) < 7 {
				t.Errorf("%d connections", len(states))
			}
		})
	}
}

// In memory a connection cannot be looked at without reading it. Nobody is to take the
// deadline of a silent one for that of its first request.
func TestDivertIfInMemory(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := divertOther(&Server{})
		s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("fasthttp") })
		s.HTTP.ReadTimeout = time.Minute
		r := runMem(t, s)
		silent, fast, slow := r.dial(), r.dial(), r.dial()
		fast.send("GET /fast HTTP/1.1\r\nHost: t\r\n\r\n")
		fast.want("fasthttp")
		began := time.Now()
		time.Sleep(59 * time.Second)
		slow.send("GET /other HTTP/1.1\r\nHost: t\r\n\r\n")
		slow.want("other")
		silent.wantNothing()
		if took := time.Since(began); took != time.Minute {
			t.Errorf("a silent one ended after %v", took)
		}
		time.Sleep(time.Hour)
		slow.send("GET /other HTTP/1.1\r\nHost: t\r\n\r\n")
		slow.want("other")
		r.Drain()
		<-r.done
	})
}

// A drain ends connections that are being waited for, a half-open one gets no goroutine
// for ever, and who is refused is not shown.
func TestDivertIfAndTheEnd(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			s := divertOther(&Server{HTTP: quiet(hello)})
			s.HTTP.ReadTimeout = 30 * time.Millisecond
			r := runKind(t, kind, s)
			silent := r.dialRaw()
			_ = silent.SetDeadline(time.Now().Add(patience))
			if n, err := silent.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("%d bytes, %v", n, err)
			}
			r.until("it is gone", func(infos []ConnInfo) bool { return len(infos) == 0 })

			s = divertOther(&Server{HTTP: quiet(hello)})
			s.HTTP.Concurrency = 1
			r = runKind(t, kind, s)
			silent = r.dialRaw()
			r.until("it is there", func(infos []ConnInfo) bool { return len(infos) == 1 })
			c := r.dial()
			c.send("GET /other HTTP/1.1\r\nHost: t\r\n\r\n")
			if resp := c.response(); resp.StatusCode != fasthttp.StatusServiceUnavailable {
				t.Error(resp)
			}
			r.Drain()
			if err := r.wait(); err != nil {
				t.Error(err)
			}
			if infos := r.Report().Cut; len(infos) != 0 || len(r.Conns()) != 0 {
				t.Errorf("cut %+v", infos)
			}
			_ = silent.Close()
		})
	}
}
