package rehearsal

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"time"
)

// Kind is how a client uses its connection.
type Kind int

// The kinds of clients. The package's documentation says what each may lose.
const (
	KeepAlive Kind = iota // one request after the other, on one connection until it is told to close or sees its end
	Segmented             // as KeepAlive, each request in two segments, Gap apart
	Pipelined             // as KeepAlive, Depth requests at a time, in one segment
	Fresh                 // a new connection for each request
	Silent                // a connection on which nothing is sent: it must see an end without a response
	Half                  // the first half of a request and nothing more: it must not hold up the shutdown
	Idle                  // one request, then nothing more is sent: it must see a FIN
	Streaming             // as KeepAlive, with responses to a GET that take long; each must be whole
	WebSocket             // messages and their echoes: it must see a close frame
	HTTP2                 // Depth requests at a time, each a stream of HTTP/2, on one connection
	numKinds
)

var kindNames = [numKinds]string{"keep-alive", "segmented", "pipelined", "fresh", "silent", "half", "idle", "streaming", "websocket", "http2"}

func (k Kind) String() string {
	if k < 0 || k >= numKinds {
		return "unknown"
	}
	return kindNames[k]
}

// MarshalText renders the kind as its name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// holds reports whether a client is to be in position when the shutdown begins:
// with what it then holds open it makes the shutdown hard.
func (k Kind) holds() bool {
	switch k {
	case Silent, Half, Idle, Streaming, WebSocket, HTTP2:
		return true
	default:
		return false
	}
}

// Clients is a group of clients of one kind.
type Clients struct {
	Kind  Kind
	Count int
	// Path is what this group asks for. The default is Plan.Path.
	Path string
	// Turns are further paths, which clients that keep alive, in segments or pipelines
	// too, ask for by turns with Path: for a server where a connection changes hands.
	Turns []string
	// Pause is the longest time between a response and the next request, or
	// between an echo and the next message; each is random. Zero is none.
	Pause time.Duration
	// Body is the size of each request's body, or of each message, in bytes. A
	// message has at least one.
	Body int
	// Depth is the number of requests in a pipeline, or of streams at a time. Zero is 8.
	Depth int
	// Gap is the time between the segments of a request. Zero is 1 ms.
	Gap time.Duration
}

// group is a group of clients in one round.
type group struct {
	Clients
	path     string
	messages [][]byte // what each client sends at a time, by turns
	what     string   // Loss.What

	// Those that were not in position, and why the first of them was not; under
	// round.mu.
	failed  int
	failure error
}

