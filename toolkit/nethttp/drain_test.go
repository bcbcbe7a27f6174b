package nethttp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/lifecycle/rehearsal"
)

// withLastCall sets LastCall.
func withLastCall(d time.Duration) func(*lifecycle.Server) {
	return func(s *lifecycle.Server) { s.LastCall = d }
}

// An idle connection may send one last request, is told, and gets a FIN; one that
// sends none gets a FIN when its last call is over, and not before.
func TestContract04LastCall(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		const lastCall = 50 * time.Millisecond
		r := run(t, kind, app{fresh: fresh, set: withLastCall(lastCall)})
		idle := r.dial()
		idle.get("/net")
		r.until("it is idle", func() bool { return r.Counts().Idle == 1 })
		began := time.Now()
		r.Drain()
		if _, err := idle.r.ReadByte(); !errors.Is(err, io.EOF) || time.Since(began) < lastCall {
			t.Errorf("it ended after %v: %v", time.Since(began), err)
		}
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		if report := r.Report(); report.Told != 0 || report.LastCalled != 1 || report.Open.Idle != 1 {
			t.Errorf("%+v", report)
		}

		r = run(t, kind, app{fresh: fresh, set: withLastCall(patience)}) // for who is slow
		asks, asksNative := r.dial(), r.dial()
		for _, c := range []*client{asks, asksNative} {
			c.get("/net")
		}
		r.until("they are idle", func() bool { return r.Counts().Idle == 2 })
		r.Drain()
		for c, path := range map[*client]string{asks: "/net", asksNative: "/native"} {
			if got := c.get(path); !got.Close {
				t.Errorf("%s is not told to close: %v", path, got)
			}
			c.wantEOF()
		}
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		if report := r.Report(); report.Told != 2 || report.LastCalled != 0 || report.Open.Idle != 2 {
			t.Errorf("%+v", report)
		}
	})
}

// A request whose first byte has been read is served, however long its header takes:
// http.Server itself calls its connection idle until then.
func TestContract05HeaderInParts(t *testing.T) {
	const head, tail = "GET /net HTTP/1.1\r\nHo", "st: t\r\n\r\n"
	for _, tt := range []struct{ name, before string }{
		{"alone", ""},
		{"behind another", request("GET", "/net", "")},
		{"behind a body", request("POST", "/net", "hello")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			forms(t, func(t *testing.T, kind string, fresh bool) {
				r := run(t, kind, app{fresh: fresh})
				c, idle := r.dial(), r.dial()
				c.get("/net")
				idle.get("/net")
				c.send(tt.before + head)
				if tt.before != "" {
					c.reply("")
				}
				r.until("its first byte is seen", func() bool { return r.Counts().Active == 1 })
				r.Drain()
				idle.wantEOF() // all that is idle has been ended
				c.send(tail)
				if got := c.reply("GET"); got.text != `net GET /net "" <nil>` || !got.Close {
					t.Errorf("%+v", got)
				}
				if err := r.wait(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// What was pipelined behind the last response is not answered, and destroys nothing.
func TestContract06Pipeline(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		g := newGate()
		r := run(t, kind, app{fresh: fresh, net: g.serve})
		c := r.dial()
		text := request("GET", "/net", "")
		for range 50 {
			text += request("GET", "/net", "")
		}
		c.send(text)
		<-g.entered
		r.Drain()
		close(g.release)
		if got := c.reply("GET"); got.text != "late" || !got.Close {
			t.Errorf("%+v", got)
		}
		c.wantEOF()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
	})
}

// A connection that has sent nothing is ended without a response.
func TestContract07Silent(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		r := run(t, kind, app{fresh: fresh})
		c := r.dial()
		r.until("it is accepted", func() bool { return r.Counts().Total() == 1 })
		r.Drain()
		if kind == "tls" {
			_, _ = c.Read(make([]byte, 1)) // the handshake may have been under way
		} else {
			c.wantEOF()
		}
		if err := r.wait(); err != nil {
			t.Error(err)
		}
	})
}

// gate is a handler that says when it runs and waits to be let on.
type gate struct{ entered, release chan struct{} }

func newGate() *gate { return &gate{make(chan struct{}, 100), make(chan struct{})} }

func (g *gate) serve(w http.ResponseWriter, _ *http.Request) {
	g.entered <- struct{}{}
	<-g.release
	_, _ = io.WriteString(w, "late")
}

// A handler that runs gets its response delivered, which says Connection: close; a
// stream that has begun is awaited.
func TestContract08BusyOnesAreAwaited(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		g := newGate()
		r := run(t, kind, app{
			fresh: fresh,
			net: func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/net/stream" {
					w.(http.Flusher).Flush()
				}
				g.serve(w, r)
			},
			native: func(ctx *fasthttp.RequestCtx) {
				g.entered <- struct{}{}
				<-g.release
				ctx.SetBodyString("late")
			},
		})
		late, stream, native := r.dial(), r.dial(), r.dial()
		late.send(request("GET", "/net", ""))
		stream.send(request("GET", "/net/stream", ""))
		native.send(request("GET", "/native", ""))
		for range 3 {
			<-g.entered
		}
		r.Drain()
		select {
		case <-r.done:
			t.Fatal("the drain is over")
		case <-time.After(50 * time.Millisecond):
		}
		close(g.release)
		if got := stream.reply("GET"); got.text != "late" {
			t.Errorf("stream: %+v", got)
		}
		for _, c := range []*client{late, native} {
			if got := c.reply("GET"); got.text != "late" || !got.Close {
				t.Errorf("%+v", got)
			}
			c.wantEOF()
		}
		stream.wantEOF()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
	})
}

