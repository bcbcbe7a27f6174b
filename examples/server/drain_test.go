//go:build unix

package main

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDeadlineCancelsHandlers(t *testing.T) {
	t.Parallel()
	p := start(t, "-drain-timeout", "300ms", "-abort-timeout", "20s")
	slow := p.dial()
	slow.sendGet("/slow?ms=60000")
	p.awaitRoute("GET /slow")
	began := p.drain()
	r := slow.response()
	tooEarly(t, "answered", began, 300*time.Millisecond)
	r.want(t, http.StatusServiceUnavailable, "the server is going down")
	r.wantClose(t, true)
	slow.wantEOF()
	p.wantExit(2)

	rep := p.report()
	if *rep.ExitCode != 2 || rep.Cause != "signal: terminated" || !strings.Contains(rep.Error, "deadline") {
		t.Errorf("report %+v", rep)
	}
	if rep.Open.Active < 1 || rep.Told != 1 || rep.Drain < 300 || len(rep.Hooks) != 4 {
		t.Errorf("report %+v", rep)
	}
	if len(rep.Cut) != 0 {
		t.Errorf("cut %+v; but all was answered", rep.Cut)
	}
}

func TestDeadlineCutsWhatIsLeft(t *testing.T) {
	t.Parallel()
	p := start(t, "-drain-timeout", "200ms", "-abort-timeout", "100ms")
	up := p.upload()
	began := p.drain()
	up.wantEOF()
	tooEarly(t, "cut", began, 300*time.Millisecond)
	p.wantExit(2)
	rep := p.report()
	if want := up.LocalAddr().String(); len(rep.Cut) != 1 || rep.Cut[0].Remote != want || rep.Cut[0].State != "active" {
		t.Errorf("cut %+v; want %v, active", rep.Cut, want)
	}
}

func TestShutdownDelayServesOnWithReadinessRed(t *testing.T) {
	t.Parallel()
	p := start(t, "-shutdown-delay", "1h", "-drain-timeout", "0", "-idle-timeout", "1h")
	up, silent, before := p.upload(), p.dial(), p.dial() // accepted in this order
	r := before.get("/readyz")
	r.want(t, http.StatusOK, "ok\n")
	r.wantClose(t, false)
	p.drain()
	before.wantLast("/readyz", http.StatusServiceUnavailable, "[-]server draining\n")
	p.dial().wantLast("/readyz", http.StatusServiceUnavailable, "[-]server draining\n")
	p.dial().wantLast("/livez", http.StatusOK, "ok\n")
	p.dial().wantLast("/test", http.StatusOK, greeting)
	silent.wantLast("/test", http.StatusOK, greeting)
	p.signal(syscall.SIGTERM)
	up.wantEOF()
	p.wantExit(2)
	if rep := p.report(); rep.Accepted != 3 || rep.Told != 5 {
		t.Errorf("report %+v; want 3 accepted, 5 told", rep)
	}
}

func TestShutdownDelayThenRefused(t *testing.T) {
	t.Parallel()
	const delay = 500 * time.Millisecond
	p := start(t, "-shutdown-delay", delay.String())
	idle, up := p.dial(), p.upload()
	idle.get("/test").want(t, http.StatusOK, greeting)
	began := p.drain()
	p.awaitRefused()
	tooEarly(t, "refused", began, delay)
	up.finish()
	idle.wantEOF()
	p.wantExit(0)
}
