package toolkit

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/internal/testcert"
	"github.com/lastcall-go/lastcall/lifecycle"
)

func TestConfigureRunsLastAndReachesTheServer(t *testing.T) {
	var order []string
	s := build(t, loopback().
		Configure(func(h *fasthttp.Server) {
			if h.MaxRequestBodySize != 99 || h.Handler == nil {
				t.Errorf("Configure is called with %+v", h)
			}
			h.MaxRequestBodySize = 100
			order = append(order, "first")
		}).
		Configure(func(h *fasthttp.Server) { h.Name = "mine"; order = append(order, "second") }).
		MaxBodySize(99))
	if s.HTTP.MaxRequestBodySize != 100 || s.HTTP.Name != "mine" || strings.Join(order, " ") != "first second" {
		t.Errorf("%v: %+v", order, s.HTTP)
	}
}

// What the user sets in Configure is called beside what the toolkit and the
// lifecycle need there, which goes on working.
func TestConfigureIsChained(t *testing.T) {
	var states, headers, failures atomic.Int64
	b := quiet().ReadHeaderTimeout(2*time.Second).ReadBodyTimeout(10*time.Second).Post("/", length).
		Configure(func(h *fasthttp.Server) {
			h.ConnState = func(net.Conn, fasthttp.ConnState) { states.Add(1) }
			h.HeaderReceived = func(*fasthttp.RequestHeader) fasthttp.RequestConfig {
				headers.Add(1)
				return fasthttp.RequestConfig{MaxRequestBodySize: 3}
			}
			h.ErrorHandler = func(ctx *fasthttp.RequestCtx, err error) {
				failures.Add(1)
				ctx.Error("mine: "+err.Error(), 418)
			}
		})
	bubble(t, b, func(t *testing.T, r *running) {
		c := r.dial()
		c.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\n0")
		time.Sleep(9 * time.Second) // the body's own time still counts
		c.send("12")
		if resp := c.reply("POST"); resp.String() != "200 3" {
			t.Error(resp)
		}
		synctest.Wait()
		if n := r.Counts(); n.Idle != 1 {
			t.Errorf("counts %v", n)
		}
		c.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\n")
		if resp := c.reply("POST"); resp.StatusCode != 418 || !strings.HasPrefix(resp.text, "mine: ") {
			t.Error(resp)
		}
		c.wantEOF()
		synctest.Wait()
		// New, active, idle, active, closed.
		if states.Load() != 5 || headers.Load() != 2 || failures.Load() != 1 {
			t.Errorf("%d states, %d headers, %d failures", states.Load(), headers.Load(), failures.Load())
		}
	})
}

// A limit that the user's HeaderReceived gives a request goes before ours.
func TestHeaderReceivedDecidesOnABodysTime(t *testing.T) {
	b := quiet().ReadBodyTimeout(time.Hour).Post("/", length).Configure(func(h *fasthttp.Server) {
		h.HeaderReceived = func(*fasthttp.RequestHeader) fasthttp.RequestConfig {
			return fasthttp.RequestConfig{ReadTimeout: 3 * time.Second}
		}
	})
	bubble(t, b, func(t *testing.T, r *running) {
		c, began := r.dial(), time.Now()
		c.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\n0")
		if resp := c.reply("POST"); resp.StatusCode != 408 {
			t.Error(resp)
		}
		at(t, began, 3*time.Second)
	})
}

