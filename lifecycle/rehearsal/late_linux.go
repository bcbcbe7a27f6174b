package rehearsal

import (
	"net"

	"golang.org/x/sys/unix"
)

// sentAfterEnd reports whether the last n bytes, which one Write has sent, were sent after
// the connection's FIN had arrived, if one has: by a client that had looked, and then got
// no CPU. It is asked before more is sent.
func sentAfterEnd(c *net.TCPConn, n int) (late bool) {
	rc, err := c.SyscallConn()
	if err != nil {
		return false
	}
	_ = rc.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		late = err == nil && isLate(info, n)
	})
	return late
}

// isLate is true if the kernel's clock has ticked between the last segment that came, as
// the FIN would be, and what was sent, for the first time, of which nothing has been
// acknowledged. Where the order is not certain what was sent came first. After a reset the
// state does not say whether there was a FIN: what is read does.
func isLate(info *unix.TCPInfo, n int) bool {
	const syn = 1 // it is among Bytes_acked, and not Bytes_sent
	over := info.State == unix.BPF_TCP_CLOSE_WAIT || info.State == unix.BPF_TCP_CLOSE
	return over && info.Last_ack_recv > info.Last_data_sent && info.Total_retrans == 0 &&
		info.Bytes_sent+syn >= info.Bytes_acked+uint64(n) //nolint:gosec // n is a length
}
