package otel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/lastcall-go/lastcall/internal/servertest"
	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
	"github.com/lastcall-go/lastcall/toolkit/otel"
)

// ask makes a request on a connection of its own, and returns the body of the response when
// the connection has ended.
func ask(t *testing.T, s *servertest.Server, method, path string, headers ...string) (body string) {
	t.Helper()
	c := s.Dial()
	c.Ask(method, path, "", append(headers, "Connection", "close")...)
	text, err := io.ReadAll(c.R)
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ = strings.Cut(string(text), "\r\n\r\n")
	return body
}

// memory is a provider that keeps the spans that have ended.
func memory() (*tracetest.InMemoryExporter, *sdktrace.TracerProvider) {
	spans := tracetest.NewInMemoryExporter()
	return spans, sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
}

// one returns the one span there is, and forgets it.
func one(t *testing.T, spans *tracetest.InMemoryExporter) tracetest.SpanStub {
	t.Helper()
	all := spans.GetSpans()
	spans.Reset()
	if len(all) != 1 {
		t.Fatalf("%d spans: %+v", len(all), all)
	}
	return all[0]
}

// texts are a span's attributes, without those that differ from run to run.
func texts(s tracetest.SpanStub) (all []string) {
	for _, a := range s.Attributes {
		if a.Key != "network.peer.port" && a.Key != "server.port" {
			all = append(all, string(a.Key)+"="+a.Value.String())
		}
	}
	slices.Sort(all)
	return all
}

// value is that of an attribute, nil if there is none.
func value(s tracetest.SpanStub, key attribute.Key) any {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.AsInterface()
		}
	}
	return nil
}

// application has both kinds of routes.
func application(provider trace.TracerProvider) *toolkit.Builder {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /net/books/{id}", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/net/panic", func(http.ResponseWriter, *http.Request) { panic("on purpose") })
	mux.HandleFunc("/net/trace", func(w http.ResponseWriter, r *http.Request) { describe(w, r.Context()) })
	return servertest.Loopback().
		With(otel.Spans(provider)).
		Get("/books/{id}", func(*fasthttp.RequestCtx) {}).
		Any("/any", func(*fasthttp.RequestCtx) {}).
		Get("/panic", func(*fasthttp.RequestCtx) { panic("on purpose") }).
		Get("/trace", func(ctx *fasthttp.RequestCtx) { describe(ctx, otel.Context(ctx)) }).
		NetHTTP("/net/{path:*}", mux)
}

// describe says what a handler gets of a trace.
func describe(w io.Writer, ctx context.Context) { //nolint:revive // as fmt.Fprint
	span := trace.SpanContextFromContext(ctx)
	fmt.Fprintf(w, "%s %s %q", span.TraceID(), span.SpanID(), baggage.FromContext(ctx).Member("tenant").Value())
}

func TestAttributes(t *testing.T) {
	spans, provider := memory()
	r := servertest.Run(t, application(provider))
	for _, tt := range []struct {
		method, path, name string
		want               []string // that differ
	}{
		{"GET", "/books/7?q=a&sig=secret", "GET /books/{id}", []string{"http.route=/books/{id}", "url.path=/books/7", "url.query=q=a&sig=REDACTED"}},
		{"GET", "/net/books/7?q=a&X-Amz-Security-Token=secret", "GET /net/books/{id}", []string{"http.route=/net/books/{id}", "url.path=/net/books/7", "url.query=q=a&X-Amz-Security-Token=REDACTED"}},
	} {
		ask(t, r, tt.method, tt.path, "User-Agent", "tester", "Host", "books.example:8080")
		s := one(t, spans)
		want := slices.Concat(tt.want, []string{"client.address=127.0.0.1", "http.request.method=GET", "http.response.status_code=200",
			"network.peer.address=127.0.0.1", "network.protocol.version=1.1", "server.address=books.example",
			"url.scheme=http", "user_agent.original=tester"})
		slices.Sort(want)
		if got := texts(s); s.Name != tt.name || s.SpanKind != trace.SpanKindServer || !slices.Equal(got, want) {
			t.Errorf("%s %v\n%q\nwant %s\n%q", s.Name, s.SpanKind, got, tt.name, want)
		}
		if value(s, "server.port") != int64(8080) || value(s, "network.peer.port") == nil {
			t.Errorf("ports: %v", s.Attributes)
		}
		if s.Status.Code != codes.Unset || s.Parent.IsValid() {
			t.Errorf("%+v", s)
		}
	}
}

