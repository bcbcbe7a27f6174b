package nethttp

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/internal/testcert"
	"github.com/lastcall-go/lastcall/lifecycle"
)

// httpServer is what http.Server and Server can both do.
type httpServer interface {
	ListenAndServe() error
	ListenAndServeTLS(certFile, keyFile string) error
	Serve(l net.Listener) error
	ServeTLS(l net.Listener, certFile, keyFile string) error
	Shutdown(ctx context.Context) error
	Close() error
	RegisterOnShutdown(f func())
	SetKeepAlivesEnabled(v bool)
}

// What a new release of Go adds to http.Server is missed here.
func TestServerHasAllOfHTTPServer(t *testing.T) {
	theirs, ours := reflect.TypeFor[http.Server](), reflect.TypeFor[Server]()
	for _, f := range reflect.VisibleFields(theirs) {
		if !f.IsExported() {
			continue
		}
		if got, ok := ours.FieldByName(f.Name); !ok || got.Type != f.Type {
			t.Errorf("http.Server has a field %s %v, Server %v", f.Name, f.Type, got.Type)
		}
	}
	theirs, ours = reflect.PointerTo(theirs), reflect.PointerTo(ours)
	for m := range theirs.Methods() {
		got, ok := ours.MethodByName(m.Name)
		if !ok || withoutReceiver(got.Type) != withoutReceiver(m.Type) {
			t.Errorf("http.Server has a method %s %v, Server %v", m.Name, m.Type, got.Type)
		}
	}
}

func withoutReceiver(method reflect.Type) string {
	_, rest, _ := strings.Cut(method.String(), "Server")
	return strings.TrimPrefix(rest, ", ")
}

// inPlaceOf is the Server that takes the place of an http.Server.
func inPlaceOf(h *http.Server) *Server {
	s := new(Server)
	from, to := reflect.ValueOf(h).Elem(), reflect.ValueOf(s).Elem()
	for _, f := range reflect.VisibleFields(from.Type()) {
		if f.IsExported() {
			to.FieldByName(f.Name).Set(from.FieldByIndex(f.Index))
		}
	}
	return s
}

// usage is a server that is used as a program uses http.Server.
type usage struct {
	httpServer
	t    *testing.T
	ours *Server // nil if it is net/http's
}

// everywhere runs a program with net/http's server, with ours in its place, and with ours
// and a native route, so that connections begin in fasthttp.
func everywhere(t *testing.T, program func(t *testing.T, with func(*http.Server) *usage)) {
	t.Helper()
	for _, name := range []string{"net/http", "ours", "ours with a native route"} {
		t.Run(name, func(t *testing.T) {
			program(t, func(h *http.Server) *usage {
				if h.ErrorLog == nil {
					h.ErrorLog = log.New(io.Discard, "", 0)
				}
				u := &usage{h, t, nil}
				if name != "net/http" {
					u.ours = inPlaceOf(h)
					u.ours.Life.LastCall = time.Millisecond
					u.httpServer = u.ours
				}
				if name == "ours with a native route" {
					u.ours.Native("/native/", sayNative)
				}
				t.Cleanup(func() { _ = u.Close() })
				return u
			})
		})
	}
}

// serve serves a listener, and returns its address and what Serve will have returned.
func (u *usage) serve() (addr string, ended <-chan error) {
	u.t.Helper()
	return u.serveBy(u.Serve)
}

func (u *usage) serveBy(serve func(net.Listener) error) (addr string, ended <-chan error) {
	u.t.Helper()
	ln := listenTCP(u.t)
	end := make(chan error, 1)
	go func() { end <- serve(ln) }()
	return ln.Addr().String(), end
}

func listenTCP(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func dialAddr(t testing.TB, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return clientOf(t, nc)
}

func clientOf(t testing.TB, nc net.Conn) *client {
	_ = nc.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = nc.Close() })
	return newClient(t, nc)
}

// wantClosed wants what a Serve that is over returns.
func wantClosed(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		if err != http.ErrServerClosed { //nolint:errorlint // as programs compare it
			t.Errorf("Serve: %v", err)
		}
	case <-time.After(patience):
		t.Error("Serve has not returned")
	}
}

// blocking is a handler that says when it runs, and then waits.
type blocking struct{ runs, goOn chan struct{} }

func newBlocking() blocking { return blocking{make(chan struct{}), make(chan struct{})} }

func (b blocking) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	b.runs <- struct{}{}
	<-b.goOn
	_, _ = io.WriteString(w, "whole")
}

// The program of http.Server's documentation: another goroutine shuts down, and main waits
// for it.
func TestServerShutdownFromElsewhere(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		h := newBlocking()
		srv := with(&http.Server{Handler: h, ReadHeaderTimeout: time.Minute})
		addr, ended := srv.serve()
		c := dialAddr(t, addr)
		c.send(request("GET", "/", ""))
		<-h.runs
		down := make(chan error)
		go func() { down <- srv.Shutdown(context.Background()) }()
		if srv.ours != nil { // where main may also return with Serve
			<-srv.ours.Life.Draining()
			select {
			case err := <-ended:
				t.Errorf("Serve has returned too early: %v", err)
			case err := <-down:
				t.Errorf("Shutdown has returned too early: %v", err)
			default:
			}
		}
		close(h.goOn)
		if got := c.reply("GET"); got.text != "whole" || srv.ours != nil && !got.Close {
			t.Errorf("answered %q %v", got.text, got.Header)
		}
		if err := <-down; err != nil {
			t.Error(err)
		}
		wantClosed(t, ended)
	})
}

