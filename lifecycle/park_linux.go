package lifecycle

import (
	"net"
	"os"
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
	ready  []int
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

func (p *poller) add(fd int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(fd)} //nolint:gosec // a descriptor fits
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &event))
}

func (p *poller) remove(fd int) { _ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil) }

// wait returns the descriptors on which there is something; the slice is valid until
// it is called again. It fails once the poller is closed.
func (p *poller) wait() ([]int, error) {
	p.ready = p.ready[:0]
	err := p.raw.Read(func(fd uintptr) bool {
		n, _ := unix.EpollWait(int(fd), p.events[:], 0)
		for i := range max(n, 0) {
			p.ready = append(p.ready, int(p.events[i].Fd))
		}
		return n > 0
	})
	return p.ready, err
}

func (p *poller) close() { _ = p.file.Close() }

// duplicateFD returns a second descriptor of the connection's socket.
func duplicateFD(nc net.Conn) (dup int, err error) {
	sc := rawConn(nc)
	if !control(sc, func(fd uintptr) { dup, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }) {
		err = net.ErrClosed
	}
	return dup, err
}

func closeFD(fd int) { _ = unix.Close(fd) }