func (p Plan) group(clients Clients) *group {
	g := &group{Clients: clients, path: clients.Path}
	if g.path == "" {
		g.path = p.Path
	}
	if g.path == "" {
		g.path = "/"
	}
	if g.Kind != Pipelined && g.Kind != HTTP2 {
		g.Depth = 1
	} else if g.Depth == 0 {
		g.Depth = 8
	}
	body := fmt.Sprintf(", %d B body", g.Body)
	if g.Body == 0 {
		body = ""
	}
	paths := append([]string{g.path}, g.Turns...)
	var posts [][]byte
	for _, path := range paths {
		post := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: rehearsal\r\nContent-Length: %d\r\n\r\n", path, g.Body)
		posts = append(posts, append(post, bytes.Repeat([]byte("x"), g.Body)...))
	}
	switch g.Kind {
	case Silent:
		g.what = "nothing"
	case Half:
		g.messages = [][]byte{posts[0][:len(posts[0])/2]}
	case Streaming:
		g.messages = [][]byte{fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: rehearsal\r\n\r\n", g.path)}
		g.what = "GET " + g.path
	case WebSocket:
		g.what = fmt.Sprintf("message on %s, %d B", g.path, max(1, g.Body))
	case Pipelined:
		var pipeline []byte
		for i := range g.Depth {
			pipeline = append(pipeline, posts[i%len(posts)]...)
		}
		g.messages = [][]byte{pipeline}
		g.what = fmt.Sprintf("%d x POST %s%s", g.Depth, strings.Join(paths, ", "), body)
	default:
		g.messages = posts
		g.what = "POST " + strings.Join(paths, ", ") + body
	}
	return g
}

// client is one client, with its connection.
type client struct {
	*round
	*group
	*conn
	awaited bool // by the round, to be in position

	request int // the last one, from 1
	sent    time.Time
	late    bool // if the connection's end is a FIN, that had arrived when it was sent
}

// call runs a client that calls the server until the server is gone, or it is told
// that it goes.
func (r *round) call(g *group) {
	for again := true; again; {
		r.dialing <- struct{}{}
		c, err := r.dial(dialTimeout)
		<-r.dialing
		if err != nil {
			return
		}
		again = (&client{round: r, group: g, conn: c}).requests()
		_ = c.Close()
	}
}

// dialTimeout is short of the second after which a SYN that was dropped is sent
// again: then there is nobody to answer.
const dialTimeout = 500 * time.Millisecond

// hold runs a client that has to be in position when the shutdown begins.
func (r *round) hold(g *group) {
	c := &client{round: r, group: g, awaited: true, request: 1}
	r.dialing <- struct{}{} // until it is in position: the server sets the pace
	defer func() {
		if c.awaited {
			c.fail(errors.New("its connection ended"))
		}
	}()
	if g.Kind == HTTP2 {
		c.http2()
		return
	}
	var err error
	// Nothing goes down yet: a SYN that was dropped is worth a second one.
	if c.conn, err = r.dial(r.timeout); err != nil {
		c.fail(err)
		return
	}
	defer func() { _ = c.Close() }()
	c.sent = time.Now()
	switch g.Kind {
	case WebSocket:
		c.websocket()
	case Streaming:
		c.renew = r.timeout
		c.requests()
	case Idle:
		c.idle()
	case Half:
		c.half()
	default:
		c.silent()
	}
}

// inPosition tells the round that it need not wait for this client any longer.
func (c *client) inPosition() {
	if c.awaited {
		c.awaited = false
		<-c.dialing
		c.positions.Done()
	}
}

// fail says why the client could not get in position.
func (c *client) fail(err error) {
	c.mu.Lock()
	if c.failed++; c.failure == nil {
		c.failure = err
	}
	c.mu.Unlock()
	c.inPosition()
}

// lose counts a loss. A client that is not yet in position has none: the plan could
// not be carried out.
func (c *client) lose(what, ended string) {
	if c.awaited {
		c.fail(errors.New(ended))
		return
	}
	c.round.lose(lost{
		Loss: Loss{Kind: c.Kind, What: what, Request: c.request, Ended: ended},
		sent: c.sent, at: time.Now(),
	})
}

// requests calls the server on the client's connection, and reports whether another
// one is worth while.
func (c *client) requests() bool {
	in := bufio.NewReader(c.conn)
	for n := 1; ; n += c.Depth {
		c.request = n
		c.socket.look(n > 1) // before the first response, TLS sends session tickets
		err := c.send()
		if errors.Is(err, errEnded) {
			return false
		}
		for i := 0; i < c.Depth && err == nil; i++ {
			var told bool
			if told, err = c.receive(in); err == nil {
				c.served[c.Kind].Add(1)
			}
			if told {
				return c.Kind == Fresh // what was pipelined behind it, its client may send again
			}
		}
		if err != nil {
			if ended := c.ended(err); !c.late || ended != "EOF" { // else it could have seen that, but got no CPU to send before
				c.lose(c.what, ended)
			}
			return false
		}
		if c.Kind == Fresh {
			return !c.over.Load()
		}
		time.Sleep(c.pause())
	}
}

// pause is the time until the next request.
func (c *client) pause() time.Duration {
	if c.Pause == 0 {
		return 0
	}
	return rand.N(c.Pause) //nolint:gosec // no secret
}

// send sends a message of the group's. The response has to come within the timeout.
func (c *client) send() error {
	c.sent, c.mark = time.Now(), c.received
	_ = c.SetDeadline(c.sent.Add(c.timeout))
	message := c.messages[(c.request-1)/c.Depth%len(c.messages)]
	first := len(message)
	if c.Kind == Segmented {
		first /= 2
	}
	_, err := c.Write(message[:first])
	if c.late = sentAfterEnd(c.socket.raw, first); c.late || err != nil || first == len(message) {
		return err
	}
	time.Sleep(orDefault(c.Gap, time.Millisecond))
	_, err = c.Write(message[first:])
	return err
}

// receive reads one response, and reports whether it ends the connection.
func (c *client) receive(in *bufio.Reader) (told bool, err error) {
	c.mark = c.received - int64(in.Buffered())
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	if c.Kind == Streaming && resp.StatusCode == http.StatusOK {
		c.inPosition()
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return false, err
	}
	if resp.StatusCode != http.StatusOK {
		return false, refused(resp.Status)
	}
	return resp.Close, nil
}

// idle has one request answered and waits for the connection's end.
func (c *client) idle() {
	said, err := c.once()
	if err != nil {
		c.lose(c.what, c.ended(err))
		return
	}
	c.served[c.Kind].Add(1)
	c.inPosition()
	if len(said) == 0 {
		said, err = c.end()
	}
	switch {
	case len(said) > 0:
		c.lose("nothing since "+c.what, unasked(said))
	case err != nil:
		c.lose("nothing since "+c.what, c.ended(err))
	}
}

// once has one request answered, and returns what came behind the response. The
// buffers are gone when it returns: there may be many who wait then.
func (c *client) once() ([]byte, error) {
	in := bufio.NewReader(c.conn)
	err := c.send()
	if err == nil {
		_, err = c.receive(in)
	}
	behind, _ := in.Peek(in.Buffered())
	return behind, err
}

// silent waits for the connection's end. How it ends is all the same: nothing is
// lost.
func (c *client) silent() {
	c.inPosition()
	said, err := c.end()
	switch {
	case len(said) > 0:
		c.lose(c.what, unasked(said))
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.lose(c.what, c.ended(err))
	}
}

// half sends half of a request, and nothing more.
func (c *client) half() {
	if err := c.send(); err != nil {
		c.fail(err)
		return
	}
	c.inPosition()
	_, _ = c.end()
}

func unasked(said []byte) string {
	return fmt.Sprintf("an answer that nobody asked for: %.40q", said)
}

// end waits for the connection's end, for the timeout from when the shutdown began.
// It returns the first of what was said until then, and no error if it was a FIN.
func (c *client) end() (said []byte, err error) {
	c.mark = c.received
	var buf [64]byte
	for {
		deadline, last := c.endBy()
		_ = c.SetDeadline(deadline)
		n, err := c.Read(buf[:])
		said = append(said, buf[:min(n, len(buf)-len(said))]...)
		switch {
		case errors.Is(err, io.EOF):
			return said, nil
		case err != nil && (last || !errors.Is(err, os.ErrDeadlineExceeded)):
			return said, err
		}
	}
}

// endBy is when connections are to have ended, and whether that is the last word:
// it is not while the shutdown has not begun.
func (r *round) endBy() (deadline time.Time, last bool) {
	if began := r.began.Load(); began != nil {
		return began.Add(r.timeout), true
	}
	return time.Now().Add(r.timeout), false
}
