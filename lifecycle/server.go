package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// The defaults of Server's knobs.
const (
	DefaultLastCall     = 250 * time.Millisecond
	DefaultDrainTimeout = 30 * time.Second
	DefaultAbortTimeout = time.Second
	DefaultHookTimeout  = 10 * time.Second
)

// UntilIdle is the LastCall that closes no idle connection: the drain waits until
// clients and idle timeouts have closed them all.
const UntilIdle time.Duration = math.MaxInt64

// ErrAlreadyRun is what a second Run returns: a server has one life.
var ErrAlreadyRun = errors.New("lifecycle: server has run already")

// Server is the life of one fasthttp.Server. Its fields are set before Run and
// not changed after; its methods may be called from any goroutine. The zero
// value with HTTP and an address works.
type Server struct {
	// HTTP is the server whose life this is, with the user's Handler. Required.
	// Run puts itself in front of its Handler, ConnState, ErrorHandler, HeaderReceived,
	// ContinueHandler and ExpectHandler, and calls what was there. The timeouts are set
	// there. What fasthttp's accept loop would do it does itself, and changes these
	// fields for that, and ReadTimeout as TLSHandshakeTimeout says:
	//
	//   - Concurrency is how many connections may be open, on all listeners, parked
	//     and hijacked ones too. Zero is fasthttp.DefaultConcurrency. One more is
	//     accepted, answered at its first byte with a 503, and closed.
	//   - MaxConnsPerIP is how many of them an IPv4 address or an IPv6 network of 64
	//     bits may have. Zero is no limit. One more gets a 429. Connections are not
	//     wrapped for it.
	//   - TCPKeepalive holds for TLS too.
	//
	// A panic of these callbacks is an EventPanic: the request is then answered as if
	// there were no ErrorHandler or HeaderReceived, and refused where it was to be
	// decided on, with 417 or 500. One of Handler ends the process, as with fasthttp
	// alone: what to answer and to log is the application's to say, or package
	// toolkit's. So does one of a callback in TLSConfig.
	//
	// IdleTimeout also ends a connection that has never sent a byte, without
	// a response. With TLSConfig set, TCP listeners opened for Addrs speak TLS.
	HTTP *fasthttp.Server

	// Addrs are the addresses that Run listens on, once the start hooks are
	// through: "host:port" for TCP on IPv4 and IPv6, "unix:/path" for a Unix
	// socket. A socket that a crashed process has left behind is removed.
	Addrs []string

	// UnixMode are the permissions of the Unix sockets in Addrs. Zero leaves
	// them to the umask.
	UnixMode os.FileMode

	// Listeners are served as they are, beside Addrs. Run closes them. When a
	// *net.TCPListener or *net.UnixListener ends, what waits in its queue is still
	// served; of another kind, as tls.NewListener makes it, the queue cannot be known.
	// Addrs, with HTTP.TLSConfig for TLS, makes what ends best. A slice that is empty, but
	// not nil, says that there are none yet: ServeListener will bring them. A connection
	// that is no socket is asked for its addresses, which it may have to read from its
	// client, once that has sent a request; HTTP.MaxConnsPerIP asks as it is accepted.
	Listeners []net.Listener

	// ParkAfter is how long a connection may be idle before it is parked, up to half
	// as much longer: its goroutine, its buffers and its RequestCtx are given back,
	// 16 kB in all, and some 400 B are left, until its next request comes. After
	// 1,000 parkings, when there are no more for a second, and once more when
	// fasthttp's idle workers have ended, the garbage is collected and returned to
	// the system. Zero, the default, is never.
	//
	// A parked connection is an idle one in all that this package does. For fasthttp
	// it is closed, and a new one with its next request: HTTP.ConnState sees
	// StateClosed, then StateNew of another net.Conn, and RequestCtx counts ConnID,
	// ConnTime and ConnRequestNum anew. ConnInfo and HTTP.MaxRequestsPerConn count on.
	// Socket options are then net's defaults and HTTP's, not those of a listener handed
	// in.
	//
	// It is for TCP and Unix sockets on Linux, without TLS. Where it cannot work an
	// EventNotParked says so, once.
	ParkAfter time.Duration

	// MaxConnAge is how old a connection may become, up to a tenth more or less, which
	// spreads the end of those that came together. The response that is sent after
	// that says Connection: close; nothing is cut. It is for load balancers which spread
	// connections, not requests. Zero, the default, is no limit.
	MaxConnAge time.Duration

	// Preface, if set, reads what comes before TLS and HTTP on each TCP connection that
	// is accepted, such as the header of the PROXY protocol, and not one byte more. It
	// is called once a connection, in a goroutine of its own, side by side with others,
	// and only reads: the connection has a deadline, HTTP.ReadTimeout or, where that is
	// zero, 10 s. It returns the client's address, which RequestCtx.RemoteAddr and
	// ConnInfo then give, or nil for the connection's own; RequestCtx.Conn and hooks
	// see the connection as it is. After an error the connection is closed, and an
	// EventPrefaceFail says so, unless it is io.EOF or ECONNRESET, or the server itself
	// has cut the connection.
	//
	// A connection is new, for the drain as for IdleTimeout, until the first byte after
	// its preface. It counts for HTTP.Concurrency from its begin, and for
	// HTTP.MaxConnsPerIP, by the client's address, from the end of its preface. fasthttp
	// logs none that fail. A connection of a listener handed in that is not a
	// *net.TCPConn, as one of tls.NewListener, has no preface.
	Preface func(nc net.Conn) (client net.Addr, err error)

	// MinReadRate is the least rate at which a client has to send a request, header
	// and body, from its first byte until its handler is called. One that sends less
	// than Bytes in a time of Per gets a 408, and its connection is closed. The same
	// goes for a request that is smaller than Bytes and takes longer than Per. Bytes
	// of TLS count. With StreamRequestBody only what is read before the handler is
	// measured: after that it may be the handler that is slow. Of an Adopted connection
	// those reads are measured that AwaitBody tells of: they fail. The time of
	// HTTP.ExpectHandler and ContinueHandler counts. The zero Rate, the default, asks
	// for nothing.
	//
	// It is seen to about once a second, or ten times in Per where that is short, on
	// TCP sockets on Linux; those of Unix sockets and other systems are
	// not measured.
	MinReadRate Rate

	// MinWriteRate is the least rate at which a client has to take a response, from
	// when the handler has returned, streams included, to when the client's kernel has
	// acknowledged it. One that takes less than Bytes in a time of Per, though more
	// waits for it, is reset: it must not take what it got for the whole. So is one
	// whose connection is idle, but whose last response has not been taken. A stream
	// that has nothing to send is not measured, nor are hijacked and parked
	// connections; those that are Adopted are while their handlers run, too. A client that
	// does not read is seen in steps of what its kernel buffers, a sixteenth of its receive
	// buffer, some 8 kB: Per should be longer than those take. The zero Rate, the default,
	// asks for nothing. Measured as MinReadRate.
	MinWriteRate Rate

	// TLSHandshakeTimeout is how long a TLS handshake may take, on TCP listeners opened
	// for Addrs and those that ServeListener has a configuration for, from when the
	// connection is accepted. Without it, or where it is longer, HTTP.ReadTimeout ends a
	// handshake. Run sets an HTTP.ReadTimeout of zero to 100 years for it. Zero, the
	// default, is no limit.
	TLSHandshakeTimeout time.Duration

	// ShutdownDelay is how long the server keeps accepting after the drain has
	// begun, for load balancers that need time to notice that readiness is red.
	// Zero, the default, is no delay.
	ShutdownDelay time.Duration

	// LastCall is how long an idle connection may still send a request, after
	// its last response or the begin of the drain, whichever is later. The
	// request is served, and told Connection: close. It should exceed the pauses
	// of a busy client's connections plus a round trip. It is measured by the clock:
	// where the process is stalled, what clients send meanwhile waits in the kernel and
	// is served, but clients that are stalled with it, as on one machine, may come too
	// late. Where more than 1,000
	// connections are open, one that has been idle for four times as long gets no
	// last call. Zero is DefaultLastCall; negative is none; UntilIdle waits for idle
	// timeouts.
	LastCall time.Duration

	// DrainTimeout is how long the drain may take, ShutdownDelay not included,
	// before contexts are cancelled. Zero is DefaultDrainTimeout; negative is
	// no limit.
	DrainTimeout time.Duration

	// AbortTimeout is how long handlers then have to answer, before every
	// connection is cut. Zero is DefaultAbortTimeout; negative is none.
	AbortTimeout time.Duration

	// HookTimeout is how long each hook may take that sets no timeout of its
	// own. Zero is DefaultHookTimeout; negative is no limit.
	HookTimeout time.Duration

	// Signals are those that step through the server's end while Run runs: the
	// first begins the drain, the second ends its wait, the third exits the
	// process at once with code 2. Nil, the default, leaves signals alone; see
	// DefaultSignals.
	Signals []os.Signal

	// Divert, if set, is called with each new connection, which it serves in fasthttp's
	// place: for a server whose requests are all for another one, such as an
	// http.Server. It must not block: an accept loop may be calling. It is spared those
	// that are refused, and gets those back that were parked. unread is what was read of
	// the connection for DivertIf: then it is active, as for HandOver, and its first request
	// counted. For HTTP.ConnState it is hijacked.
	Divert func(a *Adopted, unread []byte)

	// DivertIf, if set, says by the first bytes that come on a new connection, up to 2 kB,
	// whether it is for Divert. It must not keep begin, which is empty where a TLS handshake
	// has failed. It is called in a goroutine of the connection's own, and again for one that
	// was parked. Nothing is taken from a TCP or Unix socket, so that fasthttp serves that
	// itself. Others, as over TLS, are read, and fasthttp gets a connection that begins with
	// what was read: for HTTP.ConnState they are then as one that was parked.
	// HTTP.ReadTimeout is the time for it.
	DivertIf func(begin []byte) bool

	// OnEvent, if set, is called with what happens, from the goroutine where it
	// happens: it must be safe for concurrent use, and quick. A panic of it is
	// dropped.
	OnEvent func(Event)

	initOnce sync.Once
	epoch    time.Time
	phases   phases
	ran      atomic.Bool

	handler      fasthttp.RequestHandler // the user's, as the next two
	connState    func(net.Conn, fasthttp.ConnState)
	errorHandler func(*fasthttp.RequestCtx, error)

	conns     table
	parking   parking
	pace      pace
	clients   clients
	kept      kept
	lingering lingering
	work      work
	hooking   atomic.Bool // drain hooks run
	watchers  watchers
	accepting atomic.Int32 // accept loops that run
	wakeMu    sync.Mutex   // orders a drain's past deadlines against their repair

	ctx         context.Context // see Context
	cancel      context.CancelCauseFunc
	startCtx    context.Context // ends when the drain begins
	cancelStart context.CancelFunc

	changed   chan struct{} // holds a value when the drain has to look again
	idled     atomic.Bool   // a connection became idle since the drain last looked
	forced    chan struct{} // closed when all waiting is to end
	forceOnce sync.Once
	cutting   atomic.Bool // nothing is served any more
	aborting  bool        // the deadline has come; of the drain's goroutine alone

	accepted, told, lastCalled atomic.Int64 // see Report

	limits       limits
	reserve      reserve
	tcpKeepalive bool                       // HTTP's, which Run takes over
	refusals     [noDescriptor + 1]refusals // by reason
	acceptedAll  atomic.Uint64              // see Totals, as the next one
	acceptErrors atomic.Uint64

	mu           sync.Mutex // guards what follows
	listeners    []*listener
	startHooks   []hook
	drainHooks   []hook
	exitHooks    []hook
	mistakes     []error // of calls that return none; Run does
	drainHookErr error
	running      *runningHook
	listenErr    error
	drainBegan   time.Duration // constant once PhaseDraining is reached, as the next one
	crowded      bool          // see crowd
	deadline     time.Time
	exitCtx      context.Context // of work that exit hooks start
	report       Report
}