func TestServerShutdownGivesUp(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		h := newBlocking()
		srv := with(&http.Server{Handler: h})
		addr, ended := srv.serve()
		c := dialAddr(t, addr)
		c.send(request("GET", "/", ""))
		<-h.runs
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		if err := srv.Shutdown(ctx); err != context.DeadlineExceeded { //nolint:errorlint // as programs compare it
			t.Errorf("Shutdown: %v", err)
		}
		wantClosed(t, ended)
		close(h.goOn) // connections go on
		if got := c.reply("GET").text; got != "whole" {
			t.Errorf("answered %q", got)
		}
		if err := srv.Shutdown(context.Background()); err != nil { // once more
			t.Errorf("Shutdown: %v", err)
		}
	})
}

func TestServerClose(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		h := newBlocking()
		srv := with(&http.Server{Handler: h})
		addr, ended := srv.serve()
		c := dialAddr(t, addr)
		c.send(request("GET", "/", ""))
		<-h.runs
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if b, err := c.r.ReadByte(); err == nil {
			t.Errorf("read %q after Close", b)
		}
		if nc, err := net.Dial("tcp", addr); err == nil {
			_ = nc.Close()
			t.Error("it accepts connections after Close")
		}
		close(h.goOn)
		wantClosed(t, ended)
	})
}

func TestServerIsNotUsedAgain(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		for name, down := range map[string]func(httpServer) error{
			"Shutdown": func(s httpServer) error { return s.Shutdown(context.Background()) },
			"Close":    httpServer.Close,
		} {
			for _, started := range []bool{false, true} {
				srv := with(&http.Server{Handler: http.NotFoundHandler(), Addr: "127.0.0.1:0", TLSConfig: serverTLS()})
				var ended <-chan error
				if started {
					var addr string
					addr, ended = srv.serve()
					dialAddr(t, addr).get("/")
				}
				if err := down(srv); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if started {
					wantClosed(t, ended)
				}
				ln := listenTCP(t)
				for what, err := range map[string]error{
					"ListenAndServe":    srv.ListenAndServe(),
					"ListenAndServeTLS": srv.ListenAndServeTLS("", ""),
					"Serve":             srv.Serve(ln),
					"ServeTLS":          srv.ServeTLS(listenTCP(t), "", ""),
					"Shutdown":          cmp.Or(srv.Shutdown(context.Background()), http.ErrServerClosed),
					"Close":             cmp.Or(srv.Close(), http.ErrServerClosed),
				} {
					if err != http.ErrServerClosed { //nolint:errorlint // as programs compare it
						t.Errorf("%s after %s: %v", what, name, err)
					}
				}
				if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Serve has left its listener open: %v", err)
				}
			}
		}
	})
}

func TestServerListeners(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		srv := with(&http.Server{Handler: http.HandlerFunc(sayNet)})
		one, endedOne := srv.serve()
		two, endedTwo := srv.serve()
		for _, addr := range []string{one, two} {
			if got := dialAddr(t, addr).get("/net").text; !strings.HasPrefix(got, "net GET /net") {
				t.Errorf("answered %q", got)
			}
		}
		// One that the program closes itself is no end of the server.
		ln := listenTCP(t)
		endedThree := make(chan error)
		go func() { endedThree <- srv.Serve(ln) }()
		c := dialAddr(t, ln.Addr().String())
		c.get("/net")
		_ = ln.Close()
		if err := <-endedThree; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve of a closed listener: %v", err)
		}
		four, endedFour := srv.serve()
		for _, c := range []*client{c, dialAddr(t, two), dialAddr(t, four)} {
			c.get("/net")
		}
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		wantClosed(t, endedOne)
		wantClosed(t, endedTwo)
		wantClosed(t, endedFour)
	})
}

func TestServerListenAndServe(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		srv := with(&http.Server{Addr: "127.0.0.1:99999"})
		if err := srv.ListenAndServe(); err == nil || !strings.Contains(err.Error(), "invalid port") {
			t.Errorf("ListenAndServe: %v", err)
		}
		addr := make(chan string, 1)
		srv = with(&http.Server{
			Addr:        "127.0.0.1:0",
			BaseContext: func(l net.Listener) context.Context { addr <- l.Addr().String(); return context.Background() },
		})
		ended := make(chan error, 1)
		go func() { ended <- srv.ListenAndServe() }()
		if got := dialAddr(t, <-addr).get("/nowhere"); got.StatusCode != http.StatusNotFound {
			t.Errorf("status %d", got.StatusCode)
		}
		_ = srv.Shutdown(context.Background())
		wantClosed(t, ended)
	})
}

// An empty Addr is a port that is taken here, or may not be.
func TestServerDefaultAddr(t *testing.T) {
	for _, port := range []string{"80", "443"} {
		if ln, err := net.Listen("tcp4", "127.0.0.1:"+port); err == nil {
			defer func() { _ = ln.Close() }()
		}
	}
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		if err := with(&http.Server{}).ListenAndServe(); err == nil || !strings.Contains(err.Error(), "listen tcp :80: ") {
			t.Errorf("ListenAndServe: %v", err)
		}
		if err := with(&http.Server{}).ListenAndServeTLS("", ""); err == nil || !strings.Contains(err.Error(), "listen tcp :443: ") {
			t.Errorf("ListenAndServeTLS: %v", err)
		}
	})
}

