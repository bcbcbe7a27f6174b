//go:build linux

package lifecycle

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"
)

const parkSoon = 2 * time.Millisecond

// untilParked waits until n connections are parked.
func (r *running) untilParked(n int) {
	r.t.Helper()
	for began := time.Now(); r.Counts().Parked != n; time.Sleep(time.Millisecond) {
		if time.Since(began) > patience {
			r.t.Fatalf("counts %v; want %d parked", r.Counts(), n)
		}
	}
}

func TestParkedConnectionComesBack(t *testing.T) {
	for _, kind := range []string{"tcp", "unix"} {
		t.Run(kind, func(t *testing.T) {
			r := runKind(t, kind, &Server{HTTP: quiet(hello), ParkAfter: parkSoon})
			c := r.dial()
			c.get("/")
			before := r.Conns()[0]
			for i := range uint64(5) {
				r.untilParked(1)
				info := r.Conns()[0]
				if info.ID != before.ID || info.State != StateParked || info.Requests != i+1 || info.Remote != before.Remote || info.Local != before.Local || info.Age <= info.Since {
					t.Fatalf("parked: %+v, before: %+v", info, before)
				}
				for o := range r.EachConn {
					if remote, route := string(o.AppendRemote(nil)), string(o.AppendRoute(nil)); remote != before.Remote || route != "" {
						t.Fatalf("parked: %q and %q, before: %+v", remote, route, before)
					}
				}
				if resp := c.get("/"); body(resp) != "hello" || resp.Close {
					t.Fatalf("answered %v", resp.Status)
				}
			}
			if n := r.conns.open.Load(); n != 1 {
				t.Errorf("%d connections are open", n)
			}
			r.untilParked(1)
			_ = c.Close() // which is seen
			for r.Counts().Total() > 0 {
				time.Sleep(time.Millisecond)
			}
		})
	}
}

func TestParkedConnectionIsIdle(t *testing.T) {
	t.Run("idle timeout", func(t *testing.T) {
		s := &Server{HTTP: quiet(hello), ParkAfter: parkSoon}
		s.HTTP.IdleTimeout = 2 * time.Second // enough to be parked first
		r := runTCP(t, s)
		c := r.dial()
		c.get("/")
		r.untilParked(1)
		c.wantEOF()
		for r.Counts().Total() > 0 {
			time.Sleep(time.Millisecond)
		}
	})
	t.Run("last call, unused", func(t *testing.T) {
		r := runTCP(t, &Server{HTTP: quiet(hello), ParkAfter: parkSoon})
		c := r.dial()
		c.get("/")
		r.untilParked(1)
		r.Drain()
		c.wantEOF()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		if rep := r.Report(); rep.Open != (Counts{Parked: 1}) || rep.LastCalled != 1 {
			t.Errorf("report %+v", rep)
		}
	})
	t.Run("last call, used", func(t *testing.T) {
		r := runTCP(t, &Server{HTTP: quiet(hello), ParkAfter: parkSoon, LastCall: time.Hour})
		c := r.dial()
		c.get("/")
		r.untilParked(1)
		r.Drain()
		if resp := c.get("/"); !resp.Close || body(resp) != "hello" {
			t.Errorf("answered %v, close %v", resp.Status, resp.Close)
		}
		c.wantEOF()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
	})
	t.Run("cut", func(t *testing.T) {
		r := runTCP(t, &Server{HTTP: quiet(hello), ParkAfter: parkSoon, LastCall: UntilIdle, DrainTimeout: 10 * time.Millisecond, AbortTimeout: -1})
		c := r.dial()
		c.get("/")
		r.untilParked(1)
		r.Drain()
		if err := r.wait(); !errors.Is(err, ErrDrainTimeout) {
			t.Error(err)
		}
		c.wantEOF()
		if cut := r.Report().Cut; len(cut) != 1 || cut[0].State != StateParked {
			t.Errorf("cut %+v", cut)
		}
	})
	t.Run("requests are counted on", func(t *testing.T) {
		s := &Server{HTTP: quiet(hello), ParkAfter: parkSoon}
		s.HTTP.MaxRequestsPerConn = 3
		r := runTCP(t, s)
		c := r.dial()
		for i := range 3 {
			if resp := c.get("/"); resp.Close != (i == 2) {
				t.Errorf("request %d, close %v", i+1, resp.Close)
			}
			if i < 2 {
				r.untilParked(1)
			}
		}
		c.wantEOF()
	})
}

