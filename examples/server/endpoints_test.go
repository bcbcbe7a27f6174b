//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/lastcall-go/lastcall/lifecycle"
)

func TestEndpoints(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.dial() // one connection for all of them: none ends the process or its connection
	for _, tt := range []struct {
		request string // method and path
		status  int
		body    string
	}{
		{"GET /hello", 200, greeting},
		{"GET /test", 200, greeting},
		{"GET /slow?ms=1", 200, "done"},
		{"GET /slow?ms=x", 400, `ms="x": want a number from 0 to 1000000`},
		{"GET /slow?ms=-1", 400, `ms="-1": want a number from 0 to 1000000`},
		{"GET /slow?ms=1000001", 400, `ms="1000001": want a number from 0 to 1000000`},
		{"GET /stream?n=x", 400, `n="x": want a number from 0 to 1000000`},
		{"GET /stream?ms=x", 400, `ms="x": want a number from 0 to 1000000`},
		{"GET /stream?n=0", 200, ""},
		{"GET /stream?n=2&ms=1", 200, "chunk 1 of 2\nchunk 2 of 2\n"},
		{"GET /panic", 500, "Internal Server Error"},
		{"GET /hello", 200, greeting},
		{"GET /ws", 400, "Bad Request"}, // not an upgrade
		{"GET /livez", 200, "ok\n"},
		{"GET /readyz", 200, "ok\n"},
		{"GET /nope", 404, "Not Found"},
		{"GET /hello/", 301, ""},
	} {
		t.Run(tt.request, func(t *testing.T) {
			c.t = t
			c.send(tt.request + " HTTP/1.1\r\nHost: t\r\n\r\n")
			r := c.response()
			r.want(t, tt.status, tt.body)
			r.wantClose(t, false)
		})
	}
}

func TestEchoReturnsBodyAndType(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.dial()
	body := strings.Repeat("0123456789", 10_000)
	c.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Type: a/b\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
	r := c.response()
	if r.StatusCode != http.StatusOK || r.body != body || r.Header.Get("Content-Type") != "a/b" {
		t.Errorf("status %d, type %q, %d bytes", r.StatusCode, r.Header.Get("Content-Type"), len(r.body))
	}
}

func TestWrongMethodNamesTheRightOnes(t *testing.T) {
	t.Parallel()
	p := start(t)
	for request, allow := range map[string]string{
		"POST /hello": "GET, OPTIONS",
		"GET /echo":   "OPTIONS, POST",
		"POST /livez": "GET, HEAD, OPTIONS",
	} {
		c := p.dial()
		c.send(request + " HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n")
		r := c.response()
		r.want(t, http.StatusMethodNotAllowed, "Method Not Allowed")
		if got := r.Header.Get("Allow"); got != allow {
			t.Errorf("%s: Allow: %q; want %q", request, got, allow)
		}
	}
}

func TestStreamSendsEachChunkByItself(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.dial()
	sent := time.Now()
	c.sendGet("/stream?n=3&ms=100")
	c.header()
	for i := 1; i <= 3; i++ {
		if got, want := c.chunk(), fmt.Sprintf("chunk %d of 3\n", i); got != want {
			t.Errorf("chunk %q; want %q", got, want)
		}
		tooEarly(t, fmt.Sprint("chunk ", i), sent, time.Duration(i-1)*100*time.Millisecond)
	}
	if got := c.chunk(); got != "" {
		t.Errorf("one more chunk: %q", got)
	}
	c.get("/hello").want(t, http.StatusOK, greeting)
}

// chunk reads one chunk of a chunked body; the last is "".
func (c *client) chunk() string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("chunk: %v", err)
	}
	size, err := strconv.ParseUint(strings.TrimSuffix(line, "\r\n"), 16, 16)
	if err != nil {
		c.t.Fatalf("chunk size: %v", err)
	}
	data := make([]byte, size+2)
	if _, err := io.ReadFull(c.r, data); err != nil {
		c.t.Fatalf("chunk: %v", err)
	}
	return string(data[:size])
}

