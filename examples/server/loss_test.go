//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Not in parallel with other tests: a client that is not scheduled for the time
// of a last call loses its connection, and may be about to write.
func TestNoRequestIsLost(t *testing.T) {
	const rounds, clients, warm = 5, 32, 10 // warm: requests a client before the signal
	for range rounds {
		p := start(t)
		var answered atomic.Int64
		warmedUp := make(chan struct{})
		count := func() {
			if answered.Add(1) == warm*clients {
				close(warmedUp)
			}
		}
		var wg sync.WaitGroup
		for range clients {
			c := p.dial()
			wg.Go(func() {
				if err := c.postUntilClosed(count); err != nil {
					t.Errorf("lost after %d requests of all: %v", answered.Load(), err)
				}
			})
		}
		select {
		case <-warmedUp:
		case <-time.After(patience):
			t.Fatal("the clients do not get on")
		}
		p.signal(syscall.SIGTERM)
		wg.Wait()
		p.wantExit(0)
		if r := p.report(); r.Told+r.LastCalled != clients || len(r.Cut) != 0 {
			t.Errorf("report %+v", r)
		}
	}
}

// postUntilClosed posts, with pauses, until it is told that the connection
// closes, or sees it closed before it has written anything of a request. All
// else is an error.
func (c *client) postUntilClosed(answered func()) error {
	for {
		time.Sleep(rand.N(5 * time.Millisecond))
		if peek(c.Conn) == 0 {
			return nil
		}
		body := strings.Repeat("x", rand.IntN(20_000))
		request := fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		split := rand.IntN(len(request)) // in two segments, as a rule
		if _, err := io.WriteString(c.Conn, request[:split]); err != nil {
			return err
		}
		if _, err := io.WriteString(c.Conn, request[split:]); err != nil {
			return err
		}
		last, err := readEcho(c.r, body)
		if err != nil {
			return err
		}
		answered()
		if last {
			_, err := c.r.ReadByte()
			if err != io.EOF {
				return fmt.Errorf("after the last response: %w; want EOF", err)
			}
			return nil
		}
	}
}

// readEcho reads a response, and whether it is the connection's last.
func readEcho(r *bufio.Reader, want string) (last bool, err error) {
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return false, err
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return false, err
	}
	if resp.StatusCode != http.StatusOK || string(got) != want {
		return false, fmt.Errorf("status %d with %d bytes; want %d", resp.StatusCode, len(got), len(want))
	}
	return resp.Close, nil
}

// peek is what a read would get, without taking it: 1 for a byte, 0 for the
// peer's FIN, -1 if it would wait.
func peek(nc net.Conn) (n int) {
	rc, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0
	}
	_ = rc.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, err = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	if err != nil {
		return -1
	}
	return n
}
