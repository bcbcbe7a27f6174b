package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// ErrDrainTimeout says that the drain's deadline came before the last
// connection had ended.
var ErrDrainTimeout = errors.New("lifecycle: drain deadline exceeded")

// Drain begins the drain and returns at once, so that a handler may call it: its
// own response is still delivered. Calls after the first change nothing. Before
// Run, it makes Run start nothing and run its exit hooks only.
func (s *Server) Drain() { s.beginDrain("Drain") }

// ShutdownWithContext begins the drain and waits until it is over, exit hooks
// included. It returns what Run returns, or, if ctx ends first, ctx's error:
// then the drain goes on, within its own limits. Any number of callers may wait,
// each with its own ctx. Where Run has not been called it returns nil at once;
// Run will then start nothing.
//
// A handler or hook that waits here waits for itself: it wants Drain.
func (s *Server) ShutdownWithContext(ctx context.Context) error {
	s.beginDrain("ShutdownWithContext")
	if !s.ran.Load() {
		return nil
	}
	stopped := s.Reached(PhaseStopped)
	select {
	case <-stopped:
	case <-ctx.Done():
		select {
		case <-stopped: // both: the result says more
		default:
			return fmt.Errorf("lifecycle: the drain goes on: %w", ctx.Err())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.report.Err
}

// Close ends everything now: connections are cut and contexts cancelled. It does
// not wait; Run runs the exit hooks and returns. It always returns nil.
func (s *Server) Close() error {
	s.force("Close")
	return nil
}

// beginDrain makes readiness red, before anything else changes. When it returns,
// Draining is closed, whichever of several callers was the first.
func (s *Server) beginDrain(cause string) {
	s.init()
	s.mu.Lock()
	first := s.report.Cause == ""
	if first {
		s.report.Cause = cause
		s.drainBegan = s.now()
		if d := orDefault(s.DrainTimeout, DefaultDrainTimeout); d >= 0 {
			s.deadline = time.Now().Add(s.ShutdownDelay).Add(d)
		}
	}
	s.mu.Unlock()
	if !first {
		<-s.phases.reached[PhaseDraining]
		return
	}
	s.noteOpen() // before anybody can know of the drain, and act on it
	s.enterPhase(PhaseDraining, cause)
	s.cancelStart()
}

// force ends all waiting. It does so before a drain that it begins itself could
// come to its own end.
func (s *Server) force(cause string) {
	s.init()
	s.forceOnce.Do(func() { close(s.forced) })
	s.beginDrain(cause)
}

// drain is the drain, from its begin to the last connection's end. It returns
// nil if nothing had to be cut.
func (s *Server) drain() error {
	hooked := make(chan struct{})
	s.hooking.Store(true)
	go func() {
		defer s.signalChange()
		defer s.hooking.Store(false)
		defer close(hooked)
		s.runDrainHooks(s.ctx)
	}()
	deadline := s.newDeadline()
	defer deadline.Stop()

	s.waitShutdownDelay()
	s.endListeners()
	err := s.awaitConns(deadline.C)
	if err != nil {
		err = s.abort(err)
		<-hooked // which its context's end has made soon
	}
	return err
}

func (s *Server) noteOpen() {
	open := s.Counts()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.Open = open
	s.crowded = open.Total() > crowd
}

// newDeadline returns the timer of the drain's deadline.
func (s *Server) newDeadline() *time.Timer {
	if at, ok := s.DrainDeadline(); ok {
		return time.NewTimer(time.Until(at))
	}
	return newTimer(-1)
}

// waitShutdownDelay keeps serving, while load balancers notice.
func (s *Server) waitShutdownDelay() {
	if s.ShutdownDelay == 0 {
		return
	}
	t := time.NewTimer(s.ShutdownDelay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.forced:
	}
}

// endListeners has what waits accepted and the listeners closed, each by its
// accept loop, beside what follows.
func (s *Server) endListeners() {
	for _, l := range s.openListeners() {
		l.end()
	}
}

// awaitConns closes each idle connection after its last call, and waits for the
// busy ones and for work, by event. It returns nil once there is nothing left.
func (s *Server) awaitConns(deadline <-chan time.Time) error {
	look := time.NewTimer(0) // fires when an idle connection's last call is over
	defer look.Stop()
	lookAt := s.now()
	var lastWord <-chan time.Time // fires when those who watch have had their time
	for {
		select {
		case <-s.forced: // before all else that may be due
			return ErrForced
		default:
		}
		switch {
		case !s.onlyWatched():
		case s.conns.open.Load() == 0:
			return nil
		case lastWord == nil:
			s.endWatching()
			t := time.NewTimer(watchTimeout)
			defer t.Stop()
			lastWord = t.C
		}
		select {
		case <-s.changed:
			if !s.idled.Swap(false) {
				continue
			}
			at := s.lastCallOver(s.now())
			if s.kept.len() > 0 {
				at = min(at, s.now()+keptInterval)
			}
			if at < lookAt {
				lookAt = at
				look.Reset(lookAt - s.now())
			}
		case <-look.C:
			lookAt = s.endIdleConns()
			look.Reset(lookAt - s.now())
		case <-lastWord:
			lastWord = nil
			if s.cutWatching() {
				return nil
			}
		case <-deadline:
			if s.cutWatching() {
				return nil
			}
			return ErrDrainTimeout
		case <-s.forced:
			return ErrForced
		}
	}
}

// onlyWatched reports whether all has ended, save for connections that Watch knows. The
// accept loops come first: while one runs, the table of connections may still grow.
func (s *Server) onlyWatched() bool {
	return s.accepting.Load() == 0 && s.conns.open.Load() <= s.watchers.conns.Load() &&
		!s.hooking.Load() && s.work.len() == 0 && s.lingering.len() == 0
}

// maxTime is later than all times.
const maxTime time.Duration = math.MaxInt64

// In a crowd, a connection that has been idle for longIdle times LastCall gets none.
// Whoever has been silent for so long is unlikely to speak within one more, and then
// as likely to cross a FIN at its end as at its begin; while to close thousands at
// the same time takes longer than a last call does.
const (
	crowd    = 1000 // connections
	longIdle = 4
)

// lastCallOver is when the last call ends of a connection that became idle, or
// was accepted, at the given time.
func (s *Server) lastCallOver(since time.Duration) time.Duration {
	lastCall := max(0, orDefault(s.LastCall, DefaultLastCall))
	if s.aborting {
		return since // there is no last call any more
	}
	if s.crowded && (s.drainBegan-since)/longIdle > lastCall {
		return since
	}
	from := max(since, s.drainBegan)
	if lastCall > maxTime-from {
		return maxTime
	}
	return from + lastCall
}

// wakeInterval is after what time a connection is looked at again that could not
// be ended for good, because a request came first or by lack of a socket.
const wakeInterval = time.Millisecond

// segmentInterval is after what time a TLS connection is looked at again that has
// begun to send something.
const segmentInterval = 20 * time.Millisecond

// endIdleConns ends the idle connections whose last call is over, and returns
// when to look again.
func (s *Server) endIdleConns() (next time.Duration) {
	now := s.now()
	ended, next := s.endParkedConns(s.lastCallOver)
	s.lastCalled.Add(ended)
	if s.kept.len() > 0 {
		s.sweepKept(s.kept.len())
		next = min(next, now+keptInterval)
	}
	s.conns.each(func(c *conn) bool {
		word := c.word.Load()
		st := stateOf(word)
		if st != StateNew && st != StateIdle && st != stateWaking && st != stateParking && st != stateRefused {
			return true
		}
		since := time.Duration(c.since.Load())
		if word&flagPipelines != 0 {
			since = max(since, s.drainBegan) // see clock: it may have been idle for less
		}
		over := s.lastCallOver(since)
		switch {
		case over > now:
			if st == StateNew {
				c.lookAtInput() // of a TLS handshake
			} else if c.input == nil && c.seen.Load() == 0 {
				c.noteTaken()
			}
		case st == StateIdle && s.mayComeYet(c):
			over = now + segmentInterval
		case st == StateNew && c.lookAtInput():
			over = max(now+segmentInterval, s.lastCallOver(now))
		case !s.end(c):
			over = now + wakeInterval
		}
		if over > now {
			next = min(next, over)
		}
		return true
	})
	return next
}

// mayComeYet reports whether a request may be on its way on an idle connection whose last
// call is over.
func (s *Server) mayComeYet(c *conn) bool {
	if f := c.farewell.Load(); f != nil {
		return !s.aborting && !f.ready()
	}
	return c.halfRecord()
}

// keptInterval is how often the drain looks at kept hijacked connections.
const keptInterval = 10 * time.Millisecond

// noticeIdle tells a drain that there is one more idle connection to end.
func (s *Server) noticeIdle() {
	if s.phases.load() == PhaseDraining {
		s.idled.Store(true)
		s.signalChange()
	}
}

// signalChange makes whoever waits look again.
func (s *Server) signalChange() {
	select {
	case s.changed <- struct{}{}:
	default: // a look is due already
	}
}

// abort ends what is left: contexts first, then, after AbortTimeout, every
// connection. A drain that was forced gives no time, and ends connections first: what
// returns when its context ends must not end its response in good order. It returns
// why, and that it was forced, if it was in the end.
func (s *Server) abort(why error) error {
	if errors.Is(why, ErrDrainTimeout) {
		s.cancel(why)
		s.cancelRequests()
		switch err := s.awaitAbort(); {
		case err == nil:
			return why
		case errors.Is(err, ErrForced):
			why = errors.Join(why, err)
		}
	}
	s.cutting.Store(true)
	s.noteCut()
	s.cutConns(false)
	s.cutParked()
	s.lingering.cut()
	s.cancel(why)
	s.cancelRequests()
	s.endWatching()
	s.awaitUnwinding()
	s.cutConns(true)
	return why
}

// cancelRequests ends RequestCtx.Done, by the only means that fasthttp has.
// With a context that has ended already its shutdown waits for nothing.
func (s *Server) cancelRequests() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.HTTP.ShutdownWithContext(ctx)
}

// awaitAbort gives handlers AbortTimeout to answer, now that their contexts have
// ended. It returns nil if all have.
func (s *Server) awaitAbort() error {
	timeout := orDefault(s.AbortTimeout, DefaultAbortTimeout)
	if timeout < 0 {
		return ErrDrainTimeout
	}
	s.aborting = true
	t := time.NewTimer(timeout)
	defer t.Stop()
	return s.awaitConns(t.C)
}

// cutConns closes the connections that watch, or all others.
func (s *Server) cutConns(watch bool) {
	s.conns.each(func(c *conn) bool {
		if c.watches.Load() == watch {
			c.cut()
		}
		return true
	})
}

func (s *Server) noteCut() {
	cut, work := s.Conns(), s.work.abandon()
	cut = slices.DeleteFunc(cut, func(c ConnInfo) bool { return c.Watches })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.Cut, s.report.Work = cut, work
}

// unwindTimeout bounds the wait for connections that were cut.
const unwindTimeout = 100 * time.Millisecond

// awaitUnwinding waits for accept loops and for connections that were cut, save
// those that are in user code: they end when it does.
func (s *Server) awaitUnwinding() {
	t := time.NewTimer(unwindTimeout)
	defer t.Stop()
	for s.unwinding() {
		select {
		case <-s.changed:
		case <-t.C:
			return
		}
	}
}

func (s *Server) unwinding() (some bool) {
	if s.accepting.Load() > 0 || s.lingering.len() > 0 {
		return true
	}
	s.conns.each(func(c *conn) bool {
		some = !c.inside()
		return !some
	})
	return some
}
