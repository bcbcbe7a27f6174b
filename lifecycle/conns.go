package lifecycle

import (
	"cmp"
	"math"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/valyala/fasthttp"
)

// ConnInfo is a connection at the moment of a snapshot.
type ConnInfo struct {
	ID       uint64        `json:"id"`                // counts the server's connections from 1
	State    ConnState     `json:"state"`             //
	Remote   string        `json:"remote"`            // the client's address, or "" before it is known; see Server.Listeners
	Local    string        `json:"local"`             // the address that it was accepted on, as well
	Route    string        `json:"route,omitempty"`   // method and path, cut at 64 bytes, of the request under way
	Requests uint64        `json:"requests"`          // that were begun so far
	Age      time.Duration `json:"age_ns"`            // since it was accepted
	Since    time.Duration `json:"since_ns"`          // how long it has been in State
	Adopted  bool          `json:"adopted,omitempty"` // served by something else than fasthttp; see Adopted
	Watches  bool          `json:"watches,omitempty"` // not awaited by the drain; see Watch
	// Multiplexed is set of one that carries several requests at a time, by HTTP/2. Route
	// is then the one that has been under way for longest.
	Multiplexed bool `json:"multiplexed,omitempty"`
}

// conn is the table's entry for a connection. Its net.Conn is the one that
// fasthttp serves, never a wrapper of ours: fasthttp finds writev and sendfile
// by its type.
type conn struct {
	net.Conn
	key      unsafe.Pointer // of Conn; see table
	id       uint64
	from     *listener
	accepted time.Duration // like all times here since the server's epoch
	silence  *time.Timer   // ends a connection that sends nothing; nil where nothing does

	// tail is a second descriptor of the socket, for a lingering close. It belongs
	// to the connection's goroutine.
	tail *os.File

	ip      *ipConns      // where it is counted, if its IP address is; see limits
	refused refusalReason // why it is in stateRefused

	client atomic.Pointer[clientContext] // of the request under way, if it asked for one

	adopted  atomic.Pointer[Adopted]   // nil while fasthttp serves it
	farewell atomic.Pointer[multiplex] // see Adopted.Multiplex; else nil
	watches  atomic.Bool               // see Watch
	letGo    chan struct{}             // closed when fasthttp has said that it is hijacked; nil where nobody listens
	remote   atomic.Pointer[net.Addr]  // of the preface, if it had one; see remoteAddr

	// parkFD is a second descriptor of the socket while the state is
	// stateParking. It is his who ends that state.
	parkFD int

	// input counts what a TLS connection has read, and seen is what it was when a
	// response had been sent, or the drain first looked at a new connection. nil
	// where TLS is not ours. Without TLS, seen is one more than what had been taken from
	// the socket when the drain first looked at an idle connection, or a new one had
	// sent nothing; zero is not known. See hears.
	input *counted
	seen  atomic.Uint64

	// word holds the state, the flags below and above them the number of
	// requests begun. Who wins a race for a connection is decided by a
	// compare-and-swap of it: the reader's to active against the drain's to ending.
	word  atomic.Uint64
	since atomic.Int64 // when the state was entered

	// route belongs to the connection's goroutine while flagRoute is off, and
	// is constant while it is on. To read it, hold flagRead, briefly: who turns
	// flagRoute off waits for it. That spares the request path a lock.
	route    [64]byte
	routeLen uint8
}

const (
	stateMask     = 0x0f
	flagRoute     = 0x10  // route holds the request under way
	flagRead      = 0x20  // somebody reads route
	flagInside    = 0x40  // the user's handler runs
	flagPipelines = 0x80  // the client has sent a request before it had the answer to another
	flagSlow      = 0x100 // it is being ended for being too slow: no handler is called any more
	flagAwaits    = 0x200 // an adopted connection's handler waits for more of a body
	oneRequest    = 0x400
)

func stateOf(word uint64) ConnState { return ConnState(word & stateMask) }

// state is the connection's state as the public sees it.
func (c *conn) state() ConnState {
	word := c.word.Load()
	switch st := stateOf(word); {
	case st <= StateClosed:
		return st
	case word < oneRequest:
		return StateNew
	default:
		return StateIdle
	}
}

// buffered is the time in which a request can follow a response only if it was
// in fasthttp's buffer already: to read from a socket that has nothing takes a
// goroutine's sleep and waking, and the client's turn.
const buffered = 2 * time.Microsecond

