package toolkit

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit/nethttp"
)

// Build checks what was recorded and makes a server of it; what is called on the
// Builder later does not change that server. All mistakes come back together,
// each naming the call that made it. What is only dangerous is in the server's
// Warnings.
func (b *Builder) Build() (*Server, error) {
	b = b.extended()
	errs := append(b.mistakes(), b.early...)
	tlsConfig, err := b.loadTLS()
	errs = append(errs, err)
	s := &Server{log: b.logger, console: b.console}
	routes := append(s.healthRoutes(b), b.routes...)
	proxies, proxiesErr := b.proxies()
	handler, err := s.route(b, routes, proxies)
	errs = append(errs, err, proxiesErr)
	preface, err := b.preface()
	errs = append(errs, err)
	d, netErrs := s.dispatch(b, routes, proxies)
	if err := errors.Join(append(errs, netErrs...)...); err != nil {
		return nil, err
	}
	s.handler = handler
	h := b.newHTTP(tlsConfig, s)
	own := h.Handler
	if err := guard(func() error { b.callConfigure(h); return nil }); err != nil {
		return nil, fmt.Errorf("toolkit: Configure: %w", err)
	}
	if h.Handler == nil {
		return nil, errors.New("toolkit: Configure: Handler is nil")
	}
	replaced := !sameHandler(h.Handler, own)
	b.finishHTTP(h, s, newBodyLimits(routes))
	s.Server = b.newLifecycle(h, s)
	s.Preface = preface
	s.warnings = b.warnings(h, s.Server, replaced)
	s.settings = b.settings(h, s.Server)
	if d != nil {
		s.mount(b, d)
	}
	if err := b.tell(s); err != nil {
		return nil, err
	}
	return s, nil
}

// mistakes is what is wrong with single values, and with values together.
func (b *Builder) mistakes() mistakes {
	return slices.Concat(b.valueMistakes(), b.drainMistakes(), b.listenMistakes(), b.nilMistakes(), b.hookMistakes(), checkMistakes(b.checks))
}

type mistakes []error

func (m *mistakes) add(format string, args ...any) {
	*m = append(*m, fmt.Errorf("toolkit: "+format, args...))
}

// valueMistakes is what is wrong with times, numbers and rates.
func (b *Builder) valueMistakes() (errs mistakes) {
	for _, v := range []struct {
		call string
		d    time.Duration
	}{
		{"ReadHeaderTimeout", b.readHeaderTimeout}, {"ReadBodyTimeout", b.readBodyTimeout},
		{"TLSHandshakeTimeout", b.handshakeTimeout},
		{"WriteTimeout", b.writeTimeout}, {"IdleTimeout", b.idleTimeout}, {"ParkAfter", b.parkAfter},
		{"MaxConnAge", b.maxConnAge},
		{"ShutdownDelay", b.shutdownDelay}, {"LastCall", b.lastCall}, {"DrainTimeout", b.drainTimeout},
		{"AbortTimeout", b.abortTimeout}, {"HookTimeout", b.hookTimeout}, {"ReadyTimeout", b.readyTimeout},
		{"TerminationGracePeriod", b.gracePeriod},
	} {
		if v.d < 0 {
			errs.add("%s(%v): negative", v.call, v.d)
		}
	}
	for _, v := range []struct {
		call string
		lifecycle.Rate
	}{{"MinReadRate", b.minReadRate}, {"MinWriteRate", b.minWriteRate}} {
		if v.Bytes < 0 || v.Per < 0 || (v.Bytes == 0) != (v.Per == 0) {
			errs.add("%s(%d, %v): not a rate", v.call, v.Bytes, v.Per)
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
			errs.add("%s(%d): less than %d", v.call, v.n, v.least)
		}
	}
	if b.maxInFlight < 0 || b.maxWait < 0 {
		errs.add("MaxInFlight(%d, %v): negative", b.maxInFlight, b.maxWait)
	}
	if b.maxHeaderSize > maxHeaderSize {
		errs.add("MaxHeaderSize(%d): more than %d, and each connection has a buffer of that size", b.maxHeaderSize, maxHeaderSize)
	}
	return errs
}

