//go:build linux || darwin || freebsd

package lifecycle

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// While a process has no descriptor left, those who connect are told so, and not left
// to wait; and when it has some again, it serves.
func TestNoDescriptors(t *testing.T) {
	p := startProgram(t, "starve", "24")
	status := func() string { fmt.Fprintln(p.stdin); return p.line() }
	addr := p.line()
	if got := status(); got != "starving false, errors false, refused false" {
		t.Error(got)
	}

	// ask connects, and returns the status of the answer, or 0.
	var open []net.Conn
	ask := func() int {
		t.Helper()
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, nc)
		_ = nc.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(nc, request); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Errorf("connection %d: %v", len(open), err)
			return 0
		}
		if resp.StatusCode == fasthttp.StatusServiceUnavailable {
			wantRefused(t, resp, fasthttp.StatusServiceUnavailable)
		}
		return resp.StatusCode
	}
	answers := map[int]int{}
	for range 60 {
		answers[ask()]++
	}
	if answers[200] < 5 || answers[503] < 30 || answers[200]+answers[503] != 60 {
		t.Errorf("answers by status: %v", answers)
	}
	if got := status(); got != "starving true, errors true, refused true" {
		t.Error(got)
	}
	if resp, err := http.ReadResponse(bufio.NewReader(say(t, open[0])), nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("one that is open: %v, %v", resp, err) // it is served meanwhile
	}

	for _, nc := range open {
		_ = nc.Close()
	}
	// Nobody has to connect for it to notice.
	for began := time.Now(); !strings.HasPrefix(status(), "starving false"); time.Sleep(time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatal("it starves for ever")
		}
	}
	if code := ask(); code != 200 {
		t.Errorf("with descriptors again: %d", code)
	}
	_ = p.stdin.Close()
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(p.stderr.String(), "too many open files") {
		t.Errorf("events: %q", p.stderr.String())
	}
	_ = open[len(open)-1].Close()
}

// say sends a request on a connection.
func say(t *testing.T, nc net.Conn) net.Conn {
	t.Helper()
	if _, err := io.WriteString(nc, request); err != nil {
		t.Fatal(err)
	}
	return nc
}
