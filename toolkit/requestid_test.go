package toolkit

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

func idOf(ctx *fasthttp.RequestCtx) string {
	return string(ctx.Response.Header.Peek(HeaderRequestID))
}

func TestSaneRequestIDIsKept(t *testing.T) {
	h := build(t, loopback().Get("/", func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString(RequestID(ctx)) })).Handler()
	for _, id := range []string{
		"x", "0e6a1f3c-98f4-4b5e-8a49-5b0d7f0f7b1c", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "YWJj+/==",
		"Root=1-67891233:abcdef@~_.", strings.Repeat("a", maxRequestID),
	} {
		ctx := call(h, "GET", "/", "x-request-id", id)
		if inside := string(ctx.Response.Body()); idOf(ctx) != id || inside != id {
			t.Errorf("%q became %q, inside %q", id, idOf(ctx), inside)
		}
	}
}

func TestInsaneRequestIDIsReplaced(t *testing.T) {
	h := build(t, loopback().Get("/", func(ctx *fasthttp.RequestCtx) {
		for _, id := range ctx.Request.Header.PeekAll(HeaderRequestID) {
			ctx.Response.AppendBodyString(string(id) + " ")
		}
	})).Handler()
	for name, ids := range map[string][]string{
		"none":               {},
		"empty":              {""},
		"too long":           {strings.Repeat("a", maxRequestID+1)},
		"control byte":       {"a\x01b"},
		"tab":                {"a\tb"},
		"delete":             {"a\x7f"},
		"line break":         {"a\r\nSet-Cookie: x=y"},
		"space":              {"a b"},
		"quote":              {`a","level":"debug`},
		"not ASCII":          {"ä"},
		"not UTF-8":          {"\xff"},
		"first of two empty": {"", "b"},
		"two":                {"a", "b"},
		"the same twice":     {"a", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			var headers []string
			for _, id := range ids {
				headers = append(headers, HeaderRequestID, id)
			}
			ctx := call(h, "GET", "/", headers...)
			if id := idOf(ctx); len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
				t.Errorf("response has %q, not an id of ours", id)
			}
			if inside := string(ctx.Response.Body()); inside != idOf(ctx)+" " {
				t.Errorf("request has %q, response %q", inside, idOf(ctx))
			}
		})
	}
}

func TestRequestIDsAreDistinct(t *testing.T) {
	h := build(t, loopback().Get("/", hello)).Handler()
	seen := map[string]bool{}
	for range 1000 {
		id := idOf(call(h, "GET", "/"))
		if seen[id] {
			t.Fatalf("%s twice", id)
		}
		seen[id] = true
	}
}

// Whatever a handler does to request and response, both the client and the log
// learn the same id.
func TestRequestIDSurvivesTheHandler(t *testing.T) {
	for name, tt := range map[string]struct {
		handler fasthttp.RequestHandler
		changed bool // to another id, of the handler's choice
	}{
		"ctx.Error":      {handler: func(ctx *fasthttp.RequestCtx) { ctx.Error("no", 418) }},
		"Response.Reset": {handler: func(ctx *fasthttp.RequestCtx) { ctx.Response.Reset() }},
		"Redirect":       {handler: func(ctx *fasthttp.RequestCtx) { ctx.Redirect("/there", 302) }},
		"own header":     {handler: func(ctx *fasthttp.RequestCtx) { ctx.Response.Header.Set(HeaderRequestID, "of a server behind") }},
		"deleted":        {handler: func(ctx *fasthttp.RequestCtx) { ctx.Request.Header.Del(HeaderRequestID) }},
		"deleted, reused": {handler: func(ctx *fasthttp.RequestCtx) {
			ctx.Request.Header.Del(HeaderRequestID)
			ctx.Request.Header.Set("Authorization", "secret")
		}},
		"Request.Reset": {handler: func(ctx *fasthttp.RequestCtx) { ctx.Request.Reset() }},
		"changed":       {handler: func(ctx *fasthttp.RequestCtx) { ctx.Request.Header.Set(HeaderRequestID, "other") }, changed: true},
	} {
		t.Run(name, func(t *testing.T) {
			var log logs
			h := build(t, loopback().Logger(log.logger()).Get("/", tt.handler)).Handler()
			const sent = "0123456789abcdef"
			ctx := call(h, "GET", "/", HeaderRequestID, sent)
			logged := log.line(t, "request")["request_id"]
			if logged != idOf(ctx) {
				t.Errorf("response has %q, log %q", idOf(ctx), logged)
			}
			if id := idOf(ctx); id != sent && (!tt.changed || id != "other") {
				t.Errorf("response has %q", id)
			}
		})
	}
}

