package lifecycle

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// refuseHandshakes makes the kernel drop new connection requests to a TCP
// listener, while handshakes under way complete and still reach its queue.
// Closing a listener resets what its queue holds; with nothing new coming in,
// the queue can be emptied first. A client whose SYN was dropped sends it again
// a second later, and reaches who listens then, or is refused before it has
// sent a request.
func refuseHandshakes(ln net.Listener) {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return
	}
	const flagsOffset, syn, ack = 13, 0x02, 0x10 // RFC 9293, section 3.1
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flagsOffset},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: syn | ack},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: syn, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1<<32 - 1},
	}
	program := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	control(syscall.Conn(tcp), func(fd uintptr) {
		// Best effort: without the filter the queue is emptied all the same.
		_ = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, program)
	})
}
