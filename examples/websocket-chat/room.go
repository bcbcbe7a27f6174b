package main

import (
	"sync"

	"github.com/fasthttp/websocket"
)

// room is who takes part in the chat.
type room struct {
	mu      sync.Mutex // guards members
	members map[*member]bool
}

// member is one connection.
type member struct {
	conn     *websocket.Conn
	messages chan []byte   // closed when it has left
	written  chan struct{} // closed when nothing more is written
}

func newRoom() *room { return &room{members: make(map[*member]bool)} }

func (r *room) enter(c *websocket.Conn) *member {
	m := &member{conn: c, messages: make(chan []byte, 64), written: make(chan struct{})}
	m.messages <- []byte("welcome")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members[m] = true
	return m
}

// leave returns when nobody uses the connection any more, which its handler's return
// gives up.
func (r *room) leave(m *member) {
	r.mu.Lock()
	delete(r.members, m)
	close(m.messages)
	r.mu.Unlock()
	<-m.written
}

// tell tells everybody, save those that are too far behind: one slow client must not
// hold up the others.
func (r *room) tell(message []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for m := range r.members {
		select {
		case m.messages <- message:
		default:
		}
	}
}