func (s *Server) init() {
	s.initOnce.Do(func() {
		s.epoch = time.Now()
		s.phases.init()
		s.ctx, s.cancel = context.WithCancelCause(context.Background())
		s.startCtx, s.cancelStart = context.WithCancel(s.ctx)
		s.changed = make(chan struct{}, 1)
		s.forced = make(chan struct{})
		s.watchers.over = make(chan struct{})
	})
}

// now is the time since the epoch. Reading the monotonic clock alone costs half
// of what time.Now does.
func (s *Server) now() time.Duration { return time.Since(s.epoch) }

// Run is a server's life: it runs the start hooks, listens, serves, and once ctx
// has ended, a signal of Signals came, or Drain, ShutdownWithContext or Close was
// called, drains. It returns when all is over, exit hooks included: nil if
// nothing failed and the drain came to its own end; else an error that joins what
// went wrong, see ErrStart, ErrDrainTimeout, ErrForced and HookError. ExitCode makes it the
// process's exit code, and Report tells more. A second Run is ErrAlreadyRun.
func (s *Server) Run(ctx context.Context) error {
	s.init()
	if s.ran.Swap(true) {
		return ErrAlreadyRun
	}
	return s.run(ctx)
}

func (s *Server) run(ctx context.Context) error {
	defer s.notifySignals()()
	defer context.AfterFunc(ctx, func() { s.beginDrain("context: " + context.Cause(ctx).Error()) })()

	ready, err := s.start()
	if ready {
		<-s.Draining()
		err = s.drain()
	}
	return s.exit(err)
}

