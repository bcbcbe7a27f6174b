package toolkit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
)

// watching is an Observer that keeps what it has seen.
type watching struct {
	mu   sync.Mutex // guards seen
	seen []string
}

func (w *watching) saw(what string, o Outcome) Outcome {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, fmt.Sprintf("%s %q %d %d", what, o.Route, o.Status, o.Size))
	return o
}

// last is what was seen last. It is there before the response is.
func (w *watching) last(t *testing.T) string {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) == 0 {
		t.Fatal("nothing was seen")
	}
	return w.seen[len(w.seen)-1]
}

func (w *watching) observer() Observer {
	return Observer{
		Native: func(ctx *fasthttp.RequestCtx, next func(*fasthttp.RequestCtx) Outcome) Outcome {
			return w.saw("native", next(ctx))
		},
		Net: func(rw http.ResponseWriter, r *http.Request, next func(http.ResponseWriter, *http.Request) Outcome) Outcome {
			return w.saw("net", next(rw, r))
		},
	}
}

// passing is an Observer that does nothing.
func passing() Observer {
	return Observer{
		Native: func(ctx *fasthttp.RequestCtx, next func(*fasthttp.RequestCtx) Outcome) Outcome { return next(ctx) },
		Net: func(w http.ResponseWriter, r *http.Request, next func(http.ResponseWriter, *http.Request) Outcome) Outcome {
			return next(w, r)
		},
	}
}

// stuck is a handler that outlasts any timeout of a test, until it is let go.
func stuck(release <-chan struct{}) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		for i := 0; ; i++ {
			select {
			case <-release:
				return
			default:
				ctx.SetUserValue(fmt.Sprint("k", i%1000), i) // which nobody may read now
			}
		}
	}
}

func TestObserver(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	mux := http.NewServeMux()
	mux.HandleFunc("GET example.com/books/{id}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.PathValue("id")) })
	mux.HandleFunc("GET /books/{id}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.PathValue("id")) })
	mux.HandleFunc("/created", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201) })
	mux.HandleFunc("/nothing", func(http.ResponseWriter, *http.Request) {})
	w := &watching{}
	r := run(t, loopback().
		Observe(w.observer()).
		Get("/hello/{name}", hello).
		Head("/hello/{name}", hello).
		Get("/stream", func(ctx *fasthttp.RequestCtx) { Stream(ctx, func(w *bufio.Writer) error { return nil }) }).
		Get("/panic", func(*fasthttp.RequestCtx) { panic("on purpose") }).
		Get("/late", fasthttp.TimeoutHandler(stuck(release), time.Millisecond, "too late")).
		NetHTTP("/net/{path:*}", http.HandlerFunc(legacy)).
		NetHTTP("/", mux))
	for _, tt := range []struct{ method, path, want string }{
		{"GET", "/hello/you", `native "/hello/{name}" 200 5`},
		{"HEAD", "/hello/you", `native "/hello/{name}" 200 0`},
		{"GET", "/stream", `native "/stream" 200 -1`},
		{"GET", "/panic", `native "/panic" 500 21`},
		{"GET", "/late", `native "/late" 408 8`},
		{"GET", "/net/abc", `net "/net/{path:*}" 200 25`},
		{"GET", "/books/1", `net "/books/{id}" 200 1`},
		{"HEAD", "/books/1", `net "/books/{id}" 200 0`},
		{"GET", "/created", `net "/created" 201 0`},
		{"GET", "/nothing", `net "/nothing" 200 0`},
		{"GET", "/elsewhere", `net "/" 404 19`},
		{"GET", "/hello/again", `native "/hello/{name}" 200 5`}, // by the http.Server
	} {
		c := r.dial()
		if tt.path == "/hello/again" {
			c.get("/nothing")
		}
		c.do(tt.method, tt.path)
		if got := w.last(t); got != tt.want {
			t.Errorf("%s %s: %s, want %s", tt.method, tt.path, got, tt.want)
		}
	}
}

// Requests that take no route are observed, those of probes are not.
func TestObserverWithoutRoute(t *testing.T) {
	w := &watching{}
	h := build(t, loopback().Observe(w.observer()).Probe("/probe", answer("probed")).Post("/post", hello)).Handler()
	for _, path := range []string{"/livez", "/probe"} {
		if got := got(call(h, "GET", path)); got[:3] != "200" {
			t.Error(path, got)
		}
	}
	if len(w.seen) != 0 {
		t.Errorf("probes: saw %q", w.seen)
	}
	call(h, "GET", "/unknown")
	call(h, "GET", "/post")
	want := []string{`native "" 404 9`, `native "" 405 18`}
	if !slices.Equal(w.seen, want) {
		t.Errorf("saw %q, want %q", w.seen, want)
	}
}

