package nethttp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// heap is how much memory is in use, and how much has been allocated in all.
func heap() (now, total int64) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc), int64(m.TotalAlloc)
}

// answers wants another connection, which has been there since before, to be answered.
func answers(c *raw) {
	c.t.Helper()
	c.until(frameData, c.ask("/net", flagEndStream), flagEndStream)
}

// A header that does not end (CVE-2023-45288) ends its connection, with a GOAWAY, as soon as
// it is larger than one may be, while another stream's handler runs and while none does. Of
// what the client sends after that a lingering close of ours takes 64 MB or 2 s, where
// net/http's has a reset; nothing of it is kept.
func TestHTTP2EndlessHeader(t *testing.T) {
	before := runtime.NumGoroutine()
	_, allocated := heap()
	t.Run("all", func(t *testing.T) {
		everywhere(t, func(t *testing.T, with func(*http.Server) *usage) {
			t.Parallel()
			endlessHeaders(t, with)
		})
	})
	noneLeft(t, before)
	_, now := heap()
	if now-allocated > 64<<20 { // for 12 connections
		t.Errorf("%d bytes have been allocated", now-allocated)
	}
}

func endlessHeaders(t *testing.T, with func(*http.Server) *usage) {
	hang, release := context.WithCancel(t.Context())
	runs := make(chan struct{}, 2)
	var others []*raw
	var downs []func()
	ends := make(chan string, 4) // "" is as it is to be
	for _, secure := range []bool{false, true} {
		u := with(&http.Server{
			Protocols: protocols(false, true, true), TLSConfig: serverTLS(), MaxHeaderBytes: 64 << 10,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/net/hangs" {
					runs <- struct{}{}
					<-hang.Done()
				}
				sayNet(w, r)
			}),
		})
		if u.ours != nil {
			u.ours.Life.DrainTimeout = patience / 2
		}
		l := listenTCP(t)
		ended := make(chan error, 1)
		go func() {
			if secure {
				ended <- u.ServeTLS(l, "", "")
				return
			}
			ended <- u.Serve(l)
		}()
		for _, busy := range []bool{false, true} {
			c := dialHTTP2(t, l.Addr(), secure)
			if busy {
				c.ask("/net/hangs", flagEndStream)
				<-runs
			}
			go func() { ends <- c.sendEndlessHeader() }()
		}
		others = append(others, dialHTTP2(t, l.Addr(), secure))
		downs = append(downs, func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := u.Shutdown(ctx); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			wantClosed(t, ended)
		})
	}
	for open := cap(ends); open > 0; {
		select {
		case end := <-ends:
			if open--; end != "" {
				t.Error(end)
			}
		case <-time.After(20 * time.Millisecond):
			for _, c := range others {
				answers(c)
			}
		}
	}
	release()
	for i, down := range downs {
		_ = others[i].Close()
		down()
	}
}

// sendEndlessHeader sends until the connection ends, and returns what is wrong with that.
func (c *raw) sendEndlessHeader() (wrong string) {
	code := make(chan uint32, 1)
	go func() {
		last := uint32(noError)
		for f, payload, err := c.frame(); err == nil; f, payload, err = c.frame() {
			if f.kind == frameGoAway {
				last = binary.BigEndian.Uint32(payload[4:])
			}
		}
		code <- last
	}()
	more := bytes.Repeat(appendFrame(nil, frameContinuation, 0, c.next, headers("x", strings.Repeat("y", 100))), 500)
	_, err := c.Write(appendFrame(nil, frameHeaders, flagEndStream, c.next, headers(":method", "GET", ":scheme", "http", ":authority", "t", ":path", "/net")))
	sent := 0
	for err == nil && sent <= 128<<20 {
		_, err = c.Write(more)
		sent += len(more)
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Sprintf("the connection does not end: %d bytes, %v", sent, err)
	}
	if got := <-code; got != 1 {
		return fmt.Sprintf("GOAWAY of %d; want PROTOCOL_ERROR", got)
	}
	return ""
}

// deafFlood is what a client sends that reads nothing.
type deafFlood struct {
	ends   bool               // the connection ends by it
	ofOurs bool               // that of ours does
	room   int64              // what the client's socket takes of what it is sent
	begin  []byte             // comes first
	more   func(n int) []byte // for n from 0
	end    []byte             // comes before the Shutdown, if not nil, and nothing after it
}

