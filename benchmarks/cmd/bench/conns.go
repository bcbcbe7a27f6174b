package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/lastcall-go/lastcall/benchmarks/internal/contract"
)

// perSource is how many connections come from one address: a third of the ports
// that Linux has for it.
const perSource = 9000

// crowd is many keep-alive connections to one server.
type crowd []net.Conn

// gather makes them one after the other; each makes a request.
func gather(s *server, n int) (c crowd, err error) {
	for i := range n {
		d := net.Dialer{
			LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i/perSource))},
			Control:   portAtConnect,
			Timeout:   5 * time.Second,
		}
		conn, err := d.Dial("tcp", s.addr)
		if err != nil {
			return c, fmt.Errorf("connection %d: %w", i, err)
		}
		c = append(c, conn)
		if err := ask(conn); err != nil {
			return c, fmt.Errorf("first request of connection %d: %w", i, err)
		}
	}
	return c, nil
}

func (c crowd) close() {
	for _, conn := range c {
		_ = conn.Close()
	}
}

// askAll makes a request on each in turn, and returns how long each took, in
// microseconds, and how many failed.
func (c crowd) askAll() (micros []float64, failed int) {
	for _, conn := range c {
		began := time.Now()
		if err := ask(conn); err != nil {
			failed++
			continue
		}
		micros = append(micros, float64(time.Since(began).Nanoseconds())/1e3)
	}
	return micros, failed
}

var plainRequest = []byte("GET " + contract.Plain13.Path + " HTTP/1.1\r\nHost: bench\r\n\r\n")

// ask makes one request.
func ask(conn net.Conn) error {
	return exchange(conn, plainRequest, contract.Plain13.Body)
}

// exchange sends a request and reads until the response's body is there.
func exchange(conn net.Conn, request, body []byte) error {
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write(request); err != nil {
		return err
	}
	var buf [1024]byte
	for n := 0; !bytes.HasSuffix(buf[:n], body); {
		more, err := conn.Read(buf[n:])
		if err != nil {
			return err
		}
		n += more
	}
	return nil
}

// ends is how clients saw their connections end.
type ends struct {
	EOF   int `json:"eof"`
	Reset int `json:"reset"`
	Other int `json:"other"`
}

// watch reads on each connection, as a client's pool does, and closes it when it
// ends. The returned function waits until all have.
func (c crowd) watch() (wait func() ends) {
	results := make([]error, len(c))
	var watching sync.WaitGroup
	for i, conn := range c {
		watching.Go(func() {
			_ = conn.SetDeadline(time.Time{})
			var buf [1]byte
			_, results[i] = conn.Read(buf[:])
			_ = conn.Close()
		})
	}
	return func() (e ends) {
		watching.Wait()
		for _, err := range results {
			switch {
			case errors.Is(err, io.EOF):
				e.EOF++
			case errors.Is(err, syscall.ECONNRESET):
				e.Reset++
			default:
				e.Other++
			}
		}
		return e
	}
}
