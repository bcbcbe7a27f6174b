package rehearsal

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/fasthttp/websocket"
)

// websocket sends messages, each when the one before has been echoed, until a close
// frame says that it is over.
func (c *client) websocket() {
	ws, err := c.upgrade()
	if err != nil {
		c.fail(err)
		return
	}
	defer func() { _ = ws.Close() }()
	c.inPosition()
	pause := time.Duration(0)
	for n := 1; c.exchange(ws, n, pause); n++ {
		c.served[c.Kind].Add(1)
		pause = c.pause()
	}
}

func (c *client) upgrade() (*websocket.Conn, error) {
	d := websocket.Dialer{
		NetDial:          func(string, string) (net.Conn, error) { return c.conn, nil },
		HandshakeTimeout: c.timeout,
	}
	ws, resp, err := d.Dial("ws://rehearsal"+c.path, nil)
	if resp != nil {
		_ = resp.Body.Close() // what there is of it has been read
	}
	if err != nil && resp != nil {
		return nil, refused(resp.Status)
	}
	return ws, err
}

// exchange sends a message, after a pause, and reports whether it came back. Meanwhile
// it reads: a close frame may come at any time.
func (c *client) exchange(ws *websocket.Conn, n int, pause time.Duration) bool {
	// No two messages in a row are the same: an echo may be the wrong one.
	text := bytes.Repeat([]byte{byte('a' + n%26)}, max(1, c.Body))
	written := make(chan struct{})
	var sent time.Time
	send := time.AfterFunc(pause, func() {
		defer close(written)
		sent = time.Now()
		_ = ws.SetWriteDeadline(sent.Add(c.timeout))
		_ = ws.WriteMessage(websocket.TextMessage, text) // if it fails, so will the read
	})
	c.mark = c.received
	_ = ws.SetReadDeadline(time.Now().Add(pause + c.timeout))
	kind, echo, err := ws.ReadMessage()
	what := "nothing since " + c.what
	if !send.Stop() {
		if err != nil {
			_ = ws.Close() // the message may be stuck
		}
		<-written
		c.request, c.sent, what = n, sent, c.what
	}
	switch closed, ok := errors.AsType[*websocket.CloseError](err); {
	case ok && closed.Code != websocket.CloseAbnormalClosure: // that one is never sent
		return false
	case err != nil:
		c.lose(what, c.ended(err))
		return false
	case kind != websocket.TextMessage || !bytes.Equal(echo, text):
		c.lose(what, fmt.Sprintf("not its echo: %.40q", echo))
		return false
	}
	return true
}
