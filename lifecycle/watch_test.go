package lifecycle

import (
	"bufio"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"
)

// spectate is a handler that says "here", and "bye" when there is nothing more to see. It
// says nothing more where deaf is closed first.
func spectate(s *Server, deaf <-chan struct{}) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		over := s.Watch(ctx)
		ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
			_, _ = w.WriteString("here")
			_ = w.Flush()
			if deaf != nil {
				<-deaf
				return
			}
			<-over
			_, _ = w.WriteString("bye")
		})
	}
}

// watching is a client that has got the begin of such a response.
func (r *running) watching() (c *client, body io.Reader) {
	r.t.Helper()
	c = r.dial()
	c.send("GET /watch HTTP/1.1\r\nHost: t\r\n\r\n")
	if line, err := c.r.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		r.t.Fatal(line, err)
	}
	closes := false
	for line := ""; line != "\r\n"; closes = closes || line == "Connection: close\r\n" {
		line, _ = c.r.ReadString('\n')
	}
	if !closes {
		r.t.Error("the response is not its connection's last")
	}
	if begin, err := c.r.Peek(len("4\r\nhere\r\n")); err != nil || string(begin) != "4\r\nhere\r\n" {
		r.t.Fatalf("%q, %v", begin, err)
	}
	return c, c.r
}

const spectated = "4\r\nhere\r\n3\r\nbye\r\n0\r\n\r\n"

// Who watches does not hold the drain, is told at its end, and gets to say so.
func TestWatch(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			g, job := newGate(), make(chan struct{})
			s := &Server{DrainTimeout: -1, LastCall: time.Millisecond}
			show := spectate(s, nil)
			s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
				if string(ctx.Path()) == "/watch" {
					show(ctx)
					return
				}
				g.handle(ctx)
			})
			s.OnDrain("slow", func(context.Context) error { <-job; return nil })
			r := runKind(t, kind, s)
			_, first := r.watching()
			_, second := r.watching()
			busy := r.dial()
			busy.send(request)
			<-g.entered
			var names []bool
			for _, c := range r.Conns() {
				names = append(names, c.Watches)
			}
			if !slices.Equal(names, []bool{true, true, false}) {
				t.Errorf("who watches: %v", names)
			}
			r.Drain()
			g.release <- struct{}{}
			busy.response()
			select {
			case <-s.watchers.over:
				t.Error("those who watch are told before all else has ended")
			case <-time.After(20 * time.Millisecond):
			}
			close(job)
			for _, body := range []io.Reader{first, second} {
				if all, err := io.ReadAll(body); err != nil || string(all) != spectated {
					t.Errorf("%q, %v", all, err)
				}
			}
			if err := r.wait(); err != nil {
				t.Error(err)
			}
			if n := r.watchers.conns.Load(); n != 0 {
				t.Errorf("%d watch after the end", n)
			}
		})
	}
}

// A client that goes while it watches is forgotten, and what is busy awaited all the same.
func TestWatchGone(t *testing.T) {
	g := newGate()
	s := &Server{DrainTimeout: -1, LastCall: time.Millisecond}
	over := make(chan struct{})
	s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
		if string(ctx.Path()) != "/watch" {
			g.handle(ctx)
			return
		}
		s.Watch(ctx)
		ctx.SetBodyStreamWriter(func(w *bufio.Writer) { // which notices that its client has gone
			defer close(over)
			_, _ = w.WriteString("here")
			for w.Flush() == nil {
				time.Sleep(time.Millisecond)
				_ = w.WriteByte('.')
			}
		})
	})
	r := runTCP(t, s)
	c, _ := r.watching()
	busy := r.dial()
	busy.send(request)
	<-g.entered
	resetConn(c)
	<-over
	r.Drain()
	select {
	case <-r.done:
		t.Fatal("the drain has not awaited a request")
	case <-time.After(20 * time.Millisecond):
	}
	g.release <- struct{}{}
	if busy.response().StatusCode != 200 || r.wait() != nil {
		t.Error(r.err)
	}
}

// Who says no last word is cut after a second.
func TestWatchTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		deaf := make(chan struct{})
		defer close(deaf)
		s := &Server{LastCall: -1, DrainTimeout: time.Minute}
		s.HTTP = quiet(spectate(s, deaf))
		r := runMem(t, s)
		r.watching()
		began := time.Now()
		r.Drain()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != watchTimeout+unwindTimeout {
			t.Errorf("Run returned after %v", took)
		}
	})
}

// So it is at the deadline, where that comes first: nothing else was cut.
func TestWatchAtTheDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		deaf := make(chan struct{})
		defer close(deaf)
		s := &Server{LastCall: -1, DrainTimeout: watchTimeout / 2}
		s.HTTP = quiet(spectate(s, deaf))
		r := runMem(t, s)
		r.watching()
		r.Drain()
		if err := r.wait(); err != nil || len(r.Report().Cut) != 0 {
			t.Errorf("%v, %+v", err, r.Report())
		}
	})
}

