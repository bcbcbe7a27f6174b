package rehearsal

import (
	"bufio"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// holding serves all kinds. Its streams and WebSockets end when it drains.
func holding(conf *tls.Config) *lifecycle.Server {
	s := &lifecycle.Server{Addrs: []string{"127.0.0.1:0"}}
	s.HTTP = &fasthttp.Server{TLSConfig: conf}
	s.HTTP.Handler = func(ctx *fasthttp.RequestCtx) {
		switch string(ctx.Path()) {
		case "/stream":
			ctx.SetBodyStreamWriter(func(w *bufio.Writer) { tick(w, s.Draining()) })
		case "/long":
			ctx.SetBody(make([]byte, 1<<20))
		case "/ws":
			_ = (&websocket.FastHTTPUpgrader{}).Upgrade(ctx, func(c *websocket.Conn) { echoes(c, s.Draining()) })
		default:
			echo(ctx)
		}
	}
	return s
}

func tick(w *bufio.Writer, draining <-chan struct{}) {
	for {
		_, _ = io.WriteString(w, "tick\n")
		if w.Flush() != nil {
			return
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-draining:
			_, _ = io.WriteString(w, "over\n")
			return
		}
	}
}

func echoes(c *websocket.Conn, draining <-chan struct{}) {
	over := make(chan struct{})
	var farewell sync.WaitGroup
	defer farewell.Wait()
	defer close(over)
	farewell.Go(func() {
		select {
		case <-draining:
			_ = c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseGoingAway, ""), time.Now().Add(time.Second))
		case <-over:
		}
	})
	for {
		kind, message, err := c.ReadMessage() // until the close frame is answered
		if err != nil || c.WriteMessage(kind, message) != nil {
			return
		}
	}
}

// everyNetwork runs the test with the configurations of servers and clients.
func everyNetwork(t *testing.T, test func(t *testing.T, server, client *tls.Config)) {
	t.Run("tcp", func(t *testing.T) { test(t, nil, nil) })
	t.Run("tls", func(t *testing.T) { test(t, serverTLS(), clientTLS) })
}

func TestLifecycleLosesNothingThatIsHeld(t *testing.T) {
	everyNetwork(t, func(t *testing.T, server, client *tls.Config) {
		const rounds = 2
		r := Run(t, Plan{
			Start: Server(func() *lifecycle.Server { return holding(server) }),
			Clients: []Clients{
				{Kind: Idle, Count: 50, Body: 10},
				{Kind: Streaming, Count: 8, Path: "/stream", Pause: 5 * time.Millisecond},
				{Kind: Streaming, Count: 2, Path: "/long"},
				{Kind: WebSocket, Count: 8, Path: "/ws", Body: 5, Pause: 5 * time.Millisecond},
				{Kind: WebSocket, Count: 2, Path: "/ws", Body: 100_000},
				{Kind: Silent, Count: 2},
				{Kind: KeepAlive, Count: 4, Pause: 5 * time.Millisecond},
			},
			Rounds: rounds, TLS: client, After: 200 * time.Millisecond, // for handshakes: LastCall may end one
		})
		if r.ByKind[Idle] != 50*rounds || r.ByKind[Streaming] <= 10*rounds || r.ByKind[WebSocket] <= 10*rounds || r.ByKind[KeepAlive] == 0 {
			t.Errorf("not everything was rehearsed: %v", r)
		}
		if total := r.ByKind[Idle] + r.ByKind[Streaming] + r.ByKind[WebSocket] + r.ByKind[KeepAlive]; total != r.Served {
			t.Errorf("%d served, of each kind %v", r.Served, r.ByKind)
		}
	})
}

// Half a request has the server's read timeout for the rest, and no more.
func TestHalfARequestDoesNotHoldUpTheShutdown(t *testing.T) {
	t.Parallel()
	const readTimeout = 500 * time.Millisecond
	r := Run(t, Plan{
		Start: Server(func() *lifecycle.Server {
			s := server()
			s.HTTP.ReadTimeout = readTimeout
			return s
		}),
		Clients: []Clients{{Kind: Half, Count: 2}, {Kind: Half, Count: 2, Body: 1000}},
	})
	if d := r.LongestDrain(); r.Served != 0 || d < readTimeout/2 || d > lifecycle.DefaultDrainTimeout/2 {
		t.Errorf("half a request was not awaited, or for too long: %v", r)
	}
}

