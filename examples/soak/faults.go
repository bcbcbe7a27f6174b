//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// draw is a number below n. What clients of ours do comes from no seed: it is in
// the hands of the scheduler anyway.
func draw(n int) int { return rand.IntN(n) } //nolint:gosec // no secret

// upTo is a time shorter than d.
func upTo(d time.Duration) time.Duration { return time.Duration(draw(int(d))) }

// faultClients is how many clients of ours call at a time.
const faultClients = 8

// beginFaults starts our clients, and moments without descriptors.
func (l *life) beginFaults() {
	addr := l.server.ListenAddrs()[0].String()
	for range faultClients {
		l.clients.Go(func() { l.misbehave(addr) })
	}
	l.starving.Go(l.starve)
}

// misbehave calls until the server has gone, over a connection for each call.
func (l *life) misbehave(addr string) {
	for {
		nc, err := net.DialTimeout("tcp", addr, time.Second)
		switch {
		case err == nil:
			l.oneFault(nc.(*net.TCPConn))
			_ = nc.Close()
		case errors.Is(err, syscall.EMFILE):
		default:
			select {
			case <-l.over:
				return
			default: // the accept queue was full
			}
		}
		time.Sleep(upTo(20 * time.Millisecond))
	}
}

const (
	body    = "0123456789"
	request = "POST /fault HTTP/1.1\r\nHost: soak\r\nContent-Length: 10\r\n\r\n" + body
)

// oneFault makes one call in a way that is drawn. Those that send all of a request
// and want its answer have to get it.
func (l *life) oneFault(c *net.TCPConn) {
	// Who is slow to send may come after the last call, and can see that.
	if ended(c) {
		return
	}
	begun := time.Now()
	_ = c.SetDeadline(begun.Add(patience))
	reset := func() { _ = c.SetLinger(0) } // with the close that follows
	send := func(text string) bool {
		_, err := io.WriteString(c, text)
		return err == nil
	}
	if l.tls { // to whom all that we say is no handshake
		if draw(2) == 0 {
			reset()
		}
		send(request[:draw(len(request))])
		return
	}
	how, ok := "", true
	switch draw(9) {
	case 0: // gone before it was accepted
		reset()
		return
	case 1: // gone within the header or the body
		reset()
		send(request[:draw(len(request))])
		time.Sleep(upTo(2 * time.Millisecond))
		return
	case 2: // the same, in good order
		send(request[:draw(len(request))])
		return
	case 3: // gone before the answer
		l.abandoned.Add(1)
		reset()
		send(request)
		time.Sleep(upTo(5 * time.Millisecond))
		return
	case 4: // gone before the answers
		l.abandoned.Add(3)
		reset()
		send(request + request + request)
		time.Sleep(upTo(10 * time.Millisecond))
		return
	case 5: // gone within the answer
		l.abandoned.Add(1)
		reset()
		send("POST /fault HTTP/1.1\r\nHost: soak\r\nContent-Length: 0\r\n\r\n")
		_, _ = io.CopyN(io.Discard, c, 10)
		return
	case 6:
		how = "slow to send"
		for rest := request; ok && rest != ""; {
			n := min(len(rest), 10)
			ok = send(rest[:n])
			rest = rest[n:]
			time.Sleep(upTo(10 * time.Millisecond))
		}
		ok = ok && l.answer(c, len(body), false)
	case 7:
		how = "half-closed"
		ok = send(request) && c.CloseWrite() == nil && l.answer(c, len(body), false)
	case 8:
		how = "slow to read"
		_ = c.SetReadBuffer(64 << 10)
		ok = send("GET /large HTTP/1.1\r\nHost: soak\r\n\r\n") && l.answer(c, largeSize, true)
	}
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case ok:
		l.answered.Add(1)
	case l.excuses(now):
		l.sum.excused++
	default:
		l.lost = append(l.lost, fmt.Sprintf("the answer of a client that is %s, after %v", how, now.Sub(begun)))
	}
}

// ended reports whether the connection has been ended by the server, which has said
// nothing yet.
func ended(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	open := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		open = errors.Is(err, syscall.EAGAIN)
	})
	return err != nil || !open
}

// answer reads a response, and reports whether it is whole and right.
func (l *life) answer(c net.Conn, size int, slowly bool) bool {
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	left := int64(size)
	for err == nil && left > 0 {
		var n int64
		n, err = io.CopyN(io.Discard, resp.Body, min(left, 1<<20))
		left -= n
		if slowly {
			time.Sleep(upTo(5 * time.Millisecond))
		}
	}
	more, _ := io.Copy(io.Discard, resp.Body)
	return resp.StatusCode == http.StatusOK && left == 0 && more == 0
}

// starve has the process run out of descriptors, now and then, until the shutdown
// begins: not in the shutdown, whose contract supposes that the kernel can be asked.
func (l *life) starve() {
	for {
		select {
		case <-l.over:
			return
		case <-time.After(upTo(time.Second)):
		}
		l.mu.Lock()
		l.moments = append(l.moments, moment{from: time.Now(), to: time.Now().Add(patience)})
		now := &l.moments[len(l.moments)-1] // nobody else appends
		l.mu.Unlock()
		restore, err := noDescriptors()
		if err != nil {
			panic(err)
		}
		time.Sleep(upTo(50 * time.Millisecond))
		restore()
		l.mu.Lock()
		now.to = time.Now()
		l.mu.Unlock()
	}
}

// noDescriptors takes away those that are free, until restore is called.
func noDescriptors() (restore func(), err error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	f, err := os.Open(os.DevNull) // gets the lowest that is free
	if err != nil {
		return nil, err
	}
	none := syscall.Rlimit{Cur: uint64(f.Fd()), Max: limit.Max}
	_ = f.Close()
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		return nil, err
	}
	return func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) }, nil
}

// excuseSlack is how much later than a moment without descriptors a client may see
// that its connection was refused in it.
const excuseSlack = 250 * time.Millisecond

// excuses reports whether a request that was lost then on a new connection can have
// been refused for lack of a descriptor. Call it with mu held, or when all clients
// have ended.
func (l *life) excuses(at time.Time) bool {
	for _, m := range l.moments {
		if !at.Before(m.from) && at.Before(m.to.Add(excuseSlack)) {
			return true
		}
	}
	return false
}
