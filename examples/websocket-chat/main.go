// A chat over WebSockets, whose drain lets everybody know, and waits until they have
// gone.
package main

import (
	_ "embed"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
)

//go:embed index.html
var page []byte

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "`address` to listen on")
	flag.Parse()
	r := newRoom()
	err := toolkit.New().
		Addr(*addr).
		Get("/", func(ctx *fasthttp.RequestCtx) {
			ctx.SetContentType("text/html; charset=utf-8")
			ctx.SetBody(page)
		}).
		Get("/ws", r.join).
		Run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "websocket-chat:", err)
	}
	os.Exit(lifecycle.ExitCode(err))
}

// FastHTTPUpgrader refuses pages of other origins.
var upgrader websocket.FastHTTPUpgrader

// join upgrades the connection. From then on it is hijacked: the drain counts it as
// busy, and awaits it until the handler returns.
func (r *room) join(ctx *fasthttp.RequestCtx) {
	draining, catch := toolkit.FromRequest(ctx).Draining(), toolkit.Catch(ctx)
	err := upgrader.Upgrade(ctx, func(c *websocket.Conn) {
		defer catch()
		m := r.enter(c)
		defer r.leave(m)
		go m.write(draining)
		for {
			kind, message, err := c.ReadMessage()
			if err != nil {
				return // also when the client has answered the close frame
			}
			if kind == websocket.TextMessage {
				r.tell(message)
			}
		}
	})
	if err != nil {
		log := toolkit.Logger(ctx)
		log.Info().Err(err).Msg("no WebSocket") // Upgrade has answered
	}
}

// farewell is how long a client has to answer a close frame.
const farewell = 5 * time.Second

// write sends what the others say. When the server drains it sends what there still is,
// then a close frame that says why, and whoever reads has a while to see the answer.
func (m *member) write(draining <-chan struct{}) {
	defer close(m.written)
	for {
		select {
		case message, ok := <-m.messages:
			if !ok || m.conn.WriteMessage(websocket.TextMessage, message) != nil {
				return
			}
		case <-draining:
			for len(m.messages) > 0 {
				if m.conn.WriteMessage(websocket.TextMessage, <-m.messages) != nil {
					return
				}
			}
			text := websocket.FormatCloseMessage(websocket.CloseGoingAway, "the server is going down")
			_ = m.conn.WriteControl(websocket.CloseMessage, text, time.Now().Add(farewell))
			_ = m.conn.SetReadDeadline(time.Now().Add(farewell))
			return
		}
	}
}
