package lifecycle

import (
	"net"

	"golang.org/x/sys/unix"
)

// canMeasure says that measure can do its work.
const canMeasure = true

// measure asks the kernel how far a connection has got, unless nothing is queued and
// received does not matter. It is for TCP, on Linux 4.1 or newer: an older one counts
// nothing, not even the byte that has made the connection active.
func measure(nc net.Conn, received bool) (p progress, ok bool) {
	tcp, isTCP := rawConn(nc).(*net.TCPConn)
	if !isTCP {
		return p, false
	}
	control(tcp, func(fd uintptr) {
		queued, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		if err != nil || queued == 0 && !received {
			return
		}
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil && info.Bytes_received > 0 {
			p, ok = progress{info.Bytes_received, info.Bytes_acked, queued}, true
		}
	})
	return p, ok
}
