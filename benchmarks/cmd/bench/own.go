package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// own is the generator for machines without wrk: this program, started again. A
// goroutine a connection costs more than wrk's event loop does; where the load's
// CPUs are full, requests per second are the generator's, and CPU time per request
// is still the server's.
type own struct {
	path string
	cpus []int
}

// loadCommand is the first argument that makes this program a generator.
const loadCommand = "load"

// order is the second one, as JSON.
type order struct {
	workload
	Addr string
	For  time.Duration
}

func newOwn(cpus []int) (*own, error) {
	path, err := os.Executable()
	return &own{path, cpus}, err
}

func (g *own) describe() string { return "own client (Go), as wrk is not installed or not asked for" }

func (g *own) run(w workload, s *server, d time.Duration) (load, error) {
	spec, err := json.Marshal(order{w, s.addr, d})
	if err != nil {
		return load{}, err
	}
	cmd := exec.Command(g.path, loadCommand, string(spec)) //nolint:gosec // ourselves
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	cmd.Env = os.Environ()
	if len(g.cpus) > 0 {
		cmd.Env = append(cmd.Env, "GOMAXPROCS="+strconv.Itoa(len(g.cpus)))
	}
	if err := startOn(cmd, g.cpus); err != nil {
		return load{}, err
	}
	if err := cmd.Wait(); err != nil {
		return load{}, fmt.Errorf("load: %w", err)
	}
	return parseLoad(out.Bytes())
}

// generate is the generator's process.
func generate(spec string) error {
	var o order
	if err := json.Unmarshal([]byte(spec), &o); err != nil {
		return err
	}
	c := &client{order: o, request: o.bytes()}
	began := time.Now()
	var clients sync.WaitGroup
	for range o.Conns {
		if o.Streams > 0 {
			clients.Go(c.runStreams)
		} else {
			clients.Go(c.run)
		}
	}
	time.Sleep(o.For)
	c.over.Store(true)
	l := load{Requests: c.requests.Load(), Micros: time.Since(began).Microseconds(),
		Bytes: c.received.Load(), Connect: c.connectErrors.Load(), Read: c.readErrors.Load(), Status: c.statusErrors.Load()}
	return json.NewEncoder(os.Stdout).Encode(l) // the process's end is the clients'
}

// bytes are what is written at once.
func (o order) bytes() []byte {
	var b bytes.Buffer
	if o.Upload > 0 {
		fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", o.Path, o.Addr, o.Upload)
	} else {
		fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\n", o.Path, o.Addr)
	}
	if o.Fresh {
		b.WriteString("Connection: close\r\n")
	}
	b.WriteString("\r\n")
	b.Write(bytes.Repeat([]byte("x"), o.Upload))
	return bytes.Repeat(b.Bytes(), max(o.Pipeline, 1))
}

type client struct {
	order
	request []byte
	over    atomic.Bool

	requests, received, connectErrors, readErrors, statusErrors atomic.Int64
}

// runStreams is one connection of HTTP/2.
func (c *client) runStreams() {
	t := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // our own, on loopback
	t.Protocols.SetHTTP2(c.TLS)
	t.Protocols.SetUnencryptedHTTP2(!c.TLS)
	if !c.stream(t) { // before the others, so that they share its connection
		return
	}
	var streams sync.WaitGroup
	for range c.Streams {
		streams.Go(func() {
			for ok := true; ok && !c.over.Load(); {
				ok = c.stream(t)
			}
		})
	}
	streams.Wait()
}

// stream is a request by HTTP/2. It reports false if that has failed.
func (c *client) stream(t *http.Transport) bool {
	method, body := http.MethodGet, []byte(nil)
	if c.Upload > 0 {
		method, body = http.MethodPost, c.request[len(c.request)-c.Upload:]
	}
	scheme := "http"
	if c.TLS {
		scheme = "https"
	}
	r, err := http.NewRequest(method, scheme+"://"+c.Addr+c.Path, bytes.NewReader(body))
	if err != nil {
		c.connectErrors.Add(1)
		return false
	}
	resp, err := t.RoundTrip(r)
	if err != nil {
		c.connectErrors.Add(1)
		return false
	}
	n, err := io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		c.readErrors.Add(1)
		return false
	}
	if resp.StatusCode/100 != 2 || resp.ProtoMajor != 2 {
		c.statusErrors.Add(1)
	}
	c.received.Add(n)
	c.requests.Add(1)
	return true
}

// run is one connection after the other.
func (c *client) run() {
	for !c.over.Load() {
		conn, err := c.dial()
		if err != nil {
			c.connectErrors.Add(1)
			time.Sleep(10 * time.Millisecond)
			continue
		}
		err = c.exchange(conn)
		_ = conn.Close()
		if err != nil {
			c.readErrors.Add(1)
		}
	}
}

func (c *client) dial() (net.Conn, error) {
	if c.TLS {
		return tls.Dial("tcp", c.Addr, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // our own, on loopback
	}
	return net.Dial("tcp", c.Addr)
}

// exchange sends requests on a connection until all is over, or just one.
func (c *client) exchange(conn net.Conn) error {
	r := bufio.NewReaderSize(conn, 64<<10)
	for !c.over.Load() {
		if _, err := conn.Write(c.request); err != nil {
			return err
		}
		for range max(c.Pipeline, 1) {
			ok, n, err := readResponse(r)
			if err != nil {
				return err
			}
			if !ok {
				c.statusErrors.Add(1)
			}
			c.received.Add(int64(n))
			c.requests.Add(1)
		}
		if c.Fresh {
			return nil
		}
	}
	return nil
}

var (
	contentLength = []byte("content-length:")
	chunkedCoding = []byte("transfer-encoding: chunked")
)

// readResponse reads a response that says its length, or is in chunks, and says whether it
// is one of success and how long it was in all.
func readResponse(r *bufio.Reader) (ok bool, n int, err error) {
	body, chunked := -1, false
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return false, n, err
		}
		n += len(line)
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case first:
			ok = bytes.HasPrefix(line, []byte("HTTP/1.1 2"))
		case len(line) == 0 && chunked:
			read, err := readChunks(r)
			return ok, n + read, err
		case bytes.EqualFold(line, chunkedCoding):
			chunked = true
		case len(line) == 0 && body < 0:
			return false, n, errors.New("a response without Content-Length")
		case len(line) == 0:
			_, err := r.Discard(body)
			return ok, n + body, err
		case len(line) > len(contentLength) && bytes.EqualFold(line[:len(contentLength)], contentLength):
			if body, err = strconv.Atoi(string(bytes.TrimSpace(line[len(contentLength):]))); err != nil {
				return false, n, err
			}
		}
	}
}

// readChunks reads a body in chunks, without trailers.
func readChunks(r *bufio.Reader) (n int, err error) {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return n, err
		}
		n += len(line)
		size, err := strconv.ParseUint(string(bytes.TrimRight(line, "\r\n")), 16, 31)
		if err != nil {
			return n, err
		}
		read, err := r.Discard(int(size) + len("\r\n"))
		n += read
		if err != nil || size == 0 {
			return n, err
		}
	}
}
