package nethttp

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/internal/testcert"
	"github.com/lastcall-go/lastcall/lifecycle"
)

// patience bounds waits, which end by events: it only turns a hang into a failure.
const patience = time.Minute

func TestMain(m *testing.M) {
	(&fasthttp.ResponseHeader{}).Header() // begins fasthttp's clock, which has no end
	os.Exit(m.Run())
}

// kinds are the kinds of listeners.
var kinds = []string{"tcp", "tls", "unix"}

// app is what a server under test is made of.
type app struct {
	native fasthttp.RequestHandler // for all paths but those below /net
	net    http.HandlerFunc        // for those below /net
	fresh  bool                    // all is for net, but what is below /native
	mount  func(*Mount)            // may change it
	set    func(*lifecycle.Server) // as well
}

func (a app) route(_, target string) http.Handler {
	if a.fresh && !strings.HasPrefix(target, "/native") || strings.HasPrefix(target, "/net") {
		return a.net
	}
	return nil
}

// running is a server under test, and what its Run returned.
type running struct {
	*lifecycle.Server
	t    testing.TB
	err  error
	done chan struct{}
}

type nolog struct{}

func (nolog) Printf(string, ...any) {}

// run starts a server on a listener of the kind, and ends it with the test.
func run(t testing.TB, kind string, a app) *running {
	t.Helper()
	if a.native == nil {
		a.native = sayNative
	}
	if a.net == nil {
		a.net = sayNet
	}
	life := &lifecycle.Server{
		HTTP:     &fasthttp.Server{Handler: a.native, Logger: nolog{}, MaxIdleWorkerDuration: 50 * time.Millisecond},
		LastCall: -1,
	}
	switch kind {
	case "tls":
		life.HTTP.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate()}, MinVersion: tls.VersionTLS12}
		life.Addrs = []string{"127.0.0.1:0"}
	case "unix":
		life.Addrs = []string{"unix:" + filepath.Join(t.TempDir(), "s")}
	default:
		life.Addrs = []string{"127.0.0.1:0"}
	}
	if a.set != nil {
		a.set(life)
	}
	m := Mount{HTTP: &http.Server{ErrorLog: log.New(io.Discard, "", 0)}, Route: a.route, Fresh: a.fresh}
	if a.mount != nil {
		a.mount(&m)
	}
	m.On(life)
	r := &running{Server: life, t: t, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = life.Run(context.Background())
	}()
	t.Cleanup(func() {
		_ = life.Close()
		<-r.done
	})
	select {
	case <-life.Reached(lifecycle.PhaseReady):
	case <-r.done:
		t.Fatal(r.err)
	}
	return r
}

// sayNet and sayNative say what they were asked for.
func sayNet(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	fmt.Fprintf(w, "net %s %s %q %v", r.Method, r.RequestURI, body, err)
}

func sayNative(ctx *fasthttp.RequestCtx) {
	fmt.Fprintf(ctx, "native %s %s %q", ctx.Method(), ctx.RequestURI(), ctx.PostBody())
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

// finish drains, and wants it to go well.
func (r *running) finish() {
	r.t.Helper()
	r.Drain()
	if err := r.wait(); err != nil {
		r.t.Error(err)
	}
}

// until waits until something is as it is to be, shortly after a response.
func (r *running) until(what string, is func() bool) {
	r.t.Helper()
	for began := time.Now(); !is(); time.Sleep(time.Millisecond) {
		if time.Since(began) > patience {
			r.t.Fatalf("not so: %s; connections %+v", what, r.Conns())
		}
	}
}

// noneLeft waits until there are no more goroutines than there were before.
func noneLeft(t *testing.T, before int) {
	t.Helper()
	for began := time.Now(); runtime.NumGoroutine() > before+5; time.Sleep(time.Millisecond) { // fasthttp's own
		if time.Since(began) > patience {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines; were %d\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
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
	addr := r.ListenAddrs()[0]
	nc, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		r.t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	if r.HTTP.TLSConfig != nil {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
	}
	r.t.Cleanup(func() { _ = nc.Close() })
	return newClient(r.t, nc)
}

func newClient(t testing.TB, nc net.Conn) *client {
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

// get makes a request without a body. Headers are names and values by turns.
func (c *client) get(path string, headers ...string) reply {
	c.t.Helper()
	return c.do("GET", path, "", headers...)
}

func (c *client) do(method, path, body string, headers ...string) reply {
	c.t.Helper()
	c.send(request(method, path, body, headers...))
	return c.reply(method)
}

func request(method, path, body string, headers ...string) string {
	text := method + " " + path + " HTTP/1.1\r\nHost: t\r\n"
	for i := 0; i+1 < len(headers); i += 2 {
		text += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	if body != "" {
		text += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	return text + "\r\n" + body
}

// want wants a response's text.
func (c *client) want(method, text string) {
	c.t.Helper()
	if got := c.reply(method).text; got != text {
		c.t.Errorf("answered %q; want %q", got, text)
	}
}

// wantEOF wants the connection to end in good order, with nothing more sent.
func (c *client) wantEOF() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); err != io.EOF {
		c.t.Fatalf("read %q, %v; want EOF", b, err)
	}
}

// pipe is a listener for connections in memory, to be used in one bubble of fake time.
type pipe struct {
	conns chan net.Conn
	once  sync.Once
	over  chan struct{}
}

func newPipe() *pipe { return &pipe{conns: make(chan net.Conn), over: make(chan struct{})} }

func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.over:
		return nil, net.ErrClosed
	}
}

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.over) })
	return nil
}

func (p *pipe) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipe) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}
