package lifecycle

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// The tests of the drain contract carry the numbers of its lines in doc.go.

const request = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"

// gate is a handler that says when it runs and waits to be let on.
type gate struct {
	entered chan struct{}
	release chan struct{}
}

func newGate() *gate { return &gate{make(chan struct{}, 100), make(chan struct{})} }

func (g *gate) handle(ctx *fasthttp.RequestCtx) {
	g.entered <- struct{}{}
	<-g.release
	ctx.SetBodyString("late")
}

func TestContract01ReadinessTurnsRedFirst(t *testing.T) {
	seen := make(chan Phase, 1)
	var s *Server
	s = &Server{HTTP: quiet(hello), ShutdownDelay: time.Hour, OnEvent: func(e Event) {
		if e.Kind == EventPhase && e.Phase == PhaseDraining {
			seen <- s.Phase()
		}
	}}
	r := runTCP(t, s)
	if r.Phase() != PhaseReady {
		t.Fatal(r.Phase())
	}
	r.Drain()
	select {
	case <-r.Draining():
	default:
		t.Error("Drain returned before Draining was closed")
	}
	if phase := <-seen; phase != PhaseDraining || r.Phase() != PhaseDraining {
		t.Error(phase)
	}
	r.dial().get("/") // nothing else has changed
}

func TestContract02ShutdownDelayServesAndTells(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			r := runKind(t, kind, &Server{HTTP: quiet(hello), ShutdownDelay: time.Hour})
			old := r.dial()
			if resp := old.get("/"); resp.Close {
				t.Error("told to close before the drain")
			}
			r.Drain()
			for _, c := range []*client{old, r.dial(), r.dial()} {
				if resp := c.get("/"); !resp.Close || body(resp) != "hello" {
					t.Errorf("response %v, close %v", resp.Status, resp.Close)
				}
				c.wantEOF()
			}
			if rep := r.Report(); rep.Accepted != 2 || rep.Told != 3 {
				t.Errorf("accepted %d, told %d", rep.Accepted, rep.Told)
			}
		})
	}
}

func TestContract02DelayInFakeTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := runMem(t, &Server{HTTP: quiet(hello), ShutdownDelay: 5 * time.Second, LastCall: time.Second})
		early := r.dial()
		early.get("/")
		began := time.Now()
		r.Drain()
		time.Sleep(4500 * time.Millisecond)
		late := r.dial() // its last call outlasts the delay
		early.wantEOF()
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("idle connection closed after %v", took)
		}
		late.wantEOF()
		<-r.done
		if took := time.Since(began); took != 5500*time.Millisecond {
			t.Errorf("drained after %v", took)
		}
	})
}

// A client that has a connection gets its answer, whether the server had
// accepted the connection when the drain began or not.
func TestContract03AcceptQueueIsServed(t *testing.T) {
	for _, kind := range []string{"tcp", "unix"} {
		t.Run(kind, func(t *testing.T) {
			for range 5 {
				r := runKind(t, kind, &Server{HTTP: quiet(hello)})
				addr := r.ListenAddrs()[0]
				var served atomic.Int64
				var clients sync.WaitGroup
				for range 8 {
					clients.Go(func() {
						for {
							// A refused SYN is sent again after 1 s; who has been
							// refused has lost nothing.
							nc, err := net.DialTimeout(addr.Network(), addr.String(), 200*time.Millisecond)
							if err != nil {
								return
							}
							if err := exchange(nc); err != nil {
								t.Errorf("an established connection was not served: %v", err)
							}
							served.Add(1)
						}
					})
				}
				for served.Load() < 50 {
					time.Sleep(time.Millisecond)
				}
				r.Drain()
				if err := r.wait(); err != nil {
					t.Error(err)
				}
				clients.Wait()
			}
		})
	}
}

// exchange sends one request and wants its response.
func exchange(nc net.Conn) error {
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(nc, request); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func TestContract04IdleLastCall(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			r := runKind(t, kind, &Server{HTTP: quiet(hello)})
			idle, last := r.dial(), r.dial()
			idle.get("/")
			last.get("/")
			r.Drain()
			if resp := last.get("/"); !resp.Close || body(resp) != "hello" {
				t.Errorf("last call answered %v, close %v", resp.Status, resp.Close)
			}
			last.wantEOF()
			idle.wantEOF()
			if err := r.wait(); err != nil {
				t.Error(err)
			}
			if rep := r.Report(); rep.LastCalled != 1 || rep.Told != 1 || rep.Open.Total() != 2 {
				t.Errorf("report %+v", rep)
			}
		})
	}
}

