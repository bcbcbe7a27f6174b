package nethttp

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// Server takes the place of an http.Server: it has the same fields and methods, with the
// same meaning, and a real http.Server serves its Handler. Two things are more: its end
// loses no request, and routes can be made native, one by one, with Native. The zero value
// works, as that of http.Server does. Fields are set before the first Serve, and not
// changed after; methods may be called from any goroutine.
//
// # Its end
//
// Shutdown is the drain of Life, with all that package lifecycle promises. The context
// that Shutdown is called with limits it: unless Life.DrainTimeout is set there is no
// other limit. What is different from http.Server:
//
//   - Serve, and what is built on it, returns http.ErrServerClosed when all is over, or
//     when a Shutdown has given up, and not when it begins. So nothing is lost either where
//     main returns with it. Code that has to run for requests to end belongs into
//     RegisterOnShutdown.
//   - An idle connection has Life.LastCall, 250 ms unless set, for a last request.
//   - Hijacked connections are awaited, and closed by Close.
//   - Where BaseContext is nil, contexts of requests end with Life's Context, which is when
//     nothing is left or Close is called.
//
// # Native routes
//
// Without any, all connections are the http.Server's from their begin. With some, a
// connection that begins with a native request is fasthttp's: see the package documentation
// for what that changes. The timeouts here hold there too: ReadTimeout, which
// ReadHeaderTimeout may shorten for the header, WriteTimeout, and IdleTimeout. A header that
// fasthttp reads may have 16 kB, or MaxHeaderBytes where that is less;
// Life.HTTP.ReadBufferSize sets it otherwise. The body of a native request is limited by
// Life.HTTP.MaxRequestBodySize, 4 MB unless set.
//
// In ConnState a connection that moves from one of the two servers to the other, be it
// before its first request, is hijacked in the one, and new in the other.
type Server struct {
	// Addr is the TCP address that ListenAndServe and ListenAndServeTLS listen on. Empty is
	// ":http" and ":https".
	Addr string

	// Handler has the requests that no native route has. Nil is http.DefaultServeMux.
	Handler http.Handler

	// DisableGeneralOptionsHandler has Handler answer "OPTIONS *", too.
	DisableGeneralOptionsHandler bool

	// TLSConfig is the configuration of ServeTLS and ListenAndServeTLS, which take a copy.
	TLSConfig *tls.Config

	// ReadTimeout is how long a request may take to be read, and ReadHeaderTimeout how
	// long its header may: zero is ReadTimeout. WriteTimeout is how long its response may
	// take to be written. IdleTimeout is how long a connection may wait for its next
	// request: zero is ReadTimeout. None, zero and negative, is no limit. The least of the
	// first three limits TLS handshakes, unless Life.TLSHandshakeTimeout does.
	ReadTimeout       time.Duration
	ReadHeaderTimeout time.Duration
	WriteTimeout      time.Duration
	IdleTimeout       time.Duration

	// MaxHeaderBytes is how large a request's header may be. Zero is
	// http.DefaultMaxHeaderBytes.
	MaxHeaderBytes int

	// TLSNextProto, not nil and without "h2", turns HTTP/2 off. What it has is not called.
	TLSNextProto map[string]func(*http.Server, *tls.Conn, http.Handler)

	// ConnState is told when a connection changes its state.
	ConnState func(net.Conn, http.ConnState)

	// ErrorLog has failures to accept, panics of handlers, and what else http.Server and
	// fasthttp complain of. Nil is the standard logger.
	ErrorLog *log.Logger

	// BaseContext returns the context that those of requests descend from, for each
	// listener.
	BaseContext func(net.Listener) context.Context

	// ConnContext changes the context of a connection that the http.Server serves, which
	// with native routes is for the first request that is for it.
	ConnContext func(ctx context.Context, c net.Conn) context.Context

	// HTTP2 and Protocols are as for an http.Server, save that HTTP/2 without TLS, for
	// clients that know it beforehand, is on where both Protocols and TLSNextProto are nil.
	HTTP2     *http.HTTP2Config
	Protocols *http.Protocols

	// Life is the server's life. What it has beside that of an http.Server may be set
	// before the first Serve: ShutdownDelay, LastCall, DrainTimeout (here zero is no
	// limit), ParkAfter, Signals, hooks, limits of connections, and a Life.HTTP without a
	// Handler for what only fasthttp has. Its methods tell more: Draining, Phase, Conns,
	// Report. The first Serve runs it.
	Life lifecycle.Server

	routes     routes
	keepAlives atomic.Int32 // less than 0: disabled

	closed       atomic.Bool // by Close
	toldShutdown sync.Once
	gaveUp       chan struct{} // closed when a Shutdown has ended before the drain has
	gaveUpOnce   sync.Once

	mu         sync.Mutex   // guards what follows
	down       bool         // Shutdown or Close has been called
	http       *http.Server // constant once it is there, as the next two
	http2      *http.Server // nil where that is off
	protos     []string     // that TLS offers
	bases      map[net.Listener]context.Context
	serving    int // Serves whose listeners are open
	onShutdown []func()
}