// Contexts are open until the deadline; then handlers have time to answer.
func TestContract11Deadline(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		entered := make(chan struct{})
		r := run(t, kind, app{
			fresh: fresh,
			net: func(w http.ResponseWriter, r *http.Request) {
				close(entered)
				<-r.Context().Done()
				_, _ = io.WriteString(w, "in time")
			},
			set: func(s *lifecycle.Server) { s.DrainTimeout, s.AbortTimeout = 50*time.Millisecond, patience },
		})
		c := r.dial()
		c.send(request("GET", "/net", ""))
		<-entered
		r.Drain()
		c.want("GET", "in time")
		if err := r.wait(); !errors.Is(err, lifecycle.ErrDrainTimeout) {
			t.Error(err)
		}
	})
}

// Then all that is left is cut, whatever its state, and it is said what.
func TestContract11Cut(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		never := make(chan struct{})
		defer close(never)
		g := &gate{make(chan struct{}, 2), never}
		r := run(t, kind, app{
			fresh: fresh,
			net: func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/net/echo" {
					echo(func() <-chan struct{} { return nil })(w, r)
					return
				}
				g.serve(w, r)
			},
			set: func(s *lifecycle.Server) { s.DrainTimeout, s.AbortTimeout = 20*time.Millisecond, -1 },
		})
		busy, hijacked, half := r.dial(), r.dial(), r.dial()
		busy.send(request("GET", "/net/busy", ""))
		<-g.entered
		hijacked.wantEcho("/net/echo")
		half.send("GET /net/half HTTP/1.1\r\nHo")
		r.until("all are known", func() bool { return r.Counts().Busy() == 3 })
		r.Drain()
		if err := r.wait(); !errors.Is(err, lifecycle.ErrDrainTimeout) {
			t.Error(err)
		}
		for _, c := range []*client{busy, hijacked, half} {
			if b, err := c.r.ReadByte(); err == nil {
				t.Errorf("still answered: %q", b)
			}
		}
		cut := r.Report().Cut
		if len(cut) != 3 || cut[0].Route != "GET /net/busy" || !cut[0].Adopted || cut[1].State != lifecycle.StateHijacked {
			t.Errorf("%+v", cut)
		}
	})
}

// A request that comes while the drain's deadline has passed is not handled.
func TestContract11NothingIsServedAfterwards(t *testing.T) {
	r := run(t, "tcp", app{fresh: true})
	c := r.dial()
	c.get("/net")
	_ = r.Close()
	if err := r.wait(); !errors.Is(err, lifecycle.ErrForced) {
		t.Error(err)
	}
	_, _ = io.WriteString(c, request("GET", "/net", ""))
	if b, err := c.r.ReadByte(); err == nil {
		t.Errorf("answered: %q", b)
	}
}

// rehearse counts what shutdowns of a server lose.
func rehearse(t *testing.T, fresh bool, clients ...rehearsal.Clients) {
	t.Helper()
	rehearsePlan(t, fresh, rehearsal.Plan{Rounds: 5, Clients: clients})
}