func TestContract04LastCallInFakeTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := runMem(t, &Server{HTTP: quiet(hello), LastCall: 300 * time.Millisecond})
		c := r.dial()
		c.get("/")
		time.Sleep(time.Second)
		began := time.Now()
		r.Drain()
		c.wantEOF()
		<-r.done
		if took := time.Since(began); took != 300*time.Millisecond {
			t.Errorf("Run returned %v after the drain's begin", took)
		}
		if n := r.Report().LastCalled; n != 1 {
			t.Errorf("last-called %d", n)
		}
	})
}

func TestContract04NoLastCall(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			r := runKind(t, kind, &Server{HTTP: quiet(hello), LastCall: -1})
			c := r.dial()
			c.get("/")
			r.Drain()
			c.wantEOF()
			if err := r.wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestContract04UntilIdle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &Server{HTTP: quiet(hello), LastCall: UntilIdle}
		s.HTTP.IdleTimeout = 4 * time.Second
		r := runMem(t, s)
		c, told := r.dial(), r.dial()
		c.get("/")
		told.get("/")
		time.Sleep(time.Second)
		began := time.Now()
		r.Drain()
		time.Sleep(time.Second)
		if resp := told.get("/"); !resp.Close {
			t.Error("not told")
		}
		told.wantEOF()
		<-r.done
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("drained after %v, not with the idle timeout", took)
		}
	})
}

// A request whose first byte has come is served, however long its rest takes.
func TestContract05RequestInSegments(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			r := runKind(t, kind, &Server{
				HTTP:     quiet(func(ctx *fasthttp.RequestCtx) { ctx.SetBody(ctx.PostBody()) }),
				LastCall: time.Millisecond,
			})
			parts := []string{"P", "OST / HTTP/1.1\r\nHo", "st: t\r\nContent-Length: 4\r\n\r\n", "bo", "dy"}
			fresh, used, other := r.dial(), r.dial(), r.dial()
			used.get("/")
			other.get("/")
			fresh.send(parts[0])
			used.send(parts[0])
			for r.Counts().Active < 2 {
				time.Sleep(time.Millisecond)
			}
			r.Drain()
			other.wantEOF() // now the drain has ended what it held for idle
			for _, part := range parts[1:] {
				fresh.send(part)
				used.send(part)
				time.Sleep(2 * time.Millisecond) // segments, not a race: any timing must do
			}
			for _, c := range []*client{fresh, used} {
				if resp := c.response(); body(resp) != "body" || !resp.Close {
					t.Errorf("response %v, close %v", resp.Status, resp.Close)
				}
				c.wantEOF()
			}
			if err := r.wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// splitter sends only the first bytes of what is written to it after it was told
// to, and the rest when it is released.
type splitter struct {
	net.Conn
	first   int
	release chan struct{}
}

func (s *splitter) Write(b []byte) (int, error) {
	if s.first == 0 || len(b) <= s.first {
		return s.Conn.Write(b)
	}
	if _, err := s.Conn.Write(b[:s.first]); err != nil {
		return 0, err
	}
	<-s.release
	_, err := s.Conn.Write(b[s.first:])
	return len(b), err
}

// The begin of a TLS record is neither in the kernel nor with fasthttp, and is the
// begin of a request all the same.
func TestContract05TLSRecordInSegments(t *testing.T) {
	for _, first := range []int{1, 5, 6, 30} {
		r := runKind(t, "tls", &Server{HTTP: quiet(hello), LastCall: time.Millisecond})
		split := &splitter{Conn: r.dialRaw(), release: make(chan struct{})}
		c := r.client(tls.Client(split, &tls.Config{InsecureSkipVerify: true}))
		c.get("/")
		other := r.dial()
		other.get("/")

		split.first = first
		sent := make(chan struct{})
		go func() { defer close(sent); c.send(request) }()
		for begun := false; !begun; time.Sleep(time.Millisecond) {
			r.conns.each(func(c *conn) bool { begun = begun || c.halfRecord(); return true })
		}
		r.Drain()
		other.wantEOF()
		close(split.release)
		if resp := c.response(); body(resp) != "hello" || !resp.Close {
			t.Errorf("a record sent in %d bytes and the rest answered %v", first, resp.Status)
		}
		c.wantEOF()
		<-sent
		if err := r.wait(); err != nil {
			t.Error(err)
		}
	}
}

// Requests that come just as the last call ends are answered, each that a handler is
// called for, or cross a FIN. How many come in time is up to the machine: there are
// rounds until some have, and some more.
func TestContract05RequestAgainstLastCall(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			var sent, ran, answered, late atomic.Int64
			began := time.Now()
			for round := 0; round < 20 || answered.Load() == 0 && time.Since(began) < patience; round++ {
				r := runKind(t, kind, &Server{LastCall: 3 * time.Millisecond, HTTP: quiet(func(ctx *fasthttp.RequestCtx) {
					if string(ctx.Path()) == "/last" {
						ran.Add(1)
					}
					hello(ctx)
				})})
				var clients sync.WaitGroup
				for i := range 16 {
					c := r.dial()
					c.get("/")
					clients.Go(func() {
						<-r.Draining()
						if i > 0 {
							time.Sleep(2*time.Millisecond + time.Duration(i)*125*time.Microsecond)
						}
						if _, err := io.WriteString(c.Conn, "GET /last HTTP/1.1\r\nHost: t\r\n\r\n"); err != nil {
							return
						}
						sent.Add(1)
						if resp, err := http.ReadResponse(c.r, nil); err == nil && resp.Close {
							answered.Add(1)
						} else {
							late.Add(1) // crossed the FIN on its way
						}
					})
				}
				r.Drain()
				clients.Wait()
				if err := r.wait(); err != nil {
					t.Error(err)
				}
			}
			t.Logf("%d sent, %d answered, %d crossed a FIN", sent.Load(), answered.Load(), late.Load())
			if answered.Load() != ran.Load() {
				t.Errorf("%d handlers ran, %d responses came", ran.Load(), answered.Load())
			}
			if answered.Load() == 0 {
				t.Error("no request came in time: the test shows nothing")
			}
		})
	}
}

