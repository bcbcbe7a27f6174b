package lifecycle

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/lastcall-go/lastcall/internal/testcert"
)

// patience bounds waits in tests on real sockets, which end by events. It is
// not what is tested: it only turns a hang into a failure.
const patience = 20 * time.Second

// running is a server under test and what its Run returned.
type running struct {
	*Server
	t    testing.TB
	err  error
	done chan struct{}
	mem  *fasthttputil.InmemoryListener // of an in-memory server
}

// parkAfter is the ParkAfter of tests that set none: LASTCALL_PARK_AFTER, so that
// all of them can be run with parking too.
var parkAfter = sync.OnceValue(func() time.Duration {
	d, _ := time.ParseDuration(os.Getenv("LASTCALL_PARK_AFTER"))
	return d
})

// LASTCALL_PREFACE gives all tests a Preface that reads nothing: the contract holds for
// connections that have one, too.

// hello is the handler of tests that do not care.
func hello(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("hello") }

func quiet(h fasthttp.RequestHandler) *fasthttp.Server {
	return &fasthttp.Server{Handler: h, Logger: nolog{}, MaxIdleWorkerDuration: 50 * time.Millisecond}
}

type nolog struct{}

func (nolog) Printf(string, ...any) {}

// run starts s and ends it with the test.
func run(t testing.TB, s *Server) *running {
	t.Helper()
	if s.ParkAfter == 0 {
		s.ParkAfter = parkAfter()
	}
	if s.Preface == nil && s.HTTP != nil && os.Getenv("LASTCALL_PREFACE") != "" && s.HTTP.MaxConnsPerIP == 0 {
		s.Preface = func(net.Conn) (net.Addr, error) { return nil, nil }
	}
	r := &running{Server: s, t: t, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = s.Run(context.Background())
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-r.done
	})
	select {
	case <-s.Reached(PhaseReady):
	case <-r.done:
	}
	return r
}

// runTCP starts s on a loopback port.
func runTCP(t testing.TB, s *Server) *running {
	t.Helper()
	s.Addrs = []string{"127.0.0.1:0"}
	return run(t, s)
}

// kinds are the kinds of listeners on which the drain contract holds.
var kinds = []string{"tcp", "tls", "unix"}

// runKind starts s on a listener of the kind, and returns how to reach it.
func runKind(t testing.TB, kind string, s *Server) *running {
	t.Helper()
	listenOnKind(t, kind, s)
	return run(t, s)
}

func listenOnKind(t testing.TB, kind string, s *Server) {
	t.Helper()
	switch kind {
	case "tcp":
		s.Addrs = []string{"127.0.0.1:0"}
	case "tls":
		s.HTTP.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate()}, MinVersion: tls.VersionTLS12}
		s.Addrs = []string{"127.0.0.1:0"}
	case "unix":
		s.Addrs = []string{"unix:" + filepath.Join(t.TempDir(), "s")}
	}
}

var certificate = sync.OnceValue(testcert.New)

// wait waits for Run's return and returns its error.
func (r *running) wait() error {
	r.t.Helper()
	select {
	case <-r.done:
		return r.err
	case <-time.After(patience):
		buf := make([]byte, 1<<20)
		r.t.Fatalf("Run has not returned; connections: %+v\n%s", r.Conns(), buf[:runtime.Stack(buf, true)])
		return nil
	}
}

// client is one connection of a client that retries nothing.
type client struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

// dial connects to the server's first address, with TLS where it has it.
func (r *running) dial() *client {
	r.t.Helper()
	nc := r.dialRaw()
	if r.HTTP.TLSConfig != nil {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
	}
	return r.client(nc)
}

func (r *running) client(nc net.Conn) *client {
	r.t.Cleanup(func() { _ = nc.Close() })
	return &client{Conn: nc, t: r.t, r: bufio.NewReader(nc)}
}

func (r *running) dialRaw() net.Conn {
	r.t.Helper()
	if r.mem != nil {
		nc, err := r.mem.Dial()
		if err != nil {
			r.t.Fatal(err)
		}
		return nc
	}
	addr := r.ListenAddrs()[0]
	nc, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		r.t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	return nc
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

func (c *client) get(path string) *http.Response {
	c.t.Helper()
	c.send("GET " + path + " HTTP/1.1\r\nHost: t\r\n\r\n")
	return c.response()
}

// response reads one response, body and all; the body is left in Body for
// another reading.
func (c *client) response() *http.Response {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatalf("response: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("response body: %v", err)
	}
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	return resp
}

// wantEOF wants the connection to end in good order, with nothing more sent.
func (c *client) wantEOF() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); err != io.EOF {
		c.t.Fatalf("read %q, %v; want EOF", b, err)
	}
}

func body(resp *http.Response) string {
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

// bubble runs a test in fake time. Its servers and channels are made inside.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	(&fasthttp.ResponseHeader{}).Header() // begins fasthttp's clock, which outlives a bubble, before it
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Minute) }) // fasthttp's worker pool ends on its own time
		f(t)
	})
}

// runMem starts s on an in-memory listener, for use in a bubble.
func runMem(t testing.TB, s *Server) *running {
	t.Helper()
	mem := fasthttputil.NewInmemoryListener()
	s.Listeners = append(s.Listeners, mem)
	s.HTTP.NoDefaultDate = true // fasthttp's clock for it outlives a bubble
	r := run(t, s)
	r.mem = mem
	return r
}

// idleConn waits until the only connection is idle, and returns its entry.
func (r *running) idleConn() (only *conn) {
	r.t.Helper()
	for began := time.Now(); r.Counts() != (Counts{Idle: 1}); time.Sleep(time.Millisecond) {
		if time.Since(began) > patience {
			r.t.Fatalf("counts %v; want 1 idle", r.Counts())
		}
	}
	r.conns.each(func(c *conn) bool { only = c; return false })
	return only
}

// resetConn ends a client's connection with a reset, where it has such a thing.
func resetConn(c *client) {
	nc := c.Conn
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = nc.Close()
}
