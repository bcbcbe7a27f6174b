//go:build !race

package lifecycle

import (
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"
)

// keepAlive is a client that allocates nothing: one connection, one request,
// one buffer.
type keepAlive struct {
	net.Conn
	buf [1024]byte
}

func dialKeepAlive(tb testing.TB, ln *fasthttputil.InmemoryListener) *keepAlive {
	tb.Helper()
	nc, err := ln.Dial()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = nc.Close() })
	return &keepAlive{Conn: nc}
}

var requestBytes = []byte(request)

func (k *keepAlive) exchange() {
	if _, err := k.Write(requestBytes); err != nil {
		panic(err)
	}
	if n, err := k.Read(k.buf[:]); n == 0 || err != nil {
		panic(err)
	}
}

// bare serves h without a lifecycle.
func bare(tb testing.TB, h *fasthttp.Server) *fasthttputil.InmemoryListener {
	tb.Helper()
	ln := fasthttputil.NewInmemoryListener()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = h.Serve(ln)
	}()
	tb.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return ln
}

func TestRequestsAllocateNothing(t *testing.T) {
	for name, ln := range map[string]*fasthttputil.InmemoryListener{
		"bare":      bare(t, quiet(hello)),
		"lifecycle": runMem(t, &Server{HTTP: quiet(hello)}).mem,
	} {
		c := dialKeepAlive(t, ln)
		if n := testing.AllocsPerRun(1000, c.exchange); n != 0 {
			t.Errorf("%s: %v allocations a request", name, n)
		}
	}
}

func BenchmarkRequest(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		c := dialKeepAlive(b, bare(b, quiet(hello)))
		b.ReportAllocs()
		for b.Loop() {
			c.exchange()
		}
	})
	b.Run("lifecycle", func(b *testing.B) {
		c := dialKeepAlive(b, runMem(b, &Server{HTTP: quiet(hello)}).mem)
		b.ReportAllocs()
		for b.Loop() {
			c.exchange()
		}
	})
}

// BenchmarkState is what the table costs a request of a pipeline: the look-ups and
// transitions of its life. One that is not pipelined reads the clock twice more,
// which cannot be had here, as it would be slower than what separates the two.
func BenchmarkState(b *testing.B) {
	s := &Server{HTTP: quiet(hello)}
	s.init()
	s.takeLimits()
	nc, other := net.Pipe()
	b.Cleanup(func() { _, _ = nc.Close(), other.Close() })
	s.addConn(nc, nil, false)
	for range 1000 {
		nc, _ := net.Pipe()
		s.addConn(nc, nil, false)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.setConnState(nc, fasthttp.StateActive)
		s.setConnState(nc, fasthttp.StateIdle)
	}
}

// BenchmarkClientContext is what it costs a request to watch its client, beside one
// that does not, over loopback.
func BenchmarkClientContext(b *testing.B) {
	for _, name := range []string{"unwatched", "context", "watched"} {
		b.Run(name, func(b *testing.B) {
			s := &Server{}
			s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
				switch name {
				case "context":
					_ = s.ClientContext(ctx).Err()
				case "watched":
					_ = s.ClientContext(ctx).Done()
				}
				ctx.SetBodyString("hello")
			})
			c := &keepAlive{Conn: runTCP(b, s).dialRaw()}
			_ = c.SetDeadline(time.Time{})
			b.ReportAllocs()
			for b.Loop() {
				c.exchange()
			}
		})
	}
}

// BenchmarkClientGone is the time from a client's close to the end of its context.
func BenchmarkClientGone(b *testing.B) {
	s := &Server{}
	entered, ended := make(chan struct{}), make(chan struct{})
	s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
		done := s.ClientContext(ctx).Done()
		entered <- struct{}{}
		<-done
		ended <- struct{}{}
	})
	r := runTCP(b, s)
	var took []time.Duration
	for b.Loop() {
		nc := r.dialRaw()
		if _, err := io.WriteString(nc, request); err != nil {
			b.Fatal(err)
		}
		<-entered
		began := time.Now()
		_ = nc.Close()
		<-ended
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "median-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
}

// BenchmarkUnpark is a request on a parked connection, beside one on an idle one that
// has rested as long.
func BenchmarkUnpark(b *testing.B) {
	for name, parkAfter := range map[string]time.Duration{"idle": 0, "parked": time.Millisecond} {
		b.Run(name, func(b *testing.B) {
			r := runTCP(b, &Server{HTTP: quiet(hello), ParkAfter: parkAfter})
			c := &keepAlive{Conn: r.dialRaw()}
			_ = c.SetDeadline(time.Time{})
			c.exchange()
			var took []time.Duration
			for b.Loop() {
				time.Sleep(5 * time.Millisecond)
				began := time.Now()
				c.exchange()
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "median-us")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
		})
	}
}
