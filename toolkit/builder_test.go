package toolkit

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/internal/testcert"
	"github.com/lastcall-go/lastcall/lifecycle"
)

func nop(context.Context) error { return nil }

// nothing is middleware that has forgotten its return value.
func nothing(fasthttp.RequestHandler) fasthttp.RequestHandler { return nil }

func TestBuildNamesTheCallThatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		want string
		set  func(b *Builder)
	}{
		{"ReadHeaderTimeout(-1s)", func(b *Builder) { b.ReadHeaderTimeout(-time.Second) }},
		{"ReadBodyTimeout(-1s)", func(b *Builder) { b.ReadBodyTimeout(-time.Second) }},
		{"WriteTimeout(-1s)", func(b *Builder) { b.WriteTimeout(-time.Second) }},
		{"IdleTimeout(-1s)", func(b *Builder) { b.IdleTimeout(-time.Second) }},
		{"TLSHandshakeTimeout(-1s)", func(b *Builder) { b.TLSHandshakeTimeout(-time.Second) }},
		{"MinReadRate(100, 0s)", func(b *Builder) { b.MinReadRate(100, 0) }},
		{"MinReadRate(0, 1s)", func(b *Builder) { b.MinReadRate(0, time.Second) }},
		{"MinWriteRate(-1, 1s)", func(b *Builder) { b.MinWriteRate(-1, time.Second) }},
		{"ShutdownDelay(-1s)", func(b *Builder) { b.ShutdownDelay(-time.Second) }},
		{"LastCall(-1s)", func(b *Builder) { b.LastCall(-time.Second) }},
		{"DrainTimeout(-1s)", func(b *Builder) { b.DrainTimeout(-time.Second) }},
		{"AbortTimeout(-1s)", func(b *Builder) { b.AbortTimeout(-time.Second) }},
		{"HookTimeout(-1s)", func(b *Builder) { b.HookTimeout(-time.Second) }},
		{"ReadyTimeout(-1s)", func(b *Builder) { b.ReadyTimeout(-time.Second) }},
		{"LastCall(UntilIdle) with IdleTimeout(0) and DrainTimeout(0)", func(b *Builder) {
			b.LastCall(UntilIdle).IdleTimeout(0).DrainTimeout(0)
		}},

		{"MaxHeaderSize(511)", func(b *Builder) { b.MaxHeaderSize(511) }},
		{"MaxBodySize(0)", func(b *Builder) { b.MaxBodySize(0) }},
		{"MaxConnAge(-1ns)", func(b *Builder) { b.MaxConnAge(-1) }},
		{"MaxConns(-1)", func(b *Builder) { b.MaxConns(-1) }},
		{"MaxConnsPerIP(-1)", func(b *Builder) { b.MaxConnsPerIP(-1) }},
		{"MaxRequestsPerConn(-1)", func(b *Builder) { b.MaxRequestsPerConn(-1) }},
		{"MaxInFlight(-1, 0s)", func(b *Builder) { b.MaxInFlight(-1, 0) }},
		{"MaxInFlight(1, -1s)", func(b *Builder) { b.MaxInFlight(1, -time.Second) }},

		{`TrustedProxies("X-Real-IP", ["10.0.0.0/8"])`, func(b *Builder) { b.TrustedProxies("X-Real-IP", "10.0.0.0/8") }},
		{`TrustedProxies("Forwarded", []): no network`, func(b *Builder) { b.TrustedProxies("Forwarded") }},
		{`TrustedProxies("Forwarded", ["10.0.0.0/33"])`, func(b *Builder) { b.TrustedProxies("Forwarded", "10.0.0.0/33") }},
		{`TrustedProxies("Forwarded", ["unix:" ""])`, func(b *Builder) { b.TrustedProxies("Forwarded", "unix:", "") }},
		{`TrustedProxies("Forwarded", ["fe80::1%eth0"])`, func(b *Builder) { b.TrustedProxies("Forwarded", "fe80::1%eth0") }},
		{"write it as IPv4", func(b *Builder) { b.TrustedProxies("Forwarded", "::ffff:10.0.0.0/104") }},
		{"ProxyProtocol([]): no network", func(b *Builder) { b.ProxyProtocol() }},
		{`ProxyProtocol(["unix:"])`, func(b *Builder) { b.ProxyProtocol("unix:") }},

		{"With: extension 1 is nil", func(b *Builder) { b.With(func(*Builder) error { return nil }, nil) }},
		{"With: page: no path", func(b *Builder) { b.With(func(*Builder) error { return errors.New("page: no path") }) }},
		{`Get("nowhere")`, func(b *Builder) { b.With(func(b *Builder) error { b.Get("nowhere", hello); return nil }) }},

		{`Addr("nonsense")`, func(b *Builder) { b.Addr("nonsense") }},
		{`Addr("")`, func(b *Builder) { b.Addr("") }},
		{`Addr("1.2.3.4")`, func(b *Builder) { b.Addr("1.2.3.4") }},
		{`Addr(":99999")`, func(b *Builder) { b.Addr(":99999") }},
		{`Addr("host:notaport")`, func(b *Builder) { b.Addr("host:notaport") }},
		{`Addr(":8080"): given twice`, func(b *Builder) { b.Addr(":8080").Addr(":8080") }},
		{"Listener", func(b *Builder) { b.Listener(nil) }},
		{`Unix("/tmp/s", `, func(b *Builder) { b.Unix("/tmp/s", fs.ModeSetuid|0o600) }},

		{`TLS("/no/cert.pem", "/no/key.pem")`, func(b *Builder) { b.TLS("/no/cert.pem", "/no/key.pem") }},
		{`TLS("", "")`, func(b *Builder) { b.TLS("", "") }}, // variables that are not set must not mean plain text
		{"TLS and TLSConfig", func(b *Builder) { b.TLS("cert.pem", "key.pem").TLSConfig(new(tls.Config)) }},
		{"TLSConfig: nil", func(b *Builder) { b.TLSConfig(nil) }},
		{`Handle("get", "/x"): methods are in upper case`, func(b *Builder) { b.Handle("get", "/x", hello) }},
		{"TLSConfig: no certificate", func(b *Builder) { b.TLSConfig(new(tls.Config)) }},

		{`Get("/x")`, func(b *Builder) { b.Get("/x", hello).Get("/x", hello) }},
		{`Post("x")`, func(b *Builder) { b.Post("x", hello) }},
		{`Put("")`, func(b *Builder) { b.Put("", hello) }},
		{`Delete("/{b:*}")`, func(b *Builder) { b.Delete("/{a:*}", hello).Delete("/{b:*}", hello) }},
		{`Patch("/x"): nil handler`, func(b *Builder) { b.Patch("/x", nil) }},
		{`Handle("/x"): method`, func(b *Builder) { b.Handle("", "/x", hello) }},
		{"Use: middleware 1 is nil", func(b *Builder) { b.Use(mark("a"), nil) }},
		{"Use: middleware returned a nil handler", func(b *Builder) { b.Use(nothing) }},
		{"Configure: function 1 is nil", func(b *Builder) { b.Configure(nil) }},

		{`Group("api")`, func(b *Builder) { b.Group("api", func(g *Group) { g.Get("/x", hello) }) }},
		{`Group("/api").Get("/api/x")`, func(b *Builder) { b.Group("/api", func(g *Group) { g.Get("/x", nil) }) }},
		{`Group("/a").Group("/b").Put("/a/b/x")`, func(b *Builder) {
			b.Group("/a", func(g *Group) { g.Group("/b", func(g *Group) { g.Put("/x", nil) }) })
		}},
		{`Group("/api")`, func(b *Builder) { b.Group("/api", nil) }},
		{"nil middleware", func(b *Builder) { b.Group("/api", func(g *Group) { g.Use(nil).Get("/x", hello) }) }},
		{`Group("/api").Get("/api/x"): middleware returned`, func(b *Builder) {
			b.Group("/api", func(g *Group) { g.Use(nothing).Get("/x", hello) })
		}},

		{`Use: Timeout(0s): not positive`, func(b *Builder) { b.Use(Timeout(0, "")) }},
		{`Use: LimitInFlight(0, 0s): less than one`, func(b *Builder) { b.Use(LimitInFlight(0, 0)) }},
		{`Use: LimitInFlight(1, -1s): less than one, or negative`, func(b *Builder) { b.Use(LimitInFlight(1, -time.Second)) }},
		{`Builder.Group("/api").Get("/api/x"): LimitInFlight(0, 0s)`, func(b *Builder) {
			b.Group("/api", func(g *Group) { g.Use(LimitInFlight(0, 0)).Get("/x", hello) })
		}},
		{`Use: SecurityHeaders: "X-A": "a\r\nb"`, func(b *Builder) { b.Use(SecurityHeaders(map[string]string{"X-A": "a\r\nb"})) }},
		{`Use: SecurityHeaders: "X A"`, func(b *Builder) { b.Use(SecurityHeaders(map[string]string{"X A": "a"})) }},
		{`Use: CORS: neither Origins nor Allow`, func(b *Builder) { b.Use(CORS(CORSOptions{})) }},
		{`CORS: "*" in Origins with Credentials`, func(b *Builder) { b.Use(CORS(CORSOptions{Origins: []string{"*"}, Credentials: true})) }},
		{`"*" in Origins beside other origins`, func(b *Builder) { b.Use(CORS(CORSOptions{Origins: []string{"*", "https://a.example"}})) }},
		{`"*" in Expose with Credentials`, func(b *Builder) {
			b.Use(CORS(CORSOptions{Origins: []string{"https://a.example"}, Expose: []string{"*"}, Credentials: true}))
		}},
		{`MaxAge -1s`, func(b *Builder) { b.Use(CORS(CORSOptions{Origins: []string{"*"}, MaxAge: -time.Second})) }},
		{`MaxAge 1.5s: not whole seconds`, func(b *Builder) {
			b.Use(CORS(CORSOptions{Origins: []string{"*"}, MaxAge: 1500 * time.Millisecond}))
		}},
		{`"X A" is not a token`, func(b *Builder) { b.Use(CORS(CORSOptions{Origins: []string{"*"}, Headers: []string{"X A"}})) }},
		{`"" is not a token`, func(b *Builder) { b.Use(CORS(CORSOptions{Origins: []string{"*"}, Methods: []string{""}})) }},
		{`Builder.Group("/x"): MaxBodySize(0): less than 1`, func(b *Builder) { b.Group("/x", func(g *Group) { g.MaxBodySize(0) }) }},
		{`Static("/a"): stat testdata/nothing`, func(b *Builder) { b.Static("/a", "testdata/nothing") }},
		{`Static("/"): "static.go" is not a directory`, func(b *Builder) { b.Static("/", "static.go") }},
		{`StaticFS("/a"): no files`, func(b *Builder) { b.StaticFS("/a", nil) }},
		{`Static("/a/{b}"): a prefix has no parameters`, func(b *Builder) { b.Static("/a/{b}", ".") }},
		{`Static("/a"): more than one Cache-Control`, func(b *Builder) { b.Static("/a", ".", "no-cache", "no-store") }},
		{`Static("/a"): Cache-Control "a\nb"`, func(b *Builder) { b.Static("/a", ".", "a\nb") }},
		{`Static("a`, func(b *Builder) { b.Static("a", ".") }},
		{`Builder.Group("/g").Static("/g/a"): stat`, func(b *Builder) { b.Group("/g", func(g *Group) { g.Static("/a", "testdata/nothing") }) }},

		{`OnStart("db"): nil`, func(b *Builder) { b.OnStart("db", nil) }},
		{`OnDrain("db"): timeout -1s`, func(b *Builder) { b.OnDrain("db", nop, -time.Second) }},
		{`PreExit("db"): timeout 0s`, func(b *Builder) { b.PreExit("db", nop, 0) }},
		{`PreExit("db"): more than one timeout`, func(b *Builder) { b.PreExit("db", nop, 1, 2) }},

		{`ReadyCheck("db"): nil`, func(b *Builder) { b.ReadyCheck("db", nil) }},
		{`ReadyCheck("db"): given twice`, func(b *Builder) { b.ReadyCheck("db", nop).ReadyCheck("db", nop) }},
		{`Get("/livez")`, func(b *Builder) { b.Get("/livez", hello) }},
		{`HealthPaths("health")`, func(b *Builder) { b.HealthPaths("health", "") }},
		{`HealthPaths("/health")`, func(b *Builder) { b.HealthPaths("/health", "/health") }},
	} {
		t.Run(tt.want, func(t *testing.T) {
			b := loopback()
			tt.set(b)
			s, err := b.Build()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one with %s", err, tt.want)
			}
			if s != nil {
				t.Error("a server beside an error")
			}
			if runErr := b.Run(); runErr == nil || runErr.Error() != err.Error() {
				t.Errorf("Run returned %v, Build %v", runErr, err)
			}
		})
	}
}