// What has no body is not given time for one: a deadline costs as much as the router.
func TestOnlyABodyIsGivenTime(t *testing.T) {
	s := build(t, loopback().ReadBodyTimeout(time.Hour).Get("/", hello))
	for request, want := range map[string]time.Duration{
		getRequest:                           0,
		"POST / HTTP/1.1\r\nHost: t\r\n\r\n": 0,
		"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n":          0,
		"GET / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\n":           time.Hour,
		"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n": time.Hour,
	} {
		var h fasthttp.RequestHeader
		if err := h.Read(bufio.NewReader(strings.NewReader(request))); err != nil {
			t.Fatal(err)
		}
		if d := s.HTTP.HeaderReceived(&h).ReadTimeout; d != want {
			t.Errorf("%q has %v, want %v", request, d, want)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	r := run(t, quiet().Unix(path, 0o620).Get("/", hello))
	info, err := os.Stat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o620 {
		t.Errorf("socket is %v, %v", info.Mode(), err)
	}
	if resp := r.dial().get("/"); resp.String() != "200 hello" {
		t.Error(resp)
	}
	r.finish()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestTLS(t *testing.T) {
	cert := certificate()
	roots := testcert.Roots(cert)
	certFile, keyFile := certFiles(t, cert)
	for name, b := range map[string]*Builder{
		"TLS":       loopback().TLS(certFile, keyFile),
		"TLSConfig": loopback().TLSConfig(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}),
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			r := run(t, b.Unix(filepath.Join(t.TempDir(), "s"), 0).Listener(ln).
				Get("/", func(ctx *fasthttp.RequestCtx) { fmt.Fprint(ctx, "tls ", ctx.IsTLS()) }))
			addrs := r.ListenAddrs() // the listener's, TCP, Unix

			secure := tls.Client(dialAddr(t, addrs[1]).Conn, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12})
			if resp := newClient(t, secure).get("/"); resp.String() != "200 tls true" {
				t.Error(resp)
			}
			if v := secure.ConnectionState().Version; v < tls.VersionTLS13 {
				t.Errorf("TLS version %x", v)
			}
			old := tls.Client(dialAddr(t, addrs[1]).Conn, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MaxVersion: tls.VersionTLS11})
			if err := old.Handshake(); err == nil {
				t.Error("TLS 1.1 is spoken")
			}
			for _, plain := range []net.Addr{addrs[0], addrs[2]} {
				if resp := dialAddr(t, plain).get("/"); resp.String() != "200 tls false" {
					t.Errorf("%v: %v", plain, resp)
				}
			}
			r.finish()
		})
	}
}

func TestSeveralListenersShareALife(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, loopback().Addr("127.0.0.1:0").Listener(ln).Get("/", hello))
	if n := len(r.ListenAddrs()); n != 3 {
		t.Fatalf("%d listeners", n)
	}
	for _, addr := range r.ListenAddrs() {
		if resp := dialAddr(t, addr).get("/"); resp.String() != "200 hello" {
			t.Errorf("%v: %v", addr, resp)
		}
	}
	r.finish()
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener that was handed over: %v", err)
	}
}

func TestRunLogsTheLife(t *testing.T) {
	var log logs
	g := newGate()
	r := run(t, loopback().Logger(log.logger()).LastCall(0).Get("/", g.handle).
		OnDrain("lets the handler on", func(context.Context) error { close(g.release); return nil }).
		PreExit("fails", func(context.Context) error { return errors.New("no") }))
	c := r.dial()
	c.send(getRequest)
	<-g.entered
	r.Drain()
	if err := r.wait(); lifecycle.ExitCode(err) != 3 {
		t.Error(err)
	}
	if err := r.Run(context.Background()); !errors.Is(err, lifecycle.ErrAlreadyRun) {
		t.Errorf("a second Run: %v", err)
	}

	drained := log.line(t, "drained")
	for field, want := range map[string]any{
		"level": "error", "cause": "Drain", "exit_code": 3.0, "hooks_failed": 1.0, "told": 1.0, "accepted": 0.0, "cut": nil,
	} {
		if drained[field] != want {
			t.Errorf("%s is %v, want %v", field, drained[field], want)
		}
	}
	if open, _ := drained["open"].(map[string]any); open["active"] != 1.0 {
		t.Errorf("open is %v", drained["open"])
	}
	if hooks, _ := drained["hooks"].([]any); len(hooks) != 2 || hooks[1].(map[string]any)["err"] != `lifecycle: exit hook "fails": no` {
		t.Errorf("hooks are %v", drained["hooks"])
	}
	if hooks := log.lines(t, "hook"); len(hooks) != 2 || hooks[0]["level"] != "info" || hooks[1]["level"] != "error" || hooks[1]["name"] != `exit hook "fails"` {
		t.Errorf("logged %v", hooks)
	}
	if listening := log.line(t, "listening"); listening["addr"] != c.RemoteAddr().String() {
		t.Errorf("logged %v", listening)
	}
	for _, phase := range []string{"starting", "ready", "draining", "exiting"} {
		if line := log.line(t, "server "+phase); line["level"] != "info" || (phase == "draining") != (line["cause"] == "Drain") {
			t.Errorf("logged %v", line)
		}
	}
}

