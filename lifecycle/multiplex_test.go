package lifecycle

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// lines is a protocol beside HTTP/1: a connection says "LINES\n", and then asks by
// lines, several at a time, each of which is answered by one. "slow" is answered when
// release is closed. When it is asked to end, it says "bye".
type lines struct {
	s       *Server
	release chan struct{}
	ready   atomic.Bool
}

func (l *lines) serve(a *Adopted, unread []byte) {
	var mu sync.Mutex // guards running and what is written
	running := 0
	if !a.Multiplex(l.ready.Load, func() {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.WriteString(a.Conn(), "bye\n")
		_ = a.Conn().SetReadDeadline(past)
	}) {
		_ = a.Close()
		return
	}
	go func() {
		defer func() { _ = a.Close() }()
		for in := bufio.NewScanner(io.MultiReader(bytes.NewReader(unread), a.Conn())); in.Scan(); {
			line := in.Text()
			if line == "LINES" {
				continue
			}
			mu.Lock()
			ok := a.Active(false) && a.Enter("LINE", line)
			running++
			mu.Unlock()
			if !ok {
				return
			}
			go func() {
				if line == "slow" {
					<-l.release
				}
				mu.Lock()
				defer mu.Unlock()
				_, _ = fmt.Fprintln(a.Conn(), "answer to", line)
				if running--; running == 0 {
					a.Leave()
					a.Idle()
				}
			}()
		}
	}()
}

// runLines runs a server of HTTP/1 and of lines.
func runLines(t *testing.T, kind string, s *Server) (*running, *lines) {
	l := &lines{s: s, release: make(chan struct{})}
	l.ready.Store(true)
	s.HTTP = quiet(hello)
	s.Divert = l.serve
	s.DivertIf = func(begin []byte) bool { return bytes.HasPrefix(begin, []byte("LINES")) }
	return runKind(t, kind, s), l
}

func (c *client) wantLine(want string) {
	c.t.Helper()
	if got, err := c.r.ReadString('\n'); err != nil || got != want+"\n" {
		c.t.Fatalf("%q, %v; want %q", got, err, want)
	}
}

// A connection of many requests is one in the table: active while one of them runs, and
// then idle; it says when it is ready, and ends in its own way.
func TestMultiplexed(t *testing.T) {
	r, l := runLines(t, "tcp", &Server{LastCall: 20 * time.Millisecond, ParkAfter: time.Millisecond})
	c := r.dial()
	c.send("LINES\nslow\na\nb\n")
	for range 2 {
		if got, err := c.r.ReadString('\n'); err != nil || !strings.HasPrefix(got, "answer to ") {
			t.Fatal(got, err)
		}
	}
	if all := r.Conns(); len(all) != 1 || all[0].State != StateActive || all[0].Requests != 3 || !all[0].Multiplexed || !all[0].Adopted {
		t.Errorf("%+v", all)
	}
	l.ready.Store(false)
	r.Drain()
	time.Sleep(40 * time.Millisecond)
	c.send("c\n") // which crosses
	c.wantLine("answer to c")
	close(l.release)
	c.wantLine("answer to slow")
	time.Sleep(40 * time.Millisecond) // the last call is over
	c.send("d\n")
	c.wantLine("answer to d")
	l.ready.Store(true)
	c.wantLine("bye")
	c.wantEOF()
	_ = c.Close()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
	if report := r.Report(); report.LastCalled != 1 {
		t.Errorf("%+v", report)
	}
}

// One that is never ready is ended when the deadline comes.
func TestMultiplexedNeverReady(t *testing.T) {
	r, l := runLines(t, "tcp", &Server{LastCall: -1, DrainTimeout: 30 * time.Millisecond, AbortTimeout: patience})
	l.ready.Store(false)
	c := r.dial()
	c.send("LINES\na\n")
	c.wantLine("answer to a")
	r.Drain()
	c.wantLine("bye")
	c.wantEOF()
	_ = c.Close()
	if err := r.wait(); !errors.Is(err, ErrDrainTimeout) {
		t.Error(err)
	}
}

// What a client sends that is no request does not hold its end up, though there is always
// some of it to be read. Here none is, which looks the same.
func TestMultiplexedNoise(t *testing.T) {
	s := &Server{HTTP: quiet(hello), LastCall: -1, DrainTimeout: patience / 2}
	s.DivertIf = func([]byte) bool { return true }
	multiplexed := make(chan bool, 1)
	s.Divert = func(a *Adopted, _ []byte) {
		multiplexed <- a.Multiplex(func() bool { return true }, func() { _ = a.Close() })
	}
	r := runTCP(t, s)
	c := r.dial()
	c.send("LINES\n")
	if !<-multiplexed {
		t.Fatal("it is not multiplexed")
	}
	c.send("noise")
	r.Drain()
	c.wantEOF()
	_ = c.Close()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

// Adopt knows the connections of its server, and those alone.
func TestAdoptUnknown(t *testing.T) {
	r := runTCP(t, &Server{HTTP: quiet(hello)})
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	if r.Adopt(a) != nil {
		t.Error("adopted")
	}
}
