package nethttp

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/lifecycle"
)

var strictRate = lifecycle.Rate{Bytes: 2000, Per: 100 * time.Millisecond}

// rated is a server whose slow clients are ended, and counted.
func rated(t *testing.T, kind string, a app) (r *running, requests, responses *atomic.Int32) {
	t.Helper()
	requests, responses = new(atomic.Int32), new(atomic.Int32)
	a.set = func(s *lifecycle.Server) {
		s.MinReadRate, s.MinWriteRate = strictRate, strictRate
		s.OnEvent = func(e lifecycle.Event) {
			switch {
			case e.Kind != lifecycle.EventTooSlow:
			case e.Name == "request":
				requests.Add(1)
			default:
				responses.Add(1)
			}
		}
	}
	return run(t, kind, a), requests, responses
}

// A handler of net/http that waits for a client which dribbles its body sees its read
// fail; one that is slow itself does not.
func TestSlowBodyForAHandler(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		for _, fresh := range []bool{false, true} {
			read := make(chan error, 2)
			r, slow, _ := rated(t, kind, app{fresh: fresh, net: func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/net/slow" { // while its client has sent all
					time.Sleep(5 * strictRate.Per)
				}
				_, err := io.Copy(io.Discard, r.Body)
				read <- err
				if err != nil {
					http.Error(w, err.Error(), http.StatusRequestTimeout)
				}
			}})
			c := r.dial()
			if got := c.do("POST", "/net/slow", "hello"); got.StatusCode != http.StatusOK || <-read != nil || slow.Load() != 0 {
				t.Errorf("%v, %d too slow", got, slow.Load())
			}
			c.send("POST /net HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n")
			go func() {
				for {
					if _, err := c.Write([]byte("1")); err != nil {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
			}()
			if got := c.reply("POST"); got.StatusCode != http.StatusRequestTimeout || !got.Close {
				t.Error(got)
			}
			if err := <-read; err == nil || slow.Load() != 1 {
				t.Errorf("%v, %d too slow", err, slow.Load())
			}
			_ = c.Close()
			r.until("it is gone", func() bool { return r.Counts().Total() == 0 })
		}
	}
}

// A client that does not take the response of a handler, which runs, is reset; one that
// a handler has nothing to send to is not.
func TestSlowReaderOfAHandler(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		for _, fresh := range []bool{false, true} {
			failed := make(chan error, 1)
			r, _, slow := rated(t, kind, app{fresh: fresh, net: func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/net/sparse" {
					for range 5 {
						_, _ = io.WriteString(w, "x")
						_ = http.NewResponseController(w).Flush()
						time.Sleep(strictRate.Per)
					}
					return
				}
				for {
					if _, err := w.Write(make([]byte, 1<<20)); err != nil {
						failed <- err
						return
					}
				}
			}})
			c := r.dial()
			if got := c.get("/net/sparse"); got.text != "xxxxx" || slow.Load() != 0 {
				t.Errorf("%v, %d too slow", got, slow.Load())
			}
			c.send(request("GET", "/net", ""))
			<-failed
			if slow.Load() != 1 {
				t.Errorf("%d too slow", slow.Load())
			}
			if _, err := io.Copy(io.Discard, c.Conn); err == nil || kind == "tcp" && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client sees %v; want a reset", err)
			}
		}
	}
}
