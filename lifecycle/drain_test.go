package lifecycle

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// The tests of the drain contract carry the numbers of its lines in doc.go.

func TestContract04IdleLastCall(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			r := runKind(t, kind, &Server{HTTP: quiet(hello)})
			idle, last := r.dial(), r.dial()
			idle.get("/")
			last.get("/")
			r.Drain()
			if resp := last.get("/"); !resp.Close || body(resp) != "hello" {
				t.Errorf("last call answered %v, close %v", resp.Status, resp.Close)
			}
			last.wantEOF()
			idle.wantEOF()
			if err := r.wait(); err != nil {
				t.Error(err)
			}
			if rep := r.Report(); rep.LastCalled != 1 || rep.Told != 1 || rep.Open.Idle != 2 {
				t.Errorf("report %+v", rep)
			}
		})
	}
}

func TestContract04FakeTime(t *testing.T) {
	bubble(t, &Server{HTTP: quiet(hello), LastCall: 300 * time.Millisecond}, func(t *testing.T, r *running) {
		c := r.dial()
		c.get("/")
		time.Sleep(time.Second)
		began := time.Now()
		r.Drain()
		c.wantEOF()
		if took := time.Since(began); took != 300*time.Millisecond {
			t.Errorf("idle connection closed %v after the drain's begin", took)
		}
		<-r.done
		if took := time.Since(began); took != 300*time.Millisecond {
			t.Errorf("Run returned %v after the drain's begin", took)
		}
	})
}

func TestContract08RunReturnsWithLastResponse(t *testing.T) {
	bubble(t, &Server{HTTP: quiet(func(ctx *fasthttp.RequestCtx) {
		time.Sleep(3 * time.Second)
		ctx.SetBodyString("late")
	})}, func(t *testing.T, r *running) {
		c := r.dial()
		c.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
		time.Sleep(time.Second)
		began := time.Now()
		r.Drain()
		<-r.done
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("Run returned after %v", took)
		}
		if resp := c.response(); body(resp) != "late" || !resp.Close {
			t.Errorf("response %v, close %v", resp.Status, resp.Close)
		}
		c.wantEOF()
	})
}

func TestContract11Deadline(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	r := runTCP(t, &Server{
		HTTP:         quiet(func(*fasthttp.RequestCtx) { <-release }),
		DrainTimeout: 50 * time.Millisecond,
		AbortTimeout: 50 * time.Millisecond,
	})
	c := r.dial()
	c.send("GET /stuck HTTP/1.1\r\nHost: t\r\n\r\n")
	for r.Counts().Active == 0 {
		time.Sleep(time.Millisecond)
	}
	err := r.ShutdownWithContext(context.Background())
	if !errors.Is(err, ErrDrainTimeout) || ExitCode(err) != 2 {
		t.Errorf("error %v, exit code %d", err, ExitCode(err))
	}
	rep := r.Report()
	if len(rep.Cut) != 1 || rep.Cut[0].Route != "GET /stuck" || rep.Cut[0].Remote != c.LocalAddr().String() {
		t.Errorf("cut %+v", rep.Cut)
	}
	c.wantEOF()
}