func TestManyIdleClientsGetInPosition(t *testing.T) {
	const many = 2000
	r := Run(t, Plan{Start: Server(server), Clients: []Clients{{Kind: Idle, Count: many}}})
	if r.Served != many {
		t.Errorf("served %d of %d", r.Served, many)
	}
}

// peer is the server's end of a connection in a test where the server does as told.
type peer struct {
	net.Conn
	raw  *net.TCPConn
	in   *bufio.Reader
	down <-chan struct{} // closed when the shutdown begins
}

func (p *peer) say(text string) { _, _ = io.WriteString(p, text) }

// asked reads a request, and reports whether there was one.
func (p *peer) asked() bool {
	req, err := http.ReadRequest(p.in)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err == nil
}

func (p *peer) reset() {
	_ = p.raw.SetLinger(0)
	_ = p.raw.Close()
}

// drain reads n requests.
func (p *peer) drain(n int) {
	for range n {
		p.asked()
	}
}

// hang waits until the client has gone.
func (p *peer) hang() { _, _ = io.Copy(io.Discard, p.in) }

// upgrade makes it a WebSocket.
func (p *peer) upgrade() {
	req, err := http.ReadRequest(p.in)
	if err != nil {
		return
	}
	sum := sha1.Sum([]byte(req.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	p.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n")
}

// message reads a short one.
func (p *peer) message() string {
	var head [6]byte
	_, _ = io.ReadFull(p.in, head[:])
	text := make([]byte, head[1]&0x7f)
	_, _ = io.ReadFull(p.in, text)
	for i := range text {
		text[i] ^= head[2+i%4]
	}
	return string(text)
}

// frame is a text message.
func frame(text string) string { return "\x81" + string(rune(len(text))) + text }

const (
	goingAway   = "\x88\x02\x03\xe9" // a close frame
	answer      = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	unavailable = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
	chunk       = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
)

// scripted starts servers each of whose connections does what the script says, and
// then ends. The shutdown begins when as many have been accepted.
func scripted(conf *tls.Config, conns int, script func(*peer)) func() (*Target, error) {
	return func() (*Target, error) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		down := make(chan struct{})
		var all, accepted sync.WaitGroup
		accepted.Add(conns)
		all.Go(func() {
			for n := 1; ; n++ {
				nc, err := ln.Accept()
				if err != nil {
					return
				}
				if n <= conns {
					accepted.Done()
				}
				p := &peer{Conn: nc, raw: nc.(*net.TCPConn), down: down}
				if conf != nil {
					p.Conn = tls.Server(nc, conf)
				}
				p.in = bufio.NewReader(p.Conn)
				all.Go(func() {
					defer func() { _ = p.Close() }()
					if tc, ok := p.Conn.(*tls.Conn); ok && tc.Handshake() != nil {
						return
					}
					script(p)
				})
			}
		})
		return &Target{
			Addr:     ln.Addr().String(),
			Shutdown: func() error { accepted.Wait(); close(down); return ln.Close() },
			Wait:     func() error { all.Wait(); return nil },
		}, nil
	}
}

func TestEachLossIsFoundAndNamed(t *testing.T) {
	for _, c := range []struct {
		name        string
		clients     Clients
		script      func(*peer)
		what, ended string // none if nothing is lost
		request     int
	}{
		{
			"keep-alive, EOF", Clients{Kind: KeepAlive, Body: 10},
			func(p *peer) { p.asked(); p.say(answer); p.asked(); <-p.down },
			"POST /x, 10 B body", "EOF", 2,
		},
		{
			"keep-alive, reset", Clients{Kind: KeepAlive},
			func(p *peer) { p.asked(); p.say(answer); p.asked(); <-p.down; p.reset() },
			"POST /x", "reset", 2,
		},
		{
			"keep-alive, half a header", Clients{Kind: KeepAlive},
			func(p *peer) { p.asked(); p.say(answer[:20]); <-p.down },
			"POST /x", "truncated", 1,
		},
		{
			"keep-alive, half a body", Clients{Kind: KeepAlive},
			func(p *peer) { p.asked(); p.say(answer[:len(answer)-1]); <-p.down },
			"POST /x", "truncated", 1,
		},
		{
			"keep-alive, refused", Clients{Kind: KeepAlive},
			func(p *peer) { p.asked(); <-p.down; p.say(unavailable) },
			"POST /x", "refused: 503 Service Unavailable", 1,
		},
		{
			"keep-alive, refused until the end of the connection", Clients{Kind: KeepAlive},
			func(p *peer) { p.asked(); <-p.down; p.say("HTTP/1.0 503 Service Unavailable\r\n\r\nsorry") },
			"POST /x", "refused: 503 Service Unavailable", 1,
		},
		{
			"keep-alive, timeout", Clients{Kind: KeepAlive},
			func(p *peer) { p.asked(); p.hang() },
			"POST /x", "timeout", 1,
		},
		{
			"keep-alive, told", Clients{Kind: KeepAlive},
			func(p *peer) {
				p.asked()
				<-p.down
				p.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			},
			"", "", 0,
		},
		{
			"pipelined, the third EOF", Clients{Kind: Pipelined},
			func(p *peer) { p.asked(); p.say(answer + answer); p.drain(7); <-p.down },
			"8 x POST /x", "EOF", 1,
		},
		{
			"pipelined, the third truncated", Clients{Kind: Pipelined, Depth: 4, Body: 1},
			func(p *peer) { p.asked(); p.say(answer + answer + answer[:30]); p.drain(3); <-p.down },
			"4 x POST /x, 1 B body", "truncated", 1,
		},

		{
			"silent, timeout", Clients{Kind: Silent},
			func(p *peer) { p.hang() },
			"nothing", "timeout", 1,
		},
		{
			"silent, reset", Clients{Kind: Silent},
			func(p *peer) { <-p.down; p.reset() },
			"", "", 0,
		},
		{
			"half, reset", Clients{Kind: Half},
			func(p *peer) { <-p.down; p.reset() },
			"", "", 0,
		},
		{
			"half, answered", Clients{Kind: Half},
			func(p *peer) { <-p.down; p.say("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n") },
			"", "", 0,
		},

		{
			"idle, FIN", Clients{Kind: Idle},
			func(p *peer) { p.asked(); p.say(answer); <-p.down },
			"", "", 0,
		},
		{
			"idle, reset", Clients{Kind: Idle, Body: 10},
			func(p *peer) { p.asked(); p.say(answer); <-p.down; p.reset() },
			"nothing since POST /x, 10 B body", "reset", 1,
		},
		{
			"idle, told and reset", Clients{Kind: Idle},
			func(p *peer) {
				p.asked()
				p.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
				<-p.down
				p.reset()
			},
			"nothing since POST /x", "reset", 1,
		},
		{
			"idle, timeout", Clients{Kind: Idle},
			func(p *peer) { p.asked(); p.say(answer); p.hang() },
			"nothing since POST /x", "timeout", 1,
		},
		{
			"idle, bytes behind the response", Clients{Kind: Idle},
			func(p *peer) { p.asked(); p.say(answer + "more"); <-p.down },
			"nothing since POST /x", `an answer that nobody asked for: "more"`, 1,
		},
		{
			"idle, bytes at the end", Clients{Kind: Idle},
			func(p *peer) { p.asked(); p.say(answer); <-p.down; p.say("HTTP/1.1 408") },
			"nothing since POST /x", `an answer that nobody asked for: "HTTP/1.1 408"`, 1,
		},

		{
			"streaming, a chunk is missing", Clients{Kind: Streaming},
			func(p *peer) { p.asked(); p.say(chunk); <-p.down },
			"GET /x", "truncated", 1,
		},
		{
			"streaming, the last line is missing", Clients{Kind: Streaming},
			func(p *peer) { p.asked(); p.say(chunk); <-p.down; p.say("0\r\n") },
			"GET /x", "truncated", 1,
		},
		{
			"streaming, short of its length", Clients{Kind: Streaming},
			func(p *peer) { p.asked(); p.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"); <-p.down },
			"GET /x", "truncated", 1,
		},
		{
			"streaming, reset", Clients{Kind: Streaming},
			func(p *peer) { p.asked(); p.say(chunk); <-p.down; p.reset() },
			"GET /x", "truncated", 1,
		},
		{
			"streaming, the second not begun", Clients{Kind: Streaming},
			func(p *peer) { p.asked(); p.say(chunk + "0\r\n\r\n"); p.asked(); <-p.down },
			"GET /x", "EOF", 2,
		},
		{
			"streaming, the second reset", Clients{Kind: Streaming},
			func(p *peer) { p.asked(); p.say(chunk + "0\r\n\r\n"); p.asked(); <-p.down; p.reset() },
			"GET /x", "reset", 2,
		},
		{
			"streaming, the second refused", Clients{Kind: Streaming},
			func(p *peer) { p.asked(); p.say(chunk + "0\r\n\r\n"); p.asked(); <-p.down; p.say(unavailable) },
			"GET /x", "refused: 503 Service Unavailable", 2,
		},
		{
			"streaming, timeout", Clients{Kind: Streaming},
			func(p *peer) { p.asked(); p.say(chunk); p.hang() },
			"GET /x", "timeout", 1,
		},
		{
			"streaming, until the end of the connection", Clients{Kind: Streaming},
			func(p *peer) { p.asked(); p.say("HTTP/1.0 200 OK\r\n\r\nhello"); <-p.down },
			"", "", 0,
		},

		{
			"websocket, close frame in the place of an echo", Clients{Kind: WebSocket, Body: 5},
			func(p *peer) { p.upgrade(); p.message(); <-p.down; p.say(goingAway); p.message() },
			"", "", 0,
		},
		{
			"websocket, EOF", Clients{Kind: WebSocket, Body: 5},
			func(p *peer) { p.upgrade(); p.say(frame(p.message())); p.message(); <-p.down },
			"message on /x, 5 B", "EOF", 2,
		},
		{
			"websocket, reset", Clients{Kind: WebSocket},
			func(p *peer) { p.upgrade(); p.say(frame(p.message())); p.message(); <-p.down; p.reset() },
			"message on /x, 1 B", "reset", 2,
		},
		{
			"websocket, half a frame", Clients{Kind: WebSocket, Body: 5},
			func(p *peer) { p.upgrade(); p.say(frame(p.message())[:4]); <-p.down },
			"message on /x, 5 B", "truncated", 1,
		},
		{
			"websocket, EOF in a pause", Clients{Kind: WebSocket, Body: 5, Pause: time.Hour},
			func(p *peer) { p.upgrade(); p.say(frame(p.message())); <-p.down },
			"nothing since message on /x, 5 B", "EOF", 1,
		},
		{
			"websocket, timeout", Clients{Kind: WebSocket, Body: 5},
			func(p *peer) { p.upgrade(); p.hang() },
			"message on /x, 5 B", "timeout", 1,
		},
		{
			"websocket, another's echo", Clients{Kind: WebSocket, Body: 2},
			func(p *peer) {
				p.upgrade()
				first := p.message()
				p.say(frame(first))
				p.message()
				p.say(frame(first))
				p.hang()
			},
			"message on /x, 2 B", `not its echo: "bb"`, 2,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // they wait
			everyNetwork(t, func(t *testing.T, server, client *tls.Config) {
				const count = 3
				c.clients.Count = count
				timeout := time.Duration(0)
				if c.ended == "timeout" {
					if client != nil {
						t.Skip("there is a handshake, too, that may take longer than what is to time out")
					}
					timeout = 300 * time.Millisecond
				}
				r, err := Plan{
					Start: scripted(server, count, c.script), Clients: []Clients{c.clients}, Path: "/x", Timeout: timeout, TLS: client,
					After: time.Millisecond, Jitter: time.Millisecond,
				}.Rehearse()
				if err != nil {
					t.Fatal(err)
				}
				if c.ended == "" {
					if len(r.Lost)+len(r.Errors) > 0 {
						t.Errorf("nothing is to be lost: %v", r)
					}
					return
				}
				if len(r.Lost) != count {
					t.Fatalf("want %d losses: %v", count, r)
				}
				network := "tcp"
				if client != nil {
					network = "tls"
				}
				for _, l := range r.Lost {
					want := Loss{Round: 1, Kind: c.clients.Kind, Network: network, What: c.what, Request: c.request, Ended: c.ended, Sent: l.Sent, At: l.At}
					if l != want {
						t.Errorf("got  %+v\nwant %+v", l, want)
					}
					if l.Sent > l.At || l.At < 0 && !strings.Contains(l.Ended, "nobody") && !strings.Contains(l.Ended, "echo") {
						t.Errorf("times of %v", l)
					}
				}
			})
		})
	}
}

func TestACloseFrameIsAnswered(t *testing.T) {
	replies := make(chan string, 1)
	start := scripted(nil, 0, func(p *peer) { p.upgrade(); <-p.down; p.say(goingAway); p.message(); replies <- p.message() })
	r := Run(t, Plan{Start: start, Clients: []Clients{{Kind: WebSocket, Count: 1}}})
	if reply := <-replies; reply != goingAway[2:] {
		t.Errorf("reply %q, %v", reply, r)
	}
}

// A part of a TLS record is a part of a response, although nothing can be read of it.
func TestPartOfATLSRecord(t *testing.T) {
	start := scripted(serverTLS(), 1, func(p *peer) {
		p.asked()
		<-p.down
		_, _ = p.raw.Write([]byte{23, 3, 3, 0, 100, 1, 2, 3})
		_ = p.raw.Close()
	})
	r, err := Plan{Start: start, Clients: []Clients{{Kind: KeepAlive, Count: 1}}, TLS: clientTLS}.Rehearse()
	if err != nil || len(r.Lost) != 1 || r.Lost[0].Ended != "truncated" {
		t.Errorf("%v, %v", r, err)
	}
}

func TestAResetTravels(t *testing.T) {
	start := scripted(nil, 0, func(p *peer) { p.asked(); p.say(answer); <-p.down; p.reset() })
	r, err := Plan{Start: start, Clients: []Clients{{Kind: Idle, Count: 2}}, Delay: 5 * time.Millisecond}.Rehearse()
	if err != nil || len(r.Lost) != 2 || r.Lost[0].Ended != "reset" {
		t.Errorf("%v, %v", r, err)
	}
}

// The shutdown must not begin while a client is not yet in position. Here none gets
// there before all have asked for it.
func TestTheShutdownAwaitsThePositions(t *testing.T) {
	const count = 20
	for _, c := range []struct {
		kind        Kind
		inHandshake bool // and not in the script
		script      func(p *peer, asked func())
	}{
		{Silent, true, func(p *peer, _ func()) { <-p.down }},
		{Half, true, func(p *peer, _ func()) { <-p.down }},
		{Idle, false, func(p *peer, asked func()) { p.asked(); asked(); p.say(answer); <-p.down }},
		{Streaming, false, func(p *peer, asked func()) { p.asked(); asked(); p.say("HTTP/1.0 200 OK\r\n\r\n"); <-p.down }},
		{WebSocket, false, func(p *peer, asked func()) { asked(); p.upgrade(); <-p.down; p.say(goingAway); p.hang() }},
	} {
		t.Run(c.kind.String(), func(t *testing.T) {
			t.Parallel()
			var here atomic.Int32
			all := make(chan struct{})
			asked := func() {
				if here.Add(1) == count {
					close(all)
				}
				<-all
			}
			server := serverTLS()
			if c.inHandshake {
				server = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
					asked()
					return serverTLS(), nil
				}}
			}
			start := scripted(server, 0, func(p *peer) { c.script(p, asked) })
			Run(t, Plan{
				Start: func() (*Target, error) {
					target, err := start()
					shutdown := target.Shutdown
					target.Shutdown = func() error {
						if n := here.Load(); n != count {
							return errors.Join(fmt.Errorf("%d of %d have asked", n, count), shutdown())
						}
						return shutdown()
					}
					return target, err
				},
				Clients: []Clients{{Kind: c.kind, Count: count}}, TLS: clientTLS, After: 1, Jitter: 1,
			})
		})
	}
}

