package toolkit

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// The answer comes when the time is over, to the nanosecond, and the connection goes on.
func TestTimeout(t *testing.T) {
	l := &logs{}
	b := quiet().Logger(l.logger()).
		Use(Timeout(time.Second, "too slow")).
		Get("/quick", slow(time.Second-1)).
		Get("/slow", slow(time.Minute)).
		Head("/slow", slow(time.Minute))
	bubble(t, b, func(t *testing.T, r *running) {
		c := r.dial()
		for _, want := range []struct {
			method, path, reply string
			took                time.Duration
		}{
			{"GET", "/quick", "200 late", time.Second - 1},
			{"GET", "/slow", "503 too slow", time.Second},
			{"HEAD", "/slow", "503 ", time.Second},
			{"GET", "/quick", "200 late", time.Second - 1},
		} {
			began := time.Now()
			got := c.do(want.method, want.path, HeaderRequestID, "abc")
			if took := time.Since(began); got.String() != want.reply || took != want.took {
				t.Errorf("%s %s: %s after %v, want %s after %v", want.method, want.path, got, took, want.reply, want.took)
			}
			if id := got.Header.Get(HeaderRequestID); id != "abc" {
				t.Errorf("%s %s: request id %q", want.method, want.path, id)
			}
		}
		if c.r.Buffered() > 0 {
			t.Error("a HEAD was answered with a body")
		}
		if line := l.lines(t, "request")[1]; line["status"] != 503.0 || line["bytes"] != 8.0 || line["path"] != "/slow" {
			t.Errorf("access log: %v", line)
		}
	})
}

