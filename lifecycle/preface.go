package lifecycle

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// A connection whose preface is still to be read is one that is new in all else: it
// is in the table from its begin, so that the idle timeout, the drain's last call and
// its deadline end it as any that has sent nothing. Its goroutine reads the preface
// and then serves it, so that no accept loop waits for one.

// defaultPrefaceTimeout is for a server without a ReadTimeout: who must be spoken to
// first cannot be left to be silent for ever.
const defaultPrefaceTimeout = 10 * time.Second

func (s *Server) prefaceTimeout() time.Duration {
	if d := s.HTTP.ReadTimeout; d > 0 && d < forever { // see observe
		return d
	}
	return defaultPrefaceTimeout
}

// servePreface takes a connection that has a preface; nc is what fasthttp is to serve
// of it.
func (s *Server) servePreface(tcp *net.TCPConn, nc net.Conn) {
	s.setConnState(nc, fasthttp.StateNew)
	go func() {
		c := s.conns.get(nc)
		err := s.readPreface(tcp, c)
		if err == nil && s.knowClient(c) {
			c.noteTaken()
			if c.input != nil {
				c.input.preface.Store(false)
			}
			s.serveConn(nc)
			return
		}
		// An end or a reset had nothing to say, as a load balancer's check. net.ErrClosed
		// is our own doing.
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, net.ErrClosed) {
			s.emit(Event{Kind: EventPrefaceFail, Addr: tcp.RemoteAddr(), Err: err})
		}
		_ = tcp.Close()
		s.setConnState(nc, fasthttp.StateClosed)
	}()
}

// knowClient has the limit of a client's connections hold for one whose preface has
// told whose it is. It reports false for one too many even to be refused.
func (s *Server) knowClient(c *conn) bool {
	if c.refused != admitted {
		return true // as one too many of all
	}
	s.admitClient(c)
	if c.refused == admitted {
		return true
	}
	s.limitSilence(c, refusedSilence)
	return s.limits.refusing.Load() <= maxRefusing
}

func (s *Server) readPreface(tcp *net.TCPConn, c *conn) error {
	if err := tcp.SetReadDeadline(time.Now().Add(s.prefaceTimeout())); err != nil {
		return err
	}
	var remote net.Addr
	err := guard(func() (err error) { remote, err = s.Preface(tcp); return err })
	if err != nil {
		return err
	}
	if remote != nil {
		c.remote.Store(&remote)
	}
	return tcp.SetReadDeadline(time.Time{})
}

// remoteAddr is the client's address: that of the connection's preface, or its own.
func (c *conn) remoteAddr() net.Addr {
	if remote := c.remote.Load(); remote != nil {
		return *remote
	}
	return c.RemoteAddr()
}

// tellsAddrs reports whether the connection's addresses can be asked for without a wait.
// One of a listener handed in may have to read them from its client first, as those of
// the PROXY protocol: it has once a request has begun.
func (c *conn) tellsAddrs() bool { return rawConn(c.Conn) != nil || c.word.Load() >= oneRequest }

// knownRemote is the client's address, nil while that is not known.
func (c *conn) knownRemote() net.Addr {
	if !c.tellsAddrs() {
		return nil
	}
	return c.remoteAddr()
}

// showRemote has fasthttp say the address of the connection's preface.
func (c *conn) showRemote(ctx *fasthttp.RequestCtx) {
	if remote := c.remote.Load(); remote != nil {
		ctx.SetRemoteAddr(*remote)
	}
}
