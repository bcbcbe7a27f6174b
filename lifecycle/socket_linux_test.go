package lifecycle

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
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
	for began := time.Now(); quickest >= maxSettle && time.Since(began) < patience; { // one is not held up by whatever else runs here
		r := runTCP(t, &Server{HTTP: quiet(hello)})
		r.Drain()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		quickest = min(quickest, r.Report().Spent(PhaseDraining))
	}
	if quickest >= maxSettle {
		t.Errorf("the quickest of many drains took %v", quickest)
	}
}

// A socket that somebody else has too, as with socket activation, still accepts for
// him when the drain is over.
func TestContract03SharedListenerIsLeftToTheOther(t *testing.T) {
	for network, addr := range map[string]string{"tcp4": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")} {
		t.Run(network, func(t *testing.T) {
			var lc net.ListenConfig
			lc.SetMultipathTCP(false)
			ln, err := lc.Listen(context.Background(), network, addr)
			if err != nil {
				t.Fatal(err)
			}
			if ul, ok := ln.(*net.UnixListener); ok {
				ul.SetUnlinkOnClose(false)
			}
			f, err := ln.(interface{ File() (*os.File, error) }).File()
			if err != nil {
				t.Fatal(err)
			}
			other, err := net.FileListener(f)
			_ = f.Close()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = other.Close() }()

			r := run(t, &Server{HTTP: quiet(hello), LastCall: -1, Listeners: []net.Listener{ln}})
			r.dial().get("/")
			r.Drain()
			if err := r.wait(); err != nil {
				t.Error(err)
			}
			nc, err := net.DialTimeout(network, other.Addr().String(), patience)
			if err != nil {
				t.Fatalf("dial: %v", err)
			}
			defer func() { _ = nc.Close() }()
			_ = other.(interface{ SetDeadline(time.Time) error }).SetDeadline(time.Now().Add(patience))
			accepted, err := other.Accept()
			if err != nil {
				t.Fatalf("accept: %v", err)
			}
			_ = accepted.Close()
		})
	}
}

// heldUp is a ConnState hook that holds up the accept loop with the first connection
// until it is released, and shows see every state.
func heldUp(see func(net.Conn, fasthttp.ConnState)) (hook func(net.Conn, fasthttp.ConnState), release func()) {
	released := make(chan struct{})
	var once sync.Once
	return func(nc net.Conn, st fasthttp.ConnState) {
		see(nc, st)
		if st == fasthttp.StateNew {
			once.Do(func() { <-released })
		}
	}, func() { close(released) }
}

// untilEnding waits until the drain has come to the first listener.
func (r *running) untilEnding() {
	r.t.Helper()
	for began := time.Now(); !r.openListeners()[0].ending.Load(); time.Sleep(time.Millisecond) {
		if time.Since(began) > patience {
			r.t.Fatal("the listener does not end")
		}
	}
}

// embedding is a listener with an Accept of its own.
type embedding struct{ *net.TCPListener }

type embedded struct{ net.Conn }

func (e embedding) Accept() (net.Conn, error) {
	nc, err := e.TCPListener.Accept()
	if err != nil {
		return nil, err
	}
	return &embedded{nc}, nil
}

// No connection passes a listener's own Accept by.
func TestContract03EmbeddedListenerAcceptsAll(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{HTTP: quiet(hello), LastCall: -1, Listeners: []net.Listener{embedding{ln.(*net.TCPListener)}}}
	var through atomic.Int64
	hook, release := heldUp(func(nc net.Conn, st fasthttp.ConnState) {
		if _, ok := nc.(*embedded); !ok {
			t.Errorf("%v: a %T", st, nc)
		} else if st == fasthttp.StateNew {
			through.Add(1)
		}
	})
	s.HTTP.ConnState = hook
	r := run(t, s)
	for range 4 {
		r.dial()
	}
	for began := time.Now(); through.Load() == 0; time.Sleep(time.Millisecond) { // and is held up
		if time.Since(began) > patience {
			t.Fatal("nothing was accepted")
		}
	}
	r.Drain()
	r.untilEnding()
	release()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

// A client that was reset in the queue has no address: it is passed over, and who
// waits behind it is served.
func TestContract03ResetInTheQueue(t *testing.T) {
	s := &Server{HTTP: quiet(hello)}
	hook, release := heldUp(func(nc net.Conn, st fasthttp.ConnState) {
		if nc.RemoteAddr() == nil {
			t.Errorf("%v: no remote address", st)
		}
	})
	s.HTTP.ConnState = hook
	r := runTCP(t, s)
	first, gone, last := r.dial(), r.dial(), r.dial()
	for _, c := range []*client{first, gone, last} {
		c.send(request)
	}
	resetConn(gone)
	r.Drain()
	r.untilEnding()
	release()
	for _, c := range []*client{first, last} {
		if resp := c.response(); body(resp) != "hello" {
			t.Errorf("answered %v", resp.Status)
		}
	}
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

// New connections are kept out of a listener of our own until it has closed: one that
// got in at the last moment would be reset.
func TestContract03KeptOutToTheEnd(t *testing.T) {
	r := run(t, &Server{HTTP: quiet(hello), Addrs: []string{"127.0.0.1:0"}})
	addr := r.ListenAddrs()[0].String()
	f, err := r.openListeners()[0].Listener.(*net.TCPListener).File() // which shows what the socket was like at its end
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	r.Drain()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
	if nc, err := net.DialTimeout("tcp", addr, 50*time.Millisecond); err == nil {
		_ = nc.Close()
		t.Error("a connection got in")
	}
}
