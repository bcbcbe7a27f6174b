// Package nethttp serves net/http handlers, faithfully, under the life of a
// lifecycle.Server: by a real http.Server behind the same listeners. Server takes the
// place of an http.Server in a program that has one; Mount is what it is built on.
//
// A request is for one of two servers, which the route says. A connection begins in the
// one that its first request is for. fasthttp reads the header of a later one for
// net/http, and leaves its body alone; its connection is then taken out of fasthttp's
// hands and given to the http.Server, together with the bytes that fasthttp has read, and
// stays there. Requests for native handlers are answered there too, with
// a RequestCtx made of the http.Request; after eight of them in a row the connection
// goes back. A connection whose requests are all of one kind is handed over once, or
// never.
//
// The http.Server's connections are in the lifecycle.Server's table, and its drain holds
// for them, line by line: the http.Server's own Shutdown is not used. They are parked as
// others are. A context of a request ends with the drain's deadline, too: what a handler
// that returns then has begun before, and without a Content-Length, is cut, so that nobody
// takes it for the whole.
//
// # HTTP/2
//
// It is spoken over TLS, by ALPN, and without TLS by clients that know it beforehand
// (RFC 9113, section 3.3), unless Mount.HTTP says otherwise: for handlers of both kinds.
// net/http's own server speaks it. Each stream is a request, with its own limits and its
// own end: what fails, times out or panics there ends the stream, and the others go on.
// The table has one entry a connection: active while a stream is open or its handler
// runs, with the route of the oldest one. The connections are not parked.
//
// The lifecycle.Server's rates do not look into streams: a handler may wait for long for
// what its client has to say, with others under way beside it. MinReadRate does not hold
// for bodies, nor MinWriteRate for a client that opens no window: these are
// ReadBodyTimeout's and WriteTimeout's, without which such a client is waited for, as in
// net/http.
//
// The drain holds for them so: where a response of HTTP/1 says Connection: close, the
// client is sent a GOAWAY that asks it to open no more streams, all at the drain's
// begin, and those that connect after that with their first response. Streams that are
// on their way, or run, are served. A PING tells when the client knows. After its last
// call, and then, an idle connection gets the GOAWAY that says which stream was the
// last (RFC 9113, section 6.8; net/http's own server sends that one only, at once, and
// closes a second later), a FIN and an end in good order. MaxConnAge and
// HTTP.MaxRequestsPerConn end connections in the same way, with their next response, or a
// second after the last one.
//
// A connection beyond HTTP.Concurrency or HTTP.MaxConnsPerIP is refused with its first byte:
// over TLS by a GOAWAY, and without, as that byte does not tell what it speaks, by HTTP/1's
// 503 or 429.
//
// # What differs
//
// Handlers see what they see in net/http, with these differences: a request on a connection
// that has asked for nothing but native routes so far has to please fasthttp too, which
// refuses some that net/http reads (make conformance lists them; the words are
// net/http's: see AnswerError); the http.ResponseWriter is a Response; a connection that
// is hijacked is not the *net.TCPConn or *tls.Conn itself, which NetConn returns; and
// between a *tls.Conn, which hooks get as it is, and its socket is one more net.Conn.
//
// What a native handler sees of a request that came by the http.Server differs from what
// fasthttp would have shown it: header fields are in no order, their names in canonical
// form; RequestCtx.Done does not end (lifecycle.Server's Context and ClientContext do);
// ConnID and ConnRequestNum count nothing. A handler that hijacks a request other than
// an Upgrade or a CONNECT, which go back to fasthttp at once, is answered with a 500.
// By HTTP/2 no connection can be hijacked, which is a 501 for a native handler that tries,
// RequestCtx.Conn has the stream's deadlines, and fields that are the connection's, such
// as Connection: close, are left out of responses. No memory is shared with other
// requests.
package nethttp

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"sync"
	"time"
	"unsafe"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// Mount is an http.Server that is to be put beside a fasthttp.Server.