// rehearsePlan adds the server to a plan, and TLS where it has it.
func rehearsePlan(t *testing.T, fresh bool, plan rehearsal.Plan) {
	t.Helper()
	plan.Start = rehearsal.Server(func() *lifecycle.Server {
		a := app{fresh: fresh, native: sayNative, net: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/net/stream" {
				sayNet(w, r)
				return
			}
			for i := range 5 {
				fmt.Fprintln(w, i)
				_ = http.NewResponseController(w).Flush()
				time.Sleep(10 * time.Millisecond)
			}
		}}
		life := &lifecycle.Server{
			HTTP:     &fasthttp.Server{Handler: a.native, Logger: nolog{}, MaxIdleWorkerDuration: 50 * time.Millisecond},
			Addrs:    []string{"127.0.0.1:0"},
			LastCall: time.Second, // clients get as little CPU as their server
		}
		if plan.TLS != nil {
			life.HTTP.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate()}, MinVersion: tls.VersionTLS12}
		}
		Mount{HTTP: &http.Server{}, Route: a.route, Fresh: fresh}.On(life)
		return life
	})
	rehearsal.Run(t, plan)
}

// Nor is anything lost of what comes by HTTP/2, near or far, for both kinds of handlers.
func TestRehearsalHTTP2(t *testing.T) {
	const pause = 4 * time.Millisecond
	for _, conf := range []*tls.Config{nil, {InsecureSkipVerify: true}} {
		for _, delay := range []time.Duration{0, 20 * time.Millisecond} {
			for _, fresh := range []bool{false, true} {
				t.Run(fmt.Sprintf("TLS=%v delay=%v fresh=%v", conf != nil, delay, fresh), func(t *testing.T) {
					rehearsePlan(t, fresh, rehearsal.Plan{
						TLS: conf, Delay: delay, After: 50*time.Millisecond + 20*delay, Rounds: 5,
						Clients: []rehearsal.Clients{
							{Kind: rehearsal.HTTP2, Count: 4, Path: "/net", Pause: pause, Body: 100},
							{Kind: rehearsal.HTTP2, Count: 2, Path: "/native", Pause: pause, Body: 20 << 10, Depth: 4},
							{Kind: rehearsal.HTTP2, Count: 2, Path: "/net/stream", Pause: pause, Depth: 2},
						},
					})
				})
			}
		}
	}
}

// toAndFro are as many native requests as bring a connection back to fasthttp.
var toAndFro = slices.Repeat([]string{"/native"}, nativesInARow)

// Nothing is lost, over routes of one kind and of both on one connection, even while
// that changes hands.
func TestRehearsal(t *testing.T) {
	const pause = 4 * time.Millisecond
	for _, fresh := range []bool{false, true} {
		t.Run(fmt.Sprintf("fresh=%v", fresh), func(t *testing.T) {
			rehearse(t, fresh,
				rehearsal.Clients{Kind: rehearsal.KeepAlive, Count: 24, Path: "/net", Pause: pause, Body: 100},
				rehearsal.Clients{Kind: rehearsal.KeepAlive, Count: 8, Path: "/native", Pause: pause, Body: 100},
				rehearsal.Clients{Kind: rehearsal.Segmented, Count: 8, Path: "/net", Pause: pause, Body: 20 << 10},
				rehearsal.Clients{Kind: rehearsal.Pipelined, Count: 8, Path: "/net", Pause: pause, Body: 10},
				rehearsal.Clients{Kind: rehearsal.KeepAlive, Count: 8, Path: "/net", Turns: []string{"/native"}, Pause: pause, Body: 100},
				rehearsal.Clients{Kind: rehearsal.Segmented, Count: 8, Path: "/net", Turns: toAndFro, Pause: pause, Body: 100},
				rehearsal.Clients{Kind: rehearsal.Pipelined, Count: 8, Path: "/native", Turns: []string{"/net", "/native"}, Pause: pause, Body: 10},
				rehearsal.Clients{Kind: rehearsal.Pipelined, Count: 8, Path: "/net", Turns: toAndFro, Depth: 20, Pause: pause, Body: 10},
				rehearsal.Clients{Kind: rehearsal.Fresh, Count: 4, Path: "/net", Pause: pause},
				rehearsal.Clients{Kind: rehearsal.Silent, Count: 4},
				rehearsal.Clients{Kind: rehearsal.Idle, Count: 8, Path: "/net"},
				rehearsal.Clients{Kind: rehearsal.Streaming, Count: 4, Path: "/net/stream", Pause: pause},
			)
		})
	}
}

