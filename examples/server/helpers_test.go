//go:build unix

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// The server is tested as its users have it: a binary, ended by real signals,
// spoken to on sockets.

// binary is the server, as TestMain has built it.
var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "lastcall-server-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "server")
	args := []string{"build", "-o", binary}
	if raceEnabled {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// patience bounds waits, which end by events. It is not what is tested: it only
// turns a hang into a failure.
const patience = time.Minute

// process is a running server.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	stderr logbook
	exited chan struct{} // closed when the process has ended and stderr is complete

	network, addr string
	tls           *tls.Config // how to dial; nil without TLS
}

// start starts a server on a loopback port that logs JSON, and waits until it is
// ready.
func start(t testing.TB, args ...string) *process {
	t.Helper()
	p := launch(t, nil, append([]string{"-addr", "127.0.0.1:0", "-log", "json"}, args...)...)
	p.network, p.addr = "tcp", p.await("listening").Addr
	p.await("server ready")
	return p
}

// startUnix starts a server that listens on a Unix socket only, for logs from
// which no port can be read, and waits until it is reached.
func startUnix(t testing.TB, args ...string) *process {
	t.Helper()
	path := socketPath(t)
	p := launch(t, nil, append([]string{"-addr", "", "-unix", path}, args...)...)
	p.network, p.addr = "unix", path
	p.awaitReached()
	return p
}

// socketPath is one that fits into a socket's address, as t.TempDir may not.
func socketPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lastcall-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// launch starts a server in a given environment and ends it with the test.
func launch(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: command(env, args...)}
	p.cmd.Stderr = &p.stderr
	p.begin()
	return p
}

// begin starts the process and has it ended with the test.
func (p *process) begin() {
	p.t.Helper()
	p.exited = make(chan struct{})
	p.stderr.changed = make(chan struct{})
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait()
	}()
	p.t.Cleanup(p.cleanUp)
}

// command is the server with nothing of the tester's environment.
func command(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	// A race-enabled binary sleeps before it exits, for reports that are under way.
	cmd.Env = []string{"GORACE=atexit_sleep_ms=0"}
	if d := os.Getenv("PARK_AFTER"); d != "" { // make test-parked
		cmd.Env = append(cmd.Env, "PARK_AFTER="+d)
	}
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

func (p *process) cleanUp() {
	_ = p.cmd.Process.Kill()
	<-p.exited
	text := p.stderr.String()
	if strings.Contains(text, "DATA RACE") {
		p.t.Error("the server has a data race")
	}
	if p.t.Failed() {
		const enough = 4 << 10
		p.t.Logf("stderr ends in:\n%s", text[max(0, len(text)-enough):])
	}
}

func (p *process) signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("%v: %v", sig, err)
	}
}

// drain sends SIGTERM and returns once it has taken effect, with the time before
// which it cannot have.
func (p *process) drain() (sent time.Time) {
	p.t.Helper()
	sent = time.Now()
	p.signal(syscall.SIGTERM)
	p.await("server draining")
	return sent
}

// wantExit waits for the process's end.
func (p *process) wantExit(code int) {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines, on stderr
		select {
		case <-p.exited:
		case <-time.After(time.Second):
		}
		p.t.Fatal("the process has not exited")
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Errorf("%v; want exit code %d", p.cmd.ProcessState, code)
	}
}

// until waits for what no log line tells of.
func (p *process) until(what string, f func() bool) {
	p.t.Helper()
	for began := time.Now(); !f(); time.Sleep(time.Millisecond) {
		select {
		case <-p.exited:
			p.t.Fatalf("%s: not before the process's exit", what)
		default:
		}
		if time.Since(began) > patience {
			p.t.Fatalf("%s: not in %v", what, patience)
		}
	}
}