func serverTLS() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{certificate()}, MinVersion: tls.VersionTLS12}
}

// certificateFiles writes the certificate to files.
func certificateFiles(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	certFile, keyFile, err := testcert.Files(certificate(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile
}

func TestServerTLS(t *testing.T) {
	certFile, keyFile := certificateFiles(t)
	byFunc := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert := certificate()
		return &cert, nil
	}}
	h2Too := serverTLS()
	h2Too.NextProtos = []string{"h2", "http/1.1"}
	for _, tt := range []struct {
		name   string
		config *tls.Config
		proto  string
		serve  func(*usage, net.Listener) error
	}{
		{"ServeTLS with files", nil, "HTTP/2.0", func(u *usage, l net.Listener) error { return u.ServeTLS(l, certFile, keyFile) }},
		{"ServeTLS with certificates", serverTLS(), "HTTP/2.0", func(u *usage, l net.Listener) error { return u.ServeTLS(l, "", "") }},
		{"ServeTLS with GetCertificate", byFunc, "HTTP/2.0", func(u *usage, l net.Listener) error { return u.ServeTLS(l, "", "") }},
		{"ServeTLS with h2", h2Too, "HTTP/2.0", func(u *usage, l net.Listener) error { return u.ServeTLS(l, "", "") }},
		{"ServeTLS without HTTP/2", serverTLS(), "HTTP/1.1", func(u *usage, l net.Listener) error { return u.ServeTLS(l, "", "") }},
		{"Serve of a TLS listener", nil, "HTTP/1.1", func(u *usage, l net.Listener) error { return u.Serve(tls.NewListener(l, serverTLS())) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
				h := &http.Server{TLSConfig: tt.config, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = fmt.Fprint(w, r.TLS.HandshakeComplete, r.Context().Value(http.ServerContextKey) != nil, r.Proto)
				})}
				if tt.name == "ServeTLS without HTTP/2" { // as programs have always said it
					h.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
				}
				srv := with(h)
				addr, ended := srv.serveBy(func(l net.Listener) error { return tt.serve(srv, l) })
				transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
				defer transport.CloseIdleConnections()
				resp, err := (&http.Client{Transport: transport, Timeout: patience}).Get("https://" + addr)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if want := "true true" + tt.proto; string(body) != want {
					t.Errorf("answered %q; want %q", body, want)
				}
				transport.CloseIdleConnections()
				_ = srv.Shutdown(context.Background())
				wantClosed(t, ended)
				if tt.config != nil && !slices.Equal(tt.config.NextProtos, h2Too.NextProtos) && len(tt.config.NextProtos) > 0 && srv.ours != nil {
					t.Errorf("TLSConfig was changed: %q", tt.config.NextProtos)
				}
			})
		})
	}
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		srv := with(&http.Server{Addr: "127.0.0.1:0"})
		if err := srv.ListenAndServeTLS("", ""); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("ListenAndServeTLS without a certificate: %v", err)
		}
		if err := srv.ServeTLS(listenTCP(t), certFile, "nothing"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("ServeTLS without a key: %v", err)
		}
	})
}

func init() { http.HandleFunc("/TestServerDefaultServeMux", sayNet) }

func TestServerDefaultServeMux(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		addr, _ := with(&http.Server{}).serve()
		c := dialAddr(t, addr)
		if got := c.get("/TestServerDefaultServeMux").text; !strings.HasPrefix(got, "net GET") {
			t.Errorf("answered %q", got)
		}
		if got := c.get("/nowhere").StatusCode; got != http.StatusNotFound {
			t.Errorf("status %d", got)
		}
	})
}

func TestServerOptions(t *testing.T) {
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Error(w, r.RequestURI, http.StatusTeapot) })
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		for disabled, want := range map[bool]int{false: http.StatusOK, true: http.StatusTeapot} {
			addr, _ := with(&http.Server{Handler: app, DisableGeneralOptionsHandler: disabled}).serve()
			c := dialAddr(t, addr)
			for _, body := range []string{"", "some", "more"} {
				if got := c.do("OPTIONS", "*", body); got.StatusCode != want || got.Close {
					t.Errorf("OPTIONS *: %d %v; want %d", got.StatusCode, got.Header, want)
				}
			}
			if got := c.do("OPTIONS", "/", ""); got.StatusCode != http.StatusTeapot {
				t.Errorf("OPTIONS /: %d", got.StatusCode)
			}
			if got := c.do("OPTIONS", "*", strings.Repeat("x", 5<<10)); got.StatusCode != want {
				t.Errorf("OPTIONS * with a large body: %d", got.StatusCode)
			}
		}
	})
}

// states notes the states of connections.
type states struct {
	mu   sync.Mutex
	seen map[net.Conn][]http.ConnState
}

func (s *states) note(nc net.Conn, st http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[net.Conn][]http.ConnState{}
	}
	s.seen[nc] = append(s.seen[nc], st)
}

// all are the sequences of states that were seen, in some order.
func (s *states) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, seen := range s.seen {
		all = append(all, fmt.Sprint(seen))
	}
	slices.Sort(all)
	return all
}

func (s *states) want(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	for began := time.Now(); !slices.Equal(s.all(), want); time.Sleep(time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("states %q; want %q", s.all(), want)
		}
	}
}

