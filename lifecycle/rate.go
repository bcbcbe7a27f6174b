package lifecycle

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Rate is the least rate at which a connection has to get on: Bytes in any time of
// Per, which is its longest pause too. 2400 in 10 s are 240 bytes a second, and forgive
// a pause of 10 s. The zero value asks for nothing; half a one is a mistake.
type Rate struct {
	Bytes int
	Per   time.Duration
}

// A request pays nothing for it. Now and then a sweep asks the kernel how far those
// connections have got that have been at it for a while. The kernel counts whoever
// reads and writes, sendfile(2) too, and below TLS.

// pace is what sees to MinReadRate and MinWriteRate.
type pace struct {
	loop sync.WaitGroup
	stop chan struct{} // closed to end loop; nil where there is none

	slowRequests, slowResponses atomic.Uint64 // connections that were ended, so far
}

// progress is how far a connection has got.
type progress struct {
	received uint64 // bytes since its begin
	acked    uint64 // bytes that the client's kernel has taken since then
	queued   int    // bytes that it has yet to take
}

// pacing is what a sweep notes of a connection for the next one.
type pacing struct {
	request uint64 // its number
	in, out mark
}

// mark is how far a connection has to get, and since when.
type mark struct {
	goal  uint64
	since time.Duration
}

// next is m, or, once its goal is reached, a new mark that is step further on.
func (m mark) next(at uint64, step int, now time.Duration) mark {
	if at < m.goal {
		return m
	}
	return mark{goal: at + uint64(step), since: now} //nolint:gosec // never negative
}

// startPace begins to look for slow connections, if that is asked for and any can
// be looked at.
func (s *Server) startPace() {
	interval := sweepInterval(s.MinReadRate, s.MinWriteRate)
	if !canMeasure || interval == 0 {
		return
	}
	for _, l := range s.openListeners() {
		if _, ok := l.Addr().(*net.TCPAddr); ok {
			s.pace.stop = make(chan struct{})
			s.pace.loop.Go(func() { s.paceLoop(interval) })
			return
		}
	}
}

// stopPace is for the end, when no connection is open.
func (s *Server) stopPace() {
	if s.pace.stop != nil {
		close(s.pace.stop)
		s.pace.loop.Wait()
	}
}

// sweepInterval is a tenth of the shorter Per, and at most a second; zero is never.
func sweepInterval(rates ...Rate) (interval time.Duration) {
	for _, r := range rates {
		if every := min(max(r.Per/10, time.Millisecond), time.Second); r.Per > 0 && (interval == 0 || every < interval) {
			interval = every
		}
	}
	return interval
}

func (s *Server) paceLoop(interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var (
		noted   map[*conn]pacing
		settled time.Duration // who has been in his state since then is looked at
	)
	for {
		select {
		case <-tick.C:
			last, before := settled, noted
			settled = s.now() - interval
			noted = make(map[*conn]pacing) // a crowd's would stay as large as it was
			s.conns.each(func(c *conn) bool {
				if w := s.look(c, before[c], settled, last); w != (pacing{}) {
					noted[c] = w
				}
				return true
			})
		case <-s.pace.stop:
			return
		}
	}
}

// look ends a connection that is too slow. Of one that may turn out to be, it
// returns what the next look has to know. It looks at those that are in their state
// since settled, which was last when it last looked.
func (s *Server) look(c *conn, w pacing, settled, last time.Duration) (next pacing) {
	word := c.word.Load()
	st, since := stateOf(word), time.Duration(c.since.Load())
	reading := st == StateActive && (word&flagRoute == 0 || word&flagAwaits != 0)
	// What fasthttp's handler does with its connection, nobody knows.
	inside := word&flagInside != 0 && c.adopted.Load() == nil
	switch {
	case word&flagSlow != 0:
		if reading { // fasthttp may have set its own deadline over ours
			_ = c.SetReadDeadline(past)
		}
		return pacing{}
	case st != StateActive && st != StateIdle, inside, since > settled:
		return pacing{}
	case st == StateIdle && w == (pacing{}) && since <= last && word&flagPipelines == 0: // see clock
		return pacing{} // it has been looked at, and has nothing more to take
	}
	now := s.now()
	p, ok := measure(c.Conn, reading)
	if !ok {
		return pacing{}
	}
	if r := s.MinReadRate; reading && r.Per > 0 {
		if w.request != word/oneRequest {
			w.in = mark{}
		}
		next.request, next.in = word/oneRequest, w.in.next(p.received, r.Bytes, now)
		if now-next.in.since >= r.Per {
			if !hasInput(c.Conn) { // else it is us who are slow
				s.endSlowRequest(c, word)
				return pacing{}
			}
			next.in = mark{}
		}
	}
	if r := s.MinWriteRate; p.queued > 0 && r.Per > 0 {
		// What was queued then has to go, or as much as the rate wants: a stream that
		// sends less is not the client's fault.
		next.out = w.out.next(p.acked, min(p.queued, r.Bytes), now)
		if now-next.out.since >= r.Per {
			s.cutSlowResponse(c, word)
			return pacing{}
		}
	}
	return next
}

// endSlowRequest has fasthttp's reader fail, which answers with a 408, or the read of
// who waits for a body.
func (s *Server) endSlowRequest(c *conn, word uint64) {
	if !c.word.CompareAndSwap(word, word|flagSlow) {
		return // the request is complete
	}
	s.pace.slowRequests.Add(1)
	s.emit(Event{Kind: EventTooSlow, Name: "request", Addr: c.remoteAddr()}) // before its client knows
	_ = c.SetReadDeadline(past)
}

// cutSlowResponse resets a connection: its client is to know that the response is
// not whole, and the kernel to let go of the rest.
func (s *Server) cutSlowResponse(c *conn, word uint64) {
	if !c.word.CompareAndSwap(word, word|flagSlow) {
		return // it goes on
	}
	s.pace.slowResponses.Add(1)
	s.emit(Event{Kind: EventTooSlow, Name: "response", Addr: c.remoteAddr()})
	resetAtClose(c.Conn)
	cut(c.Conn)
}
