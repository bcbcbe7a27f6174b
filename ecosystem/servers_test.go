package ecosystem

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
	"github.com/lastcall-go/lastcall/toolkit/nethttp"
)

// patience bounds waits, which end by events: it only turns a hang into a failure.
const patience = time.Minute

func TestMain(m *testing.M) {
	(&fasthttp.ResponseHeader{}).Header() // begins fasthttp's clock, which has no end
	before := runtime.NumGoroutine()
	code := m.Run()
	left := func() bool { return runtime.NumGoroutine() > before }
	if stacks := awaitNone(left); stacks != "" {
		fmt.Printf("there were %d goroutines before all tests, and are\n%s", before, stacks)
		code = 1
	}
	os.Exit(code)
}

// awaitNone returns when nothing is left, or with all goroutines when something remains.
func awaitNone(left func() bool) (stacks string) {
	began := time.Now()
	for pause := time.Millisecond; left(); pause *= 2 { // to look costs more than a while longer
		if time.Since(began) > patience {
			buf := make([]byte, 1<<20)
			return string(buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(pause)
	}
	return ""
}

// server is one that a test's handler runs on, with a client of it.
type server struct {
	*testing.T
	url      string // without a slash at its end
	client   *http.Client
	protocol protocol
	tls      *tls.Config     // of clients, nil where it speaks none
	draining <-chan struct{} // closed when its shutdown begins
	shutdown func() error    // returns when the shutdown is over
	ours     bool

	noteShutdown func() // closes draining
}

// forms are the servers that each test runs on: the reference, and ours. Those beside
// native routes start with fasthttp, and hand connections over.
var forms = []struct {
	name     string
	protocol protocol
	make     func(form)
}{
	{"net/http", plain, form.reference},
	{"net/http, TLS", overTLS, form.reference},
	{"net/http, HTTP/2", http2, form.reference},
	{"net/http, h2c", h2c, form.reference},
	{"alone", plain, form.alone},
	{"alone, TLS", overTLS, form.alone},
	{"alone, HTTP/2", http2, form.alone},
	{"alone, h2c", h2c, form.alone},
	{"beside native routes", plain, form.beside},
	{"beside native routes, TLS", overTLS, form.beside},
	{"beside native routes, HTTP/2", http2, form.beside},
	{"beside native routes, h2c", h2c, form.beside},
	{"between native requests", plain, form.between},
	{"between native requests, TLS", overTLS, form.between},
	{"nethttp.Server", plain, form.replaced},
	{"nethttp.Server, TLS", overTLS, form.replaced},
	{"nethttp.Server, HTTP/2", http2, form.replaced},
	{"nethttp.Server, h2c", h2c, form.replaced},
	{"nethttp.Server with native routes", plain, form.replacedBeside},
	{"nethttp.Server with native routes, HTTP/2", http2, form.replacedBeside},
}

// protocol is what client and server speak.
type protocol struct {
	http2, tls bool
}

var (
	plain   = protocol{}
	overTLS = protocol{tls: true}
	http2   = protocol{http2: true, tls: true}
	h2c     = protocol{http2: true}
)

// of are the protocols that a client or a server is to speak.
func (p protocol) of() *http.Protocols {
	of := new(http.Protocols)
	of.SetHTTP1(!p.http2)
	of.SetHTTP2(p.http2 && p.tls)
	of.SetUnencryptedHTTP2(p.http2 && !p.tls)
	return of
}

// onlyHTTP1 is for tests of what HTTP/2 does not have.
func (s *server) onlyHTTP1() {
	s.Helper()
	if s.protocol.http2 {
		s.Skip("HTTP/2 has no such thing")
	}
}

// onlyHTTP2 is for tests of what HTTP/1.1 does not have.
func (s *server) onlyHTTP2() {
	s.Helper()
	if !s.protocol.http2 {
		s.Skip("HTTP/1.1 has no such thing")
	}
}

// each runs a test of a handler on each kind of server. The server's end is part of it:
// it is to be a graceful one, and to leave nothing behind. Other tests run meanwhile: a
// label tells the goroutines that come of this one.
func each(t *testing.T, app http.Handler, test func(s *server)) {
	t.Helper()
	eachDraining(t, func(<-chan struct{}) http.Handler { return app }, test)
}

// eachDraining is each, for a handler that wants to know of the server's shutdown.
func eachDraining(t *testing.T, app func(draining <-chan struct{}) http.Handler, test func(s *server)) {
	t.Helper()
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			pprof.SetGoroutineLabels(pprof.WithLabels(t.Context(), pprof.Labels("test", t.Name())))
			s := &server{T: t, client: &http.Client{Timeout: patience}, protocol: f.protocol}
			transport := &http.Transport{Protocols: f.protocol.of()}
			s.client.Transport = transport
			scheme := "http://"
			if f.protocol.tls {
				s.tls = &tls.Config{RootCAs: certificate().roots, MinVersion: tls.VersionTLS12}
				transport.TLSClientConfig = s.tls
				scheme = "https://"
			}
			f.make(form{s, app})
			s.url = scheme + s.url
			defer s.end()
			test(s)
		})
	}
}

