package toolkit

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// Once a second a line names what holds the drain: the three connections that have been at
// it for longest, how many more, and work.
func TestDrainNamesWhatItAwaits(t *testing.T) {
	var log logs
	var g *gate // made in the bubble, as the channels
	var hooked, exit chan struct{}
	b := quiet().Logger(log.logger()).LastCall(UntilIdle).IdleTimeout(time.Hour).DrainTimeout(time.Minute).
		Get("/{name:*}", func(ctx *fasthttp.RequestCtx) { g.handle(ctx) }).
		Get("/watch", func(ctx *fasthttp.RequestCtx) {
			over := FromRequest(ctx).Watch(ctx)
			Stream(ctx, func(*bufio.Writer) error { <-over; return nil })
		}).
		Get("/hijack", func(ctx *fasthttp.RequestCtx) {
			ctx.Hijack(func(net.Conn) { <-g.release })
		}).
		Get("/quick", hello).
		OnDrain("registry", func(context.Context) error { <-hooked; return nil }).
		PreExit("database", func(context.Context) error { <-exit; return nil })
	bubble(t, b, func(t *testing.T, r *running) {
		g, hooked, exit = newGate(), make(chan struct{}), make(chan struct{})
		idle := r.dial()
		idle.get("/quick") // idle for longest, but not busy
		time.Sleep(time.Second)
		r.dial().send("GET /watch HTTP/1.1\r\nHost: t\r\n\r\n") // nobody awaits it
		for i := range 4 {
			c := r.dial()
			time.Sleep(time.Second)
			c.send(fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: t\r\n\r\n", i))
			<-g.entered
		}
		r.dial().send("GET /hijack HTTP/1.1\r\nHost: t\r\n\r\n")
		time.Sleep(time.Second)
		r.Drain()
		time.Sleep(1500 * time.Millisecond)
		close(hooked)
		time.Sleep(time.Second)
		close(g.release)
		time.Sleep(time.Second)
		_ = idle.Close()
		time.Sleep(2 * time.Second)
		close(exit)
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)

		remote := idle.LocalAddr().String() // all have the same, in memory
		lines := log.lines(t, "still awaited")
		want := []struct {
			awaited string
			more    any
			left    any
		}{
			{`drain hook "registry" for 1s; GET /0 of R active for 5s, connected for 6s; GET /1 of R active for 4s, connected for 5s; GET /2 of R active for 3s, connected for 4s`, 3.0, 59000.0},
			{`GET /0 of R active for 6s, connected for 7s; GET /1 of R active for 5s, connected for 6s; GET /2 of R active for 4s, connected for 5s`, 3.0, 58000.0},
			{`R idle for 9s`, nil, 57000.0},
			{`exit hook "database" for 500ms`, nil, nil},
			{`exit hook "database" for 1.5s`, nil, nil},
		}
		if len(lines) != len(want) {
			t.Fatalf("%d lines: %v", len(lines), lines)
		}
		for i, w := range want {
			line := lines[i]
			if got := line["awaited"]; got != strings.ReplaceAll(w.awaited, "R", remote) {
				t.Errorf("line %d: %v\nwant    %v", i, got, w.awaited)
			}
			if line["more"] != w.more || line["left"] != w.left || line["level"] != "info" {
				t.Errorf("line %d: %v", i, line)
			}
		}
	})
}

func TestTimeLeft(t *testing.T) {
	var g *gate
	b := quiet().ShutdownDelay(2*time.Second).DrainTimeout(3*time.Second).AbortTimeout(4*time.Second).Get("/", func(ctx *fasthttp.RequestCtx) { g.handle(ctx) })
	bubble(t, b, func(t *testing.T, r *running) {
		want := func(left time.Duration, until string) {
			t.Helper()
			if l, u, ok := r.timeLeft(); l != left || u != until || ok != (until != "") {
				t.Errorf("%v until %q, %v; want %v until %q", l, u, ok, left, until)
			}
		}
		want(0, "")
		g = newGate()
		r.dial().send(getRequest)
		<-g.entered
		r.Drain()
		want(2*time.Second, "the listeners close")
		time.Sleep(2 * time.Second)
		want(3*time.Second, "the deadline")
		time.Sleep(4 * time.Second)
		want(3*time.Second, "the cut")
		close(g.release)
		_ = r.wait()
		want(0, "")
	})
	bubble(t, quiet().DrainTimeout(0).Get("/", hello), func(t *testing.T, r *running) {
		r.Drain()
		if _, _, ok := r.timeLeft(); ok {
			t.Error("a time is left where there is no limit")
		}
		r.finish()
	})
}

