package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/internal/servertest"
	"github.com/lastcall-go/lastcall/internal/testtool"
	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
	"github.com/lastcall-go/lastcall/toolkit/metrics"
)

func hello(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("hello") }

// scrape returns the lines of the metrics.
func scrape(t testing.TB, c *servertest.Client) []string {
	t.Helper()
	resp := c.Get("/metrics")
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/plain; version=0.0.4; charset=utf-8; escaping=underscores" {
		t.Fatalf("scrape: %s %v\n%s", resp.Status, resp.Header, resp.Text)
	}
	return strings.Split(resp.Text, "\n")
}

// wantLines wants each line to be there.
func wantLines(t *testing.T, lines []string, want ...string) {
	t.Helper()
	for _, line := range want {
		if slices.Contains(lines, line) {
			continue
		}
		name, _, _ := strings.Cut(line, " ")
		name, _, _ = strings.Cut(name, "{")
		t.Errorf("no line %s; there are %q", line, named(lines, name))
	}
}

// named are the lines of a metric.
func named(lines []string, name string) (of []string) {
	for _, line := range lines {
		if strings.HasPrefix(line, name+" ") || strings.HasPrefix(line, name+"{") {
			of = append(of, line)
		}
	}
	return of
}

// application has all kinds of routes.
func application() *toolkit.Builder {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /net/books/{id}", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	mux.HandleFunc("/net/panic", func(http.ResponseWriter, *http.Request) { panic("on purpose") })
	return servertest.Loopback().
		With(metrics.At("/metrics")).
		Get("/hello/{name}", hello).
		Any("/any", hello).
		Post("/post", hello).
		Get("/moved", func(ctx *fasthttp.RequestCtx) { ctx.Redirect("/any", 302) }).
		Get("/panic", func(*fasthttp.RequestCtx) { panic("on purpose") }).
		NetHTTP("/net/{path:*}", mux)
}

