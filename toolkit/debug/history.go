package debug

import (
	"sync"
	"time"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
)

// How often connections are counted, as long as somebody has looked within keepLooking, and
// for how long that is kept.
const (
	interval      = time.Second
	drainInterval = time.Second / 5
	keepLooking   = 10 * time.Minute
	kept          = 5 * time.Minute
)

// share of a CPU that each of counting, and all open pages, may take at most: one in so many.
const share = 20

// point is how many connections were in each state, and when.
type point struct {
	At time.Time `json:"at"`
	lifecycle.Counts
}

// history is the past of the connections.
type history struct {
	mu     sync.Mutex // guards what follows
	points []point    // the oldest first
	looked time.Time  // when somebody last has
	counts bool       // a goroutine does
}

// look returns the points after a time, and has the connections counted from now on.
func (h *history) look(s *toolkit.Server, t time.Time) []point {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.looked = time.Now()
	if !h.counts && s.Phase() < lifecycle.PhaseExiting {
		h.counts = true
		go h.count(s) // which waits for mu
	}
	i := len(h.points)
	for i > 0 && h.points[i-1].At.After(t) {
		i--
	}
	return append([]point{}, h.points[i:]...)
}

// count counts until the connections are gone, or nobody looks any more.
func (h *history) count(s *toolkit.Server) {
	next := time.NewTimer(0)
	defer next.Stop()
	draining := s.Draining()
	for {
		select {
		case <-s.Reached(lifecycle.PhaseExiting):
			return
		case <-draining:
			draining = nil // at once, and then more often
		case <-next.C:
		}
		began := time.Now()
		p := point{began, s.Counts()}
		if !h.add(p) {
			return
		}
		next.Reset(pause(s, time.Since(began), 1))
	}
}

// pause is how long to wait after something that has taken so long, and that so many do.
func pause(s *toolkit.Server, took time.Duration, of int) time.Duration {
	if s.Phase() >= lifecycle.PhaseDraining {
		return max(drainInterval, share*took*time.Duration(of))
	}
	return max(interval, share*took*time.Duration(of))
}

// add adds a point, and forgets old ones. It reports false when nobody looks any more.
func (h *history) add(p point) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.At.Sub(h.looked) > keepLooking {
		h.points, h.counts = nil, false
		return false
	}
	old := 0
	for old < len(h.points) && p.At.Sub(h.points[old].At) > kept {
		old++
	}
	h.points = append(h.points[:0], h.points[old:]...)
	h.points = append(h.points, p)
	return true
}