// form makes a server.
type form struct {
	*server
	app func(draining <-chan struct{}) http.Handler
}

func (f form) reference() {
	f.serve(&http.Server{
		Handler:   f.app(f.shutsDown()),
		Protocols: f.serverProtocols(),
		TLSConfig: f.serverTLS(),
		ErrorLog:  log.New(io.Discard, "", 0),
	})
}

func (f form) replaced() { f.serve(f.replacement()) }

func (f form) replacedBeside() {
	srv := f.replacement()
	srv.Native("GET /native", native)
	f.serve(srv)
}

// replacement is what stands in a program where an http.Server was.
func (f form) replacement() *nethttp.Server {
	srv := &nethttp.Server{
		Handler:   f.app(f.shutsDown()),
		Protocols: f.serverProtocols(),
		TLSConfig: f.serverTLS(),
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	srv.Life.HTTP = &fasthttp.Server{MaxIdleWorkerDuration: 10 * time.Millisecond}
	f.ours = true
	return srv
}

// shutsDown is closed when the server's shutdown begins.
func (f form) shutsDown() <-chan struct{} {
	draining := make(chan struct{})
	f.draining, f.noteShutdown = draining, sync.OnceFunc(func() { close(draining) })
	return draining
}

// serverProtocols has HTTP/1.1 among them, as is usual.
func (f form) serverProtocols() *http.Protocols {
	of := f.protocol.of()
	of.SetHTTP1(true)
	return of
}

func (f form) serverTLS() *tls.Config {
	if f.tls == nil {
		return nil
	}
	return certificate().server.Clone()
}

// serve runs an http.Server, or what replaces it.
func (f form) serve(srv interface {
	RegisterOnShutdown(func())
	Serve(net.Listener) error
	ServeTLS(l net.Listener, certFile, keyFile string) error
	Shutdown(context.Context) error
	Close() error
}) {
	l, err := (&net.ListenConfig{}).Listen(f.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	srv.RegisterOnShutdown(f.noteShutdown)
	ended := make(chan error, 1)
	go func() {
		if f.tls == nil {
			ended <- srv.Serve(l)
		} else {
			ended <- srv.ServeTLS(l, "", "")
		}
	}()
	f.url = l.Addr().String()
	f.shutdown = sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err := srv.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			_ = srv.Close()
		}
		if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
		return err
	})
}

func native(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("native") }

func (f form) alone() { f.start(toolkit.New()) }

func (f form) beside() {
	f.start(toolkit.New().Get("/native", native))
}

// between has the client's connections be fasthttp's before each request.
func (f form) between() {
	f.beside()
	f.client.Transport = &toAndFro{f.client.Transport.(*http.Transport)}
}

// start starts a server of ours.
func (f form) start(b *toolkit.Builder) {
	b.Addr("127.0.0.1:0").
		NetHTTP("/", f.app(f.shutsDown())).
		Logger(zerolog.Nop()).
		MaxBodySize(1 << 30).
		DrainTimeout(patience).
		Configure(func(h *fasthttp.Server) { h.MaxIdleWorkerDuration = 10 * time.Millisecond })
	if f.tls != nil {
		b.TLSConfig(f.serverTLS())
	}
	srv, err := b.Build()
	if err != nil {
		f.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(context.Background()) }()
	select {
	case <-srv.Reached(lifecycle.PhaseReady):
	case err := <-ended:
		f.Fatal(err)
	}
	go func() {
		<-srv.Draining()
		f.noteShutdown()
	}()
	f.url, f.ours = srv.ListenAddrs()[0].String(), true
	f.shutdown = sync.OnceValue(func() error {
		srv.Drain()
		return <-ended
	})
}

