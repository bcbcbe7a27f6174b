//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestFirstSignalDrains(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			p := start(t)
			slow, up := p.dial(), p.upload()
			sent := time.Now()
			slow.sendGet("/slow?ms=500")
			p.awaitRoute("GET /slow")
			p.signal(sig)
			p.await("server draining")
			p.awaitRefused() // while up is under way

			r := slow.response()
			tooEarly(t, "answered", sent, 500*time.Millisecond)
			r.want(t, http.StatusOK, "done")
			r.wantClose(t, true)
			slow.wantEOF()
			up.finish()
			p.wantExit(0)
			if got := fmt.Sprint(p.hooks()); got != allHooks {
				t.Errorf("hooks %v", got)
			}
			if r := p.report(); r.Cause != "signal: "+sig.String() || r.Open.Active < 2 || r.Told != 2 || len(r.Cut) != 0 {
				t.Errorf("report %+v", r)
			}
		})
	}
}

func TestSecondSignalEndsTheWait(t *testing.T) {
	t.Parallel()
	p := start(t)
	slow, up, idle := p.dial(), p.upload(), p.dial()
	idle.get("/test").want(t, http.StatusOK, greeting)
	slow.sendGet("/slow?ms=60000")
	p.awaitRoute("GET /slow")
	p.drain()
	p.await("hook") // that of the drain
	p.signal(syscall.SIGINT)
	p.wantExit(2)

	up.wantEOF()
	idle.wantEOF()
	// The handler is told as its connection is cut. It may be quicker, and say so;
	// half a response there is never.
	if rest, _ := io.ReadAll(slow.r); len(rest) > 0 && !strings.HasSuffix(string(rest), "\r\n\r\nthe server is going down") {
		t.Errorf("the client has got %q", rest)
	}
	if got := fmt.Sprint(p.hooks()); got != allHooks {
		t.Errorf("hooks %v", got)
	}
	if r := p.report(); *r.ExitCode != 2 || !strings.Contains(r.Error, "force") {
		t.Errorf("report %+v", r)
	}
}

func TestSecondSignalEndsStream(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.dial()
	c.sendGet("/stream?n=2&ms=60000")
	r := c.header()
	p.drain()
	p.await("hook") // that of the drain
	p.signal(syscall.SIGTERM)
	p.wantExit(2)
	if body, err := io.ReadAll(r.Body); err == nil && !strings.Contains(string(body), "ended early") {
		t.Errorf("a stream that was cut ends as if it were whole: %q", body)
	}
	if got := fmt.Sprint(p.hooks()); got != allHooks {
		t.Errorf("hooks %v", got)
	}
}

// The drain's own hook has hardly begun then: it may be told to hurry, but not run
// beside the hooks of the exit, or after them. It takes luck to see it do so.
func TestSecondSignalOnTheHeelsOfTheFirst(t *testing.T) {
	t.Parallel()
	for range 5 {
		p := start(t)
		p.dial().sendGet("/slow?ms=60000")
		p.awaitRoute("GET /slow")
		for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCONT} {
			p.signal(sig)
		}
		p.wantExit(2)
		if got := fmt.Sprint(p.hooks()); got != allHooks {
			t.Errorf("hooks %v", got)
		}
		p.report()
	}
}

func TestThirdSignalExits(t *testing.T) {
	t.Parallel()
	for path, query := range map[string]string{"/slow": "?ms=60000", "/stream": "?n=2&ms=60000"} {
		t.Run(path[1:], func(t *testing.T) {
			t.Parallel()
			p := start(t)
			p.dial().sendGet(path + query)
			p.awaitRoute("GET " + path)
			p.drain()
			p.signal(syscall.SIGINT)
			_ = p.cmd.Process.Signal(syscall.SIGTERM) // the second may have been enough
			p.wantExit(2)
		})
	}
}

// A hook that logs hangs when nobody reads the log any more, as when its reader
// was stopped. The third signal is for that.
func TestThirdSignalExitsThoughTheLogHangs(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	p := &process{t: t, cmd: command(nil, "-addr", "127.0.0.1:0")}
	p.cmd.Stderr = w
	p.begin()
	for lines := bufio.NewScanner(r); lines.Scan() && !strings.Contains(lines.Text(), "server ready"); {
	}
	fill(t, w) // nobody else writes now

	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGTERM} {
		p.signal(sig)
		time.Sleep(50 * time.Millisecond) // a signal that is pending already is lost
	}
	p.wantExit(2)
}

// fill makes the next write to a pipe hang.
func fill(t *testing.T, w *os.File) {
	t.Helper()
	for full := false; !full; {
		fds := []unix.PollFd{{Fd: int32(w.Fd()), Events: unix.POLLOUT}}
		n, err := unix.Poll(fds, 0)
		if err != nil {
			t.Fatal(err)
		}
		if full = n == 0; !full {
			if _, err := w.Write(make([]byte, os.Getpagesize())); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestSignalAfterEndIsTheFirst(t *testing.T) {
	t.Parallel()
	p := start(t)
	slow, up := p.dial(), p.upload()
	slow.sendGet("/slow?ms=300")
	p.awaitRoute("GET /slow")
	p.dial().wantLast("/end", http.StatusOK, "Closedown")
	p.signal(syscall.SIGTERM)
	p.await("signal")
	slow.response().want(t, http.StatusOK, "done")
	up.finish()
	p.wantExit(0)
}

func TestQuitDumpsGoroutines(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.dial().sendGet("/slow?ms=60000")
	p.awaitRoute("GET /slow")
	p.signal(syscall.SIGQUIT)
	p.wantExit(2) // of Go's runtime
	for _, want := range []string{"SIGQUIT: quit", "\ngoroutine ", "main.slow("} {
		if !strings.Contains(p.stderr.String(), want) {
			t.Errorf("no %q on stderr", want)
		}
	}
}