// Native has fasthttp serve the requests that match a pattern, which Handler gets no more.
// The pattern is one of http.ServeMux, without a host: "GET /hot/{id}", "/static/". What a
// wildcard stands for is the RequestCtx's UserValue of its name, a string. The most specific
// of several patterns wins, as in http.ServeMux, and any wins over Handler. What an
// http.ServeMux would redirect, as "/static" and "//static/", is left to Handler.
//
// A panic of h is logged, and ends its connection, as in net/http; but one in a stream
// writer or a hijack handler ends the process: see Stream and Catch in package toolkit.
//
// It panics where http.ServeMux.Handle would, and after the first Serve.
func (s *Server) Native(pattern string, h fasthttp.RequestHandler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http != nil {
		panic("nethttp: Native after Serve: " + pattern)
	}
	s.routes.add(pattern, h)
}

// ListenAndServe listens on Addr, and then is as Serve.
func (s *Server) ListenAndServe() error {
	ln, err := s.listen(":http")
	if err != nil {
		return err
	}
	return s.Serve(ln)
}

// ListenAndServeTLS listens on Addr, and then is as ServeTLS.
func (s *Server) ListenAndServeTLS(certFile, keyFile string) error {
	ln, err := s.listen(":https")
	if err != nil {
		return err
	}
	defer func() { _ = ln.Close() }() // which ServeTLS leaves open when there is no certificate
	return s.ServeTLS(ln, certFile, keyFile)
}