func TestContract06Pipelined(t *testing.T) {
	const depth = 8
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			for drainIn := range depth {
				var ran atomic.Int64
				var r *running
				s := &Server{}
				s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
					if int(ran.Add(1)) == drainIn+1 {
						s.Drain()
					}
					ctx.SetBodyString("hello")
				})
				r = runKind(t, kind, s)
				c := r.dial()
				c.send(strings.Repeat(request, depth))
				for i := range drainIn + 1 {
					if resp := c.response(); resp.Close != (i == drainIn) {
						t.Errorf("drain in handler %d: response %d close %v", drainIn, i, resp.Close)
					}
				}
				c.wantEOF()
				if n := ran.Load(); n != int64(drainIn+1) {
					t.Errorf("%d handlers ran for %d responses", n, drainIn+1)
				}
				if err := r.wait(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestContract08RunReturnsWithTheLastResponse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := runMem(t, &Server{HTTP: quiet(func(ctx *fasthttp.RequestCtx) {
			time.Sleep(3 * time.Second)
			ctx.SetBodyString("late")
		})})
		c := r.dial()
		c.send(request)
		time.Sleep(time.Second)
		began := time.Now()
		r.Drain()
		<-r.done
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("Run returned after %v", took)
		}
		if resp := c.response(); body(resp) != "late" || !resp.Close {
			t.Errorf("response %v, close %v", resp.Status, resp.Close)
		}
		c.wantEOF()
	})
}

func TestContract10ContextsStayOpenUntilTheDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		began := make(chan time.Time, 1)
		ended := make(chan time.Duration, 2)
		s := &Server{DrainTimeout: 5 * time.Second, AbortTimeout: 3 * time.Second}
		s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
			at := <-began
			<-s.Context().Done()
			ended <- time.Since(at)
			<-ctx.Done()
			ended <- time.Since(at)
			time.Sleep(time.Second)
			ctx.SetBodyString("aborted in time")
		})
		r := runMem(t, s)
		c := r.dial()
		c.send(request)
		time.Sleep(time.Second)
		began <- time.Now()
		at := time.Now()
		r.Drain()
		if context, request := <-ended, <-ended; context != 5*time.Second || request != 5*time.Second {
			t.Errorf("contexts ended after %v and %v", context, request)
		}
		if cause := context.Cause(s.Context()); !errors.Is(cause, ErrDrainTimeout) {
			t.Errorf("cause %v", cause)
		}
		<-r.done
		if took := time.Since(at); took != 6*time.Second {
			t.Errorf("Run returned after %v", took)
		}
		if resp := c.response(); body(resp) != "aborted in time" {
			t.Errorf("response %v", resp.Status)
		}
		if !errors.Is(r.err, ErrDrainTimeout) || len(r.Report().Cut) != 0 {
			t.Errorf("error %v, cut %v", r.err, r.Report().Cut)
		}
	})
}

func TestContract11And12DeadlineCuts(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			g := newGate()
			defer close(g.release)
			r := runKind(t, kind, &Server{
				HTTP:         quiet(g.handle),
				DrainTimeout: 50 * time.Millisecond,
				AbortTimeout: 50 * time.Millisecond,
			})
			c := r.dial()
			c.send("GET /stuck HTTP/1.1\r\nHost: t\r\n\r\n")
			<-g.entered
			r.Drain()
			err := r.wait()
			if !errors.Is(err, ErrDrainTimeout) || ExitCode(err) != 2 {
				t.Errorf("error %v, exit code %d", err, ExitCode(err))
			}
			cut := r.Report().Cut
			if len(cut) != 1 || cut[0].Route != "GET /stuck" || cut[0].Since < 100*time.Millisecond {
				t.Fatalf("cut %+v", cut)
			}
			if want := c.LocalAddr().String(); kind != "unix" && cut[0].Remote != want {
				t.Errorf("cut %v, not %v", cut[0].Remote, want)
			}
			if n, _ := io.Copy(io.Discard, c.r); n != 0 {
				t.Errorf("%d bytes of an answer", n)
			}
		})
	}
}

func TestContract11InFakeTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGate()
		r := runMem(t, &Server{HTTP: quiet(g.handle), DrainTimeout: 5 * time.Second})
		c := r.dial()
		c.send(request)
		<-g.entered
		at := time.Now()
		r.Drain()
		<-r.done
		if took := time.Since(at); took != 5*time.Second+DefaultAbortTimeout {
			t.Errorf("Run returned after %v", took)
		}
		c.wantEOF()
		close(g.release)
	})
}

func TestContract15DrainFromAHandler(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			s := &Server{}
			s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
				s.Drain()
				ctx.SetBodyString("Closedown")
			})
			r := runKind(t, kind, s)
			c := r.dial()
			if resp := c.get("/end"); body(resp) != "Closedown" || !resp.Close {
				t.Errorf("response %v, close %v", resp.Status, resp.Close)
			}
			c.wantEOF()
			if err := r.wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestContract15EachCallerItsOwnContext(t *testing.T) {
	g := newGate()
	r := runTCP(t, &Server{HTTP: quiet(g.handle)})
	c := r.dial()
	c.send(request)
	<-g.entered

	impatient, cancel := context.WithCancel(context.Background())
	const callers = 10
	gaveUp, waited := make(chan error, callers), make(chan error, callers)
	for range callers {
		go func() { gaveUp <- r.ShutdownWithContext(impatient) }()
		go func() { waited <- r.ShutdownWithContext(context.Background()) }()
	}
	<-r.Draining()
	cancel()
	for range callers {
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("impatient caller got %v", err)
		}
	}
	select {
	case err := <-waited:
		t.Errorf("a caller returned before the end: %v", err)
	default:
	}
	close(g.release)
	for range callers {
		if err := <-waited; err != nil {
			t.Error(err)
		}
	}
	if resp := c.response(); body(resp) != "late" {
		t.Error(resp.Status)
	}
	if err := r.ShutdownWithContext(impatient); err != nil {
		t.Errorf("when all is over, a context that has ended does not matter: %v", err)
	}
}

