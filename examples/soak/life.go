//go:build linux

package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/internal/testcert"
	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/lifecycle/rehearsal"
	"github.com/lastcall-go/lastcall/toolkit"
)

// life is one life of the server.
type life struct {
	server *toolkit.Server
	tls    bool

	called  atomic.Int64 // requests of rehearsal's clients that a handler has run for
	faulted atomic.Int64 // those of ours

	faultsOnce sync.Once
	over       chan struct{} // closed when the shutdown begins
	shutdown   time.Time     // when it began; constant once over is closed
	clients    sync.WaitGroup
	starving   sync.WaitGroup
	answered   atomic.Int64 // requests of our clients
	abandoned  atomic.Int64

	mu      sync.Mutex // guards what follows
	lost    []string   // requests of our clients
	moments []moment   // without descriptors
	sum     tally
}

type moment struct{ from, to time.Time }

func newLife(random *rand.Rand) *life {
	l := &life{over: make(chan struct{}), tls: random.IntN(4) == 0}
	b := toolkit.New().
		Logger(zerolog.Nop()).
		Addr("127.0.0.1:0").
		ParkAfter(10*time.Millisecond).
		ReadHeaderTimeout(2*time.Second). // what a client with half a request adds to the drain
		Post("/call", l.call).
		Post("/hold", l.hold).
		Get("/stream", l.stream).
		Get("/ws", echoMessages).
		Post("/fault", l.fault).
		Get("/large", l.large).
		Configure(func(h *fasthttp.Server) { h.MaxIdleWorkerDuration = 100 * time.Millisecond }) // goroutines that are left say nothing
	if l.tls {
		// In a handshake the first request of a connection counts for nothing: see
		// line 5 of the drain's contract.
		b.TLSConfig(serverTLS()).LastCall(750 * time.Millisecond)
	}
	var err error
	if l.server, err = b.Build(); err != nil {
		panic(err)
	}
	return l
}

// plan is a random mix of clients.
func (l *life) plan(random *rand.Rand) rehearsal.Plan {
	start := rehearsal.Server(func() *lifecycle.Server { return l.server.Server })
	p := rehearsal.Plan{
		Start: func() (*rehearsal.Target, error) {
			target, err := start()
			if err != nil {
				return nil, err
			}
			shutdown := target.Shutdown
			target.Shutdown = func() error {
				l.shutdown = time.Now()
				close(l.over)
				l.faultsOnce.Do(func() {}) // whatever was to begin has begun
				l.starving.Wait()
				l.sum.parked = l.server.Counts().Parked
				return shutdown()
			}
			return target, nil
		},
		After:   200 * time.Millisecond,
		Jitter:  1500 * time.Millisecond,
		Timeout: 10 * time.Second,
	}
	if l.tls {
		p.TLS = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // our own, on loopback
	}
	some := func(kind rehearsal.Kind, count int, path string, body int) {
		c := rehearsal.Clients{Kind: kind, Count: 1 + random.IntN(count), Path: path}
		// Half of the pauses are too short for parking, or there is a race for it.
		c.Pause = time.Duration(random.IntN(50)) * time.Millisecond
		if body > 0 {
			c.Body = random.IntN(body)
		}
		p.Clients = append(p.Clients, c)
	}
	maybe := func(kind rehearsal.Kind, count int, path string, body int) {
		if random.IntN(2) == 0 {
			some(kind, count, path, body)
		}
	}
	some(rehearsal.KeepAlive, 32, "/call", 4<<10)
	maybe(rehearsal.Segmented, 16, "/call", 128<<10)
	maybe(rehearsal.Pipelined, 8, "/call", 512)
	maybe(rehearsal.Fresh, 8, "/call", 4<<10)
	maybe(rehearsal.Silent, 8, "", 0)
	maybe(rehearsal.Idle, 64, "/hold", 100)
	maybe(rehearsal.Streaming, 8, "/stream", 0)
	maybe(rehearsal.WebSocket, 8, "/ws", 1000)
	if random.IntN(4) == 0 {
		some(rehearsal.Half, 4, "/hold", 0)
	}
	return p
}

// end waits for our clients.
func (l *life) end() {
	select {
	case <-l.over:
	default:
		close(l.over) // the server has not started
	}
	l.clients.Wait()
	l.starving.Wait()
	l.sum.starved = int64(len(l.moments))
}

// call echoes. Its first request says that all who hold something are in position:
// from then on there are faults.
func (l *life) call(ctx *fasthttp.RequestCtx) {
	l.called.Add(1)
	l.faultsOnce.Do(l.beginFaults)
	ctx.SetBody(ctx.PostBody())
}

// hold echoes too.
func (l *life) hold(ctx *fasthttp.RequestCtx) {
	l.called.Add(1)
	ctx.SetBody(ctx.PostBody())
}

// stream sends some chunks, with pauses.
func (l *life) stream(ctx *fasthttp.RequestCtx) {
	l.called.Add(1)
	ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
		for i := range 5 {
			fmt.Fprintf(w, "chunk %d\n", i)
			if w.Flush() != nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}

// fault takes its time, unless its client goes.
func (l *life) fault(ctx *fasthttp.RequestCtx) {
	l.faulted.Add(1)
	select {
	case <-toolkit.ClientContext(ctx).Done():
	case <-time.After(3 * time.Millisecond):
	}
	ctx.SetBody(ctx.PostBody())
}

// large is more than the socket's buffers take.
func (l *life) large(ctx *fasthttp.RequestCtx) {
	l.faulted.Add(1)
	ctx.SetBody(make([]byte, largeSize))
}

const largeSize = 8 << 20

var upgrader websocket.FastHTTPUpgrader

// echoMessages echoes until the server drains, or the client is done.
func echoMessages(ctx *fasthttp.RequestCtx) {
	draining := toolkit.FromRequest(ctx).Draining()
	_ = upgrader.Upgrade(ctx, func(c *websocket.Conn) { // what fails, it answers
		over := make(chan struct{})
		var farewell sync.WaitGroup
		defer farewell.Wait() // the connection must not be used after the handler
		defer close(over)
		farewell.Go(func() {
			select {
			case <-draining:
				text := websocket.FormatCloseMessage(websocket.CloseGoingAway, "")
				_ = c.WriteControl(websocket.CloseMessage, text, time.Now().Add(time.Second))
				_ = c.SetReadDeadline(time.Now().Add(time.Second))
			case <-over:
			}
		})
		for {
			kind, message, err := c.ReadMessage()
			if err != nil || c.WriteMessage(kind, message) != nil {
				return
			}
		}
	})
}

var serverTLS = sync.OnceValue(func() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{testcert.New()}, MinVersion: tls.VersionTLS12}
})
