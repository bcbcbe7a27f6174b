package lifecycle

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

func TestIdleTimeoutCountsFromTheLastResponse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &Server{HTTP: quiet(hello)}
		s.HTTP.IdleTimeout = time.Second
		r := runMem(t, s)
		c := r.dial()
		for range 3 {
			time.Sleep(900 * time.Millisecond)
			c.get("/")
		}
		last := time.Now()
		c.wantEOF()
		if took := time.Since(last); took != time.Second {
			t.Errorf("closed %v after the last response", took)
		}
	})
}

func TestIdleTimeoutEndsASilentConnection(t *testing.T) {
	for name, set := range map[string]func(*fasthttp.Server){
		"idle timeout alone":         func(h *fasthttp.Server) { h.IdleTimeout = time.Second },
		"with a longer read timeout": func(h *fasthttp.Server) { h.IdleTimeout, h.ReadTimeout = time.Second, time.Hour },
		"read timeout alone":         func(h *fasthttp.Server) { h.ReadTimeout = time.Second },
		"both the same":              func(h *fasthttp.Server) { h.IdleTimeout, h.ReadTimeout = time.Second, time.Second },
		"with less memory":           func(h *fasthttp.Server) { h.IdleTimeout, h.ReduceMemoryUsage = time.Second, true },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := &Server{HTTP: quiet(hello)}
				set(s.HTTP)
				r := runMem(t, s)
				c := r.dial()
				began := time.Now()
				c.wantEOF() // and nothing before it: nobody asked
				if took := time.Since(began); took != time.Second {
					t.Errorf("closed after %v", took)
				}
			})
		})
	}
}

func TestSilentConnectionOnSockets(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			s := &Server{HTTP: quiet(hello)}
			s.HTTP.IdleTimeout = 50 * time.Millisecond
			r := runKind(t, kind, s)
			began := time.Now()
			r.client(r.dialRaw()).wantEOF()
			if took := time.Since(began); took < 50*time.Millisecond {
				t.Errorf("closed after %v", took)
			}
			for r.Counts().Total() > 0 {
				time.Sleep(time.Millisecond)
			}
		})
	}
}

// The silence timer must not touch a connection that has spoken in time, on
// which a request takes longer than the timeout.
func TestSlowFirstRequestOutlivesTheIdleTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &Server{HTTP: quiet(func(ctx *fasthttp.RequestCtx) {
			time.Sleep(5 * time.Second)
			ctx.SetBodyString("late")
		})}
		s.HTTP.IdleTimeout = time.Second
		r := runMem(t, s)
		c := r.dial()
		time.Sleep(900 * time.Millisecond)
		if resp := c.get("/"); body(resp) != "late" || resp.Close {
			t.Errorf("response %v", resp.Status)
		}
	})
}

func TestUsersHooksAreChained(t *testing.T) {
	var states, headers, errs atomic.Int64
	h := quiet(hello)
	h.ConnState = func(net.Conn, fasthttp.ConnState) { states.Add(1) }
	h.HeaderReceived = func(*fasthttp.RequestHeader) fasthttp.RequestConfig {
		headers.Add(1)
		return fasthttp.RequestConfig{}
	}
	h.ErrorHandler = func(ctx *fasthttp.RequestCtx, _ error) {
		errs.Add(1)
		ctx.Error("mine", fasthttp.StatusTeapot)
	}
	r := runTCP(t, &Server{HTTP: h})
	c := r.dial()
	c.get("/")
	c.send("nonsense\r\n\r\n")
	if resp := c.response(); resp.StatusCode != fasthttp.StatusTeapot {
		t.Error(resp.Status)
	}
	c.wantEOF()
	r.Drain()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
	// new, active, idle, active, closed
	if states.Load() != 5 || headers.Load() != 1 || errs.Load() != 1 {
		t.Errorf("states %d, headers %d, errors %d", states.Load(), headers.Load(), errs.Load())
	}
}

func TestErrorsAreAnsweredAsFasthttpDoes(t *testing.T) {
	h := quiet(hello)
	h.MaxRequestBodySize = 10
	h.ReadBufferSize = 256
	r := runTCP(t, &Server{HTTP: h})
	for text, want := range map[string]int{
		"nonsense\r\n\r\n": fasthttp.StatusBadRequest,
		"GET / HTTP/1.1\r\nHost: t\r\nX: " + strings.Repeat("x", 300) + "\r\n\r\n": fasthttp.StatusRequestHeaderFieldsTooLarge,
		"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 11\r\n\r\n":                 fasthttp.StatusRequestEntityTooLarge,
	} {
		c := r.dial()
		c.send(text)
		if resp := c.response(); resp.StatusCode != want || !resp.Close {
			t.Errorf("%.20q answered %v", text, resp.Status)
		}
	}
}

