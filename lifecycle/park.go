package lifecycle

import (
	"fmt"
	"net"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// Parking gives back what an idle connection holds: a goroutine with its stack, a
// read buffer, a write buffer and a RequestCtx, some 16 kB in all.
//
// The connection is claimed, idle to parking, and its descriptor duplicated. A read
// deadline in the past wakes its reader; fasthttp lets go of all that it has, and
// closes its descriptor. That sends no FIN, as the duplicate is still open. The
// duplicate goes into a poller. When it turns readable it becomes a net.Conn again,
// and a new goroutine lets fasthttp serve it.
//
// Bytes that come first turn the state to active, and the parking is called off;
// bytes that come later wait in the kernel for the poller to see. Nobody but
// fasthttp ever reads one.

// parking is the set of parked connections.
type parking struct {
	loops  sync.WaitGroup
	stop   chan struct{} // closed to end loops; nil if nothing is to be parked
	poller *poller       // nil until a connection is to be parked
	off    atomic.Bool   // nothing is parked any more

	refused sync.Once // what cannot be parked has been said

	parkings   atomic.Int64  // so far
	unparkings atomic.Uint64 // so far
	underWay   atomic.Int64  // connections in stateParking
	left       atomic.Bool   // others are to follow, when there are fewer of these
	more       chan struct{} // for parkLoop, of 1: they may

	mu    sync.Mutex // guards what follows
	conns []*parked  // by descriptor
	count int        // of those that are not nil
	// A list, by the time of parking.
	first, last *parked
}

// parked is what is left of a connection. Whoever takes it out of the set owns its
// descriptor. It is small on purpose: a socket's addresses can be had of it.
type parked struct {
	prev, next      *parked
	accepted, since time.Duration
	id, requests    uint64
	from            *listener
	ip              *ipConns
	fd              int
	remote          *net.Addr // of its preface
}

// add puts a connection in the set. mu is held.
func (p *parking) add(one *parked) error {
	for len(p.conns) <= one.fd {
		p.conns = append(p.conns, nil)
	}
	p.conns[one.fd] = one
	p.count++
	if one.prev = p.last; p.last != nil {
		p.last.next = one
	} else {
		p.first = one
	}
	p.last = one
	err := p.poller.add(one.fd, pollInput|pollEnd)
	if err != nil {
		p.remove(one)
	}
	return err
}

// remove takes a connection out of the set. mu is held.
func (p *parking) remove(one *parked) {
	p.poller.remove(one.fd)
	p.conns[one.fd] = nil
	p.count--
	if one.prev != nil {
		one.prev.next = one.next
	} else {
		p.first = one.next
	}
	if one.next != nil {
		one.next.prev = one.prev
	} else {
		p.last = one.prev
	}
}

// at returns the connection with a descriptor, or nil. mu is held.
func (p *parking) at(fd int) *parked {
	if fd >= len(p.conns) {
		return nil
	}
	return p.conns[fd]
}

// all returns the connections in the set, some of which may have left it by the time
// they are looked at.
func (p *parking) all() []*parked {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*parked, 0, p.count)
	for one := p.first; one != nil; one = one.next {
		all = append(all, one)
	}
	return all
}

// takeIf takes a connection out of the set if it is in it and f, if any, agrees.
func (p *parking) takeIf(one *parked, f func() bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at(one.fd) != one || f != nil && !f() {
		return false
	}
	p.remove(one)
	return true
}

// startParking begins to park connections, if that is asked for.
func (s *Server) startParking() {
	if s.ParkAfter <= 0 {
		return
	}
	s.parking.stop = make(chan struct{})
	s.parking.more = make(chan struct{}, 1)
	s.parking.loops.Go(s.parkLoop)
}

// stopParking is for the end, when no connection is open.
func (s *Server) stopParking() {
	if s.parking.stop == nil {
		return
	}
	close(s.parking.stop)
	s.parking.loops.Wait()
}

