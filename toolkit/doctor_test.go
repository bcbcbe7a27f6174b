package toolkit

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// server is a Builder with an address and the defaults.
func server() *Builder { return New().Logger(zerolog.Nop()).Addr("127.0.0.1:0") }

func TestDefaultsAreNotDangerous(t *testing.T) {
	if w := build(t, New().Addr("127.0.0.1:0")).Warnings(); w != nil {
		t.Errorf("warnings %v", w)
	}
}

// Each danger, and what lies just before it.
func TestWarnings(t *testing.T) {
	cert := certificate()
	tlsFrom := func(version uint16) func(*Builder) {
		return func(b *Builder) {
			b.TLSConfig(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: version})
		}
	}
	configure := func(f func(h *fasthttp.Server)) func(*Builder) {
		return func(b *Builder) { b.Configure(f) }
	}
	for _, tt := range []struct {
		call            string // of the warning
		dangerous, fine func(b *Builder)
	}{
		{"ReadHeaderTimeout(0)", func(b *Builder) { b.ReadHeaderTimeout(0) }, func(b *Builder) { b.ReadHeaderTimeout(1) }},
		{"ReadHeaderTimeout(0)", configure(func(h *fasthttp.Server) { h.ReadTimeout = 0 }), configure(func(h *fasthttp.Server) { h.ReadTimeout = 1 })},
		{"ReadBodyTimeout(0)", func(b *Builder) { b.ReadBodyTimeout(0) }, func(b *Builder) { b.ReadBodyTimeout(1) }},
		{"WriteTimeout(0)", func(b *Builder) { b.WriteTimeout(0) }, func(b *Builder) { b.WriteTimeout(1) }},
		{"IdleTimeout(0)", func(b *Builder) { b.IdleTimeout(0) }, func(b *Builder) { b.IdleTimeout(1) }},
		{"IdleTimeout(0)", func(b *Builder) { b.IdleTimeout(0) }, func(b *Builder) { b.IdleTimeout(0).KeepAlive(false) }},
		{"IdleTimeout(1m0s)",
			func(b *Builder) { b.ShutdownDelay(1).IdleTimeout(time.Minute) },
			func(b *Builder) { b.ShutdownDelay(1).IdleTimeout(time.Minute + 1) }},
		{"IdleTimeout(1m0s)",
			func(b *Builder) { b.ShutdownDelay(1).IdleTimeout(time.Minute) },
			func(b *Builder) { b.ShutdownDelay(0).IdleTimeout(time.Minute) }},
		{"Configure: WriteTimeout 1h0m0s",
			func(b *Builder) { b.WriteTimeout(0).Configure(func(h *fasthttp.Server) { h.WriteTimeout = time.Hour }) },
			func(b *Builder) { b.WriteTimeout(1).Configure(func(h *fasthttp.Server) { h.WriteTimeout = time.Hour }) }},

		{"LastCall(0s)", func(b *Builder) { b.LastCall(0) }, func(b *Builder) { b.LastCall(0).KeepAlive(false) }},
		{"LastCall(49.999999ms)",
			func(b *Builder) { b.LastCall(50*time.Millisecond - 1) }, func(b *Builder) { b.LastCall(50 * time.Millisecond) }},
		{"LastCall(1s), DrainTimeout(1s)",
			func(b *Builder) { b.LastCall(time.Second).DrainTimeout(time.Second) },
			func(b *Builder) { b.LastCall(time.Second).DrainTimeout(time.Second + 1) }},
		{"LastCall(1s), DrainTimeout(1s)",
			func(b *Builder) { b.LastCall(time.Second).DrainTimeout(time.Second) },
			func(b *Builder) { b.LastCall(time.Second).DrainTimeout(0) }},
		{"LastCall(1s), DrainTimeout(1s)",
			func(b *Builder) { b.LastCall(time.Second).DrainTimeout(time.Second) },
			func(b *Builder) { b.LastCall(time.Second).DrainTimeout(time.Second).ShutdownDelay(1) }},
		{"LastCall(0s)", func(b *Builder) { b.LastCall(0) }, func(b *Builder) { b.LastCall(0).ShutdownDelay(50 * time.Millisecond) }},
		{"LastCall(0s)",
			func(b *Builder) { b.LastCall(0).ShutdownDelay(50*time.Millisecond - 1) },
			func(b *Builder) { b.LastCall(0).ShutdownDelay(time.Second) }},
		{"LastCall(UntilIdle), IdleTimeout(1s), DrainTimeout(1s)",
			func(b *Builder) { b.LastCall(UntilIdle).IdleTimeout(time.Second).DrainTimeout(time.Second) },
			func(b *Builder) { b.LastCall(UntilIdle).IdleTimeout(time.Second).DrainTimeout(time.Second + 1) }},
		{"LastCall(UntilIdle), IdleTimeout(0s), DrainTimeout(1s)",
			func(b *Builder) { b.LastCall(UntilIdle).IdleTimeout(0).DrainTimeout(time.Second) },
			func(b *Builder) { b.LastCall(UntilIdle).IdleTimeout(1).DrainTimeout(time.Second) }},
		{"LastCall(UntilIdle), IdleTimeout(1m15s), DrainTimeout(30s)",
			func(b *Builder) { b.LastCall(UntilIdle) }, func(b *Builder) { b.LastCall(UntilIdle).KeepAlive(false) }},
		{"MaxRequestsPerConn(1), KeepAlive(false)",
			func(b *Builder) { b.MaxRequestsPerConn(1).KeepAlive(false) }, func(b *Builder) { b.MaxRequestsPerConn(1) }},
		{"ReadyTimeout(1s)",
			func(b *Builder) { b.ReadyCheck("c", nop).ReadyTimeout(time.Second) },
			func(b *Builder) { b.ReadyCheck("c", nop).ReadyTimeout(time.Second - 1) }},
		{"ReadyTimeout(0s)",
			func(b *Builder) { b.ReadyCheck("c", nop).ReadyTimeout(0) }, func(b *Builder) { b.ReadyTimeout(0) }},
		{"ReadyTimeout(0s)",
			func(b *Builder) { b.ReadyCheck("c", nop).ReadyTimeout(0) },
			func(b *Builder) { b.ReadyCheck("c", nop).ReadyTimeout(0).HealthPaths("/l", "") }},

		{"TLSConfig", tlsFrom(tls.VersionTLS11), tlsFrom(tls.VersionTLS12)},
		{"TLSConfig", tlsFrom(tls.VersionTLS10), tlsFrom(0)}, // Go's own default is 1.2
		{"IdleTimeout(1m0s)",
			func(b *Builder) { b.TrustedProxies("Forwarded", "192.0.2.1").IdleTimeout(time.Minute) },
			func(b *Builder) { b.TrustedProxies("Forwarded", "192.0.2.1").IdleTimeout(time.Minute + 1) }},
		{"IdleTimeout(1m0s)",
			func(b *Builder) { b.ProxyProtocol("192.0.2.1").IdleTimeout(time.Minute) },
			func(b *Builder) { b.IdleTimeout(time.Minute) }},
		{`MaxConnsPerIP(9), TrustedProxies("Forwarded", ["192.0.2.1"])`,
			func(b *Builder) { b.TrustedProxies("Forwarded", "192.0.2.1").MaxConnsPerIP(9) },
			func(b *Builder) {
				b.TrustedProxies("Forwarded", "192.0.2.1").MaxConnsPerIP(9).ProxyProtocol("192.0.2.1")
			}},
		{"Configure: Handler",
			configure(func(h *fasthttp.Server) { h.Handler = hello }), configure(func(h *fasthttp.Server) { h.Name = "n" })},
		{"Configure: Handler",
			configure(func(h *fasthttp.Server) { h.Handler = mark("m")(h.Handler) }), func(b *Builder) { b.Use(mark("m")) }},

		{"TerminationGracePeriod(30s), DrainTimeout(0)",
			func(b *Builder) { b.TerminationGracePeriod(30 * time.Second).DrainTimeout(0) }, func(b *Builder) { b.DrainTimeout(0) }},
		{"TerminationGracePeriod(30s), HookTimeout(0)",
			func(b *Builder) { b.TerminationGracePeriod(30*time.Second).HookTimeout(0).PreExit("a", nop) },
			func(b *Builder) { b.TerminationGracePeriod(30*time.Second).HookTimeout(0).PreExit("a", nop, 1) }},
		{"TerminationGracePeriod(30s)",
			func(b *Builder) {
				b.TerminationGracePeriod(30 * time.Second).DrainTimeout(28*time.Second + 1).AbortTimeout(time.Second)
			},
			func(b *Builder) {
				b.TerminationGracePeriod(30 * time.Second).DrainTimeout(28 * time.Second).AbortTimeout(time.Second)
			}},
		{"TerminationGracePeriod(10s)", // nothing can be derived that makes these hooks fit
			func(b *Builder) { b.TerminationGracePeriod(10*time.Second).PreExit("a", nop, 10*time.Second) },
			func(b *Builder) { b.TerminationGracePeriod(10*time.Second).PreExit("a", nop, 8*time.Second) }},
	} {
		t.Run(tt.call, func(t *testing.T) {
			b := server()
			tt.dangerous(b)
			found := find(build(t, b).Warnings(), tt.call)
			if found == nil || found.Danger == "" || found.Reason == "" {
				t.Errorf("warnings %v; want one of %s", build(t, b).Warnings(), tt.call)
			}
			b = server()
			tt.fine(b)
			for _, w := range build(t, b).Warnings() {
				if strings.SplitN(w.Call, "(", 2)[0] == strings.SplitN(tt.call, "(", 2)[0] {
					t.Errorf("warns of what is fine: %v", w)
				}
			}
		})
	}
}