func TestWhoIsNotInPosition(t *testing.T) {
	refusing := scripted(nil, 0, func(p *peer) { p.asked(); p.say(unavailable) })
	gone := func() (*Target, error) {
		addr, err := FreeAddr()
		nothing := func() error { return nil }
		return &Target{Addr: addr, Shutdown: nothing, Wait: nothing}, err
	}
	for _, c := range []struct {
		name  string
		start func() (*Target, error)
		kind  Kind
		want  string
	}{
		{"idle, refused", refusing, Idle, "2 of 2 idle clients did not get in position; the first: refused: 503 Service Unavailable"},
		{"streaming, refused", refusing, Streaming, "2 of 2 streaming clients did not get in position; the first: refused: 503 Service Unavailable"},
		{"websocket, refused", refusing, WebSocket, "2 of 2 websocket clients did not get in position; the first: refused: 503 Service Unavailable"},
		{"idle, cut", scripted(nil, 0, func(p *peer) { p.asked() }), Idle, "the first: EOF"},
		{"silent, no server", gone, Silent, "2 of 2 silent clients"},
		{"half, no server", gone, Half, "2 of 2 half clients"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Plan{Start: c.start, Clients: []Clients{{Kind: KeepAlive, Count: 1}, {Kind: c.kind, Count: 2}}, Rounds: 2}.Rehearse()
			if err == nil || !strings.HasPrefix(err.Error(), "rehearsal: Plan.Clients[1]: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v lacks %q", err, c.want)
			}
			if len(r.Drains) != 1 || len(r.Lost) > 0 {
				t.Errorf("the plan goes on without them: %v", r)
			}
		})
	}
}