// exercise makes requests of all kinds.
func exercise(r *servertest.Server) {
	c := r.Dial()
	for i := range 3 {
		c.Get(fmt.Sprint("/hello/", i))
	}
	c.Do("POST", "/post", "body")
	c.Send("POST /post HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
	c.Reply("POST")
	c.Do("BREW", "/any", "")
	c.Do("MILK", "/any", "")
	c.Get("/moved")
	c.Get("/panic")
	c.Get("/livez")
	for i := range 5 {
		c.Get(fmt.Sprint("/unknown/", i))
	}
	c.Do("POST", "/net/books/7", "hello")
	c.Get("/net/books/7")
	c.Do("POST", "/net/nowhere", "")
	c.Get("/hello/again") // by the http.Server
	cut := r.Dial()
	cut.Ask("GET", "/net/panic", "")
	_, _ = io.Copy(io.Discard, cut.Conn)
}

func TestRequests(t *testing.T) {
	r := servertest.Run(t, application())
	exercise(r)
	lines := scrape(t, r.Dial())
	wantLines(t, lines,
		`lastcall_requests_total{method="GET",route="/hello/{name}",status="2xx"} 4`,
		`lastcall_request_duration_seconds_count{method="GET",route="/hello/{name}",status="2xx"} 4`,
		`lastcall_request_duration_seconds_bucket{method="GET",route="/hello/{name}",status="2xx",le="+Inf"} 4`,
		`lastcall_response_body_bytes_total{method="GET",route="/hello/{name}",status="2xx"} 20`,
		`lastcall_requests_total{method="POST",route="/post",status="2xx"} 2`,
		`lastcall_request_body_bytes_total{method="POST",route="/post",status="2xx"} 7`,
		`lastcall_requests_total{method="other",route="/any",status="2xx"} 2`,
		`lastcall_requests_total{method="GET",route="/moved",status="3xx"} 1`,
		`lastcall_requests_total{method="GET",route="/panic",status="5xx"} 1`,
		`lastcall_requests_total{method="GET",route="none",status="4xx"} 5`,
		`lastcall_requests_total{method="POST",route="/net/books/{id}",status="2xx"} 1`,
		`lastcall_request_body_bytes_total{method="POST",route="/net/books/{id}",status="2xx"} 5`,
		`lastcall_requests_in_flight 0`,
		`lastcall_panics_total 2`,
		`lastcall_requests_refused_total 0`,
	)
	if n := len(named(lines, "lastcall_requests_total")); n != 10 {
		t.Errorf("%d series of requests: %q", n, named(lines, "lastcall_requests_total"))
	}
	for _, line := range lines {
		if strings.Contains(line, "/livez") || strings.Contains(line, `"/metrics"`) {
			t.Errorf("a probe is counted: %s", line)
		}
	}
}

// Requests that come to no handler are counted by what they are answered.
func TestUnread(t *testing.T) {
	r := servertest.Run(t, application().MaxBodySize(10).MaxHeaderSize(1000).
		Configure(func(h *fasthttp.Server) {
			h.ErrorHandler = func(ctx *fasthttp.RequestCtx, err error) {
				lifecycle.AnswerError(ctx, err)
				if ctx.Response.StatusCode() == 400 {
					ctx.SetStatusCode(418)
				}
			}
		}))
	for _, text := range []string{
		"GET /any HTTP/1.1\r\nHost: t\r\nnonsense\r\n\r\n",
		"POST /post HTTP/1.1\r\nHost: t\r\nContent-Length: 11\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: t\r\nX: " + strings.Repeat("x", 2000) + "\r\n\r\n",
	} {
		c := r.Dial()
		c.Send(text)
		_, _ = io.Copy(io.Discard, c.Conn)
	}
	wantLines(t, scrape(t, r.Dial()),
		`lastcall_requests_unread_total{status="other"} 1`,
		`lastcall_requests_unread_total{status="400"} 0`,
		`lastcall_requests_unread_total{status="408"} 0`,
		`lastcall_requests_unread_total{status="413"} 1`,
		`lastcall_requests_unread_total{status="431"} 1`)
}

func TestConnections(t *testing.T) {
	r := servertest.Run(t, application().MaxConnsPerIP(3))
	for range 2 {
		r.Dial().Get("/any")
	}
	c := r.Dial()
	scrape(t, c)
	if resp := r.Get("/any"); resp.StatusCode != 429 {
		t.Error(resp.Status)
	}
	// The one that was refused may not be closed yet, and the others not idle.
	waitUntil(t, func() bool { return r.Counts() == lifecycle.Counts{Idle: 3} })
	wantLines(t, scrape(t, c),
		`lastcall_connections{state="active"} 1`,
		`lastcall_connections{state="idle"} 2`,
		`lastcall_connections{state="new"} 0`,
		`lastcall_connections{state="parked"} 0`,
		`lastcall_connections{state="hijacked"} 0`,
		`lastcall_connections_accepted_total 3`,
		`lastcall_connections_refused_total{reason="max_conns"} 0`,
		`lastcall_connections_refused_total{reason="max_conns_per_ip"} 1`,
		`lastcall_connections_refused_total{reason="no_descriptor"} 0`,
		`lastcall_connections_parked_total 0`,
		`lastcall_connections_unparked_total 0`,
		`lastcall_accept_errors_total 0`,
		`lastcall_starving 0`,
		`lastcall_slow_clients_total{slow="request"} 0`,
		`lastcall_slow_clients_total{slow="response"} 0`,
	)
}

// A scrape needs no place among the requests in flight, and is served in the drain.
func TestScrapeUnderLoadAndInTheDrain(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	r := servertest.Run(t, application().MaxInFlight(1, 0).DrainTimeout(servertest.Patience).ShutdownDelay(servertest.Patience).
		OnDrain("leave", func(context.Context) error { return nil }).
		Get("/held", func(*fasthttp.RequestCtx) { close(entered); <-release }))
	held := r.Dial()
	held.Ask("GET", "/held", "")
	<-entered
	if resp := r.Get("/any"); resp.StatusCode != 503 {
		t.Error(resp.Status)
	}
	wantLines(t, scrape(t, r.Dial()),
		`lastcall_requests_in_flight 1`, `lastcall_requests_refused_total 1`,
		`lastcall_phase{phase="ready"} 1`, `lastcall_phase{phase="draining"} 0`)

	r.Drain()
	waitUntil(t, func() bool { return len(r.Report().Hooks) == 1 })
	lines := scrape(t, r.Dial()) // a new connection, in ShutdownDelay
	wantLines(t, lines,
		`lastcall_phase{phase="ready"} 0`, `lastcall_phase{phase="draining"} 1`,
		`lastcall_hook_failures_total{name="leave",stage="drain"} 0`,
		`lastcall_drain_connections_accepted_total 1`,
		`lastcall_drain_connections_closed_total{how="last_called"} 0`,
		`lastcall_drain_connections_closed_total{how="cut"} 0`)
	for _, name := range []string{"lastcall_drain_deadline_timestamp_seconds", `lastcall_phase_seconds{phase="draining"}`, `lastcall_hook_duration_seconds{name="leave",stage="drain"}`} {
		if len(named(lines, name)) != 1 {
			t.Errorf("no %s", name)
		}
	}
	close(release)
}

func waitUntil(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(servertest.Patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}

// Metrics in a registry of one's own say how the life ended.
func TestIntoAfterTheEnd(t *testing.T) {
	registry := prometheus.NewRegistry()
	fail := func(context.Context) error { return errors.New("no") }
	r := servertest.Run(t, servertest.Loopback().With(metrics.Into(registry)).
		PreExit("twice", fail).PreExit("twice", fail).PreExit("bad\xff", func(context.Context) error { return nil }).
		Get("/end", func(ctx *fasthttp.RequestCtx) { toolkit.FromRequest(ctx).Drain() }))
	r.Dial().Get("/unknown") // and is idle
	r.Dial().Get("/end")
	if err := r.Wait(); err == nil {
		t.Error("no error")
	}
	lines := gather(t, registry)
	wantLines(t, lines,
		`lastcall_phase{phase="stopped"} 1`,
		`lastcall_drain_connections_accepted_total 0`,
		`lastcall_drain_connections_closed_total{how="last_called"} 1`,
		`lastcall_drain_connections_closed_total{how="cut"} 0`,
		`lastcall_drain_responses_told_total 1`,
		`lastcall_hook_failures_total{name="twice",stage="exit"} 2`,
		`lastcall_hook_failures_total{name="bad`+"\uFFFD"+`",stage="exit"} 0`)
	var spent int
	for _, line := range named(lines, "lastcall_phase_seconds") {
		if !strings.HasSuffix(line, " 0") {
			spent++
		}
	}
	if spent < 4 {
		t.Errorf("phases: %q", named(lines, "lastcall_phase_seconds"))
	}
}

// gather returns what a registry has, as a scrape would.
func gather(t *testing.T, from prometheus.Gatherer) []string {
	t.Helper()
	var ctx fasthttp.RequestCtx
	metrics.Handler(from)(&ctx)
	if ctx.Response.StatusCode() != 200 {
		t.Fatalf("%s", ctx.Response.Body())
	}
	return strings.Split(string(ctx.Response.Body()), "\n")
}

func TestMistakes(t *testing.T) {
	registry := prometheus.NewRegistry()
	for want, b := range map[string]*toolkit.Builder{
		`metrics.At("metrics")`:   servertest.Loopback().With(metrics.At("metrics")),
		`metrics.At("")`:          servertest.Loopback().With(metrics.At("")),
		`Probe("/a{b}")`:          servertest.Loopback().With(metrics.At("/a{b}")),
		`Probe("/taken")`:         servertest.Loopback().With(metrics.At("/taken")).Get("/taken", hello),
		`metrics.Into(nil)`:       servertest.Loopback().With(metrics.Into(nil)),
		`metrics.Into: duplicate`: servertest.Loopback().With(metrics.Into(registry), metrics.Into(registry)),
	} {
		if _, err := b.Build(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s in %v", want, err)
		}
	}
	// A server that could not be built is in no registry; two that were built have one each.
	registry = prometheus.NewRegistry()
	if _, err := toolkit.New().With(metrics.Into(registry)).Build(); err == nil {
		t.Error("built without an address")
	}
	if families, _ := registry.Gather(); len(families) != 0 {
		t.Errorf("gathered %v", families)
	}
	b := application()
	first, second := servertest.Run(t, b), servertest.Run(t, b)
	first.Dial().Get("/any")
	wantLines(t, scrape(t, first.Dial()), `lastcall_requests_total{method="GET",route="/any",status="2xx"} 1`)
	if got := named(scrape(t, second.Dial()), "lastcall_requests_total"); got != nil {
		t.Errorf("the other server's: %q", got)
	}
}

// Prometheus asks for protocol buffers, and gets native buckets beside the classic ones.
func TestNativeHistogram(t *testing.T) {
	r := servertest.Run(t, application())
	c := r.Dial()
	c.Get("/any")
	resp := c.Get("/metrics", "Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,text/plain;q=0.5")
	decoder := expfmt.NewDecoder(strings.NewReader(resp.Text), expfmt.ResponseFormat(resp.Header))
	for {
		var family dto.MetricFamily
		if err := decoder.Decode(&family); err != nil {
			t.Fatalf("no histogram: %v", err)
		}
		if family.GetName() != "lastcall_request_duration_seconds" {
			continue
		}
		h := family.GetMetric()[0].GetHistogram()
		if h.GetSampleCount() != 1 || h.GetSchema() != 3 || len(h.GetPositiveDelta()) != 1 || len(h.GetBucket()) != 13 {
			t.Errorf("%v", h)
		}
		return
	}
}

func TestScrapeIsCompressed(t *testing.T) {
	resp := servertest.Run(t, application()).Get("/metrics", "Accept-Encoding", "gzip")
	if got := resp.Header.Get("Content-Encoding"); got != "gzip" {
		t.Errorf("encoding %q", got)
	}
}

func TestGatherFails(t *testing.T) {
	var ctx fasthttp.RequestCtx
	metrics.Handler(prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return nil, errors.New("broken") }))(&ctx)
	if ctx.Response.StatusCode() != 500 {
		t.Error(ctx.Response.StatusCode())
	}
}

// New series may come up while others are counted and read.
func TestSeriesComeUpSideBySide(t *testing.T) {
	b := application()
	for i := range 50 {
		b.Get(fmt.Sprint("/many/", i), hello)
	}
	r := servertest.Run(t, b)
	var wg sync.WaitGroup
	for range 4 {
		c := r.Dial()
		wg.Go(func() {
			for i := range 50 {
				c.Get(fmt.Sprint("/many/", i))
				scrape(t, c)
			}
		})
	}
	wg.Wait()
	lines := named(scrape(t, r.Dial()), "lastcall_requests_total")
	for i := range 50 {
		wantLines(t, lines, fmt.Sprintf(`lastcall_requests_total{method="GET",route="/many/%d",status="2xx"} 4`, i))
	}
}

// Names, types and texts are as Prometheus wants them.
func TestPromtool(t *testing.T) {
	promtool := testtool.Find(t, "prometheus", "promtool")
	r := servertest.Run(t, application())
	exercise(r)
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics", "--extended")
	cmd.Stdin = strings.NewReader(strings.Join(scrape(t, r.Dial()), "\n"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "lastcall_request_duration_seconds") { // its table of cardinalities
		t.Errorf("promtool has seen nothing of ours:\n%s", out)
	}
}