func find(warnings []Warning, call string) *Warning {
	for i := range warnings {
		if warnings[i].Call == call {
			return &warnings[i]
		}
	}
	return nil
}

// Whoever can reach a Unix socket is on the machine.
func TestWaitsWithoutEndAreForTCP(t *testing.T) {
	unlimited := func(b *Builder) *Builder {
		return b.ReadHeaderTimeout(0).ReadBodyTimeout(0).WriteTimeout(0).IdleTimeout(0)
	}
	if w := build(t, unlimited(quiet()).Unix("/tmp/s", 0)).Warnings(); w != nil {
		t.Errorf("on a Unix socket: %v", w)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	if w := build(t, unlimited(quiet().LastCall(lifecycle.DefaultLastCall)).Listener(ln)).Warnings(); len(w) != 4 {
		t.Errorf("on a listener that was handed in: %v", w)
	}
}

// The panic that Configure lets through would end the process: this is what the
// warning is for. Use keeps it inside.
func TestHandlerOfConfigureIsOutsideOfRecovery(t *testing.T) {
	bad := func(fasthttp.RequestHandler) fasthttp.RequestHandler {
		return func(*fasthttp.RequestCtx) { panic("on purpose") }
	}
	outside := build(t, server().Configure(func(h *fasthttp.Server) { h.Handler = bad(h.Handler) }))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("recovered: the warning is wrong")
			}
		}()
		call(outside.HTTP.Handler, "GET", "/")
	}()
	if code := call(build(t, server().Use(bad)).HTTP.Handler, "GET", "/").Response.StatusCode(); code != 500 {
		t.Errorf("status %d", code)
	}
}

