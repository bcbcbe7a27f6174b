package nethttp

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// streams is a connection that the http.Server serves by HTTP/2, each request as a
// stream of its own. It knows which are open by the frames that pass: the http.Server
// calls a connection idle before the last bytes of a response have left it.
//
// It ends in two steps, as RFC 9113, section 6.8, has it, of which net/http's server
// knows the second one only. The first GOAWAY asks the client to open no more streams,
// and those that are on their way are still served; a PING behind it comes back when the
// client knows. The second one says which was the last: what comes after that, the
// client knows, has not been handled.
type streams struct {
	net.Conn // as fasthttp had it, or as it was accepted
	adopted  *lifecycle.Adopted
	server   *server
	tls      *tls.ConnectionState // nil without TLS
	over     chan struct{}        // closed when the connection has been closed
	known    bool                 // to ConnState, as one of the other http.Server

	// These belong to who reads.
	unread  []byte
	in      frames
	preface int // bytes of it that have been read

	writing sync.Mutex // held while something is being written; guards the next two
	out     frames
	say     []byte // frames of our own, to be put in where the next one ends

	parting sync.Once // see part

	mu      sync.Mutex // guards what follows
	open    []uint32   // in their order; a map would take more of the stack than Write's goroutine has
	last    uint32     // the client's highest stream
	limit   uint32     // what the last GOAWAY said was the last one
	running []*call
	told    time.Time // when the client was asked to open no more streams
	knows   time.Time // when it said that it knows
	idle    bool      // as the table has it
	leaving bool      // what is read now is not looked at
	closed  bool
	ended   bool
}

// call is a request whose handler runs.
type call struct{ method, path string }

// Read is called by one goroutine of the http.Server.
func (c *streams) Read(p []byte) (n int, err error) {
	if len(c.unread) > 0 {
		n = copy(p, c.unread)
		if c.unread = c.unread[n:]; len(c.unread) == 0 {
			c.unread = nil
		}
	} else if n, err = c.Conn.Read(p); errors.Is(err, os.ErrDeadlineExceeded) && c.isLeaving() {
		return 0, io.EOF
	}
	skip := min(n, len(preface)-c.preface)
	c.preface += skip
	if !c.in.follow(p[skip:n], c.received, c.acknowledged) {
		c.part() // before the http.Server closes it
		return 0, io.EOF
	}
	if c.isLeaving() {
		return 0, io.EOF
	}
	return n, err
}

// mostUnanswered is how many streams, beyond those that may be open at a time, a client gets
// to open that have not been answered. net/http's server itself ends a connection for which
// it queues 10,000 refusals. But once it has been told GOAWAY, or has found an error, it
// answers no more of them, and reads them for as long as its own GOAWAY cannot be written.
const mostUnanswered = 20_000

// received is for the begin of a frame from the client, and reports false if that comes
// too late, or is one too many.
func (c *streams) received(f frame) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case f.kind == frameReset:
		c.endStream(f.stream)
	case f.kind == frameHeaders && f.stream > c.last && f.stream <= c.limit:
		if len(c.open)-mostUnanswered > c.server.http2.HTTP2.MaxConcurrentStreams || !c.adopted.Active(false) {
			return false
		}
		c.last, c.idle = f.stream, false
		c.open = append(c.open, f.stream)
	}
	return true
}

// acknowledged is for a frame that the client has sent.
func (c *streams) acknowledged(f frame) bool {
	if f.kind == framePing && f.flags&flagAck != 0 && f.payload == ourPing {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.knows.IsZero() {
			c.knows = time.Now()
		}
	}
	return true
}

// sent is for a frame that has been written.
func (c *streams) sent(f frame) bool {
	ends := c.out.endsStream()
	if !ends && f.kind != frameGoAway {
		return true
	}
	c.mu.Lock()
	if ends {
		c.endStream(f.stream)
	} else {
		c.sentGoAway(f)
	}
	c.mu.Unlock()
	return true
}

// sentGoAway is sent for that frame. mu is held.
func (c *streams) sentGoAway(f frame) {
	if binary.BigEndian.Uint32(f.payload[4:]) != noError {
		return // http.Server waits for a second, and closes then
	}
	c.limit = min(c.limit, binary.BigEndian.Uint32(f.payload[:])&maxStream)
	handled, _ := slices.BinarySearch(c.open, c.limit+1)
	c.open = c.open[:handled] // the others will not be
	c.rest()
}

// endStream is for a stream of which nothing more will be sent. mu is held.
func (c *streams) endStream(id uint32) {
	if open := without(c.open, id); len(open) < len(c.open) {
		c.open = open
		c.rest()
	}
}

// without removes a stream from those in a list.
func without(open []uint32, id uint32) []uint32 {
	if i, is := slices.BinarySearch(open, id); is {
		return slices.Delete(open, i, i+1)
	}
	return open
}

// rest is for when a request may have been the last one that is under way. mu is held.
func (c *streams) rest() {
	if len(c.open) > 0 || c.closed {
		return
	}
	if c.limit < maxStream { // spares the second for which http.Server waits
		c.leave()
	}
	if !c.idle && len(c.running) == 0 {
		c.idle = true
		c.adopted.Idle()
	}
}

