package toolkit

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
)

func TestAccessLogFields(t *testing.T) {
	var log logs
	r := run(t, loopback().Logger(log.logger()).Post("/users/{name}", func(ctx *fasthttp.RequestCtx) {
		ctx.SetStatusCode(201)
		ctx.SetBodyString("created")
	}))
	c := r.dial()
	resp := c.do("POST", "/users/ada%20l?secret=1", "Content-Length", "0")
	line := log.line(t, "request")
	for field, want := range map[string]any{
		"level": "info", "method": "POST", "path": "/users/ada l", "route": "/users/{name}", "status": 201.0, "bytes": 7.0,
		"remote": c.LocalAddr().String(), "request_id": resp.Header.Get(HeaderRequestID), "stream": nil,
	} {
		if line[field] != want {
			t.Errorf("%s is %v, want %v", field, line[field], want)
		}
	}
	if d, ok := line["duration"].(float64); !ok || d < 0 || d > float64(patience/time.Millisecond) {
		t.Errorf("duration is %v", line["duration"])
	}
}

func TestAccessLogDuration(t *testing.T) {
	var log logs
	b := quiet().Logger(log.logger()).Get("/", func(*fasthttp.RequestCtx) { time.Sleep(1500 * time.Millisecond) })
	bubble(t, b, func(t *testing.T, r *running) {
		r.dial().get("/")
		if d := log.line(t, "request")["duration"]; d != 1500.0 {
			t.Errorf("duration %v ms", d)
		}
	})
}

func TestAccessLogIsALineARequest(t *testing.T) {
	var log logs
	r := run(t, loopback().Logger(log.logger()).
		Get("/ok", hello).
		Get("/fails", func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(503) }).
		Get("/panics", func(*fasthttp.RequestCtx) { panic("on purpose") }).
		Get("/stream", func(ctx *fasthttp.RequestCtx) {
			ctx.SetBodyStreamWriter(func(w *bufio.Writer) { _, _ = io.WriteString(w, "streamed") })
		}).
		Get("/sized", func(ctx *fasthttp.RequestCtx) { ctx.SetBodyStream(strings.NewReader("sized"), 5) }).
		Get("/hijack", func(ctx *fasthttp.RequestCtx) { ctx.Hijack(func(net.Conn) {}) }))
	tests := []struct {
		method, path, route, level string
		status                     int
		bytes, stream              any
	}{
		{"GET", "/ok", "/ok", "info", 200, 5.0, nil},
		{"GET", "/none", "", "info", 404, 9.0, nil},
		{"DELETE", "/ok", "", "info", 405, 18.0, nil},
		{"OPTIONS", "/ok", "", "info", 200, 0.0, nil},
		{"GET", "/fails", "/fails", "error", 503, 0.0, nil},
		{"GET", "/panics", "/panics", "error", 500, 21.0, nil},
		{"GET", "/stream", "/stream", "info", 200, nil, true},
		{"GET", "/sized", "/sized", "info", 200, 5.0, true},
		{"GET", "/hijack", "/hijack", "info", 200, 0.0, nil},
	}
	c := r.dial()
	for _, tt := range tests {
		c.do(tt.method, tt.path)
	}
	lines := log.lines(t, "request")
	if len(lines) != len(tests) {
		t.Fatalf("%d lines for %d requests: %v", len(lines), len(tests), lines)
	}
	for i, tt := range tests {
		line := lines[i]
		if line["method"] != tt.method || line["path"] != tt.path || line["route"] != tt.route || line["level"] != tt.level ||
			line["status"] != float64(tt.status) || line["bytes"] != tt.bytes || line["stream"] != tt.stream {
			t.Errorf("%s %s: logged %v", tt.method, tt.path, line)
		}
	}
}

// Probes come every few seconds, and say nothing that is worth a line each.
func TestAccessLogOfHealthIsDebug(t *testing.T) {
	var log logs
	s := build(t, loopback().Logger(log.logger()).Get("/x", hello))
	for _, path := range []string{"/livez", "/readyz", "/x"} { // not ready: it does not run
		call(s.Handler(), "GET", path)
	}
	lines := log.lines(t, "request")
	if len(lines) != 3 {
		t.Fatalf("logged %v", lines)
	}
	for i, want := range []string{"debug", "debug", "info"} {
		if lines[i]["level"] != want {
			t.Errorf("logged %v, want level %s", lines[i], want)
		}
	}
}

func TestAccessLogHeedsTheLoggersLevel(t *testing.T) {
	fails := func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(500) }
	for _, tt := range []struct {
		level zerolog.Level
		want  int // of a request of /livez, /ok and /fails each
	}{
		{zerolog.DebugLevel, 3}, {zerolog.InfoLevel, 2}, {zerolog.WarnLevel, 1}, {zerolog.Disabled, 0},
	} {
		var log logs
		h := build(t, loopback().Logger(log.logger().Level(tt.level)).Get("/ok", hello).Get("/fails", fails)).Handler()
		for _, path := range []string{"/livez", "/ok", "/fails"} {
			call(h, "GET", path)
		}
		if n := len(log.lines(t, "request")); n != tt.want {
			t.Errorf("level %v: %d lines, want %d", tt.level, n, tt.want)
		}
	}
}

