package toolkit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

func TestHealthFollowsTheLife(t *testing.T) {
	g := newGate()
	r := run(t, loopback().Get("/slow", g.handle).ShutdownDelay(time.Hour))
	early, slow := r.dial(), r.dial()
	for path, want := range map[string]string{"/livez": "200 ok\n", "/readyz": "200 ok\n"} {
		if resp := early.get(path); resp.String() != want {
			t.Errorf("%s: %v", path, resp)
		}
		if resp := early.do("HEAD", path); resp.StatusCode != 200 || resp.text != "" || resp.ContentLength != 3 {
			t.Errorf("HEAD %s: %v, %d bytes long", path, resp, resp.ContentLength)
		}
	}
	slow.send("GET /slow HTTP/1.1\r\nHost: t\r\n\r\n")
	<-g.entered

	go r.Drain()
	<-r.Draining()
	if resp := early.get("/readyz"); resp.String() != "503 [-]server draining\n" || !resp.Close {
		t.Errorf("/readyz on a connection from before the drain: %v, close %v", resp, resp.Close)
	}
	if resp := r.dial().do("HEAD", "/readyz"); resp.StatusCode != 503 || resp.text != "" {
		t.Errorf("HEAD /readyz on a new connection: %v", resp)
	}
	if resp := r.dial().get("/livez"); resp.String() != "200 ok\n" {
		t.Errorf("/livez while draining: %v", resp)
	}
	close(g.release)
	if resp := slow.reply("GET"); resp.String() != "200 late" {
		t.Error(resp)
	}
}

func TestHealthBeforeAndAfterTheLife(t *testing.T) {
	s := build(t, loopback())
	look := func(phase string) {
		if got := got(call(s.Handler(), "GET", "/readyz")); got != "503 [-]server "+phase+"\n" {
			t.Errorf("/readyz: %s", got)
		}
		if got := got(call(s.Handler(), "GET", "/livez")); got != "200 ok\n" {
			t.Errorf("/livez: %s", got)
		}
	}
	look("new")
	s.Drain()
	look("draining")
	if err := s.Run(context.Background()); err != nil {
		t.Error(err)
	}
	look("stopped")
}

// The server answers no later than it says so: whoever sees Draining closed sees
// readiness red.
func TestReadinessIsRedOnceDrainingIsClosed(t *testing.T) {
	for range 50 {
		s := build(t, loopback().LastCall(0))
		seen := make(chan string)
		go func() {
			<-s.Draining()
			seen <- got(call(s.Handler(), "GET", "/readyz"))
		}()
		go func() { <-s.Reached(lifecycle.PhaseReady); s.Drain() }()
		if err := s.Run(context.Background()); err != nil {
			t.Error(err)
		}
		if got := <-seen; !strings.HasPrefix(got, "503 ") {
			t.Fatalf("/readyz: %s", got)
		}
	}
}

func TestReadyChecksAreListed(t *testing.T) {
	var log logs
	r := run(t, loopback().Logger(log.logger()).
		ReadyCheck("good", nop).
		ReadyCheck("fails", func(context.Context) error { return errors.New("password=secret") }).
		ReadyCheck("panics", func(context.Context) error { panic("secret, too") }).
		ReadyCheck("also good", nop))
	const want = "503 [+]good ok\n[-]fails failed\n[-]panics failed\n[+]also good ok\n"
	if resp := r.dial().get("/readyz"); resp.String() != want {
		t.Errorf("got %v, want %s", resp, want)
	}
	reasons := map[string]string{"fails": "password=secret", "panics": "panic: secret, too"}
	for _, line := range log.lines(t, "not ready") {
		check := fmt.Sprint(line["check"])
		if line["error"] != reasons[check] || line["level"] != "warn" {
			t.Errorf("logged %v", line)
		}
		delete(reasons, check)
	}
	if len(reasons) != 0 {
		t.Errorf("not logged: %v", reasons)
	}
}

func TestReadyChecksPass(t *testing.T) {
	var failing atomic.Bool
	r := run(t, loopback().ReadyCheck("a", nop).ReadyCheck("b", func(context.Context) error {
		if failing.Load() {
			return errors.New("for now")
		}
		return nil
	}))
	c := r.dial()
	for _, tt := range []struct {
		failing bool
		want    string
	}{
		{false, "200 [+]a ok\n[+]b ok\nok\n"}, {true, "503 [+]a ok\n[-]b failed\n"}, {false, "200 [+]a ok\n[+]b ok\nok\n"},
	} {
		failing.Store(tt.failing)
		if resp := c.get("/readyz"); resp.String() != tt.want {
			t.Errorf("failing %v: %v", tt.failing, resp)
		}
	}
}