// A slow request is no idle connection.
func TestBusyConnectionIsNotParked(t *testing.T) {
	g := newGate()
	r := runTCP(t, &Server{HTTP: quiet(g.handle), ParkAfter: time.Millisecond})
	c, silent := r.dial(), r.dial()
	c.send(request)
	<-g.entered
	for range 20 {
		time.Sleep(time.Millisecond)
		if n := r.Counts(); n != (Counts{New: 1, Active: 1}) {
			t.Fatalf("counts %v", n)
		}
	}
	close(g.release)
	if resp := c.response(); body(resp) != "late" {
		t.Errorf("answered %v", resp.Status)
	}
	_ = silent.Close()
}

// What cannot be parked is served as ever, and said once.
func TestTLSIsNotParked(t *testing.T) {
	var said atomic.Int32
	s := &Server{HTTP: quiet(hello), ParkAfter: time.Millisecond, OnEvent: func(e Event) {
		if e.Kind == EventNotParked && e.Err != nil {
			said.Add(1)
		}
	}}
	r := runKind(t, "tls", s)
	for range 2 {
		c := r.dial()
		c.get("/")
		time.Sleep(10 * time.Millisecond)
		c.get("/")
	}
	for began := time.Now(); r.Counts() != (Counts{Idle: 2}) && time.Since(began) < patience; {
		time.Sleep(time.Millisecond) // a response comes before its connection is idle
	}
	if n := r.Counts(); n != (Counts{Idle: 2}) || said.Load() != 1 {
		t.Errorf("counts %v, said %d times", n, said.Load())
	}
}

// Connections that are parked and woken all the time, by clients whose pauses lie
// around ParkAfter, lose nothing and mix nothing up. LASTCALL_TORTURE sets the number
// of requests.
func TestParkingTorture(t *testing.T) {
	requests, err := strconv.Atoi(os.Getenv("LASTCALL_TORTURE"))
	if err != nil {
		requests = 20_000
	}
	h := quiet(func(ctx *fasthttp.RequestCtx) {
		ctx.SetBody(ctx.PostBody())
	})
	h.IdleTimeout = time.Minute
	var newConns atomic.Int64
	h.ConnState = func(_ net.Conn, st fasthttp.ConnState) {
		if st == fasthttp.StateNew {
			newConns.Add(1)
		}
	}
	r := runTCP(t, &Server{HTTP: h, ParkAfter: parkSoon})
	files := openFiles(t) + 1 // the poller
	const clients = 64
	var left atomic.Int64
	left.Store(int64(requests))
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() {
			nc := r.dialRaw()
			defer func() { _ = nc.Close() }()
			in := bufio.NewReader(nc)
			for i := 0; left.Add(-1) >= 0; i++ {
				want := fmt.Sprintf("client %d, request %d %s", n, i, strings.Repeat("x", rand.IntN(100)))
				message := fmt.Sprintf("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%s", len(want), want)
				split := len(message)
				if n%2 == 0 {
					split = 1 + rand.IntN(len(message)-1)
				}
				_ = nc.SetDeadline(time.Now().Add(patience))
				if _, err := io.WriteString(nc, message[:split]); err != nil {
					t.Errorf("client %d, request %d: %v", n, i, err)
					return
				}
				if split < len(message) {
					time.Sleep(rand.N(4 * time.Millisecond))
					if _, err := io.WriteString(nc, message[split:]); err != nil {
						t.Errorf("client %d, request %d: %v", n, i, err)
						return
					}
				}
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Errorf("client %d, request %d: %v", n, i, err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				if err != nil || string(got) != want {
					t.Errorf("client %d, request %d: answered %q, %v; want %q", n, i, got, err, want)
					return
				}
				time.Sleep(rand.N(12 * time.Millisecond))
			}
		})
	}
	all.Wait()
	for r.Counts().Total() > 0 || openFiles(t) > files {
		time.Sleep(time.Millisecond)
	}
	if n := r.conns.open.Load(); n != 0 {
		t.Errorf("%d connections are open, and none is", n)
	}
	t.Logf("%d requests, %d times unparked", requests, newConns.Load()-clients)
	if newConns.Load() < int64(requests/10) {
		t.Errorf("only %d times unparked", newConns.Load()-clients)
	}
	r.Drain()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

