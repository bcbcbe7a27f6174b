package lifecycle

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

// diverts reports whether a connection that has just been accepted is not for the
// accept loop to hand on, as Divert may be to get it.
func (s *Server) diverts(nc net.Conn) bool {
	c := s.conns.get(nc)
	if !s.mayDivert(c) {
		return false
	}
	s.setConnState(nc, fasthttp.StateNew)
	if s.DivertIf == nil {
		s.divert(c, nil)
	} else {
		go s.serveConn(nc)
	}
	return true
}

func (s *Server) mayDivert(c *conn) bool { return s.Divert != nil && c.refused == admitted }

// serveConn has a connection served that does not come from fasthttp's accept loop, and
// of which HTTP.ConnState has been told.
func (s *Server) serveConn(nc net.Conn) {
	c := s.conns.get(nc)
	if !s.mayDivert(c) {
		s.serveByFasthttp(nc)
		return
	}
	if s.DivertIf == nil {
		s.divert(c, nil)
		return
	}
	begin, unread, err := s.awaitBegin(nc)
	switch {
	case err != nil:
		_ = c.Close()
		s.setConnState(nc, fasthttp.StateClosed)
	case s.DivertIf(begin):
		s.divert(c, unread)
	case len(unread) > 0:
		s.serveByFasthttp(s.replayNew(c, unread))
	default:
		s.serveByFasthttp(nc)
	}
}

// divert gives a connection to who serves it in fasthttp's place.
func (s *Server) divert(c *conn, unread []byte) {
	s.tellState(c.Conn, fasthttp.StateHijacked)
	if len(unread) > 0 {
		s.activate(c, s.now())
	}
	s.Divert(s.adopt(c), unread)
}

// replayNew returns what stands for a connection of which something has been read. For
// HTTP.ConnState it is as one that was parked.
func (s *Server) replayNew(c *conn, unread []byte) net.Conn {
	s.tellState(c.Conn, fasthttp.StateClosed)
	c = s.replay(c, unread)
	s.tellState(c.Conn, fasthttp.StateNew)
	return c.Conn
}

func (s *Server) serveByFasthttp(nc net.Conn) {
	if errors.Is(s.HTTP.ServeConn(nc), fasthttp.ErrConcurrencyLimit) {
		s.setConnState(nc, fasthttp.StateClosed) // of which it does not tell
	}
}

// maxBegin is how much of a connection's begin is looked at.
const maxBegin = 2 << 10

// awaitBegin returns the first bytes of a connection, once there are some; those that
// had to be read are unread, too.
func (s *Server) awaitBegin(nc net.Conn) (begin, unread []byte, err error) {
	s.limitRead(nc)
	defer func() { _ = nc.SetReadDeadline(time.Time{}) }()
	buf := make([]byte, maxBegin)
	tc, isTLS := nc.(*tls.Conn)
	if sc := rawConn(nc); sc == nil || !canShut || isTLS {
		if isTLS {
			if tc.Handshake() != nil {
				return nil, nil, nil // who serves it will see that, and may tell
			}
			s.limitRead(nc)
		}
		n, err := nc.Read(buf)
		if n > 0 {
			err = nil
		}
		return buf[:n], buf[:n], err
	}
	n, err := peekFirst(nc, buf)
	return buf[:n], nil, err
}

// peekFirst waits for the first bytes of a socket, and takes none.
func peekFirst(nc net.Conn, b []byte) (n int, err error) {
	rc, err := rawConn(nc).SyscallConn()
	if err != nil {
		return 0, err
	}
	err = rc.Read(func(fd uintptr) bool {
		var in input
		n, in = peek(fd, b)
		return in != inputNone
	})
	if err == nil && n == 0 {
		err = io.EOF
	}
	return n, err
}

// limitRead gives a connection HTTP.ReadTimeout.
func (s *Server) limitRead(nc net.Conn) {
	if d := s.HTTP.ReadTimeout; d > 0 {
		_ = nc.SetReadDeadline(time.Now().Add(d))
	}
}
