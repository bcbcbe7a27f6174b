package toolkit

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
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
	// DefaultWriteTimeout ends a client that does not read its response. Streams
	// are exempt: how long they last is the application's business.
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

// UntilIdle is the LastCall that lets the drain wait until clients and idle
// timeouts have closed every connection.
const UntilIdle = lifecycle.UntilIdle

// Middleware wraps a handler.
type Middleware func(fasthttp.RequestHandler) fasthttp.RequestHandler

// Builder collects what a server is to be. Its methods only record, and return
// the Builder: of a scalar's calls the last one counts, lists append. Build
// checks everything. A Builder is not for concurrent use.
type Builder struct {
	config
	routes  []route
	netHTTP []netRoute
	groups  []error // of bad prefixes
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

	maxHeaderSize      int
	maxBodySize        int
	maxConns           int
	maxConnsPerIP      int
	maxRequestsPerConn int
	keepAlive          bool

	logger     zerolog.Logger
	accessLog  bool
	middleware []Middleware

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
// is no limit. The default is lifecycle.DefaultDrainTimeout.
func (b *Builder) DrainTimeout(d time.Duration) *Builder {
	b.drainTimeout = d
	return b
}

// AbortTimeout is how long handlers have after that, before connections are cut.
// 0 is none. The default is lifecycle.DefaultAbortTimeout.
func (b *Builder) AbortTimeout(d time.Duration) *Builder {
	b.abortTimeout = d
	return b
}

// HookTimeout is how long a hook may take that sets no timeout of its own. 0 is
// no limit. The default is lifecycle.DefaultHookTimeout.
func (b *Builder) HookTimeout(d time.Duration) *Builder {
	b.hookTimeout = d
	return b
}

// ReadyTimeout is how long all readiness checks together may take. See
// DefaultReadyTimeout.
func (b *Builder) ReadyTimeout(d time.Duration) *Builder {
	b.readyTimeout = d
	return b
}

// MaxHeaderSize is how many bytes a request's header may have; more is a 431. It
// is also the size of each connection's read buffer. See DefaultMaxHeaderSize.
func (b *Builder) MaxHeaderSize(bytes int) *Builder {
	b.maxHeaderSize = bytes
	return b
}

// MaxBodySize is how many bytes a request's body may have; more is a 413. See
// DefaultMaxBodySize.
func (b *Builder) MaxBodySize(bytes int) *Builder {
	b.maxBodySize = bytes
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

// Logger takes the log: what happens in the server's life, a line a request, and
// panics. The default writes JSON to standard error from level info on;
// zerolog.Nop() is silence, and free.
func (b *Builder) Logger(log zerolog.Logger) *Builder {
	b.logger = log
	return b
}

// AccessLog says whether each request gets a line in the log. The default is true.
func (b *Builder) AccessLog(on bool) *Builder {
	b.accessLog = on
	return b
}

// Use adds middleware around all routes, outermost first, inside the default
// ones: RequestID(AccessLog(Recover(m1(m2(routes))))).
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

// Build checks what was recorded and makes a server of it; what is called on the
// Builder later does not change that server. All mistakes come back together,
// each naming the call that made it.
func (b *Builder) Build() (*Server, error) {
	errs := append(b.mistakes(), b.groups...)
	tlsConfig, err := b.loadTLS()
	errs = append(errs, err)
	s := &Server{log: b.logger}
	handler, err := s.route(b)
	errs = append(errs, err)
	d, netErrs := s.dispatch(b)
	if err := errors.Join(append(errs, netErrs...)...); err != nil {
		return nil, err
	}
	s.handler = handler
	h := b.newHTTP(tlsConfig, s)
	if err := guard(func() error { b.finishHTTP(h); return nil }); err != nil {
		return nil, fmt.Errorf("toolkit: Configure: %w", err)
	}
	s.Server = b.newLifecycle(h, s)
	if d != nil {
		s.mount(b, d)
	}
	return s, nil
}

// mistakes is what is wrong with single values, and with values together.
func (b *Builder) mistakes() (errs []error) {
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("toolkit: "+format, args...))
	}
	for _, v := range []struct {
		call string
		d    time.Duration
	}{
		{"ReadHeaderTimeout", b.readHeaderTimeout}, {"ReadBodyTimeout", b.readBodyTimeout},
		{"WriteTimeout", b.writeTimeout}, {"IdleTimeout", b.idleTimeout}, {"ParkAfter", b.parkAfter},
		{"MaxConnAge", b.maxConnAge},
		{"ShutdownDelay", b.shutdownDelay}, {"LastCall", b.lastCall}, {"DrainTimeout", b.drainTimeout},
		{"AbortTimeout", b.abortTimeout}, {"HookTimeout", b.hookTimeout}, {"ReadyTimeout", b.readyTimeout},
	} {
		if v.d < 0 {
			wrong("%s(%v): negative", v.call, v.d)
		}
	}
	for _, v := range []struct {
		call     string
		n, least int
	}{
		{"MaxHeaderSize", b.maxHeaderSize, 512}, {"MaxBodySize", b.maxBodySize, 1},
		{"MaxConns", b.maxConns, 0}, {"MaxConnsPerIP", b.maxConnsPerIP, 0}, {"MaxRequestsPerConn", b.maxRequestsPerConn, 0},
	} {
		if v.n < v.least {
			wrong("%s(%d): less than %d", v.call, v.n, v.least)
		}
	}
	if b.lastCall == UntilIdle && b.idleTimeout == 0 && b.drainTimeout == 0 {
		wrong("LastCall(UntilIdle) with IdleTimeout(0) and DrainTimeout(0): the drain may never end")
	}
	errs = append(errs, b.listenMistakes()...)
	for i, m := range b.middleware {
		if m == nil {
			wrong("Use: middleware %d is nil", i)
		}
	}
	for i, f := range b.configure {
		if f == nil {
			wrong("Configure: function %d is nil", i)
		}
	}
	for _, chain := range []struct {
		call  string
		hooks []hook
	}{{"OnStart", b.startHooks}, {"OnDrain", b.drainHooks}, {"PreExit", b.exitHooks}} {
		for _, h := range chain.hooks {
			switch {
			case h.run == nil:
				wrong("%s(%q): nil function", chain.call, h.name)
			case len(h.timeout) > 1:
				wrong("%s(%q): more than one timeout", chain.call, h.name)
			case len(h.timeout) == 1 && h.timeout[0] <= 0:
				wrong("%s(%q): timeout %v is not positive", chain.call, h.name, h.timeout[0])
			}
		}
	}
	return append(errs, checkMistakes(b.checks)...)
}

