package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// A handler that heeds nothing holds Run for as long as the deadline and the abort
// are, and not a moment longer; the report tells what it was.
func TestContract11And12HandlerThatIgnoresEverything(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGate()
		s := &Server{HTTP: quiet(g.handle), ShutdownDelay: time.Second, DrainTimeout: 5 * time.Second, AbortTimeout: 2 * time.Second}
		s.PreExit("hook", func(context.Context) error { return nil })
		r := runMem(t, s)
		c := r.dial()
		time.Sleep(time.Second)
		c.send("PUT /stuck?x=1 HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n")
		<-g.entered
		time.Sleep(time.Second)
		began := time.Now()
		r.Drain()
		<-r.done
		if took := time.Since(began); took != 8*time.Second {
			t.Errorf("Run returned after %v", took)
		}
		c.wantNothing()
		want := ConnInfo{
			ID: 1, State: StateActive, Remote: addrString(c.LocalAddr()), Local: addrString(c.RemoteAddr()),
			Route: "PUT /stuck", Requests: 1, Age: 10 * time.Second, Since: 9 * time.Second,
		}
		rep := r.Report()
		if len(rep.Cut) != 1 || rep.Cut[0] != want {
			t.Errorf("cut %+v, want %+v", rep.Cut, want)
		}
		if !errors.Is(r.err, ErrDrainTimeout) || rep.ExitCode() != 2 || len(rep.Hooks) != 1 || rep.HooksFailed() != 0 {
			t.Errorf("error %v, report %+v", r.err, rep)
		}
		close(g.release)
	})
}

// On sockets each entry names its client, by the address that the client knows.
func TestContract12ReportNamesEachClient(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			const n = 5
			g := newGate()
			defer close(g.release)
			r := runKind(t, kind, &Server{HTTP: quiet(g.handle), DrainTimeout: 20 * time.Millisecond, AbortTimeout: 10 * time.Millisecond})
			want := map[string]string{} // routes of clients
			for i := range n {
				c := r.dial()
				c.send(fmt.Sprintf("GET /stuck/%d HTTP/1.1\r\nHost: t\r\n\r\n", i))
				<-g.entered
				remote := c.LocalAddr().String()
				if kind == "unix" {
					remote = "" // a client has no name
				}
				want[fmt.Sprintf("GET /stuck/%d", i)] = remote
			}
			r.Drain()
			if err := r.wait(); !errors.Is(err, ErrDrainTimeout) {
				t.Error(err)
			}
			rep := r.Report()
			for _, info := range rep.Cut {
				remote, known := want[info.Route]
				delete(want, info.Route)
				if !known || remote != "" && info.Remote != remote || info.State != StateActive ||
					info.Since < 30*time.Millisecond || info.Age < info.Since || info.Local != r.ListenAddrs()[0].String() {
					t.Errorf("cut %+v", info)
				}
			}
			if len(want) > 0 || rep.Open.Active != n {
				t.Errorf("not cut: %v; report %+v", want, rep)
			}
		})
	}
}

// Each of many callers gets what its own context allows; whoever waits until the
// end gets what Run returned.
func TestContract15ManyCallers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		type call struct {
			ctx  context.Context
			want error         // nil: what Run returns
			took time.Duration // until it returns
		}
		const drain = 10 * time.Second
		g := newGate()
		s := &Server{HTTP: quiet(g.handle)}
		s.PreExit("fails", func(context.Context) error { return errors.New("no") })
		r := runMem(t, s)
		c := r.dial()
		c.send(request)
		<-g.entered

		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		later, cancel := context.WithCancel(t.Context())
		time.AfterFunc(4*time.Second, cancel)
		within := func(d time.Duration) context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			t.Cleanup(cancel)
			return ctx
		}
		calls := []call{
			{cancelled, context.Canceled, 0},
			{later, context.Canceled, 4 * time.Second},
			{within(0), context.DeadlineExceeded, 0},
			{within(time.Second), context.DeadlineExceeded, time.Second},
			{within(drain - 1), context.DeadlineExceeded, drain - 1},
			{within(drain + 1), nil, drain},
			{within(time.Hour), nil, drain},
			{context.Background(), nil, drain},
			{context.Background(), nil, drain},
			{context.WithValue(t.Context(), hijackKey{}, 1), nil, drain},
		}
		type result struct {
			call
			err error
			at  time.Time
		}
		results := make(chan result, len(calls))
		began := time.Now()
		for _, call := range calls {
			go func() { results <- result{call, r.ShutdownWithContext(call.ctx), time.Now()} }()
		}
		time.AfterFunc(drain, func() { close(g.release) })
		<-r.done
		if ExitCode(r.err) != 3 {
			t.Error(r.err)
		}
		for range calls {
			res := <-results
			if took := res.at.Sub(began); took != res.took {
				t.Errorf("returned after %v, want %v", took, res.took)
			}
			if res.want == nil && res.err != r.err { //nolint:errorlint // the very same
				t.Errorf("got %v; Run returned %v", res.err, r.err)
			}
			if res.want != nil && (!errors.Is(res.err, res.want) || !strings.Contains(res.err.Error(), "the drain goes on")) {
				t.Errorf("got %v, want %v", res.err, res.want)
			}
		}
		if resp := c.response(); body(resp) != "late" || !resp.Close {
			t.Errorf("response %v, close %v", resp.Status, resp.Close)
		}
	})
}

