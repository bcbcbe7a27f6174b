package lifecycle

import (
	"net"

	"golang.org/x/sys/unix"
)

// refuseNew keeps new connections out of a listener's queue, so that it can be
// emptied: closing a listener resets what its queue holds.
//
// A Unix listener that is shut down for reading refuses new connections, hands
// out those that wait, and then fails with EINVAL. A TCP listener would drop its
// queue. There, a filter drops connection requests, while handshakes under way
// still complete. A client whose SYN was dropped sends it again a second later,
// and reaches who listens then, or is refused before it has sent a request.
//
// Multipath TCP, which net.Listen makes, knows no filters (EOPNOTSUPP): Addrs are
// opened without, and a listener that is handed in loses what comes between the
// last look at its queue and its close.
func refuseNew(ln net.Listener) {
	switch ln := ln.(type) {
	case *net.UnixListener:
		control(ln, func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RD) })
	case *net.TCPListener:
		control(ln, func(fd uintptr) {
			// Best effort: without the filter the queue is emptied all the same.
			_ = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, dropSYN)
		})
	}
}

// dropSYN is a classic BPF program. It sees a segment from its TCP header on.
var dropSYN = func() *unix.SockFprog {
	const flagsOffset, syn, ack = 13, 0x02, 0x10 // RFC 9293, section 3.1
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flagsOffset},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: syn | ack},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: syn, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1<<32 - 1},
	}
	return &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
}()