// What a HEAD does not send is not counted.
func TestAccessLogOfHead(t *testing.T) {
	var log logs
	h := build(t, loopback().Logger(log.logger()).Head("/x", hello)).Handler()
	call(h, "HEAD", "/x")
	if line := log.line(t, "request"); line["bytes"] != 0.0 {
		t.Errorf("logged %v", line)
	}
}

func TestAccessLogOff(t *testing.T) {
	var log logs
	h := build(t, loopback().Logger(log.logger()).AccessLog(false).Get("/", func(*fasthttp.RequestCtx) { panic("on purpose") })).Handler()
	if ctx := call(h, "GET", "/"); idOf(ctx) == "" {
		t.Error("no request id")
	}
	if n := len(log.lines(t, "request")); n != 0 {
		t.Errorf("%d lines", n)
	}
	log.line(t, "handler panicked") // that is another matter
}

// A handler that passes its request on rewrites it first. The line is about what
// the client asked for.
func TestAccessLogIsOfTheRequestThatCame(t *testing.T) {
	for name, rewrite := range map[string]fasthttp.RequestHandler{
		"path":   func(ctx *fasthttp.RequestCtx) { ctx.URI().SetPath("/b") },
		"uri":    func(ctx *fasthttp.RequestCtx) { ctx.Request.SetRequestURI("http://behind/b?c"); ctx.Path() },
		"method": func(ctx *fasthttp.RequestCtx) { ctx.Request.Header.SetMethod("PUT") },
	} {
		t.Run(name, func(t *testing.T) {
			var log logs
			h := build(t, loopback().Logger(log.logger()).Delete("/api/v1/things", rewrite)).Handler()
			call(h, "DELETE", "/api/v1/things")
			line := log.line(t, "request")
			if line["method"] != "DELETE" || line["path"] != "/api/v1/things" || line["route"] != "/api/v1/things" {
				t.Errorf("logged %v", line)
			}
		})
	}
}

// What a client sends cannot forge a line.
func TestAccessLogEscapes(t *testing.T) {
	var log logs
	h := build(t, loopback().Logger(log.logger())).Handler()
	call(h, "GET", `/%22,%22status%22:200%0A{%22message%22:%22request%22}%FF`)
	if line := log.line(t, "request"); line["status"] != 404.0 {
		t.Errorf("logged %v", line)
	}
}

// A request that comes to no handler has a line too, and one that has not even begun
// has none.
func TestUnreadRequestsAreLogged(t *testing.T) {
	const header = "POST /a?secret HTTP/1.1\r\nHost: t\r\nAuthorization: secret\r\n"
	for name, tt := range map[string]struct {
		request string
		want    map[string]any
	}{
		"no request line": {"secret\r\n\r\n", map[string]any{"status": 400.0, "refused": "Bad Request"}},
		"half a header":   {header, map[string]any{"status": 408.0, "refused": "Request Timeout"}},
		"a bad header":    {header + "a\r\n\r\n", map[string]any{"status": 400.0, "refused": "Bad Request"}},
		"a long header": {header + "A: " + strings.Repeat("a", DefaultMaxHeaderSize) + "\r\n\r\n",
			map[string]any{"status": 431.0, "refused": "Request Header Fields Too Large"}},
		"half a body": {header + "Content-Length: 9\r\n\r\nsecret", map[string]any{"status": 408.0, "refused": "Request Timeout"}},
		"a long body": {header + "Content-Length: 99\r\n\r\nsecretsecret",
			map[string]any{"status": 413.0, "refused": "Request Entity Too Large", "method": "POST", "path": "/a"}},
	} {
		for _, stream := range []bool{false, true} {
			if stream && name == "half a body" {
				continue // its handler is called
			}
			t.Run(fmt.Sprintf("%s, stream %v", name, stream), func(t *testing.T) {
				var log logs
				b := quiet().Logger(log.logger()).MaxBodySize(10).StreamRequestBody(stream).
					ReadHeaderTimeout(time.Second).ReadBodyTimeout(time.Second).IdleTimeout(time.Second).Post("/a", length)
				bubble(t, b, func(t *testing.T, r *running) {
					_ = r.dial() // says nothing
					c := r.dial()
					c.send(tt.request)
					c.reply("POST")
					time.Sleep(time.Minute)
					line := log.line(t, "request")
					tt.want["level"], tt.want["message"] = "info", "request"
					if line["remote"] != c.LocalAddr().String() {
						t.Errorf("from %v", line["remote"])
					}
					delete(line, "remote")
					if !maps.Equal(line, tt.want) {
						t.Errorf("logged %v, want %v", line, tt.want)
					}
				})
			})
		}
	}
}