// listenMistakes is what is wrong with where the server is to listen.
func (b *Builder) listenMistakes() (errs []error) {
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("toolkit: "+format, args...))
	}
	seen := map[string]bool{}
	for _, addr := range b.addrs {
		host, port, err := net.SplitHostPort(addr)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		switch {
		case err != nil:
			wrong("Addr(%q): %w", addr, err)
		case port != "0" && port != "" && seen[net.JoinHostPort(host, port)]:
			wrong("Addr(%q): given twice", addr)
		}
		seen[net.JoinHostPort(host, port)] = true
	}
	for i, ln := range b.listeners {
		if ln == nil {
			wrong("Listener: listener %d is nil", i)
		}
	}
	if b.unixMode&^fs.ModePerm != 0 {
		wrong("Unix(%q, %v): more than permission bits", b.unix, b.unixMode)
	}
	hasTLS := b.files != nil || b.ownTLS
	switch {
	case len(b.addrs)+len(b.listeners) == 0 && b.unix == "":
		wrong("nowhere to listen: call Addr, Unix or Listener")
	case hasTLS && len(b.addrs) == 0:
		wrong("TLS without a TCP address: call Addr")
	}
	return errs
}

// loadTLS returns the TLS configuration, nil where there is none.
func (b *Builder) loadTLS() (*tls.Config, error) {
	switch {
	case b.files != nil && b.ownTLS:
		return nil, errors.New("toolkit: TLS and TLSConfig contradict each other: call one of them")
	case b.ownTLS && b.tlsConfig == nil:
		return nil, errors.New("toolkit: TLSConfig: nil")
	case b.ownTLS:
		config := b.tlsConfig.Clone()
		if len(config.Certificates) == 0 && config.GetCertificate == nil && config.GetConfigForClient == nil {
			return nil, errors.New("toolkit: TLSConfig: no certificate")
		}
		return config, nil
	case b.files != nil:
		cert, err := tls.LoadX509KeyPair(b.files.cert, b.files.key)
		if err != nil {
			return nil, fmt.Errorf("toolkit: TLS(%q, %q): %w", b.files.cert, b.files.key, err)
		}
		return &tls.Config{
			Certificates: []tls.Certificate{cert},
			MinVersion:   tls.VersionTLS12,
			NextProtos:   []string{"http/1.1"},
		}, nil
	}
	return nil, nil //nolint:nilnil // no TLS is no error
}