func TestContract15ShutdownBeforeRun(t *testing.T) {
	var hooks []string
	s := &Server{HTTP: quiet(hello), Addrs: []string{"127.0.0.1:0"}}
	s.OnStart("start", func(context.Context) error { hooks = append(hooks, "start"); return nil })
	s.OnDrain("drain", func(context.Context) error { hooks = append(hooks, "drain"); return nil })
	s.PreExit("exit", func(context.Context) error { hooks = append(hooks, "exit"); return nil })
	if err := s.ShutdownWithContext(context.Background()); err != nil {
		t.Error(err)
	}
	if err := s.Run(context.Background()); err != nil {
		t.Error(err)
	}
	if got := strings.Join(hooks, " "); got != "exit" {
		t.Errorf("hooks run: %q", got)
	}
	if s.Phase() != PhaseStopped || len(s.ListenAddrs()) != 0 {
		t.Errorf("phase %v, listening on %v", s.Phase(), s.ListenAddrs())
	}
}

func TestContract16CloseCutsAtOnce(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			g := newGate()
			defer close(g.release)
			r := runKind(t, kind, &Server{HTTP: quiet(g.handle), ShutdownDelay: time.Hour, AbortTimeout: time.Hour})
			busy, idle := r.dial(), r.client(r.dialRaw())
			busy.send(request)
			<-g.entered
			for range 3 {
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}
			if err := r.wait(); !errors.Is(err, ErrForced) || ExitCode(err) != 2 {
				t.Errorf("error %v", err)
			}
			for _, c := range []*client{busy, idle} {
				if n, _ := io.Copy(io.Discard, c.r); n != 0 {
					t.Errorf("%d bytes of an answer", n)
				}
			}
			if err := r.Run(context.Background()); !errors.Is(err, ErrAlreadyRun) {
				t.Errorf("a second Run: %v", err)
			}
			if err := r.ListenAndServe("127.0.0.1:0"); !errors.Is(err, ErrAlreadyRun) {
				t.Errorf("a second life: %v", err)
			}
		})
	}
}

// Whatever else is due at the same moment, a drain that is forced says so.
func TestContract16CloseIsNotAMatterOfChance(t *testing.T) {
	for i := range 50 {
		r := runTCP(t, &Server{HTTP: quiet(hello), LastCall: -1})
		if i%2 > 0 {
			r.dial().get("/")
		}
		_ = r.Close()
		if err := r.wait(); !errors.Is(err, ErrForced) {
			t.Fatalf("error %v", err)
		}
	}
}

func TestContract17Report(t *testing.T) {
	g := newGate()
	s := &Server{DrainTimeout: 20 * time.Millisecond, AbortTimeout: -1, LastCall: -1}
	s.HTTP = quiet(g.handle)
	s.PreExit("fails", func(context.Context) error { return errors.New("no") })
	r := runTCP(t, s)
	defer close(g.release)
	r.dial().send(request)
	<-g.entered
	r.Go("job", func(context.Context) { <-g.release })
	r.Drain()
	err := r.wait()
	rep := r.Report()
	if rep.Cause != "Drain" || rep.Open.Active != 1 || len(rep.Cut) != 1 || len(rep.Hooks) != 1 || rep.ExitCode() != 2 {
		t.Errorf("report %+v", rep)
	}
	if len(rep.Work) != 1 || rep.Work[0] != "job" {
		t.Errorf("work left %q", rep.Work)
	}
	var hook *HookError
	if !errors.As(err, &hook) || hook.Name != "fails" || rep.Err == nil {
		t.Errorf("error %v", err)
	}
	if rep.Spent(PhaseDraining) < 20*time.Millisecond || rep.Spent(PhaseStopped) != 0 {
		t.Errorf("phases %v", rep.Phases)
	}
	for _, want := range []string{"(Drain)", "1 active", "cut 1", "work left 1", "hooks run 1, failed 1", "exit code 2"} {
		if line := rep.String(); !strings.Contains(line, want) || strings.Contains(line, "\n") {
			t.Errorf("line %q lacks %q", line, want)
		}
	}
}