// When a drain ends by force, those who watch have seen it, and are not among what was cut.
func TestWatchForcedEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGate()
		defer close(g.release)
		s := &Server{LastCall: -1, DrainTimeout: time.Second, AbortTimeout: time.Second}
		show := spectate(s, nil)
		s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
			if string(ctx.Path()) == "/watch" {
				show(ctx)
				return
			}
			g.handle(ctx)
		})
		r := runMem(t, s)
		_, body := r.watching()
		r.dial().send(request)
		<-g.entered
		r.Drain()
		began := time.Now()
		if all, err := io.ReadAll(body); err != nil || string(all) != spectated {
			t.Errorf("%q, %v", all, err)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("told after %v", took)
		}
		if err := r.wait(); !errors.Is(err, ErrDrainTimeout) {
			t.Error(err)
		}
		if cut := r.Report().Cut; len(cut) != 1 || cut[0].Route != "GET /" {
			t.Errorf("cut %+v", cut)
		}
	})
}

// On what is no connection of the table, as a stream of HTTP/2, it is told at the drain's
// begin.
func TestWatchElsewhere(t *testing.T) {
	s := &Server{HTTP: quiet(hello)}
	ctx := new(fasthttp.RequestCtx)
	ctx.Init2(nil, nolog{}, false)
	if s.Watch(ctx) != s.Draining() || s.watchers.conns.Load() != 0 {
		t.Error("it is taken for a connection")
	}
}

func TestEachConn(t *testing.T) {
	g := newGate()
	r := runTCP(t, &Server{HTTP: quiet(g.handle), DrainTimeout: time.Millisecond, AbortTimeout: -1})
	for range 5 {
		r.dial().send(request)
		<-g.entered
	}
	seen := 0
	for range r.EachConn {
		if seen++; seen == 3 {
			break
		}
	}
	if seen != 3 {
		t.Errorf("%d connections seen", seen)
	}
	all := map[uint64]ConnInfo{}
	for _, c := range r.Conns() {
		all[c.ID] = c
	}
	for c := range r.EachConn {
		if c.Remote != "" || c.Local != "" || c.Route != "" {
			t.Errorf("a walk gives %+v", c.ConnInfo)
		}
		info, open := c.Info()
		want := all[c.ID]
		want.Age, want.Since = info.Age, info.Since
		if !open || info != want || info.Route != "GET /" {
			t.Errorf("%v %+v, want %+v", open, info, want)
		}
		if text := string(c.AppendRoute(append(c.AppendRemote([]byte("from ")), ' '))); text != "from "+info.Remote+" "+info.Route {
			t.Errorf("%q for %+v", text, info)
		}
		delete(all, c.ID)
	}
	if len(all) != 0 {
		t.Errorf("not seen: %v", all)
	}
	var last OpenConn
	for last = range r.EachConn {
	}
	close(g.release)
	_ = r.Close()
	<-r.done
	for last.conn.state() != StateClosed { // when its goroutine has come to it
		time.Sleep(time.Millisecond)
	}
	if _, open := last.Info(); open {
		t.Error("open after the end")
	}
}

// Work names hooks while they run, with what else is under way.
func TestWork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		wait := func(context.Context) error { <-release; return nil }
		s := &Server{HTTP: quiet(hello), LastCall: -1}
		s.OnStart("prepare", wait)
		s.OnDrain("registry", wait)
		s.OnDrain("mail", wait)
		s.PreExit("database", wait)
		s.PreExit("queue", wait)
		want := func(names string, ages ...time.Duration) {
			t.Helper()
			time.Sleep(time.Second)
			var got []string
			for i, w := range s.Work() {
				got = append(got, w.Name)
				if i < len(ages) && w.Age != ages[i] {
					t.Errorf("%s: for %v, want %v", w.Name, w.Age, ages[i])
				}
			}
			if strings.Join(got, ", ") != names {
				t.Errorf("work %q, want %s", got, names)
			}
		}
		pending := func(names ...string) {
			t.Helper()
			var got []string
			for _, h := range s.PendingHooks() {
				name := string(h.Stage) + " " + h.Name
				if h.Took > 0 {
					name += " " + h.Took.String()
				}
				got = append(got, name)
			}
			if !slices.Equal(got, names) {
				t.Errorf("pending %q, want %q", got, names)
			}
		}
		pending("start prepare", "drain registry", "drain mail", "exit queue", "exit database")
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = s.Serve(fasthttputil.NewInmemoryListener())
		}()
		want(`start hook "prepare"`, time.Second)
		release <- struct{}{}
		<-s.Reached(PhaseReady)
		job := make(chan struct{})
		s.Go("job", func(context.Context) { <-job })
		want("job", time.Second)
		s.Drain()
		want(`job, drain hook "registry"`, 2*time.Second, time.Second)
		release <- struct{}{}
		want(`job, drain hook "mail"`, 3*time.Second, time.Second)
		pending("drain mail 1s", "exit queue", "exit database")
		close(job)
		release <- struct{}{}
		want(`exit hook "queue"`, time.Second)
		release <- struct{}{}
		want(`exit hook "database"`)
		release <- struct{}{}
		<-done
		want("")
		pending()
	})
}