// canPark reports whether connections can be parked here. When it is first asked, it
// makes the poller. It is called by parkLoop alone.
func (s *Server) canPark() bool {
	p := &s.parking
	if p.off.Load() {
		return false
	}
	if p.poller != nil {
		return true
	}
	poller, err := newPoller()
	if err != nil {
		if !isTemporary(err) {
			s.giveUpParking(err)
		}
		return false
	}
	p.poller = poller
	p.loops.Go(s.unparkLoop)
	return true
}

// giveUpParking is for what would fare no better another time.
func (s *Server) giveUpParking(err error) {
	if !s.parking.off.Swap(true) {
		s.emit(Event{Kind: EventNotParked, Err: err})
	}
}

// minParkInterval bounds how often parkLoop looks.
const minParkInterval = time.Millisecond

// parkLoop parks connections that have been idle for ParkAfter, and ends those whose
// idle timeout is over. A timer a connection would cost each request.
func (s *Server) parkLoop() {
	tick := time.NewTicker(max(s.ParkAfter/2, minParkInterval))
	defer tick.Stop()
	var release releases
	workers := orDefault(s.HTTP.MaxIdleWorkerDuration, 10*time.Second) // fasthttp's default
	defer func() {
		if s.parking.poller != nil {
			s.parking.poller.close() // which ends unparkLoop
		}
	}()
	for {
		select {
		case <-tick.C:
		case <-s.parking.more:
		case <-s.parking.stop:
			return
		}
		s.parkIdleConns()
		s.endParkedConns(s.idleTimeoutOver)
		if release.due(s.parking.parkings.Load(), s.now(), workers) {
			releaseMemory()
		}
	}
}

// maxParking is how many connections are parked at the same time: each has two
// descriptors meanwhile. The next ones follow when half of them have been.
const maxParking = 128

func (s *Server) parkIdleConns() {
	before := s.now() - s.ParkAfter
	s.parking.left.Store(false)
	s.conns.each(func(c *conn) bool {
		if s.phases.load() != PhaseReady {
			return false // the drain wants them as they are
		}
		word := c.word.Load()
		st := stateOf(word)
		switch {
		case st != StateIdle && st != stateParking:
		case time.Duration(c.since.Load()) > before, !parkable(c.Conn), c.multiplexed():
		case word&flagPipelines != 0: // it has been idle since its response; see clock
			now := s.now()
			if c.word.CompareAndSwap(word, word&^flagPipelines) {
				c.since.CompareAndSwap(c.since.Load(), int64(now))
			}
		case st == StateIdle && s.parking.underWay.Load() >= maxParking:
			s.parking.left.Store(true)
			// and look on, for those whose parking is to be tried again
		default:
			s.park(c)
		}
		return true
	})
	s.parking.goOn(s.parking.underWay.Load())
}

// goOn has parkLoop go on where it has left others, now that so many are under way.
func (p *parking) goOn(underWay int64) {
	if underWay <= maxParking/2 && p.left.Load() {
		select {
		case p.more <- struct{}{}:
		default:
		}
	}
}

// park begins to park a connection, or, where fasthttp has set its own deadline over
// ours, tries again.
func (s *Server) park(c *conn) {
	s.wakeMu.Lock()
	defer s.wakeMu.Unlock()
	word := c.word.Load()
	switch stateOf(word) {
	case StateIdle:
		if word&flagSlow != 0 || !s.canPark() { // a second descriptor would outlive the cut
			return
		}
		fd, err := duplicate(c.Conn)
		if err != nil {
			return // closed, or no descriptor to be had: another time
		}
		c.parkFD = fd
		s.parking.underWay.Add(1)
		if !c.word.CompareAndSwap(word, word&^stateMask|uint64(stateParking)) {
			s.dropParking(c)
			return
		}
	case stateParking:
	default:
		return
	}
	_ = c.SetReadDeadline(past)
}

