//go:build unix

package rehearsal

import (
	"net"
	"syscall"
)

// ended reports whether the connection's end has arrived, or with said anything at
// all: a TLS close_notify, or an answer to no request. It takes no byte.
func ended(c *net.TCPConn, said bool) (end bool) {
	rc, err := c.SyscallConn()
	if err != nil {
		return true
	}
	err = rc.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		end = n == 0 && err == nil || n > 0 && said || err != nil && err != syscall.EAGAIN
	})
	return end || err != nil
}
