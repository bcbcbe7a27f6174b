package profile_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/internal/servertest"
	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
	"github.com/lastcall-go/lastcall/toolkit/profile"
)

func TestMain(m *testing.M) {
	pprof.NewProfile("example.com/jobs")
	pprof.NewProfile("trace") // which is another one here
	pprof.NewProfile("{bad}")
	pprof.NewProfile("worse/../trace")
	os.Exit(m.Run())
}

func loopback() *toolkit.Builder {
	return servertest.Loopback().With(profile.At("/debug/pprof"))
}

// awaitProfile waits until the CPU is being profiled, of which nothing else tells.
func awaitProfile(t *testing.T) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	for end := time.Now().Add(servertest.Patience); ; time.Sleep(time.Millisecond) {
		n := runtime.Stack(stacks, true)
		if bytes.Contains(stacks[:n], []byte("runtime/pprof.profileWriter")) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited in vain\n%s", stacks[:n])
		}
	}
}

// A profile is compressed protocol buffers.
const gzipMagic = "\x1f\x8b"

// wantCPU wants a response with a profile.
func wantCPU(t *testing.T, resp servertest.Reply) {
	t.Helper()
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Text, gzipMagic) {
		t.Errorf("%s %q", resp.Status, resp.Text)
	}
}

func TestProfiles(t *testing.T) {
	c := servertest.Run(t, loopback()).Dial()
	index := c.Get("/debug/pprof/")
	links := regexp.MustCompile(`href="([^"]+)"`).FindAllStringSubmatch(index.Text, -1)
	if index.StatusCode != 200 || len(links) < 9 {
		t.Fatalf("index: %s %s", index.Status, index.Text)
	}
	for _, link := range links {
		path := strings.Replace(link[1], "seconds=5", "seconds=0.01", 1)
		if resp := c.Get("/debug/pprof/" + path); resp.StatusCode != 200 || len(resp.Text) < 10 {
			t.Errorf("%s: %s %q", path, resp.Status, resp.Text)
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
		if resp := c.Get("/debug/pprof/" + path); resp.StatusCode != 200 || !strings.HasPrefix(resp.Text, want) {
			t.Errorf("%s: %s %.20q", path, resp.Status, resp.Text)
		}
	}
	for path, want := range map[string]int{
		"profile?seconds=0": 400, "profile?seconds=x": 400, "profile?seconds=NaN": 400, "trace?seconds=1e9": 400,
		"heap?seconds=1": 400, "unknown": 404, "{bad}": 404, "cmdline": 404,
	} {
		if resp := c.Get("/debug/pprof/" + path); resp.StatusCode != want {
			t.Errorf("%s: %s %.20q, want %d", path, resp.Status, resp.Text, want)
		}
	}
}

func TestGuards(t *testing.T) {
	everybody := func(next fasthttp.RequestHandler) fasthttp.RequestHandler { return next }
	r := servertest.Run(t, loopback().With(profile.At("/open", everybody)))
	for path, want := range map[string]int{"/debug/pprof/": 403, "/debug/pprof/heap": 403, "/debug/pprof/profile": 403, "/debug/pprof/trace": 403, "/open/heap": 200} {
		if resp := r.Get(path, "X-Forwarded-For", "192.0.2.1"); resp.StatusCode != want {
			t.Errorf("%s: %s %.40q, want %d", path, resp.Status, resp.Text, want)
		}
	}
}

// How long a request may take is not said of profiles.
func TestTimeout(t *testing.T) {
	c := servertest.Run(t, loopback().Use(toolkit.Timeout(10*time.Millisecond, "too late"))).Dial()
	wantCPU(t, c.Get("/debug/pprof/profile?seconds=.2"))
	if resp := c.Get("/debug/pprof/trace?seconds=.1"); resp.StatusCode != 200 || !strings.HasPrefix(resp.Text, "go 1.") {
		t.Errorf("trace: %s %.20q", resp.Status, resp.Text)
	}
}

// The begin of the drain ends a long profile, which arrives all the same.
func TestDrainEndsProfile(t *testing.T) {
	r := servertest.Run(t, loopback().DrainTimeout(0))
	c := r.Dial()
	c.Ask("GET", "/debug/pprof/profile?seconds=3600", "")
	awaitProfile(t)
	if resp := r.Get("/debug/pprof/profile"); resp.StatusCode != 409 {
		t.Errorf("a second one: %s %q", resp.Status, resp.Text)
	}
	r.Drain()
	wantCPU(t, c.Reply("GET"))
	if err := r.Wait(); err != nil {
		t.Error(err)
	}
}

// One that is asked for in the drain does not hold it beyond its deadline.
func TestProfileOfTheDrain(t *testing.T) {
	r := servertest.Run(t, loopback().LastCall(servertest.Patience).DrainTimeout(300*time.Millisecond).AbortTimeout(servertest.Patience))
	c := r.Dial()
	c.Get("/livez")
	r.Drain()
	c.Ask("GET", "/debug/pprof/profile?seconds=3600", "")
	wantCPU(t, c.Reply("GET"))
	if err := r.Wait(); !errors.Is(err, lifecycle.ErrDrainTimeout) {
		t.Error(err)
	}
	if cut := r.Report().Cut; len(cut) > 0 {
		t.Errorf("cut %+v", cut)
	}
}

// A client that goes leaves the profile to others.
func TestClientGoes(t *testing.T) {
	r := servertest.Run(t, loopback())
	c := r.Dial()
	c.Ask("GET", "/debug/pprof/profile?seconds=3600", "")
	awaitProfile(t)
	_ = c.Close()
	for end := time.Now().Add(servertest.Patience); ; time.Sleep(time.Millisecond) {
		resp := r.Get("/debug/pprof/profile?seconds=0.01")
		if resp.StatusCode == 200 {
			return
		}
		if resp.StatusCode != 409 || time.Now().After(end) {
			t.Fatalf("%s %q", resp.Status, resp.Text)
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