func TestSnapshot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGate()
		s := &Server{}
		s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
			switch string(ctx.Path()) {
			case "/busy":
				g.handle(ctx)
			case "/hijack":
				ctx.Hijack(func(net.Conn) { <-g.release })
			}
		})
		r := runMem(t, s)
		r.dial()
		time.Sleep(time.Second)
		idle := r.dial()
		idle.get("/")
		idle.get("/")
		time.Sleep(time.Second)
		r.dial().send("POST /busy?x=1 HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n")
		<-g.entered
		r.dial().get("/hijack")
		time.Sleep(time.Second)

		if n := r.Counts(); n != (Counts{New: 1, Active: 1, Idle: 1, Hijacked: 1}) || n.Total() != 4 || n.Busy() != 2 {
			t.Errorf("counts %v", n)
		}
		want := []ConnInfo{
			{ID: 1, State: StateNew, Age: 3 * time.Second, Since: 3 * time.Second},
			{ID: 2, State: StateIdle, Requests: 2, Age: 2 * time.Second, Since: 2 * time.Second},
			{ID: 3, State: StateActive, Route: "POST /busy", Requests: 1, Age: time.Second, Since: time.Second},
			{ID: 4, State: StateHijacked, Route: "GET /hijack", Requests: 1, Age: time.Second, Since: time.Second},
		}
		for i, got := range r.Conns() {
			got.Remote, got.Local = "", ""
			if i >= len(want) || got != want[i] {
				t.Errorf("connection %+v", got)
			}
		}
		close(g.release)
	})
}

// The route of a request is read while its connection goes from one to the next.
func TestSnapshotUnderLoad(t *testing.T) {
	r := runTCP(t, &Server{HTTP: quiet(hello)})
	var clients sync.WaitGroup
	stop := make(chan struct{})
	for _, path := range []string{"/a", "/bb", "/" + strings.Repeat("c", 100)} {
		c := r.dial()
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					c.get(path)
				}
			}
		})
	}
	for range 2000 {
		for _, info := range r.Conns() {
			switch info.Route {
			case "", "GET /a", "GET /bb", "GET /" + strings.Repeat("c", 59):
			default:
				t.Fatalf("route %q", info.Route)
			}
		}
	}
	close(stop)
	clients.Wait()
}

func TestRunRefusesMistakes(t *testing.T) {
	s := &Server{HTTP: &fasthttp.Server{}, ShutdownDelay: -1}
	s.OnStart("nil", nil)
	err := s.Run(t.Context())
	if !errors.Is(err, ErrStart) || ExitCode(err) != 1 {
		t.Errorf("error %v", err)
	}
	for _, want := range []string{"no Handler", "neither Addrs nor Listeners", "ShutdownDelay", `hook "nil" is nil`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
	var zero Server
	if err := zero.Run(t.Context()); ExitCode(err) != 1 {
		t.Errorf("a zero Server: %v", err)
	}
}

func TestContextEndsTheRun(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	s := &Server{HTTP: quiet(hello), Addrs: []string{"127.0.0.1:0"}}
	go func() {
		<-s.Reached(PhaseReady)
		cancel(errors.New("enough"))
	}()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
	if cause := s.Report().Cause; cause != "context: enough" {
		t.Errorf("cause %q", cause)
	}
	if s.Context().Err() == nil {
		t.Error("the server's context outlives Run")
	}
}

func TestServeAndListenAndServe(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, serve := range []func(*Server) error{
		func(s *Server) error { return s.Serve(ln) },
		func(s *Server) error { return s.ListenAndServe("127.0.0.1:0") },
	} {
		s := &Server{HTTP: quiet(hello)}
		returned := make(chan error, 1)
		go func() { returned <- serve(s) }()
		<-s.Reached(PhaseReady)
		nc, err := net.Dial("tcp", s.ListenAddrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		if err := exchange(nc); err != nil {
			t.Error(err)
		}
		s.Drain()
		if err := <-returned; err != nil {
			t.Error(err)
		}
	}
}

// failing is a listener whose Accept fails as told.
type failing struct {
	net.Listener
	errs chan error
}

func (f *failing) Accept() (net.Conn, error) {
	select {
	case err := <-f.errs:
		return nil, err
	default:
		return f.Listener.Accept()
	}
}

func TestAcceptSurvivesTemporaryErrors(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 10)
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENOMEM, syscall.ECONNABORTED} {
		errs <- &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", errno)}
	}
	var pauses []time.Duration
	s := &Server{HTTP: quiet(hello), OnEvent: func(e Event) {
		if e.Kind == EventAcceptRetry {
			pauses = append(pauses, e.Duration)
		}
	}}
	s.Listeners = []net.Listener{&failing{ln, errs}}
	r := run(t, s)
	r.dial().get("/")
	r.Drain()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
	if len(pauses) != 3 || pauses[0] != minAcceptPause || pauses[2] != 4*minAcceptPause {
		t.Errorf("pauses %v", pauses)
	}
}

