package toolkit

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// tally counts by name.
type tally struct {
	mu     sync.Mutex // guards counts
	counts map[string]int
}

func newTally() *tally { return &tally{counts: map[string]int{}} }

func (t *tally) add(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[name]++
}

func (t *tally) total() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.counts)
}

// load is what clients ask for, each time for another path, and which of it they
// got an answer to.
type load struct {
	r        *running
	last     atomic.Int64
	answered *tally
}

// path is a new one. Of some, the handler panics or streams.
func (l *load) path() string {
	n := l.last.Add(1)
	route := "/plain/"
	switch {
	case n%7 == 0:
		route = "/panic/"
	case n%5 == 0:
		route = "/stream/"
	}
	return route + strconv.FormatInt(n, 10)
}

// call sends a number of requests at once on a new connection, over and over until
// it is told to close or sees its end, at most times times. It reports whether
// there was anybody to call.
func (l *load) call(depth, times int) bool {
	addr := l.r.ListenAddrs()[0]
	nc, err := net.DialTimeout(addr.Network(), addr.String(), 200*time.Millisecond) // a refused SYN is sent again after 1 s
	if err != nil {
		return false
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReader(nc)
	for range times {
		paths := make([]string, depth)
		var text strings.Builder
		for i := range paths {
			paths[i] = l.path()
			text.WriteString("GET " + paths[i] + " HTTP/1.1\r\nHost: t\r\n\r\n")
		}
		if _, err := io.WriteString(nc, text.String()); err != nil {
			return true
		}
		for _, path := range paths {
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				return true
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				return true
			}
			l.answered.add(path)
			if resp.Close {
				return true
			}
		}
	}
	return true
}

// However a server is ended in the midst of its work, its access log has a line for
// each request whose handler ran, and no more: and by the time that Run returns,
// if all could be served.
func TestAccessLogWhileTheServerEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		rounds int
		end    func(*running)
		err    error
	}{
		"drained": {5, func(r *running) { r.Drain() }, nil},
		"closed":  {3, func(r *running) { _ = r.Close() }, lifecycle.ErrForced},
	} {
		t.Run(name, func(t *testing.T) {
			for range tt.rounds {
				var log logs
				ran := newTally()
				count := func(h fasthttp.RequestHandler) fasthttp.RequestHandler {
					return func(ctx *fasthttp.RequestCtx) {
						ran.add(string(ctx.Path()))
						h(ctx)
					}
				}
				r := run(t, loopback().Logger(log.logger()).LastCall(lifecycle.DefaultLastCall).
					Get("/plain/{id}", count(hello)).
					Get("/panic/{id}", count(func(*fasthttp.RequestCtx) { panic("on purpose") })).
					Get("/stream/{id}", count(func(ctx *fasthttp.RequestCtx) {
						ctx.SetBodyStreamWriter(func(w *bufio.Writer) { _, _ = io.WriteString(w, "streamed") })
					})))
				l := &load{r: r, answered: newTally()}
				var clients sync.WaitGroup
				for range 6 {
					clients.Go(func() { l.call(1, 1<<30) }) // keeps its connection
					clients.Go(func() { l.call(8, 1<<30) }) // pipelines
					clients.Go(func() {                     // connects for each
						for l.call(1, 1) {
						}
					})
				}
				for l.answered.total() < 300 {
					time.Sleep(time.Millisecond)
				}
				tt.end(r)
				if err := r.wait(); !errors.Is(err, tt.err) {
					t.Error(err)
				}
				for tt.err != nil && r.Counts().Total() > 0 { // handlers that were cut are not awaited
					time.Sleep(time.Millisecond)
				}
				logged := newTally()
				for _, line := range log.lines(t, "request") {
					logged.add(line["path"].(string))
				}
				clients.Wait()
				for path, n := range ran.counts {
					if n != 1 || logged.counts[path] != 1 {
						t.Errorf("%s ran %d times, and was logged %d times", path, n, logged.counts[path])
					}
				}
				for path := range logged.counts {
					if ran.counts[path] != 1 {
						t.Errorf("%s was logged, and ran %d times", path, ran.counts[path])
					}
				}
				if tt.err == nil && !maps.Equal(l.answered.counts, ran.counts) {
					t.Errorf("%d handlers ran, %d answers came", ran.total(), l.answered.total())
				}
				if n := len(log.lines(t, "handler panicked")); n == 0 || n >= logged.total() {
					t.Errorf("%d of %d handlers panicked", n, logged.total())
				}
			}
		})
	}
}
