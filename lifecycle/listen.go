package lifecycle

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// errListener is in the error of a Run whose listener failed while it served.
var errListener = errors.New("lifecycle: listener failed")

// listener keeps an accept loop going through what is temporary, and at its end
// hands out what waits in the queue before it closes.
type listener struct {
	net.Listener
	tls *tls.Config // nil: connections are served as they are
	own bool        // opened for Addrs: nobody else has the socket
	s   *Server

	ending atomic.Bool
	over   chan struct{} // closed when ending is set

	starving atomic.Pointer[error] // see Starving
	told     time.Time             // when an event last told of a failure; of the accept loop alone

	ended   time.Time // when end was called; constant once ending is set
	failed  error     // what Accept failed with; of the accept loop alone, as the next one
	settled bool      // no handshake is under way any more

	closeOnce sync.Once
	closeErr  error
}

// listen opens what Addrs names and joins it with Listeners. After an error
// everything is closed again.
func (s *Server) listen(ctx context.Context) error {
	for _, ln := range s.Listeners {
		s.addListener(ln, nil, false)
	}
	for _, addr := range s.Addrs {
		ln, err := s.listenOn(ctx, addr)
		if err != nil {
			return err
		}
		config := s.HTTP.TLSConfig
		if ln.Addr().Network() == "unix" {
			config = nil
		}
		s.addListener(ln, config, true)
	}
	return nil
}

func (s *Server) listenOn(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // Go's default on Linux; see refuseNew
	path, isUnix := strings.CutPrefix(addr, "unix:")
	if !isUnix {
		return lc.Listen(ctx, "tcp", addr)
	}
	if err := removeStaleSocket(ctx, path); err != nil {
		return nil, err
	}
	ln, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if s.UnixMode != 0 {
		if err := os.Chmod(path, s.UnixMode); err != nil {
			_ = ln.Close()
			return nil, err
		}
	}
	return ln, nil
}

// removeStaleSocket removes the socket that a process which crashed has left
// behind, but not one on which somebody listens.
func removeStaleSocket(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return nil // nothing there, or not ours to remove: Listen says so
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("listen unix %s: %w", path, syscall.EADDRINUSE)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return os.Remove(path)
	}
	return err
}

func (s *Server) newListener(ln net.Listener, config *tls.Config, own bool) *listener {
	return &listener{Listener: ln, tls: config, own: own, s: s, over: make(chan struct{})}
}

func (s *Server) addListener(ln net.Listener, config *tls.Config, own bool) {
	s.mu.Lock()
	s.listeners = append(s.listeners, s.newListener(ln, config, own))
	s.mu.Unlock()
	s.emit(Event{Kind: EventListening, Addr: ln.Addr()})
}

// ServeListener serves one more listener, with TLS where config is not nil, from when
// the server is ready until the drain has ended it: then it returns nil, as it does at
// once where the drain has begun. A listener that ends by itself does not begin the
// drain, as one of Listeners does: ServeListener returns what its Accept failed with. It
// closes ln, and may be called at any time and any number of times. Its queue is ended
// as that of Listeners is.
func (s *Server) ServeListener(ln net.Listener, config *tls.Config) error {
	<-s.Reached(PhaseReady)
	l := s.newListener(ln, config, false)
	s.mu.Lock()
	late := s.report.Cause != ""
	if !late { // endListeners is yet to come, and onlyWatched waits
		s.listeners = append(s.listeners, l)
		s.accepting.Add(1)
	}
	s.mu.Unlock()
	if late {
		_ = ln.Close()
		return nil
	}
	s.emit(Event{Kind: EventListening, Addr: ln.Addr()})
	err := s.accept(l)
	if err != nil {
		s.mu.Lock()
		s.listeners = slices.DeleteFunc(s.listeners, func(other *listener) bool { return other == l })
		s.mu.Unlock()
	}
	return err
}

// ListenAddrs returns the addresses that the server is bound to: those of
// Listeners, then those of Addrs, in their order, with the ports that the system
// chose for a port of 0, then those that ServeListener serves. Before PhaseReady it
// returns none.
func (s *Server) ListenAddrs() []net.Addr {
	var addrs []net.Addr
	for _, l := range s.openListeners() {
		addrs = append(addrs, l.Addr())
	}
	return addrs
}

func (s *Server) openListeners() []*listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*listener(nil), s.listeners...)
}