// listen listens on Addr, for TCP as the drain likes it best: see lifecycle.Server.Listeners.
func (s *Server) listen(defaultAddr string) (net.Listener, error) {
	s.mu.Lock()
	down := s.down
	s.mu.Unlock()
	if down {
		return nil, http.ErrServerClosed
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	return lc.Listen(context.Background(), "tcp", cmp.Or(s.Addr, defaultAddr))
}

// Serve serves the connections of l, and closes it. It may be called for several
// listeners, side by side and one after the other. It returns what Accept failed with; or,
// after Shutdown, Close or any other begin of the drain, http.ErrServerClosed, once all is
// over. Where Life did not start it returns why.
func (s *Server) Serve(l net.Listener) error { return s.serve(l, nil) }

// ServeTLS is Serve with TLS on top, by TLSConfig and, unless that brings a certificate of
// its own, by the one in the files.
func (s *Server) ServeTLS(l net.Listener, certFile, keyFile string) error {
	config := new(tls.Config)
	if s.TLSConfig != nil {
		config = s.TLSConfig.Clone()
	}
	hasCert := len(config.Certificates) > 0 || config.GetCertificate != nil || config.GetConfigForClient != nil
	if !hasCert || certFile != "" || keyFile != "" {
		cert, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return err
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return s.serve(l, config)
}

func (s *Server) serve(l net.Listener, config *tls.Config) error {
	var base context.Context
	if s.BaseContext != nil {
		if base = s.BaseContext(l); base == nil {
			panic("BaseContext returned a nil context")
		}
		if !reflect.ValueOf(l).Comparable() {
			l = &struct{ net.Listener }{l} // bases wants one that is
		}
	}
	if !s.start(base, l) {
		_ = l.Close()
		return http.ErrServerClosed
	}
	if config != nil {
		config.NextProtos = s.protos
	}
	err := s.Life.ServeListener(l, config)
	s.listenerEnded()
	if err != nil {
		return err
	}
	select {
	case <-s.Life.Reached(lifecycle.PhaseStopped):
	case <-s.gaveUp:
		return http.ErrServerClosed
	}
	if err := s.Life.Report().Err; errors.Is(err, lifecycle.ErrStart) {
		return err
	}
	return http.ErrServerClosed
}

// start begins the server's life, if it has not begun, and notes one more listener and the
// context that it is for. It reports false if it has ended.
func (s *Server) start(base context.Context, l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return false
	}
	if base != nil {
		if s.bases == nil {
			s.bases = map[net.Listener]context.Context{}
		}
		s.bases[l] = base
	}
	if s.http == nil {
		s.gaveUp = make(chan struct{})
		s.http = s.newHTTP()
		s.setUpLife()
		s.mount()
		go func() { _ = s.Life.Run(context.Background()) }() //nolint:gosec // it is no request's; Report has its error
	}
	s.serving++
	return true
}

func (s *Server) listenerEnded() {
	s.mu.Lock()
	s.serving--
	s.mu.Unlock()
	select {
	case <-s.Life.Draining():
		s.tellShutdown()
	default:
	}
}

// mount puts the http.Server beside fasthttp.
func (s *Server) mount() {
	h, ofAddrs := s.Life.HTTP, s.Life.HTTP.TLSConfig
	if h.TLSConfig = s.TLSConfig; s.TLSConfig == nil {
		h.TLSConfig = new(tls.Config)
	}
	s.http2 = Mount{HTTP: s.http, Route: s.route, Fresh: s.routes.mux == nil}.on(&s.Life).http2
	if s.http2 != nil {
		s.http2.SetKeepAlivesEnabled(s.keepAlives.Load() >= 0)
	}
	h.Handler = s.catchPanics(h.Handler)
	s.protos = h.TLSConfig.NextProtos
	if h.TLSConfig = ofAddrs.Clone(); ofAddrs != nil {
		h.TLSConfig.NextProtos = s.protos
	}
}

// newHTTP makes the http.Server that serves Handler.
func (s *Server) newHTTP() *http.Server {
	h := &http.Server{
		Addr:                         s.Addr, // for handlers, by http.ServerContextKey
		DisableGeneralOptionsHandler: true,   // route sees to it, as Mount has to see each request
		ReadTimeout:                  s.ReadTimeout,
		ReadHeaderTimeout:            s.ReadHeaderTimeout,
		WriteTimeout:                 s.WriteTimeout,
		IdleTimeout:                  s.IdleTimeout,
		MaxHeaderBytes:               s.MaxHeaderBytes,
		TLSNextProto:                 s.TLSNextProto,
		ConnState:                    s.ConnState,
		ErrorLog:                     s.ErrorLog,
		HTTP2:                        s.HTTP2,
		Protocols:                    s.Protocols,
	}
	if s.BaseContext != nil || s.ConnContext != nil {
		h.ConnContext = s.connContext
	}
	h.SetKeepAlivesEnabled(s.keepAlives.Load() >= 0)
	h.RegisterOnShutdown(s.Life.Drain) // by a handler that has it by http.ServerContextKey
	return h
}

// connContext has a connection's context descend from that of its listener.
func (s *Server) connContext(ctx context.Context, nc net.Conn) context.Context {
	if s.BaseContext != nil {
		s.mu.Lock()
		base := s.bases[adoptedOf(ctx.Value(connKey{}).(net.Conn)).Listener()]
		s.mu.Unlock()
		ctx = context.WithValue(base, http.ServerContextKey, s.http)
	}
	if s.ConnContext != nil {
		ctx = s.ConnContext(ctx, nc)
	}
	return ctx
}

// route is Mount.Route.
func (s *Server) route(method, target string) http.Handler {
	switch {
	case s.routes.find(method, target) != nil:
		return nil
	case target == "*" && method == http.MethodOptions && !s.DisableGeneralOptionsHandler:
		return http.HandlerFunc(answerOptions)
	case s.Handler == nil:
		return http.DefaultServeMux
	}
	return s.Handler
}

// answerOptions answers "OPTIONS *" as http.Server does by itself.
func answerOptions(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "0")
	if r.ContentLength != 0 {
		_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 4<<10))
	}
}