// However a server is run, what became of it is logged.
func TestServeLogsTheReportToo(t *testing.T) {
	for _, how := range []string{"Serve", "ListenAndServe"} {
		t.Run(how, func(t *testing.T) {
			var log logs
			s := build(t, loopback().Logger(log.logger()))
			s.Drain()
			var err error
			if how == "Serve" {
				ln, listenErr := net.Listen("tcp", "127.0.0.1:0")
				if listenErr != nil {
					t.Fatal(listenErr)
				}
				err = s.Serve(ln)
			} else {
				err = s.ListenAndServe("127.0.0.1:0")
			}
			if err != nil {
				t.Error(err)
			}
			log.line(t, "drained")
		})
	}
}

func TestLogShowsPanicsOfWorkAndFasthttpsOwnLines(t *testing.T) {
	var log logs
	r := run(t, loopback().Logger(log.logger()).Get("/", func(ctx *fasthttp.RequestCtx) { ctx.Logger().Printf("from %s", "a handler") }))
	r.Go("job", func(context.Context) { panic("on purpose") })
	r.dial().get("/")
	r.finish()
	if line := log.line(t, "panic"); line["name"] != "job" || line["error"] != "panic: on purpose" || !strings.Contains(fmt.Sprint(line["stack"]), "server_test.go") {
		t.Errorf("logged %v", line)
	}
	found := false
	for text := range strings.Lines(log.buf.String()) {
		found = found || strings.Contains(text, `"from":"fasthttp"`) && strings.Contains(text, "from a handler")
	}
	if !found {
		t.Error("what fasthttp logs is lost")
	}
}

// failing is a listener whose first Accept fails.
type failing struct {
	net.Listener
	with   error
	failed bool // belongs to the accept loop
}

func (f *failing) Accept() (net.Conn, error) {
	if !f.failed {
		f.failed = true
		return nil, f.with
	}
	return f.Listener.Accept()
}

func TestListenersThatFail(t *testing.T) {
	for _, tt := range []struct {
		with       error
		msg, level string
		code       int
	}{
		{syscall.EMFILE, "accept retry", "warn", 0},
		{errors.New("for good"), "listener failed", "error", 1},
	} {
		t.Run(tt.msg, func(t *testing.T) {
			var log logs
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			r := run(t, quiet().Logger(log.logger()).Get("/", hello).Listener(&failing{Listener: ln, with: tt.with}))
			if tt.code == 0 {
				if resp := r.dial().get("/"); resp.String() != "200 hello" {
					t.Errorf("after the failure: %v", resp)
				}
				r.Drain()
			}
			if err := r.wait(); lifecycle.ExitCode(err) != tt.code {
				t.Errorf("exit code %d, want %d: %v", lifecycle.ExitCode(err), tt.code, err)
			}
			line := log.line(t, tt.msg)
			if line["level"] != tt.level || line["addr"] != ln.Addr().String() || !strings.Contains(fmt.Sprint(line["error"]), tt.with.Error()) {
				t.Errorf("logged %v", line)
			}
		})
	}
}

// starving is a listener that has no descriptors until it is fed.
type starving struct {
	net.Listener
	fed atomic.Bool
}