// resetting is a listener whose first connection has failed before its options are
// set; fasthttp's Serve ends on that.
type resetting struct {
	net.Listener
	did bool // belongs to the accept loop
}

func (r *resetting) Accept() (net.Conn, error) {
	nc, err := r.Listener.Accept()
	if err == nil && !r.did {
		r.did = true
		_ = nc.Close()
	}
	return nc, err
}

func TestAConnectionWhoseOptionsFailIsDropped(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := quiet(hello)
	h.TCPKeepalive = true
	r := run(t, &Server{HTTP: h, Listeners: []net.Listener{&resetting{Listener: ln}}})
	r.dial().wantEOF()
	if resp := r.dial().get("/"); body(resp) != "hello" {
		t.Errorf("the next one: %v", resp.Status)
	}
	if totals := r.Totals(); totals.AcceptErrors != 1 || totals.Accepted != 1 {
		t.Errorf("totals %+v", totals)
	}
}

func TestListenerThatFailsEndsTheServer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	errs := make(chan error, 1)
	errs <- broken
	s := &Server{HTTP: quiet(hello), Listeners: []net.Listener{&failing{ln, errs}}, Addrs: []string{"127.0.0.1:0"}}
	r := run(t, s)
	if err := r.wait(); !errors.Is(err, broken) || ExitCode(err) != 1 || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("error %v, exit code %d", err, ExitCode(err))
	}
}

func TestUnixSocketFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = stale.Close()

	r := run(t, &Server{HTTP: quiet(hello), Addrs: []string{"unix:" + path}, UnixMode: 0o600})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	second := &Server{HTTP: quiet(hello), Addrs: []string{"unix:" + path}}
	if err := second.Run(t.Context()); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), path) {
		t.Errorf("a second server: %v", err)
	}
	r.dial().get("/")
	r.Drain()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&Server{HTTP: quiet(hello), Addrs: []string{"unix:" + file}}).Run(t.Context()); ExitCode(err) != 1 {
		t.Errorf("a file in the socket's place: %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the file is gone: %v", err)
	}
}

func TestContract09HijackedIsAwaitedAndItsEndNoticed(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			s := &Server{}
			s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
				ctx.Hijack(func(c net.Conn) {
					<-s.Draining()
					_, _ = io.WriteString(c, "bye")
					_, _ = io.ReadAll(c) // until the client has gone
				})
			})
			r := runKind(t, kind, s)
			c := r.dial()
			c.get("/")
			for r.Counts() != (Counts{Hijacked: 1}) {
				time.Sleep(time.Millisecond)
			}
			r.Drain()
			farewell := make([]byte, 3)
			if _, err := io.ReadFull(c.r, farewell); err != nil || string(farewell) != "bye" {
				t.Errorf("farewell %q, %v", farewell, err)
			}
			select {
			case <-r.done:
				t.Error("Run has not waited")
			default:
			}
			_ = c.Close()
			if err := r.wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestContract09HijackedIsCutAtTheDeadline(t *testing.T) {
	s := &Server{DrainTimeout: 30 * time.Millisecond, AbortTimeout: -1}
	ended := make(chan struct{})
	s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
		ctx.Hijack(func(c net.Conn) {
			defer close(ended)
			_, _ = io.ReadAll(c)
		})
	})
	r := runTCP(t, s)
	c := r.dial()
	c.get("/chat")
	r.Drain()
	if err := r.wait(); !errors.Is(err, ErrDrainTimeout) {
		t.Error(err)
	}
	<-ended
	if cut := r.Report().Cut; len(cut) != 1 || cut[0].State != StateHijacked || cut[0].Route != "GET /chat" {
		t.Errorf("cut %+v", cut)
	}
}