// maxNativeHeader is the largest header that fasthttp reads, as it keeps a buffer of that
// size for each connection that is not parked.
const maxNativeHeader = 16 << 10

// setUpLife makes fasthttp's side of the server.
func (s *Server) setUpLife() {
	life := &s.Life
	if life.HTTP == nil {
		life.HTTP = new(fasthttp.Server)
	}
	h := life.HTTP
	h.Handler = s.serveNative
	h.Logger = s.logger()
	h.NoDefaultServerHeader = h.Name == ""
	if h.ReadBufferSize == 0 {
		h.ReadBufferSize = min(cmp.Or(max(0, s.MaxHeaderBytes), http.DefaultMaxHeaderBytes), maxNativeHeader)
	}
	s.setTimeouts(h)
	life.TLSHandshakeTimeout = cmp.Or(life.TLSHandshakeTimeout, handshakeTimeout(s.http))
	if s.ConnState != nil && s.routes.mux != nil { // else fasthttp serves none
		h.ConnState = func(nc net.Conn, st fasthttp.ConnState) { s.ConnState(nc, http.ConnState(st)) }
	}
	if life.Listeners == nil {
		life.Listeners = []net.Listener{}
	}
	if life.DrainTimeout == 0 {
		life.DrainTimeout = -1
	}
	life.OnDrain("RegisterOnShutdown", func(context.Context) error {
		s.tellShutdown()
		return nil
	})
	onEvent := life.OnEvent
	life.OnEvent = func(e lifecycle.Event) {
		s.log(e)
		if onEvent != nil {
			onEvent(e)
		}
	}
}

// setTimeouts gives fasthttp the timeouts. It has one for a request as a whole, which may
// be set anew once the header is there.
func (s *Server) setTimeouts(h *fasthttp.Server) {
	header := max(0, cmp.Or(s.ReadHeaderTimeout, s.ReadTimeout))
	h.ReadTimeout = header
	h.WriteTimeout = max(0, s.WriteTimeout)
	if h.IdleTimeout = max(0, cmp.Or(s.IdleTimeout, s.ReadTimeout)); h.IdleTimeout == 0 && header > 0 {
		h.IdleTimeout = forever // else it would be header
	}
	body := max(0, s.ReadTimeout)
	if header == body {
		return
	}
	if body == 0 {
		body = forever
	}
	received := h.HeaderReceived
	h.HeaderReceived = func(header *fasthttp.RequestHeader) (rc fasthttp.RequestConfig) {
		if received != nil {
			rc = received(header)
		}
		if rc.ReadTimeout == 0 && header.ContentLength() != 0 {
			rc.ReadTimeout = body
		}
		return rc
	}
}

// serveNative is the handler of all native requests.
func (s *Server) serveNative(ctx *fasthttp.RequestCtx) {
	target := text(ctx.RequestURI())
	rt := s.routes.find(text(ctx.Method()), target)
	rt.values(ctx, target)
	rt.handler(ctx)
	if s.keepAlives.Load() < 0 {
		ctx.SetConnectionClose()
	}
}

