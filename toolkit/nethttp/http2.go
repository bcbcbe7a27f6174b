package nethttp

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// startHTTP2 puts HTTP/2 beside HTTP/1, unless the settings say otherwise. It is served
// by an http.Server of its own, which never sees TLS: to it all connections are ones of
// which the client knows beforehand that they speak HTTP/2. So it can be given streams
// in the place of a *tls.Conn; and the other one reads as it does where there is no
// HTTP/2.
func (s *server) startHTTP2() {
	protocols := protocolsOf(s.HTTP)
	http1 := new(http.Protocols)
	http1.SetHTTP1(protocols.HTTP1())
	s.HTTP.Protocols = http1
	s.HTTP.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}

	config := s.life.HTTP.TLSConfig
	if protocols.HTTP2() || protocols.UnencryptedHTTP2() {
		if s.http2 = s.newHTTP2(); s.http2 == nil {
			protocols = *http1
			s.logf("nethttp: HTTP/2 is off: this net/http does not set it up, as with GODEBUG=http2server=0")
		}
	}
	s.overTLS, s.clear = protocols.HTTP2() && mayOffer(config), protocols.UnencryptedHTTP2()
	protocols.SetHTTP2(s.overTLS)
	s.life.HTTP.TLSConfig = nil
	if s.overTLS {
		s.life.HTTP.NextProto("h2", s.serveNegotiated) // which makes a config, for what it offers
	}
	if s.life.HTTP.TLSConfig = config.Clone(); config != nil {
		s.life.HTTP.TLSConfig.NextProtos = nextProtos(config.NextProtos, protocols)
	}
}

func (s *server) logf(format string, args ...any) {
	logger := s.HTTP.ErrorLog
	if logger == nil {
		logger = log.Default()
	}
	logger.Printf(format, args...)
}

// protocolsOf is what an http.Server is to speak: as net/http reads its fields, save that
// HTTP/2 without TLS is on by default.
func protocolsOf(h *http.Server) (p http.Protocols) {
	if h.Protocols != nil {
		return *h.Protocols
	}
	p.SetHTTP1(true)
	if _, given := h.TLSNextProto["h2"]; given || h.TLSNextProto == nil {
		p.SetHTTP2(true)
		p.SetUnencryptedHTTP2(true)
	}
	return p
}

// newHTTP2 returns the http.Server for HTTP/2, nil where GODEBUG or a later Go has none.
func (s *server) newHTTP2() *http.Server {
	h := s.HTTP
	var config http.HTTP2Config
	if h.HTTP2 != nil {
		config = *h.HTTP2
	}
	config.WriteByteTimeout = cmp.Or(config.WriteByteTimeout, s.WriteTimeout)
	h2 := &http.Server{
		Handler:                      http.HandlerFunc(s.serveStream),
		ReadTimeout:                  h.ReadTimeout,
		ReadHeaderTimeout:            h.ReadHeaderTimeout,
		WriteTimeout:                 h.WriteTimeout,
		IdleTimeout:                  h.IdleTimeout,
		MaxHeaderBytes:               h.MaxHeaderBytes,
		ErrorLog:                     h.ErrorLog,
		ConnContext:                  connContext(h.ConnContext),
		DisableGeneralOptionsHandler: h.DisableGeneralOptionsHandler,
		HTTP2:                        &config,
		Protocols:                    new(http.Protocols),
	}
	h2.Protocols.SetUnencryptedHTTP2(true)
	if connState := h.ConnState; connState != nil {
		h2.ConnState = func(nc net.Conn, st http.ConnState) {
			if st != http.StateNew || !nc.(*streams).known {
				connState(asAccepted(nc), st)
			}
		}
	}
	if err := h2.Serve(nobody{}); !errors.Is(err, net.ErrClosed) || len(h2.TLSNextProto) == 0 {
		return nil
	}
	return h2
}

// nobody is a listener to which nobody connects: a Serve of it sets an http.Server up.
type nobody struct{}

func (nobody) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (nobody) Close() error              { return nil }
func (nobody) Addr() net.Addr            { return nil }

