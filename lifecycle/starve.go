package lifecycle

import (
	"errors"
	"os"
	"sync"
	"syscall"
)

// When a process has no descriptor left, accept(2) fails, and those who have connected
// wait in the queue for an answer that does not come. A descriptor that was held back
// for this is given up then: it lets one of them after the other be accepted, told,
// and closed.
type reserve struct {
	mu sync.Mutex // guards f, and is held while the descriptor is in use
	f  *os.File
}

// open is for the server's start.
func (r *reserve) open() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold()
}

// close is for its end.
func (r *reserve) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.release()
}

// hold takes the descriptor. mu is held.
func (r *reserve) hold() bool {
	if r.f == nil {
		r.f, _ = os.Open(os.DevNull)
	}
	return r.f != nil
}

// release gives the descriptor up. mu is held.
func (r *reserve) release() {
	if r.f != nil {
		_ = r.f.Close()
		r.f = nil
	}
}

// maxTurnedAway is how many connections are turned away before accepting is tried
// again.
const maxTurnedAway = 64

// turnAway answers those who wait in the queue with a 503, or, where they would not
// understand it, closes them. It returns how many there were.
func (l *listener) turnAway() (n int) {
	var response []byte
	if l.tls == nil {
		response = refusal(noDescriptor)
	}
	r := &l.s.reserve
	r.mu.Lock()
	defer r.mu.Unlock()
	for n < maxTurnedAway && r.hold() && !hasDescriptor() { // others give theirs back meanwhile
		r.release()
		if !turnOneAway(l.Listener, response) {
			break
		}
		l.s.noteRefused(noDescriptor, nil)
		n++
	}
	r.hold()
	return n
}

// starves notes by which error accepting has failed, if it is for want of something.
func (l *listener) starves(err error) {
	if errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.EPROTO) || isTimeout(err) {
		return
	}
	l.starving.Store(&err)
}

// noLongerStarves is for before an accept that waits for who comes next, however long
// that takes.
func (l *listener) noLongerStarves() {
	if l.starving.Load() == nil {
		return
	}
	if hasDescriptor() {
		l.starving.Store(nil)
	}
}

// hasDescriptor reports whether the process can open one more.
func hasDescriptor() bool {
	f, err := os.Open(os.DevNull)
	if err == nil {
		_ = f.Close()
	}
	return err == nil
}

// Starving returns the error by which a listener fails to accept connections at
// present, for want of descriptors or memory, or nil. Meanwhile those who connect are
// answered with a 503 and closed; readiness should be red.
func (s *Server) Starving() error {
	for _, l := range s.openListeners() {
		if err := l.starving.Load(); err != nil {
			return *err
		}
	}
	return nil
}
