package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle/rehearsal"
)

// behaviour is something that net/http shows to clients and handlers. It has no
// expectations: what it is to show is what the reference shows.
type behaviour struct {
	group  string // set by choose
	name   string
	send   string                                               // the script, if script is nil: this, and a last request that closes
	script func(x *run, c *conn)                                // nil: send
	serve  func(x *run, w http.ResponseWriter, r *http.Request) // nil: the group's
	server func(x *run, s *http.Server)                         // changes the server before it serves; nil: none
	logs   bool                                                 // what the server logs counts too
	plain  bool                                                 // what it shows is the connection's own life: no variant but the plain one
	alone  bool                                                 // measures memory: nothing else may run
}

// group is a part of the suite.
type group struct {
	name       string
	behaviours []behaviour
	serve      func(x *run, w http.ResponseWriter, r *http.Request) // of behaviours that have none
	plain      bool                                                 // all of them
}

var suite = []group{
	{name: "targets", behaviours: targets, serve: dumpTarget},
	{name: "request line", behaviours: requestLine, serve: dumpTarget},
	{name: "request header", behaviours: requestHeader, serve: dumpHeader},
	{name: "framing", behaviours: framing, serve: dumpFraming},
	{name: "forms", behaviours: forms},
	{name: "response header", behaviours: responseHeader},
	{name: "response body", behaviours: responseBody},
	{name: "streams", behaviours: streams},
	{name: "hijack", behaviours: hijack},
	{name: "control", behaviours: control},
	{name: "handlers", behaviours: handlers},
	{name: "life", behaviours: life, serve: path},
	{name: "mixed", behaviours: mixed},
	{name: "messages", behaviours: messages, serve: dumpHeader, plain: true},
	{name: "controller", behaviours: controller, plain: true},
	{name: "timeouts", behaviours: timeout, plain: true},
	{name: "serving", behaviours: serving, plain: true},
	{name: "library", behaviours: library, plain: true},
	{name: "HTTP/2", behaviours: http2, plain: true},
}

// variant says what is done to the scripts.
type variant struct {
	name      string
	native    int  // how many native requests are sent before one on a connection at rest
	pipelined bool // in the same segment
	split     bool // every byte is sent by itself
}

var variants = []variant{
	{name: "plain"},
	{name: "alternating", native: 1},
	{name: "pipelined", native: 1, pipelined: true},
	{name: "to and fro", native: 10, pipelined: true}, // so many that a connection goes back
	{name: "split", split: true},
}

// limit is how long something that has to come may take. The reference takes
// milliseconds; what differs is not to take long either, but tests can wait.
var limit = 5 * time.Second

const (
	nativePath    = "/native-route"
	nativeRequest = "GET " + nativePath + " HTTP/1.1\r\nHost: native\r\n\r\n"
	nativeHeader  = "X-Native"
	lastPath      = "/the-last-request"
	lastRequest   = "GET " + lastPath + " HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n"
)

// run is one behaviour, shown once by one server.
type run struct {
	behaviour *behaviour
	contender *contender
	variant   variant
	server    server
	addr      string
	served    chan struct{} // closed when Serve has returned, with serveErr
	serveErr  error

	mu        sync.Mutex
	seen      []string // by the handlers
	noted     []string // by the script
	logged    []string
	events    map[string]chan struct{}
	kept      *http.Request // by a handler, for the next
	conns     []*conn
	running   int         // handlers
	impatient atomic.Bool // something has not come, so that what comes after it may not come either
	finished  *sync.Cond
}

