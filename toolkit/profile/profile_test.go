package profile_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
	"github.com/lastcall-go/lastcall/toolkit/profile"
)

// patience only turns a hang into a failure.
const patience = time.Minute

func TestMain(m *testing.M) {
	(&fasthttp.ResponseHeader{}).Header() // fasthttp's clock has no end
	pprof.NewProfile("example.com/jobs")
	pprof.NewProfile("trace") // which is another one here
	pprof.NewProfile("{bad}")
	pprof.NewProfile("worse/../trace")
	os.Exit(m.Run())
}

func loopback() *toolkit.Builder {
	return toolkit.New().Addr("127.0.0.1:0").Logger(zerolog.Nop()).LastCall(time.Millisecond).
		With(profile.At("/debug/pprof"))
}

// running is a server under test.
type running struct {
	*toolkit.Server
	t    *testing.T
	done chan error
}

func run(t *testing.T, b *toolkit.Builder) *running {
	t.Helper()
	s, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	r, ended := &running{s, t, make(chan error, 1)}, make(chan struct{})
	go func() {
		defer close(ended)
		r.done <- s.Run(context.Background())
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-ended
	})
	<-s.Reached(lifecycle.PhaseReady)
	return r
}

// wait waits for Run's return.
func (r *running) wait() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(patience):
		r.t.Fatalf("Run has not returned: %+v", r.Conns())
		return nil
	}
}

// awaitProfile waits until the CPU is being profiled, of which nothing else tells.
func awaitProfile(t *testing.T) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		n := runtime.Stack(stacks, true)
		if bytes.Contains(stacks[:n], []byte("runtime/pprof.profileWriter")) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited in vain\n%s", stacks[:n])
		}
	}
}

// client is one connection.
type client struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (r *running) dial() *client {
	r.t.Helper()
	nc, err := net.Dial("tcp", r.ListenAddrs()[0].String())
	if err != nil {
		r.t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	r.t.Cleanup(func() { _ = nc.Close() })
	return &client{nc, r.t, bufio.NewReader(nc)}
}

func (c *client) send(path, headers string) {
	fmt.Fprintf(c.Conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", path, headers)
}

func (c *client) reply() (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp, string(text)
}

func (c *client) get(path string) (status int, text string) {
	c.t.Helper()
	c.send(path, "")
	resp, text := c.reply()
	return resp.StatusCode, text
}

// A profile is compressed protocol buffers.
const gzipMagic = "\x1f\x8b"

// wantCPU wants a response with a profile.
func (c *client) wantCPU() {
	c.t.Helper()
	if resp, text := c.reply(); resp.StatusCode != 200 || !strings.HasPrefix(text, gzipMagic) {
		c.t.Errorf("%s %q", resp.Status, text)
	}
}

func TestProfiles(t *testing.T) {
	c := run(t, loopback()).dial()
	status, text := c.get("/debug/pprof/")
	links := regexp.MustCompile(`href="([^"]+)"`).FindAllStringSubmatch(text, -1)
	if status != 200 || len(links) < 9 {
		t.Fatalf("index: %d %s", status, text)
	}
	for _, link := range links {
		path := strings.Replace(link[1], "seconds=5", "seconds=0.01", 1)
		if status, text := c.get("/debug/pprof/" + path); status != 200 || len(text) < 10 {
			t.Errorf("%s: %d %q", path, status, text)
		}
	}
	for path, want := range map[string]string{
		"heap":                gzipMagic,
		"heap?gc=1&debug=1":   "heap profile: ",
		"goroutine":           gzipMagic,
		"goroutine?debug=2":   "goroutine ",
		"trace?seconds=0.01":  "go 1.",
		"profile?seconds=.01": gzipMagic,
	} {
		if status, text := c.get("/debug/pprof/" + path); status != 200 || !strings.HasPrefix(text, want) {
			t.Errorf("%s: %d %.20q", path, status, text)
		}
	}
	for path, want := range map[string]int{
		"profile?seconds=0": 400, "profile?seconds=x": 400, "profile?seconds=NaN": 400, "trace?seconds=1e9": 400,
		"heap?seconds=1": 400, "unknown": 404, "{bad}": 404, "cmdline": 404,
	} {
		if status, text := c.get("/debug/pprof/" + path); status != want {
			t.Errorf("%s: %d %.20q, want %d", path, status, text, want)
		}
	}
}

func TestGuards(t *testing.T) {
	everybody := func(next fasthttp.RequestHandler) fasthttp.RequestHandler { return next }
	r := run(t, loopback().With(profile.At("/open", everybody)))
	for path, want := range map[string]int{"/debug/pprof/": 403, "/debug/pprof/heap": 403, "/debug/pprof/profile": 403, "/debug/pprof/trace": 403, "/open/heap": 200} {
		c := r.dial()
		c.send(path, "X-Forwarded-For: 192.0.2.1\r\n")
		if resp, text := c.reply(); resp.StatusCode != want {
			t.Errorf("%s: %s %.40q, want %d", path, resp.Status, text, want)
		}
	}
}

// The begin of the drain ends a long profile, which arrives all the same.
func TestDrainEndsProfile(t *testing.T) {
	r := run(t, loopback().DrainTimeout(0))
	c := r.dial()
	c.send("/debug/pprof/profile?seconds=3600", "")
	awaitProfile(t)
	if status, text := r.dial().get("/debug/pprof/profile"); status != 409 {
		t.Errorf("a second one: %d %q", status, text)
	}
	r.Drain()
	c.wantCPU()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

// One that is asked for in the drain does not hold it beyond its deadline.
func TestProfileOfTheDrain(t *testing.T) {
	r := run(t, loopback().LastCall(patience).DrainTimeout(300*time.Millisecond).AbortTimeout(patience))
	c := r.dial()
	c.get("/livez")
	r.Drain()
	c.send("/debug/pprof/profile?seconds=3600", "")
	c.wantCPU()
	if err := r.wait(); !errors.Is(err, lifecycle.ErrDrainTimeout) {
		t.Error(err)
	}
	if cut := r.Report().Cut; len(cut) > 0 {
		t.Errorf("cut %+v", cut)
	}
}

// A client that goes leaves the profile to others.
func TestClientGoes(t *testing.T) {
	r := run(t, loopback())
	c := r.dial()
	c.send("/debug/pprof/profile?seconds=3600", "")
	awaitProfile(t)
	_ = c.Close()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		status, text := r.dial().get("/debug/pprof/profile?seconds=0.01")
		if status == 200 {
			return
		}
		if status != 409 || time.Now().After(end) {
			t.Fatalf("%d %q", status, text)
		}
	}
}

func TestMistakes(t *testing.T) {
	for _, path := range []string{"", "debug", "/debug/"} {
		_, err := toolkit.New().Addr("127.0.0.1:0").With(profile.At(path)).Build()
		if want := fmt.Sprintf("profile.At(%q)", path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s in %v", want, err)
		}
	}
}

func Example() {
	srv, err := toolkit.New().
		Addr("127.0.0.1:0").
		With(profile.At("/debug/pprof")).
		Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	var req fasthttp.Request
	req.SetRequestURI("http://localhost/debug/pprof/goroutine?debug=2")
	for _, from := range []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(192, 0, 2, 1)} {
		var ctx fasthttp.RequestCtx
		ctx.Init(&req, &net.TCPAddr{IP: from, Port: 1}, nil)
		srv.Handler()(&ctx)
		fmt.Printf("%d %.9s\n", ctx.Response.StatusCode(), ctx.Response.Body())
	}
	// Output:
	// 200 goroutine
	// 403 for clien
}