// clock is the time of c's next transition. To read it costs as much as all else
// that tracks a request. That counts where requests come sixteen in a segment: a
// client that pipelines has its connection's times by those of its requests, which
// fasthttp reads anyway; see enter.
func (s *Server) clock(c *conn) time.Duration {
	if c.word.Load()&flagPipelines != 0 {
		return time.Duration(c.since.Load())
	}
	return s.now()
}

// activate is for the first byte of a request, and returns the state that it leaves.
// It changes nothing on a connection that is refused, or has been sent a FIN. One whose reader was
// to be woken, and which the request has outrun, has a deadline in the past.
func (c *conn) activate(now time.Duration) (from ConnState) {
	for {
		word := c.word.Load()
		st := stateOf(word)
		if st == stateEnding || st == StateClosed || st == stateRefused {
			return st
		}
		next := word&^stateMask | uint64(StateActive) + oneRequest
		if st == StateIdle && now-time.Duration(c.since.Load()) < buffered {
			next |= flagPipelines
		}
		if c.word.CompareAndSwap(word, next) {
			c.since.Store(int64(now))
			return st
		}
	}
}

// rest is for the end of a response, on a connection that is kept alive.
func (c *conn) rest(now time.Duration) {
	c.since.Store(int64(now))
	if c.input != nil {
		c.lookAtInput()
	} else if c.seen.Load() != 0 {
		c.seen.Store(0)
	}
	for {
		word := c.word.Load()
		if word&flagRead != 0 {
			runtime.Gosched()
			continue
		}
		if stateOf(word) != StateActive || c.word.CompareAndSwap(word, word&^(stateMask|flagRoute|flagInside)|uint64(StateIdle)) {
			return
		}
	}
}

// enter is for the handler's start: it notes what is asked for. It fails for a
// request that cannot be answered any more.
func (c *conn) enter(ctx *fasthttp.RequestCtx, epoch time.Time) bool {
	word := c.word.Load()
	if stateOf(word) != StateActive || word&flagSlow != 0 {
		return false
	}
	if word&flagPipelines != 0 {
		c.since.Store(int64(ctx.Time().Sub(epoch)))
	}
	noteRoute(c, ctx.Method(), ctx.Path())
	// Nobody else changes the word, save who finds the client too slow.
	return c.word.CompareAndSwap(word, word|flagRoute|flagInside)
}

// noteRoute sets what flagRoute then lets others read.
func noteRoute[T ~string | ~[]byte](c *conn, method, path T) {
	n := copy(c.route[:], method)
	n += copy(c.route[n:], " ")
	n += copy(c.route[n:], path)
	c.routeLen = uint8(n) //nolint:gosec // at most len(c.route)
}

func (c *conn) leave() { c.word.And(^uint64(flagInside)) }

// inside reports whether user code runs for the connection, which nobody can end.
func (c *conn) inside() bool {
	word := c.word.Load()
	return word&flagInside != 0 || stateOf(word) == StateHijacked
}

// to enters a state and returns the one that it leaves. A closed connection
// stays closed.
func (c *conn) to(st ConnState, now time.Duration) (from ConnState) {
	for {
		word := c.word.Load()
		if stateOf(word) == StateClosed {
			return StateClosed
		}
		if c.word.CompareAndSwap(word, word&^stateMask|uint64(st)) {
			c.since.Store(int64(now))
			return stateOf(word)
		}
	}
}

// leaveTable is to(StateClosed), save of a connection that is to be parked: that one is
// to be seen until it is.
func (c *conn) leaveTable(now time.Duration) (from ConnState) {
	for word := c.word.Load(); stateOf(word) == stateParking; word = c.word.Load() {
		if c.word.CompareAndSwap(word, word&^stateMask|uint64(stateLeaving)) {
			return stateParking
		}
	}
	return c.to(StateClosed, now)
}

// end ends the connection if it is new or idle and has nothing pending, so that
// no request is lost. It reports whether that is done; where it has to wake the
// connection's reader by a deadline, it is never sure, and wants to be called
// again until the connection has gone.
func (s *Server) end(c *conn) (done bool) {
	if c.multiplexed() {
		return s.endMultiplexed(c)
	}
	if canShut && rawConn(c.Conn) != nil {
		word := c.word.Load()
		st := stateOf(word)
		if st != StateNew && st != StateIdle && st != stateParking && st != stateRefused {
			return st == stateEnding
		}
		done = endIdle(c.Conn, func() bool {
			return !c.hears() && c.word.CompareAndSwap(word, word&^stateMask|uint64(stateEnding))
		})
		if done && st == stateParking {
			s.dropParking(c)
		}
		return done
	}
	s.wakeMu.Lock()
	defer s.wakeMu.Unlock()
	word := c.word.Load()
	switch stateOf(word) {
	case StateNew, StateIdle, stateRefused:
		if !c.word.CompareAndSwap(word, word&^stateMask|uint64(stateWaking)) {
			return false
		}
	case stateWaking: // once more: fasthttp may have set its own deadline over ours
	default:
		return false
	}
	_ = c.SetReadDeadline(past)
	return false
}