// leave has the http.Server close the connection. mu is held.
func (c *streams) leave() {
	if !c.leaving {
		c.leaving = true
		_ = c.Conn.SetReadDeadline(time.Unix(1, 0)) // wakes who reads
	}
}

func (c *streams) isLeaving() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leaving
}

// Write is called by one goroutine of the http.Server at a time. That is a new one for
// each frame, whose first stack is just large enough: what is called here, down to
// adopted.Idle, does with little of it, and without a defer.
func (c *streams) Write(p []byte) (int, error) {
	c.writing.Lock()
	if len(c.say) > 0 {
		return c.writeAndSpeak(p)
	}
	n, err := c.Conn.Write(p)
	c.out.follow(p[:n], nil, c.sent)
	c.writing.Unlock()
	return n, err
}

// writeAndSpeak is a Write where there are frames of our own. writing is held, and given
// back.
func (c *streams) writeAndSpeak(p []byte) (written int, err error) {
	defer c.writing.Unlock()
	for written < len(p) {
		part := p[written:]
		if len(c.say) > 0 {
			part = part[:c.out.untilBetween(part)]
		}
		n, err := c.Conn.Write(part)
		c.out.follow(part[:n], nil, c.sent)
		written += n
		if err != nil {
			return written, err
		}
		if err = c.speak(); err != nil {
			return written, err
		}
	}
	return written, nil
}

// speak writes frames of our own, as soon as they may be. writing is held.
func (c *streams) speak() error {
	if len(c.say) == 0 || !c.out.between() {
		return nil
	}
	_, err := c.Conn.Write(c.say)
	c.say = nil
	return err
}

// askToLeave asks the client to open no more streams, if it has not been asked before.
// It does not wait until that is written.
func (c *streams) askToLeave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.told.IsZero() || c.closed || !c.adopted.Last() {
		return
	}
	c.told = time.Now()
	go c.tell(append(goAway(maxStream, noError), ping()...)) // a client that reads nothing holds nobody up
}

func (c *streams) tell(frame []byte) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.say = append(c.say, frame...)
	_ = c.speak() // the next one to read or to write learns of it as well
}

// The client knows when it acknowledges the PING, but part of it may not: a goroutine that
// has a stream to open. One that acknowledges nothing does not hold up the drain.
const (
	wordGetsRound = 20 * time.Millisecond
	noWord        = 2 * time.Second
)

// ready reports whether nothing more is to be expected from the client, which is asked
// to leave if it has not been.
func (c *streams) ready() bool {
	c.askToLeave()
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.knows.IsZero() && time.Since(c.knows) > wordGetsRound || !c.told.IsZero() && time.Since(c.told) > noWord
}

// bid is called when the connection is to end and nothing is under way.
func (c *streams) bid() {
	c.part()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leave()
}

// part says which stream was the last, and returns when that has been said. One that comes
// later is not handled: see received.
func (c *streams) part() {
	c.parting.Do(func() {
		c.mu.Lock()
		last := min(c.limit, c.last)
		c.mu.Unlock()
		_ = c.SetWriteDeadline(time.Now().Add(noWord)) // nothing is under way for who takes none of it
		c.tell(goAway(last, noError))
	})
}

// lastResponse is asked before a response's header is sent.
func (c *streams) lastResponse(h http.Header) {
	if c.ready() {
		h.Set("Connection", "close") // has http.Server send the second GOAWAY
	}
}

func (c *streams) overdue() bool { return c.server.overdue() }

// enter is for the begin of a request's handler. It returns nil if that comes too late.
func (c *streams) enter(method, path string) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle { // the client has reset the stream already
		c.idle = !c.adopted.Active(false)
	}
	r := &call{method, path}
	c.running = append(c.running, r)
	if oldest := c.running[0]; !c.adopted.Enter(oldest.method, oldest.path) {
		c.running = c.running[:len(c.running)-1]
		return nil
	}
	return r
}

// exit is for the end of a request's handler.
func (c *streams) exit(r *call) {
	c.mu.Lock()
	c.running = slices.DeleteFunc(c.running, func(one *call) bool { return one == r })
	if len(c.running) > 0 {
		c.adopted.Enter(c.running[0].method, c.running[0].path)
	} else {
		c.adopted.Leave()
		c.rest()
	}
	c.mu.Unlock()
	c.end()
}

// Close is called by the http.Server, whose handlers may still run: they are awaited.
func (c *streams) Close() error {
	c.mu.Lock()
	c.closed = true
	busy := len(c.running) > 0
	c.mu.Unlock()
	if busy {
		return c.Conn.Close()
	}
	c.end()
	return nil
}

// end is for when the connection may be over.
func (c *streams) end() {
	c.mu.Lock()
	over := c.closed && len(c.running) == 0 && !c.ended
	c.ended = c.ended || over
	c.mu.Unlock()
	if over {
		_ = c.adopted.Close()
		c.server.forget(c)
		close(c.over)
	}
}

// SetReadDeadline is called by the http.Server before it has read the preface, and
// now and then for no good reason: it may not undo leave.
func (c *streams) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

// RemoteAddr is the client's address, which a proxy may have told.
func (c *streams) RemoteAddr() net.Addr { return c.adopted.RemoteAddr() }

// NetConn is the connection below, which must not be closed or read from.
func (c *streams) NetConn() net.Conn { return c.Conn }
