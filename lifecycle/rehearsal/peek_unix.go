//go:build unix

package rehearsal

import (
	"errors"
	"net"
	"syscall"
)

// ended reports whether the connection's end has arrived: a FIN, a reset, a TLS
// close_notify, or with said anything at all, as an answer to no request. It takes
// no byte.
func ended(c *net.TCPConn, said bool) (end bool) {
	rc, err := c.SyscallConn()
	if err != nil {
		return true
	}
	err = rc.Control(func(fd uintptr) {
		var b [1]byte
		n, err := peek(fd, b[:])
		if n > 0 && !said {
			all := make([]byte, 4<<10)
			n, _ = peek(fd, all)
			end = endsWithAlert(all[:max(0, n)])
			return
		}
		end = !errors.Is(err, syscall.EAGAIN) // the FIN is no bytes and no error
	})
	return end || err != nil
}

func peek(fd uintptr, b []byte) (int, error) {
	n, _, err := syscall.Recvfrom(int(fd), b, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return n, err
}

// endsWithAlert reports whether the last of the TLS records is an alert: behind
// session tickets it can only be the close_notify. TLS 1.3 disguises it as data, but
// nothing else is that short. What comes before is no guide to where it begins: the
// handshake may have read part of a ticket.
func endsWithAlert(b []byte) bool {
	const header, alert, data, disguised, longest = 5, 21, 23, 2 + 1 + 16, 64
	for size := 2; size <= min(longest, len(b)-header); size++ {
		r := b[len(b)-header-size:]
		if r[1] == 3 && int(r[3])<<8|int(r[4]) == size && (r[0] == alert || r[0] == data && size == disguised) {
			return true
		}
	}
	return false
}