// restoreDeadline gives a connection that was woken, but whose request came
// first, the time to read it in.
func (s *Server) restoreDeadline(c *conn) {
	s.wakeMu.Lock()
	defer s.wakeMu.Unlock()
	var deadline time.Time
	if d := s.HTTP.ReadTimeout; d > 0 {
		deadline = time.Now().Add(d)
	}
	_ = c.SetReadDeadline(deadline)
}

// lookAtInput reports whether a TLS connection has read something since it was
// last called.
func (c *conn) lookAtInput() (came bool) {
	if c.input == nil {
		return false
	}
	n := c.input.n.Load()
	return c.seen.Swap(n) != n
}

// hears reports whether the process holds something of a connection that is neither in
// the kernel any more nor known to be a request yet: who has read it waits for a CPU,
// which may take long where others have them, or where a quota of CPU time is used up.
// It is asked once the kernel is known to have nothing: that also knows how much has
// been taken. A TLS connection's reader may as well not have come back for more yet.
func (c *conn) hears() bool {
	if c.input != nil {
		if c.input.preface.Load() {
			return false // TLS has not begun, and a request less so
		}
		n, known := taken(c.input.Conn)
		return c.input.awake.Load() || known && n != c.input.n.Load()
	}
	before := c.seen.Load()
	if before == 0 {
		return false
	}
	n, known := taken(below(c.Conn))
	return known && n+1 != before
}

// noteTaken is for when none of what has been taken from the connection's socket is to
// come yet as a request.
func (c *conn) noteTaken() {
	if c.input != nil {
		if n, known := taken(c.input.Conn); known {
			c.input.n.Store(n)
		}
	} else if n, known := taken(below(c.Conn)); known {
		c.seen.Store(n + 1)
	}
}

// halfRecord reports whether an idle TLS connection has read the begin of a
// record that may be a request's.
func (c *conn) halfRecord() bool { return c.input != nil && c.seen.Load() != c.input.n.Load() }

// cut ends the connection whatever it is at. A response under way is reset: one of an
// HTTP/1.0 client has no other sign that it is not whole.
func (c *conn) cut() {
	if word := c.word.Load(); stateOf(word) == StateActive && word&flagRoute != 0 {
		resetAtClose(c.Conn)
	}
	cut(c.Conn)
}

// currentRoute is the request under way, or "".
func (c *conn) currentRoute() string {
	var room [len(c.route)]byte
	return string(c.appendRoute(room[:0]))
}

// appendRoute appends the request under way, if there is one.
func (c *conn) appendRoute(b []byte) []byte {
	for {
		word := c.word.Load()
		if word&flagRoute == 0 {
			return b
		}
		if word&flagRead == 0 && c.word.CompareAndSwap(word, word|flagRead) {
			break
		}
		runtime.Gosched()
	}
	b = append(b, c.route[:c.routeLen]...)
	c.word.And(^uint64(flagRead))
	return b
}

// info is all but what takes more than a few loads: addresses and the route.
func (c *conn) info(now time.Duration) ConnInfo {
	return ConnInfo{
		ID:       c.id,
		State:    c.state(),
		Requests: c.word.Load() / oneRequest,
		Age:      now - c.accepted,
		Since:    max(0, now-time.Duration(c.since.Load())),
		Adopted:  c.adopted.Load() != nil,
		Watches:  c.watches.Load(),

		Multiplexed: c.multiplexed(),
	}
}

func addrString(a net.Addr) string {
	var room [64]byte
	return string(appendAddr(room[:0], a))
}

// appendAddr appends an address as its String has it, which allocates for each part.
func appendAddr(b []byte, a net.Addr) []byte {
	if tcp, ok := a.(*net.TCPAddr); ok && tcp != nil && tcp.IP != nil {
		at := tcp.AddrPort()
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()).AppendTo(b)
	}
	if a == nil {
		return b
	}
	return append(b, a.String()...)
}