func TestOutcomes(t *testing.T) {
	spans, provider := memory()
	r := servertest.Run(t, application(provider))
	for _, tt := range []struct {
		method, path, name string
		status             int64
		failed             codes.Code
		errorType          any
	}{
		{"GET", "/nowhere", "GET", 404, codes.Unset, nil},
		{"GET", "/panic", "GET /panic", 500, codes.Error, "500"},
		{"BREW", "/any", "HTTP /any", 200, codes.Unset, nil},
		{"GET", "/net/nowhere", "GET /net/{path:*}", 404, codes.Unset, nil},
		{"GET", "/net/panic", "GET /net/panic", 500, codes.Error, "panic"},
	} {
		ask(t, r, tt.method, tt.path)
		s := one(t, spans)
		if s.Name != tt.name || value(s, "http.response.status_code") != tt.status || s.Status.Code != tt.failed || value(s, "error.type") != tt.errorType {
			t.Errorf("%s %s: %s %v %v", tt.method, tt.path, s.Name, s.Status, s.Attributes)
		}
		if tt.method == "BREW" && (value(s, "http.request.method") != "_OTHER" || value(s, "http.request.method_original") != "BREW") {
			t.Errorf("%v", s.Attributes)
		}
	}
	ask(t, r, "GET", "/livez")
	if all := spans.GetSpans(); len(all) != 0 {
		t.Errorf("a probe is traced: %+v", all)
	}
}

func TestTimedOut(t *testing.T) {
	spans, provider := memory()
	release := make(chan struct{})
	defer close(release)
	r := servertest.Run(t, servertest.Loopback().With(otel.Spans(provider)).
		Get("/stuck/{x}", fasthttp.TimeoutWithCodeHandler(func(*fasthttp.RequestCtx) { <-release }, time.Millisecond, "late", 503)))
	ask(t, r, "GET", "/stuck/1")
	if s := one(t, spans); s.Name != "GET /stuck/{x}" || value(s, "http.response.status_code") != int64(503) {
		t.Errorf("%s %v", s.Name, s.Attributes)
	}
}

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
)

// A trace comes in with the request, reaches the handler, and goes on from there.
func TestPropagation(t *testing.T) {
	spans, provider := memory()
	r := servertest.Run(t, application(provider))
	for _, path := range []string{"/trace", "/net/trace"} {
		body := ask(t, r, "GET", path, "Traceparent", "00-"+traceID+"-"+spanID+"-01", "Baggage", "tenant=acme")
		s := one(t, spans)
		if s.SpanContext.TraceID().String() != traceID || s.Parent.SpanID().String() != spanID || !s.Parent.IsRemote() {
			t.Errorf("%s: %+v", path, s)
		}
		if want := fmt.Sprintf("%s %s %q", traceID, s.SpanContext.SpanID(), "acme"); body != want {
			t.Errorf("%s: handler saw %s, want %s", path, body, want)
		}
		// Nonsense begins a new trace.
		ask(t, r, "GET", path, "Traceparent", "00-zz-1-01")
		if s := one(t, spans); s.Parent.IsValid() || !s.SpanContext.IsValid() {
			t.Errorf("%s: %+v", path, s)
		}
	}
}

