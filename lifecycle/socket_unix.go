//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package lifecycle

import (
	"crypto/tls"
	"net"
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

// acceptable reports whether a connection waits in the listener's queue.
func acceptable(ln net.Listener) (waiting bool) {
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return false
	}
	control(sc, func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a descriptor fits
		n, err := unix.Poll(fds, 0)
		waiting = err == nil && n > 0 && fds[0].Revents&unix.POLLIN != 0
	})
	return waiting
}
