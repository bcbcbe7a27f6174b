package lifecycle

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// other is a server of requests beside fasthttp: it answers them with "other", and
// does with the connection what their path says.
type other struct{ s *Server }

// handler hands requests over that are for other.
func (o other) handler(ctx *fasthttp.RequestCtx) {
	if strings.HasPrefix(string(ctx.Path()), "/other") {
		line := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: t\r\n\r\n", ctx.Path())
		o.s.HandOver(ctx, func(a *Adopted, unread []byte) { go o.serve(a, append([]byte(line), unread...)) })
		return
	}
	ctx.SetBodyString("fasthttp")
}

func (o other) serve(a *Adopted, unread []byte) {
	in := bufio.NewReader(io.MultiReader(bytes.NewReader(unread), a.Conn()))
	for active := len(unread) > 0; ; active = false {
		if _, err := in.Peek(1); err != nil || !active && !a.Active(false) {
			_ = a.Close()
			return
		}
		req, err := http.ReadRequest(in)
		if err != nil || !a.Enter(req.Method, req.URL.Path) {
			_ = a.Close()
			return
		}
		if req.URL.Path == "/fast/whole" {
			rest, _ := in.Peek(in.Buffered())
			a.GiveBack(append([]byte("GET /fast/whole HTTP/1.1\r\nHost: t\r\n\r\n"), rest...))
			return
		}
		last := a.Last()
		text := "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
		if last {
			text += "Connection: close\r\n"
		}
		_, err = io.WriteString(a.Conn(), text+"\r\nother")
		a.Leave()
		switch {
		case last || err != nil:
			_ = a.Close()
			return
		case strings.HasSuffix(req.URL.Path, "/back"):
			rest, _ := in.Peek(in.Buffered())
			a.GiveBack(bytes.Clone(rest))
			return
		}
		a.Idle()
	}
}

// both runs a server that has an other beside it.
func both(t *testing.T, kind string, s *Server) *running {
	t.Helper()
	s.HTTP = quiet(other{s}.handler)
	return runKind(t, kind, s)
}

// until waits until the connections are as they are to be, shortly after a response.
func (r *running) until(what string, is func([]ConnInfo) bool) {
	r.t.Helper()
	for began := time.Now(); !is(r.Conns()); time.Sleep(time.Millisecond) {
		if time.Since(began) > patience {
			r.t.Fatalf("not so: %s; but %+v", what, r.Conns())
		}
	}
}

func (c *client) want(text string) {
	c.t.Helper()
	if got := body(c.response()); got != text {
		c.t.Errorf("answered by %q; want %q", got, text)
	}
}

func TestAdoptedGoesToAndFro(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			r := both(t, kind, &Server{LastCall: -1})
			c := r.dial()
			for _, step := range []struct{ path, by string }{
				{"/a", "fasthttp"}, {"/other/1", "other"}, {"/other/2", "other"}, {"/other/back", "other"},
				{"/b", "fasthttp"}, {"/other/back", "other"}, {"/c", "fasthttp"},
				{"/other/3", "other"}, {"/fast/whole", "fasthttp"}, {"/d", "fasthttp"}, {"/other/back", "other"},
			} {
				c.send("GET " + step.path + " HTTP/1.1\r\nHost: t\r\n\r\n")
				c.want(step.by)
			}
			r.until("the connection is fasthttp's", func(infos []ConnInfo) bool {
				return len(infos) == 1 && infos[0].ID == 1 && infos[0].Requests == 11 && infos[0].State == StateIdle && !infos[0].Adopted
			})
			r.Drain() // while it waits to be fasthttp's again
			c.wantEOF()
			if err := r.wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// What was read of further requests is answered, in order, by who it is for.
func TestAdoptedPipelines(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			r := both(t, kind, &Server{LastCall: -1})
			c := r.dial()
			var text string
			paths := []string{"/a", "/other/1", "/other/back", "/b", "/c", "/other/back", "/other/2", "/fast/whole", "/other/back", "/d"}
			for _, path := range paths {
				text += "GET " + path + " HTTP/1.1\r\nHost: t\r\n\r\n"
			}
			for range 3 {
				c.send(text)
				for _, path := range paths {
					by := "fasthttp"
					if strings.HasPrefix(path, "/other") {
						by = "other"
					}
					c.want(by)
				}
			}
			if infos := r.Conns(); len(infos) != 1 || infos[0].Requests != uint64(3*len(paths)) {
				t.Errorf("connections %+v", infos)
			}
		})
	}
}

