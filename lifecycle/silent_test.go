package lifecycle

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// silents are the ways to say nothing, by kind of listener: each leaves a
// connection that has not sent a byte of a request.
func silents(r *running, kind string) (clients []*client) {
	clients = append(clients, r.client(r.dialRaw())) // with TLS: no ClientHello
	if kind != "tls" {
		return clients
	}
	hello := r.client(r.dialRaw())
	hello.send("\x16\x03\x01\x02\x00\x01\x00") // the begin of a ClientHello
	shaken := r.dial()
	if err := shaken.Conn.(*tls.Conn).Handshake(); err != nil {
		r.t.Fatal(err)
	}
	return append(clients, hello, shaken)
}

// halves are requests of which a part is missing.
var halves = map[string]string{
	"request line": "GET / HT",
	"header":       "GET / HTTP/1.1\r\nHost: t\r\nX-Half: he",
	"body":         "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nhalf",
	"chunk":        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf",
}

// halfClients sends each half twice: as a connection's first request, and as one
// that follows another.
func halfClients(r *running) (clients []*client) {
	for _, half := range halves {
		fresh, used := r.dial(), r.dial()
		used.get("/")
		fresh.send(half)
		used.send(half)
		clients = append(clients, fresh, used)
	}
	return clients
}

// wantNothing wants the connection to end, in whatever manner, with nothing more
// sent.
func (c *client) wantNothing() {
	c.t.Helper()
	if b, err := io.ReadAll(c.r); len(b) > 0 {
		c.t.Errorf("read %q, %v", b, err)
	}
}

// Who has said nothing is not answered, whatever it is that ends the connection.
// The drain has no deadline here: it waits for nothing else.
func TestContract07SilentIsEndedWithoutAResponse(t *testing.T) {
	for name, set := range map[string]func(*Server){
		"by its last call":         func(s *Server) { s.LastCall = time.Millisecond },
		"without a last call":      func(s *Server) { s.LastCall = -1 },
		"by its read timeout":      func(s *Server) { s.LastCall, s.HTTP.ReadTimeout = UntilIdle, 500*time.Millisecond },
		"accepted while it drains": func(s *Server) { s.LastCall, s.ShutdownDelay = time.Millisecond, 500*time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, kind := range kinds {
				t.Run(kind, func(t *testing.T) {
					t.Parallel()
					s := &Server{HTTP: quiet(hello), DrainTimeout: -1}
					set(s)
					r := runKind(t, kind, s)
					late := s.ShutdownDelay > 0
					if late {
						r.Drain()
					}
					clients := silents(r, kind)
					for r.conns.lastID.Load() < uint64(len(clients)) {
						time.Sleep(time.Millisecond)
					}
					r.Drain()
					for _, c := range clients {
						c.wantEOF()
					}
					if err := r.wait(); err != nil {
						t.Error(err)
					}
					if rep := r.Report(); rep.Told != 0 || len(rep.Cut) != 0 || late && rep.Accepted != int64(len(clients)) {
						t.Errorf("report %+v", rep)
					}
				})
			}
		})
	}
}