// Serve runs the server on ln, beside Addrs and Listeners, until it is drained.
// Unlike fasthttp's and net/http's Serve it returns at the end of a shutdown, not
// at its begin: the process may end then. See Run.
func (s *Server) Serve(ln net.Listener) error {
	s.init()
	if s.ran.Swap(true) {
		return ErrAlreadyRun
	}
	s.Listeners = append(s.Listeners, ln)
	return s.run(context.Background())
}

// ListenAndServe runs the server on addr, beside Addrs and Listeners, until it is
// drained. See Run, and Addrs for the forms of an address.
func (s *Server) ListenAndServe(addr string) error {
	s.init()
	if s.ran.Swap(true) {
		return ErrAlreadyRun
	}
	s.Addrs = append(s.Addrs, addr)
	return s.run(context.Background())
}

// start brings the server to PhaseReady, unless the drain begins first.
func (s *Server) start() (ready bool, err error) {
	s.enterPhase(PhaseStarting, "")
	err = s.check()
	if err == nil && s.startCtx.Err() == nil {
		err = s.runStartHooks(s.startCtx)
	}
	if err == nil && s.startCtx.Err() == nil {
		err = s.listen(s.startCtx)
	}
	if s.startCtx.Err() != nil {
		s.closeListeners()
		return false, nil // what failed, if anything, failed because the start was called off
	}
	if err != nil {
		s.closeListeners()
		s.beginDrain("start failed")
		return false, fmt.Errorf("%w: %w", ErrStart, err)
	}
	s.observe()
	s.takeLimits()
	s.reserve.open()
	s.startParking()
	s.startPace()
	for _, l := range s.openListeners() {
		s.accepting.Add(1)
		go s.acceptLoop(l)
	}
	s.enterPhase(PhaseReady, "")
	return true, nil
}