func TestStreamGoesOnWhileTheDrainHasTime(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.dial()
	c.sendGet("/stream?n=4&ms=50")
	r := c.header()
	p.drain()
	body, err := io.ReadAll(r.Body)
	if want := "chunk 1 of 4\nchunk 2 of 4\nchunk 3 of 4\nchunk 4 of 4\n"; err != nil || string(body) != want {
		t.Errorf("body %q, %v", body, err)
	}
	c.wantEOF()
	p.wantExit(0)
}

func TestStreamEndsBeforeTheDeadline(t *testing.T) {
	t.Parallel()
	const drainTimeout = 2 * streamMargin
	p := start(t, "-drain-timeout", drainTimeout.String())
	c := p.dial()
	c.sendGet("/stream?n=9&ms=60000")
	r := c.header()
	began := p.drain()
	body, err := io.ReadAll(r.Body)
	tooEarly(t, "ended", began, drainTimeout-streamMargin)
	if want := "chunk 1 of 9\nended early, after chunk 1 of 9: the server is going down\n"; err != nil || string(body) != want {
		t.Errorf("body %q, %v", body, err)
	}
	c.wantEOF()
	p.wantExit(0)
}

func TestEventsEndWithTheDrain(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.dial()
	c.sendGet("/events")
	r := c.header()
	if got := r.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type: %s", got)
	}
	events := bufio.NewReader(r.Body)
	for _, want := range []string{"event: tick\ndata: 1\n\n", "event: tick\ndata: 2\n\n"} {
		got := make([]byte, len(want))
		if _, err := io.ReadFull(events, got); err != nil || string(got) != want {
			t.Fatalf("event %q, %v; want %q", got, err, want)
		}
	}
	p.drain()
	rest, err := io.ReadAll(events)
	if err != nil || !strings.HasSuffix(string(rest), "event: drain\ndata: the server is going down\n\n") {
		t.Errorf("the last events are %q, %v", rest, err)
	}
	c.wantEOF()
	p.wantExit(0)
}

func TestWebSocketEchoesAndIsToldOfTheDrain(t *testing.T) {
	t.Parallel()
	p := start(t)
	ws := p.dialWebSocket()
	for _, message := range []string{"one", "two"} {
		ws.write(t, message)
		if got := ws.read(t); got != message {
			t.Errorf("echo %q; want %q", got, message)
		}
	}
	p.drain()
	ws.wantGoingAway(t)
	p.wantExit(0)
	if r := p.report(); r.Open.Hijacked != 1 || len(r.Cut) != 0 {
		t.Errorf("report %+v", r)
	}
}

// fasthttp takes the connection back when the hijack handler returns. Here it
// returns at the worst time: the farewell is about to be written, as the client,
// which has read nothing of a long echo, goes.
func TestWebSocketFarewellDoesNotOutliveItsConnection(t *testing.T) {
	t.Parallel()
	p := start(t)
	clients := make([]net.Conn, 2)
	for i := range clients {
		ws := p.dialWebSocket()
		clients[i] = ws.UnderlyingConn()
		_ = clients[i].(*net.TCPConn).SetReadBuffer(4 << 10)
		ws.write(t, strings.Repeat("x", 8<<20)) // more than fits into the socket's buffers
		p.until("echo under way", func() bool { return peek(clients[i]) == 1 })
	}
	p.drain()
	for _, nc := range clients {
		_ = nc.(*net.TCPConn).SetLinger(0) // a reset
		_ = nc.Close()
	}
	p.wantExit(0)
}