func TestInject(t *testing.T) {
	spans, provider := memory()
	r := servertest.Run(t, servertest.Loopback().With(otel.Spans(provider)).Get("/", func(ctx *fasthttp.RequestCtx) {
		var req fasthttp.Request
		otel.Inject(otel.Context(ctx), &req.Header)
		fmt.Fprintf(ctx, "%s %s", req.Header.Peek("traceparent"), req.Header.Peek("baggage"))
	}))
	body := ask(t, r, "GET", "/", "Baggage", "tenant=acme")
	c := one(t, spans).SpanContext
	if want := fmt.Sprintf("00-%s-%s-01 tenant=acme", c.TraceID(), c.SpanID()); body != want {
		t.Errorf("%s, want %s", body, want)
	}
}

func TestContextOutsideOfATrace(t *testing.T) {
	var ctx fasthttp.RequestCtx
	if c := otel.Context(&ctx); trace.SpanContextFromContext(c).IsValid() {
		t.Error("a span")
	}
}

// logs takes a log.
type logs struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.text.String()), "\n")
}

func TestTraceInLog(t *testing.T) {
	var log logs
	spans, provider := memory()
	b := application(provider)
	r := servertest.Run(t, b.Logger(zerolog.New(&log)))
	before := len(log.lines())
	ask(t, r, "GET", "/panic")
	ask(t, r, "GET", "/net/panic")
	ids := make([]string, 0, 2)
	for _, s := range spans.GetSpans() {
		ids = append(ids, fmt.Sprintf(`"trace_id":%q,"span_id":%q`, s.SpanContext.TraceID(), s.SpanContext.SpanID()))
	}
	lines := log.lines()[before:]
	if len(lines) != 4 || len(ids) != 2 {
		t.Fatalf("%d spans, %q", len(ids), lines)
	}
	for i, line := range lines {
		if !strings.Contains(line, ids[i/2]) {
			t.Errorf("no %s in %s", ids[i/2], line)
		}
	}
}

func TestHTTP2(t *testing.T) {
	spans, provider := memory()
	r := servertest.Run(t, application(provider))
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols}
	defer transport.CloseIdleConnections()
	for path, name := range map[string]string{"/net/books/1": "GET /net/books/{id}", "/books/1": "GET /books/{id}"} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+r.Addr()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if s := one(t, spans); resp.StatusCode != 200 || s.Name != name || value(s, "network.protocol.version") != "2" {
			t.Errorf("%s: %s, %s %v", path, resp.Status, s.Name, s.Attributes)
		}
	}
}

// Behind a proxy the client is who the proxy says, and the peer is the proxy.
func TestBehindAProxy(t *testing.T) {
	spans, provider := memory()
	r := servertest.Run(t, application(provider).TrustedProxies("X-Forwarded-For", "127.0.0.0/8"))
	for _, path := range []string{"/books/1", "/net/books/1"} {
		ask(t, r, "GET", path, "X-Forwarded-For", "192.0.2.7")
		if s := one(t, spans); value(s, "client.address") != "192.0.2.7" || value(s, "network.peer.address") != "127.0.0.1" {
			t.Errorf("%s: %v", path, s.Attributes)
		}
	}
}

// The drain exports the last span, with OTLP over HTTP, before Run returns and after
// all other hooks.
func TestDrainFlushes(t *testing.T) {
	var mu sync.Mutex // guards names
	var names []string
	otlp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var req collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &req)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			http.Error(w, fmt.Sprint(r.URL.Path, err), http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, resource := range req.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				for _, span := range scope.GetSpans() {
					names = append(names, span.GetName())
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	defer otlp.Close()
	exporter, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpointURL(otlp.URL+"/v1/traces"), otlptracehttp.WithCompression(otlptracehttp.NoCompression))
	if err != nil {
		t.Fatal(err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter, sdktrace.WithBatchTimeout(time.Hour)))
	defer func() { _ = provider.Shutdown(context.Background()) }()

	entered, release := make(chan struct{}), make(chan struct{})
	r := servertest.Run(t, servertest.Loopback().
		PreExit("job", func(ctx context.Context) error {
			_, span := provider.Tracer("test").Start(ctx, "job at the end")
			span.End()
			return nil
		}).
		Get("/last", func(*fasthttp.RequestCtx) { close(entered); <-release }).
		With(otel.Spans(provider)))
	c := r.Dial()
	c.Ask("GET", "/last", "")
	<-entered
	r.Drain()
	close(release)
	if resp := c.Reply("GET"); resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
	if err := r.Wait(); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(names)
	if !slices.Equal(names, []string{"GET /last", "job at the end"}) {
		t.Errorf("exported %q", names)
	}
}