// The last call is not for a request that has begun: that has its read timeout.
func TestContract07HalfHasItsReadTimeout(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			h := quiet(hello)
			h.ReadTimeout = 500 * time.Millisecond
			r := runKind(t, kind, &Server{HTTP: h, LastCall: time.Millisecond, DrainTimeout: -1})
			clients := halfClients(r)
			for r.Counts().Idle > 0 {
				time.Sleep(time.Millisecond)
			}
			r.Drain()
			for _, c := range clients {
				if resp := c.response(); resp.StatusCode != fasthttp.StatusRequestTimeout || !resp.Close {
					t.Errorf("answered %v, close %v", resp.Status, resp.Close)
				}
				c.wantEOF()
				_ = c.Close()
			}
			if err := r.wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestContract07SilentAndHalfEndAtTheDeadline(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			r := runKind(t, kind, &Server{HTTP: quiet(hello), LastCall: UntilIdle, DrainTimeout: 30 * time.Millisecond, AbortTimeout: -1})
			silent, half := silents(r, kind), halfClients(r)
			for r.Counts() != (Counts{New: len(silent), Active: len(half)}) {
				time.Sleep(time.Millisecond)
			}
			r.Drain()
			if err := r.wait(); !errors.Is(err, ErrDrainTimeout) {
				t.Error(err)
			}
			for _, c := range append(silent, half...) {
				c.wantNothing()
			}
			rep := r.Report()
			states := map[ConnState]int{}
			for _, info := range rep.Cut {
				states[info.State]++
				if info.Route != "" || info.Age < 30*time.Millisecond {
					t.Errorf("cut %+v", info)
				}
			}
			// To end a silent one is as good as to cut it.
			if states[StateActive] != len(half) || len(rep.Cut) > len(silent)+len(half) {
				t.Errorf("cut %v; want %d active, and %d new at most", states, len(half), len(silent))
			}
		})
	}
}

// Neither holds the drain for longer than it has time.
func TestContract07InFakeTime(t *testing.T) {
	const readTimeout, before = 5 * time.Second, 2 * time.Second
	tests := map[string]struct {
		send    string
		timeout time.Duration // of the drain
		want    time.Duration // from its begin
	}{"silent": {"", -1, DefaultLastCall}}
	for name, half := range halves {
		type test = struct {
			send          string
			timeout, want time.Duration
		}
		tests["half a "+name] = test{half, -1, readTimeout - before}
		tests["half a "+name+", at the deadline"] = test{half, time.Second, time.Second + DefaultAbortTimeout}
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := quiet(hello)
				h.ReadTimeout = readTimeout
				r := runMem(t, &Server{HTTP: h, DrainTimeout: tt.timeout})
				c := r.dial()
				if tt.send != "" {
					c.send(tt.send)
				}
				time.Sleep(before)
				began := time.Now()
				r.Drain()
				if tt.send != "" && tt.timeout < 0 {
					if resp := c.response(); resp.StatusCode/100 != 4 || !resp.Close {
						t.Errorf("answered %v, close %v", resp.Status, resp.Close)
					}
				}
				c.wantNothing()
				<-r.done
				if took := time.Since(began); took != tt.want {
					t.Errorf("drained in %v, want %v", took, tt.want)
				}
				if errors.Is(r.err, ErrDrainTimeout) != (tt.timeout > 0) {
					t.Error(r.err)
				}
			})
		})
	}
}

// A rest that comes within the read timeout is in time, whatever part it is of.
func TestContract07TheRestIsServed(t *testing.T) {
	rests := map[string]string{
		"request line": "TP/1.1\r\nHost: t\r\n\r\n",
		"header":       "lf\r\n\r\n",
		"body":         string(make([]byte, 96)),
		"chunk":        string(make([]byte, 96)) + "\r\n0\r\n\r\n",
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			h := quiet(hello)
			h.ReadTimeout = patience
			r := runKind(t, kind, &Server{HTTP: h, LastCall: time.Millisecond})
			rest := map[*client]string{}
			for name, half := range halves {
				c := r.dial()
				c.send(half)
				rest[c] = rests[name]
			}
			other := r.dial()
			other.get("/")
			// It is idle for a millisecond only, where tests park.
			for n := r.Counts(); n.Active != len(halves) || n.Idle+n.Parked != 1; n = r.Counts() {
				time.Sleep(time.Millisecond)
			}
			r.Drain()
			other.wantEOF() // the last call is over
			for c, rest := range rest {
				c.send(rest)
				if resp := c.response(); resp.StatusCode != http.StatusOK || body(resp) != "hello" || !resp.Close {
					t.Errorf("answered %v, close %v", resp.Status, resp.Close)
				}
				c.wantEOF()
			}
			if err := r.wait(); err != nil {
				t.Error(err)
			}
		})
	}
}