// catchPanics has fasthttp do what http.Server does when a handler panics: it logs it, and
// closes the connection without a word.
func (s *Server) catchPanics(h fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
				stack := make([]byte, 64<<10)
				s.logger().Printf("http: panic serving %v: %v\n%s", ctx.RemoteAddr(), v, stack[:runtime.Stack(stack, false)])
			}
			ctx.Response.Reset()
			ctx.HijackSetNoResponse(true)
			ctx.Hijack(func(nc net.Conn) { _ = nc.Close() }) // earlier answers are sent before
		}()
		h(ctx)
	}
}

// log tells ErrorLog of what http.Server would have told it.
func (s *Server) log(e lifecycle.Event) {
	switch e.Kind {
	case lifecycle.EventAcceptRetry:
		s.logger().Printf("http: Accept error: %v; retrying in %v", e.Err, e.Duration)
	case lifecycle.EventPanic:
		if p, ok := errors.AsType[*lifecycle.PanicError](e.Err); ok {
			s.logger().Printf("http: panic in %s: %v\n%s", e.Name, p.Value, p.Stack)
		}
	default:
	}
}

func (s *Server) logger() *log.Logger {
	if s.ErrorLog != nil {
		return s.ErrorLog
	}
	return log.Default()
}

// Shutdown begins the drain, and waits until it is over, exit hooks of Life included: then
// it returns what Life.Run has, but nil where it was Close that ended it. If ctx ends first it returns ctx's error, and the
// drain goes on; Close ends it.
func (s *Server) Shutdown(ctx context.Context) error {
	started := s.goDown()
	s.Life.Drain()
	s.tellShutdown()
	if !started {
		return nil
	}
	over := s.Life.Reached(lifecycle.PhaseStopped)
	select {
	case <-over:
	case <-ctx.Done():
		select {
		case <-over: // both: the result says more
		default:
			s.gaveUpOnce.Do(func() { close(s.gaveUp) })
			return ctx.Err()
		}
	}
	err := s.Life.Report().Err
	if errors.Is(err, lifecycle.ErrForced) && s.closed.Load() {
		return nil // as by http.Server: that is what Close is for
	}
	return err
}

// goDown keeps listeners from being served, and reports whether one has been.
func (s *Server) goDown() (started bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = true
	return s.http != nil
}

// RegisterOnShutdown has f called, in a goroutine of its own, when the drain has closed the
// listeners, after Life.ShutdownDelay: to tell connections that go on by themselves, of
// which no new ones come then. f need not wait for them. Life.OnDrain registers what is
// called at the drain's begin, and waited for.
func (s *Server) RegisterOnShutdown(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onShutdown = append(s.onShutdown, f)
}

// tellShutdown is called in a drain, and once more when a listener has ended there: with
// the last one, it does what it is for.
func (s *Server) tellShutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving > 0 {
		return
	}
	s.toldShutdown.Do(func() {
		for _, f := range s.onShutdown {
			go f()
		}
	})
}

// Close ends everything at once: listeners and connections are closed, hijacked ones too.
// It always returns nil.
func (s *Server) Close() error {
	s.closed.Store(true)
	s.toldShutdown.Do(func() {}) // that is for Shutdown
	started := s.goDown()
	_ = s.Life.Close()
	if started {
		<-s.Life.Reached(lifecycle.PhaseExiting)
	}
	return nil
}

// SetKeepAlivesEnabled says whether connections are kept for further requests, which is the
// default. When they are not any more, those that are idle in the http.Server are closed at
// once, as by itself; those idle in fasthttp, and those of HTTP/2, with their next
// response.
func (s *Server) SetKeepAlivesEnabled(v bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keepAlives.Store(1)
	if !v {
		s.keepAlives.Store(-1)
	}
	if s.http != nil {
		s.http.SetKeepAlivesEnabled(v)
	}
	if s.http2 != nil {
		s.http2.SetKeepAlivesEnabled(v)
	}
}
