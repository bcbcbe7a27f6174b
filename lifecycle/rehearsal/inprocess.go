package rehearsal

import (
	"context"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// Server returns a Plan.Start that runs a lifecycle.Server in this process. fresh
// makes one anew for each round, with one address in Addrs, as "127.0.0.1:0".
func Server(fresh func() *lifecycle.Server) func() (*Target, error) {
	return func() (*Target, error) {
		s := fresh()
		go func() { _ = s.Run(context.Background()) }() // Report has its error
		select {
		case <-s.Reached(lifecycle.PhaseReady):
		case <-s.Reached(lifecycle.PhaseStopped):
		}
		wait := func() error {
			<-s.Reached(lifecycle.PhaseStopped)
			return s.Report().Err
		}
		if len(s.ListenAddrs()) == 0 || s.Phase() > lifecycle.PhaseReady {
			return nil, wait()
		}
		return &Target{
			Addr:     s.ListenAddrs()[0].String(),
			Shutdown: func() error { s.Drain(); return nil },
			Wait:     wait,
		}, nil
	}
}