func TestGracePeriodDerivesWhatIsNotSet(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name               string
		set                func(b *Builder)
		drain, abort, hook time.Duration // hook: of an exit hook
	}{
		{"nothing stated", func(*Builder) {}, 30 * s, s, 10 * s},
		{"Kubernetes", func(b *Builder) { b.TerminationGracePeriod(30 * s) }, 28 * s, s, 28 * s / 3},
		{"docker stop", func(b *Builder) { b.TerminationGracePeriod(10 * s) }, 8100 * time.Millisecond, 900 * time.Millisecond, 2700 * time.Millisecond},
		{"systemd", func(b *Builder) { b.TerminationGracePeriod(90 * s) }, 88 * s, s, 10 * s},
		{"a delay", func(b *Builder) { b.TerminationGracePeriod(30 * s).ShutdownDelay(9 * s) }, 19 * s, s, 19 * s / 3},
		{"drain set", func(b *Builder) { b.TerminationGracePeriod(30 * s).DrainTimeout(25 * s) }, 25 * s, s, 3 * s},
		{"abort set", func(b *Builder) { b.TerminationGracePeriod(30 * s).AbortTimeout(2 * s) }, 27 * s, 2 * s, 9 * s},
		{"no abort", func(b *Builder) { b.TerminationGracePeriod(30 * s).AbortTimeout(0) }, 29 * s, -1, 29 * s / 3},
		{"hooks set", func(b *Builder) { b.TerminationGracePeriod(30 * s).HookTimeout(5 * s) }, 28 * s, s, 5 * s},
		{"all set", func(b *Builder) {
			b.TerminationGracePeriod(30 * s).DrainTimeout(s).AbortTimeout(2 * s).HookTimeout(3 * s)
		}, s, 2 * s, 3 * s},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := server()
			tt.set(b)
			l := build(t, b)
			if l.DrainTimeout != tt.drain || l.AbortTimeout != tt.abort || l.Warnings() != nil {
				t.Errorf("without hooks: DrainTimeout %v, AbortTimeout %v, warnings %v; want %v, %v", l.DrainTimeout, l.AbortTimeout, l.Warnings(), tt.drain, tt.abort)
			}

			got := time.Duration(-1)
			b.PreExit("a", func(ctx context.Context) error {
				at, _ := ctx.Deadline()
				got = time.Until(at).Round(50 * time.Millisecond)
				return nil
			}).OnStart("s", nop)
			l = build(t, b)
			l.Drain() // before Run: the exit hooks are all that runs
			if err := l.Run(context.Background()); err != nil {
				t.Fatal(err)
			}
			if want := tt.hook.Round(50 * time.Millisecond); got > want || got < want-10*s/10 {
				t.Errorf("an exit hook has %v; want %v", got, tt.hook)
			}
			if want := max(b.hookTimeout, 0); l.HookTimeout != want {
				t.Errorf("other hooks have %v; want %v", l.HookTimeout, want)
			}
			if b.gracePeriod > 0 && l.Warnings() != nil {
				t.Errorf("what was derived does not fit: %v", l.Warnings())
			}
		})
	}
}

