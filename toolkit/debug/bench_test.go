package debug

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"
)

// many is how many connections the benchmarks are of.
const many = 100_000

// What one event costs: its time, what is allocated for it, and what is sent.
func BenchmarkEvent(b *testing.B) {
	v := &view{server: crowd(b, many).Server.Server}
	for _, query := range append(queries(), "limit=1000") {
		b.Run("query="+query, func(b *testing.B) {
			var args fasthttp.Args
			args.Parse(query)
			q, err := queryOf(&args)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				text, err := json.Marshal(v.snapshot(q, time.Now()))
				if err != nil {
					b.Fatal(err)
				}
				size = len(text)
			}
			b.ReportMetric(float64(size), "sent-B/op")
		})
	}
}

// queries are what a page may ask for: some filters, and each order.
func queries() []string {
	all := []string{"", "q=10.0", "q=nowhere", "state=active"}
	for _, name := range slices.Sorted(maps.Keys(orders)) {
		all = append(all, "sort="+name, "sort=-"+name)
	}
	return all
}

// crowd is a server with n idle connections, in memory.
func crowd(t testing.TB, n int) running {
	t.Helper()
	mem := fasthttputil.NewInmemoryListener()
	r := run(t, loopback(nil).Listener(&elsewhere{Listener: mem}).IdleTimeout(0).MaxConns(2*n).With(At("/debug", anyone)).
		Configure(func(h *fasthttp.Server) { h.ReduceMemoryUsage = true }))
	r.Memory = mem.Dial
	for range n {
		r.Dial().Ask("GET", "/hello", "")
	}
	for r.Counts().Idle < n {
		time.Sleep(time.Millisecond)
	}
	return r
}

// elsewhere has connections come from addresses as those of clients are.
type elsewhere struct {
	net.Listener
	n uint32
}

func (l *elsewhere) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	l.n++
	ip := binary.BigEndian.AppendUint32(nil, 10<<24+l.n*7919%(1<<24))
	return farConn{nc, &net.TCPAddr{IP: ip, Port: 1024 + int(l.n%60_000)}}, err
}

type farConn struct {
	net.Conn
	remote *net.TCPAddr
}

func (c farConn) RemoteAddr() net.Addr { return c.remote }