// drain begins the server's shutdown. The channel gets its result when it is over.
func (s *server) drain() <-chan error {
	over := make(chan error, 1)
	go func() { over <- s.shutdown() }()
	return over
}

// wantAwaited wants a shutdown not to be over. net/http's does not wait for what is
// hijacked.
func (s *server) wantAwaited(over <-chan error) {
	s.Helper()
	if !s.ours {
		return
	}
	select {
	case err := <-over:
		s.Fatalf("the shutdown is over: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
}

// end ends a test's server, and wants nothing to be left.
func (s *server) end() {
	s.Helper()
	s.client.CloseIdleConnections()
	if err := s.shutdown(); err != nil {
		s.Errorf("shutdown: %v", err)
	}
	s.client.CloseIdleConnections()
	pprof.SetGoroutineLabels(context.Background()) // this one is no remainder
	label := strconv.Quote(s.Name())
	left := func() bool {
		var profile strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&profile, 1)
		return strings.Contains(profile.String(), label)
	}
	if stacks := awaitNone(left); stacks != "" {
		s.Fatalf("some of these goroutines are this server's:\n%s", stacks)
	}
}

// toAndFro asks for a native route before each request, and often enough for a
// connection that the http.Server has to go back to fasthttp.
type toAndFro struct{ *http.Transport }

func (t *toAndFro) RoundTrip(r *http.Request) (*http.Response, error) {
	for range 9 {
		native, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+r.URL.Host+"/native", nil)
		if err != nil {
			return nil, err
		}
		native.URL.Scheme = r.URL.Scheme
		resp, err := t.Transport.RoundTrip(native)
		if err != nil {
			return nil, err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	return t.Transport.RoundTrip(r)
}

// pair is a certificate for 127.0.0.1: httptest's.
type pair struct {
	server *tls.Config
	roots  *x509.CertPool
}

var certificate = sync.OnceValue(func() pair {
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	return pair{&tls.Config{
		Certificates: srv.TLS.Certificates,
		ClientAuth:   tls.RequestClientCert,
		MinVersion:   tls.VersionTLS12,
	}, roots}
})

// dial is for requests that no client makes.
func (s *server) dial() net.Conn {
	s.Helper()
	_, addr, _ := strings.Cut(s.url, "://")
	nc, err := (&net.Dialer{}).DialContext(s.Context(), "tcp", addr)
	if err != nil {
		s.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	if s.tls != nil {
		config := s.tls.Clone()
		config.ServerName = "127.0.0.1"
		nc = tls.Client(nc, config)
	}
	s.Cleanup(func() { _ = nc.Close() })
	return nc
}

// reply is a response that has been read to its end.
type reply struct {
	*http.Response
	text string
}

// do makes a request. Headers are names and values by turns; an empty body is none.
func (s *server) do(method, path, body string, headers ...string) reply {
	s.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(s.Context(), method, s.url+path, in)
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
	}
	return s.send(r)
}

// get is do, without a body.
func (s *server) get(path string, headers ...string) reply {
	s.Helper()
	return s.do(http.MethodGet, path, "", headers...)
}

// send makes a request, and follows no redirects.
func (s *server) send(r *http.Request) reply {
	s.Helper()
	client := *s.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	var text strings.Builder
	text.Grow(int(max(resp.ContentLength, 0))) // new memory is what a long one costs most
	if _, err := io.Copy(&text, resp.Body); err != nil {
		s.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	return reply{resp, text.String()}
}

// want wants a response of a status and with a text in it.
func (s *server) want(got reply, status int, text string) {
	s.Helper()
	if got.StatusCode != status || !strings.Contains(got.text, text) {
		s.Errorf("%s %s: %d %q; want %d %q", got.Request.Method, got.Request.URL, got.StatusCode, got.text, status, text)
	}
}
