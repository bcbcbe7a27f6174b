package lifecycle

import (
	"crypto/tls"
	"net"
	"syscall"
	"time"
)

// rawConn returns the socket behind a connection that fasthttp serves, or nil
// where there is none, as in memory.
func rawConn(nc net.Conn) syscall.Conn {
	nc = below(nc)
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	if c, ok := nc.(*counted); ok {
		nc = c.Conn
	}
	sc, _ := nc.(syscall.Conn)
	return sc
}

// control runs f on a descriptor and reports whether it was open.
func control(sc syscall.Conn, f func(fd uintptr)) bool {
	rc, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	return rc.Control(f) == nil
}

// past is the deadline that wakes who reads or accepts.
var past = time.Unix(1, 0)

// input is what a socket has to be read.
type input int

const (
	inputNone  input = iota // nothing yet
	inputSome               // bytes
	inputEnded              // an end of file, or an error
)

// isClosed reports whether our side has closed the connection. It cannot tell
// without a socket, and says no.
func isClosed(nc net.Conn) bool {
	sc := rawConn(nc)
	return sc != nil && !control(sc, func(uintptr) {})
}

// cut closes a connection without ceremony: a TLS client is sent no
// close_notify, so that it can tell an answer that was cut from a whole one,
// and so that nothing waits for a full socket buffer.
func cut(nc net.Conn) {
	nc = below(nc)
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	_ = nc.Close()
}

// resetAtClose has a TCP connection's close be a reset.
func resetAtClose(nc net.Conn) {
	if tcp, ok := rawConn(nc).(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}