// Clients that read nothing while they flood cost no more than with net/http's server, which
// does as much here as ours.
//
// It ends the connection when there are more than 10,000 frames that it has to answer with:
// acknowledgements of PING, resets of streams that are too many or not open. It ends one
// with too many requests that are reset before they began, if it gets to say so. Of all
// other floods it keeps nothing, and reads them for as long as they last; so does a flood of
// SETTINGS have no end: one acknowledgement, which is a flag and not queued, is for all that
// have come while it could not be written.
//
// It answers no requests any more when it has been told GOAWAY, and says so by one of its own:
// if that cannot be written it reads them without end. Ours, which keeps the numbers of
// those that it awaits, ends the connection then.
//
// A Shutdown of ours ends all of them while they go on, in twice the time that a client has to
// say that it knows.
func TestHTTP2DeafFloods(t *testing.T) {
	const room = 16 << 10
	id := func(n int) uint32 { return uint32(2*n + 3) }
	reset := func(stream uint32) []byte { return appendFrame(nil, frameReset, 0, stream, number(8)) }
	always := func(frame []byte) func(int) []byte { return func(int) []byte { return frame } }
	noData := always(appendFrame(nil, frameData, 0, 1, nil))
	rapid := func(n int) []byte { return append(get(id(n), "/net/hangs"), reset(id(n))...) }
	floods := map[string]deafFlood{
		"PING":             {ends: true, room: room, more: always(appendFrame(nil, framePing, 0, 0, make([]byte, 8)))},
		"SETTINGS":         {room: room, more: always(appendFrame(nil, 0x4, 0, 0, []byte{0, 4, 0, 0, 255, 255}))},
		"WINDOW_UPDATE":    {room: room, more: always(appendFrame(nil, 0x8, 0, 0, number(1)))},
		"PRIORITY":         {room: room, more: func(n int) []byte { return appendFrame(nil, 0x2, 0, id(n), []byte{0, 0, 0, 0, 9}) }},
		"rapid reset":      {ends: true, room: room, more: rapid},
		"rapid reset, mum": {more: rapid}, // the GOAWAY cannot be written
		"RST_STREAM":       {room: room, begin: get(1, "/net"), more: always(reset(1))},
		"HEADERS":          {ends: true, room: room, more: func(n int) []byte { return get(id(n), "/net") }},
		"DATA":             {room: room, begin: post(1, "/net"), more: noData, end: appendFrame(nil, frameData, flagEndStream, 1, nil)},
		"late DATA":        {ends: true, room: room, begin: append(post(1, "/net"), reset(1)...), more: noData},
		"unknown":          {room: room, more: always(appendFrame(nil, 0x77, 0, 0, make([]byte, 16)))},
		"HEADERS behind GOAWAY": {ofOurs: true, begin: goAway(0, noError), more: func(n int) []byte {
			return appendFrame(nil, frameHeaders, flagEndStream|flagEndHeaders, id(n), []byte{0x82}) // :method GET
		}},
	}
	before := runtime.NumGoroutine()
	t.Run("all", func(t *testing.T) {
		for _, ours := range []bool{false, true} {
			t.Run(fmt.Sprintf("ours %v", ours), func(t *testing.T) {
				t.Parallel()
				deafFloods(t, ours, floods)
			})
		}
	})
	noneLeft(t, before)
}

func deafFloods(t *testing.T, ours bool, floods map[string]deafFlood) {
	hang, release := context.WithCancel(t.Context())
	h := &http.Server{
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 10}, Protocols: protocols(true, false, true), ErrorLog: log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/net/hangs" {
				<-hang.Done()
			}
			sayNet(w, r)
		}),
	}
	var srv httpServer = h
	if ours {
		s := inPlaceOf(h)
		s.Life.HTTP = &fasthttp.Server{MaxIdleWorkerDuration: 50 * time.Millisecond}
		s.Native("/native", sayNative)
		srv = s
	}
	l := newPipe()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	other := &raw{client: clientOf(t, l.dial()), next: 1}
	other.send(preface + string(appendFrame(nil, 0x4, 0, 0, nil)))
	answers(other)
	inUse, _ := heap()
	down, shutdown := context.WithCancel(t.Context())
	type result struct{ name, wrong string }
	flooded, ended := make(chan result, len(floods)), make(chan struct{}, len(floods))
	for name, f := range floods {
		nc := l.dial()
		_ = nc.SetDeadline(time.Now().Add(patience))
		t.Cleanup(func() { _ = nc.Close() })
		go func() { _, _ = io.CopyN(io.Discard, nc, f.room) }()
		go func() {
			wrong := f.play(nc, f.ends || ours && f.ofOurs)
			flooded <- result{name, wrong}
			<-down.Done()
			for err := error(nil); err == nil && f.end == nil; _, err = nc.Write(f.more(0)) {
				time.Sleep(time.Millisecond)
			}
			ended <- struct{}{}
		}()
	}
	for range floods {
		if r := <-flooded; r.wrong != "" {
			t.Errorf("%s: %s", r.name, r.wrong)
		}
		answers(other)
	}
	now, _ := heap()
	if now-inUse > 16<<20 {
		t.Errorf("%d kB are in use", (now-inUse)>>10)
	}
	_ = other.Close()
	release()
	shutdown()
	if ours {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	}
	_ = srv.Close()
	for range floods {
		<-ended
	}
	<-served
}

// play sends until the connection ends, if it is to, or more frames than net/http's server
// queues of its own; its reads of a pipe say when the server has read them. It returns what
// is wrong.
func (f *deafFlood) play(nc net.Conn, ends bool) (wrong string) {
	_, err := nc.Write(slices.Concat([]byte(preface), appendFrame(nil, 0x4, 0, 0, nil), f.begin))
	n := 0
	for most := 11_000; err == nil && (n < most || ends && n < 10*most); {
		var part []byte
		for ; len(part) < 4<<10; n++ {
			part = append(part, f.more(n)...)
		}
		_, err = nc.Write(part)
	}
	if err == nil {
		_, err = nc.Write(f.end)
	}
	if (err != nil) != ends || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Sprintf("after %d: %v; is to end: %v", n, err, ends)
	}
	return ""
}
