package lifecycle

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Phase is where a server is in its life. Phases only move forward; some may be
// skipped, as PhaseReady is when the start fails.
type Phase int32

// The phases, in the order of a life.
const (
	PhaseNew      Phase = iota // Run has not been called
	PhaseStarting              // start hooks, then listening
	PhaseReady                 // accepting and serving
	PhaseDraining              // finishing what is under way
	PhaseExiting               // connections are gone, exit hooks run
	PhaseStopped               // Run returns
	numPhases
)

var phaseNames = [numPhases]string{"new", "starting", "ready", "draining", "exiting", "stopped"}

func (p Phase) String() string {
	if p < 0 || p >= numPhases {
		return "unknown"
	}
	return phaseNames[p]
}

// MarshalText renders the phase as its name.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// PhaseChange says when a phase was entered.
type PhaseChange struct {
	Phase Phase     `json:"phase"`
	At    time.Time `json:"at"`
}

// phases is the forward-only clockwork behind Server.Phase.
type phases struct {
	current atomic.Int32
	reached [numPhases]chan struct{} // closed when that phase or a later one is entered

	mu      sync.Mutex // guards history, and orders advances
	history []PhaseChange
}

func (p *phases) init() {
	for i := range p.reached {
		p.reached[i] = make(chan struct{})
	}
	close(p.reached[PhaseNew])
}

func (p *phases) load() Phase { return Phase(p.current.Load()) }

// advance enters a later phase and reports whether it did: going back, or
// standing still, changes nothing.
func (p *phases) advance(to Phase) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	from := p.load()
	if to <= from {
		return false
	}
	p.history = append(p.history, PhaseChange{to, time.Now()})
	p.current.Store(int32(to))
	for i := from + 1; i <= to; i++ {
		close(p.reached[i])
	}
	return true
}

func (p *phases) changes() []PhaseChange {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]PhaseChange(nil), p.history...)
}

// Phase returns the phase that the server is in.
func (s *Server) Phase() Phase {
	s.init()
	return s.phases.load()
}

// Reached returns a channel that is closed once the server has entered phase p
// or a later one; no values are sent on it.
func (s *Server) Reached(p Phase) <-chan struct{} {
	s.init()
	return s.phases.reached[p]
}

// Draining returns a channel that is closed when the drain begins; no values
// are sent on it. Streams, WebSockets and background work watch it to come to
// an end in time.
func (s *Server) Draining() <-chan struct{} { return s.Reached(PhaseDraining) }

// DrainDeadline returns when the drain will be ended by force, and whether
// there is such a time: there is none before the drain has begun, nor with a
// negative DrainTimeout.
func (s *Server) DrainDeadline() (time.Time, bool) {
	s.init()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deadline, !s.deadline.IsZero()
}

// Context returns the context of the server's life. Unlike a RequestCtx of bare
// fasthttp, whose Done closes when a shutdown starts, it stays open while
// requests are still being finished: it ends at the drain's deadline, with
// ErrDrainTimeout or ErrForced as its context.Cause, or when Run returns.
// Before Run it is open.
func (s *Server) Context() context.Context {
	s.init()
	return s.ctx
}
