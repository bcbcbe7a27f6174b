//go:build unix

package main

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

func TestLogJSON(t *testing.T) {
	t.Parallel()
	p := start(t)
	paths := []string{"/hello", "/nope", "/panic", "/slow?ms=1", "/slow?ms=x", "/stream?n=2&ms=1", "/ws", "/conns"}
	c := p.dial()
	for i, path := range paths {
		c.send(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: t\r\nX-Request-ID: id-%d\r\n\r\n", path, i))
	}
	for range paths { // pipelined
		c.response()
	}
	c.send("POST /hello HTTP/1.1\r\nHost: t\r\nX-Request-ID: post\r\nContent-Length: 0\r\n\r\n")
	c.response().want(t, http.StatusMethodNotAllowed, "Method Not Allowed")
	p.get("/livez")
	p.get("/readyz")
	ws := p.dialWebSocket()
	ws.write(t, "message")
	ws.read(t)
	p.dial().wantLast("/end", http.StatusOK, "Closedown")
	ws.wantGoingAway(t)
	p.wantExit(0)

	access := map[string]int{}
	for _, e := range p.entries() {
		if e.Message == "request" {
			access[fmt.Sprint(e.RequestID[:min(4, len(e.RequestID))], " ", e.Method, " ", e.Path, " ", e.Status)]++
		}
		if e.Level == "" || e.Message == "" {
			t.Errorf("a line without level or message: %+v", e)
		}
	}
	want := []string{
		"id-0 GET /hello 200", "id-1 GET /nope 404", "id-2 GET /panic 500", "id-3 GET /slow 200", "id-4 GET /slow 400",
		"id-5 GET /stream 200", "id-6 GET /ws 400", "id-7 GET /conns 200", "post POST /hello 405",
	}
	for _, key := range want {
		if access[key] != 1 {
			t.Errorf("%d access lines for %s; want 1", access[key], key)
		}
	}
	if n, all := sum(access), len(want)+2; n != all { // those of /ws and /end have random ids
		t.Errorf("%d access lines; want %d: %v", n, all, access)
	}
	if got := fmt.Sprint(p.hooks()); got != allHooks {
		t.Errorf("hooks %v; want %v", got, allHooks)
	}
	if r := p.report(); *r.ExitCode != 0 || len(r.Hooks) != 4 {
		t.Errorf("report %+v", r)
	}
}

func sum(m map[string]int) (n int) {
	for _, v := range m {
		n += v
	}
	return n
}

// What Build warns of is in the log, and nothing is by default.
func TestLogHasWarnings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		want int
	}{{nil, 0}, {[]string{"-termination-grace-period", "10s"}, 1}} {
		p := start(t, tt.args...)
		p.signal(syscall.SIGTERM)
		p.wantExit(0)
		warned := 0
		for _, e := range p.entries() {
			if e.Level == "warn" && strings.HasPrefix(e.Message, "the end may take 11s") {
				warned++
			} else if e.Level == "warn" {
				t.Errorf("%q: %q", tt.args, e.Message)
			}
		}
		if warned != tt.want {
			t.Errorf("%q: %d warnings", tt.args, warned)
		}
	}
}

func TestLogOffIsSilent(t *testing.T) {
	t.Parallel()
	p := startUnix(t, "-log", "off")
	p.get("/hello").want(t, http.StatusOK, greeting)
	p.get("/panic")
	p.dial().send("nonsense\r\n\r\n")
	p.signal(syscall.SIGTERM)
	p.wantExit(0)
	if text := p.stderr.String(); text != "" {
		t.Errorf("stderr has %q", text)
	}
}

func TestLogConsoleIsForReaders(t *testing.T) {
	t.Parallel()
	p := startUnix(t, "-log", "console")
	p.until("ready", func() bool { return strings.Contains(p.stderr.String(), "INF server ready") })
	p.get("/hello").want(t, http.StatusOK, greeting)
	p.signal(syscall.SIGTERM)
	p.wantExit(0)
	text, table, _ := strings.Cut(p.stderr.String(), "cause       ")
	line := regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d\d\d INF [a-z]`) // no colours in a pipe
	for got := range strings.Lines(text) {
		if !line.MatchString(got) {
			t.Errorf("line %q", got)
		}
	}
	if !strings.HasPrefix(table, "signal: terminated\n") || !strings.HasSuffix(table, "\nexit code   0\n") {
		t.Errorf("table %q", table)
	}
	for _, want := range []string{"INF server ready", "INF listening addr=" + p.addr, "path=/hello", "INF drained", "exit_code=0"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
