package lifecycle

import (
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// poller is an epoll instance that Go's own poller watches, so that to wait takes no
// thread.
type poller struct {
	file   *os.File
	raw    syscall.RawConn
	fd     int // of file
	events [128]unix.EpollEvent
	ready  []ready
}

// ready is a descriptor on which there is something.
type ready struct {
	fd     int
	ended  bool // no more will come than what is there
	failed bool // it was reset, or is shut down in both directions
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // else os.NewFile would not have it watched
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &poller{file: os.NewFile(uintptr(fd), "epoll"), fd: fd}
	p.raw, err = p.file.SyscallConn()
	if err != nil {
		_ = p.file.Close()
		return nil, err
	}
	return p, nil
}

// What a poller waits for on a descriptor.
const (
	pollInput = unix.EPOLLIN
	pollEnd   = unix.EPOLLRDHUP
	pollOnce  = unix.EPOLLONESHOT // then nothing more, until modify
)

func (p *poller) add(fd, events int) error { return p.control(unix.EPOLL_CTL_ADD, fd, events) }

func (p *poller) modify(fd, events int) error { return p.control(unix.EPOLL_CTL_MOD, fd, events) }

func (p *poller) control(op, fd, events int) error {
	event := unix.EpollEvent{Events: uint32(events), Fd: int32(fd)} //nolint:gosec // both fit
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, op, fd, &event))
}

func (p *poller) remove(fd int) { _ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil) }

// wait returns the descriptors on which there is something; the slice is valid until
// it is called again. It fails once the poller is closed.
func (p *poller) wait() ([]ready, error) {
	p.ready = p.ready[:0]
	err := p.raw.Read(func(fd uintptr) bool {
		n, _ := unix.EpollWait(int(fd), p.events[:], 0)
		for i := range max(n, 0) {
			e := &p.events[i]
			p.ready = append(p.ready, ready{int(e.Fd), e.Events&unix.EPOLLRDHUP != 0, e.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0})
		}
		return n > 0
	})
	return p.ready, err
}

func (p *poller) close() { _ = p.file.Close() }

// closeNotified reports whether what waits to be read from a TLS connection's socket,
// the last record having been read in full, is its client's close_notify alone: a
// record of alerts, or, in TLS 1.3, which hides that, one of its size. A request
// that begins with a record of two bytes would be taken for one.
func closeNotified(fd uintptr) bool {
	const (
		headerLen       = 5  // RFC 8446, section 5.1
		typeAlert       = 21 // section B.1
		typeApplication = 23
		alertSize       = 2 + 1 + 16 // alert, inner type, tag
	)
	var b [headerLen + alertSize + 1]byte
	n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if err != nil || n < headerLen {
		return false
	}
	return b[0] == typeAlert || b[0] == typeApplication && n == headerLen+alertSize && int(b[3])<<8|int(b[4]) == alertSize
}

// localOf is a socket's own address as text.
func localOf(fd int) string {
	here, _ := unix.Getsockname(fd)
	return sockaddrString(here)
}

// remoteOf is the address of a socket's peer as text.
func remoteOf(fd int) string {
	there, _ := unix.Getpeername(fd)
	return sockaddrString(there)
}

func sockaddrString(sa unix.Sockaddr) string {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String() //nolint:gosec // a port
	case *unix.SockaddrInet6:
		ip := netip.AddrFrom16(sa.Addr).Unmap()
		if sa.ZoneId != 0 {
			ip = ip.WithZone(strconv.FormatUint(uint64(sa.ZoneId), 10))
		}
		return netip.AddrPortFrom(ip, uint16(sa.Port)).String() //nolint:gosec // a port
	case *unix.SockaddrUnix:
		return sa.Name
	}
	return ""
}