func (s *Server) check() error {
	s.mu.Lock()
	errs := append([]error(nil), s.mistakes...)
	s.mu.Unlock()
	if s.HTTP == nil || s.HTTP.Handler == nil {
		errs = append(errs, errors.New("lifecycle: Server.HTTP has no Handler"))
	}
	if len(s.Addrs) == 0 && s.Listeners == nil {
		errs = append(errs, errors.New("lifecycle: Server has neither Addrs nor Listeners"))
	}
	for _, f := range []struct {
		name string
		d    time.Duration
	}{
		{"ParkAfter", s.ParkAfter}, {"MaxConnAge", s.MaxConnAge},
		{"TLSHandshakeTimeout", s.TLSHandshakeTimeout}, {"ShutdownDelay", s.ShutdownDelay},
	} {
		if f.d < 0 {
			errs = append(errs, fmt.Errorf("lifecycle: Server.%s is negative: %v", f.name, f.d))
		}
	}
	for _, f := range []struct {
		name string
		Rate
	}{{"MinReadRate", s.MinReadRate}, {"MinWriteRate", s.MinWriteRate}} {
		if f.Bytes < 0 || f.Per < 0 || (f.Bytes == 0) != (f.Per == 0) {
			errs = append(errs, fmt.Errorf("lifecycle: Server.%s is no rate: %d bytes per %v", f.name, f.Bytes, f.Per))
		}
	}
	return errors.Join(errs...)
}

