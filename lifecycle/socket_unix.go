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
	if tc, ok := below(nc).(*tls.Conn); ok {
		var room bool
		control(sc, func(fd uintptr) {
			did = !readable(fd) && claim()
			room = polls(fd, unix.POLLOUT)
		})
		if did && room { // a client that does not read must not hold up the drain
			_ = tc.CloseWrite() // before the handshake is done it fails: there is nothing to say
		}
		if did {
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

// look reports what waits in the kernel to be read. It takes nothing.
func look(fd uintptr) input {
	var b [1]byte
	_, in := peek(fd, b[:])
	return in
}

// peek is look, with a copy of what waits.
func peek(fd uintptr, b []byte) (n int, in input) {
	n, _, err := unix.Recvfrom(int(fd), b, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	switch {
	case n > 0 && err == nil:
		return n, inputSome
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return 0, inputNone
	}
	return 0, inputEnded
}

// readable reports whether bytes wait in the kernel to be read.
func readable(fd uintptr) bool { return look(fd) == inputSome }

// hasInput reports whether bytes wait to be read from the connection's socket.
func hasInput(nc net.Conn) (has bool) {
	if sc := rawConn(nc); sc != nil {
		control(sc, func(fd uintptr) { has = readable(fd) })
	}
	return has
}

// duplicate returns a second descriptor of the connection's socket.
func duplicate(nc net.Conn) (dup int, err error) {
	sc := rawConn(nc)
	if sc == nil {
		return 0, errors.ErrUnsupported
	}
	if !control(sc, func(fd uintptr) { dup, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }) {
		err = net.ErrClosed
	}
	return dup, err
}

func closeFD(fd int) { _ = unix.Close(fd) }

// resets reports whether a socket's close is to be a reset.
func resets(f *os.File) (does bool) {
	control(f, func(fd uintptr) {
		l, err := unix.GetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER)
		does = err == nil && l.Onoff != 0 && l.Linger == 0
	})
	return does
}

func shutWrite(f *os.File) {
	control(f, func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) })
}

// polls reports whether the event, such as POLLOUT, holds now.
func polls(fd uintptr, event int16) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: event}} //nolint:gosec // a descriptor fits
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&event != 0
}

// queueOf returns the socket whose queue a listener's Accept empties, nil where that is
// not known: what embeds a listener may have an Accept of its own, which is not to be
// passed by.
func queueOf(ln net.Listener) syscall.Conn {
	switch ln := ln.(type) {
	case *net.TCPListener:
		return ln
	case *net.UnixListener:
		return ln
	}
	return nil
}

// acceptQueued takes a connection out of a listener's queue, and fails if there is
// none.
func acceptQueued(ln net.Listener) (net.Conn, error) {
	queue := queueOf(ln)
	if queue == nil {
		return nil, errors.ErrUnsupported
	}
	for {
		nc, err := acceptOne(queue)
		if !errors.Is(err, errGone) {
			return nc, err
		}
	}
}

func acceptOne(sc syscall.Conn) (net.Conn, error) {
	var (
		fd  int
		err error
	)
	if !control(sc, func(lfd uintptr) {
		for err = unix.EINTR; errors.Is(err, unix.EINTR); {
			fd, _, err = unix.Accept(int(lfd)) // the listener does not block
		}
	}) {
		return nil, net.ErrClosed
	}
	if err != nil {
		return nil, os.NewSyscallError("accept", err)
	}
	unix.CloseOnExec(fd)
	nc, err := connOf(fd)
	if err != nil {
		_ = unix.Close(fd)
	}
	return nc, err
}

// turnOneAway takes a connection out of a listener's queue, answers it if it has asked
// for something, and closes it. It reports whether there was one.
func turnOneAway(ln net.Listener, response []byte) (did bool) {
	queue := queueOf(ln)
	if queue == nil {
		return false
	}
	control(queue, func(lfd uintptr) {
		fd, _, err := unix.Accept(int(lfd)) // the listener does not block
		if err != nil {
			return
		}
		did = true
		defer closeFD(fd)
		unix.CloseOnExec(fd)
		if unix.SetNonblock(fd, true) == nil && discard(fd) && response != nil {
			_, _ = unix.Write(fd, response)
			_ = unix.Shutdown(fd, unix.SHUT_WR)
			discard(fd) // a close with input unread would be a reset
		}
	})
	return did
}

// turnAwayPatience is how long one who is turned away may take to say something.
const turnAwayPatience = 10 // ms

// discard reads what comes on a socket within a moment, up to its receive buffer's
// usual size, and reports whether there was something.
func discard(fd int) (some bool) {
	buf := make([]byte, 16<<10)
	for range 8 {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a descriptor fits
		if n, err := unix.Poll(fds, turnAwayPatience); err != nil || n == 0 {
			break
		}
		n, err := unix.Read(fd, buf)
		if err != nil || n <= 0 {
			break
		}
		some = true
		if n < len(buf) && !polls(uintptr(fd), unix.POLLIN) {
			break
		}
	}
	return some
}

// errGone says that a connection had been reset before anybody looked.
var errGone = errors.New("lifecycle: connection is gone")

// connOf makes a net.Conn of a descriptor, which it takes over if it succeeds.
func connOf(fd int) (net.Conn, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(dup), "")
	defer func() { _ = f.Close() }() // FileConn takes a duplicate
	nc, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	if nc.RemoteAddr() == nil { // net's own Accept makes no such
		_ = nc.Close()
		return nil, errGone
	}
	_ = unix.Close(fd)
	return nc, nil
}
