package ecosystem

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// coderEcho echoes messages. When the server drains it says so, and closes after what its
// client answers. said gets the last message, and ended why it was the last.
func coderEcho(draining <-chan struct{}, said chan<- string, ended chan<- error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{
			Subprotocols:    []string{"echo"},
			CompressionMode: websocket.CompressionContextTakeover,
		})
		if err != nil {
			return // it has answered
		}
		defer func() { _ = c.CloseNow() }()
		c.SetReadLimit(-1)
		ctx, cancel := context.WithCancel(r.Context()) // coder advises against that one, and it is used
		told := make(chan struct{})
		go func() {
			defer close(told)
			select {
			case <-draining:
				_ = c.Write(ctx, websocket.MessageText, []byte("drain"))
			case <-ctx.Done():
			}
		}()
		last := ""
		for err == nil && last != "last words" {
			var kind websocket.MessageType
			var p []byte
			if kind, p, err = c.Read(ctx); err == nil {
				last = string(p[:min(len(p), 20)])
				err = c.Write(ctx, kind, p)
			}
		}
		if err == nil {
			err = c.Close(websocket.StatusGoingAway, "drain")
		}
		cancel()
		<-told
		said <- last
		ended <- err
	})
}

func coderDial(s *server, mode websocket.CompressionMode) *websocket.Conn {
	s.Helper()
	client := *s.client
	client.Timeout = 0 // it would be one of the connection
	c, _, err := websocket.Dial(s.Context(), s.url, &websocket.DialOptions{
		HTTPClient: &client, Subprotocols: []string{"echo"}, CompressionMode: mode,
	})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.CloseNow() })
	c.SetReadLimit(-1)
	if c.Subprotocol() != "echo" {
		s.Errorf("%q", c.Subprotocol())
	}
	return c
}

func coderWantEcho(s *server, c *websocket.Conn, message []byte) {
	s.Helper()
	if err := c.Write(s.Context(), websocket.MessageBinary, message); err != nil {
		s.Fatal(err)
	}
	if kind, p, err := c.Read(s.Context()); err != nil || kind != websocket.MessageBinary || !bytes.Equal(p, message) {
		s.Fatalf("kind %v, %d bytes, %v; want %d bytes", kind, len(p), err, len(message))
	}
}

func TestCoderWebSocket(t *testing.T) {
	t.Parallel()
	said, ended := make(chan string, 1), make(chan error, 1)
	app := func(draining <-chan struct{}) http.Handler { return coderEcho(draining, said, ended) }
	eachDraining(t, app, func(s *server) {
		s.onlyHTTP1()
		for _, mode := range []websocket.CompressionMode{
			websocket.CompressionDisabled, websocket.CompressionContextTakeover, websocket.CompressionNoContextTakeover,
		} {
			c := coderDial(s, mode)
			coderWantEcho(s, c, []byte("hello"))
			coderWantEcho(s, c, bytes.Repeat([]byte("large "), 200_000))
			var got person
			if err := wsjson.Write(s.Context(), c, person{"Ada", 36}); err != nil {
				s.Error(err)
			}
			if err := wsjson.Read(s.Context(), c, &got); err != nil || got.Name != "Ada" {
				s.Error(got, err)
			}
			ctx := c.CloseRead(s.Context())
			if err := c.Ping(ctx); err != nil {
				s.Error(err)
			}
			if err := c.Close(4000, "enough"); err != nil {
				s.Error(err)
			}
			if last, err := <-said, <-ended; last != `{"name":"Ada","age":36}`[:20] || websocket.CloseStatus(err) != 4000 {
				s.Error(last, err)
			}
		}
		s.want(s.get("/"), http.StatusUpgradeRequired, "")
	})
}

// The client does not wait for the upgrade's answer: a server may have read its frame
// together with the request.
func TestCoderWebSocketEarlyFrame(t *testing.T) {
	t.Parallel()
	said, ended := make(chan string, 1), make(chan error, 1)
	app := func(draining <-chan struct{}) http.Handler { return coderEcho(draining, said, ended) }
	eachDraining(t, app, func(s *server) {
		s.onlyHTTP1()
		nc := s.dial()
		_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: echo\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"+
			"\x81\x85\x00\x00\x00\x00hello")
		in := bufio.NewReader(nc)
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			s.Fatal(resp, err)
		}
		frame := make([]byte, 7)
		if _, err := io.ReadFull(in, frame); err != nil || string(frame) != "\x81\x05hello" {
			s.Errorf("%q, %v", frame, err)
		}
		_ = nc.Close()
		if last, err := <-said, <-ended; last != "hello" || err == nil {
			s.Error(last, err)
		}
	})
}

func TestCoderWebSocketDrain(t *testing.T) {
	t.Parallel()
	said, ended := make(chan string, 1), make(chan error, 1)
	app := func(draining <-chan struct{}) http.Handler { return coderEcho(draining, said, ended) }
	eachDraining(t, app, func(s *server) {
		s.onlyHTTP1()
		c := coderDial(s, websocket.CompressionContextTakeover)
		coderWantEcho(s, c, []byte("hello"))
		over := s.drain()
		if _, p, err := c.Read(s.Context()); err != nil || string(p) != "drain" {
			s.Error(string(p), err)
		}
		s.wantAwaited(over)
		coderWantEcho(s, c, []byte("last words"))
		if _, _, err := c.Read(s.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
			s.Error(err)
		}
		if last, err := <-said, <-ended; last != "last words" || err != nil {
			s.Error(last, err)
		}
		if err := <-over; err != nil {
			s.Error(err)
		}
	})
}