// cutHandlers begin responses, and return when their contexts end.
var cutHandlers = map[string]func(w http.ResponseWriter, r *http.Request, entered func()){
	"stream": func(w http.ResponseWriter, r *http.Request, entered func()) {
		_, _ = io.WriteString(w, "begin")
		_ = http.NewResponseController(w).Flush()
		entered() // what begins after the deadline would be another case
		<-r.Context().Done()
	},
	"buffered": func(w http.ResponseWriter, r *http.Request, entered func()) {
		_, _ = io.WriteString(w, "begin")
		entered()
		<-r.Context().Done()
	},
	"whole": func(w http.ResponseWriter, r *http.Request, entered func()) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "begin")
		entered()
		<-r.Context().Done()
		_, _ = io.WriteString(w, "-ends")
	},
	"late": func(w http.ResponseWriter, r *http.Request, entered func()) {
		entered()
		<-r.Context().Done()
		for range 10 {
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
		}
	},
	"empty": func(w http.ResponseWriter, r *http.Request, entered func()) {
		w.WriteHeader(http.StatusNoContent)
		entered()
		<-r.Context().Done()
	},
}

// cutEnds end a server before those have.
var cutEnds = map[string]struct {
	abort time.Duration
	end   func(*running)
}{
	"Close":          {time.Hour, func(r *running) { _ = r.Close() }},
	"deadline":       {time.Hour, func(r *running) { r.Drain() }},
	"deadline alone": {-1, func(r *running) { r.Drain() }},
}

// A stream that Close or the deadline ends must not look whole: neither while its
// handler goes on, nor where that returns because its context has ended. One that has
// a length, or begins after the deadline, is delivered.
func TestContract11WhatIsCutLooksCut(t *testing.T) {
	forms(t, func(t *testing.T, kind string, fresh bool) {
		for name, end := range cutEnds {
			for path, handler := range cutHandlers {
				for _, proto := range []string{"HTTP/1.1", "HTTP/1.0"} {
					if kind == "unix" && proto == "HTTP/1.0" {
						continue // a Unix socket knows no reset
					}
					entered := make(chan struct{})
					r := run(t, kind, app{
						fresh: fresh,
						net:   func(w http.ResponseWriter, r *http.Request) { handler(w, r, func() { close(entered) }) },
						set: func(s *lifecycle.Server) {
							s.DrainTimeout, s.AbortTimeout = time.Millisecond, end.abort
						},
					})
					c := r.dial()
					c.send("GET /net " + proto + "\r\nHost: t\r\n\r\n")
					<-entered
					end.end(r)
					resp, err := http.ReadResponse(c.r, nil)
					var body []byte
					if err == nil {
						body, err = io.ReadAll(resp.Body)
					}
					_ = r.wait()
					cut := path == "stream" || path == "buffered"
					if cut && err == nil || !cut && err != nil && name == "deadline" { // else it is a race
						t.Errorf("%s, %s, %s: %q, %v", name, path, proto, body, err)
					}
				}
			}
		}
	})
}

// The same by HTTP/2, where a stream that goes on is cut with its connection.
func TestContract11WhatIsCutLooksCutHTTP2(t *testing.T) {
	goesOn := func(w http.ResponseWriter, _ *http.Request, entered func()) {
		for begun := false; ; begun = true {
			if _, err := io.WriteString(w, "more"); err != nil {
				return
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				return
			}
			if !begun {
				entered()
			}
		}
	}
	test := func(t *testing.T, kind string, fresh bool, abort time.Duration, end func(*running), handler func(http.ResponseWriter, *http.Request, func())) ([]byte, error) {
		entered := make(chan struct{})
		r := run(t, kind, app{
			fresh: fresh,
			net:   func(w http.ResponseWriter, r *http.Request) { handler(w, r, func() { close(entered) }) },
			set:   func(s *lifecycle.Server) { s.DrainTimeout, s.AbortTimeout = time.Millisecond, abort },
		})
		go func() {
			<-entered
			end(r)
		}()
		resp, err := r.httpClient().Get(r.url("/net"))
		if err != nil {
			_ = r.wait()
			return nil, err
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		_ = r.wait()
		return body, err
	}
	forms(t, func(t *testing.T, kind string, fresh bool) {
		for name, end := range cutEnds {
			for path, handler := range cutHandlers {
				body, err := test(t, kind, fresh, end.abort, end.end, handler)
				cut := path == "stream" || path == "buffered"
				if cut && err == nil || !cut && err != nil && name == "deadline" { // else it is a race
					t.Errorf("%s, %s: %q, %v", name, path, body, err)
				}
			}
		}
		if body, err := test(t, kind, fresh, time.Millisecond, (*running).Drain, goesOn); err == nil {
			t.Errorf("what goes on looks whole: %d bytes", len(body))
		}
	})
}