type Mount struct {
	// HTTP is the http.Server. Its timeouts, MaxHeaderBytes, ErrorLog and hooks hold
	// for the connections that it serves; their time begins when it gets them. Its
	// Handler is not called: Route's is. It is not to be started, and not to be used
	// for anything else. Where BaseContext is nil, contexts of requests end with the
	// drain's deadline.
	//
	// Protocols says what is spoken; nil, where TLSNextProto is nil too, is HTTP/1 and
	// HTTP/2, with and without TLS, and where that is not nil, HTTP/1 alone. NextProtos
	// of the lifecycle.Server's TLSConfig, of which a copy is made, become what net/http
	// makes of them. HTTP2 holds, and that of another HTTP/2 server in TLSNextProto does
	// not. Required.
	HTTP *http.Server

	// Route returns the handler of a request by its method and its target, as the
	// client has sent them, and nil for a native one. It is called for every request,
	// must always say the same, and must not keep the strings. Required.
	Route func(method, target string) http.Handler

	// Fresh says that new connections are given to HTTP at once, as most requests are
	// for it.
	Fresh bool

	// ReadBodyTimeout is how long a client may take for a request's body, and
	// WriteTimeout how long for each write of a response, unless the handler sets
	// deadlines itself; a file that is sent as one is exempt. Zero is no limit, or
	// HTTP's.
	ReadBodyTimeout, WriteTimeout time.Duration
}

// nativesInARow is how many native requests are answered in the http.Server before
// their connection goes back to fasthttp. A hand-over costs about as much as ten of
// them: a proxy that mixes requests on its connections must not have them go to and fro.
const nativesInARow = 8

// server is a Mount in its place.
type server struct {
	Mount
	life   *lifecycle.Server
	ctx    context.Context // of life
	native fasthttp.RequestHandler
	header func(*fasthttp.RequestHeader) fasthttp.RequestConfig // life.HTTP's, or nil

	http2          *http.Server // for HTTP/2; nil where that is off
	overTLS, clear bool         // HTTP/2 is on, with TLS and without

	start   sync.Once
	conns   chan net.Conn
	streams chan net.Conn   // as well, for HTTP/2
	over    <-chan struct{} // closed when no more connections come

	mu   sync.Mutex // guards kept
	kept map[*streams]struct{}
}

// On puts m beside the fasthttp.Server of life, whose Handler is for the native
// requests from now on. It is called before Run, and after all else has been set.
func (m Mount) On(life *lifecycle.Server) { m.on(life) }

func (m Mount) on(life *lifecycle.Server) *server {
	s := &server{
		Mount: m, life: life, ctx: life.Context(), native: life.HTTP.Handler, header: life.HTTP.HeaderReceived,
		conns: make(chan net.Conn), streams: make(chan net.Conn), over: life.Reached(lifecycle.PhaseExiting),
		kept: make(map[*streams]struct{}),
	}
	life.HTTP.Handler = s.handle
	life.HTTP.HeaderReceived = s.headerReceived
	if life.HTTP.ErrorHandler == nil {
		life.HTTP.ErrorHandler = AnswerError
	}
	s.startHTTP2()
	life.Divert = s.takeNew
	if !m.Fresh {
		life.DivertIf = s.isForHTTP
	}
	s.observe()
	return s
}

// observe puts the server between the http.Server and the user's settings.
func (s *server) observe() {
	h := s.HTTP
	h.Handler = s
	if h.BaseContext == nil {
		h.BaseContext = func(net.Listener) context.Context { return s.ctx }
	}
	if s.http2 != nil {
		s.http2.BaseContext = h.BaseContext
	}
	connState := h.ConnState
	h.ConnContext = connContext(h.ConnContext)
	h.ConnState = func(nc net.Conn, st http.ConnState) {
		c := connOf(nc)
		c.setState(st)
		if connState != nil && !c.gone { // else the http.Server for HTTP/2 goes on
			connState(asAccepted(nc), st)
		}
	}
}

// isForHTTP says by a connection's first line whether the http.Server is to get it. It is
// where all that names no native route is refused, in its own words.
func (s *server) isForHTTP(begin []byte) bool {
	method, rest, isLine := bytes.Cut(bytes.TrimLeft(begin, "\r\n"), []byte(" "))
	target, _, _ := bytes.Cut(rest, []byte(" "))
	return !isLine || !s.HTTP.Protocols.HTTP1() || s.http2 != nil && bytes.HasPrefix(begin, []byte(prefaceHead)) || s.Route(text(method), text(target)) != nil
}

// connContext puts a connection in its requests' contexts, with what the user's hook, if
// any, puts there. That may drop what was there.
func connContext(user func(context.Context, net.Conn) context.Context) func(context.Context, net.Conn) context.Context {
	return func(ctx context.Context, nc net.Conn) context.Context {
		with := context.WithValue(ctx, connKey{}, nc)
		if user == nil {
			return with
		}
		return context.WithValue(user(with, asAccepted(nc)), connKey{}, nc)
	}
}

