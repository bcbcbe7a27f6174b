package toolkit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/lastcall-go/lastcall/internal/testcert"
	"github.com/lastcall-go/lastcall/lifecycle"
)

// patience bounds waits on real sockets, which end by events. It is not what is
// tested: it only turns a hang into a failure.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	// fasthttp's clock for the Date header is a goroutine without an end, begun
	// by the first response. It must not begin in a bubble of fake time.
	(&fasthttp.ResponseHeader{}).Header()
	os.Exit(m.Run())
}

func hello(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("hello") }

// answer is a handler that says text.
func answer(text string) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString(text) }
}

// quiet is a Builder without a log and without an address, which is not held up
// by idle connections, and whose workers do not outlive it by much.
func quiet() *Builder {
	return New().Logger(zerolog.Nop()).LastCall(time.Millisecond).
		Configure(func(h *fasthttp.Server) { h.MaxIdleWorkerDuration = 10 * time.Millisecond })
}

// loopback is quiet, with an address.
func loopback() *Builder { return quiet().Addr("127.0.0.1:0") }

// build wants no mistake.
func build(t testing.TB, b *Builder) *Server {
	t.Helper()
	s, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// call makes a request of a handler alone. Headers are names and values by turns.
func call(h fasthttp.RequestHandler, method, uri string, headers ...string) *fasthttp.RequestCtx {
	var req fasthttp.Request
	req.Header.SetMethod(method)
	req.SetRequestURI(uri)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	ctx := new(fasthttp.RequestCtx)
	ctx.Init(&req, nil, nil)
	h(ctx)
	return ctx
}

// got is a response as "200 body".
func got(ctx *fasthttp.RequestCtx) string {
	return fmt.Sprintf("%d %s", ctx.Response.StatusCode(), ctx.Response.Body())
}

// running is a server under test, and what its Run returned.
type running struct {
	*Server
	t    testing.TB
	err  error
	done chan struct{}
	mem  *fasthttputil.InmemoryListener // in a bubble
}

// run starts what b builds, and ends it with the test.
func run(t testing.TB, b *Builder) *running {
	t.Helper()
	r := &running{Server: build(t, b), t: t, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = r.Run(context.Background())
	}()
	t.Cleanup(func() {
		_ = r.Close()
		<-r.done
	})
	select {
	case <-r.Reached(lifecycle.PhaseReady):
	case <-r.done:
	}
	return r
}

// bubble runs a test of what b builds in fake time, on an in-memory listener.
// Goroutines that are left at its end fail the test.
func bubble(t *testing.T, b *Builder, f func(t *testing.T, r *running)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(48 * time.Hour) })                              // for what ends on its own time, as fasthttp's worker pool
		b.Configure(func(h *fasthttp.Server) { h.MaxIdleWorkerDuration = time.Hour }) // so that it wakes up less often
		mem := fasthttputil.NewInmemoryListener()
		r := run(t, b.Listener(socketlike{mem}))
		r.mem = mem
		f(t, r)
	})
}

// socketlike makes the connections of an in-memory listener behave as sockets do
// where it matters to the server: a deadline fails with a net.Error, and a write
// does not take whatever it is given.
type socketlike struct{ net.Listener }

func (l socketlike) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &socketlikeConn{c}, err
}

type socketlikeConn struct{ net.Conn }

func (c *socketlikeConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.asSocket(err)
}

func (c *socketlikeConn) Write(p []byte) (n int, err error) {
	for chunk := range slices.Chunk(p, 64<<10) {
		m, err := c.Conn.Write(chunk)
		n += m
		if err != nil {
			return n, c.asSocket(err)
		}
	}
	return n, nil
}

func (*socketlikeConn) asSocket(err error) error {
	if errors.Is(err, fasthttputil.ErrTimeout) {
		return &net.OpError{Op: "pipe", Net: "memory", Err: os.ErrDeadlineExceeded}
	}
	return err
}

// wait waits for Run's return and returns its error.
func (r *running) wait() error {
	r.t.Helper()
	if r.mem != nil { // in a bubble, which itself finds out about a hang
		<-r.done
		return r.err
	}
	select {
	case <-r.done:
		return r.err
	case <-time.After(patience):
		buf := make([]byte, 1<<20)
		r.t.Fatalf("Run has not returned; connections: %+v\n%s", r.Conns(), buf[:runtime.Stack(buf, true)])
		return nil
	}
}

// finish drains, and wants it to go well.
func (r *running) finish() {
	r.t.Helper()
	r.Drain()
	if err := r.wait(); err != nil {
		r.t.Error(err)
	}
}

// client is one connection of a client that retries nothing.
type client struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

// dial connects to the server's first address.
func (r *running) dial() *client {
	r.t.Helper()
	if r.mem != nil {
		nc, err := r.mem.Dial()
		if err != nil {
			r.t.Fatal(err)
		}
		return newClient(r.t, nc)
	}
	return dialAddr(r.t, r.ListenAddrs()[0])
}

func dialAddr(t testing.TB, addr net.Addr) *client {
	t.Helper()
	nc, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	return newClient(t, nc)
}

func newClient(t testing.TB, nc net.Conn) *client {
	t.Cleanup(func() { _ = nc.Close() })
	return &client{Conn: nc, t: t, r: bufio.NewReader(nc)}
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// reply is a response that has been read to its end.
type reply struct {
	*http.Response
	text string
}

func (r reply) String() string { return fmt.Sprintf("%d %s", r.StatusCode, r.text) }

// do makes a request. Headers are names and values by turns.
func (c *client) do(method, path string, headers ...string) reply {
	c.t.Helper()
	text := method + " " + path + " HTTP/1.1\r\nHost: t\r\n"
	for i := 0; i+1 < len(headers); i += 2 {
		text += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	c.send(text + "\r\n")
	return c.reply(method)
}

func (c *client) get(path string, headers ...string) reply {
	c.t.Helper()
	return c.do("GET", path, headers...)
}

// reply reads the response to a request of the method.
func (c *client) reply(method string) reply {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("response: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("response body: %v", err)
	}
	return reply{resp, string(body)}
}

// wantEOF wants the connection to end in good order, with nothing more sent.
func (c *client) wantEOF() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); err != io.EOF {
		c.t.Fatalf("read %q, %v; want EOF", b, err)
	}
}

// logs takes a log of JSON lines.
type logs struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) logger() zerolog.Logger { return zerolog.New(l) }

// lines are the lines with the message msg, parsed.
func (l *logs) lines(t testing.TB, msg string) (lines []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for text := range strings.Lines(l.buf.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("log line %q: %v", text, err)
		}
		if line["message"] == msg {
			lines = append(lines, line)
		}
	}
	return lines
}

// line is the one line with the message msg.
func (l *logs) line(t testing.TB, msg string) map[string]any {
	t.Helper()
	lines := l.lines(t, msg)
	if len(lines) != 1 {
		t.Fatalf("%d lines %q in the log: %v", len(lines), msg, lines)
	}
	return lines[0]
}

// gate is a handler that says when it runs and waits to be let on.
type gate struct {
	entered chan struct{}
	release chan struct{}
}

func newGate() *gate { return &gate{make(chan struct{}, 100), make(chan struct{})} }

func (g *gate) handle(ctx *fasthttp.RequestCtx) {
	g.entered <- struct{}{}
	<-g.release
	ctx.SetBodyString("late")
}

var certificate = sync.OnceValue(testcert.New)

// certFiles writes the certificate and its key to files.
func certFiles(t testing.TB, cert tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	certFile, keyFile, err := testcert.Files(cert, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile
}
