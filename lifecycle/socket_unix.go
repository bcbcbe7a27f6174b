//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package lifecycle

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// canShut says that endIdle can do its work on sockets.
const canShut = true

// endIdle ends a connection that has nothing pending, if claim, called once
// that is known, agrees. The client gets a FIN, and a TLS client a close_notify
// before it. It reports whether it did.
//
// Shutting the socket down in both directions wakes fasthttp's reader with an
// end of file for good, where a read deadline in the past could be overwritten
// by fasthttp's own; and it sends the FIN at once, where a Close waits until the
// reader has been scheduled, and sends a reset if a request came in meanwhile.
func endIdle(nc net.Conn, claim func() bool) (did bool) {
	sc := rawConn(nc)
	if tc, ok := nc.(*tls.Conn); ok {
		control(sc, func(fd uintptr) { did = !readable(fd) && claim() })
		if did {
			_ = tc.CloseWrite() // before the handshake is done it fails: there is nothing to say
			control(sc, shut)
		}
		return did
	}
	control(sc, func(fd uintptr) {
		if did = !readable(fd) && claim(); did {
			shut(fd)
		}
	})
	return did
}

func shut(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) }

// readable reports whether bytes wait in the kernel to be read. It takes none,
// and an end of file is none.
func readable(fd uintptr) bool {
	var b [1]byte
	n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return n > 0 && err == nil
}

// acceptQueued takes a connection out of a listener's queue, and fails if there
// is none.
func acceptQueued(ln net.Listener) (net.Conn, error) {
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	var (
		fd  int
		err error
	)
	if !control(sc, func(lfd uintptr) {
		for err = unix.EINTR; err == unix.EINTR; {
			fd, _, err = unix.Accept(int(lfd)) // the listener does not block
		}
	}) {
		return nil, net.ErrClosed
	}
	if err != nil {
		return nil, os.NewSyscallError("accept", err)
	}
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "")
	defer func() { _ = f.Close() }() // FileConn takes a duplicate
	return net.FileConn(f)
}