func TestContract18SeveralListeners(t *testing.T) {
	s := &Server{HTTP: quiet(hello), Addrs: []string{"127.0.0.1:0", "unix:" + t.TempDir() + "/s"}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Listeners = []net.Listener{ln}
	r := run(t, s)
	addrs := r.ListenAddrs()
	if len(addrs) != 3 || addrs[0] != ln.Addr() {
		t.Fatalf("listening on %v", addrs)
	}
	var clients []*client
	for _, addr := range addrs {
		nc, err := net.Dial(addr.Network(), addr.String())
		if err != nil {
			t.Fatal(err)
		}
		c := r.client(nc)
		c.get("/")
		clients = append(clients, c)
	}
	r.Drain()
	for _, c := range clients {
		c.wantEOF()
	}
	if err := r.wait(); err != nil {
		t.Error(err)
	}
	for _, addr := range addrs {
		if nc, err := net.Dial(addr.Network(), addr.String()); err == nil {
			_ = nc.Close()
			t.Errorf("%v still accepts", addr)
		}
	}
}

// No client that keeps posting is cut off by a drain. All of them share this process, so
// that a CPU that others have holds up clients and server alike: the last call is as long
// as it takes, and what comes at its end is for TestContract05RequestAgainstLastCall. No
// client waits for it: each is told to close.
func TestNoRequestIsLost(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			for range 3 {
				var ran atomic.Int64
				r := runKind(t, kind, &Server{LastCall: patience, DrainTimeout: -1, HTTP: quiet(func(ctx *fasthttp.RequestCtx) {
					ran.Add(1)
					ctx.SetBody(ctx.PostBody())
				})})
				var answered atomic.Int64
				var clients sync.WaitGroup
				for i := range 32 {
					c := r.dial()
					clients.Go(func() { answered.Add(c.post(t, time.Duration(i%6)*time.Millisecond)) })
				}
				for answered.Load() == 0 && ran.Load() < 500 {
					time.Sleep(time.Millisecond)
				}
				r.Drain()
				if err := r.wait(); err != nil {
					t.Error(err)
				}
				clients.Wait()
				if answered.Load() != ran.Load() {
					t.Errorf("%d handlers ran, %d responses came", ran.Load(), answered.Load())
				}
			}
		})
	}
}

// post posts until it is told to close, or sees the end of an idle connection,
// and returns how many responses came.
func (c *client) post(t *testing.T, pause time.Duration) (answered int64) {
	for i := 0; ; i++ {
		text := fmt.Sprintf("body %d", i)
		if _, err := fmt.Fprintf(c.Conn, "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%s", len(text), text); err != nil {
			t.Errorf("request %d: %v", i, err)
			return answered
		}
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Errorf("request %d lost: %v", i, err)
			return answered
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil || string(got) != text {
			t.Errorf("request %d answered %q, %v", i, got, err)
			return answered
		}
		answered++
		if resp.Close {
			return answered
		}
		time.Sleep(pause)
	}
}

// In a crowd, whoever has been silent for long gets no last call; who spoke a moment
// ago does.
func TestContract04LongIdleInACrowd(t *testing.T) {
	for _, crowded := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			r := runMem(t, &Server{HTTP: quiet(hello), LastCall: time.Second})
			sleepers := []*client{r.dial(), r.dial()} // one of them silent
			sleepers[0].get("/")
			if crowded {
				for range crowd {
					r.dial()
				}
			}
			time.Sleep(4*time.Second + time.Millisecond)
			awake := r.dial()
			awake.get("/")
			began := time.Now()
			r.Drain()
			want := time.Second
			if crowded {
				want = 0
			}
			for _, c := range sleepers {
				c.wantEOF()
				if took := time.Since(began); took != want {
					t.Errorf("crowded %v: a long idle connection ended %v after the drain's begin; want %v", crowded, took, want)
				}
			}
			awake.wantEOF()
			<-r.done
			if took := time.Since(began); took != time.Second {
				t.Errorf("Run returned %v after the drain's begin", took)
			}
		})
	}
}

