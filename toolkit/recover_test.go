package toolkit

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

func TestPanicIsAnsweredLoggedAndOver(t *testing.T) {
	var log logs
	r := run(t, loopback().Logger(log.logger()).
		Get("/", hello).
		Get("/panic/{how}", func(*fasthttp.RequestCtx) { panic("on purpose") }))
	c := r.dial()
	for range 3 {
		if resp := c.get("/panic/now", HeaderRequestID, "x"); resp.String() != "500 Internal Server Error" || resp.Close {
			t.Errorf("panic answered with %v, close %v", resp, resp.Close)
		}
		if resp := c.get("/"); resp.String() != "200 hello" {
			t.Errorf("the same connection then answers %v", resp)
		}
	}
	r.finish()
	lines := log.lines(t, "handler panicked")
	if len(lines) != 3 {
		t.Fatalf("%d panics logged", len(lines))
	}
	line := lines[0]
	for field, want := range map[string]any{
		"level": "error", "request_id": "x", "method": "GET", "path": "/panic/now", "route": "/panic/{how}", "panic": "on purpose",
	} {
		if line[field] != want {
			t.Errorf("%s is %v, want %v", field, line[field], want)
		}
	}
	if stack, _ := line["stack"].(string); !strings.Contains(stack, "recover_test.go") {
		t.Errorf("the stack does not show where: %s", stack)
	}
}

// hostile is a value that does not like to be looked at.
type hostile struct{}

func (hostile) Error() string                { panic("in Error") }
func (hostile) MarshalJSON() ([]byte, error) { panic("in MarshalJSON") }

// The line must say what a Go programmer would have seen on the terminal, and no
// value may break the recovery.
func TestPanicValuesAreLogged(t *testing.T) {
	none, past := []int{}, 0
	for name, tt := range map[string]struct {
		panic func()
		want  string
	}{
		"string":          {func() { panic("text") }, "text"},
		"nil":             {func() { panic(nil) }, "panic called with nil"},
		"error":           {func() { panic(errors.New("text")) }, "text"},
		"wrapped error":   {func() { panic(fmt.Errorf("outer: %w", errors.New("inner"))) }, "outer: inner"},
		"runtime error":   {func() { _ = none[past] }, "index out of range"},
		"nil pointer":     {func() { _ = (*route)(nil).path }, "nil pointer"},
		"number":          {func() { panic(42) }, "42"},
		"struct":          {func() { panic(struct{ a string }{"inside"}) }, "inside"},
		"not for JSON":    {func() { panic(make(chan int)) }, "0x"},
		"hostile":         {func() { panic(hostile{}) }, ""},
		"hostile and nil": {func() { panic((*hostile)(nil)) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if v := recover(); v != nil {
					t.Errorf("it got through: %v", v)
				}
			}()
			var log logs
			h := build(t, loopback().Logger(log.logger()).Get("/", func(*fasthttp.RequestCtx) { tt.panic() })).Handler()
			if ctx := call(h, "GET", "/"); ctx.Response.StatusCode() != 500 {
				t.Errorf("answered %s", got(ctx))
			}
			if said := fmt.Sprint(log.line(t, "handler panicked")["panic"]); !strings.Contains(said, tt.want) {
				t.Errorf("logged %q, want %q in it", said, tt.want)
			}
		})
	}
}

func TestNothingOfAResponseSurvivesAPanic(t *testing.T) {
	var log logs
	closed := make(chan struct{})
	hijacked := make(chan struct{}, 1)
	before := map[string]fasthttp.RequestHandler{
		"/state": func(ctx *fasthttp.RequestCtx) {
			ctx.SetStatusCode(201)
			ctx.Response.Header.Set("X-Secret", "s")
			ctx.Response.Header.SetCookie(new(fasthttp.Cookie))
			ctx.SetContentType("application/json")
			ctx.SetBodyString(`{"half":`)
			ctx.SetConnectionClose()
		},
		"/stream": func(ctx *fasthttp.RequestCtx) { ctx.SetBodyStream(&closeNoter{closed: closed}, -1) },
		"/hijack": func(ctx *fasthttp.RequestCtx) {
			ctx.HijackSetNoResponse(true)
			ctx.Hijack(func(net.Conn) { hijacked <- struct{}{} })
		},
	}
	b := loopback().Logger(log.logger()).Get("/", hello)
	for path, handler := range before {
		b.Get(path, func(ctx *fasthttp.RequestCtx) { handler(ctx); panic("too late") })
	}
	r := run(t, b)
	c := r.dial()
	for path := range before {
		resp := c.get(path)
		if resp.String() != "500 Internal Server Error" || resp.Close || resp.Header.Get("X-Secret") != "" ||
			resp.Header.Get("Set-Cookie") != "" || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s: %v, close %v, %v", path, resp, resp.Close, resp.Header)
		}
		if resp := c.get("/"); resp.String() != "200 hello" {
			t.Errorf("after %s the connection answers %v", path, resp)
		}
	}
	<-closed
	r.finish()
	if len(hijacked) != 0 {
		t.Error("the connection was hijacked")
	}
	for _, line := range log.lines(t, "request") {
		if line["path"] != "/" && (line["status"] != 500.0 || line["level"] != "error" || line["stream"] != nil) {
			t.Errorf("logged %v", line)
		}
	}
}

// closeNoter is an endless body that says when it is closed.
type closeNoter struct{ closed chan struct{} }

func (c *closeNoter) Read(p []byte) (int, error) { return len(p), nil }
func (c *closeNoter) Close() error               { close(c.closed); return nil }