// transcript runs the behaviour on a server of its own, and returns all that it
// has shown.
func (b *behaviour) transcript(c *contender, v variant) string {
	x := &run{behaviour: b, contender: c, variant: v, served: make(chan struct{}), events: map[string]chan struct{}{}}
	x.finished = sync.NewCond(&x.mu)
	// Of its own, as a client of another behaviour may try again when its server is gone.
	addr, err := rehearsal.FreeAddr()
	if err != nil {
		return "listen: " + err.Error()
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "listen: " + err.Error()
	}
	x.addr = addr
	s := &http.Server{Handler: x, ErrorLog: log.New(x, "", 0)} //nolint:gosec // timeouts are what some behaviours are about
	if b.server != nil {
		b.server(x, s)
	}
	x.server = c.serve(s, x.native)
	overTLS := s.TLSConfig != nil // a script may serve once more, which sets it
	go func() {
		defer close(x.served)
		if overTLS {
			x.serveErr = x.server.ServeTLS(l, "", "")
		} else {
			x.serveErr = x.server.Serve(l)
		}
	}()
	if b.script != nil {
		b.script(x, x.dial())
	} else {
		x.sendAll(x.dial())
	}
	for _, c := range x.conns {
		_ = c.Close()
	}
	x.awaitHandlers()
	_ = x.server.Close()
	_ = l.Close()
	select {
	case <-x.served:
	case <-time.After(x.patience()):
	}
	return x.String()
}

// sendAll is the script of a behaviour that has none: whatever becomes of what
// is sent, the last request ends the connection, and shows where the server took
// the first to end.
func (x *run) sendAll(c *conn) {
	text := x.behaviour.send
	if x.variant.pipelined {
		natives := strings.Repeat(nativeRequest, x.variant.native)
		c.write(natives + text + natives + lastRequest)
	} else {
		c.send(text)
		c.write(lastRequest)
	}
	c.rest()
}

// ServeHTTP is the handler of every server: it adds the paths that scripts are
// kept going with.
func (x *run) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x.mu.Lock()
	x.running++
	x.mu.Unlock()
	defer func() {
		x.mu.Lock()
		x.running--
		x.finished.Broadcast()
		x.mu.Unlock()
	}()
	switch r.URL.Path {
	case nativePath:
		w.Header().Set(nativeHeader, "no")
		_, _ = io.WriteString(w, "native\n")
	case lastPath:
		x.sawf("the last request")
		_, _ = io.WriteString(w, "last\n")
	default:
		x.behaviour.serve(x, w, r)
	}
}

// native is mounted at nativePath where there is a second engine.
func (x *run) native(ctx *fasthttp.RequestCtx) {
	ctx.Response.Header.Set(nativeHeader, "yes")
	ctx.SetBodyString("native\n")
}

func (x *run) awaitHandlers() {
	expired := time.AfterFunc(limit, func() {
		x.mu.Lock()
		x.running = -1 << 30
		x.finished.Broadcast()
		x.mu.Unlock()
	})
	defer expired.Stop()
	x.mu.Lock()
	defer x.mu.Unlock()
	for x.running > 0 {
		x.finished.Wait()
	}
	if x.running < 0 {
		x.seen = append(x.seen, "a handler does not return")
	}
}

// sawf notes what a handler has seen.
func (x *run) sawf(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.seen = append(x.seen, fmt.Sprintf(format, args...))
}

// notef notes what the script has seen.
func (x *run) notef(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.noted = append(x.noted, fmt.Sprintf(format, args...))
}

// Write takes what the server logs: the first line of each message, since stacks
// differ.
func (x *run) Write(p []byte) (int, error) {
	first, _, _ := strings.Cut(string(p), "\n")
	x.mu.Lock()
	x.logged = append(x.logged, first)
	x.mu.Unlock()
	x.signal("logged")
	return len(p), nil
}

func (x *run) patience() time.Duration {
	if x.impatient.Load() {
		return limit / 50
	}
	return limit
}

func (x *run) event(name string) chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.events[name] == nil {
		x.events[name] = make(chan struct{}, 1000)
	}
	return x.events[name]
}

// signal and wait let the handler and the script wait for one another.
func (x *run) signal(name string) { x.event(name) <- struct{}{} }

func (x *run) wait(name string) {
	select {
	case <-x.event(name):
	case <-time.After(x.patience()):
		x.notef("waited for %q in vain", name)
		x.impatient.Store(true)
	}
}

// never is for what must not happen: a server that is wrong is given a moment to
// show it.
func (x *run) never(name string) {
	select {
	case <-x.event(name):
		x.notef("%q, too early", name)
	case <-time.After(30 * time.Millisecond):
	}
}

