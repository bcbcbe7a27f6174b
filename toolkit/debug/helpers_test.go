package debug

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/internal/servertest"
	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
)

// anyone is a guard that lets everybody through.
func anyone(next fasthttp.RequestHandler) fasthttp.RequestHandler { return next }

// loopback has a page, and a handler that waits until it is let on.
func loopback(release <-chan struct{}) *toolkit.Builder {
	return servertest.Loopback().
		Get("/hello", func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("hello") }).
		Get("/slow/{path:*}", func(*fasthttp.RequestCtx) { <-release }).
		Configure(func(h *fasthttp.Server) { h.MaxIdleWorkerDuration = 10 * time.Millisecond })
}

// running is a server under test.
type running struct{ *servertest.Server }

func run(t testing.TB, b *toolkit.Builder) running {
	t.Helper()
	return running{servertest.Run(t, b)}
}

// snapshot asks for one as JSON.
func (r running) snapshot(query string) (snap seen) {
	r.T.Helper()
	resp := r.Get("/debug?format=json&" + query)
	if resp.StatusCode != 200 {
		r.T.Fatal(resp.Status, resp.Text)
	}
	snap.parse(r.T, resp.Text)
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
	*servertest.Client
	body *bufio.Reader
}

func (r running) watch(query string) *events {
	r.T.Helper()
	c := r.Dial()
	c.Ask("GET", "/debug?"+query, "", "Accept", "text/event-stream")
	resp, err := http.ReadResponse(c.R, nil)
	if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		r.T.Fatal(resp, err)
	}
	return &events{c, bufio.NewReader(resp.Body)}
}

// next is the next event; an end of all is an error.
func (e *events) next() (snap seen, err error) {
	e.T.Helper()
	for {
		line, err := e.body.ReadString('\n')
		if err != nil {
			return snap, err
		}
		if text, ok := strings.CutPrefix(line, "data: "); ok {
			snap.parse(e.T, text)
			return snap, nil
		}
	}
}

// until returns the first event of which f is true.
func (e *events) until(what string, f func(seen) bool) seen {
	e.T.Helper()
	var last seen
	for {
		snap, err := e.next()
		if err != nil {
			e.T.Fatalf("%s: %v; the last event: %+v", what, err, last)
		}
		if f(snap) {
			return snap
		}
		last = snap
	}
}

func (c seenConn) String() string { return fmt.Sprintf("%d %s %s", c.ID, c.State, c.Route) }
