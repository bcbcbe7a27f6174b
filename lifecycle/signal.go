package lifecycle

import (
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// DefaultSignals are the signals that ask a server to end on every platform
// that has them. SIGQUIT is not among them, and keeps Go's goroutine dump.
func DefaultSignals() []os.Signal {
	return []os.Signal{syscall.SIGTERM, os.Interrupt}
}

// ErrForced says that the wait for connections was ended by a second signal or
// by Close, not by the last connection.
var ErrForced = errors.New("lifecycle: drain ended by force")

// notifySignals steps through the server's end, a step a signal, and returns
// the function that stops listening for them.
func (s *Server) notifySignals() (stop func()) {
	if len(s.Signals) == 0 {
		return func() {}
	}
	received := make(chan os.Signal, 3)
	over := make(chan struct{})
	signal.Notify(received, s.Signals...)
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 1; ; n++ {
			select {
			case sig := <-received:
				if n > 2 {
					os.Exit(exitForced)
				}
				// Apart, so that an OnEvent that hangs cannot keep the third
				// signal from being heard.
				wg.Go(func() { s.signalled(n, sig) })
			case <-over:
				return
			}
		}
	})
	return func() {
		signal.Stop(received)
		close(over)
		wg.Wait()
	}
}

// signalled counts signals, not drains: an orchestrator whose pre-stop hook has
// begun the drain by a request sends SIGTERM all the same, and means no harm.
func (s *Server) signalled(n int, sig os.Signal) {
	s.emit(Event{Kind: EventSignal, Name: sig.String()})
	if n == 1 {
		s.beginDrain("signal: " + sig.String())
	} else {
		s.force("second signal: " + sig.String())
	}
}