// parkable knows the connections that have a socket and no other state. That of a
// TLS connection is in the process.
func parkable(nc net.Conn) bool {
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// noteUnparkable says once that connections of a kind are not parked.
func (s *Server) noteUnparkable(nc net.Conn) {
	if s.ParkAfter > 0 && !parkable(nc) {
		s.parking.refused.Do(func() {
			s.emit(Event{Kind: EventNotParked, Err: fmt.Errorf("lifecycle: connections of type %T are not parked", nc)})
		})
	}
}

// callOffParking is for a connection on which a request came first.
func (s *Server) callOffParking(c *conn) {
	s.restoreDeadline(c)
	s.dropParking(c)
}

// dropParking is for who has ended a connection's parking, and not by parking it.
func (s *Server) dropParking(c *conn) {
	s.parking.goOn(s.parking.underWay.Add(-1))
	closeFD(c.parkFD)
}

// enterParked is for a connection of which fasthttp has let go.
func (s *Server) enterParked(c *conn, since time.Duration) {
	p := &parked{
		fd: c.parkFD, id: c.id, requests: c.word.Load() / oneRequest,
		accepted: c.accepted, since: since, from: c.from, ip: c.ip, remote: c.remote.Load(),
	}
	s.parking.goOn(s.parking.underWay.Add(-1))
	s.parking.parkings.Add(1)
	s.parking.mu.Lock()
	err := s.parking.add(p)
	s.conns.take(c) // while it cannot be resumed
	c.to(StateClosed, s.now())
	s.parking.mu.Unlock()
	if err != nil {
		s.giveUpParking(err)
		s.resume(p, StateIdle)
		return
	}
	s.noticeIdle() // the drain may have begun meanwhile, and looked
	if s.cutting.Load() {
		s.cutParked()
	}
}

// unparkLoop brings back the connections on which something has come.
func (s *Server) unparkLoop() {
	for {
		fds, err := s.parking.poller.wait()
		if err != nil {
			return
		}
		for _, f := range fds {
			switch p, in := s.takeOutReady(f.fd); in {
			case inputSome:
				s.resume(p, StateActive)
			case inputEnded: // the client has closed it
				s.dropParked(p)
			case inputNone:
			}
		}
	}
}

// takeOutReady takes a connection out of the set if something has come on it. The
// poller may have spoken of another one, which had the same descriptor before.
func (s *Server) takeOutReady(fd int) (*parked, input) {
	s.parking.mu.Lock()
	defer s.parking.mu.Unlock()
	p := s.parking.at(fd)
	if p == nil {
		return nil, inputNone
	}
	in := look(uintptr(fd))
	if in != inputNone {
		s.parking.remove(p)
	}
	return p, in
}

// resume has fasthttp serve a connection again. It is active if something has come:
// what is idle might be parked while fasthttp waits for its first byte, and would
// answer that with a 408, as to any new connection.
func (s *Server) resume(p *parked, st ConnState) {
	if s.cutting.Load() {
		s.dropParked(p)
		return
	}
	nc, err := connOf(p.fd)
	if err != nil {
		if isTemporary(err) { // no descriptor to be had; the request waits
			time.AfterFunc(minAcceptPause, func() { s.resume(p, st) })
			return
		}
		s.dropParked(p)
		return
	}
	_ = s.keepAlive(nc)
	c := &conn{Conn: nc, id: p.id, from: p.from, accepted: p.accepted, ip: p.ip}
	c.remote.Store(p.remote)
	c.since.Store(int64(p.since))
	c.word.Store(p.requests*oneRequest | uint64(st))
	s.conns.put(c)
	s.parking.unparkings.Add(1)
	if s.cutting.Load() {
		cut(nc)
	}
	s.tellState(nc, fasthttp.StateNew)
	s.noticeIdle()
	go s.serveConn(nc)
}

// dropParked closes a connection that has been taken out of the set.
func (s *Server) dropParked(p *parked) {
	closeFD(p.fd)
	s.limits.release(p.ip)
	if s.conns.closed() <= s.watchers.conns.Load() {
		s.signalChange()
	}
}

// idleTimeoutOver is when a parked connection's idle timeout ends.
func (s *Server) idleTimeoutOver(since time.Duration) time.Duration {
	d := s.HTTP.IdleTimeout
	if d <= 0 {
		d = s.HTTP.ReadTimeout // as fasthttp has it
	}
	if d <= 0 || d > maxTime-since {
		return maxTime
	}
	return since + d
}

// endParkedConns ends the parked connections whose time is over and that have nothing
// pending. over says when that is, and rises with when they became idle. It returns
// how many those were, and when to look again.
func (s *Server) endParkedConns(over func(since time.Duration) time.Duration) (ended int64, next time.Duration) {
	now := s.now()
	for _, p := range s.parkedUntil(now, over, &next) {
		if !s.parking.takeIf(p, func() bool { return look(uintptr(p.fd)) != inputSome }) {
			continue // it is being resumed, or will be at once
		}
		ended++
		s.dropParked(p)
	}
	return ended, next
}

// parkedUntil returns the parked connections whose time is over, and in next when
// that of the first other one is. They became idle almost in the order in which they
// were parked: out of it by at most the time between two looks.
func (s *Server) parkedUntil(now time.Duration, over func(since time.Duration) time.Duration, next *time.Duration) (due []*parked) {
	*next = maxTime
	s.parking.mu.Lock()
	defer s.parking.mu.Unlock()
	for p := s.parking.first; p != nil; p = p.next {
		if at := over(p.since); at > now {
			*next = at
			break
		}
		due = append(due, p)
	}
	return due
}

// cutParked closes all parked connections.
func (s *Server) cutParked() {
	for _, p := range s.parking.all() {
		if s.parking.takeIf(p, nil) {
			s.dropParked(p)
		}
	}
}

// info is all but what takes system calls.
func (p *parked) info(now time.Duration) ConnInfo {
	return ConnInfo{ID: p.id, State: StateParked, Requests: p.requests, Age: now - p.accepted, Since: max(0, now-p.since)}
}

// parkedAddrs are the addresses of a connection, if it is still parked.
func (s *Server) parkedAddrs(p *parked) (local, remote string, in bool) {
	s.parking.mu.Lock()
	defer s.parking.mu.Unlock()
	if s.parking.at(p.fd) != p {
		return "", "", false
	}
	return localOf(p.fd), p.remoteText(), true
}

// parkedRemote is the client's address, "" if the connection is no longer parked.
func (s *Server) parkedRemote(p *parked) string {
	s.parking.mu.Lock()
	defer s.parking.mu.Unlock()
	if s.parking.at(p.fd) != p {
		return ""
	}
	return p.remoteText()
}

// remoteText is the client's address. It is held in the set.
func (p *parked) remoteText() string {
	if p.remote != nil {
		return addrString(*p.remote)
	}
	return remoteOf(p.fd)
}

// What parked connections have given back is garbage, which Go collects when its heap
// has grown, and returns to the system bit by bit. A wave of parkings, manyParkings at
// least, is helped along: collected when it is over, twice, as pools keep their
// contents for one time, and again when fasthttp's workers have ended, which wait for
// work for a while.
const (
	manyParkings = 1000
	waveOver     = time.Second
)

type releases struct {
	seen    int64         // parkings at the last look
	changed time.Duration // when a look saw more of them
	done    int64         // parkings at the last release
	again   time.Duration // when to release once more; zero is never
}

// due reports whether memory is to be released now.
func (r *releases) due(parkings int64, now, workers time.Duration) bool {
	if parkings != r.seen {
		r.seen, r.changed = parkings, now
	}
	switch {
	case r.seen-r.done >= manyParkings && now-r.changed >= waveOver:
		r.done, r.again = r.seen, now+2*workers
		return true
	case r.again > 0 && now >= r.again:
		r.again = 0
		return true
	}
	return false
}

func releaseMemory() {
	runtime.GC()
	debug.FreeOSMemory()
}