func (s *starving) Accept() (net.Conn, error) {
	if !s.fed.Load() {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return s.Listener.Accept()
}

func TestReadinessWhileTheServerStarves(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	starves := &starving{Listener: ln}
	r := run(t, quiet().Get("/", hello).Addr("127.0.0.1:0").Listener(starves))
	c := dialAddr(t, r.ListenAddrs()[1])
	until := func(code int) reply {
		for began := time.Now(); ; time.Sleep(time.Millisecond) {
			if resp := c.get("/readyz"); resp.StatusCode == code || time.Since(began) > patience {
				return resp
			}
		}
	}
	if resp := until(503); resp.String() != "503 [-]server cannot accept connections\n" {
		t.Errorf("while it starves: %v", resp)
	}
	if resp := c.get("/livez"); resp.StatusCode != 200 {
		t.Errorf("it lives: %v", resp)
	}
	starves.fed.Store(true)
	if resp := until(200); resp.StatusCode != 200 {
		t.Errorf("when it was fed: %v", resp)
	}
	r.finish()
}

func TestHooksRunInOrder(t *testing.T) {
	var mu sync.Mutex // guards order
	var order []string
	note := func(name string) lifecycle.HookFunc {
		return func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
			return nil
		}
	}
	b := loopback().
		PreExit("first", note("exit 1")).
		OnDrain("first", note("drain 1")).
		OnStart("first", note("start 1")).
		OnStart("second", note("start 2")).
		OnDrain("second", note("drain 2")).
		PreExit("second", note("exit 2"))
	r := run(t, b)
	r.PreExit("third", func(ctx context.Context) error {
		r.PreExit("from within", note("from within"))
		r.Go("work", func(context.Context) {
			_ = note("work")(ctx)
			r.PreExit("from work", note("from work"))
		})
		return note("exit 3")(ctx)
	})
	r.finish()
	// When work runs is its own affair, but it does before the end.
	var want []string
	for _, name := range order {
		if name != "work" && name != "from work" {
			want = append(want, name)
		}
	}
	if got := strings.Join(want, ", "); got != "start 1, start 2, drain 1, drain 2, exit 3, from within, exit 2, exit 1" {
		t.Errorf("order: %s", got)
	}
	if all := strings.Join(order, ", "); !strings.Contains(all, "work") || !strings.Contains(all, "from work") {
		t.Errorf("work of hooks was not awaited: %s", all)
	}
}

func TestHookTimeouts(t *testing.T) {
	waits := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	b := quiet().HookTimeout(3*time.Second).
		OnStart("start", nop, time.Second).
		OnDrain("drain", waits, 2*time.Second).
		PreExit("exit", waits).
		PreExit("stuck", func(context.Context) error { time.Sleep(time.Hour); return nil }, time.Minute)
	bubble(t, b, func(t *testing.T, r *running) {
		began := time.Now()
		r.Drain()
		err := r.wait()
		var hook *lifecycle.HookError
		if !errors.As(err, &hook) || !errors.Is(err, context.DeadlineExceeded) || lifecycle.ExitCode(err) != 3 {
			t.Error(err)
		}
		for _, name := range []string{`drain hook "drain": took longer than 2s`, `exit hook "exit": took longer than 3s`, `exit hook "stuck": took longer than 1m0s`} {
			if !strings.Contains(err.Error(), name) {
				t.Errorf("no %q in %v", name, err)
			}
		}
		if took := time.Since(began).Truncate(time.Second); took != 65*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestNoHookTimeout(t *testing.T) {
	b := quiet().HookTimeout(0).PreExit("long", func(ctx context.Context) error {
		time.Sleep(time.Hour)
		return ctx.Err()
	})
	bubble(t, b, func(_ *testing.T, r *running) { r.finish() })
}

func TestExitCodes(t *testing.T) {
	no := func(context.Context) error { return errors.New("no") }
	g := newGate()
	defer close(g.release)
	for _, tt := range []struct {
		name string
		b    *Builder
		end  func(r *running)
		want int
	}{
		{"clean", loopback(), func(r *running) { r.Drain() }, 0},
		{"start hook", loopback().OnStart("a", no).PreExit("b", nop), func(*running) {}, 1},
		{"start hook panics", loopback().OnStart("a", func(context.Context) error { panic("on purpose") }), func(*running) {}, 1},
		{"closed", loopback().Get("/", g.handle), func(r *running) { r.dial().send(getRequest); <-g.entered; _ = r.Close() }, 2},
		{"deadline", loopback().Get("/", g.handle).DrainTimeout(1).AbortTimeout(0), func(r *running) { r.dial().send(getRequest); <-g.entered; r.Drain() }, 2},
		{"drain hook", loopback().OnDrain("a", no), func(r *running) { r.Drain() }, 3},
		{"exit hook", loopback().PreExit("a", no).PreExit("b", no), func(r *running) { r.Drain() }, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log logs
			r := run(t, tt.b.Logger(log.logger()).LastCall(0))
			tt.end(r)
			err := r.wait()
			if code := lifecycle.ExitCode(err); code != tt.want {
				t.Errorf("exit code %d, want %d: %v", code, tt.want, err)
			}
			if line := log.line(t, "drained"); line["exit_code"] != float64(tt.want) {
				t.Errorf("logged %v", line)
			}
		})
	}
}

func TestAddressInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	undone := false
	err = build(t, quiet().Addr(ln.Addr().String()).PreExit("undo", func(context.Context) error { undone = true; return nil })).
		Run(context.Background())
	if !errors.Is(err, lifecycle.ErrStart) || !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("error %v", err)
	}
	if code := lifecycle.ExitCode(err); code != 1 || !undone {
		t.Errorf("exit code %d, exit hook run: %v", code, undone)
	}
}