func TestContract17ReportAsJSONAndAsATable(t *testing.T) {
	r := Report{
		Cause: "Drain",
		Phases: []PhaseChange{
			{PhaseDraining, time.Unix(1, 0)}, {PhaseExiting, time.Unix(3, 0)},
		},
		Told:  7,
		Cut:   []ConnInfo{{ID: 3, State: StateActive, Remote: "192.0.2.1:5", Route: "GET /slow", Age: time.Minute}},
		Work:  []string{"mail"},
		Hooks: []HookResult{{Stage: StageExit, Name: "db", Err: errors.New("no answer")}, {Stage: StageExit, Name: "queue"}},
		Err:   ErrDrainTimeout,
	}
	for range 2 * maxCutShown {
		r.Cut = append(r.Cut, ConnInfo{})
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Cause    string
		Err      string
		ExitCode int `json:"exit_code"`
		Hooks    []struct{ Stage, Name, Err string }
		Cut      []struct{ Remote, Route string }
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.Cause != "Drain" || got.Err != ErrDrainTimeout.Error() || got.ExitCode != 2 || len(got.Hooks) != 2 ||
		got.Hooks[0].Err != "no answer" || got.Hooks[1].Err != "" || got.Cut[0].Route != "GET /slow" {
		t.Errorf("JSON %s", b)
	}
	table := r.Table()
	for _, want := range []string{"draining   2s", "7 told to close, ", `192.0.2.1:5 "GET /slow"`, "age 1m0s", "and 11 more", `"mail" still ran`, `"db" 0s: no answer`, `"queue" 0s: ok`, "exit code  2"} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
}

// What fasthttp.TimeoutHandler has given up on still runs: the drain awaits it.
func TestContract09AbandonedHandlerIsAwaited(t *testing.T) {
	g := newGate()
	s := &Server{}
	s.HTTP = quiet(fasthttp.TimeoutHandler(s.Track("report", g.handle), 10*time.Millisecond, "too slow"))
	r := runTCP(t, s)
	c := r.dial()
	if resp := c.get("/"); body(resp) != "too slow" {
		t.Errorf("answered %v", resp.Status)
	}
	<-g.entered // which may be later than its time is up
	_ = c.Close()
	r.Drain()
	for r.Counts().Total() > 0 {
		time.Sleep(time.Millisecond)
	}
	select {
	case <-r.done:
		t.Error("Run has not waited for the handler")
	case <-time.After(20 * time.Millisecond):
	}
	close(g.release)
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

func TestContract09AbandonedHandlerIsNamedWhenTimeIsUp(t *testing.T) {
	g := newGate()
	defer close(g.release)
	s := &Server{DrainTimeout: 20 * time.Millisecond, AbortTimeout: -1}
	s.HTTP = quiet(fasthttp.TimeoutHandler(s.Track("report", g.handle), time.Millisecond, "too slow"))
	r := runTCP(t, s)
	r.dial().get("/")
	<-g.entered // which may be later than its time is up
	r.Drain()
	if err := r.wait(); !errors.Is(err, ErrDrainTimeout) {
		t.Error(err)
	}
	if work := r.Report().Work; !slices.Contains(work, "report") {
		t.Errorf("work left %q", work)
	}
}

// Where no handler can run any more, nothing is said in its place: fasthttp would send
// an empty 200.
func TestContract11WhatIsNotHandledIsNotAnswered(t *testing.T) {
	cases := map[string]func(*running, *conn){
		"cutting": func(r *running, _ *conn) { r.cutting.Store(true) },
		"ended":   func(_ *running, c *conn) { c.to(stateEnding, 0) },
	}
	for _, kind := range kinds {
		for name, refuse := range cases {
			t.Run(kind+"/"+name, func(t *testing.T) {
				var ran atomic.Int64
				r := runKind(t, kind, &Server{ParkAfter: time.Hour, HTTP: quiet(func(ctx *fasthttp.RequestCtx) {
					ran.Add(1)
					hello(ctx)
				})})
				c := r.dial()
				c.get("/")
				refuse(r, r.idleConn())
				c.send(request)
				c.wantNo200()
				if n := ran.Load(); n != 1 {
					t.Errorf("the handler ran %d times; want 1", n)
				}
			})
		}
		t.Run(kind+"/pipelined", func(t *testing.T) {
			var ran atomic.Int64
			var s *Server
			s = &Server{HTTP: quiet(func(ctx *fasthttp.RequestCtx) {
				ran.Add(1)
				s.cutting.Store(true)
				hello(ctx)
			})}
			c := runKind(t, kind, s).dial()
			c.send(request + request)
			c.wantNo200("hello")
			if n := ran.Load(); n != 1 {
				t.Errorf("the handler ran %d times; want 1", n)
			}
		})
	}
}

// wantNo200 reads to the connection's end and wants no 200, save those with the given
// bodies, each once.
func (c *client) wantNo200(save ...string) {
	c.t.Helper()
	for {
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			if isTimeout(err) {
				c.t.Errorf("the connection goes on: %v", err)
			}
			return
		}
		b, _ := io.ReadAll(resp.Body)
		i := slices.Index(save, string(b))
		if resp.StatusCode != http.StatusServiceUnavailable && i < 0 {
			c.t.Errorf("answered %v %q", resp.Status, b)
			return
		}
		if i >= 0 {
			save = slices.Delete(save, i, i+1)
		}
	}
}

// What a connection's reader has taken from its socket is in the kernel no more, and no
// request yet while the reader waits for a CPU: here until it is told to go on.
func TestContract05WhatHasBeenReadIsServed(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		for _, when := range []string{"new", "used", "used in the drain"} {
			t.Run(kind+" "+when, func(t *testing.T) {
				used, late := when != "new", when == "used in the drain"
				took, goOn, looked := make(chan struct{}), make(chan struct{}), make(chan struct{})
				s := &Server{HTTP: quiet(hello), LastCall: patience, ParkAfter: time.Hour} // parked, it would be another entry
				serve := func(a *Adopted) {
					defer func() { _ = a.Close() }()
					for {
						var b [10]byte
						if _, err := a.Conn().Read(b[:]); err != nil {
							return
						}
						if b[0] == 'L' {
							close(took)
							<-goOn
						}
						if !a.Active(false) || !a.Enter("GET", "/") {
							return
						}
						last := a.Last()
						if b[0] == 'F' && late { // it has not said that it is the last one
							s.Drain()
							<-looked
						}
						_, _ = a.Conn().Write([]byte{'a'})
						a.Leave()
						if last {
							return
						}
						a.Idle()
					}
				}
				s.Divert = func(a *Adopted, _ []byte) { go serve(a) }
				r := runKind(t, kind, s)
				if _, known := taken(r.dialRaw()); kind == "tcp" && !known {
					t.Skip("the kernel does not say what has been taken")
				}
				c := r.dial()
				if late {
					other := r.dial()
					other.send("O")
					_, _ = other.r.ReadByte()
					entry := r.entryOf(other)
					for entry.state() != StateIdle {
						time.Sleep(time.Millisecond)
					}
					c.send("F")
					for entry.seen.Load() == 0 || r.Phase() < PhaseDraining { // the drain has not looked yet
						time.Sleep(time.Millisecond)
					}
					close(looked)
				} else if used {
					c.send("F")
				}
				if used {
					if b, err := c.r.ReadByte(); err != nil || b != 'a' {
						t.Fatal(b, err)
					}
				} else if tc, ok := c.Conn.(*tls.Conn); ok {
					if err := tc.Handshake(); err != nil {
						t.Fatal(err)
					}
				}
				entry := r.entryOf(c)
				for st := StateNew; used && st != StateIdle; st = entry.state() {
					time.Sleep(time.Millisecond)
				}
				r.Drain()
				for !late && entry.seen.Load() == 0 { // the drain has not looked at it
					time.Sleep(time.Millisecond)
				}
				c.send("L")
				<-took
				if r.end(entry) {
					t.Error("its last call is over, though it has made it")
				}
				close(goOn)
				if b, err := c.r.ReadByte(); err != nil || b != 'a' {
					t.Errorf("answered %q, %v", b, err)
				}
			})
		}
	}
}

// entryOf waits for the entry of a client's connection.
func (r *running) entryOf(c *client) (entry *conn) {
	for {
		r.conns.each(func(e *conn) bool {
			if e.RemoteAddr().String() == c.LocalAddr().String() {
				entry = e
			}
			return entry == nil
		})
		if entry != nil {
			return entry
		}
		time.Sleep(time.Millisecond)
	}
}
