package nethttp

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// conn is a connection that the http.Server serves. It begins with what fasthttp has
// read of it, and sees when a request begins: http.Server tells of that when it has
// read the whole header.
type conn struct {
	net.Conn // as fasthttp had it
	adopted  *lifecycle.Adopted
	server   *server

	// What follows belongs to who reads, or serves the connection: http.Server sees to
	// it that those are not two at the same time.
	unread  []byte
	room    int  // size of the buffer that http.Server reads into
	natives int  // native requests in a row
	leaving bool // on its way back to fasthttp
	fresh   bool // nothing has been read yet, and it may be one of HTTP/2
	gone    bool // it is

	// http.Server may be reading what comes behind a body that its handler has left
	// unread when it says that the connection is idle.
	mu       sync.Mutex // guards what follows
	resting  bool       // between two requests, or before the first
	answered bool       // as well, and that has not been reported
	reading  bool       // Conn.Read may be under way
	eager    bool       // somebody else may set deadlines of Conn
	due      bool       // Conn has not been told of until yet
	until    time.Time  // the deadline for reads

	hijacked atomic.Bool // by a handler
	deadline atomic.Bool // a handler has set one of its own for writes
	timeout  bool        // there is one of WriteTimeout
}

// tcpConn has sendfile, and tlsConn what http.Server knows a TLS connection by. That
// of a *tls.Conn itself it would serve by HTTP/2.
type (
	tcpConn struct{ *conn }
	tlsConn struct{ *conn }
)

// connOf is what any of them is made of. Type switches on what is no interface cost
// least, and this is asked for several times a request.
func connOf(nc any) *conn {
	switch c := nc.(type) {
	case *tcpConn:
		return c.conn
	case *tlsConn:
		return c.conn
	}
	return nc.(*conn)
}

// adoptedOf is what a connection of one of the http.Servers is to package lifecycle.
func adoptedOf(nc net.Conn) *lifecycle.Adopted {
	if c, ok := nc.(*streams); ok {
		return c.adopted
	}
	return connOf(nc).adopted
}

func (s *server) newConn(a *lifecycle.Adopted, read []byte) net.Conn {
	c := &conn{Conn: a.Conn(), adopted: a, server: s, unread: read}
	c.resting = len(read) == 0
	c.fresh = s.clear && strings.HasPrefix(prefaceHead, string(read[:min(len(read), len(prefaceHead))]))
	switch c.Conn.(type) {
	case interface{ ConnectionState() tls.ConnectionState }:
		return &tlsConn{c}
	case io.ReaderFrom:
		return &tcpConn{c}
	}
	return c
}

// setState is told by the http.Server.
func (c *conn) setState(st http.ConnState) {
	c.mu.Lock()
	switch st {
	case http.StateActive:
		if c.resting { // it has read nothing since: the request was in its buffer
			c.begin(true)
		}
	case http.StateIdle: // unless the next request is in its buffer; see Read
		c.resting = true
		c.answered = true
	case http.StateHijacked:
		_ = c.settle()
		c.eager = true
		if !c.leaving {
			c.hijacked.Store(true)
			c.adopted.Hijacked()
		}
	default:
	}
	c.mu.Unlock()
}

// begin is for the first byte of a request, and reports false if that comes too late.
// mu is held.
func (c *conn) begin(buffered bool) bool {
	c.resting = false
	c.answered = false
	return c.adopted.Active(buffered)
}