// Whatever is called in whatever phase, any number of times and at once, returns
// what it should, and ends the life as it should: a hang fails the bubble.
func TestContract16EveryCallInEveryPhase(t *testing.T) {
	background := func(s *Server) error { return s.ShutdownWithContext(context.Background()) }
	calls := map[string]func(*Server) error{
		"Drain":               func(s *Server) error { s.Drain(); return nil },
		"Close":               (*Server).Close,
		"ShutdownWithContext": background,
		"all": func(s *Server) error {
			s.Drain()
			_ = s.Close()
			return background(s)
		},
	}
	for phase := PhaseNew; phase <= PhaseStopped; phase++ {
		for name, call := range calls {
			t.Run(phase.String()+"/"+name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					const n = 3
					var j journal
					g := newGate()
					s := &Server{HTTP: quiet(func(ctx *fasthttp.RequestCtx) {
						if string(ctx.Path()) == "/busy" {
							g.handle(ctx)
						}
					})}
					results := make(chan error, n)
					callAll := func() {
						for range n {
							go func() { results <- call(s) }()
						}
					}
					s.OnStart("start", func(ctx context.Context) error {
						j.add("start")
						if phase == PhaseStarting {
							callAll()
							<-ctx.Done() // by the drain's begin
						}
						return nil
					})
					s.PreExit(j.hook("exit2"))
					s.PreExit("exit1", func(context.Context) error {
						if phase == PhaseExiting {
							callAll()
							time.Sleep(time.Second)
						}
						j.add("exit1")
						return nil
					})
					if phase == PhaseNew {
						callAll()
						for range n {
							if err := <-results; err != nil {
								t.Error(err)
							}
						}
						callAll() // and as Run begins
					}
					r := runMem(t, s)
					forced := name == "Close" || name == "all"
					wantErr, cut := error(nil), 0
					switch phase {
					case PhaseReady, PhaseDraining:
						idle, busy := r.dial(), r.dial()
						idle.get("/")
						busy.send("GET /busy HTTP/1.1\r\nHost: t\r\n\r\n")
						<-g.entered
						if phase == PhaseDraining {
							r.Drain()
						}
						callAll()
						time.Sleep(time.Second)
						close(g.release)
						if forced {
							wantErr, cut = ErrForced, 1
							busy.wantNothing()
						} else if resp := busy.response(); body(resp) != "late" || !resp.Close {
							t.Errorf("response %v, close %v", resp.Status, resp.Close)
						}
						idle.wantNothing()
					case PhaseExiting, PhaseStopped:
						r.Drain()
					default:
					}
					<-r.done
					if phase == PhaseStopped {
						callAll()
					}
					if !errors.Is(r.err, wantErr) || wantErr == nil && r.err != nil {
						t.Errorf("Run returned %v, want %v", r.err, wantErr)
					}
					for range n {
						err := <-results
						if waits := name == "ShutdownWithContext" || name == "all"; waits && phase != PhaseNew && err != r.err || !waits && err != nil { //nolint:errorlint // the very same
							t.Errorf("returned %v; Run %v", err, r.err)
						}
					}
					hooks := "start exit1 exit2"
					if phase == PhaseNew {
						hooks = "exit1 exit2"
					}
					j.want(t, hooks)
					if n := len(r.Report().Cut); n < cut || cut == 0 && n > 0 {
						t.Errorf("cut %+v", r.Report().Cut)
					}
					if r.Phase() != PhaseStopped || !errors.Is(r.Run(t.Context()), ErrAlreadyRun) {
						t.Error(r.Phase())
					}
				})
			})
		}
	}
}

// A hook that waits for the end of its own life gets as far as its context does.
func TestContract15ShutdownFromHooks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &Server{HTTP: quiet(hello), HookTimeout: time.Second}
		var errs []error
		hook := func(ctx context.Context) error {
			errs = append(errs, s.ShutdownWithContext(ctx))
			_, _ = s.Close(), s.Close()
			s.Drain()
			return nil
		}
		s.OnStart("start", hook)
		s.PreExit("exit", hook)
		r := runMem(t, s)
		<-r.done
		if r.err != nil {
			t.Error(r.err)
		}
		if len(errs) != 2 || !errors.Is(errs[0], context.Canceled) || !errors.Is(errs[1], context.DeadlineExceeded) {
			t.Errorf("in hooks: %v", errs)
		}
	})
}
