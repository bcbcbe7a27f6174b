package rehearsal

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// conn is a client's connection. It knows how it ended: what reads from it, a
// parser of HTTP or of WebSocket frames, turns each end into an error of its own.
type conn struct {
	net.Conn
	socket   *socket
	renew    time.Duration // if not zero, the time that each Read has
	received int64         // bytes so far; over TLS, those inside of it
	mark     int64         // what received was when the awaited response had not begun
	err      error         // of the last Read
}

// socket is what is below HTTP and TLS.
type socket struct {
	net.Conn
	raw   *net.TCPConn
	looks bool // at the next Write
	said  bool // see ended
}

// errEnded says that nothing has been sent, as the connection's end has come.
var errEnded = errors.New("the connection has ended")

// look has the next Write look for the connection's end, just before it sends.
func (s *socket) look(said bool) { s.looks, s.said = true, said }

// A look that has taken longer than freshLook is an old one: its client got no CPU at its
// end. Then there is another, up to maxLooks.
const (
	freshLook = 100 * time.Microsecond
	maxLooks  = 10
)

// sees reports whether the connection's end can be seen.
func (s *socket) sees() bool {
	for range maxLooks {
		began := time.Now()
		if ended(s.raw, s.said) {
			return true
		}
		if time.Since(began) < freshLook {
			break
		}
	}
	return false
}

func (s *socket) Write(p []byte) (int, error) {
	if s.looks {
		if s.looks = false; s.sees() {
			return 0, errEnded
		}
	}
	return s.Conn.Write(p)
}

// Read is called by one goroutine only.
func (c *conn) Read(p []byte) (int, error) {
	if c.renew > 0 {
		_ = c.SetReadDeadline(time.Now().Add(c.renew))
	}
	n, err := c.Conn.Read(p)
	c.received, c.err = c.received+int64(n), err
	if errors.Is(err, io.ErrUnexpectedEOF) {
		c.received++ // part of a TLS record has come, and is of no use
	}
	return n, err
}

// refused is the status of a complete response that is not a 200.
type refused string

func (r refused) Error() string { return "refused: " + string(r) }

// ended says how a response was lost: Loss.Ended.
func (c *conn) ended(err error) string {
	if status, ok := errors.AsType[refused](err); ok { // it may have been delimited by the connection's end
		return status.Error()
	}
	if c.err != nil {
		err = c.err
	}
	begun := c.received > c.mark
	switch eof, reset := isEOF(err), isReset(err); {
	case begun && (eof || reset):
		return "truncated"
	case eof:
		return "EOF"
	case reset:
		return "reset"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok { // without the addresses: equal losses are to look equal
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// dial connects, within the time. Whoever is not connected has sent no request.
func (r *round) dial(within time.Duration) (*conn, error) {
	nc, err := r.connect(within)
	if err != nil {
		return nil, err
	}
	s := &socket{Conn: nc, raw: nc.(*net.TCPConn)}
	c := &conn{Conn: s, socket: s}
	_ = nc.SetDeadline(time.Now().Add(r.timeout))
	if r.plan.TLS != nil {
		tc := tls.Client(s, r.plan.TLS)
		if err := tc.Handshake(); err != nil {
			_ = nc.Close()
			return nil, err
		}
		c.Conn = tc
	}
	return c, nil
}