// observe puts the table between fasthttp and the user's server settings: it
// chains what the user has set, and replaces nothing.
func (s *Server) observe() {
	h := s.HTTP
	s.handler = h.Handler
	s.catchCallbacks()
	h.Handler = s.serveRequest
	h.ConnState = s.setConnState
	h.ErrorHandler = s.serveError
	if s.TLSHandshakeTimeout > 0 && h.ReadTimeout <= 0 { // ServeListener may bring TLS
		h.ReadTimeout = forever // fasthttp would set the handshake no deadline, nor lift ours
	}
}

// forever is as good as no limit, and no overflow when it is added to the time.
const forever = 100 * 365 * 24 * time.Hour

func (s *Server) setConnState(nc net.Conn, st fasthttp.ConnState) {
	switch st {
	case fasthttp.StateNew: // see addConn
	case fasthttp.StateActive:
		if c := s.conns.get(nc); c != nil {
			s.activate(c, s.clock(c))
		}
	case fasthttp.StateIdle:
		if c := s.conns.get(nc); c != nil {
			s.rest(c, s.clock(c))
		}
	case fasthttp.StateHijacked: // it comes late; see trackHijack
	case fasthttp.StateClosed:
		s.tellState(nc, st) // before a parked one comes back as another
		if c := s.conns.get(nc); c != nil {
			s.removeConn(c)
		}
		return
	}
	s.tellState(nc, st)
	if st != fasthttp.StateHijacked {
		return
	}
	if c := s.conns.get(nc); c != nil && c.letGo != nil {
		close(c.letGo)
	}
}

// tellState tells the user's ConnState, if there is one.
func (s *Server) tellState(nc net.Conn, st fasthttp.ConnState) {
	if s.connState != nil {
		s.connState(nc, st)
	}
}

// activate is for the first byte of a request, and returns the state that it leaves.
func (s *Server) activate(c *conn, now time.Duration) (from ConnState) {
	from = c.activate(now)
	switch from {
	case stateWaking:
		s.restoreDeadline(c)
	case stateParking:
		s.callOffParking(c)
	case stateRefused:
		s.refuse(c)
	default:
	}
	return from
}

// rest is for the end of a response, on a connection that is kept alive.
func (s *Server) rest(c *conn, now time.Duration) {
	if c.tail != nil {
		c.dropTail()
	}
	c.rest(now)
	if c.input == nil && s.phases.load() == PhaseDraining {
		c.noteTaken() // its reader is here, so that nothing else is to come of that: see hears
	}
	s.noticeIdle()
}

// addConn takes a connection that has just been accepted. It reports false, and
// leaves it alone, if that is one too many even to be refused. Whose it is, only its
// preface tells, if it has one.
func (s *Server) addConn(nc net.Conn, from *listener, hasPreface bool) bool {
	now := s.now()
	c := &conn{Conn: nc, from: from, accepted: now, input: countedBelow(nc)}
	c.since.Store(int64(now))
	if !hasPreface && parkable(nc) {
		c.seen.Store(1)
	}
	ok := s.limits.admit()
	if !ok {
		s.sweepKept(refusedSweep)
		ok = s.limits.admit()
	}
	if ok {
		if !hasPreface {
			s.admitClient(c)
		}
	} else {
		s.beginRefusal(c, tooManyConns)
	}
	silence := s.HTTP.IdleTimeout
	if c.refused != admitted {
		if s.limits.refusing.Load() > maxRefusing {
			s.limits.refusing.Add(-1)
			return false
		}
		silence = refusedSilence
	}
	if s.phases.load() >= PhaseDraining {
		s.accepted.Add(1)
	}
	s.conns.add(c)
	s.noteUnparkable(nc)
	if s.cutting.Load() {
		cut(nc) // come too late for all others to be
	}
	if silence > 0 {
		s.limitSilence(c, silence) // fasthttp starts to count after the first request
	}
	s.noticeIdle()
	return true
}

// limitSilence has a connection end that sends nothing for d.
func (s *Server) limitSilence(c *conn, d time.Duration) {
	if c.silence == nil {
		c.silence = time.AfterFunc(math.MaxInt64, func() { s.endSilent(c) }) // which reads the field
	}
	c.silence.Reset(d)
}