func hijackAndClose(w http.ResponseWriter, _ *http.Request) {
	nc, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	_ = nc.Close()
}

func TestServerConnState(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/net", sayNet)
	mux.HandleFunc("/hijack", hijackAndClose)
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		var kept, hijacked states
		for which, last := range map[*states]string{&kept: "/net", &hijacked: "/hijack"} {
			srv := with(&http.Server{Handler: mux, ConnState: which.note})
			addr, _ := srv.serve()
			c := dialAddr(t, addr)
			c.get("/net")
			c.send(request("GET", last, ""))
			_, _ = c.r.ReadByte()
			_ = c.Close()
			moved := ""
			if srv.ours != nil && srv.ours.routes.mux != nil { // it might have been fasthttp's
				moved = "new hijacked "
			}
			if which == &kept {
				which.want(t, "["+moved+"new active idle active idle closed]")
			} else {
				which.want(t, "["+moved+"new active idle active hijacked]")
			}
		}
	})
}

// A connection that turns out to be one of HTTP/2 is new once, and ends once.
func TestServerConnStateOfHTTP2(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		both := new(http.Protocols)
		both.SetHTTP1(true)
		both.SetUnencryptedHTTP2(true)
		var seen states
		srv := with(&http.Server{Handler: http.HandlerFunc(sayNet), ConnState: seen.note, Protocols: both})
		addr, _ := srv.serve()
		only := new(http.Protocols)
		only.SetUnencryptedHTTP2(true)
		tr := &http.Transport{Protocols: only}
		resp, err := (&http.Client{Transport: tr, Timeout: patience}).Get("http://" + addr + "/net")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		tr.CloseIdleConnections()
		moved := ""
		if srv.ours != nil && srv.ours.routes.mux != nil { // it was fasthttp's before that
			moved = "new hijacked "
		}
		seen.want(t, "["+moved+"new active idle active idle closed]")
	})
}

// Hooks ask connections for what their kind has.
func TestServerHooksGetTheConnection(t *testing.T) {
	tcp := func(nc net.Conn) bool { _, is := nc.(*net.TCPConn); return is }
	unix := func(nc net.Conn) bool { _, is := nc.(*net.UnixConn); return is }
	secure := func(nc net.Conn) bool { _, is := nc.(*tls.Conn); return is }
	own := func(nc net.Conn) bool { _, is := nc.(*ownConn); return is }
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		for _, kind := range []struct {
			name     string
			is       func(net.Conn) bool
			listen   func() net.Listener
			protocol string
		}{
			{"tcp", tcp, func() net.Listener { return listenTCP(t) }, "HTTP/1.1"},
			{"unix", unix, func() net.Listener { return listenUnix(t) }, "HTTP/1.1"},
			{"own", own, func() net.Listener { return ownListener{listenTCP(t), func() {}} }, "HTTP/1.1"},
			{"tls", secure, func() net.Listener { return listenTCP(t) }, "HTTP/1.1"},
			{"tls", secure, func() net.Listener { return listenTCP(t) }, "HTTP/2.0"},
			{"h2c", tcp, func() net.Listener { return listenTCP(t) }, "HTTP/2.0"},
		} {
			var others atomic.Int32
			all := new(http.Protocols)
			all.SetHTTP1(true)
			all.SetHTTP2(true)
			all.SetUnencryptedHTTP2(true)
			srv := with(&http.Server{
				Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = fmt.Fprint(w, r.Context().Value(key("is")), r.Proto)
				}),
				BaseContext: func(net.Listener) context.Context { return t.Context() }, // of a listener that is no key of a map, too
				ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
					return context.WithValue(ctx, key("is"), kind.is(nc))
				},
				ConnState: func(nc net.Conn, _ http.ConnState) {
					if !kind.is(nc) {
						others.Add(1)
					}
				},
				Protocols: all,
				TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate()}},
			})
			ln := kind.listen()
			url := "http://t/"
			go func() {
				if kind.name == "tls" {
					_ = srv.ServeTLS(ln, "", "")
				} else {
					_ = srv.Serve(ln)
				}
			}()
			if kind.name == "tls" {
				url = "https://t/"
			}
			asks := new(http.Protocols)
			asks.SetHTTP1(kind.protocol == "HTTP/1.1")
			asks.SetHTTP2(kind.protocol == "HTTP/2.0")
			asks.SetUnencryptedHTTP2(kind.name == "h2c")
			tr := &http.Transport{
				Protocols: asks, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
				DialContext: func(context.Context, string, string) (net.Conn, error) {
					return net.Dial(ln.Addr().Network(), ln.Addr().String())
				},
			}
			resp, err := (&http.Client{Transport: tr, Timeout: patience}).Get(url)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			tr.CloseIdleConnections()
			if string(got) != "true"+kind.protocol || others.Load() > 0 {
				t.Errorf("%s, %s: ConnContext has it: %s; ConnState has not: %d times", kind.name, kind.protocol, got, others.Load())
			}
			_ = srv.Close()
		}
	})
}

// ownListener makes connections of its own kind. It cannot be compared.
type ownListener struct {
	net.Listener
	_ func()
}

type ownConn struct{ net.Conn }

func (l ownListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	return &ownConn{nc}, err
}