func (b *Builder) newHTTP(tlsConfig *tls.Config, s *Server) *fasthttp.Server {
	handler := s.handler
	if b.writeTimeout > 0 {
		handler = exemptStreams(handler)
	}
	return &fasthttp.Server{
		Handler:            handler,
		TLSConfig:          tlsConfig,
		ReadTimeout:        b.readHeaderTimeout,
		WriteTimeout:       b.writeTimeout,
		IdleTimeout:        b.idleTimeout,
		ReadBufferSize:     b.maxHeaderSize,
		MaxRequestBodySize: b.maxBodySize,
		Concurrency:        b.maxConns,
		MaxConnsPerIP:      b.maxConnsPerIP,
		MaxRequestsPerConn: b.maxRequestsPerConn,
		DisableKeepalive:   !b.keepAlive,
		Logger:             httpLog{&s.log},
		// What a client learns of the server is the application's to say.
		NoDefaultServerHeader: true,
	}
}

// finishHTTP has the user's hand laid on the server, and puts around what came of
// it what must not get lost.
func (b *Builder) finishHTTP(h *fasthttp.Server) {
	for _, f := range b.configure {
		f(h)
	}
	if h.ReadTimeout > 0 || b.readBodyTimeout > 0 {
		h.HeaderReceived = bodyTimeout(orForever(b.readBodyTimeout), h.HeaderReceived)
	}
	if h.IdleTimeout == 0 {
		h.IdleTimeout = orForever(0) // fasthttp would take ReadTimeout
	}
}

// orForever is d, or for 0 as good as no limit, where fasthttp takes 0 for
// something else.
func orForever(d time.Duration) time.Duration {
	if d == 0 {
		return 100 * 365 * 24 * time.Hour
	}
	return d
}

// bodyTimeout gives a request's body a time of its own, where fasthttp knows one
// for header and body together.
func bodyTimeout(d time.Duration, next func(*fasthttp.RequestHeader) fasthttp.RequestConfig) func(*fasthttp.RequestHeader) fasthttp.RequestConfig {
	return func(h *fasthttp.RequestHeader) (rc fasthttp.RequestConfig) {
		if next != nil {
			rc = next(h)
		}
		if rc.ReadTimeout == 0 && h.ContentLength() != 0 {
			rc.ReadTimeout = d
		}
		return rc
	}
}

func (b *Builder) newLifecycle(h *fasthttp.Server, s *Server) *lifecycle.Server {
	l := &lifecycle.Server{
		HTTP:          h,
		Addrs:         append([]string(nil), b.addrs...),
		UnixMode:      b.unixMode,
		Listeners:     append([]net.Listener(nil), b.listeners...),
		ParkAfter:     b.parkAfter,
		MaxConnAge:    b.maxConnAge,
		ShutdownDelay: b.shutdownDelay,
		LastCall:      zeroIsNone(b.lastCall),
		DrainTimeout:  zeroIsNone(b.drainTimeout),
		AbortTimeout:  zeroIsNone(b.abortTimeout),
		HookTimeout:   zeroIsNone(b.hookTimeout),
		OnEvent:       s.logEvent,
	}
	if b.unix != "" {
		l.Addrs = append(l.Addrs, "unix:"+b.unix)
	}
	for _, h := range b.startHooks {
		l.OnStart(h.name, h.run, h.timeout...)
	}
	for _, h := range b.drainHooks {
		l.OnDrain(h.name, h.run, h.timeout...)
	}
	for _, h := range b.exitHooks {
		l.PreExit(h.name, h.run, h.timeout...)
	}
	return l
}

// zeroIsNone translates for lifecycle, where zero values are defaults.
func zeroIsNone(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}
