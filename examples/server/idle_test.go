//go:build unix

package main

import (
	"net/http"
	"syscall"
	"testing"
	"time"
)

// The session of the question that began all this: requests on a keep-alive
// connection, which ends by itself, and a server that is ended by a request.

// The time is measured from before the last request to be never too short by the
// test's own slowness, and from its response to be short enough; for that a busy
// machine gets further attempts.
func TestIdleConnectionClosesIdleTimeoutAfterLastResponse(t *testing.T) {
	t.Parallel()
	const idleTimeout, slack, attempts = time.Second, 100 * time.Millisecond, 3
	for _, last := range []struct {
		path, body string
		takes      time.Duration
	}{
		{"/test", greeting, 0},
		{"/slow?ms=300", "done", 300 * time.Millisecond},
	} {
		t.Run(last.path, func(t *testing.T) {
			t.Parallel()
			p := start(t, "-idle-timeout", idleTimeout.String())
			for attempt := 1; ; attempt++ {
				c := p.dial()
				c.get("/test").want(t, http.StatusOK, greeting)
				time.Sleep(idleTimeout * 6 / 10)
				sent := time.Now()
				r := c.get(last.path)
				answered := time.Now()
				r.want(t, http.StatusOK, last.body)
				r.wantClose(t, false)
				c.wantEOF()
				tooEarly(t, "closed", sent, last.takes+idleTimeout)
				rested := time.Since(answered)
				if rested < idleTimeout+slack {
					return
				}
				if attempt == attempts {
					t.Fatalf("closed %v after the last response, in the last of %d attempts", rested, attempts)
				}
			}
		})
	}
}

func TestSilentConnectionClosesWithoutAnswer(t *testing.T) {
	t.Parallel()
	p := start(t, "-idle-timeout", "500ms")
	began := time.Now()
	c := p.dial()
	c.wantEOF()
	tooEarly(t, "closed", began, 500*time.Millisecond)
}

func TestEndInModeBusyExitsAtOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		flags    []string
		lastCall time.Duration
	}{
		{"default", nil, 250 * time.Millisecond},
		{"no last call", []string{"-mode", "busy", "-last-call", "0"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, append(tt.flags, "-idle-timeout", "1h", "-drain-timeout", "0")...)
			idle, silent, c := p.dial(), p.dial(), p.dial()
			idle.get("/test").want(t, http.StatusOK, greeting)
			c.get("/test").want(t, http.StatusOK, greeting)
			began := time.Now()
			c.wantLast("/end", http.StatusOK, "Closedown")
			idle.wantEOF()
			tooEarly(t, "idle connection closed", began, tt.lastCall)
			silent.wantEOF()
			p.wantExit(0)
			if r := p.report(); r.Cause != "Drain" || r.Told != 1 || r.LastCalled != 2 {
				t.Errorf("report %+v", r)
			}
		})
	}
}

func TestEndInModeIdleExitsAfterIdleTimeout(t *testing.T) {
	t.Parallel()
	const idleTimeout = time.Second
	p := start(t, "-mode", "idle", "-idle-timeout", idleTimeout.String())
	idle, c := p.dial(), p.dial()
	sent := time.Now()
	idle.get("/test").want(t, http.StatusOK, greeting)
	c.wantLast("/end", http.StatusOK, "Closedown")
	idle.wantEOF()
	tooEarly(t, "idle connection closed", sent, idleTimeout)
	p.wantExit(0)
	tooEarly(t, "exit", sent, idleTimeout)
	if r := p.report(); r.LastCalled != 0 {
		t.Errorf("the drain has closed %d connections; want 0", r.LastCalled)
	}
}

func TestModeOnceClosesEachConnectionAfterItsResponse(t *testing.T) {
	t.Parallel()
	p := start(t, "-mode", "once", "-idle-timeout", "1h")
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"/test":  {http.StatusOK, greeting},
		"/nope":  {http.StatusNotFound, "Not Found"},
		"/panic": {http.StatusInternalServerError, "Internal Server Error"},
	} {
		p.dial().wantLast(path, want.status, want.body)
	}
	silent := p.dial()
	p.dial().wantLast("/end", http.StatusOK, "Closedown")
	silent.wantEOF()
	p.wantExit(0)
}

func TestThousandIdleConnectionsDoNotHoldTheExit(t *testing.T) {
	t.Parallel()
	const n = 1000
	p := start(t, "-idle-timeout", "1h", "-drain-timeout", "0")
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = p.dial()
		clients[i].sendGet("/test")
	}
	for _, c := range clients {
		c.response().want(t, http.StatusOK, greeting)
	}
	p.signal(syscall.SIGTERM)
	for _, c := range clients {
		c.wantEOF() // a reset would be another error
	}
	p.wantExit(0)
	if r := p.report(); r.Open.Total() != n || r.LastCalled != n || len(r.Cut) != 0 {
		t.Errorf("report %+v", r)
	}
}