// The drain comes while connections are being parked and woken.
func TestParkingLosesNothingInADrain(t *testing.T) {
	for range 20 {
		// See TestNoRequestIsLost for the last call.
		r := runTCP(t, &Server{HTTP: quiet(hello), ParkAfter: time.Millisecond, LastCall: patience, DrainTimeout: -1})
		var all sync.WaitGroup
		for range 32 {
			c := r.dial()
			all.Go(func() {
				for {
					if _, err := io.WriteString(c.Conn, request); err != nil {
						t.Errorf("send: %v", err)
						return
					}
					resp, err := http.ReadResponse(c.r, nil)
					if err != nil {
						t.Errorf("response: %v", err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					if resp.Close {
						return
					}
					time.Sleep(rand.N(5 * time.Millisecond))
				}
			})
		}
		time.Sleep(20*time.Millisecond + rand.N(10*time.Millisecond))
		r.Drain()
		all.Wait()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
	}
}

// Whoever looks at connections that are being parked misses none, and a snapshot has each once.
func TestParkingIsSeen(t *testing.T) {
	const n = 300
	r := runTCP(t, &Server{HTTP: quiet(hello), ParkAfter: 20 * time.Millisecond})
	for range n {
		r.dial().get("/")
	}
	for parked := 0; parked < n; {
		parked = r.Counts().Parked
		seen := map[uint64]bool{}
		for c := range r.EachConn {
			seen[c.ID] = true
		}
		if conns := r.Conns(); len(seen) != n || len(conns) != n {
			t.Fatalf("%d of %d connections are seen, and %d in a snapshot", len(seen), n, len(conns))
		}
	}
}

// Whatever becomes parked when the drain has looked is still ended.
func TestDrainMissesNoParking(t *testing.T) {
	t.Run("one", func(t *testing.T) {
		r := runTCP(t, &Server{HTTP: quiet(hello), ParkAfter: time.Hour, LastCall: -1, DrainTimeout: patience / 2})
		r.dial().get("/")
		c := r.idleConn()
		// As far as removeConn goes before it lets go of the connection.
		var err error
		if c.parkFD, err = duplicate(c.Conn); err != nil {
			t.Fatal(err)
		}
		if r.parking.poller, err = newPoller(); err != nil {
			t.Fatal(err)
		}
		r.parking.underWay.Add(1)
		since := time.Duration(c.since.Load())
		c.to(StateClosed, r.now())
		r.Drain()
		for r.accepting.Load() > 0 {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(10 * time.Millisecond) // the drain has looked, or else this shows nothing
		r.enterParked(c, since)
		_ = c.Close()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
	})
	t.Run("a wave", func(t *testing.T) {
		for range 10 {
			r := runTCP(t, &Server{HTTP: quiet(hello), ParkAfter: 20 * time.Millisecond, LastCall: -1, DrainTimeout: patience / 2})
			var clients []*client
			for range 100 {
				clients = append(clients, r.dial())
			}
			for _, c := range clients {
				c.send(request)
			}
			for _, c := range clients {
				c.response()
			}
			for r.parking.parkings.Load() < 20 {
				time.Sleep(50 * time.Microsecond)
			}
			r.Drain()
			if err := r.wait(); err != nil {
				t.Fatalf("%v; %v", err, r.Report())
			}
			for _, c := range clients {
				_ = c.Close()
			}
		}
	})
}

// A client that is gone before its connection comes back has no address.
func TestParkedConnectionThatIsReset(t *testing.T) {
	s := &Server{HTTP: quiet(hello), ParkAfter: parkSoon}
	s.HTTP.ConnState = func(nc net.Conn, st fasthttp.ConnState) {
		if nc.RemoteAddr() == nil {
			t.Errorf("%v: no remote address", st)
		}
	}
	r := runTCP(t, s)
	c := r.dial()
	c.get("/")
	r.untilParked(1)
	r.parking.mu.Lock() // nothing comes back
	fd := uintptr(r.parking.first.fd)
	c.send(request)
	resetConn(c)
	for !polls(fd, unix.POLLHUP) {
		time.Sleep(time.Millisecond)
	}
	r.parking.mu.Unlock()
	for r.conns.open.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
}

// The times of a connection that pipelines are those of its requests, but its idle
// time begins with its response.
func TestPipelinedConnectionIsIdleFromItsResponse(t *testing.T) {
	const slow = 60 * time.Millisecond // longer than what follows
	start := func(t *testing.T, idle time.Duration) (*running, *client, *atomic.Int64) {
		var s *Server
		handled := new(atomic.Int64)
		s = &Server{ParkAfter: slow / 2, HTTP: quiet(func(ctx *fasthttp.RequestCtx) {
			if string(ctx.Path()) == "/slow" {
				time.Sleep(slow)
			}
			handled.Store(int64(s.now()))
		})}
		s.HTTP.IdleTimeout = idle
		r := runTCP(t, s)
		c := r.dial()
		c.get("/")
		r.idleConn().word.Or(flagPipelines) // as by two requests in a segment
		c.get("/slow")
		return r, c, handled
	}
	t.Run("parked", func(t *testing.T) {
		r, _, handled := start(t, 0)
		r.untilParked(1)
		if idle := r.now() - time.Duration(handled.Load()); idle < r.ParkAfter {
			t.Errorf("parked after %v", idle)
		}
	})
	t.Run("ended", func(t *testing.T) {
		r, c, handled := start(t, slow*2/3)
		c.wantEOF()
		if idle := r.now() - time.Duration(handled.Load()); idle < r.HTTP.IdleTimeout {
			t.Errorf("ended after %v", idle)
		}
	})
}

// However many connections there are to park, few at a time have two descriptors, and
// the others follow at once.
func TestParkingTakesFewDescriptors(t *testing.T) {
	const conns = 4 * maxParking
	s := &Server{HTTP: quiet(hello), ParkAfter: time.Hour, LastCall: -1}
	goOn := make(chan struct{})
	s.HTTP.ConnState = func(_ net.Conn, st fasthttp.ConnState) {
		if st == fasthttp.StateClosed {
			<-goOn
		}
	}
	r := runTCP(t, s)
	for range conns {
		r.dial().get("/")
	}
	for r.Counts().Idle < conns {
		time.Sleep(time.Millisecond)
	}
	files := openFiles(t) + 1 // the poller
	r.conns.each(func(c *conn) bool {
		c.since.Store(-2 * int64(s.ParkAfter))
		return true
	})
	for range 3 {
		r.parkIdleConns()
		if n := r.parking.underWay.Load(); n != maxParking {
			t.Errorf("%d are being parked; want %d", n, maxParking)
		}
		// fasthttp may have closed its own by now
		if n := openFiles(t) - files; n > maxParking {
			t.Errorf("%d more descriptors; want at most %d", n, maxParking)
		}
	}
	close(goOn)
	r.untilParked(conns) // by the loop, whose next look is half an hour away
	if n := r.parking.underWay.Load(); n != 0 {
		t.Errorf("%d are being parked, and all are", n)
	}
}

func TestParkingKeepsTheKeepalivePeriod(t *testing.T) {
	const period = 77
	s := &Server{HTTP: quiet(hello), ParkAfter: parkSoon}
	s.HTTP.TCPKeepalive, s.HTTP.TCPKeepalivePeriod = true, period*time.Second
	s.HTTP.ConnState = func(nc net.Conn, st fasthttp.ConnState) {
		if st != fasthttp.StateActive {
			return
		}
		control(rawConn(nc), func(fd uintptr) {
			on, _ := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE)
			idle, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
			if on != 1 || idle != period || err != nil {
				t.Errorf("keepalive %d after %d s, %v", on, idle, err)
			}
		})
	}
	r := runTCP(t, s)
	c := r.dial()
	for range 3 {
		c.get("/")
		r.untilParked(1)
	}
}

// The user's hook sees a connection's end before it sees it again as another.
func TestParkedConnectionComesBackAfterItsEnd(t *testing.T) {
	s := &Server{HTTP: quiet(hello), ParkAfter: parkSoon}
	var open atomic.Int64
	closing, back := make(chan struct{}, 1), make(chan struct{}, 1)
	s.HTTP.ConnState = func(_ net.Conn, st fasthttp.ConnState) {
		switch st {
		case fasthttp.StateNew:
			if open.Add(1) > 1 {
				t.Error("new, and the one before not closed")
				back <- struct{}{}
			}
		case fasthttp.StateClosed:
			closing <- struct{}{}
			select {
			case <-back:
			case <-time.After(10 * time.Millisecond): // the request is there
			}
			open.Add(-1)
		default:
		}
	}
	r := runTCP(t, s)
	c := r.dial()
	c.get("/")
	for range 3 {
		<-closing
		if resp := c.get("/"); body(resp) != "hello" {
			t.Errorf("answered %v", resp.Status)
		}
	}
}

func TestParkedConnectionKeepsItsPrefacesAddress(t *testing.T) {
	r := prefaced(t, "tcp", &Server{HTTP: quiet(sayRemote), ParkAfter: parkSoon})
	c := r.dial()
	c.send(from)
	for range 3 {
		if got := body(c.get("/")); got != "192.0.2.7:99" {
			t.Errorf("remote address %v", got)
		}
		r.untilParked(1)
		if info := r.Conns()[0]; info.Remote != "192.0.2.7:99" || info.Local != c.RemoteAddr().String() {
			t.Errorf("%+v", info)
		}
	}
}

// Those whose readers fasthttp has set another deadline are woken again, however many wait
// for their places.
func TestParkingIsTriedAgainBesideOthers(t *testing.T) {
	const conns = 50
	r := runTCP(t, &Server{HTTP: quiet(hello), ParkAfter: time.Hour})
	for range conns {
		r.dial().get("/")
	}
	for r.Counts().Idle < conns {
		time.Sleep(time.Millisecond)
	}
	if !r.canPark() {
		t.Fatal("there is no poller")
	}
	r.parking.underWay.Add(maxParking) // these are not to be had
	defer r.parking.underWay.Add(-maxParking)
	stuck := 0
	r.conns.each(func(c *conn) bool {
		c.since.Store(-2 * int64(r.ParkAfter))
		if stuck++; stuck%2 == 0 { // as if its deadline had been set over
			fd, err := duplicate(c.Conn)
			if err != nil {
				t.Fatal(err)
			}
			c.parkFD = fd
			r.parking.underWay.Add(1)
			c.word.Store(c.word.Load()&^stateMask | uint64(stateParking))
		}
		return true
	})
	r.parkIdleConns()
	r.untilParked(conns / 2)
}

// Who is found too slow and is about to be cut is not parked: what is parked, a cut of
// the connection does not reach.
func TestSlowConnectionIsNotParked(t *testing.T) {
	r := runTCP(t, &Server{HTTP: quiet(hello), ParkAfter: time.Hour})
	r.dial().get("/")
	c := r.idleConn()
	c.word.Or(flagSlow)
	r.park(c)
	if n := r.parking.underWay.Load(); n != 0 || stateOf(c.word.Load()) != StateIdle {
		t.Errorf("%d are being parked", n)
	}
}

func TestParkedConnectionsCountForLimits(t *testing.T) {
	for code, limit := range map[int]func(h *fasthttp.Server){
		fasthttp.StatusServiceUnavailable: func(h *fasthttp.Server) { h.Concurrency = 1 },
		fasthttp.StatusTooManyRequests:    func(h *fasthttp.Server) { h.MaxConnsPerIP = 1 },
	} {
		h := quiet(hello)
		limit(h)
		r := runTCP(t, &Server{HTTP: h, ParkAfter: time.Millisecond})
		first := r.dial()
		for range 3 { // parked, and back, and parked
			first.get("/")
			r.untilParked(1)
		}
		wantRefused(t, r.dial().get("/"), code)
		_ = first.Close()
		r.waitTotal(0)
		if resp := r.dial().get("/"); resp.StatusCode != fasthttp.StatusOK {
			t.Errorf("after it had gone: %v", resp.Status)
		}
		if totals := r.Totals(); totals.Parked < 3 || totals.Unparked < 2 {
			t.Errorf("totals %+v", totals)
		}
	}
}

// A parked connection whose idle timeout is over during the drain has had no last call.
func TestParkedIdleTimeoutInTheDrain(t *testing.T) {
	h := quiet(hello)
	h.IdleTimeout = 100 * time.Millisecond
	r := runTCP(t, &Server{HTTP: h, ParkAfter: time.Millisecond, LastCall: UntilIdle})
	c := r.dial()
	c.get("/")
	r.untilParked(1)
	r.Drain()
	c.wantEOF()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
	if report := r.Report(); report.LastCalled != 0 || report.Open.Parked != 1 {
		t.Errorf("%d last-called, open %v", report.LastCalled, report.Open)
	}
}