// What is another at each run, where no server means anything by it.
var (
	addresses = regexp.MustCompile(`127\.\d+\.\d+\.\d+:\d+`)
	dates     = regexp.MustCompile(`Date: [^\\]+ GMT\\r`)
)

func (x *run) String() string {
	var b strings.Builder
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, s := range x.seen {
		fmt.Fprintln(&b, "handler:", s)
	}
	for _, s := range x.noted {
		fmt.Fprintln(&b, "script:", s)
	}
	if x.behaviour.logs {
		for _, s := range x.logged {
			fmt.Fprintln(&b, "log:", s)
		}
	}
	for i, c := range x.conns {
		for _, s := range wire(c.taken()) {
			fmt.Fprintf(&b, "wire %d: %s\n", i+1, s)
		}
		fmt.Fprintf(&b, "wire %d: %s\n", i+1, cmp.Or(c.over, "open"))
	}
	return addresses.ReplaceAllString(b.String(), "ADDRESS")
}

// wire is what came on a connection, a line for each line of a header and one for
// each body. Equal for every server are the order of header lines, which has no
// meaning between names (RFC 9110, section 5.3), the bounds of chunks (RFC 9112,
// section 7.1), and dates of now. Answers to native requests are counted. It leaves
// nothing of raw.
func wire(raw []byte) (lines []string) {
	native := 0
	for len(raw) > 0 {
		head, rest, ok := bytes.Cut(raw, []byte("\r\n\r\n"))
		if !ok || !bytes.HasPrefix(head, []byte("HTTP/")) {
			lines = append(lines, dates.ReplaceAllString(quote(raw), `Date: now\r`))
			break
		}
		header := strings.Split(string(head), "\r\n")
		slices.SortStableFunc(header[1:], func(a, b string) int { return cmp.Compare(name(a), name(b)) })
		chunked, length, isNative := false, -1, false
		for i, h := range header[1:] {
			value := strings.TrimSpace(h[len(name(h)):])
			switch strings.ToLower(name(h)) {
			case "date:":
				if t, err := http.ParseTime(value); err == nil && time.Since(t).Abs() < time.Hour {
					header[i+1] = h[:len(name(h))] + " now"
				}
			case "transfer-encoding:":
				chunked = value == "chunked"
			case "content-length:":
				if n, err := strconv.Atoi(value); err == nil && length < 0 {
					length = n
				}
			case strings.ToLower(nativeHeader) + ":":
				isNative = true
			}
		}
		var body []byte
		end := ""
		switch code, _, _ := strings.Cut(strings.TrimPrefix(header[0][len("HTTP/1.1"):], " "), " "); {
		case len(rest) == 0 || bytes.HasPrefix(rest, []byte("HTTP/1.")) || len(code) == 3 && code[0] == '1' && code != "101":
		case chunked:
			body, rest, end = dechunk(rest)
		case length >= 0 && length <= len(rest):
			body, rest = rest[:length], rest[length:]
		default:
			body, rest = rest, nil
		}
		raw = rest
		if isNative {
			native++
			continue
		}
		lines = append(lines, header...)
		lines = append(lines, "body "+quote(body)+end)
	}
	if native > 0 {
		lines = append(lines, fmt.Sprintf("%d native", native))
	}
	return lines
}

func name(header string) string { return header[:strings.IndexByte(header, ':')+1] }

// dechunk puts the body where the chunks were, which saves the pages of another long one.
func dechunk(raw []byte) (body, rest []byte, end string) {
	body = raw[:0]
	for {
		line, after, ok := bytes.Cut(raw, []byte("\r\n"))
		n, err := strconv.ParseUint(string(line), 16, 31)
		switch {
		case !ok || err != nil:
			return body, nil, " and no last chunk, but " + quote(raw)
		case n == 0:
			if trailer, rest, ok := bytes.Cut(raw, []byte("\r\n\r\n")); ok {
				t := strings.Split(string(trailer), "\r\n")[1:]
				slices.Sort(t)
				return body, rest, fmt.Sprintf(" trailer %q", t)
			}
			return body, nil, " and no end of the trailer, but " + quote(raw)
		case int(n)+2 > len(after):
			return append(body, after...), nil, " within a chunk"
		}
		body, raw = append(body, after[:n]...), after[n+2:]
	}
}

