// Package servertest runs a toolkit.Server in a test, and is a client of it: for the tests
// of what is built on the toolkit. No program imports it.
package servertest

import (
	"context"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
)

// Patience bounds waits on real sockets, which end by events: it only turns a hang into a
// failure.
const Patience = time.Minute

// Quiet is a Builder without a log and without an address, whose drain idle connections do
// not hold up.
func Quiet() *toolkit.Builder {
	return toolkit.New().Logger(zerolog.Nop()).LastCall(time.Millisecond)
}

// Loopback is Quiet, with an address.
func Loopback() *toolkit.Builder { return Quiet().Addr("127.0.0.1:0") }

// Server is a server under test.
type Server struct {
	*toolkit.Server
	T testing.TB
	// Memory, if set, is how Dial connects, as to an in-memory listener: it is over TCP
	// otherwise, with Patience for each wait.
	Memory func() (net.Conn, error)

	err  error
	done chan struct{} // closed when Run has returned, after err is set
}

// Run starts what b builds, waits until it is ready, and ends it with the test.
func Run(t testing.TB, b *toolkit.Builder) *Server {
	t.Helper()
	built, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Server: built, T: t, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.err = built.Run(context.Background())
	}()
	t.Cleanup(func() {
		_ = built.Close()
		<-s.done
	})
	select {
	case <-built.Reached(lifecycle.PhaseReady):
	case <-s.done:
		t.Fatal(s.err)
	}
	return s
}

// Bubble runs a test of what b builds in fake time, on an in-memory listener. Goroutines
// that are left at its end fail the test.
func Bubble(t *testing.T, b *toolkit.Builder, f func(t *testing.T, s *Server)) {
	t.Helper()
	(&fasthttp.ResponseHeader{}).Header() // begins fasthttp's clock, which has no end, before the bubble
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(48 * time.Hour) })                              // for what ends on its own time, as fasthttp's worker pool
		b.Configure(func(h *fasthttp.Server) { h.MaxIdleWorkerDuration = time.Hour }) // so that it wakes up less often
		mem := fasthttputil.NewInmemoryListener()
		s := Run(t, b.Listener(mem))
		s.Memory = mem.Dial
		f(t, s)
	})
}

// Wait waits for Run's return and returns its error.
func (s *Server) Wait() error {
	s.T.Helper()
	if s.Memory != nil { // a bubble itself finds out about a hang
		<-s.done
		return s.err
	}
	select {
	case <-s.done:
		return s.err
	case <-time.After(Patience):
		buf := make([]byte, 1<<20)
		s.T.Fatalf("Run has not returned; connections: %+v\n%s", s.Conns(), buf[:runtime.Stack(buf, true)])
		return nil
	}
}

// Addr is the first address that the server listens on.
func (s *Server) Addr() string { return s.ListenAddrs()[0].String() }

// Dial connects to it. The connection is closed with the test.
func (s *Server) Dial() *Client {
	s.T.Helper()
	dial, patience := s.Memory, time.Duration(0)
	if dial == nil {
		dial, patience = func() (net.Conn, error) { return net.Dial("tcp", s.Addr()) }, Patience
	}
	nc, err := dial()
	if err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(func() { _ = nc.Close() })
	return newClient(s.T, nc, patience)
}

// Do makes a request on a connection of its own. Headers are names and values by turns.
func (s *Server) Do(method, path, body string, headers ...string) Reply {
	s.T.Helper()
	c := s.Dial()
	defer func() { _ = c.Close() }()
	return c.Do(method, path, body, headers...)
}

// Get is Do of a GET request.
func (s *Server) Get(path string, headers ...string) Reply {
	s.T.Helper()
	return s.Do("GET", path, "", headers...)
}