// awaitRoute waits until a handler runs for a request such as "GET /slow".
func (p *process) awaitRoute(route string) {
	p.t.Helper()
	p.until(route+" under way", func() bool {
		for _, c := range p.conns() {
			if c.State == "active" && c.Route == route {
				return true
			}
		}
		return false
	})
}

// awaitReached waits until the server can be connected to.
func (p *process) awaitReached() {
	p.t.Helper()
	p.until("reached", func() bool {
		nc, err := net.Dial(p.network, p.addr)
		if err == nil {
			_ = nc.Close()
		}
		return err == nil
	})
}

// awaitRefused waits until new connections are refused.
func (p *process) awaitRefused() {
	p.t.Helper()
	p.until("refused", func() bool {
		// A SYN that met the end of the listener is dropped, and would be sent
		// again after a second only.
		nc, err := net.DialTimeout(p.network, p.addr, 100*time.Millisecond)
		if err == nil {
			_ = nc.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
}

type connInfo struct {
	State, Remote, Route string
	Requests             int
}

// conns asks, on a connection of its own that is closed then, for the others.
func (p *process) conns() []connInfo {
	p.t.Helper()
	c := p.dial()
	defer c.Close()
	c.send("GET /conns HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
	var table struct{ Conns []connInfo }
	if err := json.Unmarshal([]byte(c.response().body), &table); err != nil {
		p.t.Fatal(err)
	}
	return table.Conns
}

// logbook collects the lines of a process's stderr.
type logbook struct {
	mu      sync.Mutex // guards what follows
	lines   []string
	partial []byte
	changed chan struct{} // closed, and replaced, when there are more lines
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, b...)
	for {
		line, rest, ok := bytes.Cut(l.partial, []byte("\n"))
		if !ok {
			break
		}
		l.lines, l.partial = append(l.lines, string(line)), rest
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return len(b), nil
}

// from returns the lines from the nth on, and a channel that is closed when
// there are more.
func (l *logbook) from(n int) ([]string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.lines[n:]...), l.changed
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(append(slices.Clip(l.lines), string(l.partial)), "\n")
}

// entry is a line of the JSON log.
type entry struct {
	Message, Level string
	Addr, Hook     string
	RequestID      string `json:"request_id"`
	Method, Path   string
	Status         int
	report
}

// report is what the last line says beside.
type report struct {
	Cause      string
	Drain      float64 // milliseconds
	Open       lifecycle.Counts
	Accepted   int
	Told       int
	LastCalled int        `json:"last_called"`
	Cut        []connInfo `json:"cut"`
	Hooks      []any
	ExitCode   *int `json:"exit_code"`
	Error      string
}

// await waits for a line of the JSON log and returns it. It begins at the first.
func (p *process) await(message string) entry {
	p.t.Helper()
	deadline := time.After(patience)
	for seen := 0; ; {
		lines, more := p.stderr.from(seen)
		seen += len(lines)
		for _, line := range lines {
			var e entry
			if json.Unmarshal([]byte(line), &e) == nil && e.Message == message {
				return e
			}
		}
		select {
		case <-more:
		case <-p.exited:
			if lines, _ := p.stderr.from(seen); len(lines) == 0 {
				p.t.Fatalf("the process has ended without a line %q", message)
			}
		case <-deadline:
			p.t.Fatalf("no line %q in %v", message, patience)
		}
	}
}

// entries returns the JSON log of a process that has exited. Each line has to be
// JSON.
func (p *process) entries() []entry {
	p.t.Helper()
	<-p.exited
	lines, _ := p.stderr.from(0)
	entries := make([]entry, len(lines))
	for i, line := range lines {
		if err := json.Unmarshal([]byte(line), &entries[i]); err != nil {
			p.t.Errorf("line %d: %v: %s", i, err, line)
		}
	}
	return entries
}

// report returns what the JSON log says of the life's end: in its last line, unless
// a handler was left behind, whose access line may come later.
func (p *process) report() (r report) {
	p.t.Helper()
	entries := p.entries()
	last := slices.IndexFunc(entries, func(e entry) bool { return e.Message == "drained" })
	if last < 0 || entries[last].ExitCode == nil {
		p.t.Fatal("no report")
	}
	r = entries[last].report
	if *r.ExitCode == 0 && last != len(entries)-1 {
		p.t.Errorf("%d lines after the report", len(entries)-1-last)
	}
	return r
}

// hooks returns the names of the hooks that have left their line, in order.
func (p *process) hooks() (names []string) {
	p.t.Helper()
	for _, e := range p.entries() {
		if e.Hook != "" {
			names = append(names, e.Hook)
		}
	}
	return names
}

// allHooks is what hooks returns when all have run.
const allHooks = "[registry queue receipt database]"

// client is one connection of a client that retries nothing.
type client struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func (p *process) dial() *client {
	p.t.Helper()
	nc, err := net.Dial(p.network, p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	if p.tls != nil {
		nc = tls.Client(nc, p.tls)
	}
	return &client{nc, p.t, bufio.NewReader(nc)}
}

// get makes a request on a connection of its own.
func (p *process) get(path string) response {
	p.t.Helper()
	c := p.dial()
	defer c.Close()
	return c.get(path)
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

func (c *client) sendGet(path string) {
	c.t.Helper()
	c.send("GET " + path + " HTTP/1.1\r\nHost: t\r\n\r\n")
}

func (c *client) get(path string) response {
	c.t.Helper()
	c.sendGet(path)
	return c.response()
}

// response is one that has been read in full.
type response struct {
	*http.Response
	body string
}

func (c *client) response() response {
	c.t.Helper()
	r := c.header()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Fatalf("response body: %v", err)
	}
	r.body = string(body)
	return r
}

// header reads a response's header, and leaves its body to be read.
func (c *client) header() response {
	c.t.Helper()
	r, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatalf("response: %v", err)
	}
	return response{Response: r}
}

// want wants a response, body and all.
func (r response) want(t testing.TB, status int, body string) {
	t.Helper()
	if r.StatusCode != status || r.body != body {
		t.Errorf("response %d %q; want %d %q", r.StatusCode, r.body, status, body)
	}
}

// wantClose wants Connection: close on the response, or not.
func (r response) wantClose(t testing.TB, want bool) {
	t.Helper()
	if r.Close != want {
		t.Errorf("Connection: close is %v; want %v", r.Close, want)
	}
}

// wantEOF wants the connection to end in good order, with nothing more sent.
func (c *client) wantEOF() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); err != io.EOF {
		c.t.Fatalf("read %q, %v; want EOF", b, err)
	}
}

// wantLast wants an answered request after which the connection closes.
func (c *client) wantLast(path string, status int, body string) {
	c.t.Helper()
	r := c.get(path)
	r.want(c.t, status, body)
	r.wantClose(c.t, true)
	c.wantEOF()
}

// upload is a request that is under way until the test sends its end.
type upload struct{ *client }

func (p *process) upload() upload {
	p.t.Helper()
	u := upload{p.dial()}
	u.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nfirst")
	p.until("upload under way", func() bool {
		for _, c := range p.conns() {
			if c.State == "active" && c.Remote == u.LocalAddr().String() {
				return true
			}
		}
		return false
	})
	return u
}

// finish sends the rest, and wants it answered with the connection's end.
func (u upload) finish() {
	u.t.Helper()
	u.send("later")
	r := u.response()
	r.want(u.t, http.StatusOK, "firstlater")
	r.wantClose(u.t, true)
	u.wantEOF()
}

const greeting = "Hello World!"

// tooEarly fails the test if something that may not happen before least has passed
// since then has happened by now.
func tooEarly(t testing.TB, what string, since time.Time, least time.Duration) {
	t.Helper()
	if took := time.Since(since); took < least {
		t.Errorf("%s after %v; want %v or more", what, took, least)
	}
}
