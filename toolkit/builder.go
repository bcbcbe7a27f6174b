package toolkit

import (
	"context"
	"crypto/tls"
	"io/fs"
	"net"
	"os"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// The defaults of a server built with no option set. It may face the internet:
// every wait for a client has an end.
const (
	// DefaultReadHeaderTimeout is ample for the few packets of a header, and
	// short enough that clients which dribble one do not pile up.
	DefaultReadHeaderTimeout = 10 * time.Second
	// DefaultReadBodyTimeout lets DefaultMaxBodySize through at 70 kB/s, slow
	// mobile links included.
	DefaultReadBodyTimeout = time.Minute
	// DefaultTLSHandshakeTimeout is ample for two round trips, and no longer than a
	// plain client has for its header.
	DefaultTLSHandshakeTimeout = DefaultReadHeaderTimeout
	// DefaultWriteTimeout ends a client that does not read its response. Streams
	// are exempt: how long they last is the application's business, save for
	// DefaultMinWriteRate.
	DefaultWriteTimeout = time.Minute
	// DefaultIdleTimeout exceeds the 60 s after which load balancers commonly
	// drop an idle connection (AWS ALB and nginx among them). Who closes first
	// loses no request; a server that does so races with the next one.
	DefaultIdleTimeout = 75 * time.Second
	// DefaultMaxHeaderSize is what nginx allows by default; fasthttp's 4096 is
	// exceeded by a few large cookies.
	DefaultMaxHeaderSize = 8 << 10
	// DefaultMaxBodySize is fasthttp's own.
	DefaultMaxBodySize = fasthttp.DefaultMaxRequestBodySize
	// DefaultReadyTimeout is less than the second that Kubernetes gives a probe.
	DefaultReadyTimeout = 900 * time.Millisecond
)

// The least rates of a client, unless others are set. Both are 240 bytes a second,
// which any link manages and Kestrel asks for, too:
// https://learn.microsoft.com/aspnet/core/fundamentals/servers/kestrel/options
// What differs is the longest pause.
var (
	// DefaultMinReadRate outlasts three losses in a row of a client's segment, after
	// which TCP waits for 1, 2 and 4 s (RFC 6298, section 5).
	DefaultMinReadRate = lifecycle.Rate{Bytes: 2400, Per: 10 * time.Second}
	// DefaultMinWriteRate outlasts a client that has to write to a slow disk what it
	// reads, and the 8 kB or so in which its kernel makes room.
	DefaultMinWriteRate = lifecycle.Rate{Bytes: 4800, Per: 20 * time.Second}
)

// UntilIdle is the LastCall that lets the drain wait until clients and idle
// timeouts have closed every connection.
const UntilIdle = lifecycle.UntilIdle

// maxHeaderSize is the largest MaxHeaderSize: a thousand connections take 16 GB then.
const maxHeaderSize = 16 << 20

// Builder collects what a server is to be. Its methods only record, and return
// the Builder: of a scalar's calls the last one counts, lists append. Build
// checks everything. A Builder is not for concurrent use.
type Builder struct {
	config
	routes  []route
	netHTTP []netRoute
	early   []error // of bad prefixes, and of With

	extensions []Extension
	onBuild    []func(*Server) error
}

// config is what the Builder's scalars and lists say.
type config struct {
	addrs     []string
	unix      string
	unixMode  fs.FileMode
	listeners []net.Listener
	files     *keyPair
	tlsConfig *tls.Config
	ownTLS    bool // TLSConfig was called

	readHeaderTimeout time.Duration
	readBodyTimeout   time.Duration
	handshakeTimeout  time.Duration
	minReadRate       lifecycle.Rate
	minWriteRate      lifecycle.Rate
	writeTimeout      time.Duration
	idleTimeout       time.Duration
	parkAfter         time.Duration
	maxConnAge        time.Duration
	shutdownDelay     time.Duration
	lastCall          time.Duration
	drainTimeout      time.Duration
	abortTimeout      time.Duration
	hookTimeout       time.Duration
	readyTimeout      time.Duration
	gracePeriod       time.Duration

	drainSet, abortSet, hookSet bool // DrainTimeout, AbortTimeout, HookTimeout were called

	maxHeaderSize      int
	maxBodySize        int
	maxConns           int
	maxConnsPerIP      int
	maxRequestsPerConn int
	maxInFlight        int
	maxWait            time.Duration
	streamRequestBody  bool
	keepAlive          bool
	strict             bool
	http2              bool

	trusts        bool // TrustedProxies was called
	trustHeader   string
	trustNetworks []string
	proxied       bool // ProxyProtocol was called
	proxyNetworks []string

	logger     zerolog.Logger
	console    *console // where the log goes, if Console was called last
	accessLog  bool
	middleware []Middleware
	observers  []Observer

	notFound, methodNotAllowed fasthttp.RequestHandler

	livez, readyz string
	checks        []check

	startHooks, drainHooks, exitHooks []hook
	signals                           []os.Signal
	configure                         []func(*fasthttp.Server)
}

// keyPair are the files of a certificate chain and its key.
type keyPair struct{ cert, key string }

type hook struct {
	name    string
	run     lifecycle.HookFunc
	timeout []time.Duration
}

// New returns a Builder with the defaults set.
func New() *Builder {
	return &Builder{config: config{
		readHeaderTimeout: DefaultReadHeaderTimeout,
		readBodyTimeout:   DefaultReadBodyTimeout,
		handshakeTimeout:  DefaultTLSHandshakeTimeout,
		minReadRate:       DefaultMinReadRate,
		minWriteRate:      DefaultMinWriteRate,
		writeTimeout:      DefaultWriteTimeout,
		idleTimeout:       DefaultIdleTimeout,
		lastCall:          lifecycle.DefaultLastCall,
		drainTimeout:      lifecycle.DefaultDrainTimeout,
		abortTimeout:      lifecycle.DefaultAbortTimeout,
		hookTimeout:       lifecycle.DefaultHookTimeout,
		readyTimeout:      DefaultReadyTimeout,
		maxHeaderSize:     DefaultMaxHeaderSize,
		maxBodySize:       DefaultMaxBodySize,
		keepAlive:         true,
		strict:            true,
		http2:             true,
		logger:            zerolog.New(os.Stderr).Level(zerolog.InfoLevel).With().Timestamp().Logger(),
		accessLog:         true,
		livez:             "/livez",
		readyz:            "/readyz",
		signals:           lifecycle.DefaultSignals(),
	}}
}

// Addr adds TCP addresses to listen on, as "host:port"; ":8080" is every
// interface, IPv4 and IPv6. Port 0 lets the system choose.
func (b *Builder) Addr(addrs ...string) *Builder {
	b.addrs = append(b.addrs, addrs...)
	return b
}

// Unix listens on a Unix socket too. It gets the permissions mode; 0 leaves
// them to the umask. Connections to it are plain even where TLS is set.
func (b *Builder) Unix(path string, mode fs.FileMode) *Builder {
	b.unix, b.unixMode = path, mode
	return b
}

// Listener adds a listener that is open already; the server closes it. It is
// served as it is, even where TLS is set.
func (b *Builder) Listener(ln net.Listener) *Builder {
	b.listeners = append(b.listeners, ln)
	return b
}

// TLS serves TLS on the TCP addresses, with a certificate chain and a key in PEM
// files, which Build reads. TLS 1.2 is the least that is spoken.
func (b *Builder) TLS(certFile, keyFile string) *Builder {
	b.files = &keyPair{certFile, keyFile}
	return b
}

// TLSConfig serves TLS on the TCP addresses by a configuration of your own, in
// place of TLS. Build takes a copy.
func (b *Builder) TLSConfig(config *tls.Config) *Builder {
	b.tlsConfig, b.ownTLS = config, true
	return b
}

// ReadHeaderTimeout is how long a client may take from a request's first byte to
// the end of its header; on a new connection, from its begin. 0 is no limit. See
// DefaultReadHeaderTimeout.
func (b *Builder) ReadHeaderTimeout(d time.Duration) *Builder {
	b.readHeaderTimeout = d
	return b
}

// ReadBodyTimeout is how long a client may then take for the request's body. 0
// is no limit. See DefaultReadBodyTimeout.
func (b *Builder) ReadBodyTimeout(d time.Duration) *Builder {
	b.readBodyTimeout = d
	return b
}

// TLSHandshakeTimeout is how long a TLS handshake may take on an address of Addr;
// ReadHeaderTimeout, if it is shorter, ends it as well. 0 is no limit. See
// DefaultTLSHandshakeTimeout.
func (b *Builder) TLSHandshakeTimeout(d time.Duration) *Builder {
	b.handshakeTimeout = d
	return b
}

// MinReadRate has a client send at least so many bytes of a request in any time of
// per, or get a 408. A request that is smaller has to be there within per. MinReadRate(0,
// 0) asks for nothing. It is for TCP on Linux; see DefaultMinReadRate, and
// lifecycle.Server.MinReadRate for what is measured.
func (b *Builder) MinReadRate(bytes int, per time.Duration) *Builder {
	b.minReadRate = lifecycle.Rate{Bytes: bytes, Per: per}
	return b
}

// MinWriteRate has a client take at least so many bytes of a response in any time of
// per, streams included, if so many wait for it; else its connection is reset.
// MinWriteRate(0, 0) asks for nothing, and is for clients that stop reading for long,
// as players of videos do. It is for TCP on Linux; see DefaultMinWriteRate, and
// lifecycle.Server.MinWriteRate for what is measured.
func (b *Builder) MinWriteRate(bytes int, per time.Duration) *Builder {
	b.minWriteRate = lifecycle.Rate{Bytes: bytes, Per: per}
	return b
}

// WriteTimeout is how long a client may take to read a response that is not a
// stream; files sent by ctx.SendFile are streams. 0 is no limit, and leaves it to
// handlers to set a deadline for a stream. See DefaultWriteTimeout.
func (b *Builder) WriteTimeout(d time.Duration) *Builder {
	b.writeTimeout = d
	return b
}

// IdleTimeout is how long a connection may rest between requests, or without a
// first one. 0 is no limit, but for a first request, whose header has its own. See
// DefaultIdleTimeout.
func (b *Builder) IdleTimeout(d time.Duration) *Builder {
	b.idleTimeout = d
	return b
}

// ParkAfter is how long a connection may rest before it is parked: 16 kB of memory
// are given back, until its next request comes, which then takes some 60 us longer.
// It is for plain TCP and Unix sockets on Linux; see lifecycle.Server.ParkAfter for
// what it changes. The default, 0, is never.
func (b *Builder) ParkAfter(d time.Duration) *Builder {
	b.parkAfter = d
	return b
}

// ShutdownDelay keeps accepting connections for that long after the drain has
// begun and readiness turned red, for load balancers that need the time. The
// default is 0.
func (b *Builder) ShutdownDelay(d time.Duration) *Builder {
	b.shutdownDelay = d
	return b
}

// LastCall is how long the drain lets an idle connection send one more request.
// 0 closes idle connections at once; UntilIdle leaves closing to clients and
// idle timeouts. The default is lifecycle.DefaultLastCall.
func (b *Builder) LastCall(d time.Duration) *Builder {
	b.lastCall = d
	return b
}

// DrainTimeout is how long the drain may take before contexts are cancelled. 0
// is no limit. The default is lifecycle.DefaultDrainTimeout, or what
// TerminationGracePeriod leaves.
func (b *Builder) DrainTimeout(d time.Duration) *Builder {
	b.drainTimeout, b.drainSet = d, true
	return b
}

// AbortTimeout is how long handlers have after that, before connections are cut.
// 0 is none. The default is lifecycle.DefaultAbortTimeout, or less where
// TerminationGracePeriod is short.
func (b *Builder) AbortTimeout(d time.Duration) *Builder {
	b.abortTimeout, b.abortSet = d, true
	return b
}

// HookTimeout is how long a hook may take that sets no timeout of its own. 0 is
// no limit. The default is lifecycle.DefaultHookTimeout, for exit hooks less where
// TerminationGracePeriod is short.
func (b *Builder) HookTimeout(d time.Duration) *Builder {
	b.hookTimeout, b.hookSet = d, true
	return b
}

// ReadyTimeout is how long all readiness checks together may take. See
// DefaultReadyTimeout.
func (b *Builder) ReadyTimeout(d time.Duration) *Builder {
	b.readyTimeout = d
	return b
}

// MaxHeaderSize is how many bytes a request's header may have; more is a 431. It
// is also the size of each connection's read buffer, and 16 MB at most. See
// DefaultMaxHeaderSize.
func (b *Builder) MaxHeaderSize(bytes int) *Builder {
	b.maxHeaderSize = bytes
	return b
}

// MaxBodySize is how many bytes a request's body may have; more is a 413. See
// DefaultMaxBodySize, and Group.MaxBodySize for routes that want another one.
func (b *Builder) MaxBodySize(bytes int) *Builder {
	b.maxBodySize = bytes
	return b
}

// StreamRequestBody has handlers run when a request's header and at most 8 kB of its
// body have come; they read the body from ctx.RequestBodyStream(). The default,
// false, reads it into memory first.
//
// MaxBodySize holds, which fasthttp alone does not see to: a Content-Length over it is
// a 413 before the handler runs, and the read of a chunked body fails with
// fasthttp.ErrBodyTooLarge where it passes the limit. A body that is cut short ends
// in io.ErrUnexpectedEOF or another error, never in io.EOF; one that takes longer than
// ReadBodyTimeout in os.ErrDeadlineExceeded. After each of them the connection is
// closed with the response. ctx.PostBody and ctx.FormValue have no way to return
// such an error: of a broken body PostBody returns the error's text. A form is parsed
// when a handler asks for it. The MaxRequestBodySize that a HeaderReceived returns for
// one request is not heeded.
func (b *Builder) StreamRequestBody(on bool) *Builder {
	b.streamRequestBody = on
	return b
}

// MaxInFlight is how many requests may be with their handlers at a time. One more
// waits for up to wait, first come, first served; then it gets a 503 with a
// Retry-After, as it does at once when the drain's deadline comes. Its connection is
// kept alive. Middleware added with Use counts as handler; the health endpoints are
// exempt, and do not wait. A request counts until its handler has returned: not
// while its response is written or streamed, nor for a hijacked connection, nor for a
// handler that fasthttp.TimeoutHandler has given up on, though that still runs. See
// Server.InFlight. The default, 0, is no limit.
func (b *Builder) MaxInFlight(n int, wait time.Duration) *Builder {
	b.maxInFlight, b.maxWait = n, wait
	return b
}

// MaxConns is how many connections may be open, idle, parked and hijacked ones
// included; one more is answered with a 503 and closed. The default, 0, is
// fasthttp.DefaultConcurrency.
func (b *Builder) MaxConns(n int) *Builder {
	b.maxConns = n
	return b
}

// MaxConnsPerIP is how many connections an IPv4 address, or an IPv6 network of 64
// bits, may have open; one more is answered with a 429 and closed. The default, 0, is
// no limit: behind a proxy or a carrier's NAT many clients share an address.
func (b *Builder) MaxConnsPerIP(n int) *Builder {
	b.maxConnsPerIP = n
	return b
}

// MaxConnAge is how old a connection may become, up to a tenth more or less; the
// response after that is its last one, and tells the client so. It is for load
// balancers that spread connections, not requests. The default, 0, is no limit.
func (b *Builder) MaxConnAge(d time.Duration) *Builder {
	b.maxConnAge = d
	return b
}

// MaxRequestsPerConn closes a connection after that many requests. The default,
// 0, is no limit.
func (b *Builder) MaxRequestsPerConn(n int) *Builder {
	b.maxRequestsPerConn = n
	return b
}

// KeepAlive says whether a connection may be used for more than one request. With
// false each is closed after its response. The default is true.
func (b *Builder) KeepAlive(on bool) *Builder {
	b.keepAlive = on
	return b
}

// Strict says whether requests that a proxy in front, or anyone on their way, may
// have read differently are refused, with a 400 and the end of the connection. The
// default is true; false leaves it to fasthttp, which reads most that are doubtful
// as RFC 9112 allows. It costs some 30 ns for a small GET, 110 ns for a browser's,
// and allocates nothing. What it refuses beyond what fasthttp itself refuses:
//
//   - Transfer-Encoding beside Content-Length, or other than "chunked" (RFC 9112,
//     sections 6.1 and 6.3)
//   - header lines that end without CR, continue on the next line, or have a space
//     in their name (sections 2.2, 5.1 and 5.2)
//   - versions other than HTTP/1.0 and HTTP/1.1 (section 2.3)
//   - a target with a fragment, and one whose authority is not Host's: section 3.2.2
//     has a server ignore Host then, but a handler may not know (section 3.2). So
//     too "//a/b?c=d://e", of which fasthttp takes a for the authority
//   - a Host that is not a name or an address, or has percent-encoding (section 3.2)
//   - fields behind a chunked body, which fasthttp mixes with those of the header
//     (RFC 9110, section 6.5.1)
//
// With StreamRequestBody those fields have not come yet when the handler is called:
// there, a connection ends after a chunked body that the handler has not read to its
// end, or that had some. It ends after a CONNECT too that no hijack answers: a proxy
// takes what follows a 2xx for a tunnel and looks at nothing in it (RFC 9110, section
// 9.3.6). Not seen, and left as section 2.2 allows, are a bare LF behind the request line
// or the last chunk, and empty lines before a request. net/http refuses less: it reads lines without CR, folded
// ones and fragments, has Transfer-Encoding overrule Content-Length and a target's
// authority Host, and keeps trailers apart.
func (b *Builder) Strict(on bool) *Builder {
	b.strict = on
	return b
}

// Logger takes the log: what happens in the server's life, a line a request, and
// panics. The default writes JSON to standard error from level info on;
// zerolog.Nop() is silence, and free.
func (b *Builder) Logger(log zerolog.Logger) *Builder {
	b.logger, b.console = log, nil
	return b
}

// AccessLog says whether each request gets a line in the log: at level info, where the
// response is a 5xx at error, where MaxInFlight or LimitInFlight has refused it at warn, and
// of the health endpoints at debug. A request that fasthttp refuses, as one with a broken
// header or too large a body, has a line without its id, duration and size, and, unless its
// header could be read, without method and path. The default is true.
func (b *Builder) AccessLog(on bool) *Builder {
	b.accessLog = on
	return b
}

// Use adds middleware around all routes, outermost first, inside the default
// ones: RequestID(AccessLog(Strict(Recover(m1(m2(routes)))))). What has to see all
// requests, those for net/http too, is an Observer.
func (b *Builder) Use(m ...Middleware) *Builder {
	b.middleware = append(b.middleware, m...)
	return b
}

// HealthPaths moves the health endpoints, which are at /livez and /readyz by
// default; "" leaves an endpoint out.
func (b *Builder) HealthPaths(live, ready string) *Builder {
	b.livez, b.readyz = live, ready
	return b
}

// ReadyCheck adds a named check to the readiness endpoint, which is red while f
// fails, panics, or has not returned within ReadyTimeout. Checks run side by
// side, and never twice at a time.
func (b *Builder) ReadyCheck(name string, f func(ctx context.Context) error) *Builder {
	b.checks = append(b.checks, check{name: name, run: f})
	return b
}

// OnStart adds a hook that runs before the server listens; see
// lifecycle.Server.OnStart. An optional timeout replaces HookTimeout.
func (b *Builder) OnStart(name string, f lifecycle.HookFunc, timeout ...time.Duration) *Builder {
	b.startHooks = append(b.startHooks, hook{name, f, timeout})
	return b
}

// OnDrain adds a hook that runs when the drain begins; see
// lifecycle.Server.OnDrain. An optional timeout replaces HookTimeout.
func (b *Builder) OnDrain(name string, f lifecycle.HookFunc, timeout ...time.Duration) *Builder {
	b.drainHooks = append(b.drainHooks, hook{name, f, timeout})
	return b
}

// PreExit adds a hook that runs when all connections are gone, last added first;
// see lifecycle.Server.PreExit. An optional timeout replaces HookTimeout.
func (b *Builder) PreExit(name string, f lifecycle.HookFunc, timeout ...time.Duration) *Builder {
	b.exitHooks = append(b.exitHooks, hook{name, f, timeout})
	return b
}

// Signals replaces the signals that Run heeds, lifecycle.DefaultSignals; none
// leaves signals alone.
func (b *Builder) Signals(signals ...os.Signal) *Builder {
	b.signals = signals
	return b
}

// Configure reaches every field of the fasthttp.Server below, in Build, after all
// else has been set.
func (b *Builder) Configure(f func(*fasthttp.Server)) *Builder {
	b.configure = append(b.configure, f)
	return b
}

// Run builds the server and runs it until it is drained, driven by Signals. A
// main function that ends with it gets its exit code from lifecycle.ExitCode.
func (b *Builder) Run() error {
	s, err := b.Build()
	if err != nil {
		return err
	}
	s.Signals = b.signals
	return s.Run(context.Background())
}
