package debug

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
)

// patience only turns a hang into a failure.
const patience = time.Minute

func TestMain(m *testing.M) {
	(&fasthttp.ResponseHeader{}).Header() // fasthttp's clock has no end, and must not begin in a bubble
	os.Exit(m.Run())
}

// anyone is a guard that lets everybody through.
func anyone(next fasthttp.RequestHandler) fasthttp.RequestHandler { return next }

// loopback has a page, and a handler that waits until it is let on.
func loopback(release <-chan struct{}) *toolkit.Builder {
	return toolkit.New().Addr("127.0.0.1:0").Logger(zerolog.Nop()).LastCall(time.Millisecond).
		Get("/hello", func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("hello") }).
		Get("/slow/{path:*}", func(*fasthttp.RequestCtx) { <-release }).
		Configure(func(h *fasthttp.Server) { h.MaxIdleWorkerDuration = 10 * time.Millisecond })
}

// running is a server under test.
type running struct {
	*toolkit.Server
	t    testing.TB
	done chan error
	mem  *fasthttputil.InmemoryListener // in a bubble
}

func run(t testing.TB, b *toolkit.Builder) *running {
	t.Helper()
	s, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return start(t, s)
}

func start(t testing.TB, s *toolkit.Server) *running {
	t.Helper()
	r, ended := &running{Server: s, t: t, done: make(chan error, 1)}, make(chan struct{})
	go func() {
		defer close(ended)
		r.done <- s.Run(context.Background())
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-ended
	})
	<-s.Reached(lifecycle.PhaseReady)
	return r
}

// bubble runs a test of what b builds in fake time.
func bubble(t *testing.T, b *toolkit.Builder, f func(t *testing.T, r *running)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(48 * time.Hour) }) // for what ends on its own time
		b.Configure(func(h *fasthttp.Server) { h.MaxIdleWorkerDuration = time.Hour })
		mem := fasthttputil.NewInmemoryListener()
		r := run(t, b.Listener(mem))
		r.mem = mem
		f(t, r)
	})
}

// wait waits for Run's return.
func (r *running) wait() error {
	r.t.Helper()
	if r.mem != nil {
		return <-r.done
	}
	select {
	case err := <-r.done:
		return err
	case <-time.After(patience):
		r.t.Fatalf("Run has not returned: %+v", r.Conns())
		return nil
	}
}

// client is a connection.
type client struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func (r *running) dial() *client {
	r.t.Helper()
	var nc net.Conn
	var err error
	if r.mem != nil {
		nc, err = r.mem.Dial()
	} else {
		addr := r.ListenAddrs()[0]
		nc, err = net.Dial(addr.Network(), addr.String())
	}
	if err != nil {
		r.t.Fatal(err)
	}
	if r.mem == nil {
		_ = nc.SetDeadline(time.Now().Add(patience))
	}
	r.t.Cleanup(func() { _ = nc.Close() })
	return &client{nc, r.t, bufio.NewReader(nc)}
}

// send sends a request. Headers are names and values by turns.
func (c *client) send(method, path string, headers ...string) *client {
	c.t.Helper()
	text := method + " " + path + " HTTP/1.1\r\nHost: localhost:8080\r\n"
	for i := 0; i+1 < len(headers); i += 2 {
		text += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	if _, err := io.WriteString(c.Conn, text+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// reply is a response that has been read to its end.
type reply struct {
	*http.Response
	text string
}

func (c *client) receive(method string) reply {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return reply{resp, string(body)}
}

func (r *running) do(method, path string, headers ...string) reply {
	r.t.Helper()
	c := r.dial()
	defer c.Close()
	return c.send(method, path, headers...).receive(method)
}

func (r *running) get(path string, headers ...string) reply {
	r.t.Helper()
	return r.do("GET", path, headers...)
}

// snapshot asks for one as JSON.
func (r *running) snapshot(query string) (snap seen) {
	r.t.Helper()
	resp := r.get("/debug?format=json&" + query)
	if resp.StatusCode != 200 {
		r.t.Fatal(resp.Status, resp.text)
	}
	snap.parse(r.t, resp.text)
	return snap
}

// seen is a snapshot as its JSON tells of it.
type seen struct {
	At       time.Time
	Phase    string
	Cause    string
	End      string
	Counts   lifecycle.Counts
	Watching int
	Told     int
	Cut      int
	Conns    []seenConn
	ConnsOf  int `json:"conns_of"`
	Work     []lifecycle.WorkInfo
	Hooks    []hook
	Checks   []struct{ Name, Err string }
	History  []struct {
		At time.Time
		lifecycle.Counts
	}
	Server *struct {
		PID      int
		Drains   bool
		Addrs    []string
		Settings []toolkit.Setting
		Warnings []toolkit.Warning
	}
}

type seenConn struct {
	ID                   uint64
	State, Remote, Route string
	Requests             int
	Since                time.Duration `json:"since_ns"`
	Watches              bool
}

func (s *seen) parse(t testing.TB, text string) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), s); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}

// events is a client that has asked for events.
type events struct {
	*client
	body *bufio.Reader
}

func (r *running) watch(query string) *events {
	r.t.Helper()
	c := r.dial()
	c.send("GET", "/debug?"+query, "Accept", "text/event-stream")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		r.t.Fatal(resp, err)
	}
	return &events{c, bufio.NewReader(resp.Body)}
}

// next is the next event; an end of all is an error.
func (e *events) next() (snap seen, err error) {
	e.t.Helper()
	for {
		line, err := e.body.ReadString('\n')
		if err != nil {
			return snap, err
		}
		if text, ok := strings.CutPrefix(line, "data: "); ok {
			snap.parse(e.t, text)
			return snap, nil
		}
	}
}

// until returns the first event of which f is true.
func (e *events) until(what string, f func(seen) bool) seen {
	e.t.Helper()
	var last seen
	for {
		snap, err := e.next()
		if err != nil {
			e.t.Fatalf("%s: %v; the last event: %+v", what, err, last)
		}
		if f(snap) {
			return snap
		}
		last = snap
	}
}

func (c seenConn) String() string { return fmt.Sprintf("%d %s %s", c.ID, c.State, c.Route) }
