//go:build unix

package lifecycle

import (
	"context"
	"errors"
	"os"
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
