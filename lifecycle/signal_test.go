//go:build unix

package lifecycle

import (
	"context"
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"
)

func kill(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
}

// The third signal, which exits the process, is tested on the bundled server.
func TestContract14SignalsStep(t *testing.T) {
	g := newGate()
	defer close(g.release)
	received := make(chan string, 10)
	s := &Server{
		HTTP:    quiet(g.handle),
		Signals: []os.Signal{syscall.SIGUSR1, syscall.SIGUSR2},
		OnEvent: func(e Event) {
			if e.Kind == EventSignal {
				received <- e.Name
			}
		},
	}
	hookRan := false
	s.PreExit("hook", func(context.Context) error { hookRan = true; return nil })
	r := runTCP(t, s)
	r.dial().send(request)
	<-g.entered
	r.Drain() // as by a pre-stop request, which is no signal
	kill(t, syscall.SIGUSR1)
	<-received
	select {
	case <-r.done:
		t.Fatal("the first signal has forced the end")
	case <-time.After(50 * time.Millisecond):
	}
	kill(t, syscall.SIGUSR2)
	if err := r.wait(); !errors.Is(err, ErrForced) {
		t.Error(err)
	}
	if cut := r.Report().Cut; len(cut) != 1 || !hookRan {
		t.Errorf("cut %v, hook ran: %v", cut, hookRan)
	}
}

func TestContract14SignalBeginsTheDrain(t *testing.T) {
	r := runTCP(t, &Server{HTTP: quiet(hello), Signals: []os.Signal{syscall.SIGUSR1}})
	kill(t, syscall.SIGUSR1)
	if err := r.wait(); err != nil {
		t.Error(err)
	}
	if cause := r.Report().Cause; cause != "signal: user defined signal 1" {
		t.Errorf("cause %q", cause)
	}
}

func TestContract14SignalsInEachPhase(t *testing.T) {
	started, exiting := make(chan struct{}), make(chan struct{})
	s := &Server{HTTP: quiet(hello), Addrs: []string{"127.0.0.1:0"}, Signals: []os.Signal{syscall.SIGUSR1}}
	s.OnStart("long", func(ctx context.Context) error {
		close(started)
		<-ctx.Done() // by the first signal
		return ctx.Err()
	})
	secondSeen := make(chan struct{})
	s.OnEvent = func(e Event) {
		if e.Kind == EventSignal && s.Phase() == PhaseExiting {
			close(secondSeen)
		}
	}
	s.PreExit("long", func(ctx context.Context) error {
		close(exiting)
		<-secondSeen // there is nothing left for it to end: the hook goes on
		return ctx.Err()
	})
	r := &running{Server: s, t: t, done: make(chan struct{})}
	go func() { defer close(r.done); r.err = s.Run(t.Context()) }()
	<-started
	kill(t, syscall.SIGUSR1)
	<-exiting
	kill(t, syscall.SIGUSR1)
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

// heeds is a server that heeds SIGUSR1, and says so for each: signals that are not
// told apart in time may come as one.
func heeds(s *Server) (heard chan struct{}) {
	heard = make(chan struct{}, 10)
	s.Signals = []os.Signal{syscall.SIGUSR1}
	s.OnEvent = func(e Event) {
		if e.Kind == EventSignal {
			heard <- struct{}{}
		}
	}
	return heard
}

func TestContract14SecondSignalEndsTheShutdownDelay(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			s := &Server{HTTP: quiet(hello), ShutdownDelay: time.Hour, DrainTimeout: time.Hour}
			heard := heeds(s)
			r := runKind(t, kind, s)
			idle := r.dial()
			idle.get("/")
			kill(t, syscall.SIGUSR1)
			<-r.Draining()
			<-heard
			for range 3 { // served on, all of them
				c := r.dial()
				if resp := c.get("/"); !resp.Close || body(resp) != "hello" {
					t.Errorf("response %v, close %v", resp.Status, resp.Close)
				}
				c.wantEOF()
			}
			kill(t, syscall.SIGUSR1)
			if err := r.wait(); !errors.Is(err, ErrForced) || ExitCode(err) != 2 {
				t.Error(err)
			}
			idle.wantNothing()
			rep := r.Report()
			if rep.Cause != "signal: user defined signal 1" || rep.Accepted != 3 || rep.Told != 3 {
				t.Errorf("report %+v", rep)
			}
		})
	}
}

// The deadline has come; the second signal ends what is left of AbortTimeout.
func TestContract14SecondSignalEndsTheAbort(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			g := newGate()
			defer close(g.release)
			s := &Server{HTTP: quiet(g.handle), DrainTimeout: 10 * time.Millisecond, AbortTimeout: time.Hour}
			heard := heeds(s)
			r := runKind(t, kind, s)
			c := r.dial()
			c.send("GET /stuck HTTP/1.1\r\nHost: t\r\n\r\n")
			<-g.entered
			kill(t, syscall.SIGUSR1)
			<-heard
			<-s.Context().Done()
			select {
			case <-r.done:
				t.Error("there was no abort to wait for")
			case <-time.After(20 * time.Millisecond):
			}
			kill(t, syscall.SIGUSR1)
			// It was the deadline that ended the wait.
			if err := r.wait(); !errors.Is(err, ErrDrainTimeout) || !errors.Is(err, ErrForced) || ExitCode(err) != 2 {
				t.Error(err)
			}
			if cause := context.Cause(s.Context()); !errors.Is(cause, ErrDrainTimeout) {
				t.Errorf("cause %v", cause)
			}
			c.wantNothing()
			if cut := r.Report().Cut; len(cut) != 1 || cut[0].Route != "GET /stuck" {
				t.Errorf("cut %+v", cut)
			}
		})
	}
}

// In the exit hooks there is nothing left to lose but them: signals change nothing.
func TestContract14SignalsInTheExitHooks(t *testing.T) {
	for name, start := range map[string]HookFunc{
		"after a drain":        func(context.Context) error { return nil },
		"after a failed start": func(context.Context) error { return errors.New("no") },
	} {
		t.Run(name, func(t *testing.T) {
			s := &Server{HTTP: quiet(hello), LastCall: time.Millisecond, HookTimeout: -1}
			heard := heeds(s)
			var ran []string
			s.OnStart("start", start)
			for _, name := range []string{"third", "second", "first"} {
				s.PreExit(name, func(ctx context.Context) error {
					if name != "third" {
						kill(t, syscall.SIGUSR1)
						<-heard
					}
					ran = append(ran, name)
					return ctx.Err()
				})
			}
			r := runTCP(t, s)
			failed := r.Phase() != PhaseReady
			if !failed {
				c := r.dial()
				if resp := c.get("/"); body(resp) != "hello" {
					t.Error(resp.Status)
				}
				r.Drain()
				c.wantEOF()
			}
			if err := r.wait(); errors.Is(err, ErrForced) || ExitCode(err) != map[bool]int{true: 1}[failed] {
				t.Error(err)
			}
			if want := []string{"first", "second", "third"}; !slices.Equal(ran, want) {
				t.Errorf("ran %q", ran)
			}
		})
	}
}
