package toolkit

import (
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/internal/testtool"
)

// Handlers of net/http are no easier to hold than native ones (examples/server's
// TestSlowHTTP): slowhttptest gets hold of as many connections as it wants, and is rid of
// all of them while it goes on; others are served meanwhile.
func TestSlowHTTPOnNetHTTP(t *testing.T) {
	tool := testtool.Find(t, "slowhttptest", "slowhttptest")
	const conns, quick = 100, time.Second
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/net/large" {
			for range 64 {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
			return
		}
		_, _ = io.Copy(w, r.Body)
	})
	servers := map[string]func() *Builder{
		"net/http": func() *Builder { return loopback().NetHTTP("/", app) },
		"mixed":    func() *Builder { return loopback().Get("/native", hello).NetHTTP("/net/{path:*}", app) },
	}
	for _, attack := range []struct {
		name, path string
		args       []string
	}{
		{"header", "/net/a", []string{"-H", "-i", "1", "-x", "8"}},
		{"body", "/net/a", []string{"-B", "-i", "1", "-x", "8", "-s", "8192"}},
		{"read", "/net/large", []string{"-X", "-n", "1", "-z", "32", "-w", "512", "-y", "1024"}},
	} {
		for name, server := range servers {
			t.Run(attack.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				r := run(t, server().MinReadRate(200, quick).MinWriteRate(20_000, quick))
				slow := exec.Command(tool, append([]string{
					"-c", strconv.Itoa(conns), "-r", strconv.Itoa(conns), "-p", "1", "-l", "600",
					"-u", "http://" + r.ListenAddrs()[0].String() + attack.path,
				}, attack.args...)...)
				if err := slow.Start(); err != nil {
					t.Fatal(err)
				}
				defer func() { _ = slow.Wait() }() // was killed
				defer func() { _ = slow.Process.Kill() }()
				good := r.dial()
				for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
					if got := good.get("/net/good"); got.StatusCode != http.StatusOK {
						t.Fatal(got)
					}
					totals := r.Totals()
					if ended := totals.SlowRequests + totals.SlowResponses; r.Counts().Total() == 1 && ended >= conns {
						break
					}
					if time.Since(began) > patience {
						t.Fatalf("%+v; %v", totals, r.Counts())
					}
				}
				r.Drain()
				_ = good.Close()
				if err := r.wait(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