func listenUnix(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// Who has agreed on another protocol than HTTP is not served, nor is he by HTTP/1 who has
// agreed on HTTP/2 where that is off.
func TestServerOtherProtocols(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		only := new(http.Protocols)
		only.SetHTTP1(true)
		conf := &tls.Config{Certificates: []tls.Certificate{certificate()}, NextProtos: []string{"h2", "acme-tls/1", "http/1.1"}}
		srv := with(&http.Server{Handler: http.HandlerFunc(sayNet), Protocols: only, TLSConfig: &tls.Config{
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return conf, nil },
		}})
		addr, _ := srv.serveBy(func(ln net.Listener) error { return srv.ServeTLS(ln, "", "") })
		for proto, served := range map[string]bool{"": true, "http/1.1": true, "h2": false, "acme-tls/1": false} {
			protos := []string{proto}
			if proto == "" {
				protos = nil
			}
			nc, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: protos})
			if err != nil {
				t.Fatal(err)
			}
			_ = nc.SetDeadline(time.Now().Add(patience))
			_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
			got, _ := io.ReadAll(nc)
			if answered := len(got) > 0; answered != served {
				t.Errorf("%q is answered: %q", proto, got)
			}
			_ = nc.Close()
		}
	})
}

// A handshake that fails when a protocol has been agreed on is logged, too.
func TestServerErrorLogOfHandshakes(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		var logged syncBuffer
		srv := with(&http.Server{
			Handler: http.HandlerFunc(sayNet), ErrorLog: log.New(&logged, "", 0),
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate()}, ClientAuth: tls.RequireAnyClientCert},
		})
		addr, _ := srv.serveBy(func(ln net.Listener) error { return srv.ServeTLS(ln, "", "") })
		for n, proto := range []string{"http/1.1", "h2"} {
			nc, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{proto}})
			if err == nil {
				_, err = nc.Read(make([]byte, 1))
				_ = nc.Close()
			}
			if err == nil {
				t.Error("it is served")
			}
			srv.wait("a handshake over "+proto+" has failed, by the log", func() bool {
				return strings.Count(logged.String(), "http: TLS handshake error from 127.0.0.1:") == n+1
			})
		}
	})
}

// The log names who has called a writer in vain, as http.Server's does.
func TestServerErrorLogNamesTheCaller(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		var logged syncBuffer
		srv := with(&http.Server{ErrorLog: log.New(&logged, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, strings.NewReader("")) // which is no answer yet
			w.WriteHeader(http.StatusAccepted)
			w.WriteHeader(http.StatusOK)
			http.NotFound(w, r)
		})})
		addr, _ := srv.serve()
		c := dialAddr(t, addr)
		if got := c.get("/"); got.StatusCode != http.StatusAccepted {
			t.Errorf("status %d", got.StatusCode)
		}
		got := strings.Split(strings.TrimSpace(logged.String()), "\n")
		for _, line := range got {
			if !strings.HasPrefix(line, "http: superfluous response.WriteHeader call from ") || !strings.Contains(line, "TestServerErrorLogNamesTheCaller") {
				t.Errorf("logged %q", line)
			}
		}
		if len(got) != 2 {
			t.Errorf("%d lines were logged", len(got))
		}
	})
}

type key string

func TestServerContexts(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		server, _ := ctx.Value(http.ServerContextKey).(*http.Server)
		local, _ := ctx.Value(http.LocalAddrContextKey).(net.Addr)
		_, _ = fmt.Fprint(w, ctx.Value(key("base")), " ", ctx.Value(key("conn")), " ", server.Addr, " ", local, " ", ctx.Err())
	})
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		srv := with(&http.Server{
			Addr:    "server",
			Handler: h,
			BaseContext: func(l net.Listener) context.Context {
				return context.WithValue(context.Background(), key("base"), l.Addr())
			},
			ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
				return context.WithValue(ctx, key("conn"), fmt.Sprint(ctx.Value(key("base")), "+", nc.RemoteAddr()))
			},
		})
		if srv.ours != nil {
			srv.ours.Life.ParkAfter = time.Millisecond // it comes back as another connection
		}
		one, _ := srv.serve()
		two, _ := srv.serve()
		for _, addr := range []string{one, two} {
			c := dialAddr(t, addr)
			want := fmt.Sprintf("%s %s+%s server %s <nil>", addr, addr, c.LocalAddr(), addr)
			for range 3 {
				if got := c.get("/").text; got != want {
					t.Errorf("contexts %q; want %q", got, want)
				}
				if srv.ours != nil {
					srv.wait("it is parked", func() bool { return srv.ours.Life.Counts().Active == 0 && srv.ours.Life.Counts().Idle == 0 })
				}
			}
		}
	})
}

// wait waits until something is as it is to be.
func (u *usage) wait(what string, is func() bool) {
	u.t.Helper()
	for began := time.Now(); !is(); time.Sleep(time.Millisecond) {
		if time.Since(began) > patience {
			u.t.Fatalf("not so: %s", what)
		}
	}
}

// syncBuffer is a log's place.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestServerErrorLog(t *testing.T) {
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/abort" {
			panic(http.ErrAbortHandler)
		}
		panic("oh no")
	})
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		var logged syncBuffer
		srv := with(&http.Server{Handler: h, ErrorLog: log.New(&logged, "", 0)})
		addr, _ := srv.serve()
		for _, path := range []string{"/abort", "/panic"} {
			c := dialAddr(t, addr)
			c.send(request("GET", path, ""))
			c.wantEOF()
		}
		srv.wait("a panic is logged", func() bool { return strings.Contains(logged.String(), "oh no") })
		if got := logged.String(); strings.Count(got, "http: panic serving 127.0.0.1:") != 1 || !strings.Contains(got, "goroutine ") {
			t.Errorf("logged %q", got)
		}
	})
}

