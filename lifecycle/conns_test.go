package lifecycle

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// FuzzConnStates drives a connection's state word by a random history of what
// fasthttp, the drain and readers do, against a model in plain words.
func FuzzConnStates(f *testing.F) {
	f.Add([]byte("airaie"))
	f.Add([]byte("aereaeh"))
	f.Add([]byte("ewac"))
	f.Add([]byte("aehsc"))
	f.Fuzz(func(t *testing.T, history []byte) {
		c := &conn{}
		var ctx fasthttp.RequestCtx
		ctx.Request.SetRequestURI("/path")
		state, route, requests := StateNew, "", uint64(0)
		for _, op := range history {
			switch op {
			case 'a': // the first byte of a request
				if from := c.activate(0); from != state {
					t.Fatalf("activate from state %d: %d", state, from)
				}
				if state != stateEnding && state != StateClosed {
					state, requests = StateActive, requests+1
				}
			case 'e': // the handler is called
				if c.enter(&ctx, time.Time{}) != (state == StateActive) {
					t.Fatalf("enter in state %d", state)
				}
				if state == StateActive {
					route = "GET /path"
				}
				c.leave()
			case 'i': // the response is out
				c.rest(0)
				if state == StateActive {
					state, route = StateIdle, ""
				}
			case 'h':
				if c.to(StateHijacked, 0) != state {
					t.Fatal("to: wrong state left")
				}
				if state != StateClosed {
					state = StateHijacked
				}
			case 'd', 'w', 'p': // the drain ends it, on a socket or without one; or it is parked
				to := map[byte]ConnState{'d': stateEnding, 'w': stateWaking, 'p': stateParking}[op]
				word := c.word.Load()
				if st := stateOf(word); st == StateNew || st == StateIdle {
					c.word.CompareAndSwap(word, word&^stateMask|uint64(to))
					state = to
				}
			case 'c':
				c.to(StateClosed, 0)
				state = StateClosed
			}
			word := c.word.Load()
			if stateOf(word) != state || word/oneRequest != requests || word&flagRead != 0 {
				t.Fatalf("after %q: word %#x, want state %d and %d requests", history, word, state, requests)
			}
			if got := c.currentRoute(); got != route {
				t.Fatalf("after %q: route %q, want %q", history, got, route)
			}
			public := state
			if state > StateClosed {
				public = map[bool]ConnState{true: StateIdle, false: StateNew}[requests > 0]
			}
			if c.state() != public {
				t.Fatalf("after %q: public state %v, want %v", history, c.state(), public)
			}
		}
	})
}

// On one connection the drain and a request race, over and over: either the
// request wins and is served, or the client sees the end before any answer.
func TestEndAgainstActivate(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	s := &Server{HTTP: quiet(hello)}
	s.init()
	won := map[bool]int{}
	for i := range 200 {
		client, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		nc, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c := &conn{Conn: nc}
		var race sync.WaitGroup
		var read int
		race.Go(func() { // fasthttp's reader
			read, _ = nc.Read(make([]byte, 10))
			if read > 0 {
				c.activate(0)
			}
		})
		race.Go(func() {
			_, _ = io.WriteString(client, "GET")
		})
		time.Sleep(time.Duration(i%20) * 2 * time.Microsecond)
		for !s.end(c) && c.state() != StateActive {
			time.Sleep(10 * time.Microsecond)
		}
		race.Wait()
		active := c.state() == StateActive
		won[active]++
		if active && read == 0 {
			t.Fatal("active without a byte")
		}
		_ = client.Close()
		_ = nc.Close()
	}
	t.Logf("the request won %d times, the drain %d times", won[true], won[false])
}

// Addresses look as package net shows them.
func TestAddresses(t *testing.T) {
	for _, a := range []net.Addr{
		&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1).To4(), Port: 65535},
		&net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 80}, &net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 80},
		&net.TCPAddr{IP: net.IPv6zero}, &net.TCPAddr{Port: 80}, &net.TCPAddr{}, (*net.TCPAddr)(nil), &net.UnixAddr{Name: "@", Net: "unix"}, &net.UnixAddr{},
	} {
		if got := addrString(a); got != a.String() {
			t.Errorf("%q, want %q", got, a)
		}
	}
	if got := addrString(nil); got != "" {
		t.Errorf("%q of no address", got)
	}
	tcp := net.Addr(&net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 80})
	room := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() { appendAddr(room, tcp) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