func quote(b []byte) string {
	if len(b) <= 300 {
		return strconv.Quote(string(b))
	}
	hash := sha256.Sum256(b) // in assembly, which the race detector does not slow down
	return fmt.Sprintf("%q..., %d bytes with hash %x", b[:60], len(b), hash[:8])
}

// conn is the client's end of a connection. All that comes is kept.
type conn struct {
	net.Conn
	x      *run
	br     *bufio.Reader
	err    error  // of the last Read
	over   string // how reading has ended
	atRest bool   // all requests are answered
	muted  bool   // what comes is not kept

	mu  sync.Mutex
	raw []byte
}

func (x *run) dial() *conn {
	nc, err := net.DialTimeout("tcp", x.addr, limit)
	if err != nil {
		x.notef("dial: %v", err)
		nc, _ = net.Pipe()
		_ = nc.Close()
	}
	return x.use(nc)
}

// use takes a connection that the script has made.
func (x *run) use(nc net.Conn) *conn {
	c := &conn{Conn: nc, x: x, atRest: true}
	c.br = bufio.NewReader(c)
	x.conns = append(x.conns, c)
	return c
}

// Read keeps what is read.
func (c *conn) Read(p []byte) (int, error) {
	_ = c.SetReadDeadline(time.Now().Add(c.x.patience()))
	n, err := c.Conn.Read(p)
	c.err = err
	if !c.muted {
		c.mu.Lock()
		c.raw = add(c.raw, p[:n])
		c.mu.Unlock()
	}
	return n, err
}

// add appends. It doubles what is full, where append adds a quarter: pages of new
// memory are what a long response costs most.
func add(to, b []byte) []byte {
	if cap(to)-len(to) < len(b) {
		to = slices.Grow(to, max(len(b), len(to)))
	}
	return append(to, b...)
}

func (c *conn) taken() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.raw
}

// send sends a request, or a further part of one.
func (c *conn) send(text string) {
	v := c.x.variant
	if !c.atRest {
		v.native = 0
	}
	natives := strings.Repeat(nativeRequest, v.native)
	if v.pipelined {
		c.write(natives + text)
	} else if natives != "" {
		c.write(natives)
	}
	for range v.native {
		if h := c.response("GET"); h != nil && c.x.contender.native && h.Get(nativeHeader) != "yes" {
			c.x.notef("a native route was not served by its handler")
		}
	}
	if !v.pipelined {
		c.write(text)
	}
	c.atRest = false
}

// write writes without regard to what the server does with it: what it answers is
// what counts.
func (c *conn) write(text string) {
	_ = c.SetWriteDeadline(time.Now().Add(limit))
	if c.x.variant.split {
		// The pause is there so that most bytes are read by themselves. No result
		// depends on it.
		n := min(len(text), 700)
		for i := range n {
			_ = c.SetWriteDeadline(time.Now().Add(limit)) // for a byte: a machine may be slow
			_, _ = io.WriteString(c.Conn, text[i:i+1])
			if i%4 == 0 {
				time.Sleep(10 * time.Microsecond)
			} else {
				runtime.Gosched()
			}
		}
		text = text[n:]
	}
	if text != "" {
		_, _ = io.WriteString(c.Conn, text)
	}
}

// ended notes the end of what comes. A reset is an end too: which of the two it is
// may depend on what the client's last bytes race with.
func (c *conn) ended(err error) {
	switch ne, ok := err.(net.Error); { //nolint:errorlint // of a connection, never wrapped
	case c.over != "":
	case ok && ne.Timeout():
		c.over = "nothing more comes, and no end"
		c.x.impatient.Store(true)
	default:
		c.over = "closed"
	}
}

