package rehearsal

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/internal/testcert"
	"github.com/lastcall-go/lastcall/lifecycle"
)

// TestMain is also the program that the tests of Command run.
func TestMain(m *testing.M) {
	if addr := os.Getenv("REHEARSAL_SERVE"); addr != "" {
		serve(addr)
		return
	}
	os.Exit(m.Run())
}

// serve is a net/http server that ends at once, with the exit code 3.
func serve(addr string) {
	go func() { _ = http.ListenAndServe(addr, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) }()
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, syscall.SIGTERM)
	<-sig
	os.Exit(3)
}

func echo(ctx *fasthttp.RequestCtx) { ctx.SetBody(ctx.PostBody()) }

func server() *lifecycle.Server {
	parkAfter, _ := time.ParseDuration(os.Getenv("LASTCALL_PARK_AFTER")) // make test-parked
	return &lifecycle.Server{HTTP: &fasthttp.Server{Handler: echo}, Addrs: []string{"127.0.0.1:0"}, ParkAfter: parkAfter}
}

var serverTLS = sync.OnceValue(func() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{testcert.New()}}
})

var clientTLS = &tls.Config{InsecureSkipVerify: true}

// callers are some clients of the kinds that call on one connection, and silent ones.
var callers = []Clients{
	{Kind: KeepAlive, Count: 16, Pause: 5 * time.Millisecond, Body: 10},
	{Kind: Segmented, Count: 8, Body: 64 << 10},
	{Kind: Pipelined, Count: 4},
	{Kind: Silent, Count: 4},
}

func TestLifecycleLosesNothing(t *testing.T) {
	r := Run(t, Plan{Start: Server(server), Clients: append(callers, Clients{Kind: Fresh, Count: 4}), Rounds: 3})
	if r.Served == 0 || len(r.Drains) != 3 {
		t.Errorf("nothing was rehearsed: %v", r)
	}
	t.Log(r)
}

func TestLifecycleLosesNothingOverTLS(t *testing.T) {
	start := Server(func() *lifecycle.Server {
		s := server()
		s.HTTP.TLSConfig = serverTLS()
		s.LastCall = 750 * time.Millisecond // what the first request of a TLS connection depends on
		return s
	})
	r := Run(t, Plan{Start: start, Clients: callers, Rounds: 2, TLS: clientTLS, After: 200 * time.Millisecond})
	if r.Served == 0 {
		t.Errorf("nothing was rehearsed: %v", r)
	}
}

func TestLifecycleLosesNothingAtADistance(t *testing.T) {
	r := Run(t, Plan{
		Start: Server(func() *lifecycle.Server {
			s := server()
			s.LastCall = time.Second // for first requests, of clients that wait for a CPU
			return s
		}),
		Clients: []Clients{{Kind: KeepAlive, Count: 32, Pause: 5 * time.Millisecond}, {Kind: Silent, Count: 2}},
		Rounds:  3, Delay: 20 * time.Millisecond, After: 200 * time.Millisecond,
	})
	if r.Served == 0 || r.MedianDrain() < 40*time.Millisecond {
		t.Errorf("nothing has travelled: %v", r)
	}
}

// The kit is worth something only if it finds what is lost.
func TestLossesAreFound(t *testing.T) {
	closing := func() (*Target, error) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		s := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(time.Millisecond) })}
		done := make(chan error, 1)
		go func() { done <- s.Serve(ln) }()
		return &Target{Addr: ln.Addr().String(), Shutdown: s.Close, Wait: func() error {
			if err := <-done; !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		}}, nil
	}
	r, err := Plan{Start: closing, Clients: callers, Rounds: 2}.Rehearse()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Lost) == 0 || len(r.Errors) > 0 {
		t.Fatalf("a server that cuts everything has lost nothing: %v", r)
	}
	for _, l := range r.Lost {
		if l.Round < 1 || l.Round > 2 || l.Request < 1 || l.Ended == "" || l.Kind == Silent {
			t.Errorf("loss %+v", l)
		}
	}
	text := r.String()
	for _, want := range []string{"2 shutdowns", fmt.Sprintf("%d lost", len(r.Lost)), "keep-alive", "round 1: "} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
}

func TestAnAnswerThatNobodyAskedForIsFound(t *testing.T) {
	start := func() (*Target, error) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		h := &fasthttp.Server{Handler: echo, ReadTimeout: 10 * time.Millisecond}
		done := make(chan error, 1)
		go func() { done <- h.Serve(ln) }()
		return &Target{
			Addr:     ln.Addr().String(),
			Shutdown: func() error { return h.ShutdownWithContext(context.Background()) },
			Wait:     func() error { return <-done },
		}, nil
	}
	r, err := Plan{Start: start, Clients: []Clients{{Kind: Silent, Count: 3}}}.Rehearse()
	if err != nil || len(r.Lost) != 3 || !strings.Contains(r.Lost[0].String(), "408") {
		t.Errorf("%v, %v", r, err)
	}
}

func TestCommandIsStartedAndSignalled(t *testing.T) {
	addr, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	cmd := Command(os.Args[0])
	cmd.Env = []string{"REHEARSAL_SERVE=" + addr}
	r, err := Plan{Start: cmd.At(addr), Clients: []Clients{{Kind: KeepAlive, Count: 8}, {Kind: Half, Count: 1}}, Rounds: 2}.Rehearse()
	if err != nil {
		t.Fatal(err)
	}
	if r.Served == 0 || len(r.Errors) != 2 || !strings.Contains(r.String(), "exit status 3") {
		t.Errorf("result %v", r)
	}
}

func TestCommandThatDoesNotListen(t *testing.T) {
	addr, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	cmd := Command(os.Args[0], "-test.run=^$")
	if _, err := (Plan{Start: cmd.At(addr), Clients: callers}).Rehearse(); err == nil || !strings.Contains(err.Error(), "exited before it listened") {
		t.Errorf("error %v", err)
	}
	if _, err := (Plan{Start: Command("/does/not/exist").At(addr), Clients: callers}).Rehearse(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestPlanMistakes(t *testing.T) {
	_, err := Plan{}.Rehearse()
	for _, want := range []string{"Plan.Start is nil", "Plan.Clients is empty"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
	_, err = Plan{
		Start: Server(server), Rounds: -1, After: -1, Jitter: -1, Timeout: -1, Path: "no slash", Delay: -1,
		Clients: []Clients{
			{Kind: 99, Count: 1}, {}, {Count: 1, Path: "/a b"},
			{Count: 1, Pause: -1}, {Count: 1, Body: -1}, {Count: 1, Depth: -1}, {Count: 1, Gap: -1},
		},
	}.Rehearse()
	for _, want := range []string{
		"Plan.Rounds is", "Plan.After is", "Plan.Jitter is", "Plan.Timeout is", "Plan.Delay is", `Plan.Path: "no slash"`,
		"Clients[0]: Kind: unknown", "Clients[1]: Count: 0", `Clients[2]: Path: "/a b"`,
		"Clients[3]: Pause", "Clients[4]: Body", "Clients[5]: Depth", "Clients[6]: Gap",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
	_, err = Plan{Start: Server(func() *lifecycle.Server { return &lifecycle.Server{} }), Clients: callers}.Rehearse()
	if !errors.Is(err, lifecycle.ErrStart) {
		t.Errorf("a server that does not start: %v", err)
	}
}
