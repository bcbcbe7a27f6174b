package lifecycle

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
)

func listenLoopback(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// serve serves one more listener, and returns what ServeListener will have returned.
func (r *running) serve(ln net.Listener, config *tls.Config) <-chan error {
	r.t.Helper()
	before := len(r.ListenAddrs())
	ended := make(chan error, 1)
	go func() { ended <- r.ServeListener(ln, config) }()
	r.until("one more listener", func([]ConnInfo) bool { return len(r.ListenAddrs()) == before+1 })
	return ended
}

// ask makes a request on a connection of its own.
func (r *running) ask(ln net.Listener, secure bool) {
	r.t.Helper()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	if secure {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
	}
	if resp := r.client(nc).get("/"); body(resp) != "hello" {
		r.t.Errorf("status %d", resp.StatusCode)
	}
}

func TestServeListener(t *testing.T) {
	r := run(t, &Server{HTTP: quiet(hello), Listeners: []net.Listener{}})
	plain, secure := listenLoopback(t), listenLoopback(t)
	ended := r.serve(plain, nil)
	endedTLS := r.serve(secure, &tls.Config{Certificates: []tls.Certificate{certificate()}})
	r.ask(plain, false)
	r.ask(secure, true)

	// One that ends by itself takes nobody with it.
	_ = plain.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("ServeListener of a closed listener: %v", err)
	}
	if addrs := r.ListenAddrs(); len(addrs) != 1 || addrs[0] != secure.Addr() {
		t.Errorf("addresses %v; want that of the other listener", addrs)
	}
	r.ask(secure, true)
	if phase := r.Phase(); phase != PhaseReady {
		t.Errorf("phase %v", phase)
	}

	r.Drain()
	if err := <-endedTLS; err != nil {
		t.Errorf("ServeListener after the drain: %v", err)
	}
	if err := r.wait(); err != nil {
		t.Error(err)
	}
	late := listenLoopback(t)
	if err := r.ServeListener(late, nil); err != nil {
		t.Errorf("ServeListener when all is over: %v", err)
	}
	if _, err := late.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("it has left its listener open: %v", err)
	}
}

// One that waits for a Run ends with the drain, too.
func TestServeListenerBeforeRun(t *testing.T) {
	s := &Server{HTTP: quiet(hello), Listeners: []net.Listener{}}
	ended := make(chan error)
	go func() { ended <- s.ServeListener(listenLoopback(t), nil) }()
	s.Drain()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// What an error of Accept says of itself is believed, as by net/http.
func TestAcceptTemporaryError(t *testing.T) {
	r := run(t, &Server{HTTP: quiet(hello), Listeners: []net.Listener{}})
	ln := &shaky{Listener: listenLoopback(t)}
	ended := r.serve(ln, nil)
	r.ask(ln, false)
	if n := ln.failures.Load(); n != 2 {
		t.Errorf("%d failures", n)
	}
	r.Drain()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// shaky fails twice before it accepts.
type shaky struct {
	net.Listener
	failures atomic.Int32
}

func (s *shaky) Accept() (net.Conn, error) {
	if s.failures.Load() < 2 {
		s.failures.Add(1)
		return nil, temporary{io.ErrUnexpectedEOF}
	}
	return s.Listener.Accept()
}

type temporary struct{ error }

func (temporary) Temporary() bool { return true }
func (temporary) Timeout() bool   { return false }