func TestServerHandshakeError(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		var logged syncBuffer
		srv := with(&http.Server{TLSConfig: serverTLS(), ErrorLog: log.New(&logged, "", 0)})
		addr, _ := srv.serveBy(func(l net.Listener) error { return srv.ServeTLS(l, "", "") })
		c := dialAddr(t, addr)
		c.send(request("GET", "/", ""))
		const want = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
		if got, _ := io.ReadAll(c.r); string(got) != want {
			t.Errorf("answered %q", got)
		}
		one := fmt.Sprintf("http: TLS handshake error from %v: client sent an HTTP request to an HTTPS server\n", c.LocalAddr())
		srv.wait("it is logged", func() bool { return logged.String() == one })
		c = dialAddr(t, addr)
		_ = tls.Client(c.Conn, &tls.Config{ServerName: "t"}).Handshake() // who does not trust it
		srv.wait("it is logged", func() bool {
			return strings.HasPrefix(logged.String(), one+fmt.Sprintf("http: TLS handshake error from %v: remote error: tls: ", c.LocalAddr()))
		})
	})
}

// A handshake may take as long as the least limit that there is.
func TestServerHandshakeTimeout(t *testing.T) {
	const short = 30 * time.Millisecond
	for _, set := range []func(*http.Server){
		func(h *http.Server) { h.ReadHeaderTimeout = short },
		func(h *http.Server) { h.ReadHeaderTimeout, h.ReadTimeout = -1, short },
		func(h *http.Server) { h.ReadTimeout, h.WriteTimeout = time.Hour, short },
	} {
		everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
			for _, own := range []bool{false, true} {
				h := &http.Server{TLSConfig: serverTLS(), ErrorLog: log.New(io.Discard, "", 0)}
				set(h)
				srv := with(h)
				if own && srv.ours != nil && srv.ours.routes.mux != nil {
					continue // fasthttp has its ReadTimeout for it
				}
				addr, _ := srv.serveBy(func(l net.Listener) error {
					if own {
						return srv.Serve(tls.NewListener(l, serverTLS()))
					}
					return srv.ServeTLS(l, "", "")
				})
				c := dialAddr(t, addr)
				if _, err := io.Copy(io.Discard, c.r); err != nil {
					t.Errorf("%v; want it closed", err)
				}
			}
		})
	}
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) { // none: less than none is none
		srv := with(&http.Server{TLSConfig: serverTLS(), ReadHeaderTimeout: -1, ReadTimeout: -1, WriteTimeout: -1, IdleTimeout: -1})
		addr, _ := srv.serveBy(func(l net.Listener) error { return srv.ServeTLS(l, "", "") })
		for _, proto := range []string{"http/1.1", "h2"} {
			nc, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{proto}})
			if err != nil {
				t.Fatal(proto, err)
			}
			_ = nc.Close()
		}
	})
}

func TestServerAcceptError(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		var logged syncBuffer
		srv := with(&http.Server{ErrorLog: log.New(&logged, "", 0)})
		addr, ended := srv.serveBy(func(l net.Listener) error { return srv.Serve(&failing{Listener: l, temporary: 1}) })
		dialAddr(t, addr).get("/")
		if got := logged.String(); got != "http: Accept error: no luck; retrying in 5ms\n" {
			t.Errorf("logged %q", got)
		}
		dialAddr(t, addr).get("/") // after which it fails for good
		if err := <-ended; err == nil || err.Error() != "no luck" {
			t.Errorf("Serve: %v", err)
		}
		if got := logged.String(); strings.Count(got, "\n") != 1 {
			t.Errorf("logged %q", got)
		}
	})
}

// failing fails once, then accepts two connections, and then fails for good.
type failing struct {
	net.Listener
	temporary, accepted int
}

func (f *failing) Accept() (net.Conn, error) {
	if f.temporary > 0 {
		f.temporary--
		return nil, luckless{true}
	}
	if f.accepted++; f.accepted > 2 {
		return nil, luckless{false}
	}
	return f.Listener.Accept()
}

type luckless struct{ temporary bool }

func (luckless) Error() string     { return "no luck" }
func (l luckless) Temporary() bool { return l.temporary }
func (luckless) Timeout() bool     { return false }

// ended is a listener that has nothing more.
type ended struct{ net.Listener }

func (ended) Accept() (net.Conn, error) { return nil, io.EOF }

func TestServerAcceptEOF(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		if err := with(new(http.Server)).Serve(ended{listenTCP(t)}); err != io.EOF { //nolint:errorlint // as it is
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestServerMaxHeaderBytes(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		addr, _ := with(&http.Server{Handler: http.HandlerFunc(sayNet), MaxHeaderBytes: 2000}).serve()
		for _, path := range []string{"/net", "/native/"} {
			if got := dialAddr(t, addr).get(path, "X-Large", strings.Repeat("x", 1500)).StatusCode; got != http.StatusOK {
				t.Errorf("%s with a header of 1.5 kB: %d", path, got)
			}
			if got := dialAddr(t, addr).get(path, "X-Large", strings.Repeat("x", 8000)).StatusCode; got != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("%s with a header of 8 kB: %d", path, got)
			}
		}
	})
}

