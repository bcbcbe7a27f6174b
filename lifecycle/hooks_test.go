package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// journal notes what happened, in order.
type journal struct {
	mu      sync.Mutex
	entries []string
}

func (j *journal) add(entry string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, entry)
}

func (j *journal) hook(entry string) (string, HookFunc) {
	return entry, func(context.Context) error { j.add(entry); return nil }
}

func (j *journal) want(t *testing.T, want string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if got := strings.Join(j.entries, " "); got != want {
		t.Errorf("happened: %q, want %q", got, want)
	}
}

func TestContract13HooksRunInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var j journal
		s := &Server{HTTP: quiet(hello)}
		s.OnStart(j.hook("start1"))
		s.OnStart(j.hook("start2"))
		s.OnDrain(j.hook("drain1"))
		s.OnDrain(j.hook("drain2"))
		s.PreExit(j.hook("exit1"))
		s.PreExit(j.hook("exit2"))
		r := runMem(t, s)
		j.want(t, "start1 start2")
		if err := r.ShutdownWithContext(t.Context()); err != nil {
			t.Error(err)
		}
		j.want(t, "start1 start2 drain1 drain2 exit2 exit1")
		var names []string
		for _, h := range r.Report().Hooks {
			names = append(names, string(h.Stage)+" "+h.Name)
		}
		if want := []string{"start start1", "start start2", "drain drain1", "drain drain2", "exit exit2", "exit exit1"}; !slices.Equal(names, want) {
			t.Errorf("report has %q", names)
		}
	})
}

func TestContract13HooksFailApart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var j journal
		boom := errors.New("boom")
		s := &Server{HTTP: quiet(hello), HookTimeout: time.Second}
		s.PreExit(j.hook("first"))
		s.PreExit("error", func(context.Context) error { return boom })
		s.PreExit("panic", func(context.Context) error { panic("on purpose") })
		s.PreExit("deaf", func(context.Context) error { time.Sleep(time.Hour); return nil })
		s.PreExit("slow", func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }, 5*time.Second)
		s.PreExit("patient", func(context.Context) error { time.Sleep(9 * time.Second); return nil }, 10*time.Second)
		r := runMem(t, s)
		began := time.Now()
		err := r.ShutdownWithContext(t.Context())
		// patient 9 s, slow 5 s, deaf 1 s and its leeway.
		if took := time.Since(began); took != 15*time.Second+hookLeeway {
			t.Errorf("took %v", took)
		}
		j.want(t, "first")
		var panicked *PanicError
		if !errors.Is(err, boom) || !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &panicked) {
			t.Errorf("error %v", err)
		}
		if !strings.Contains(string(panicked.Stack), "hooks_test.go") {
			t.Errorf("the panic's stack is %s", panicked.Stack)
		}
		for _, want := range []string{`exit hook "error": boom`, `"panic": panic: on purpose`, `"deaf": took longer than 1s`, `"slow": took longer than 5s`} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q lacks %q", err, want)
			}
		}
		if strings.Contains(err.Error(), "patient") || ExitCode(err) != 3 {
			t.Errorf("exit code %d, error %v", ExitCode(err), err)
		}
		time.Sleep(time.Hour) // let the deaf one end
	})
}

func TestContract13HooksRegisterHooksAndStartWork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var j journal
		s := &Server{HTTP: quiet(hello)}
		s.PreExit(j.hook("last"))
		s.PreExit("outer", func(context.Context) error {
			j.add("outer")
			s.PreExit("inner", func(context.Context) error {
				j.add("inner")
				s.Go("work", func(ctx context.Context) {
					time.Sleep(2 * time.Second)
					j.add(fmt.Sprint("work ", ctx.Err()))
					s.PreExit(j.hook("of work"))
				})
				return nil
			})
			return nil
		})
		r := runMem(t, s)
		if err := r.ShutdownWithContext(t.Context()); err != nil {
			t.Error(err)
		}
		j.want(t, "outer inner last work <nil> of work")
	})
}

func TestContract13WorkOfHooksIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &Server{HTTP: quiet(hello), HookTimeout: time.Second}
		ended := make(chan struct{})
		s.PreExit("starts", func(context.Context) error {
			s.Go("endless", func(ctx context.Context) { defer close(ended); <-ctx.Done() })
			return nil
		})
		r := runMem(t, s)
		began := time.Now()
		err := r.ShutdownWithContext(t.Context())
		if took := time.Since(began); took != time.Second || ExitCode(err) != 3 || !strings.Contains(err.Error(), "endless") {
			t.Errorf("took %v, error %v", took, err)
		}
		<-ended // its context ends with Run
	})
}

