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

// prefaceTimeout is for a server without a ReadTimeout: who must be spoken to first
// cannot be left to be silent for ever.
const prefaceTimeout = 10 * time.Second

// acceptPreface takes a connection that has a preface; nc is what fasthttp is to
// serve of it.
func (s *Server) acceptPreface(tcp *net.TCPConn, nc net.Conn) {
	if s.prefaces.Add(1) > int64(orDefault(max(0, s.HTTP.Concurrency), fasthttp.DefaultConcurrency)) {
		s.prefaces.Add(-1)
		_ = tcp.Close()
		return
	}
	s.setKeepAlive(nc)
	s.setConnState(nc, fasthttp.StateNew)
	go func() {
		err := s.readPreface(tcp, s.conns.get(nc))
		s.prefaces.Add(-1)
		if err == nil {
			s.serveConn(nc)
			return
		}
		// Else it had nothing to say, as a load balancer's check, which may end in a reset.
		if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			s.emit(Event{Kind: EventPrefaceFail, Addr: tcp.RemoteAddr(), Err: err})
		}
		_ = tcp.Close()
		s.setConnState(nc, fasthttp.StateClosed)
	}()
}

func (s *Server) readPreface(tcp *net.TCPConn, c *conn) error {
	timeout := orDefault(max(0, s.HTTP.ReadTimeout), prefaceTimeout)
	if err := tcp.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	remote, err := s.Preface(tcp)
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

// showRemote has fasthttp say the address of the connection's preface.
func (c *conn) showRemote(ctx *fasthttp.RequestCtx) {
	if remote := c.remote.Load(); remote != nil {
		ctx.SetRemoteAddr(*remote)
	}
}