func TestServerRegisterOnShutdown(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		// A handler that goes on until it is told.
		running, told := make(chan struct{}), make(chan struct{})
		srv := with(&http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			close(running)
			<-told
		})})
		srv.RegisterOnShutdown(func() { close(told) })
		forgotten := make(chan struct{})
		srv.RegisterOnShutdown(func() { <-forgotten }) // nobody waits for it
		defer close(forgotten)
		addr, ended := srv.serve()
		dialAddr(t, addr).send(request("GET", "/", ""))
		<-running
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		wantClosed(t, ended)

		// Nobody can connect any more when it is called: all who are to be told are there.
		srv = with(&http.Server{Handler: http.HandlerFunc(sayNet)})
		if srv.ours != nil {
			srv.ours.Life.ShutdownDelay = 20 * time.Millisecond
		}
		addr, ended = srv.serve()
		refused := make(chan error, 1)
		srv.RegisterOnShutdown(func() {
			nc, err := net.Dial("tcp", addr)
			if err == nil {
				_ = nc.Close()
			}
			refused <- err
		})
		dialAddr(t, addr).get("/")
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-refused; err == nil {
			t.Error("told while connections were accepted")
		}
		wantClosed(t, ended)

		srv = with(&http.Server{}) // one that has not begun
		told = make(chan struct{})
		srv.RegisterOnShutdown(func() { close(told) })
		_ = srv.Shutdown(context.Background())
		<-told

		srv = with(&http.Server{})
		srv.RegisterOnShutdown(func() { t.Error("told of a Close") })
		addr, ended = srv.serve()
		dialAddr(t, addr).get("/")
		_ = srv.Close()
		wantClosed(t, ended)
	})
}

func TestServerSetKeepAlivesEnabled(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		srv := with(&http.Server{Handler: http.HandlerFunc(sayNet)})
		srv.SetKeepAlivesEnabled(false)
		addr, _ := srv.serve()
		paths := []string{"/net", "/native/"}
		for _, path := range paths {
			c := dialAddr(t, addr)
			if got := c.get(path); !got.Close {
				t.Errorf("%s is not told to close: %v", path, got)
			}
			c.wantEOF()
		}
		srv.SetKeepAlivesEnabled(true)
		var kept []*client
		for _, path := range paths {
			c := dialAddr(t, addr)
			if got := c.get(path); got.Close {
				t.Errorf("%s is told to close: %v", path, got)
			}
			kept = append(kept, c)
		}
		time.Sleep(20 * time.Millisecond) // they are idle, or have their next response to be told by
		srv.SetKeepAlivesEnabled(false)
		for i, c := range kept {
			_, _ = io.WriteString(c.Conn, request("GET", paths[i], ""))
			if resp, err := http.ReadResponse(c.r, nil); err == nil && !resp.Close {
				t.Errorf("%s is not told to close: %v", paths[i], resp)
			}
		}
	})
}

func TestServerTimeouts(t *testing.T) {
	const short = 30 * time.Millisecond
	for _, tt := range []struct {
		name string
		set  func(*http.Server)
		send func(path string) string
	}{
		{"ReadHeaderTimeout in a header", func(h *http.Server) { h.ReadHeaderTimeout = short },
			func(path string) string { return "GET " + path + " HTTP/1.1\r\nHo" }},
		{"ReadTimeout in a header", func(h *http.Server) { h.ReadTimeout = short },
			func(path string) string { return "GET " + path + " HTTP/1.1\r\nHo" }},
		{"ReadTimeout in a body", func(h *http.Server) { h.ReadTimeout = short },
			func(path string) string {
				return "POST " + path + " HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\n12"
			}},
		{"ReadTimeout beside ReadHeaderTimeout", func(h *http.Server) { h.ReadTimeout, h.ReadHeaderTimeout = short, time.Hour },
			func(path string) string {
				return "POST " + path + " HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\n12"
			}},
		{"IdleTimeout", func(h *http.Server) { h.IdleTimeout = short },
			func(path string) string { return request("GET", path, "") }},
		{"IdleTimeout by ReadTimeout", func(h *http.Server) { h.ReadTimeout, h.ReadHeaderTimeout = short, time.Hour },
			func(path string) string { return request("GET", path, "") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
				h := &http.Server{Handler: http.HandlerFunc(sayNet)}
				tt.set(h)
				addr, _ := with(h).serve()
				for _, path := range []string{"/net", "/native/"} {
					c := dialAddr(t, addr)
					c.send(tt.send(path))
					if _, err := io.Copy(io.Discard, c.r); err != nil {
						t.Errorf("%s: %v; want it closed", path, err)
					}
				}
			})
		})
	}
}