// drainMistakes is what is wrong with the times of the drain, taken together.
func (b *Builder) drainMistakes() (errs mistakes) {
	if b.gracePeriod > 0 && b.graceLeft() <= 0 {
		call := fmt.Sprintf("ShutdownDelay(%v)", b.shutdownDelay)
		if b.abortSet {
			call += fmt.Sprintf(" and AbortTimeout(%v)", b.abortTimeout)
		}
		errs.add("TerminationGracePeriod(%v): no time to drain beside %s", b.gracePeriod, call)
	}
	if drain, _, _ := b.ends(); b.lastCall == UntilIdle && b.idleTimeout == 0 && drain == 0 {
		errs.add("LastCall(UntilIdle) with IdleTimeout(0) and DrainTimeout(0): the drain may never end")
	}
	return errs
}

// nilMistakes is what is missing in lists of functions.
func (b *Builder) nilMistakes() (errs mistakes) {
	for i, m := range b.middleware {
		if m == nil {
			errs.add("Use: middleware %d is nil", i)
		}
	}
	for i, o := range b.observers {
		if o.Native == nil || o.Net == nil {
			errs.add("Observe: observer %d lacks a function", i)
		}
	}
	for i, f := range b.configure {
		if f == nil {
			errs.add("Configure: function %d is nil", i)
		}
	}
	return errs
}

func (b *Builder) hookMistakes() (errs mistakes) {
	for _, chain := range []struct {
		call  string
		hooks []hook
	}{{"OnStart", b.startHooks}, {"OnDrain", b.drainHooks}, {"PreExit", b.exitHooks}} {
		for _, h := range chain.hooks {
			switch {
			case h.run == nil:
				errs.add("%s(%q): nil function", chain.call, h.name)
			case len(h.timeout) > 1:
				errs.add("%s(%q): more than one timeout", chain.call, h.name)
			case len(h.timeout) == 1 && h.timeout[0] <= 0:
				errs.add("%s(%q): timeout %v is not positive", chain.call, h.name, h.timeout[0])
			}
		}
	}
	return errs
}

// listenMistakes is what is wrong with where the server is to listen.
func (b *Builder) listenMistakes() (errs mistakes) {
	seen := map[string]bool{}
	for _, addr := range b.addrs {
		host, port, err := net.SplitHostPort(addr)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		switch {
		case strings.ContainsFunc(addr, unicode.IsControl): // net's errors quote nothing
			errs.add("Addr(%q): a control character", addr)
		case err != nil:
			errs.add("Addr(%q): %w", addr, err)
		case port != "0" && port != "" && seen[net.JoinHostPort(host, port)]:
			errs.add("Addr(%q): given twice", addr)
		}
		seen[net.JoinHostPort(host, port)] = true
	}
	for i, ln := range b.listeners {
		if v := reflect.ValueOf(ln); ln == nil || v.Kind() == reflect.Pointer && v.IsNil() {
			errs.add("Listener: listener %d is nil", i)
		}
	}
	if b.unixMode&^fs.ModePerm != 0 {
		errs.add("Unix(%q, %v): more than permission bits", b.unix, b.unixMode)
	}
	hasTLS := b.files != nil || b.ownTLS
	switch {
	case len(b.addrs)+len(b.listeners) == 0 && b.unix == "":
		errs.add("nowhere to listen: call Addr, Unix or Listener")
	case hasTLS && len(b.addrs) == 0:
		errs.add("TLS without a TCP address: call Addr")
	case b.proxied && len(b.addrs)+len(b.listeners) == 0:
		errs.add("ProxyProtocol without a TCP address: call Addr or Listener")
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
		if slices.Contains(config.NextProtos, "h2") && !b.speaksHTTP2() {
			return nil, errors.New("toolkit: TLSConfig: NextProtos offers h2, which is spoken with NetHTTP only, and not after HTTP2(false): clients that choose it would get no answer")
		}
		return config, nil
	case b.files != nil:
		cert, err := tls.LoadX509KeyPair(b.files.cert, b.files.key)
		if err != nil {
			return nil, fmt.Errorf("toolkit: TLS(%q, %q): %w", b.files.cert, b.files.key, err)
		}
		config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
		if !b.speaksHTTP2() { // else nethttp offers what there is, in its order
			config.NextProtos = []string{"http/1.1"}
		}
		return config, nil
	}
	return nil, nil //nolint:nilnil // no TLS is no error
}

