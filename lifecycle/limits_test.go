package lifecycle

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
)

func wantRefused(t *testing.T, resp *http.Response, code int) {
	t.Helper()
	if resp.StatusCode != code || !resp.Close || resp.Header.Get("Retry-After") != "1" || resp.Header.Get("Date") == "" {
		t.Errorf("answered %v, close %v, %v; want a %d", resp.Status, resp.Close, resp.Header, code)
	}
}

func TestConnectionsBeyondALimit(t *testing.T) {
	for _, kind := range kinds {
		for code, limit := range map[int]func(h *fasthttp.Server){
			fasthttp.StatusServiceUnavailable: func(h *fasthttp.Server) { h.Concurrency = 2 },
			fasthttp.StatusTooManyRequests:    func(h *fasthttp.Server) { h.MaxConnsPerIP = 2 },
		} {
			if kind == "unix" && code == fasthttp.StatusTooManyRequests {
				continue // no IP address
			}
			t.Run(kind+" "+fasthttp.StatusMessage(code), func(t *testing.T) {
				var calls atomic.Int64
				h := quiet(func(ctx *fasthttp.RequestCtx) { calls.Add(1) })
				limit(h)
				r := runKind(t, kind, &Server{HTTP: h})
				first, second := r.dial(), r.dial()
				first.get("/")
				second.get("/")

				silent := r.dialRaw() // and over TLS it does not even begin the handshake
				defer func() { _ = silent.Close() }()
				for range 10 {
					c := r.dial()
					resp := c.get("/")
					wantRefused(t, resp, code)
					c.wantEOF()
				}
				if calls.Load() != 2 {
					t.Errorf("%d calls of the handler", calls.Load())
				}
				totals := r.Totals()
				if n := totals.RefusedConns + totals.RefusedPerIP; totals.Accepted != 2 || n != 11 {
					t.Errorf("totals %+v", totals)
				}

				_ = first.Close()
				for n := r.Counts(); n.Idle+n.Parked > 1; n = r.Counts() { // silent is not among them
					time.Sleep(time.Millisecond)
				}
				if resp := r.dial().get("/"); resp.StatusCode != fasthttp.StatusOK {
					t.Errorf("after one had gone: %v", resp.Status)
				}
			})
		}
	}
}

// waitTotal waits until n connections are open.
func (r *running) waitTotal(n int) {
	r.t.Helper()
	for began := time.Now(); r.Counts().Total() != n; time.Sleep(time.Millisecond) {
		if time.Since(began) > patience {
			r.t.Fatalf("counts %v; want %d in all", r.Counts(), n)
		}
	}
}

func TestOneAddressAtItsLimitHinderNoOther(t *testing.T) {
	h := quiet(hello)
	h.MaxConnsPerIP = 1
	r := runTCP(t, &Server{HTTP: h})
	r.dial().get("/")
	wantRefused(t, r.dial().get("/"), fasthttp.StatusTooManyRequests)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	nc, err := d.DialContext(t.Context(), "tcp", r.ListenAddrs()[0].String())
	if err != nil {
		t.Skip(err) // only Linux has all of 127/8
	}
	if resp := r.client(nc).get("/"); resp.StatusCode != fasthttp.StatusOK {
		t.Errorf("another address: %v", resp.Status)
	}
}

// fasthttp would read all of the body first, and a close with input unread would
// destroy the answer.
func TestRefusalReachesAClientThatUploads(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			h := quiet(hello)
			h.Concurrency = 1
			r := runKind(t, kind, &Server{HTTP: h})
			r.dial().get("/")
			c := r.dial()
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				// It fails when the server has had enough, or this test has.
				_, _ = io.WriteString(c.Conn, "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4000000\r\n\r\n"+strings.Repeat("x", 4000000))
			}()
			wantRefused(t, c.response(), fasthttp.StatusServiceUnavailable)
			_ = c.Close()
			<-sent
		})
	}
}

func TestSilentRefusedConnectionsEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := quiet(hello)
		h.Concurrency = 1
		r := runMem(t, &Server{HTTP: h})
		r.dial().get("/")
		began := time.Now()
		r.dial().wantEOF()
		if took := time.Since(began); took != refusedSilence {
			t.Errorf("ended after %v", took)
		}
	})
}

// Too many even to be refused: they are closed, and nobody who is refused with an
// answer waits for them.
func TestFloodBeyondALimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := quiet(hello)
		h.Concurrency = 1
		r := runMem(t, &Server{HTTP: h})
		r.dial().get("/")
		for range maxRefusing {
			r.dial()
		}
		for range 10 {
			r.dial().wantEOF()
		}
		time.Sleep(refusedSilence)
		synctest.Wait() // all of them have gone
		wantRefused(t, r.dial().get("/"), fasthttp.StatusServiceUnavailable)
		if got := r.Totals().RefusedConns; got != maxRefusing+11 {
			t.Errorf("%d refused", got)
		}
	})
}