func TestReadyCheckSeesItsDeadline(t *testing.T) {
	b := quiet().ReadyTimeout(3*time.Second).
		ReadyCheck("slow", func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }).
		ReadyCheck("too", func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
	bubble(t, b, func(t *testing.T, r *running) {
		c, began := r.dial(), time.Now()
		if resp := c.get("/readyz"); resp.String() != "503 [-]slow failed\n[-]too failed\n" {
			t.Error(resp)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("answered after %v: not side by side, or not in time", took)
		}
	})
}

// One check that is late does not make others fail that have passed long before.
func TestLateCheckFailsAlone(t *testing.T) {
	b := quiet().ReadyTimeout(time.Second).
		ReadyCheck("late", func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }).
		ReadyCheck("good", nop)
	bubble(t, b, func(t *testing.T, r *running) {
		c := r.dial()
		for range 50 {
			if resp := c.get("/readyz"); resp.String() != "503 [-]late failed\n[+]good ok\n" {
				t.Fatal(resp)
			}
		}
	})
}

func TestReadyTimeoutZeroIsNoLimit(t *testing.T) {
	b := quiet().ReadyTimeout(0).ReadyCheck("slow", func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); ok {
			return errors.New("there is a deadline")
		}
		time.Sleep(time.Hour)
		return nil
	})
	bubble(t, b, func(t *testing.T, r *running) {
		if resp := r.dial().get("/readyz"); resp.StatusCode != 200 {
			t.Error(resp)
		}
	})
}

// A check that hangs, and does not heed its context, takes one goroutine, and not
// one a probe.
func TestHangingCheckIsNotRepeated(t *testing.T) {
	b := quiet()
	var calls atomic.Int64
	var release chan struct{}
	b.ReadyTimeout(time.Second).ReadyCheck("hangs", func(context.Context) error {
		calls.Add(1)
		<-release
		return nil
	})
	bubble(t, b, func(t *testing.T, r *running) {
		release = make(chan struct{}) // of this bubble
		c := r.dial()
		for range 20 {
			began := time.Now()
			if resp := c.get("/readyz"); resp.String() != "503 [-]hangs failed\n" {
				t.Error(resp)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("a probe took %v", took)
			}
		}
		if n := calls.Load(); n != 1 {
			t.Errorf("%d checks hang", n)
		}
		close(release)
		synctest.Wait()
		if resp := c.get("/readyz"); resp.StatusCode != 200 {
			t.Errorf("when it hangs no more: %v", resp)
		}
		r.finish()
	})
}

// Two load balancers, or a probe and a person with curl, may ask at the same time.
func TestProbesAtTheSameTimeAgree(t *testing.T) {
	b := quiet().ReadyCheck("takes 10 ms", func(context.Context) error { time.Sleep(10 * time.Millisecond); return nil })
	bubble(t, b, func(t *testing.T, r *running) {
		one, two := r.dial(), r.dial()
		const probe = "GET /readyz HTTP/1.1\r\nHost: t\r\n\r\n"
		one.send(probe)
		time.Sleep(5 * time.Millisecond)
		two.send(probe)
		for _, c := range []*client{one, two} {
			if resp := c.reply("GET"); resp.StatusCode != 200 {
				t.Errorf("a server whose checks pass answers %v", resp)
			}
		}
	})
}

// A check that has returned may run again: nobody who asks twice in a row learns
// that the check before has not returned yet.
func TestProbesInARowAgree(t *testing.T) {
	h := run(t, loopback().ReadyCheck("passes", nop)).Handler()
	for i := range 20_000 {
		if got := got(call(h, "GET", "/readyz")); got != "200 [+]passes ok\nok\n" {
			t.Fatalf("probe %d: %s", i, got)
		}
	}
}

func TestHealthPaths(t *testing.T) {
	moved := run(t, loopback().HealthPaths("/-/alive", "/-/ready").Get("/livez", hello)).dial()
	for path, want := range map[string]string{"/-/alive": "200 ok\n", "/-/ready": "200 ok\n", "/livez": "200 hello", "/readyz": "404 Not Found"} {
		if resp := moved.get(path); resp.String() != want {
			t.Errorf("%s: %v", path, resp)
		}
	}
	for _, tt := range []struct{ live, ready, want string }{
		{"", "", "404 404"}, {"/livez", "", "200 404"}, {"", "/readyz", "404 200"},
	} {
		c := run(t, loopback().HealthPaths(tt.live, tt.ready)).dial()
		if got := fmt.Sprint(c.get("/livez").StatusCode, c.get("/readyz").StatusCode); got != tt.want {
			t.Errorf("HealthPaths(%q, %q): %s", tt.live, tt.ready, got)
		}
	}
}

func TestHealthRefusesOtherMethods(t *testing.T) {
	ctx := call(build(t, loopback()).Handler(), "POST", "/livez")
	if allow := string(ctx.Response.Header.Peek("Allow")); ctx.Response.StatusCode() != fasthttp.StatusMethodNotAllowed || allow != "GET, HEAD, OPTIONS" {
		t.Errorf("%s, Allow %q", got(ctx), allow)
	}
}