func (b *Builder) newHTTP(tlsConfig *tls.Config, s *Server) *fasthttp.Server {
	handler := s.handler
	if b.writeTimeout > 0 {
		handler = exemptStreams(handler)
	}
	h := &fasthttp.Server{
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
		StreamRequestBody:  b.streamRequestBody,
		Logger:             httpLog{&s.log},
		// What a client learns of the server is the application's to say.
		NoDefaultServerHeader: true,
	}
	if len(b.netHTTP) > 0 {
		h.ErrorHandler = nethttp.AnswerError // as the other server on the same port
	}
	return h
}

func (b *Builder) callConfigure(h *fasthttp.Server) {
	for _, f := range b.configure {
		f(h)
	}
}

// finishHTTP puts around what Configure has made of the server what must not get
// lost.
func (b *Builder) finishHTTP(h *fasthttp.Server, s *Server, limits *bodyLimits) {
	if b.accessLog {
		h.ErrorHandler = s.logUnread(h.ErrorHandler)
	}
	switch {
	case h.StreamRequestBody:
		limitStreams(h, limits)
	case limits != nil:
		h.HeaderReceived = limits.received(h.HeaderReceived)
	}
	if h.ReadTimeout > 0 || b.readBodyTimeout > 0 {
		h.HeaderReceived = s.bodyTimeout(orForever(b.readBodyTimeout), h.HeaderReceived)
	}
	if h.IdleTimeout == 0 {
		h.IdleTimeout = orForever(0) // fasthttp would take ReadTimeout
	}
}

// forever is as good as no limit.
const forever = 100 * 365 * 24 * time.Hour

// orForever is d, or for 0 as good as no limit, where fasthttp takes 0 for
// something else.
func orForever(d time.Duration) time.Duration {
	if d == 0 {
		return forever
	}
	return d
}

// bodyTimeout gives a request's body a time of its own, where fasthttp knows one
// for header and body together.
func (s *Server) bodyTimeout(d time.Duration, next func(*fasthttp.RequestHeader) fasthttp.RequestConfig) func(*fasthttp.RequestHeader) fasthttp.RequestConfig {
	return func(h *fasthttp.RequestHeader) (rc fasthttp.RequestConfig) {
		if next != nil {
			// Caught here, so that the timeout holds all the same.
			if err := guard(func() error { rc = next(h); return nil }); err != nil {
				s.logEvent(lifecycle.Event{Kind: lifecycle.EventPanic, Name: "HeaderReceived", Err: err})
			}
		}
		// A request without a body needs no further deadline. Its length is -2, that of a
		// chunked body -1.
		if n := h.ContentLength(); rc.ReadTimeout == 0 && (n > 0 || n == -1) {
			rc.ReadTimeout = d
		}
		return rc
	}
}

func (b *Builder) newLifecycle(h *fasthttp.Server, s *Server) *lifecycle.Server {
	drain, abort, hook := b.ends()
	l := &lifecycle.Server{
		HTTP:          h,
		Addrs:         append([]string(nil), b.addrs...),
		UnixMode:      b.unixMode,
		Listeners:     append([]net.Listener(nil), b.listeners...),
		ParkAfter:     b.parkAfter,
		MaxConnAge:    b.maxConnAge,
		MinReadRate:   b.minReadRate,
		MinWriteRate:  b.minWriteRate,
		ShutdownDelay: b.shutdownDelay,
		LastCall:      zeroIsNone(b.lastCall),
		DrainTimeout:  zeroIsNone(drain),
		AbortTimeout:  zeroIsNone(abort),
		HookTimeout:   zeroIsNone(b.hookTimeout),
		OnEvent:       s.logEvent,

		TLSHandshakeTimeout: b.handshakeTimeout,
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
		timeout := h.timeout
		if len(timeout) == 0 && hook != b.hookTimeout {
			timeout = []time.Duration{hook}
		}
		l.PreExit(h.name, h.run, timeout...)
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