// mayOffer reports whether HTTP/2 may be negotiated: a config that names cipher suites
// must have one that HTTP/2 requires (RFC 9113, section 9.2.2). net/http says so by an
// error.
func mayOffer(config *tls.Config) bool {
	return config == nil || config.CipherSuites == nil || config.MinVersion >= tls.VersionTLS13 ||
		slices.Contains(config.CipherSuites, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) ||
		slices.Contains(config.CipherSuites, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
}

// nextProtos is what is offered in a TLS handshake, as net/http makes it: what was
// given, in its order, which is that of preference, without what is off and with what
// is on.
func nextProtos(given []string, p http.Protocols) []string {
	protos := slices.Clone(given)
	for _, one := range []struct {
		name string
		on   bool
	}{{"h2", p.HTTP2()}, {"http/1.1", p.HTTP1()}} {
		switch {
		case !one.on:
			protos = slices.DeleteFunc(protos, func(name string) bool { return name == one.name })
		case !slices.Contains(protos, one.name):
			protos = append(protos, one.name)
		}
	}
	return protos
}

// fitFor reports whether a TLS connection may carry HTTP/2: RFC 9113, section 9.2. Of
// the suites of TLS 1.2 that Go has, appendix A prohibits all but these.
func (s *server) fitFor(state *tls.ConnectionState) bool {
	suite := tls.CipherSuiteName(state.CipherSuite)
	switch {
	case state.Version < tls.VersionTLS12:
		return false
	case state.Version > tls.VersionTLS12, s.http2.HTTP2.PermitProhibitedCipherSuites:
		return true
	}
	return strings.Contains(suite, "_ECDHE_") && (strings.Contains(suite, "_GCM_") || strings.Contains(suite, "_CHACHA20_"))
}

// secure is what a *tls.Conn has, and what lifecycle may put around one.
type secure interface {
	net.Conn
	Handshake() error
	ConnectionState() tls.ConnectionState
}

// serveNegotiated is called by fasthttp when a TLS handshake has settled on HTTP/2. It
// returns when the connection is over.
func (s *server) serveNegotiated(nc net.Conn) error {
	a := s.life.Adopt(nc)
	if a == nil { // one too many
		_, _ = nc.Write(append([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0}, goAway(0, enhanceYourCalm)...)) // behind SETTINGS
		return nil
	}
	if c := s.takeHTTP2(a, nil, false); c != nil {
		<-c.over
	}
	return nil
}

// takeNew gives a new connection to one of the two http.Servers.
func (s *server) takeNew(a *lifecycle.Adopted, read []byte) {
	nc, ok := a.Conn().(secure)
	switch {
	case !ok && s.clear && !s.HTTP.Protocols.HTTP1(): // HTTP is not to read any of it
		s.takeHTTP2(a, read, false)
		return
	case !ok || !s.overTLS:
		s.take(a, read)
		return
	}
	go func() {
		if s.handshake(nc) == nil && nc.ConnectionState().NegotiatedProtocol == "h2" {
			s.takeHTTP2(a, read, false)
			return
		}
		s.take(a, read) // which says what has failed
	}()
}

// beginsHTTP2 reports whether what was read is the head of HTTP/2's preface, as
// fasthttp and HTTP/1 see it, on a connection that may be one of HTTP/2.
func (s *server) beginsHTTP2(nc net.Conn, read []byte) bool {
	_, overTLS := nc.(secure)
	return s.clear && !overTLS && bytes.HasPrefix(read, []byte(prefaceHead))
}

// takeHTTP2 gives a connection to the http.Server for HTTP/2. What has been read of it
// begins with the preface. It is known if the other http.Server has had it.
func (s *server) takeHTTP2(a *lifecycle.Adopted, read []byte, known bool) *streams {
	c := &streams{
		Conn: a.Conn(), adopted: a, server: s, known: known, unread: read, over: make(chan struct{}),
		limit: maxStream, idle: true,
	}
	if nc, ok := c.Conn.(secure); ok {
		state := nc.ConnectionState()
		if c.tls = &state; !s.fitFor(c.tls) {
			_, _ = nc.Write(goAway(0, inadequateSecurity))
			_ = a.Close()
			return nil
		}
	}
	if !a.Multiplex(c.ready, c.bid) {
		_ = a.Close()
		return nil
	}
	s.keep(c)
	s.startServers()
	select {
	case s.streams <- c:
	case <-s.over:
		_ = c.Close()
	}
	return c
}

// keep has a connection's client asked to leave when the drain begins. One that comes
// after that is asked with its first response: it may not have got to its request.
func (s *server) keep(c *streams) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[c] = struct{}{}
}

func (s *server) forget(c *streams) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, c)
}

// askAllToLeave is for the drain's begin.
func (s *server) askAllToLeave() {
	<-s.life.Draining()
	s.mu.Lock()
	var all []*streams
	for c := range s.kept {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		c.askToLeave()
	}
}

// serveStream is called by the http.Server for HTTP/2.
func (s *server) serveStream(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(connKey{}).(*streams)
	one := c.enter(r.Method, r.URL.Path)
	if one == nil {
		panic(http.ErrAbortHandler) // resets the stream
	}
	defer c.exit(one) // a panic ends the stream alone
	if r.TLS == nil {
		r.TLS = c.tls
	}
	to := http.NewResponseController(w)
	if s.ReadBodyTimeout > 0 && r.ContentLength != 0 {
		_ = to.SetReadDeadline(time.Now().Add(s.ReadBodyTimeout))
	}
	resp := &Stream{r: Response{ResponseWriter: w, conn: c}, timeout: s.WriteTimeout}
	if h := s.Route(r.Method, r.RequestURI); h != nil {
		resp.r.serve(h, resp, r)
	} else {
		s.serveNativeStream(resp, r, c)
		resp.r.begin(http.StatusOK) // as above
	}
	if s.WriteTimeout > 0 && !resp.deadline {
		_ = to.SetWriteDeadline(time.Now().Add(s.WriteTimeout)) // for what it has buffered
	}
}

// clientContext is a stream's context, as lifecycle.Server.ClientContext has it. It ends
// with the handler by end.
func (s *server) clientContext(stream context.Context) (ctx context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(s.ctx)
	forget := context.AfterFunc(stream, func() {
		if !s.overdue() { // else it has ended by that
			cancel(lifecycle.ErrClientGone)
		}
	})
	return ctx, func() { forget(); cancel(context.Canceled) }
}