func TestWebSocketThatDoesNotAnswerHoldsTheDrainNoLongerThanItsFarewell(t *testing.T) {
	t.Parallel()
	p := start(t, "-drain-timeout", "0")
	ws := p.dialWebSocket()
	ws.SetCloseHandler(func(int, string) error { return nil })
	began := p.drain()
	ws.wantGoingAway(t)
	if n, err := ws.UnderlyingConn().Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the close frame: %d bytes, %v; want EOF", n, err)
	}
	tooEarly(t, "closed", began, wsFarewell)
	p.wantExit(0)
}

type wsClient struct{ *websocket.Conn }

func (p *process) dialWebSocket() wsClient {
	p.t.Helper()
	d := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return p.dial().Conn, nil }}
	c, resp, err := d.Dial("ws://t/ws", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = resp.Body.Close()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	return wsClient{c}
}

func (c wsClient) write(t *testing.T, message string) {
	t.Helper()
	if err := c.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
		t.Fatal(err)
	}
}

func (c wsClient) read(t *testing.T) string {
	t.Helper()
	_, message, err := c.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	return string(message)
}

func (c wsClient) wantGoingAway(t *testing.T) {
	t.Helper()
	_, message, err := c.ReadMessage()
	var closed *websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != 1001 || closed.Text != "the server is going down" {
		t.Errorf("message %q, error %v; want a close frame with 1001", message, err)
	}
}

func TestConnsShowsTheConnections(t *testing.T) {
	t.Parallel()
	p := start(t)
	silent, idle, busy, ws := p.dial(), p.dial(), p.dial(), p.dialWebSocket()
	idle.get("/test")
	idle.get("/test")
	busy.sendGet("/slow?ms=60000")
	for name, tt := range map[string]struct {
		conn net.Conn
		want connInfo
	}{
		"silent": {silent.Conn, connInfo{State: "new"}},
		"idle":   {idle.Conn, connInfo{State: "idle", Requests: 2}},
		"busy":   {busy.Conn, connInfo{State: "active", Requests: 1, Route: "GET /slow"}},
		"ws":     {ws.UnderlyingConn(), connInfo{State: "hijacked", Requests: 1, Route: "GET /ws"}},
	} {
		tt.want.Remote = tt.conn.LocalAddr().String()
		p.until(fmt.Sprintf("%s shown as %+v", name, tt.want), func() bool {
			return slices.ContainsFunc(p.conns(), func(c connInfo) bool {
				if c.State == "parked" { // by make test-parked
					c.State = "idle"
				}
				return c == tt.want
			})
		})
	}
}

func TestConnsShowsTheConnectionThatAsks(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.dial()
	var table struct {
		Phase  string
		Counts lifecycle.Counts
		Conns  []connInfo
	}
	if err := json.Unmarshal([]byte(c.get("/conns").body), &table); err != nil {
		t.Fatal(err)
	}
	want := connInfo{State: "active", Remote: c.LocalAddr().String(), Route: "GET /conns", Requests: 1}
	if len(table.Conns) != 1 || table.Conns[0] != want {
		t.Errorf("connections %+v; want one, %+v", table.Conns, want)
	}
	if table.Phase != "ready" || table.Counts != (lifecycle.Counts{Active: 1}) {
		t.Errorf("phase %s, counts %v", table.Phase, table.Counts)
	}
}

func TestSlowEndsWhenItsClientGoes(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.dial()
	c.sendGet("/slow?ms=60000")
	p.awaitRoute("GET /slow")
	_ = c.Close()
	p.await("the client has gone")
	p.drain()
	p.wantExit(0)
}

func TestParkAfter(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("nothing is parked here")
	}
	p := start(t, "-park-after", "5ms")
	idle := p.dial()
	idle.get("/hello").want(t, http.StatusOK, greeting)
	p.until("parked", func() bool {
		for _, c := range p.conns() {
			if c.State == "parked" && c.Remote == idle.LocalAddr().String() && c.Requests == 1 {
				return true
			}
		}
		return false
	})
	idle.get("/hello").want(t, http.StatusOK, greeting)
	p.drain()
	idle.wantEOF()
	p.wantExit(0)
}
