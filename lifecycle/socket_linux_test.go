package lifecycle

import (
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// halfConnect begins a handshake that never comes to its end: the client drops the
// answer to its SYN.
func halfConnect(t *testing.T, port int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop[0]}); err != nil {
		t.Fatal(err)
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	if !errors.Is(err, unix.EINPROGRESS) {
		t.Fatal(err)
	}
}

func TestContract03HandshakesUnderWayAreSeen(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::]:0"} {
		s := &Server{HTTP: quiet(hello), Addrs: []string{addr}}
		r := run(t, s)
		l := r.openListeners()[0]
		if _, known := handshakes(l.Listener); !known {
			t.Skip("no socket diagnostics here")
		}
		port := l.Addr().(*net.TCPAddr).Port
		nc, err := net.Dial("tcp4", (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}).String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = nc.Close() }()
		if n, _ := handshakes(l.Listener); n != 0 {
			t.Errorf("%v: %d handshakes under way, and none has begun", addr, n)
		}
		halfConnect(t, port)
		if n, _ := handshakes(l.Listener); n != 1 {
			t.Errorf("%v: %d handshakes under way; want 1", addr, n)
		}
		r.Drain() // which does not wait for ever
		if err := r.wait(); err != nil {
			t.Error(err)
		}
	}
}

func TestContract03HandshakesAreNotAwaitedWhenForced(t *testing.T) {
	r := runTCP(t, &Server{HTTP: quiet(hello)})
	halfConnect(t, r.ListenAddrs()[0].(*net.TCPAddr).Port)
	r.Drain()
	_ = r.Close()
	if err := r.wait(); !errors.Is(err, ErrForced) {
		t.Error(err)
	}
}

// A drain with nothing to wait for waits for nothing: it is over long before a last
// call or a handshake would have been.
func TestContract03NothingToSettleIsNotWaitedFor(t *testing.T) {
	if _, known := handshakes(runTCP(t, &Server{HTTP: quiet(hello)}).openListeners()[0].Listener); !known {
		t.Skip("no socket diagnostics here")
	}
	quickest := time.Hour
	for range 5 { // of which one is not held up by whatever else runs here
		r := runTCP(t, &Server{HTTP: quiet(hello)})
		r.Drain()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		quickest = min(quickest, r.Report().Spent(PhaseDraining))
	}
	if quickest >= maxSettle {
		t.Errorf("the quickest of 5 drains took %v", quickest)
	}
}