func example() Result {
	return Result{
		Rounds: 2, Served: 12, ByKind: map[Kind]int64{KeepAlive: 10, WebSocket: 2},
		Lost: []Loss{
			{1, KeepAlive, "tcp", "POST /echo, 10 B body", 7, -2 * time.Millisecond, time.Millisecond, "EOF"},
			{2, WebSocket, "tcp", "message on /ws, 5 B", 3, time.Microsecond, 3 * time.Microsecond, "reset"},
			{2, WebSocket, "tcp", "message on /ws, 5 B", 1, 2 * time.Microsecond, 3 * time.Microsecond, "reset"},
		},
		Drains: []time.Duration{time.Millisecond, 2 * time.Millisecond},
		Errors: []error{errors.New("round 2: exit status 3")},
	}
}

func TestResultAsATable(t *testing.T) {
	want := `2 shutdowns, 12 requests served (keep-alive 10, websocket 2), 3 lost; median shutdown 2ms, longest 2ms
  lost  client      over  sent                   ended
  2     websocket   tcp   message on /ws, 5 B    reset
  1     keep-alive  tcp   POST /echo, 10 B body  EOF
  round 1: keep-alive over tcp, request 7: POST /echo, 10 B body: EOF; sent at -2ms, lost at 1ms
  round 2: websocket over tcp, request 3: message on /ws, 5 B: reset; sent at 1µs, lost at 3µs
  round 2: websocket over tcp, request 1: message on /ws, 5 B: reset; sent at 2µs, lost at 3µs
  round 2: exit status 3
`
	if got := example().String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	many := Result{Lost: make([]Loss, 1000)}
	for i := range many.Lost {
		many.Lost[i].Ended = fmt.Sprint("error ", i)
	}
	if got := many.String(); strings.Count(got, "\n") != 1+1+maxListed+maxListed+1 || !strings.Contains(got, "and 980 more") {
		t.Errorf("not short:\n%s", got)
	}
}

func TestResultAsJSON(t *testing.T) {
	got, err := json.Marshal(example())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"rounds":2,"served":12,"by_kind":{"keep-alive":10,"websocket":2},"lost":[`,
		`{"round":1,"kind":"keep-alive","network":"tcp","what":"POST /echo, 10 B body","request":7,"sent_ns":-2000000,"at_ns":1000000,"ended":"EOF"}`,
		`],"drains_ns":[1000000,2000000],"errors":["round 2: exit status 3"]}`,
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%s lacks %s", got, want)
		}
	}
}