func TestRefusalsAreToldOfOnceAMinute(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var told atomic.Int64
		h := quiet(hello)
		h.Concurrency = 1
		r := runMem(t, &Server{HTTP: h, OnEvent: func(e Event) {
			if e.Kind == EventRefused && e.Name == "too many connections" {
				told.Add(1)
			}
		}})
		r.dial().get("/")
		for range 5 {
			r.dial().get("/")
		}
		if told.Load() != 1 {
			t.Errorf("told %d times", told.Load())
		}
		time.Sleep(time.Minute)
		r.dial().get("/")
		r.dial().get("/")
		if told.Load() != 2 {
			t.Errorf("told %d times", told.Load())
		}
	})
}

func TestNetworkOf(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.7":              "192.0.2.7/32",
		"::ffff:192.0.2.7":       "192.0.2.7/32",
		"2001:db8:1:2:3:4:5:6":   "2001:db8:1:2::/64",
		"2001:db8:1:2:ffff::":    "2001:db8:1:2::/64",
		"2001:db8:1:3::":         "2001:db8:1:3::/64",
		"fe80::1":                "fe80::/64",
		"::1":                    "::/64",
		"2001:db8:0:ffff:ffff::": "2001:db8:0:ffff::/64",
	} {
		got, ok := networkOf(&net.TCPAddr{IP: net.ParseIP(ip), Port: 1})
		if !ok || got.String() != want {
			t.Errorf("%s: %v, %v; want %s", ip, got, ok, want)
		}
	}
	for _, a := range []net.Addr{nil, &net.UnixAddr{Name: "x"}, &net.TCPAddr{}} {
		if got, ok := networkOf(a); ok {
			t.Errorf("%v has %v", a, got)
		}
	}
}

func TestMaxConnAge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := runMem(t, &Server{HTTP: quiet(hello), MaxConnAge: 10 * time.Minute})
		began := time.Now()
		for range 20 {
			c := r.dial()
			for !c.get("/").Close {
				time.Sleep(time.Second)
			}
			if age := time.Since(began); age < 9*time.Minute || age > 11*time.Minute+time.Second {
				t.Errorf("told after %v", age)
			}
			c.wantEOF()
			began = time.Now()
		}
		c := r.dial()
		c.get("/")
		time.Sleep(time.Hour) // it is told, not cut
		if resp := c.get("/"); !resp.Close || body(resp) != "hello" {
			t.Errorf("an old one: %v, close %v", resp.Status, resp.Close)
		}
		c.wantEOF()
	})
}

// The ages of connections that came together spread over all of the range.
func TestMaxConnAgeIsSpread(t *testing.T) {
	s := &Server{MaxConnAge: 1000 * time.Second}
	var tenths [20]int
	for id := range uint64(2000) {
		age := s.maxAge(id)
		if age < 900*time.Second || age >= 1100*time.Second {
			t.Fatalf("age %v", age)
		}
		tenths[(age-900*time.Second)/(10*time.Second)]++
	}
	for i, n := range tenths {
		if n < 80 || n > 120 {
			t.Errorf("%d ages of 2000 in part %d of 20", n, i)
		}
	}
}

// A connection that its hijack handler has left to others, and that they have closed,
// counts for no limit, though nothing tells of its end.
func TestKeptConnectionsThatWereClosedCountForNoLimit(t *testing.T) {
	for code, limit := range map[int]func(h *fasthttp.Server){
		fasthttp.StatusServiceUnavailable: func(h *fasthttp.Server) { h.Concurrency = 2 },
		fasthttp.StatusTooManyRequests:    func(h *fasthttp.Server) { h.MaxConnsPerIP = 2 },
	} {
		t.Run(fasthttp.StatusMessage(code), func(t *testing.T) {
			left := make(chan net.Conn, 2)
			h := quiet(func(ctx *fasthttp.RequestCtx) {
				if string(ctx.Path()) == "/hijack" {
					ctx.Hijack(func(nc net.Conn) { left <- nc.(interface{ UnsafeConn() net.Conn }).UnsafeConn() })
				}
			})
			h.KeepHijackedConns = true
			limit(h)
			r := runTCP(t, &Server{HTTP: h})
			for range 2 {
				r.dial().get("/hijack")
			}
			for began := time.Now(); r.kept.len() < 2; time.Sleep(time.Millisecond) {
				if time.Since(began) > patience {
					t.Fatalf("%d kept", r.kept.len())
				}
			}
			for range 2 {
				_ = (<-left).Close()
			}
			for range 2 {
				if resp := r.dial().get("/"); resp.StatusCode != fasthttp.StatusOK {
					t.Errorf("answered %v", resp.Status)
				}
			}
			wantRefused(t, r.dial().get("/"), code)
		})
	}
}