// response reads a response, past informational ones, and returns its header, nil
// when there is none.
func (c *conn) response(method string) http.Header {
	for c.over == "" {
		resp, err := http.ReadResponse(c.br, &http.Request{Method: method})
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		switch {
		case c.err != nil:
			c.ended(c.err)
		case err != nil:
			c.x.notef("no response: %v", err)
			c.rest()
		}
		if err != nil {
			return nil
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			c.atRest = !resp.Close && c.over == ""
			return resp.Header
		}
	}
	return nil
}

// get sends a GET and reads its response.
func (c *conn) get(path string) {
	c.send(target(path))
	c.response("GET")
}

// until reads up to a text.
func (c *conn) until(text string) {
	var got []byte
	for c.over == "" && !bytes.HasSuffix(got, []byte(text)) {
		b, err := c.br.ReadByte()
		if err != nil {
			c.ended(err)
			c.x.notef("no %q came", text)
			return
		}
		got = append(got, b)
	}
}

// rest reads to the end.
func (c *conn) rest() {
	if c.over == "" {
		_, err := io.Copy(io.Discard, c.br)
		c.ended(err)
	}
}

// quiet notes what comes when nothing is to come for a moment.
func (c *conn) quiet() {
	if c.over != "" {
		return
	}
	if c.br.Buffered() > 0 {
		c.x.notef("not quiet")
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	b := make([]byte, 1)
	if n, err := c.Conn.Read(b); n > 0 {
		c.x.notef("not quiet: %q", b)
		c.ended(io.EOF)
	} else if ne, ok := err.(net.Error); !ok || !ne.Timeout() { //nolint:errorlint // as above
		c.x.notef("not quiet: closed")
		c.ended(err)
	}
}

// closeWrite says that nothing more will be sent.
func (c *conn) closeWrite() {
	if hc, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = hc.CloseWrite()
	}
}

// shutdown shuts the server down and returns when that is over.
func (x *run) shutdown(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	over := make(chan error, 1)
	go func() { over <- x.server.Shutdown(ctx) }()
	select {
	case err := <-over:
		return err
	case <-time.After(timeout + x.patience()):
		x.impatient.Store(true)
		return errors.New("it does not return")
	}
}

// noteServe notes how Serve has ended.
func (x *run) noteServe() {
	select {
	case <-x.served:
		x.notef("Serve: %v, which is ErrServerClosed: %v", x.serveErr, errors.Is(x.serveErr, http.ErrServerClosed))
	case <-time.After(x.patience()):
		x.impatient.Store(true)
		x.notef("Serve does not return")
	}
}

// pump sends total bytes.
func (c *conn) pump() {
	_ = c.SetWriteDeadline(time.Now().Add(4 * limit))
	for range total / len(block) {
		if _, err := c.Write(block); err != nil {
			return
		}
	}
}

// discard reads n bytes of a body that is too large to keep.
func (c *conn) discard(n int64) {
	c.muted = true
	got, _ := io.CopyN(io.Discard, c.br, n)
	c.muted = false
	if got < n {
		c.x.notef("%d bytes of %d came", got, n)
	}
	c.mu.Lock()
	head, _, _ := bytes.Cut(c.raw, []byte("\r\n\r\n"))
	c.raw = append(slices.Clip(head), "\r\n\r\n"...)
	c.mu.Unlock()
	c.over = cmp.Or(c.over, "not read further")
}

// memory is what the heap was, and the most it has been.
type memory struct {
	from, most uint64
	stop       chan struct{}
	done       chan struct{}
}

func watchMemory() *memory {
	m := &memory{stop: make(chan struct{}), done: make(chan struct{})}
	var s runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&s)
	m.from = s.HeapAlloc
	go func() {
		defer close(m.done)
		for {
			runtime.ReadMemStats(&s)
			m.most = max(m.most, s.HeapAlloc)
			select {
			case <-m.stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return m
}

// grown says whether it has grown by more than a small part of what went through.
func (m *memory) grown() string {
	close(m.stop)
	<-m.done
	if m.most > m.from+total/4 {
		return "memory grows"
	}
	return "memory is bounded"
}