// A timeout around all routes runs the router itself in another goroutine.
func TestObserverKnowsRouteOfTimeoutAroundAll(t *testing.T) {
	release, w := make(chan struct{}), &watching{}
	defer close(release)
	timeout := func(next fasthttp.RequestHandler) fasthttp.RequestHandler {
		return fasthttp.TimeoutWithCodeHandler(next, 50*time.Millisecond, "late", 503)
	}
	r := run(t, loopback().Observe(w.observer()).Use(timeout).Get("/stuck/{x}", stuck(release)))
	if got := r.dial().get("/stuck/1").String(); got != "503 late" {
		t.Error(got)
	}
	if got := w.last(t); got != `native "/stuck/{x}" 503 4` {
		t.Error(got)
	}
}

func TestObserverNetPanic(t *testing.T) {
	w := &watching{}
	r := run(t, loopback().Observe(w.observer()).Observe(w.observer()).
		NetHTTP("/early", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("early") })).
		NetHTTP("/late", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(202)
			panic(http.ErrAbortHandler)
		})))
	for path, want := range map[string]string{"/early": `net "/early" 500 0`, "/late": `net "/late" 202 0`} {
		c := r.dial()
		c.send("GET " + path + " HTTP/1.1\r\nHost: t\r\n\r\n")
		c.wantEOF()
		if got := w.last(t); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if len(w.seen) != 4 {
		t.Errorf("two observers saw %q", w.seen)
	}
	if n := r.Panics(); n != 1 {
		t.Errorf("%d panics", n)
	}
}

// Observers are outside of what recovers a handler's panic, but not of all that does.
func TestObserverPanics(t *testing.T) {
	bad := Observer{
		Native: func(*fasthttp.RequestCtx, func(*fasthttp.RequestCtx) Outcome) Outcome { panic("bad observer") },
		Net: func(http.ResponseWriter, *http.Request, func(http.ResponseWriter, *http.Request) Outcome) Outcome {
			panic("bad observer")
		},
	}
	s := build(t, loopback().Observe(bad).Get("/", hello))
	if got := got(call(s.Handler(), "GET", "/")); got != "500 Internal Server Error" {
		t.Error(got)
	}
	if n := s.Panics(); n != 1 {
		t.Errorf("%d panics", n)
	}
}

// field is what an observer leaves for the log.
type field string

func (f field) MarshalZerologObject(e *zerolog.Event) { e.Str("trace", string(f)) }

func TestLogFields(t *testing.T) {
	var log logs
	leave := Observer{
		Native: func(ctx *fasthttp.RequestCtx, next func(*fasthttp.RequestCtx) Outcome) Outcome {
			ctx.SetUserValue(LogFields, field(ctx.Path()))
			return next(ctx)
		},
		Net: func(w http.ResponseWriter, r *http.Request, next func(http.ResponseWriter, *http.Request) Outcome) Outcome {
			return next(w, r.WithContext(context.WithValue(r.Context(), LogFields, field(r.URL.Path))))
		},
	}
	r := run(t, loopback().Logger(log.logger()).Observe(leave).
		Get("/native", func(ctx *fasthttp.RequestCtx) {
			own := Logger(ctx)
			own.Info().Msg("own")
			panic("native")
		}).
		NetHTTP("/net", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("net") })))
	r.dial().get("/native")
	c := r.dial()
	c.send("GET /net HTTP/1.1\r\nHost: t\r\n\r\n")
	c.wantEOF()
	if line := log.line(t, "own"); line["trace"] != "/native" {
		t.Error(line)
	}
	for _, msg := range []string{"request", "handler panicked"} {
		var traces []any
		for _, line := range log.lines(t, msg) {
			traces = append(traces, line["trace"])
		}
		if !slices.Equal(traces, []any{"/native", "/net"}) {
			t.Errorf("%s: %v", msg, traces)
		}
	}
}

// Panics count each line about one.
func TestPanics(t *testing.T) {
	var log logs
	r := run(t, loopback().Logger(log.logger()).
		Get("/", func(*fasthttp.RequestCtx) { panic("handler") }).
		ReadyCheck("bad", func(context.Context) error { panic("check") }).
		PreExit("bad", func(context.Context) error { panic("hook") }).
		PreExit("failed", func(context.Context) error { return errors.New("no panic") }))
	r.dial().get("/")
	r.dial().get("/readyz")
	r.Drain()
	if err := r.wait(); err == nil {
		t.Error("no error of hooks")
	}
	if n := r.Panics(); n != 3 {
		t.Errorf("%d panics", n)
	}
}
