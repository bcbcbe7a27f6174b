package nethttp

import (
	"encoding/binary"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"testing"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// Floods that have brought servers of HTTP/2 down end the connection, and do no more, on
// net/http's server and on ours.
func TestHTTP2Floods(t *testing.T) {
	const streams = 10
	var now, most atomic.Int32 // handlers
	stop := make(chan struct{})
	defer close(stop)
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/net/hangs" {
			sayNet(w, r)
			return
		}
		for n := now.Add(1); ; {
			if old := most.Load(); n <= old || most.CompareAndSwap(old, n) {
				break
			}
		}
		<-stop
		now.Add(-1)
	}
	config := &http.HTTP2Config{MaxConcurrentStreams: streams}
	block := func(path string) []byte {
		return headers(":method", "GET", ":scheme", "http", ":authority", "t", ":path", path)
	}
	var stream uint32
	continuation := appendFrame(nil, frameContinuation, 0, 1, headers("x", "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"))
	ping := appendFrame(nil, framePing, 0, 0, make([]byte, 8))
	floods := map[string]struct {
		calm bool // the end is a GOAWAY that says why, and is read
		some func() []byte
	}{
		"rapid reset (CVE-2023-44487)": {true, func() []byte {
			stream += 2
			return appendFrame(appendFrame(nil, frameHeaders, flagEndStream|flagEndHeaders, stream-1, block("/net/hangs")),
				frameReset, 0, stream-1, []byte{0, 0, 0, 8})
		}},
		"CONTINUATION (CVE-2023-45288)": {false, func() []byte {
			if stream == 0 {
				stream = 1
				return appendFrame(nil, frameHeaders, flagEndStream, 1, block("/net"))
			}
			return continuation
		}},
		// Nobody reads what it is answered with.
		"PING (CVE-2019-9512)": {false, func() []byte { return ping }},
	}
	// By default the kernel keeps the answers to some hundred thousand frames.
	listen := func(t *testing.T) net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return small{l}
	}
	for name, flood := range floods {
		test := func(t *testing.T, addr net.Addr) {
			stream = 0
			most.Store(now.Load())
			before := now.Load()
			c := dialHTTP2(t, addr, false)
			calm := make(chan bool, 1)
			if flood.calm {
				go func() { calm <- c.isCalmed() }()
			}
			var sent int
			for err := error(nil); err == nil; { // for a while ours is lingering, and takes all, but looks at none
				var part []byte
				for len(part) < 16<<10 {
					part = append(part, flood.some()...)
				}
				if sent += len(part); sent > 128<<20 { // the lingering close takes 64 MB, of which it keeps none
					t.Fatalf("%d bytes have been read", sent)
				}
				if _, err = c.Write(part); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal("the connection does not end")
				}
			}
			if flood.calm && !<-calm {
				t.Error("the connection has not ended with ENHANCE_YOUR_CALM")
			}
			if got := most.Load() - before; got > streams {
				t.Errorf("%d handlers at a time", got)
			}
			other := dialHTTP2(t, addr, false) // the server lives
			other.until(frameData, other.ask("/net", flagEndStream), flagEndStream)
		}
		t.Run("net/http, "+name, func(t *testing.T) {
			l := listen(t)
			h := &http.Server{Handler: http.HandlerFunc(handler), HTTP2: config, Protocols: protocols(false, false, true), ErrorLog: log.New(io.Discard, "", 0)}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = h.Serve(l)
			}()
			defer func() {
				_ = h.Close()
				<-ended
			}()
			test(t, l.Addr())
		})
		for _, fresh := range []bool{false, true} {
			t.Run("ours, "+name, func(t *testing.T) {
				r := run(t, "tcp", app{
					fresh: fresh, net: handler, mount: func(m *Mount) { m.HTTP.HTTP2 = config },
					set: func(s *lifecycle.Server) { s.Addrs, s.Listeners = nil, []net.Listener{listen(t)} },
				})
				test(t, r.ListenAddrs()[0])
			})
		}
	}
}

// isCalmed reads to the end, and reports whether a GOAWAY tells to be calm.
func (c *raw) isCalmed() (is bool) {
	for {
		f, payload, err := c.frame()
		if err != nil {
			return is
		}
		is = is || f.kind == frameGoAway && binary.BigEndian.Uint32(payload[4:]) == enhanceYourCalm
	}
}

// Without keep-alives a connection ends with its next response, as in net/http.
func TestHTTP2KeepAlivesDisabled(t *testing.T) {
	for _, before := range []bool{true, false} {
		srv := &Server{Handler: http.HandlerFunc(sayNet)}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if before {
			srv.SetKeepAlivesEnabled(false)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = srv.Serve(l)
		}()
		c := dialHTTP2(t, l.Addr(), false)
		stream := c.ask("/net", flagEndStream)
		c.until(frameData, stream, flagEndStream)
		if !before {
			srv.SetKeepAlivesEnabled(false)
			stream = c.ask("/net", flagEndStream)
			c.until(frameData, stream, flagEndStream)
		}
		c.wantGoAway(stream, noError)
		c.wantEOF()
		_ = c.Close()
		_ = srv.Close()
		<-ended
	}
}