// failing is a provider whose spans cannot be exported.
type failing struct{ trace.TracerProvider }

func (failing) ForceFlush(context.Context) error { return errors.New("no collector") }

func TestFlushFails(t *testing.T) {
	r := servertest.Run(t, application(failing{noop.NewTracerProvider()}))
	ask(t, r, "GET", "/books/1")
	r.Drain()
	if err := r.Wait(); err == nil || !strings.Contains(err.Error(), `exit hook "traces": no collector`) {
		t.Error(err)
	}
}

// A provider that does nothing hands the trace through.
func TestNoop(t *testing.T) {
	r := servertest.Run(t, application(noop.NewTracerProvider()))
	for _, path := range []string{"/trace", "/net/trace"} {
		body := ask(t, r, "GET", path, "Traceparent", "00-"+traceID+"-"+spanID+"-01")
		if want := fmt.Sprintf("%s %s %q", traceID, spanID, ""); body != want {
			t.Errorf("%s: %s, want %s", path, body, want)
		}
	}
}

func TestMistakes(t *testing.T) {
	if _, err := servertest.Loopback().With(otel.Spans(nil)).Build(); err == nil || !strings.Contains(err.Error(), "otel.Spans(nil)") {
		t.Error(err)
	}
}

func Example() {
	spans := tracetest.NewInMemoryExporter() // in a program, one of OTLP
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans))
	srv, err := toolkit.New().
		Addr("127.0.0.1:0").
		Logger(zerolog.Nop()).
		With(otel.Spans(provider)).
		Get("/hello/{name}", func(ctx *fasthttp.RequestCtx) {
			_, span := provider.Tracer("example").Start(otel.Context(ctx), "greet")
			defer span.End()
			fmt.Fprintf(ctx, "Hello, %s!", ctx.UserValue("name"))
		}).
		Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	over := make(chan error)
	go func() { over <- srv.Run(context.Background()) }()
	<-srv.Reached(lifecycle.PhaseReady)
	resp, err := http.Get("http://" + srv.ListenAddrs()[0].String() + "/hello/Ada")
	if err != nil {
		fmt.Println(err)
		return
	}
	resp.Body.Close()
	srv.Drain()
	fmt.Println(<-over)
	for _, span := range spans.GetSpans() {
		fmt.Println(span.Name)
	}
	// Output:
	// <nil>
	// greet
	// GET /hello/{name}
}

func BenchmarkHandler(b *testing.B) {
	for name, extensions := range map[string][]toolkit.Extension{
		"without":   nil,
		"unsampled": {otel.Spans(sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())))},
		"sampled":   {otel.Spans(sdktrace.NewTracerProvider())},
	} {
		b.Run(name, func(b *testing.B) {
			s, err := servertest.Loopback().With(extensions...).Get("/hello", func(*fasthttp.RequestCtx) {}).Build()
			if err != nil {
				b.Fatal(err)
			}
			var req fasthttp.Request
			req.SetRequestURI("/hello")
			var ctx fasthttp.RequestCtx
			ctx.Init(&req, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, nil)
			h := s.Handler()
			b.ReportAllocs()
			for b.Loop() {
				h(&ctx)
				ctx.ResetUserValues()
				ctx.Response.Reset()
			}
		})
	}
}