// An origin that browsers write otherwise would never match.
func TestBuildRefusesOriginsThatNoBrowserSends(t *testing.T) {
	for _, origin := range []string{
		"", "null", "app.example", "https://", "https://app.example/", "https://app.example/x", "https://App.example", "HTTPS://app.example", "https://äpp.example",
		"https://app.example:443", "http://app.example:80", "https://u@app.example", "https://app.example?x", "https://*", "https://*.", "https://a.*.example",
		"https://*.*.example", "https://*app.example", "*.example", "https://app.example, https://b.example",
	} {
		if _, err := loopback().Use(CORS(CORSOptions{Origins: []string{origin}})).Build(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("CORS: origin %q", origin)) {
			t.Errorf("%q: %v", origin, err)
		}
	}
}

func TestBuildWantsSomewhereToListen(t *testing.T) {
	cert := certificate()
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	for _, tt := range []struct {
		want string
		b    *Builder
	}{
		{"nowhere to listen", quiet()},
		{"TLS without a TCP address", quiet().Unix("/tmp/s", 0).TLSConfig(config)},
		{"ProxyProtocol without a TCP address", quiet().Unix("/tmp/s", 0).ProxyProtocol("10.0.0.0/8")},
	} {
		if _, err := tt.b.Build(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want one with %q", err, tt.want)
		}
	}
	for name, b := range map[string]*Builder{
		"Addr": quiet().Addr("127.0.0.1:0", "127.0.0.1:0", "[::1]:http"), "Unix": quiet().Unix("/tmp/s", 0o600),
	} {
		if _, err := b.Build(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBuildWrapsErrorsOfFiles(t *testing.T) {
	if _, err := loopback().TLS("/no/cert.pem", "/no/key.pem").Build(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	one := certificate()
	two := testcert.New()
	certFile, _ := certFiles(t, one)
	_, keyFile := certFiles(t, two)
	if _, err := loopback().TLS(certFile, keyFile).Build(); err == nil || !strings.Contains(err.Error(), "TLS(") {
		t.Errorf("the key of another certificate: %v", err)
	}
	if _, err := loopback().TLS(certFile, "").Build(); err == nil || !strings.Contains(err.Error(), "TLS(") {
		t.Errorf("no key: %v", err)
	}
}

func TestBuildReturnsAllMistakesTogether(t *testing.T) {
	_, err := quiet().Addr("nonsense").IdleTimeout(-1).MaxBodySize(-2).Get("x", nil).Use(nil).ReadyCheck("c", nil).TLS("a", "b").Build()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"Addr(", "IdleTimeout(", "MaxBodySize(", "Get(", "Use", "ReadyCheck(", "TLS("} {
		if !strings.Contains(err.Error(), "toolkit: "+want) {
			t.Errorf("no %s in:\n%v", want, err)
		}
	}
	for range 10 {
		b := quiet().OnStart("a", nil).OnDrain("b", nil).PreExit("c", nil)
		_, first := b.Build()
		if _, again := b.Build(); first.Error() != again.Error() {
			t.Fatalf("the same mistakes in another order:\n%v\n\n%v", first, again)
		}
	}
}

// Whatever a setter is called with, it is Build that says so, by an error.
func TestNothingPanics(t *testing.T) {
	b := New()
	v := reflect.ValueOf(b)
	for i := range v.NumMethod() {
		name, method := v.Type().Method(i).Name, v.Method(i)
		if name == "Build" || name == "Run" {
			continue
		}
		var args []reflect.Value
		for n := range method.Type().NumIn() {
			in := method.Type().In(n)
			if method.Type().IsVariadic() && n == method.Type().NumIn()-1 {
				in = in.Elem()
			}
			args = append(args, reflect.Zero(in))
		}
		if back := method.Call(args); back[0].Interface() != any(b) {
			t.Errorf("%s does not return its Builder", name)
		}
	}
	if _, err := b.Build(); err == nil {
		t.Error("no error for a builder of zero values")
	}
	if _, err := new(Builder).Build(); err == nil {
		t.Error("no error for the zero Builder")
	}
}

// Setters record, so that it is in Build that code of the user's runs.
func TestBuildReportsPanicsOfItsCallbacks(t *testing.T) {
	for name, b := range map[string]*Builder{
		"Use":       loopback().Use(func(fasthttp.RequestHandler) fasthttp.RequestHandler { panic("on purpose") }),
		"Configure": loopback().Configure(func(*fasthttp.Server) { panic("on purpose") }),
		"Group": loopback().Group("/api", func(g *Group) {
			g.Use(func(fasthttp.RequestHandler) fasthttp.RequestHandler { panic("on purpose") }).Get("/x", hello)
		}),
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if v := recover(); v != nil {
					t.Errorf("Build panicked: %v", v)
				}
			}()
			if _, err := b.Build(); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestLastCallOfAScalarWins(t *testing.T) {
	cert := certificate()
	certFile, keyFile := certFiles(t, cert)
	s := build(t, quiet().
		Unix("relative", fs.ModeDir).Unix("/tmp/s", 0o600).
		Addr("127.0.0.1:0").TLS("no", "such").TLS(certFile, keyFile).
		ReadHeaderTimeout(-1).ReadHeaderTimeout(1).ReadBodyTimeout(-1).ReadBodyTimeout(2).
		WriteTimeout(-1).WriteTimeout(3).IdleTimeout(-1).IdleTimeout(4).
		ShutdownDelay(-1).ShutdownDelay(5).LastCall(-1).LastCall(6).
		DrainTimeout(-1).DrainTimeout(7).AbortTimeout(-1).AbortTimeout(8).
		TLSHandshakeTimeout(-1).TLSHandshakeTimeout(12).MinReadRate(-1, -1).MinReadRate(13, 14).MinWriteRate(-1, -1).MinWriteRate(15, 16).
		HookTimeout(-1).HookTimeout(9).ReadyTimeout(-1).ReadyTimeout(10).
		MaxHeaderSize(-1).MaxHeaderSize(1000).MaxBodySize(-1).MaxBodySize(11).
		MaxConns(-1).MaxConns(12).MaxConnsPerIP(-1).MaxConnsPerIP(13).
		MaxRequestsPerConn(-1).MaxRequestsPerConn(14).
		KeepAlive(true).KeepAlive(false).
		HealthPaths("wrong", "wrong").HealthPaths("/l", "/r").
		NotFound(hello).NotFound(nil))
	h := s.HTTP
	if h.ReadTimeout != 1 || h.WriteTimeout != 3 || h.IdleTimeout != 4 || h.ReadBufferSize != 1000 || h.MaxRequestBodySize != 11 ||
		h.Concurrency != 12 || h.MaxConnsPerIP != 13 || h.MaxRequestsPerConn != 14 || !h.DisableKeepalive || len(h.TLSConfig.Certificates) != 1 {
		t.Errorf("fasthttp server %+v", h)
	}
	l := s.Server
	if l.TLSHandshakeTimeout != 12 || l.MinReadRate != (lifecycle.Rate{Bytes: 13, Per: 14}) || l.MinWriteRate != (lifecycle.Rate{Bytes: 15, Per: 16}) {
		t.Errorf("lifecycle server %+v", l)
	}
	if l.ShutdownDelay != 5 || l.LastCall != 6 || l.DrainTimeout != 7 || l.AbortTimeout != 8 || l.HookTimeout != 9 || l.UnixMode != 0o600 {
		t.Errorf("lifecycle server %+v", l)
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	if c := build(t, loopback().TLSConfig(new(tls.Config)).TLSConfig(config)).HTTP.TLSConfig; c.MinVersion != tls.VersionTLS13 {
		t.Errorf("TLS configuration %+v", c)
	}
	if addrs := strings.Join(l.Addrs, " "); addrs != "127.0.0.1:0 unix:/tmp/s" {
		t.Errorf("addresses %s", addrs)
	}
}

func TestZeroIsNoneWhereTheDocsSayNoLimit(t *testing.T) {
	l := build(t, loopback().LastCall(0).DrainTimeout(0).AbortTimeout(0).HookTimeout(0)).Server
	if l.LastCall >= 0 || l.DrainTimeout >= 0 || l.AbortTimeout >= 0 || l.HookTimeout >= 0 {
		t.Errorf("zero became a default of lifecycle: %+v", l)
	}
}

func TestDefaults(t *testing.T) {
	s := build(t, New().Addr("127.0.0.1:0"))
	h, l := s.HTTP, s.Server
	if h.ReadTimeout != DefaultReadHeaderTimeout || h.WriteTimeout != DefaultWriteTimeout || h.IdleTimeout != DefaultIdleTimeout ||
		h.ReadBufferSize != DefaultMaxHeaderSize || h.MaxRequestBodySize != DefaultMaxBodySize || h.DisableKeepalive {
		t.Errorf("fasthttp server %+v", h)
	}
	if l.LastCall != lifecycle.DefaultLastCall || l.DrainTimeout != lifecycle.DefaultDrainTimeout ||
		l.AbortTimeout != lifecycle.DefaultAbortTimeout || l.HookTimeout != lifecycle.DefaultHookTimeout || l.ShutdownDelay != 0 || l.Signals != nil {
		t.Errorf("lifecycle server %+v", l)
	}
	if l.MinReadRate != DefaultMinReadRate || l.MinWriteRate != DefaultMinWriteRate || l.TLSHandshakeTimeout != DefaultTLSHandshakeTimeout {
		t.Errorf("lifecycle server %+v", l)
	}
}

func TestBuildTakesASnapshot(t *testing.T) {
	var ran []string
	note := func(name string) lifecycle.HookFunc {
		return func(context.Context) error { ran = append(ran, name); return nil }
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	b := loopback().Get("/x", hello).PreExit("early", note("early"))
	first := build(t, b)
	b.Addr("127.0.0.1:0").Listener(ln).Get("/late", hello).Use(mark("late")).NotFound(answer("late")).
		ReadyCheck("late", nop).HealthPaths("/l", "/r").MaxBodySize(1).IdleTimeout(1).DrainTimeout(1).
		Configure(func(h *fasthttp.Server) { h.Name = "late" }).PreExit("late", note("late"))
	second := build(t, b)

	if len(first.Addrs) != 1 || len(first.Listeners) != 0 || first.HTTP.MaxRequestBodySize != DefaultMaxBodySize ||
		first.HTTP.IdleTimeout != DefaultIdleTimeout || first.DrainTimeout != lifecycle.DefaultDrainTimeout || first.HTTP.Name != "" {
		t.Errorf("changed by later calls: %+v", first.Server)
	}
	if code := call(first.Handler(), "GET", "/late").Response.StatusCode(); code != fasthttp.StatusNotFound {
		t.Errorf("a later route answers %d", code)
	}
	if ctx := call(second.Handler(), "GET", "/late"); got(ctx) != "200 hello" || ctx.UserValue("late") != true {
		t.Errorf("the second server answers %s", got(ctx))
	}
	if got := got(call(first.Handler(), "GET", "/livez")); got != "200 ok\n" {
		t.Errorf("/livez: %s", got)
	}

	second.PreExit("of the second alone", note("of the second alone"))
	first.Drain()
	if err := first.Run(context.Background()); err != nil || strings.Join(ran, ", ") != "early" {
		t.Errorf("Run: %v; hooks of the first: %q", err, ran)
	}
}

// A check that hangs on one server is none of another's business.
func TestTwoServersOfOneBuilderShareNothing(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	calls := make(chan struct{})
	b := loopback().ReadyTimeout(time.Millisecond).ReadyCheck("hangs", func(context.Context) error {
		calls <- struct{}{}
		<-release
		return nil
	})
	for range 2 {
		r := run(t, b)
		call(r.Handler(), "GET", "/readyz")
		select {
		case <-calls:
		case <-time.After(patience):
			t.Fatal("a server takes another's check for its own")
		}
	}
}

func TestBuildClonesTLSConfig(t *testing.T) {
	cert := certificate()
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	s := build(t, loopback().TLSConfig(config))
	config.MinVersion = tls.VersionTLS12
	config.Certificates = nil
	if c := s.HTTP.TLSConfig; c == config || c.MinVersion != tls.VersionTLS13 || len(c.Certificates) != 1 {
		t.Errorf("the server's configuration is %+v", c)
	}
	for _, config := range []*tls.Config{
		{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }},
		{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }},
	} {
		build(t, loopback().TLSConfig(config))
	}
}

func TestUnixPathIsCheckedByTheSystem(t *testing.T) {
	err := build(t, quiet().Unix(filepath.Join(t.TempDir(), "no", "such", "directory"), 0)).Run(context.Background())
	if !errors.Is(err, lifecycle.ErrStart) || !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
