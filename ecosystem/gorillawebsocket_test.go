package ecosystem

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// gorillaEcho echoes messages. When the server drains it says so, and goes on until its
// client has answered. said gets the last message, and ended why it was the last.
func gorillaEcho(draining <-chan struct{}, said chan<- string, ended chan<- error) http.Handler {
	upgrader := websocket.Upgrader{EnableCompression: true, Subprotocols: []string{"echo"}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r, http.Header{"X-Hello": {"world"}})
		if err != nil {
			return // it has answered
		}
		defer c.Close()
		over := make(chan struct{})
		defer close(over)
		go func() {
			select {
			case <-draining:
				goingAway := websocket.FormatCloseMessage(websocket.CloseGoingAway, "drain")
				_ = c.WriteControl(websocket.CloseMessage, goingAway, time.Now().Add(patience))
			case <-over:
			}
		}()
		last := ""
		for {
			kind, p, err := c.ReadMessage()
			if err != nil {
				said <- last
				ended <- err
				return
			}
			last = string(p[:min(len(p), 20)])
			_ = c.WriteMessage(kind, p) // fails when the client has been told
		}
	})
}

func gorillaDial(s *server, compress bool) *websocket.Conn {
	s.Helper()
	d := websocket.Dialer{TLSClientConfig: s.tls, EnableCompression: compress, Subprotocols: []string{"other", "echo"}}
	c, resp, err := d.DialContext(s.Context(), "ws"+strings.TrimPrefix(s.url, "http"), nil)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.Close() })
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if c.Subprotocol() != "echo" || resp.Header.Get("X-Hello") != "world" {
		s.Errorf("%q %v", c.Subprotocol(), resp.Header)
	}
	return c
}

func gorillaWantEcho(s *server, c *websocket.Conn, kind int, message []byte) {
	s.Helper()
	if err := c.WriteMessage(kind, message); err != nil {
		s.Fatal(err)
	}
	if got, p, err := c.ReadMessage(); err != nil || got != kind || !bytes.Equal(p, message) {
		s.Fatalf("kind %d, %d bytes, %v; want kind %d, %d bytes", got, len(p), err, kind, len(message))
	}
}

func TestGorillaWebSocket(t *testing.T) {
	t.Parallel()
	said, ended := make(chan string, 1), make(chan error, 1)
	app := func(draining <-chan struct{}) http.Handler { return gorillaEcho(draining, said, ended) }
	eachDraining(t, app, func(s *server) {
		s.onlyHTTP1()
		for _, compress := range []bool{false, true} {
			c := gorillaDial(s, compress)
			gorillaWantEcho(s, c, websocket.TextMessage, []byte("hello"))
			gorillaWantEcho(s, c, websocket.BinaryMessage, nil)
			gorillaWantEcho(s, c, websocket.BinaryMessage, bytes.Repeat([]byte("large "), 200_000))

			w, err := c.NextWriter(websocket.TextMessage) // in several frames
			if err != nil {
				s.Fatal(err)
			}
			for range 10 {
				_, _ = w.Write(bytes.Repeat([]byte("x"), 1000))
			}
			_ = w.Close()
			if _, p, err := c.ReadMessage(); len(p) != 10_000 || err != nil {
				s.Fatalf("%d bytes, %v", len(p), err)
			}

			pong := ""
			c.SetPongHandler(func(text string) error { pong = text; return nil })
			_ = c.WriteControl(websocket.PingMessage, []byte("ping"), time.Now().Add(patience))
			gorillaWantEcho(s, c, websocket.TextMessage, []byte("last"))
			if pong != "ping" {
				s.Errorf("%q", pong)
			}

			_ = c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(4000, "enough"), time.Now().Add(patience))
			if _, _, err := c.ReadMessage(); !websocket.IsCloseError(err, 4000) {
				s.Error(err)
			}
			if last, err := <-said, <-ended; last != "last" || !websocket.IsCloseError(err, 4000) {
				s.Error(last, err)
			}
		}
		s.want(s.get("/"), 400, "Bad Request") // no upgrade
	})
}

// The client goes without a word.
func TestGorillaWebSocketCut(t *testing.T) {
	t.Parallel()
	said, ended := make(chan string, 1), make(chan error, 1)
	app := func(draining <-chan struct{}) http.Handler { return gorillaEcho(draining, said, ended) }
	eachDraining(t, app, func(s *server) {
		s.onlyHTTP1()
		c := gorillaDial(s, false)
		gorillaWantEcho(s, c, websocket.TextMessage, []byte("hello"))
		_ = c.NetConn().Close()
		if last, err := <-said, <-ended; last != "hello" || !websocket.IsUnexpectedCloseError(err) {
			s.Error(last, err)
		}
	})
}

// A drain tells the client, and waits for what it has to say.
func TestGorillaWebSocketDrain(t *testing.T) {
	t.Parallel()
	said, ended := make(chan string, 1), make(chan error, 1)
	app := func(draining <-chan struct{}) http.Handler { return gorillaEcho(draining, said, ended) }
	eachDraining(t, app, func(s *server) {
		s.onlyHTTP1()
		c := gorillaDial(s, true)
		gorillaWantEcho(s, c, websocket.TextMessage, []byte("hello"))
		over := s.drain()
		<-s.draining
		if err := c.WriteMessage(websocket.TextMessage, []byte("last words")); err != nil {
			s.Error(err)
		}
		s.wantAwaited(over)
		for { // its echo, unless the going away is first; gorilla answers that
			_, p, err := c.ReadMessage()
			if err == nil && string(p) == "last words" {
				continue
			}
			if !websocket.IsCloseError(err, websocket.CloseGoingAway) {
				s.Error(string(p), err)
			}
			break
		}
		if last, err := <-said, <-ended; last != "last words" || !websocket.IsCloseError(err, websocket.CloseGoingAway) {
			s.Error(last, err)
		}
		if err := <-over; err != nil {
			s.Error(err)
		}
	})
}
