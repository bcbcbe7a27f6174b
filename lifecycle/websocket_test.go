package lifecycle

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"
)

// wsEcho echoes messages until the client goes, and says goodbye when end is
// closed. It does not end before the client has answered that.
func wsEcho(end <-chan struct{}, keeps bool, ended chan<- struct{}) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		var upgrader websocket.FastHTTPUpgrader
		err := upgrader.Upgrade(ctx, func(c *websocket.Conn) {
			defer func() { ended <- struct{}{} }()
			if keeps {
				defer func() { _ = c.Close() }() // fasthttp does not
			}
			over, told := make(chan struct{}), make(chan struct{})
			defer func() { <-told }()
			defer close(over)
			go func() {
				defer close(told)
				select {
				case <-end:
					text := websocket.FormatCloseMessage(websocket.CloseGoingAway, "closedown")
					_ = c.WriteControl(websocket.CloseMessage, text, time.Now().Add(patience))
				case <-over:
				}
			}()
			for {
				kind, message, err := c.ReadMessage()
				if err != nil || c.WriteMessage(kind, message) != nil {
					return
				}
			}
		})
		if err != nil {
			panic(err)
		}
	}
}

// dialWebSocket connects and has one message echoed.
func (r *running) dialWebSocket(path string) (*websocket.Conn, *client) {
	r.t.Helper()
	c := r.dial()
	dialer := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return c.Conn, nil }}
	ws, resp, err := dialer.Dial("ws://t"+path, nil)
	if err != nil {
		r.t.Fatalf("upgrade: %v, %v", resp, err)
	}
	if resp.Close {
		r.t.Error("the upgrade is told to close")
	}
	if err := ws.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		r.t.Fatal(err)
	}
	if _, got, err := ws.ReadMessage(); err != nil || string(got) != "hello" {
		r.t.Fatalf("echo %q, %v", got, err)
	}
	return ws, c
}

func TestContract09WebSockets(t *testing.T) {
	for _, tt := range []struct {
		heeds string
		end   func(*Server) <-chan struct{}
		drain time.Duration
		abort time.Duration
		err   error
		cut   bool
	}{
		{"Draining", (*Server).Draining, -1, -1, nil, false},
		{"Context", func(s *Server) <-chan struct{} { return s.Context().Done() }, 30 * time.Millisecond, patience, ErrDrainTimeout, false},
		{"nothing", func(*Server) <-chan struct{} { return nil }, 30 * time.Millisecond, 10 * time.Millisecond, ErrDrainTimeout, true},
	} {
		for _, keeps := range []bool{false, true} {
			for _, kind := range kinds {
				name := "heeds " + tt.heeds + "/closed by fasthttp/" + kind
				if keeps {
					name = "heeds " + tt.heeds + "/closed by its handler/" + kind
				}
				t.Run(name, func(t *testing.T) {
					const n = 3
					s := &Server{DrainTimeout: tt.drain, AbortTimeout: tt.abort}
					ended := make(chan struct{}, n)
					s.HTTP = quiet(wsEcho(tt.end(s), keeps, ended))
					s.HTTP.KeepHijackedConns = keeps
					r := runKind(t, kind, s)
					sockets := map[*websocket.Conn]*client{}
					for range n {
						ws, c := r.dialWebSocket("/ws")
						sockets[ws] = c
					}
					for r.Counts() != (Counts{Hijacked: n}) {
						time.Sleep(time.Millisecond)
					}
					r.Drain()
					if !tt.cut {
						select {
						case <-r.done: // no client has answered
							t.Error("Run has not waited")
						default:
						}
					}
					for ws, c := range sockets {
						// The client answers a close frame as it reads it.
						_, _, err := ws.ReadMessage()
						if websocket.IsCloseError(err, websocket.CloseGoingAway) == tt.cut {
							t.Errorf("told %v", err)
						}
						c.wantNothing()
					}
					if err := r.wait(); !errors.Is(err, tt.err) {
						t.Error(err)
					}
					for range n {
						<-ended
					}
					rep := r.Report()
					if rep.Open.Hijacked != n || len(rep.Cut) != map[bool]int{true: n}[tt.cut] {
						t.Errorf("report %+v", rep)
					}
					for _, info := range rep.Cut {
						if info.State != StateHijacked || info.Route != "GET /ws" || info.Requests != 1 || info.Age < info.Since || info.Since <= 0 {
							t.Errorf("cut %+v", info)
						}
					}
					for r.conns.open.Load() > 0 { // those that were cut come to their end now
						time.Sleep(time.Millisecond)
					}
				})
			}
		}
	}
}