// The context ends with the time, and so does one that is asked for after that, though
// the connection is with another request then.
func TestTimeoutEndsTheClientContext(t *testing.T) {
	type seen struct {
		after, late time.Duration
		deadline    time.Duration
		err, lately error
	}
	var saw chan seen // made in the bubble, as others below
	handler := func(ctx *fasthttp.RequestCtx) {
		began := time.Now()
		c := ClientContext(ctx)
		deadline, _ := c.Deadline()
		<-c.Done()
		s := seen{after: time.Since(began), err: c.Err(), deadline: deadline.Sub(began)}
		time.Sleep(time.Second) // the other request runs
		<-ClientContext(ctx).Done()
		s.late, s.lately = time.Since(began), ClientContext(ctx).Err()
		saw <- s
	}
	var other chan error
	b := quiet().Use(Timeout(time.Second, "")).Get("/", handler).Get("/other", func(ctx *fasthttp.RequestCtx) {
		c := ClientContext(ctx)
		time.Sleep(time.Second - 1)
		other <- c.Err()
	})
	bubble(t, b, func(t *testing.T, r *running) {
		saw, other = make(chan seen, 1), make(chan error, 1)
		c := r.dial()
		if got := c.get("/"); got.StatusCode != 503 {
			t.Error(got)
		}
		if got := c.get("/other"); got.StatusCode != 200 {
			t.Error(got)
		}
		if err := <-other; err != nil {
			t.Errorf("the next request's context: %v", err)
		}
		want := seen{time.Second, 2 * time.Second, time.Second, context.DeadlineExceeded, context.DeadlineExceeded}
		if got := <-saw; got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}

// A handler that watches the server too late does not do so for the request that has the
// connection by then: the drain awaits that.
func TestTimeoutIsOverForWhoWatches(t *testing.T) {
	var g *gate
	var late chan (<-chan struct{})
	b := quiet().
		Get("/late", Timeout(time.Second, "")(func(ctx *fasthttp.RequestCtx) {
			time.Sleep(2 * time.Second)
			late <- FromRequest(ctx).Watch(ctx)
		})).
		Get("/other", func(ctx *fasthttp.RequestCtx) { g.handle(ctx) })
	bubble(t, b, func(t *testing.T, r *running) {
		g, late = newGate(), make(chan (<-chan struct{}), 1)
		c := r.dial()
		if got := c.get("/late"); got.StatusCode != 503 {
			t.Error(got)
		}
		c.send("GET /other HTTP/1.1\r\nHost: t\r\n\r\n")
		<-g.entered
		over := <-late
		if conns := r.Conns(); conns[0].Watches {
			t.Errorf("%+v", conns[0])
		}
		r.Drain()
		<-over // else the handler could wait for what waits for it
		g.release <- struct{}{}
		if got := c.reply("GET"); got.StatusCode != 200 {
			t.Error(got)
		}
	})
	once := quiet().Get("/in-time", Timeout(time.Second, "")(func(ctx *fasthttp.RequestCtx) { FromRequest(ctx).Watch(ctx) }))
	bubble(t, once, func(t *testing.T, r *running) {
		if got := r.dial().get("/in-time"); !got.Close {
			t.Error("who watches in time has another response behind it")
		}
	})
}

// Whether the handler that has seen its time end returns before it is given up on is
// chance, the answer is not.
func TestTimeoutWinsOverWhatIsAnsweredBecauseOfIt(t *testing.T) {
	b := quiet().Use(Timeout(time.Second, "too slow")).Get("/", func(ctx *fasthttp.RequestCtx) {
		<-ClientContext(ctx).Done()
		ctx.Error("deadline exceeded", fasthttp.StatusInternalServerError)
	})
	bubble(t, b, func(t *testing.T, r *running) {
		c := r.dial()
		for range 100 {
			if got := c.get("/"); got.String() != "503 too slow" {
				t.Fatal(got)
			}
		}
	})
}

// A request that is answered in time ends its context, too.
func TestTimeoutEndsTheContextOfWhoIsInTime(t *testing.T) {
	var contexts chan context.Context
	b := quiet().Use(Timeout(time.Hour, "")).Get("/", func(ctx *fasthttp.RequestCtx) { contexts <- ClientContext(ctx) })
	bubble(t, b, func(t *testing.T, r *running) {
		contexts = make(chan context.Context, 1)
		r.dial().get("/")
		c := <-contexts
		<-c.Done()
		if !errors.Is(c.Err(), context.Canceled) {
			t.Error(c.Err())
		}
	})
}

// The inner one counts, whichever is shorter.
func TestTimeoutInTimeout(t *testing.T) {
	b := quiet().Use(Timeout(time.Second, "outer")).
		Get("/", slow(time.Hour)).
		Group("/long", func(g *Group) {
			g.Use(Timeout(time.Minute, "longer"))
			g.Get("/in", slow(time.Minute-1))
			g.Get("/out", slow(time.Hour))
		}).
		Group("/short", func(g *Group) {
			g.Use(Timeout(time.Millisecond, "shorter"))
			g.Get("/", slow(time.Hour))
		})
	bubble(t, b, func(t *testing.T, r *running) {
		c := r.dial()
		for _, want := range []struct {
			path, reply string
			took        time.Duration
		}{
			{"/", "503 outer", time.Second},
			{"/long/in", "200 late", time.Minute - 1},
			{"/long/out", "503 longer", time.Minute},
			{"/short/", "503 shorter", time.Millisecond},
		} {
			began := time.Now()
			if got := c.get(want.path); got.String() != want.reply || time.Since(began) != want.took {
				t.Errorf("%s: %s after %v", want.path, got, time.Since(began))
			}
		}
	})
}

// The drain waits for a handler that was given up on, and says for which one.
func TestTimeoutIsDrained(t *testing.T) {
	b := quiet().DrainTimeout(time.Hour).Use(Timeout(time.Second, "")).Get("/job", slow(time.Minute))
	bubble(t, b, func(t *testing.T, r *running) {
		began := time.Now()
		r.dial().get("/job")
		r.finish()
		if took := time.Since(began); took != time.Minute {
			t.Errorf("drained after %v", took)
		}
	})
	b = quiet().DrainTimeout(time.Second).AbortTimeout(0).Use(Timeout(time.Second, "")).Get("/job", slow(time.Minute))
	bubble(t, b, func(t *testing.T, r *running) {
		r.dial().get("/job")
		r.Drain()
		if err := r.wait(); !errors.Is(err, lifecycle.ErrDrainTimeout) {
			t.Error(err)
		}
		if work := r.Report().Work; len(work) != 1 || work[0] != "abandoned GET /job" {
			t.Errorf("left: %q", work)
		}
	})
}

func TestTimeoutCatchesPanics(t *testing.T) {
	l := &logs{}
	b := quiet().Logger(l.logger()).Use(Timeout(time.Second, "too slow")).
		Get("/now", func(*fasthttp.RequestCtx) { panic("now") }).
		Get("/later", func(*fasthttp.RequestCtx) {
			time.Sleep(10 * time.Second)
			panic("later")
		})
	bubble(t, b, func(t *testing.T, r *running) {
		c := r.dial()
		if got := c.get("/now"); got.StatusCode != 500 {
			t.Error(got)
		}
		if got := c.get("/later"); got.StatusCode != 503 {
			t.Error(got)
		}
		r.finish()
		if lines := l.lines(t, "handler panicked"); len(lines) != 2 || lines[1]["panic"] != "later" {
			t.Error(lines)
		}
	})
}

// closer is a value of a request that wants to be closed, once.
type closer struct{ n *atomic.Int32 }

func (c closer) Close() error {
	c.n.Add(1)
	panic("which is logged")
}

// What a handler that was given up on leaves behind is closed: the writer of a stream ends,
// else the bubble tells of a goroutine.
func TestTimeoutClosesWhatIsLeft(t *testing.T) {
	l := &logs{}
	closed := new(atomic.Int32)
	var wrote chan error
	b := quiet().Logger(l.logger()).Use(Timeout(time.Second, "")).Get("/", func(ctx *fasthttp.RequestCtx) {
		time.Sleep(time.Minute)
		ctx.SetUserValue("closer", closer{closed})
		Stream(ctx, func(w *bufio.Writer) error {
			_, err := w.WriteString(strings.Repeat("x", 1<<20))
			wrote <- err
			return err
		})
	})
	bubble(t, b, func(t *testing.T, r *running) {
		wrote = make(chan error, 1)
		r.dial().get("/")
		if err := <-wrote; err == nil {
			t.Error("the stream was written, for nobody")
		}
		synctest.Wait()
		if n := closed.Load(); n != 1 {
			t.Errorf("closed %d times", n)
		}
		l.line(t, "panic after or beside a handler")
	})
}

// A thousand that hang are enough.
func TestTimeoutBoundsTheAbandoned(t *testing.T) {
	b := quiet().Use(Timeout(time.Second, "too slow")).Get("/", slow(time.Hour))
	bubble(t, b, func(t *testing.T, r *running) {
		replies := make(chan string, maxAbandoned)
		for range maxAbandoned {
			go func() { replies <- r.dial().get("/").String() }()
		}
		for range maxAbandoned {
			if got := <-replies; got != "503 too slow" {
				t.Fatal(got)
			}
		}
		began := time.Now()
		c := r.dial()
		got := c.get("/")
		if got.String() != "503 too slow" || time.Since(began) != 0 || got.Header.Get("Retry-After") != "1" {
			t.Errorf("%v after %v: %v", got, time.Since(began), got.Header)
		}
		time.Sleep(time.Hour)
		if r.dial().get("/"); time.Since(began) != time.Hour+time.Second {
			t.Error("refused, though they have ended")
		}
	})
}

// A handler that reads its body when its time is over reads that, not what its connection
// brings after it.
func TestTimeoutWithStreamedBody(t *testing.T) {
	answered, read := make(chan struct{}), make(chan string, 1)
	b := loopback().StreamRequestBody(true).Use(Timeout(20*time.Millisecond, "too slow")).Post("/", func(ctx *fasthttp.RequestCtx) {
		<-answered
		body, err := io.ReadAll(ctx.RequestBodyStream())
		if err != nil {
			read <- err.Error()
			return
		}
		read <- string(body)
	})
	r := run(t, b)
	c := r.dial()
	c.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbodyGET / HTTP/1.1\r\nHost: t\r\n\r\n")
	if got := c.reply("POST"); got.String() != "503 too slow" || !got.Close {
		t.Errorf("%v, close %v", got, got.Close)
	}
	c.wantEOF()
	close(answered)
	if got := <-read; got != "body" {
		t.Errorf("read %q", got)
	}
	r.finish()
}

// In and out of time at once, beside others and with all middleware around it: for the race
// detector.
func TestTimeoutRaces(t *testing.T) {
	b := loopback().
		Use(CORS(CORSOptions{Origins: []string{"*"}}), SecurityHeaders(nil), Compress(), ETag(), Timeout(time.Millisecond, "too slow")).
		Get("/", func(ctx *fasthttp.RequestCtx) {
			c := ClientContext(ctx)
			select {
			case <-c.Done():
			case <-time.After(time.Millisecond):
			}
			ctx.SetUserValue("k", "v")
			ctx.Request.Header.Set("Accept-Encoding", "br")
			ctx.SetBodyString(strings.Repeat("body", 1000))
		})
	r := run(t, b)
	done := make(chan struct{})
	for range 8 {
		go func() {
			defer func() { done <- struct{}{} }()
			c := r.dial()
			for range 30 { // what eight clients do in seconds where there is a tenth of a CPU
				got := c.get("/", "Accept-Encoding", "gzip", "Origin", "https://a.example")
				if got.StatusCode != 200 && got.String() != "503 too slow" || got.Header.Get("Access-Control-Allow-Origin") != "*" ||
					got.Header.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%v: %v", got.StatusCode, got.Header)
				}
			}
		}()
	}
	for range 8 {
		<-done
	}
	r.finish()
}