// asAccepted is a connection of one of the http.Servers as hooks get to see it: as their
// user's listener has made it, or with TLS, which they may ask for more than a net.Conn.
func asAccepted(nc net.Conn) net.Conn { return nc.(interface{ NetConn() net.Conn }).NetConn() }

// connKey is where a request's context has its connection.
type connKey struct{}

// forNetHTTP stands in a request header's protocol, before what was there, once the
// request is known to be for net/http. No client can put it there: fasthttp takes
// nothing but HTTP/d.d.
const forNetHTTP = "net/http "

// headerReceived is called by fasthttp between a request's header and its body.
func (s *server) headerReceived(h *fasthttp.RequestHeader) (rc fasthttp.RequestConfig) {
	defer s.claim(h) // whatever becomes of the user's hook
	if s.header != nil {
		rc = s.header(h)
	}
	return rc
}

// claim hides the body of a request for net/http from fasthttp, and tells handle.
func (s *server) claim(h *fasthttp.RequestHeader) {
	if s.Route(text(h.Method()), text(h.RequestURI())) == nil {
		return
	}
	h.SetContentLength(0)                            // Transfer-Encoding too
	h.SetProtocol(forNetHTTP + string(h.Protocol())) // nor does fasthttp answer an Expect then
}

// text is b, for who does not keep it.
func text(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // see above
}

// handle is the handler that fasthttp calls.
func (s *server) handle(ctx *fasthttp.RequestCtx) {
	h := &ctx.Request.Header
	if p := h.Protocol(); len(p) <= len(forNetHTTP) || text(p[:len(forNetHTTP)]) != forNetHTTP {
		s.native(ctx)
		return
	}
	header := headerOf(h)
	if !s.life.HandOver(ctx, func(a *lifecycle.Adopted, unread []byte) { s.take(a, append(header, unread...)) }) {
		ctx.Error("net/http handlers need a connection of lifecycle.Server", fasthttp.StatusNotImplemented)
		ctx.SetConnectionClose() // its body has not been read
	}
}

// headerOf returns a header as its client has sent it. fasthttp accepts request lines
// in one form only, and keeps the fields as they are.
func headerOf(h *fasthttp.RequestHeader) []byte {
	fields := h.RawHeaders()
	b := make([]byte, 0, len(h.Method())+len(h.RequestURI())+len(h.Protocol())+len(fields)+8)
	b = append(b, h.Method()...)
	b = append(b, ' ')
	b = append(b, h.RequestURI()...)
	b = append(b, ' ')
	b = append(b, h.Protocol()[len(forNetHTTP):]...)
	b = append(b, "\r\n"...)
	if len(fields) == 0 {
		return append(b, "\r\n"...)
	}
	return append(b, fields...)
}

// overdue reports whether the drain's deadline is over.
func (s *server) overdue() bool { return s.ctx.Err() != nil }

// take gives a connection to the http.Server. What has been read of it begins with the
// request that it was taken for, if any.
func (s *server) take(a *lifecycle.Adopted, read []byte) {
	s.startServers()
	select {
	case s.conns <- s.newConn(a, read):
	case <-s.over:
		_ = a.Close()
	}
}

// startServers starts what serves the connections.
func (s *server) startServers() {
	s.start.Do(func() {
		go func() { _ = s.HTTP.Serve(listener{s, s.conns}) }()
		if s.http2 != nil {
			go func() { _ = s.http2.Serve(listener{s, s.streams}) }()
			go s.askAllToLeave()
		}
	})
}

// listener is what an http.Server accepts connections from.
type listener struct {
	*server
	conns chan net.Conn
}

func (l listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.over:
		return nil, net.ErrClosed
	}
}

func (listener) Close() error { return nil }

func (l listener) Addr() net.Addr {
	if addrs := l.life.ListenAddrs(); len(addrs) > 0 {
		return addrs[0]
	}
	return nil
}

// ServeHTTP is called by the http.Server.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := connOf(r.Context().Value(connKey{}))
	if !c.adopted.Enter(r.Method, r.URL.Path) {
		panic(http.ErrAbortHandler) // closes the connection, and says nothing
	}
	if s.ReadBodyTimeout > 0 && r.Body != http.NoBody {
		_ = c.SetReadDeadline(time.Now().Add(s.ReadBodyTimeout))
	}
	h := s.Route(r.Method, r.RequestURI)
	if h == nil {
		s.serveNative(w, r, c)
		return
	}
	c.natives = 0
	resp := &Response{ResponseWriter: w, conn: c}
	resp.serve(h, resp, r)
	c.adopted.Leave()
}