// A limit of one part of a request is none of another.
func TestServerTimeoutsElsewhere(t *testing.T) {
	for _, tt := range []struct {
		name  string
		set   func(h *http.Server, short time.Duration)
		parts []string // of which each is sent in time
	}{
		{"a body beside ReadHeaderTimeout", func(h *http.Server, short time.Duration) { h.ReadHeaderTimeout = short },
			[]string{"POST %s HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\n1", "234"}},
		{"idle beside ReadHeaderTimeout", func(h *http.Server, short time.Duration) { h.ReadHeaderTimeout = short },
			[]string{"GET %s HTTP/1.1\r\nHost: t\r\n\r\n", "GET %s HTTP/1.1\r\nHost: t\r\n\r\n"}},
		{"idle beside ReadTimeout", func(h *http.Server, short time.Duration) { h.ReadTimeout, h.IdleTimeout = short, -1 },
			[]string{"GET %s HTTP/1.1\r\nHost: t\r\n\r\n", "GET %s HTTP/1.1\r\nHost: t\r\n\r\n"}},
		{"a header beside IdleTimeout", func(h *http.Server, short time.Duration) { h.IdleTimeout = short },
			[]string{"GET %s HTTP/1.1\r\nHost: t\r\n", "\r\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
				// What is in time, and what is not, is for the machine to say: one on
				// which the short time is too short for the parts themselves gets more.
				for short := 40 * time.Millisecond; ; short *= 4 {
					h := &http.Server{Handler: http.HandlerFunc(sayNet)}
					tt.set(h, short)
					addr, _ := with(h).serve()
					err := errors.Join(sendParts(t, addr, "/net", tt.parts, 2*short), sendParts(t, addr, "/native/", tt.parts, 2*short))
					if err == nil {
						return
					}
					if short > 2*time.Second {
						t.Fatal(err)
					}
				}
			})
		})
	}
}

// sendParts sends the parts of requests on one connection, with pauses between them, and
// wants each request answered.
func sendParts(t *testing.T, addr, path string, parts []string, pause time.Duration) error {
	c := dialAddr(t, addr)
	for i, part := range parts {
		if i > 0 {
			time.Sleep(pause)
		}
		if _, err := io.WriteString(c, strings.ReplaceAll(part, "%s", path)); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if i < len(parts)-1 && !strings.HasSuffix(part, "\r\n\r\n") {
			continue
		}
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %v", path, resp.Status)
		}
	}
	return nil
}

// Hijacked connections are told by what RegisterOnShutdown registers, in ours also awaited.
func TestServerHijack(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		told := make(chan struct{})
		srv := with(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			nc, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			_ = rw.Flush()
			go func() {
				defer func() { _ = nc.Close() }()
				<-told
				_, _ = io.WriteString(nc, "bye")
			}()
		})})
		srv.RegisterOnShutdown(func() { close(told) })
		addr, ended := srv.serve()
		c := dialAddr(t, addr)
		c.send(request("GET", "/", "", "Connection", "Upgrade", "Upgrade", "x"))
		for line := ""; line != "\r\n"; {
			line, _ = c.r.ReadString('\n')
		}
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		wantClosed(t, ended)
		if got, err := io.ReadAll(c.r); string(got) != "bye" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
	})
}

// A handler may end the server that it has from its context.
func TestServerShutdownByHandler(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
		srv := with(&http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			go func() { _ = r.Context().Value(http.ServerContextKey).(*http.Server).Shutdown(context.Background()) }()
		})})
		addr, ended := srv.serve()
		if got := dialAddr(t, addr).get("/").StatusCode; got != http.StatusOK {
			t.Errorf("status %d", got)
		}
		wantClosed(t, ended)
	})
}

func TestServerLife(t *testing.T) {
	boom := errors.New("boom")
	t.Run("a start that fails", func(t *testing.T) {
		srv := &Server{}
		srv.Life.OnStart("database", func(context.Context) error { return boom })
		if err := srv.Serve(listenTCP(t)); !errors.Is(err, boom) || !errors.Is(err, lifecycle.ErrStart) {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Run("an exit hook that fails", func(t *testing.T) {
		srv := &Server{}
		srv.Life.PreExit("database", func(context.Context) error { return boom })
		ended := make(chan error, 1)
		ln := listenTCP(t)
		go func() { ended <- srv.Serve(ln) }()
		dialAddr(t, ln.Addr().String()).get("/")
		if err := srv.Shutdown(context.Background()); !errors.Is(err, boom) {
			t.Errorf("Shutdown: %v", err)
		}
		wantClosed(t, ended)
		if code := srv.Life.Report().ExitCode(); code != 3 {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("a drain of its own", func(t *testing.T) {
		srv := &Server{Handler: http.HandlerFunc(sayNet), Life: lifecycle.Server{HTTP: &fasthttp.Server{Name: "x"}}}
		srv.Native("/native", sayNative)
		told := make(chan struct{})
		srv.RegisterOnShutdown(func() { close(told) })
		ended := make(chan error, 1)
		ln := listenTCP(t)
		go func() { ended <- srv.Serve(ln) }()
		if got := dialAddr(t, ln.Addr().String()).get("/native").Header.Get("Server"); got != "x" {
			t.Errorf("Server: %q", got)
		}
		srv.Life.Drain()
		<-told
		wantClosed(t, ended)
		if err := srv.Life.Report().Err; err != nil {
			t.Error(err)
		}
	})
	t.Run("a deadline of its own", func(t *testing.T) {
		h := newBlocking()
		srv := &Server{Handler: h, Life: lifecycle.Server{DrainTimeout: time.Millisecond, AbortTimeout: -1}}
		ended := make(chan error, 1)
		ln := listenTCP(t)
		go func() { ended <- srv.Serve(ln) }()
		dialAddr(t, ln.Addr().String()).send(request("GET", "/", ""))
		<-h.runs
		defer close(h.goOn)
		if err := srv.Shutdown(context.Background()); !errors.Is(err, lifecycle.ErrDrainTimeout) {
			t.Errorf("Shutdown: %v", err)
		}
		wantClosed(t, ended)
	})
}