// Read sees by the size of p what http.Server has in its buffer. If that is empty the
// connection is idle, and not before: what is in it would be lost.
func (c *conn) Read(p []byte) (int, error) {
	if c.room == 0 {
		c.room = len(p)
	}
	c.mu.Lock()
	if c.due && len(p) == 1 && c.until.Equal(aborted) { // http.Server has ended this before it began
		c.mu.Unlock()
		return 0, os.ErrDeadlineExceeded
	}
	if len(c.unread) > 0 && !c.until.IsZero() && !time.Now().Before(c.until) { // as of a socket, whatever has come
		c.mu.Unlock()
		from := c.LocalAddr()
		return 0, &net.OpError{Op: "read", Net: from.Network(), Source: from, Addr: c.Conn.RemoteAddr(), Err: os.ErrDeadlineExceeded}
	}
	if !c.beforeRead(len(p) < c.room || len(c.unread) > 0) {
		c.mu.Unlock()
		return 0, io.EOF
	}
	body := !c.resting && len(p) > 1 // one byte is what http.Server reads in the background
	c.mu.Unlock()
	if body {
		c.adopted.AwaitBody(true)
	}
	var n int
	var err error
	if c.fresh || len(c.unread) > 0 {
		n, err = c.read(p)
	} else { // without further calls, whose frames each collection of garbage would look at
		n, err = c.Conn.Read(p)
	}
	if body {
		c.adopted.AwaitBody(false)
	}
	c.mu.Lock()
	c.reading = false
	ok := n == 0 || !c.resting || c.begin(false)
	c.mu.Unlock() // a defer takes as long as all of this
	if !ok {
		return 0, io.EOF
	}
	return n, err
}

// beforeRead is told whether the begin of a request has been read already, and reports
// false if that has come too late. mu is held.
func (c *conn) beforeRead(begun bool) (ok bool) {
	_ = c.settle() // before the drain, which has deadlines of its own, sees an idle connection
	c.reading = true
	switch {
	case !c.resting:
	case begun:
		if !c.begin(true) {
			return false
		}
		if d := c.server.HTTP.ReadHeaderTimeout; d > 0 { // http.Server waits for four bytes first
			_ = c.Conn.SetReadDeadline(time.Now().Add(d))
		}
	case c.answered:
		c.answered = false
		c.adopted.Idle()
	}
	return true
}

// aborted is the deadline by which http.Server ends what it reads in the background.
var aborted = time.Unix(1, 0)

// SetReadDeadline is called by http.Server five times a request, of which only the last
// one before a read counts: each costs as much as all else here.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return nil
	}
	c.until, c.due = t, true
	if c.reading || c.eager {
		return c.settle()
	}
	return nil
}

// SetDeadline sets both.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// settle has Conn know its deadline for reads. mu is held.
func (c *conn) settle() (err error) {
	if c.due {
		c.due = false
		err = c.Conn.SetReadDeadline(c.until)
	}
	return err
}

func (c *conn) settleNow() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.settle()
}

// setReadDeadlineNow is for handlers, who may be told that it failed, and may go on to set
// one of Conn itself.
func (c *conn) setReadDeadlineNow(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.settleNow()
}

func (c *conn) read(p []byte) (int, error) {
	if c.fresh {
		c.fresh = false
		return c.readFirst(p)
	}
	return c.readOn(p)
}

func (c *conn) readOn(p []byte) (int, error) {
	if len(c.unread) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.unread)
	if c.unread = c.unread[n:]; len(c.unread) == 0 {
		c.unread = nil // it may be large
	}
	return n, nil
}

// readFirst reads until it is known whether the connection begins with HTTP/2's preface,
// and gives it to whom that is for.
func (c *conn) readFirst(p []byte) (n int, err error) {
	for err == nil && n < len(prefaceHead) && n < len(p) && strings.HasPrefix(prefaceHead, string(p[:n])) {
		var more int
		more, err = c.readOn(p[n:])
		n += more
	}
	if c.gone = c.server.beginsHTTP2(c.Conn, p[:n]); c.gone {
		c.server.takeHTTP2(c.adopted, append(bytes.Clone(p[:n]), c.unread...), true)
		return 0, io.EOF
	}
	return n, err
}

