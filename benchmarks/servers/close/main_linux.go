// No contender, but what the exit with idle connections is measured against: at
// SIGTERM it calls close(2) on one connection after the other, and exits. Nothing
// that tells clients of its end can be faster. It answers every read with the
// same 13 bytes, in one goroutine.
package main

import (
	"context"
	"errors"
	"log"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/lastcall-go/lastcall/benchmarks/internal/contract"
)

func main() {
	o := contract.Flags()
	terminated := contract.Terminated()
	s, err := listen(o.Addr)
	if err != nil {
		log.Fatal(err)
	}
	stop, err := unix.Eventfd(0, unix.EFD_NONBLOCK)
	if err != nil {
		log.Fatal(err)
	}
	if err := s.watch(stop); err != nil {
		log.Fatal(err)
	}
	context.AfterFunc(terminated, func() { _, _ = unix.Write(stop, []byte{1, 0, 0, 0, 0, 0, 0, 0}) })
	if err := s.serve(stop); err != nil {
		log.Fatal(err)
	}
	for conn := range s.conns {
		_ = unix.Close(conn)
	}
	os.Exit(0)
}

type server struct {
	epoll, listener int
	conns           map[int]bool
}

func listen(addr string) (*server, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	epoll, err := unix.EpollCreate1(0)
	if err != nil {
		return nil, err
	}
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	s := &server{epoll: epoll, listener: listener, conns: map[int]bool{}}
	return s, errors.Join(
		unix.Bind(listener, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}),
		unix.Listen(listener, 4096),
		s.watch(listener))
}

func (s *server) watch(fd int) error {
	return unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}) //nolint:gosec // a descriptor
}

// serve returns when stop can be read.
func (s *server) serve(stop int) error {
	response := []byte("HTTP/1.1 200 OK\r\nContent-Type: " + contract.ContentType +
		"\r\nContent-Length: " + strconv.Itoa(len(contract.Plain13.Body)) + "\r\n\r\n" + string(contract.Plain13.Body))
	events := make([]unix.EpollEvent, 1024)
	buf := make([]byte, 4096)
	for {
		n, err := unix.EpollWait(s.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, event := range events[:max(n, 0)] {
			switch fd := int(event.Fd); fd {
			case stop:
				return nil
			case s.listener:
				conn, _, err := unix.Accept4(fd, unix.SOCK_NONBLOCK)
				if err != nil {
					continue
				}
				s.conns[conn] = true
				if err := s.watch(conn); err != nil {
					return err
				}
			default:
				if n, err := unix.Read(fd, buf); n <= 0 || err != nil {
					delete(s.conns, fd)
					_ = unix.Close(fd)
					continue
				}
				if _, err := unix.Write(fd, response); err != nil {
					return err
				}
			}
		}
	}
}
