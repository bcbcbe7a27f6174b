package lifecycle

import (
	"encoding/binary"
	"net"
	"syscall"

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
//
// Both act on the socket, not on this process's descriptor of it. Another process may
// have one too, as with socket activation: allowNew takes the filter off again, and a
// Unix listener that is not our own is left as it is.
func refuseNew(ln net.Listener, own bool) {
	switch ln := ln.(type) {
	case *net.UnixListener:
		if !own {
			return
		}
		control(ln, func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RD) })
	case *net.TCPListener:
		control(ln, func(fd uintptr) {
			// Best effort: without the filter the queue is emptied all the same.
			_ = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, dropSYN)
		})
	}
}

// allowNew undoes refuseNew, right before a listener is closed, for who else has it.
func allowNew(ln net.Listener) {
	if tcp, ok := ln.(*net.TCPListener); ok {
		control(tcp, func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
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

// maxLooks is how often taken looks, of a client that sends without a pause.
const maxLooks = 10

// taken is how many bytes have been read from a TCP connection's socket, by whomever. It
// is unknown before Linux 4.1, and of others.
func taken(nc net.Conn) (n uint64, known bool) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return 0, false
	}
	control(tcp, func(fd uintptr) {
		// What comes between two calls would count as taken.
		for received, looks := uint64(0), 0; looks < maxLooks; looks++ {
			waiting, err := unix.IoctlGetInt(int(fd), unix.SIOCINQ)
			if err != nil {
				return
			}
			info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
			if err != nil || info.Bytes_received < uint64(waiting) { //nolint:gosec // never negative
				return
			}
			n, known = info.Bytes_received-uint64(waiting), true //nolint:gosec // as well
			if looks > 0 && info.Bytes_received == received {
				return
			}
			received = info.Bytes_received
		}
	})
	return n, known
}

// handshakes counts the handshakes under way with a TCP listener: connections
// whose SYN has been answered, but not the answer. It asks the kernel's socket
// diagnostics, sock_diag(7), and is unknown where they are not to be had. What
// SYN cookies stand for is nowhere to be seen.
func handshakes(ln net.Listener) (n int, known bool) {
	addr, ok := ln.Addr().(*net.TCPAddr)
	if !ok {
		return 0, false
	}
	families := []byte{unix.AF_INET}
	if addr.IP.To4() == nil {
		families = append(families, unix.AF_INET6) // which accepts IPv4 too
	}
	for _, family := range families {
		some, err := diagnose(family, addr.Port)
		if err != nil {
			return 0, false
		}
		n += some
	}
	return n, true
}

// diagnose counts sockets in SYN_RECV with a local port.
func diagnose(family byte, port int) (n int, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	// struct nlmsghdr, then struct inet_diag_req_v2.
	const size, sockDiagByFamily, tcpSynRecv = 16 + 56, 20, 3
	var req [size]byte
	native := binary.NativeEndian
	native.PutUint32(req[0:], size)
	native.PutUint16(req[4:], sockDiagByFamily)
	native.PutUint16(req[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	req[16], req[17] = family, unix.IPPROTO_TCP
	native.PutUint32(req[20:], 1<<tcpSynRecv)
	binary.BigEndian.PutUint16(req[24:], uint16(port)) //nolint:gosec // a port
	if err := unix.Sendto(fd, req[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, err
	}
	for buf := make([]byte, 16<<10); ; {
		got, _, err := unix.Recvfrom(fd, buf, 0) // the kernel has answered already
		if err != nil {
			return 0, err
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:got])
		if err != nil {
			return 0, err
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return n, nil
			case unix.NLMSG_ERROR:
				return 0, unix.EOPNOTSUPP
			}
			n++
		}
	}
}
