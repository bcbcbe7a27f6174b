package rehearsal

import (
	"bufio"
	"bytes"
	"crypto/tls"
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

// Kind is how a client uses its connection.
type Kind int

// The kinds of clients.
const (
	KeepAlive Kind = iota // one request after the other, on one connection until it is told to close or sees its end
	Segmented             // as KeepAlive, each request in two segments, Gap apart
	Pipelined             // as KeepAlive, Depth requests at a time, in one segment
	Fresh                 // a new connection for each request
	Silent                // a connection on which nothing is sent: it must see an end without a response
	Half                  // half a request header and nothing more: it must not hold up the shutdown
	numKinds
)

var kindNames = [numKinds]string{"keep-alive", "segmented", "pipelined", "fresh", "silent", "half"}

func (k Kind) String() string {
	if k < 0 || k >= numKinds {
		return "unknown"
	}
	return kindNames[k]
}

// Clients is a group of clients of one kind.
type Clients struct {
	Kind  Kind
	Count int
	// Pause is the longest time between a response and the next request; each is
	// random. Zero is none.
	Pause time.Duration
	// Body is the size of each request's body, in bytes.
	Body int
	// Depth is the number of requests in a pipeline. Zero is 8.
	Depth int
	// Gap is the time between the segments of a request. Zero is 1 ms.
	Gap time.Duration
}

// run is one client.
func (r *round) run(g Clients) {
	switch g.Kind {
	case Silent:
		r.idle(g.Kind, "")
	case Half:
		r.idle(g.Kind, "POST "+r.path()+" HTTP/1.1\r\nHo")
	case Fresh:
		for r.connection(g) {
		}
	default:
		r.connection(g)
	}
}

func (r *round) path() string {
	if r.plan.Path == "" {
		return "/"
	}
	return r.plan.Path
}

// dialTimeout is short of the second after which a SYN that was dropped is sent
// again: then there is nobody to answer.
const dialTimeout = 500 * time.Millisecond

// dial connects. Whoever is not connected has sent no request.
func (r *round) dial() (nc net.Conn, raw *net.TCPConn, err error) {
	nc, err = net.DialTimeout("tcp", r.addr, dialTimeout)
	if err != nil {
		return nil, nil, err
	}
	raw = nc.(*net.TCPConn)
	_ = nc.SetDeadline(time.Now().Add(orDefault(r.plan.Timeout, DefaultTimeout)))
	if r.plan.TLS != nil {
		tc := tls.Client(nc, r.plan.TLS)
		if err := tc.Handshake(); err != nil {
			_ = nc.Close()
			return nil, nil, err
		}
		nc = tc
	}
	return nc, raw, nil
}

// connection calls the server on one connection, and reports whether another one
// is worth while.
func (r *round) connection(g Clients) bool {
	nc, raw, err := r.dial()
	if err != nil {
		return false
	}
	defer func() { _ = nc.Close() }()
	in := bufio.NewReader(nc)
	message := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: rehearsal\r\nContent-Length: %d\r\n\r\n", r.path(), g.Body)
	message = append(message, bytes.Repeat([]byte("x"), g.Body)...)
	depth := 1
	if g.Kind == Pipelined {
		if depth = g.Depth; depth == 0 {
			depth = 8
		}
	}
	for n := 1; ; n += depth {
		if ended(raw, n > 1) { // before the first response, TLS sends session tickets
			return false
		}
		_ = nc.SetDeadline(time.Now().Add(orDefault(r.plan.Timeout, DefaultTimeout)))
		sent := time.Now()
		err := send(nc, message, depth, g)
		for i := 0; i < depth && err == nil; i++ {
			var told bool
			if told, err = receive(in); err == nil {
				r.served.Add(1)
			}
			if told {
				return g.Kind == Fresh // what was pipelined behind it, its client may send again
			}
		}
		if err != nil {
			r.lose(lost{g.Kind, n, sent, describe(err)})
			return false
		}
		if g.Kind == Fresh {
			return !r.over.Load()
		}
		if g.Pause > 0 {
			time.Sleep(rand.N(g.Pause)) //nolint:gosec // no secret
		}
	}
}

func send(nc net.Conn, message []byte, depth int, g Clients) error {
	if g.Kind != Segmented {
		_, err := nc.Write(bytes.Repeat(message, depth))
		return err
	}
	half := len(message) / 2
	if _, err := nc.Write(message[:half]); err != nil {
		return err
	}
	time.Sleep(orDefault(g.Gap, time.Millisecond))
	_, err := nc.Write(message[half:])
	return err
}

// receive reads one response, and reports whether it ends the connection.
func receive(in *bufio.Reader) (told bool, err error) {
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return false, err
	}
	if resp.StatusCode != http.StatusOK {
		return false, fmt.Errorf("answered %s", resp.Status)
	}
	return resp.Close, nil
}

// describe says how a request was lost.
func describe(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "EOF or truncated"
	case errors.Is(err, io.EOF):
		return "EOF"
	}
	return err.Error()
}

// idle holds a connection on which there is nothing to be answered, until it ends.
func (r *round) idle(kind Kind, begin string) {
	nc, _, err := r.dial()
	if err != nil {
		return
	}
	defer func() { _ = nc.Close() }()
	sent := time.Now()
	if _, err := io.WriteString(nc, begin); err != nil {
		return
	}
	answer, _ := io.ReadAll(io.LimitReader(nc, 100))
	if kind == Silent && len(answer) > 0 {
		r.lose(lost{kind, 1, sent, fmt.Sprintf("an answer that nobody asked for: %.40q", answer)})
	}
}