func TestShutdownFromAHandler(t *testing.T) {
	r := run(t, loopback().Get("/end", func(ctx *fasthttp.RequestCtx) {
		FromRequest(ctx).Drain()
		ctx.SetBodyString("closing down")
	}))
	c := r.dial()
	if resp := c.get("/end"); resp.String() != "200 closing down" || !resp.Close {
		t.Errorf("%v, close %v", resp, resp.Close)
	}
	c.wantEOF()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

// Requests of every kind, then the end: what the server started is gone.
func TestNothingIsLeftRunning(t *testing.T) {
	before := runtime.NumGoroutine()
	release := make(chan struct{})
	timedOut := fasthttp.TimeoutHandler(func(*fasthttp.RequestCtx) { <-release }, time.Millisecond, "too late")
	b := loopback().
		ReadyTimeout(time.Millisecond).
		ReadyCheck("hangs", func(context.Context) error { <-release; return nil }).
		Get("/", hello).
		Get("/panic", func(*fasthttp.RequestCtx) { panic("on purpose") }).
		Get("/timeout", timedOut).
		Get("/stream", func(ctx *fasthttp.RequestCtx) {
			ctx.SetBodyStreamWriter(func(w *bufio.Writer) { _, _ = io.WriteString(w, "streamed") })
		}).
		Get("/hijack", func(ctx *fasthttp.RequestCtx) { ctx.Hijack(func(net.Conn) {}) })
	r := run(t, b)
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			c := r.dial()
			for _, path := range []string{"/", "/panic", "/none", "/timeout", "/stream", "/readyz", "/livez", "/", "/hijack"} {
				c.get(path)
			}
		})
		r.dial() // and one that stays silent
	}
	clients.Wait()
	r.finish()
	close(release)
	for began := time.Now(); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Since(began) > patience {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
}

func TestClientContext(t *testing.T) {
	inside := make(chan context.Context, 1)
	r := run(t, loopback().Get("/", func(ctx *fasthttp.RequestCtx) {
		client := ClientContext(ctx)
		if client.Err() != nil {
			t.Error(client.Err())
		}
		inside <- client
	}))
	r.dial().get("/")
	<-(<-inside).Done() // with the handler's end
	if outside := ClientContext(&fasthttp.RequestCtx{}); outside.Err() != nil || outside.Done() != nil {
		t.Error("a context outside of a server")
	}
}