// Whatever is left to be derived fits, with as many hooks as there may be.
func TestWhatIsDerivedFits(t *testing.T) {
	for _, period := range []time.Duration{time.Millisecond, time.Second, 10 * time.Second, 30 * time.Second, time.Hour, math.MaxInt64} {
		b := server().TerminationGracePeriod(period).LastCall(100 * time.Microsecond).KeepAlive(false)
		for n := range 20 {
			if w := build(t, b).Warnings(); w != nil {
				t.Errorf("%v, %d hooks: %v", period, n, w)
			}
			b.PreExit(fmt.Sprint(n), nop)
		}
	}
}

func TestGracePeriodRefusesTheImpossible(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		want string
		b    *Builder
	}{
		{"TerminationGracePeriod(-1s): negative", server().TerminationGracePeriod(-s)},
		{"TerminationGracePeriod(30s): no time to drain beside ShutdownDelay(29s)", server().TerminationGracePeriod(30 * s).ShutdownDelay(29 * s)},
		{"TerminationGracePeriod(30s): no time to drain beside ShutdownDelay(20s) and AbortTimeout(9s)",
			server().TerminationGracePeriod(30 * s).ShutdownDelay(20 * s).AbortTimeout(9 * s)},
		{"ShutdownDelay(2562047h47m16.854775807s)", server().TerminationGracePeriod(30 * s).ShutdownDelay(math.MaxInt64).AbortTimeout(math.MaxInt64)},
	} {
		if _, err := tt.b.Build(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v; want %s", err, tt.want)
		}
	}
	for _, b := range []*Builder{
		server().TerminationGracePeriod(30 * s).ShutdownDelay(29*s - 1),
		server().TerminationGracePeriod(30 * s).ShutdownDelay(20 * s).AbortTimeout(9*s - 1),
		server().LastCall(UntilIdle).IdleTimeout(0).DrainTimeout(0).DrainTimeout(s),
	} {
		build(t, b)
	}
}

func TestSumsDoNotOverflow(t *testing.T) {
	b := server().TerminationGracePeriod(time.Minute).DrainTimeout(math.MaxInt64).HookTimeout(math.MaxInt64).
		PreExit("a", nop).PreExit("b", nop).PreExit("c", nop, math.MaxInt64)
	if find(build(t, b).Warnings(), "TerminationGracePeriod(1m0s)") == nil {
		t.Errorf("warnings %v", build(t, b).Warnings())
	}
}

func TestWarningsAreLoggedOnceAtStart(t *testing.T) {
	var out logs
	r := run(t, server().Logger(out.logger()).WriteTimeout(0).LastCall(0))
	r.finish()
	if len(r.Warnings()) != 2 {
		t.Fatalf("warnings %v", r.Warnings())
	}
	for _, w := range r.Warnings() {
		line := out.line(t, w.Danger)
		if line["level"] != "warn" || line["call"] != w.Call || line["reason"] != w.Reason {
			t.Errorf("line %v of %v", line, w)
		}
	}
	text, err := json.Marshal(r.Warnings()[0])
	if err != nil || !strings.HasPrefix(string(text), `{"call":"WriteTimeout(0)","danger":`) {
		t.Errorf("JSON %s, %v", text, err)
	}
	if s := r.Warnings()[0].String(); !strings.HasPrefix(s, "WriteTimeout(0): ") {
		t.Error(s)
	}
	r.Warnings()[0].Call = "changed"
	if r.Warnings()[0].Call == "changed" {
		t.Error("Warnings hands out its own")
	}
}

func TestBuildRefusesWhatCannotWork(t *testing.T) {
	cert := certificate()
	var none *net.TCPListener
	for _, tt := range []struct {
		want string
		b    *Builder
	}{
		{"Configure: Handler is nil", server().Configure(func(h *fasthttp.Server) { h.Handler = nil })},
		{"TLSConfig: NextProtos offers h2", server().TLSConfig(&tls.Config{
			Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12,
		})},
		{"MaxHeaderSize(16777217)", server().MaxHeaderSize(16<<20 + 1)},
		{"Listener: listener 0 is nil", quiet().Listener(none)},
	} {
		if _, err := tt.b.Build(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v; want %s", err, tt.want)
		}
	}
	build(t, server().MaxHeaderSize(16<<20))
}