func TestOnDrainRunsBesideTheDrainAndIsAwaited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &Server{HTTP: quiet(hello), LastCall: -1, DrainTimeout: time.Minute}
		s.OnDrain("deregister", func(context.Context) error { time.Sleep(3 * time.Second); return nil })
		r := runMem(t, s)
		c := r.dial()
		c.get("/")
		began := time.Now()
		r.Drain()
		c.wantEOF()
		if took := time.Since(began); took != 0 {
			t.Errorf("the idle connection waited %v for the hook", took)
		}
		<-r.done
		if took := time.Since(began); took != 3*time.Second || r.err != nil {
			t.Errorf("Run returned after %v: %v", took, r.err)
		}
	})
}

func TestOnDrainEndsAtTheDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &Server{HTTP: quiet(hello), DrainTimeout: 2 * time.Second}
		s.OnDrain("stuck", func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
		r := runMem(t, s)
		began := time.Now()
		err := r.ShutdownWithContext(t.Context())
		if took := time.Since(began); took != 2*time.Second || !errors.Is(err, ErrDrainTimeout) || ExitCode(err) != 2 {
			t.Errorf("took %v: %v", took, err)
		}
	})
}

func TestStartFailureRunsExitHooks(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	addr := taken.Addr().String()
	var j journal
	s := &Server{HTTP: quiet(hello), Addrs: []string{"127.0.0.1:0", addr}}
	s.OnStart("open", func(context.Context) error {
		s.PreExit(j.hook("undo"))
		j.add("open")
		return nil
	})
	err = s.Run(t.Context())
	if !errors.Is(err, ErrStart) || ExitCode(err) != 1 || !strings.Contains(err.Error(), addr) {
		t.Errorf("error %v", err)
	}
	j.want(t, "open undo")
	first := s.ListenAddrs()[0].String()
	if nc, err := net.Dial("tcp", first); err == nil {
		_ = nc.Close()
		t.Errorf("%v is still open", first)
	}
	if rep := s.Report(); rep.Cause != "start failed" || rep.ExitCode() != 1 {
		t.Errorf("report %+v", rep)
	}
}

func TestStartHookFails(t *testing.T) {
	var j journal
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{HTTP: quiet(hello), Listeners: []net.Listener{ln}}
	s.OnStart(j.hook("one"))
	s.OnStart("two", func(context.Context) error { return errors.New("no database") })
	s.OnStart(j.hook("three"))
	s.PreExit(j.hook("exit"))
	err = s.Run(t.Context())
	if !errors.Is(err, ErrStart) || !strings.Contains(err.Error(), `start hook "two": no database`) || ExitCode(err) != 1 {
		t.Errorf("error %v, exit code %d", err, ExitCode(err))
	}
	j.want(t, "one exit")
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is open: %v", err)
	}
}

func TestDrainDuringStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var j journal
		s := &Server{HTTP: quiet(hello), ShutdownDelay: time.Hour}
		s.OnStart("long", func(ctx context.Context) error { <-ctx.Done(); j.add("called off"); return ctx.Err() })
		s.OnStart(j.hook("never"))
		s.OnDrain(j.hook("never"))
		s.PreExit(j.hook("exit"))
		time.AfterFunc(time.Second, s.Drain)
		began := time.Now()
		r := runMem(t, s)
		<-r.done
		if took := time.Since(began); took != time.Second || r.err != nil {
			t.Errorf("Run returned after %v: %v", took, r.err)
		}
		j.want(t, "called off exit")
	})
}

func TestContract09WorkIsToldAwaitedAndCancelled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &Server{HTTP: quiet(hello), DrainTimeout: 5 * time.Second}
		r := runMem(t, s)
		var j journal
		r.Go("heeds", func(context.Context) { <-s.Draining(); time.Sleep(time.Second); j.add("heeded") })
		r.Go("stays", func(ctx context.Context) { <-ctx.Done(); j.add(context.Cause(ctx).Error()) })
		began := time.Now()
		err := r.ShutdownWithContext(t.Context())
		if took := time.Since(began); took != 5*time.Second || !errors.Is(err, ErrDrainTimeout) {
			t.Errorf("took %v: %v", took, err)
		}
		j.want(t, "heeded "+ErrDrainTimeout.Error())
	})
}

func TestWorkMayPanic(t *testing.T) {
	var events atomic.Int64
	s := &Server{HTTP: quiet(hello), OnEvent: func(e Event) {
		if e.Kind == EventPanic && e.Name == "bad" && strings.Contains(e.String(), "on purpose") {
			events.Add(1)
		}
	}}
	r := runTCP(t, s)
	r.Go("bad", func(context.Context) { panic("on purpose") })
	r.Drain()
	if err := r.wait(); err != nil || events.Load() != 1 {
		t.Errorf("error %v, %d events", err, events.Load())
	}
}