// A connection that waits to be fasthttp's again does so for the idle timeout, not for
// the read timeout, which fasthttp gives to a new connection.
func TestAdoptedGivenBackMayBeIdle(t *testing.T) {
	s := &Server{LastCall: -1}
	s.HTTP = quiet(other{s}.handler)
	s.HTTP.ReadTimeout, s.HTTP.IdleTimeout = 20*time.Millisecond, patience
	r := runKind(t, "tcp", s)
	c := r.dial()
	c.send("GET /other/back HTTP/1.1\r\nHost: t\r\n\r\n")
	c.want("other")
	_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := c.r.ReadByte(); !isTimeout(err) {
		t.Fatalf("after 200 ms: %v", err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	c.send(request)
	c.want("fasthttp")
}

func TestAdoptedGivenBackHasAnIdleTimeout(t *testing.T) {
	s := &Server{LastCall: -1}
	s.HTTP = quiet(other{s}.handler)
	s.HTTP.IdleTimeout = 50 * time.Millisecond
	r := runKind(t, "tcp", s)
	c := r.dial()
	c.send("GET /other/back HTTP/1.1\r\nHost: t\r\n\r\n")
	c.want("other")
	c.wantEOF()
}

func TestAdoptedContract(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			r := both(t, kind, &Server{LastCall: 20 * time.Millisecond})
			idle, asks := r.dial(), r.dial()
			for _, c := range []*client{idle, asks} {
				c.send("GET /other HTTP/1.1\r\nHost: t\r\n\r\n")
				c.want("other")
			}
			r.Drain()
			asks.send("GET /other HTTP/1.1\r\nHost: t\r\n\r\n") // its last call
			if resp := asks.response(); !resp.Close {
				t.Error("a response of the drain does not say Connection: close")
			}
			asks.wantEOF()
			idle.wantEOF()
			if err := r.wait(); err != nil {
				t.Error(err)
			}
			if n := r.Report().Told; n != 1 {
				t.Errorf("%d told", n)
			}
		})
	}
}

// An adopted connection is parked as any other: who serves it sees a read fail.
func TestAdoptedIsParked(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("connections are parked on Linux")
	}
	r := both(t, "tcp", &Server{LastCall: -1, ParkAfter: time.Millisecond})
	c := r.dial()
	for _, path := range []string{"/other/1", "/other/back", "/other/1"} {
		c.send("GET " + path + " HTTP/1.1\r\nHost: t\r\n\r\n")
		c.want("other")
		r.until("the connection is parked", func(infos []ConnInfo) bool {
			return len(infos) == 1 && infos[0].State == StateParked && infos[0].ID == 1
		})
	}
	if infos := r.Conns(); len(infos) != 1 || infos[0].Requests != 3 {
		t.Errorf("connections %+v", infos)
	}
}

// A request that is not from a listener of the Server has nothing to be handed over.
func TestHandOverOfNothing(t *testing.T) {
	s := &Server{HTTP: quiet(hello)}
	r := runTCP(t, s)
	here, there := net.Pipe()
	defer func() { _ = here.Close() }()
	go func() { _ = r.HTTP.ServeConn(there) }()
	var ctx fasthttp.RequestCtx
	ctx.Init2(there, nil, false)
	if s.HandOver(&ctx, nil) || ctx.Hijacked() {
		t.Error("handed over")
	}
}