// Write gives each write its own time, where http.Server knows one for a response as a
// whole, which would be the end of streams.
func (c *conn) Write(p []byte) (int, error) {
	if d := c.server.WriteTimeout; d > 0 && !c.deadline.Load() && !c.hijacked.Load() {
		c.timeout = true
		if err := c.Conn.SetWriteDeadline(time.Now().Add(d)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

// SetWriteDeadline is called by handlers, and by http.Server when a response is over, and
// when it has tried to read a request: by then the connection may be one of HTTP/2.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if c.gone {
		return nil
	}
	if c.server.WriteTimeout > 0 {
		c.deadline.Store(!t.IsZero())
	}
	return c.Conn.SetWriteDeadline(t)
}

// RemoteAddr is the client's address, which a proxy may have told.
func (c *conn) RemoteAddr() net.Addr { return c.adopted.RemoteAddr() }

// Close is called by http.Server, and by who has hijacked the connection.
func (c *conn) Close() error {
	if c.gone {
		return nil
	}
	return c.adopted.Close()
}

func (c *conn) overdue() bool { return c.server.overdue() && !c.hijacked.Load() }

func (c *conn) lastResponse(h http.Header) {
	if c.adopted.Last() {
		h.Set("Connection", "close")
	}
}

// CloseWrite sends a FIN, where that can be done.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// NetConn is the connection below, which must not be closed: a *net.TCPConn,
// *tls.Conn or *net.UnixConn.
func (c *conn) NetConn() net.Conn {
	c.mu.Lock()
	_ = c.settle()
	c.eager = true
	c.mu.Unlock()
	return c.Conn
}

// ReadFrom sends a file without a copy of it in the process.
func (c *tcpConn) ReadFrom(r io.Reader) (int64, error) {
	if c.timeout && !c.deadline.Load() {
		c.timeout = false
		_ = c.Conn.SetWriteDeadline(time.Time{})
	}
	return c.Conn.(io.ReaderFrom).ReadFrom(r)
}

// forever is as good as no limit.
const forever = 100 * 365 * 24 * time.Hour

// ConnectionState is asked for before anything is read, and known after the handshake.
// What fails there, the first read says, too. Who has agreed on another protocol is not
// served by HTTP/1.
func (c *tlsConn) ConnectionState() tls.ConnectionState {
	if nc, ok := c.Conn.(secure); ok {
		if err := c.server.handshake(nc); err != nil {
			c.server.tellHandshake(nc, err)
		}
	}
	state := c.Conn.(interface{ ConnectionState() tls.ConnectionState }).ConnectionState()
	if proto := state.NegotiatedProtocol; proto != "" && proto != "http/1.1" && proto != "http/1.0" {
		_ = c.Close()
	}
	return state
}

// handshake makes a TLS connection's state known.
func (s *server) handshake(nc secure) error {
	_ = nc.SetReadDeadline(time.Now().Add(cmp.Or(handshakeTimeout(s.HTTP), forever))) // or TLSHandshakeTimeout
	err := nc.Handshake()
	_ = nc.SetReadDeadline(time.Time{})
	return err
}

// handshakeTimeout is how long an http.Server lets a TLS handshake take: the least of the
// timeouts that are set. Zero is no limit.
func handshakeTimeout(h *http.Server) (least time.Duration) {
	for _, d := range []time.Duration{h.ReadHeaderTimeout, h.ReadTimeout, h.WriteTimeout} {
		if d > 0 && (least == 0 || d < least) {
			least = d
		}
	}
	return least
}

// tellHandshake says of a handshake that has failed what http.Server says where it makes
// it itself: to the log, and to a client that does not speak TLS.
func (s *server) tellHandshake(nc net.Conn, err error) {
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) && plain.Conn != nil && slices.Contains([]string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO"}, string(plain.RecordHeader[:])) {
		_, _ = io.WriteString(plain.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
		err = errors.New("client sent an HTTP request to an HTTPS server")
	}
	s.logf("http: TLS handshake error from %s: %v", nc.RemoteAddr(), err)
}