func TestContract09KeptHijackedConns(t *testing.T) {
	var mu sync.Mutex
	var conns []net.Conn
	h := quiet(func(ctx *fasthttp.RequestCtx) {
		ctx.Hijack(func(c net.Conn) {
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, c)
		})
	})
	h.KeepHijackedConns = true
	r := runTCP(t, &Server{HTTP: h})
	const n = 100
	for i := range n {
		r.dial().get("/")
		for {
			mu.Lock()
			got := len(conns)
			mu.Unlock()
			if got == i+1 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if i > 0 { // all but one of those that were kept are closed again
			mu.Lock()
			_ = conns[i-1].Close()
			mu.Unlock()
		}
	}
	if held := r.kept.len(); held > n/2 {
		t.Errorf("%d of %d closed connections are still held", held, n)
	}
	for r.Counts() != (Counts{Hijacked: 1}) { // the handlers' ends trickle in
		time.Sleep(time.Millisecond)
	}
	r.Drain()
	time.Sleep(20 * time.Millisecond) // the drain has had time to go wrong
	select {
	case <-r.done:
		t.Error("Run has not waited for a kept connection")
	default:
	}
	_ = conns[n-1].Close()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

func TestContract09HijackDuringTheDrainIsNotRefused(t *testing.T) {
	s := &Server{ShutdownDelay: time.Hour}
	s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
		ctx.SetStatusCode(fasthttp.StatusSwitchingProtocols)
		ctx.Hijack(func(c net.Conn) { _, _ = io.WriteString(c, "upgraded") })
	})
	r := runTCP(t, s)
	r.Drain()
	c := r.dial()
	c.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	all, err := io.ReadAll(c.r)
	if err != nil || !strings.HasSuffix(string(all), "\r\n\r\nupgraded") {
		t.Errorf("%q, %v", all, err)
	}
}

func TestTimedOutHandlerIsTold(t *testing.T) {
	g := newGate()
	h := quiet(fasthttp.TimeoutHandler(g.handle, 20*time.Millisecond, "too slow"))
	r := runTCP(t, &Server{HTTP: h, ShutdownDelay: time.Hour})
	r.Drain()
	c := r.dial()
	if resp := c.get("/"); body(resp) != "too slow" || !resp.Close {
		t.Errorf("response %v, close %v", resp.Status, resp.Close)
	}
	c.wantEOF()
	close(g.release)
}

func TestNothingIsLeft(t *testing.T) {
	live := func() {
		for _, kind := range kinds {
			s := &Server{HTTP: quiet(hello), Signals: []os.Signal{syscall.SIGHUP}}
			s.HTTP.IdleTimeout = time.Hour
			s.OnStart("start", func(context.Context) error { return nil })
			s.PreExit("exit", func(context.Context) error { return nil })
			r := runKind(t, kind, s)
			var clients []*client
			for range 20 {
				c := r.dial()
				c.get("/")
				clients = append(clients, c)
			}
			r.Drain()
			if err := r.wait(); err != nil {
				t.Error(err)
			}
			for _, c := range clients {
				_ = c.Close()
			}
		}
	}
	live() // fasthttp and os/signal start goroutines once for the process
	settle(t)
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	live()
	awaitNoMore(t, goroutines, files)
}

// openFiles counts this process's descriptors where that can be known.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

func TestExitCode(t *testing.T) {
	hook := &HookError{StageExit, "h", errors.New("no")}
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.Join(ErrStart, hook), 1},
		{errListener, 1},
		{errors.New("unknown"), 1},
		{ErrAlreadyRun, 1},
		{errors.Join(ErrDrainTimeout, hook), 2},
		{ErrForced, 2},
		{hook, 3},
	} {
		if got := ExitCode(test.err); got != test.want {
			t.Errorf("%v: %d, want %d", test.err, got, test.want)
		}
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		PhaseReady.String():                                     "ready",
		Phase(-1).String():                                      "unknown",
		StateHijacked.String():                                  "hijacked",
		stateEnding.String():                                    "unknown",
		EventSignal.String():                                    "signal",
		EventKind(99).String():                                  "unknown",
		Counts{1, 2, 3, 4, 5}.String():                          "1 new, 2 active, 3 idle, 4 parked, 5 hijacked",
		Event{Kind: EventHook, Name: `h`}.String():              "hook h",
		Event{Phase: PhaseReady, Err: io.EOF}.String():          "phase ready: EOF",
		Event{Kind: EventSignal, Duration: 1e9}.String():        "signal 1s",
		Event{Kind: 1, Addr: &net.UnixAddr{Name: "s"}}.String(): "listening s",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
