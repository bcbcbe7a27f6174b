package lifecycle

import (
	"math"
	"math/bits"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// limits bound what connections may be open: all of them, parked and hijacked ones
// too, and those of a client's network.
//
// fasthttp's own limits would wrap each connection to count those of an IP address,
// and answer the ones beyond a limit before they have asked, in the accept loop, or,
// over TLS, not at all. So Run takes its settings over. A connection beyond a limit is
// accepted, and its first byte answered.
type limits struct {
	conns int // HTTP.Concurrency, or its default
	perIP int // HTTP.MaxConnsPerIP; 0 is no limit

	admitted atomic.Int64 // connections open, those being refused not included
	refusing atomic.Int64

	mu  sync.Mutex // guards ips, and counts in it
	ips map[netip.Prefix]*ipConns
}

// ipConns counts the open connections of a client's network.
type ipConns struct {
	network netip.Prefix
	n       int
}

// refusalReason says why a connection is refused.
type refusalReason int

const (
	admitted refusalReason = iota
	tooManyConns
	tooManyPerIP
	noDescriptor
)

func (r refusalReason) String() string {
	return [...]string{"", "too many connections", "too many connections of an IP address", "no descriptor"}[r]
}

func (r refusalReason) status() int {
	if r == tooManyPerIP {
		return fasthttp.StatusTooManyRequests // RFC 6585, section 4
	}
	return fasthttp.StatusServiceUnavailable
}

// maxRefusing is how many refused connections are waited for to ask and be answered.
// More than that are closed at once.
const maxRefusing = 1024

// refusedSilence is how long a refused connection may take for its first byte.
const refusedSilence = time.Second

// takeLimits takes over the limits that fasthttp would keep itself, and the socket
// option that it would set on what it accepts.
func (s *Server) takeLimits() {
	h := s.HTTP
	s.limits.conns, s.limits.perIP = h.Concurrency, h.MaxConnsPerIP
	if s.limits.conns <= 0 {
		s.limits.conns = fasthttp.DefaultConcurrency
	}
	s.limits.conns = min(s.limits.conns, math.MaxInt32)
	h.Concurrency, h.MaxConnsPerIP = s.limits.conns+maxRefusing, 0
	s.limits.ips = make(map[netip.Prefix]*ipConns)
	s.tcpKeepalive, h.TCPKeepalive = h.TCPKeepalive, false
}

// admit counts a connection, unless it is one too many.
func (l *limits) admit() bool {
	if l.admitted.Add(1) > int64(l.conns) {
		l.admitted.Add(-1)
		return false
	}
	return true
}

// admitIP counts a connection among its network's, unless it is one too many there.
// Where nobody counts, ip is nil, and the connection is not asked for its address: one of
// a listener handed in may have to read that from its client first.
func (l *limits) admitIP(c *conn) (ip *ipConns, ok bool) {
	if l.perIP <= 0 {
		return nil, true
	}
	network, ok := networkOf(c.remoteAddr())
	if !ok {
		return nil, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	ip = l.ips[network]
	switch {
	case ip == nil:
		ip = &ipConns{network: network}
		l.ips[network] = ip
	case ip.n >= l.perIP:
		return nil, false
	}
	ip.n++
	return ip, true
}

// release is for the end of a connection that was admitted.
func (l *limits) release(ip *ipConns) {
	l.admitted.Add(-1)
	if ip == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if ip.n--; ip.n == 0 {
		delete(l.ips, ip.network)
	}
}

// networkOf is what counts as one client: an IPv4 address, or an IPv6 network of 64
// bits, which is the least that a client is given (RFC 6177, section 2). A Unix socket
// has none.
func networkOf(a net.Addr) (netip.Prefix, bool) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(tcp.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	bits := 64
	if ip = ip.Unmap(); ip.Is4() {
		bits = 32
	}
	network, err := ip.Prefix(bits)
	return network, err == nil
}

// admitClient is for when a connection's client is known.
func (s *Server) admitClient(c *conn) {
	ip, ok := s.limits.admitIP(c)
	if !ok {
		s.sweepKept(refusedSweep)
		ip, ok = s.limits.admitIP(c)
	}
	if !ok {
		s.limits.release(nil)
		s.beginRefusal(c, tooManyPerIP)
		return
	}
	c.ip = ip
	s.acceptedAll.Add(1)
}

// beginRefusal is for a new connection that is not counted. Its end takes it off
// those that are being refused.
func (s *Server) beginRefusal(c *conn, why refusalReason) {
	c.refused = why
	s.limits.refusing.Add(1)
	c.word.CompareAndSwap(uint64(StateNew), uint64(stateRefused)) // unless the drain has ended it
	s.noteRefused(why, c.knownRemote())
}

// refuse answers the first byte of a refused connection, and closes it. What follows
// that byte is not looked at, and not waited for.
func (s *Server) refuse(c *conn) {
	c.lingerAfter()
	_, _ = c.Write(refusal(c.refused))
	_ = c.Close()
}

// refusal is a whole response, right for any method as it has no content.
func refusal(why refusalReason) []byte {
	code := why.status()
	b := append([]byte("HTTP/1.1 "), strconv.Itoa(code)...)
	b = append(b, ' ')
	b = append(b, fasthttp.StatusMessage(code)...)
	b = append(b, "\r\nDate: "...)
	b = fasthttp.AppendHTTPDate(b, time.Now())
	return append(b, "\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"...)
}

// refusedInterval is the least time between two events that tell of refusals for the
// same reason: they come in thousands.
const refusedInterval = time.Minute

// noteRefused counts a refusal, and tells of it now and then.
func (s *Server) noteRefused(why refusalReason, remote net.Addr) {
	n := &s.refusals[why]
	n.count.Add(1)
	now := int64(s.now()) + 1 // 0 is never
	last := n.told.Load()
	if last != 0 && now-last < int64(refusedInterval) || !n.told.CompareAndSwap(last, now) {
		return
	}
	s.emit(Event{Kind: EventRefused, Name: why.String(), Addr: remote})
}

// refusals counts those for one reason.
type refusals struct {
	count atomic.Uint64
	told  atomic.Int64 // when the last event was
}

// Totals count what has happened since Run began. They only grow.
type Totals struct {
	// Accepted connections, without those that were refused.
	Accepted uint64 `json:"accepted"`
	// RefusedConns were connections beyond HTTP.Concurrency: a 503.
	RefusedConns uint64 `json:"refused_conns"`
	// RefusedPerIP were connections beyond HTTP.MaxConnsPerIP: a 429.
	RefusedPerIP uint64 `json:"refused_per_ip"`
	// RefusedStarved were connections for which there was no descriptor: a 503.
	RefusedStarved uint64 `json:"refused_starved"`
	// SlowRequests were answered with a 408 by MinReadRate, SlowResponses cut by
	// MinWriteRate.
	SlowRequests  uint64 `json:"slow_requests"`
	SlowResponses uint64 `json:"slow_responses"`
	// AcceptErrors were failures to accept, each retried.
	AcceptErrors uint64 `json:"accept_errors"`
	// Parked is how often a connection was parked, and Unparked how often one was
	// served again.
	Parked   uint64 `json:"parked"`
	Unparked uint64 `json:"unparked"`
}

// Totals returns what has happened so far.
func (s *Server) Totals() Totals {
	return Totals{
		Accepted:       s.acceptedAll.Load(),
		RefusedConns:   s.refusals[tooManyConns].count.Load(),
		RefusedPerIP:   s.refusals[tooManyPerIP].count.Load(),
		RefusedStarved: s.refusals[noDescriptor].count.Load(),
		SlowRequests:   s.pace.slowRequests.Load(),
		SlowResponses:  s.pace.slowResponses.Load(),
		AcceptErrors:   s.acceptErrors.Load(),
		Parked:         uint64(s.parking.parkings.Load()), //nolint:gosec // counts up from 0
		Unparked:       s.parking.unparkings.Load(),
	}
}

// wornOut reports whether a connection's response is to be its last one:
// HTTP.MaxRequestsPerConn is reached, which fasthttp counts from the last parking on, or
// MaxConnAge, or it watches.
func (s *Server) wornOut(c *conn) bool {
	limit := s.HTTP.MaxRequestsPerConn
	return limit > 0 && c.word.Load()/oneRequest >= uint64(limit) ||
		s.MaxConnAge > 0 && s.lately(c)-c.accepted > s.maxAge(c.id) ||
		c.watches.Load()
}

// lately is when c's request began, or later: that is known without a look at the clock,
// but where others may be under way for as long as the connection is open.
func (s *Server) lately(c *conn) time.Duration {
	if c.multiplexed() {
		return s.now()
	}
	return time.Duration(c.since.Load())
}

// maxAge is how old a connection may be: MaxConnAge, up to a tenth more or less, so
// that connections which came together, as after a restart, do not all go together.
// It is the same each time, parking or not.
func (s *Server) maxAge(id uint64) time.Duration {
	spread, _ := bits.Mul64(id*0x9E3779B97F4A7C15, uint64(s.MaxConnAge/5)) //nolint:gosec // not negative
	return s.MaxConnAge - s.MaxConnAge/10 + time.Duration(spread)          //nolint:gosec // a fifth of it, at most
}