// acceptLoop serves a listener until it has ended. A listener that ends by itself
// takes the server with it: half a server is worse than one that is restarted.
func (s *Server) acceptLoop(l *listener) {
	err := s.accept(l)
	if err == nil {
		return
	}
	err = fmt.Errorf("%w: %v: %w", errListener, l.Addr(), err)
	s.mu.Lock()
	s.listenErr = errors.Join(s.listenErr, err)
	s.mu.Unlock()
	s.beginDrain(err.Error())
}

// accept serves a listener until it has ended. It returns nil if the drain has ended
// it, else what has.
func (s *Server) accept(l *listener) error {
	defer s.signalChange()
	defer s.accepting.Add(-1)
	err := s.HTTP.Serve(l)
	if l.ending.Load() {
		return nil
	}
	if err == nil {
		err = cmp.Or(l.failed, net.ErrClosed)
	}
	_ = l.Close()
	s.emit(Event{Kind: EventListenFail, Addr: l.Addr(), Err: err})
	return err
}

func (s *Server) closeListeners() {
	for _, l := range s.openListeners() {
		_ = l.Close()
	}
	for _, ln := range s.Listeners {
		_ = ln.Close() // not yet among the open ones, when a start hook failed
	}
}

// exit runs the exit hooks and closes the life.
func (s *Server) exit(err error) error {
	s.stopParking()
	s.stopPace()
	s.clients.stop()
	s.reserve.close()
	s.enterPhase(PhaseExiting, "")
	hookErr := s.runExitHooks()
	s.cancel(nil)
	if s.HTTP != nil {
		s.cancelRequests() // fasthttp lets go of its own state
	}
	s.mu.Lock()
	err = errors.Join(err, s.listenErr, s.drainHookErr, hookErr)
	s.report.Err = err
	s.mu.Unlock()
	s.enterPhase(PhaseStopped, "")
	return err
}

func (s *Server) enterPhase(p Phase, cause string) {
	if s.phases.advance(p) {
		s.emit(Event{Kind: EventPhase, Phase: p, Name: cause})
	}
}

// orDefault is d, or def where d is zero.
func orDefault[T int | time.Duration](d, def T) T {
	if d == 0 {
		return def
	}
	return d
}

// newTimer returns a timer; one of a negative duration never fires.
func newTimer(d time.Duration) *time.Timer {
	if d < 0 {
		d = math.MaxInt64
	}
	return time.NewTimer(d)
}