// endSilent ends a connection on which the idle timeout has passed without a
// byte.
func (s *Server) endSilent(c *conn) {
	word := c.word.Load()
	if word >= oneRequest || stateOf(word) == StateClosed {
		return
	}
	if !s.end(c) {
		c.silence.Reset(wakeInterval)
	}
}

func (s *Server) removeConn(c *conn) {
	since := time.Duration(c.since.Load())
	from := c.leaveTable(s.now())
	if from == StateClosed {
		return
	}
	c.endClientContext() // of a handler that something has given up on
	if c.silence != nil {
		c.silence.Stop()
	}
	switch from {
	case stateParking:
		s.enterParked(c, since)
		return
	case stateEnding, stateWaking:
		if s.phases.load() >= PhaseDraining {
			s.lastCalled.Add(1)
		}
	default:
	}
	if c.tail != nil {
		s.linger(c.tail) // before the table is empty
	}
	if c.refused != admitted {
		s.limits.refusing.Add(-1)
	} else {
		s.limits.release(c.ip)
	}
	if c.watches.Load() {
		s.watchers.conns.Add(-1)
	}
	if s.conns.remove(c) <= s.watchers.conns.Load() || s.cutting.Load() {
		s.signalChange()
	}
}

// OpenConn is an open connection that a walk over all of them has come to. Its addresses
// and its route are empty, as to know them takes much longer than all else: see Info.
type OpenConn struct {
	ConnInfo
	s      *Server
	conn   *conn   // nil for a parked one
	parked *parked // nil for another
}

// Info adds what the walk has left out. It reports false for a connection that has ended
// since, or is no longer parked.
func (o OpenConn) Info() (info ConnInfo, open bool) {
	info = o.ConnInfo
	if o.parked != nil {
		info.Local, info.Remote, open = o.s.parkedAddrs(o.parked)
		return info, open
	}
	if o.conn.tellsAddrs() {
		info.Remote, info.Local = addrString(o.conn.remoteAddr()), addrString(o.conn.LocalAddr())
	}
	info.Route = o.conn.currentRoute()
	return info, o.conn.state() != StateClosed
}

// AppendRemote appends to b the client's address, as Info has it, and returns what that is
// then: to look at all of them allocates nothing, save for parked ones.
func (o OpenConn) AppendRemote(b []byte) []byte {
	if o.parked != nil {
		return append(b, o.s.parkedRemote(o.parked)...)
	}
	return appendAddr(b, o.conn.knownRemote())
}

// AppendRoute appends to b the route, as Info has it.
func (o OpenConn) AppendRoute(b []byte) []byte {
	if o.parked != nil {
		return b
	}
	return o.conn.appendRoute(b)
}

// EachConn calls yield for each open connection, in no order, until it returns false. It
// may miss those that come or go meanwhile, or are parked no longer, and yields one twice that is
// parked meanwhile: Counts does neither. It costs some nanoseconds a connection, and holds none
// of them up: it is for those who look for a few among many.
func (s *Server) EachConn(yield func(OpenConn) bool) {
	s.init()
	s.sweepKept(s.kept.len())
	now, more := s.now(), true
	s.conns.each(func(c *conn) bool {
		if info := c.info(now); info.State != StateClosed {
			more = yield(OpenConn{ConnInfo: info, s: s, conn: c})
		}
		return more
	})
	if !more {
		return
	}
	for _, p := range s.parking.all() {
		if !yield(OpenConn{ConnInfo: p.info(now), s: s, parked: p}) {
			return
		}
	}
}

// Conns returns a snapshot of the open connections, by ID. It costs the server
// time in proportion to their number, but holds none of them up.
func (s *Server) Conns() []ConnInfo {
	infos := make([]ConnInfo, 0, s.conns.open.Load())
	for c := range s.EachConn {
		if info, open := c.Info(); open {
			infos = append(infos, info)
		}
	}
	slices.SortStableFunc(infos, func(a, b ConnInfo) int { return cmp.Compare(a.ID, b.ID) })
	return slices.CompactFunc(infos, func(a, b ConnInfo) bool { return a.ID == b.ID })
}

// Counts returns how many connections are in each state.
func (s *Server) Counts() Counts {
	s.init()
	s.sweepKept(s.kept.len())
	open := int(s.conns.open.Load())
	var n Counts
	s.conns.each(func(c *conn) bool {
		n.Add(c.state())
		return true
	})
	if s.ParkAfter > 0 { // one that changes places is in neither for a moment, or was seen already
		n.Parked = max(0, open-n.Total())
	}
	return n
}