// Accept is called by fasthttp alone, from one goroutine.
func (l *listener) Accept() (net.Conn, error) {
	var pause time.Duration
	for {
		l.noLongerStarves()
		accept := l.Listener.Accept
		if l.ending.Load() {
			accept = l.acceptLast
		}
		c, err := accept()
		switch {
		case err == nil:
			if c = l.take(c); c != nil {
				return c, nil
			}
		case err == io.EOF: //nolint:errorlint // acceptLast's, or the listener's own
			l.failed = err
			return nil, err
		case l.ending.Load():
		case isTemporary(err):
			pause = min(max(2*pause, minAcceptPause), maxAcceptPause)
			l.retryAfter(pause, err)
		default:
			l.failed = err
			return nil, io.EOF // who called Serve is told; fasthttp would log it
		}
	}
}

// take makes of a socket what fasthttp is to serve. It returns nil for one that was
// closed instead, or has a preface to be read first.
func (l *listener) take(nc net.Conn) net.Conn {
	if err := l.s.keepAlive(nc); err != nil { // it is the connection's fault; for fasthttp, the listener's
		_ = nc.Close()
		l.s.acceptErrors.Add(1)
		return nil
	}
	tcp, isTCP := nc.(*net.TCPConn)
	hasPreface := isTCP && l.s.Preface != nil
	if l.tls != nil {
		below := &counted{Conn: nc}
		below.preface.Store(hasPreface)
		if d := l.s.TLSHandshakeTimeout; d > 0 {
			below.handshakeEnd = time.Now().Add(d)
			below.handshakes.Store(true)
		}
		nc = tls.Server(below, l.tls)
	}
	if !l.s.addConn(nc, l, hasPreface) {
		cut(nc)
		return nil
	}
	if hasPreface {
		l.s.servePreface(tcp, nc)
		return nil
	}
	if l.s.diverts(nc) {
		return nil
	}
	return nc
}

// keepAlive does what HTTP.TCPKeepalive asks for.
func (s *Server) keepAlive(nc net.Conn) error {
	tcp, ok := nc.(*net.TCPConn)
	if !ok || !s.tcpKeepalive {
		return nil
	}
	err := tcp.SetKeepAlive(true)
	if d := s.HTTP.TCPKeepalivePeriod; err == nil && d > 0 {
		err = tcp.SetKeepAlivePeriod(d)
	}
	return err
}

// retryAfter is for what is temporary: it waits, for less long where others wait.
func (l *listener) retryAfter(pause time.Duration, err error) {
	l.s.acceptErrors.Add(1)
	l.starves(err)
	if pause < maxAcceptPause || time.Since(l.told) >= maxAcceptPause {
		l.told = time.Now()
		l.s.emit(Event{Kind: EventAcceptRetry, Addr: l.Addr(), Err: err, Duration: pause})
	}
	if (errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)) && l.turnAway() > 0 {
		pause = minAcceptPause
	}
	l.wait(pause)
}

// counted counts what a TLS connection has read of its socket. A record of which
// only a part has come is in its buffer: neither the kernel nor fasthttp know that
// a request has begun. Between TLS and its socket a wrapper hides nothing that
// fasthttp looks for.
type counted struct {
	net.Conn
	n     atomic.Uint64
	awake atomic.Bool // the last Read gave something, and the next one has not begun

	// preface is still to be read, and what is taken from the socket is not counted.
	preface atomic.Bool

	// Where in a record the last byte read lies. Read is called by one goroutine.
	header [5]byte // RFC 8446, section 5.1
	have   int     // bytes of header
	left   int     // bytes of the record's body
	inside atomic.Bool

	handshakeEnd time.Time // see Server.TLSHandshakeTimeout
	handshakes   atomic.Bool
}

// SetReadDeadline is called by fasthttp before the handshake, with its ReadTimeout,
// and again after it.
func (c *counted) SetReadDeadline(t time.Time) error {
	if c.handshakes.Load() && c.handshakes.Swap(false) && t.After(c.handshakeEnd) {
		t = c.handshakeEnd
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *counted) Read(b []byte) (int, error) {
	c.awake.Store(false)
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.awake.Store(true)
		c.n.Add(uint64(n))
	}
	for b = b[:n]; len(b) > 0; {
		if c.left > 0 {
			skip := min(c.left, len(b))
			c.left -= skip
			b = b[skip:]
			continue
		}
		got := copy(c.header[c.have:], b)
		b = b[got:]
		if c.have += got; c.have == len(c.header) {
			c.have, c.left = 0, int(c.header[3])<<8|int(c.header[4])
		}
	}
	if inside := c.have+c.left > 0; inside != c.inside.Load() {
		c.inside.Store(inside)
	}
	return n, err
}

