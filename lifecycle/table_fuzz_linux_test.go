package lifecycle

import (
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"
)

// modelConn is what the model knows of a connection.
type modelConn struct {
	nc, peer net.Conn
	state    ConnState // with those that the public does not see
	requests uint64
	refused  bool
}

const modelLimit = 4 // of connections that are not refused

// FuzzTable drives the table by a random history of what its connections, fasthttp, the
// drain and parking do, on real sockets, against a model in plain words. An upper half
// of a byte says what, the lower one with which connection.
func FuzzTable(f *testing.F) {
	const accept, request, answer, hijack, closes, park, end, dropParked = 0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70
	f.Add([]byte{accept, request, answer, request, answer, closes})
	f.Add([]byte{accept, request, hijack, closes})
	f.Add([]byte{accept, request, answer, park, closes, dropParked, accept})
	f.Add([]byte{accept, request, answer, park, request, answer, park, end, closes})
	f.Add([]byte{accept, accept | 1, accept | 2, accept | 3, accept | 4, request | 4, closes | 4, closes, accept | 4, request | 4})
	f.Add([]byte{accept, end, request, closes, accept | 1, accept | 2, accept | 3, accept | 4, accept | 5, end | 5, closes | 5})
	f.Fuzz(func(t *testing.T, history []byte) {
		h := quiet(hello)
		h.Concurrency = modelLimit
		s := &Server{HTTP: h, ParkAfter: time.Hour}
		s.init()
		s.takeLimits()
		if !s.canPark() {
			t.Fatal("nothing can be parked")
		}
		defer s.parking.loops.Wait()
		defer func() { s.parking.poller.close() }()
		defer s.cutParked()

		conns := make([]*modelConn, 16)
		parked, accepted := 0, uint64(0)
		var peers []net.Conn
		defer func() {
			for _, peer := range peers {
				_ = peer.Close()
			}
			for _, m := range conns {
				if m != nil {
					_ = m.nc.Close()
				}
			}
		}()
		for _, b := range history[:min(len(history), 200)] {
			i := int(b & 0x0f)
			m := conns[i]
			switch op := b & 0xf0; {
			case op == dropParked:
				s.endParkedConns(s.idleSince)
				parked = 0
			case op == accept && m == nil:
				m = &modelConn{}
				m.nc, m.peer = socketPair(t)
				peers = append(peers, m.peer)
				if m.refused = admittedOf(conns)+parked == modelLimit; m.refused {
					m.state = stateRefused
				} else {
					accepted++
				}
				if !s.addConn(m.nc, nil, false) {
					t.Fatal("not even refused")
				}
				conns[i] = m
			case m == nil:
			case op == request:
				s.setConnState(m.nc, fasthttp.StateActive)
				switch m.state {
				case StateNew, StateIdle, StateActive, StateHijacked, stateParking:
					m.state, m.requests = StateActive, m.requests+1
				default:
				}
			case op == answer && m.state == StateActive:
				s.setConnState(m.nc, fasthttp.StateIdle)
				m.state = StateIdle
			case op == hijack && m.state == StateActive:
				s.conns.get(m.nc).to(StateHijacked, s.now()) // as trackHijack does
				m.state = StateHijacked
			case op == closes:
				s.setConnState(m.nc, fasthttp.StateClosed)
				_ = m.nc.Close()
				if m.state == stateParking {
					parked++
				}
				conns[i] = nil
			case op == park:
				s.park(s.conns.get(m.nc))
				if m.state == StateIdle {
					m.state = stateParking
				}
			case op == end:
				s.end(s.conns.get(m.nc))
				switch m.state {
				case StateNew, StateIdle, stateParking:
					m.state = stateEnding
				case stateRefused:
					if !isClosed(m.nc) {
						m.state = stateEnding
					}
				default:
				}
			}
			compare(t, s, conns, parked, accepted)
		}
	})
}

func admittedOf(conns []*modelConn) (n int) {
	for _, m := range conns {
		if m != nil && !m.refused {
			n++
		}
	}
	return n
}

// compare wants what the server says of itself to be what the model knows.
func compare(t *testing.T, s *Server, conns []*modelConn, parked int, accepted uint64) {
	t.Helper()
	want, all, parking := Counts{Parked: parked}, parked, int64(0)
	for i, m := range conns {
		if m == nil {
			continue
		}
		all++
		c := s.conns.get(m.nc)
		if c == nil || c.Conn != m.nc {
			t.Fatalf("connection %d is not in the table", i)
		}
		word := c.word.Load()
		if stateOf(word) != m.state || word/oneRequest != m.requests || (c.refused != admitted) != m.refused {
			t.Fatalf("connection %d: word %#x, refused %v; want state %d, %d requests, %v", i, word, c.refused, m.state, m.requests, m.refused)
		}
		switch c.state() {
		case StateNew:
			want.New++
		case StateActive:
			want.Active++
		case StateIdle:
			want.Idle++
		default:
			want.Hijacked++
		}
		if m.state == stateParking {
			parking++
		}
	}
	if got := s.Counts(); got != want || got.Total() != all || len(s.Conns()) != all {
		t.Fatalf("counts %v, %d in the snapshot; want %v", got, len(s.Conns()), want)
	}
	if n := s.parking.underWay.Load(); n != parking {
		t.Fatalf("%d connections are being parked; want %d", n, parking)
	}
	if n := s.limits.admitted.Load(); n != int64(admittedOf(conns)+parked) || s.Totals().Accepted != accepted {
		t.Fatalf("%d counted, %d accepted; want %d, %d", n, s.Totals().Accepted, admittedOf(conns)+parked, accepted)
	}
	ids := map[uint64]bool{}
	for _, info := range s.Conns() {
		ids[info.ID] = true
	}
	if len(ids) != all {
		t.Fatalf("%d ids of %d connections", len(ids), all)
	}
}

// idleSince is an end of all last calls.
func (s *Server) idleSince(since time.Duration) time.Duration { return since }

// socketPair returns both ends of a connection.
func socketPair(t *testing.T) (nc, peer net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends []net.Conn
	for fd := range slices.Values(fds[:]) {
		f := os.NewFile(uintptr(fd), "")
		c, err := net.FileConn(f)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, c)
	}
	return ends[0], ends[1]
}