func TestRequestIDIsOnEveryKindOfResponse(t *testing.T) {
	var log logs
	r := run(t, loopback().Logger(log.logger()).
		Get("/ok", hello).
		Get("/panic", func(*fasthttp.RequestCtx) { panic("on purpose") }).
		Get("/logs", func(ctx *fasthttp.RequestCtx) {
			l := Logger(ctx)
			l.Info().Msg("from the handler")
		}).
		Get("/stream", func(ctx *fasthttp.RequestCtx) {
			ctx.SetBodyStreamWriter(func(w *bufio.Writer) { _, _ = io.WriteString(w, "streamed") })
		}))
	c := r.dial()
	for path, code := range map[string]int{
		"/ok": 200, "/none": 404, "/panic": 500, "/stream": 200, "/logs": 200, "/ok/": 301, "/livez": 200,
	} {
		id := "id-of-" + strings.Trim(path, "/")
		if resp := c.get(path, HeaderRequestID, id); resp.StatusCode != code || resp.Header.Get(HeaderRequestID) != id {
			t.Errorf("%s: %v with id %q", path, resp, resp.Header.Get(HeaderRequestID))
		}
	}
	if resp := c.do("DELETE", "/ok", HeaderRequestID, "of-405"); resp.StatusCode != 405 || resp.Header.Get(HeaderRequestID) != "of-405" {
		t.Errorf("%v with id %q", resp, resp.Header.Get(HeaderRequestID))
	}
	if id := log.line(t, "handler panicked")["request_id"]; id != "id-of-panic" {
		t.Errorf("the panic is logged with id %q", id)
	}
	if id := log.line(t, "from the handler")["request_id"]; id != "id-of-logs" {
		t.Errorf("the handler's line has id %q", id)
	}
}

// A handler that timed out goes on with its request, and its response, while the
// copy that says so is sent: under the race detector this shows that nothing
// else touches them.
func TestTimedOutHandlerKeepsItsRequest(t *testing.T) {
	g := newGate()
	var abandoned sync.WaitGroup
	goesOn := func(ctx *fasthttp.RequestCtx) {
		abandoned.Add(1)
		defer abandoned.Done()
		for n := 0; ; n++ {
			select {
			case <-g.release:
				return
			default:
			}
			if n == 100 {
				g.entered <- struct{}{} // it is busy by now
			}
			ctx.SetBodyString(RequestID(ctx) + Route(ctx) + string(ctx.Path()))
			ctx.Response.Header.Set("X-Late", string(ctx.Request.Header.Peek("X-Anything")))
			ctx.SetUserValue("late", n)
			runtime.Gosched()
		}
	}
	timeout := func(next fasthttp.RequestHandler) fasthttp.RequestHandler {
		timed := fasthttp.TimeoutHandler(next, 5*time.Millisecond, "too late")
		return func(ctx *fasthttp.RequestCtx) {
			if string(ctx.Path()) == "/slow" {
				timed(ctx)
				return
			}
			next(ctx)
		}
	}
	for name, b := range map[string]*Builder{
		"a route":    loopback().Get("/slow", timeout(goesOn)),
		"all routes": loopback().Use(timeout).Get("/slow", goesOn),
	} {
		t.Run(name, func(t *testing.T) {
			var log logs
			g.release = make(chan struct{})
			r := run(t, b.Logger(log.logger()).Get("/fast", hello))
			c := r.dial()
			resp := c.get("/slow", HeaderRequestID, "sent")
			if resp.StatusCode != 408 || resp.text != "too late" || resp.Header.Get(HeaderRequestID) != "sent" || resp.Header.Get("X-Late") != "" {
				t.Errorf("timed out with %v, %v", resp, resp.Header)
			}
			line := log.line(t, "request")
			if line["request_id"] != "sent" || line["status"] != 408.0 || line["path"] != "/slow" || line["bytes"] != 8.0 {
				t.Errorf("logged %v", line)
			}
			<-g.entered
			if resp := c.get("/fast"); resp.StatusCode != 200 || len(resp.Header.Get(HeaderRequestID)) != 32 {
				t.Errorf("beside the abandoned handler: %v, %v", resp, resp.Header)
			}
			close(g.release)
			abandoned.Wait()
			r.finish()
		})
	}
}

func TestLoggerIsSilentOutsideOfAServer(t *testing.T) {
	l := Logger(new(fasthttp.RequestCtx))
	if l.Info() != nil {
		t.Error("it writes")
	}
	if id := RequestID(new(fasthttp.RequestCtx)); id != "" {
		t.Errorf("id %q", id)
	}
}

// net/http's client and server agree with ours on the header.
func TestRequestIDThroughNetHTTP(t *testing.T) {
	r := run(t, loopback().Get("/", hello))
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+r.ListenAddrs()[0].String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(HeaderRequestID, "from-net-http")
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if id := resp.Header.Get(HeaderRequestID); id != "from-net-http" {
		t.Errorf("id %q", id)
	}
}