// NetConn returns the socket, as that of a tls.Conn does.
func (c *counted) NetConn() net.Conn { return c.Conn }

// between reports whether all records that have been read from were read in full.
func (c *counted) between() bool { return !c.inside.Load() }

// countedBelow returns the count of a TLS connection of ours, else nil.
func countedBelow(nc net.Conn) *counted {
	tc, ok := nc.(*tls.Conn)
	if !ok {
		return nil
	}
	input, _ := tc.NetConn().(*counted)
	return input
}

// acceptLast takes what waits in the queue and what handshakes under way still
// bring to a TCP listener, and closes the listener when there is no more.
// fasthttp's Serve returns nil for an io.EOF.
func (l *listener) acceptLast() (net.Conn, error) {
	for {
		c, err := acceptQueued(l.Listener)
		if err == nil {
			return c, nil
		}
		if isTemporary(err) && !isTimeout(err) {
			// No descriptor to be had: connections that end give theirs back.
			if time.Since(l.ended) < maxSettle {
				time.Sleep(settleInterval)
				continue
			}
			l.turnAway()
		}
		if l.settled || errors.Is(err, net.ErrClosed) {
			_ = l.Close()
			return nil, io.EOF
		}
		began := time.Now()
		if l.settled = l.settles(); l.settled {
			continue // with what has come meanwhile
		}
		tcp := l.Listener.(*net.TCPListener) // others have settled
		_ = tcp.SetDeadline(time.Now().Add(max(settleInterval, time.Since(began))))
		if c, err := tcp.Accept(); err == nil {
			return c, nil
		}
	}
}

// Clients of handshakes under way hold the connection for open already, and may
// have sent a request behind their last step. A TCP listener that takes no new
// connection requests waits for them: until there are none, for at most
// maxSettle, or, where that cannot be known, for unknownSettle. It looks every
// settleInterval, or less often: a look walks all sockets of the machine, which takes
// the kernel half a millisecond, and more where there are many.
const (
	maxSettle      = 250 * time.Millisecond
	unknownSettle  = 5 * time.Millisecond
	settleInterval = time.Millisecond
)

// settles reports whether no handshake is under way any more, as far as can be known.
func (l *listener) settles() bool {
	if _, ok := l.Listener.(*net.TCPListener); !ok {
		return true
	}
	left, known := handshakes(l.Listener)
	if !known {
		return time.Since(l.ended) >= unknownSettle
	}
	return left == 0 || time.Since(l.ended) >= maxSettle
}

// The pauses after a failed accept are those of net/http.
const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

func (l *listener) wait(pause time.Duration) {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.over:
	}
}

// isTemporary knows the errors of accept(2) that say nothing about the listener:
// descriptors or memory have run out, or the client has gone already. fasthttp
// alone ends its Serve on all of them. Errors of listeners handed in may say so
// themselves, as net/http wants it.
func isTemporary(err error) bool {
	for _, errno := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EPROTO,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	temporary, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && temporary.Temporary() || isTimeout(err)
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && timeout.Timeout()
}

// end begins the listener's end: its accept loop is woken, takes what waits in
// the queue, and closes it. Of a listener that has no deadlines, as in memory,
// no queue is known: it is closed here and now. end is called once.
func (l *listener) end() {
	refuseNew(l.Listener, l.own)
	l.ended = time.Now()
	l.ending.Store(true)
	close(l.over)
	d, ok := l.Listener.(interface{ SetDeadline(t time.Time) error })
	if !ok || d.SetDeadline(past) != nil {
		_ = l.Close()
	}
}

// Close is also called by fasthttp's own shutdown, once more.
func (l *listener) Close() error {
	l.closeOnce.Do(func() {
		if l.ending.Load() && !l.own { // else who connects right now is accepted, and reset
			allowNew(l.Listener)
		}
		l.closeErr = l.Listener.Close()
	})
	return l.closeErr
}