// A client's path is in the log and on the terminal, and must do nothing there.
func TestDescribe(t *testing.T) {
	for want, c := range map[string]lifecycle.ConnInfo{
		"GET /a of 192.0.2.1:5 active for 1.2s": {
			State: lifecycle.StateActive, Route: "GET /a", Remote: "192.0.2.1:5", Since: 1230 * time.Millisecond, Age: 1240 * time.Millisecond,
		},
		"a connection idle for 0s, connected for 1m0s": {State: lifecycle.StateIdle, Age: time.Minute},
		`"GET /\x1b[2J\n\u202e" of x active for 0s`:    {State: lifecycle.StateActive, Route: "GET /\x1b[2J\n\u202e", Remote: "x"},
	} {
		if got := describe(c); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

// On a terminal the last line shows the drain, below all lines of the log; at the end it
// is gone, and the report there.
func TestConsoleOnATerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	var out bytes.Buffer
	var wide atomic.Int64
	c := &console{out: &out, terminal: true, columns: func() int { return int(wide.Load()) }}
	var g *gate
	b := quiet().Get("/", func(ctx *fasthttp.RequestCtx) { g.handle(ctx) }).Get("/log", func(ctx *fasthttp.RequestCtx) {
		log := Logger(ctx)
		log.Info().Msg("a line")
	}).LastCall(time.Minute).AccessLog(false)
	b.console, b.logger = c, c.logger()
	bubble(t, b, func(t *testing.T, r *running) {
		idle, busy := r.dial(), r.dial()
		g = newGate()
		busy.send(getRequest)
		<-g.entered
		r.Drain()
		time.Sleep(3250 * time.Millisecond)
		busyAt := len(c.text())
		if last := lastLine(c.text()); last != "draining, the deadline in 26.8s | told 0, 1 busy, 1 idle, 0 hijacked, 0 parked | GET / of "+busy.LocalAddr().String()+" active for 3.2s" {
			t.Errorf("last line %q", last)
		}
		idle.get("/log")
		text := c.text()[busyAt:]
		if !strings.HasPrefix(text, eraseLine) || !strings.Contains(text, "INF a line") || lastLine(text) != lastLine(c.text()[:busyAt]) {
			t.Errorf("a line of the log beside the last one: %q", text)
		}
		wide.Store(80)
		time.Sleep(redrawInterval)
		if last := lastLine(c.text()); last != "draining, the deadline in 26.7s | told 1, 1 busy, 0 idle, 0 hijacked, 0 parked …" {
			t.Errorf("last line of a narrow terminal: %q", last)
		}
		close(g.release)
		busy.reply("GET")
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		text = c.text()
		end := text[strings.LastIndex(text, wrapOn)+len(wrapOn):]
		if !strings.Contains(text, eraseLine+wrapOff+wrapOn) || !strings.Contains(end, "INF server exiting") || !strings.Contains(end, "cause") || !strings.HasSuffix(end, "exit code  0\n") {
			t.Errorf("the end is %q", end)
		}
	})
}

// text is what has been written.
func (c *console) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.(*bytes.Buffer).String()
}

// lastLine is the last line as a terminal would show it.
func lastLine(text string) string {
	text = text[strings.LastIndex(text, eraseLine)+len(eraseLine):]
	text = text[strings.LastIndex(text, "\n")+1:]
	return strings.TrimSuffix(strings.TrimPrefix(text, wrapOff), wrapOn)
}

// Where it is no terminal there are lines, and nothing else.
func TestConsoleElsewhere(t *testing.T) {
	for _, c := range []struct {
		name string
		b    func(*os.File) *Builder
	}{
		{"a pipe", func(f *os.File) *Builder { return quiet().Console(f) }},
		{"after Logger", func(f *os.File) *Builder { return quiet().Logger(zerolog.New(io.Discard)).Console(f) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			read, write, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer read.Close()
			var g *gate
			bubble(t, c.b(write).Get("/", func(ctx *fasthttp.RequestCtx) { g.handle(ctx) }), func(t *testing.T, r *running) {
				g = newGate()
				r.dial().send(getRequest)
				<-g.entered
				r.Drain()
				time.Sleep(1500 * time.Millisecond)
				close(g.release)
				if err := r.wait(); err != nil {
					t.Error(err)
				}
			})
			_ = write.Close()
			all, err := io.ReadAll(read)
			text := string(all)
			if err != nil || strings.Contains(text, "\x1b") || strings.Contains(text, "\r") ||
				!strings.Contains(text, "INF still awaited awaited=\"GET / of ") || !strings.HasSuffix(text, "exit code  0\n") {
				t.Errorf("%v, %s", err, text)
			}
		})
	}
}

// The last of Logger and Console counts.
func TestLoggerTakesTheConsolesPlace(t *testing.T) {
	if b := New().Console(os.Stderr).Logger(zerolog.Nop()); build(t, b.Addr("127.0.0.1:0")).console != nil {
		t.Error("the console is still there")
	}
	var log logs
	s := build(t, loopback().Logger(log.logger()))
	l := s.Logger()
	l.Info().Msg("of a hook")
	log.line(t, "of a hook")
}

// What is drained before it has run may never come to an end: nothing is to wait for that.
func TestDrainBeforeRun(t *testing.T) {
	s, told := build(t, loopback()), true
	s.Drain()
	s.telling.Do(func() { told = false })
	if told {
		t.Error("something waits for the end of what has not begun")
	}
}
