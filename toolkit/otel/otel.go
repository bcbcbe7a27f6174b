// Package otel traces the requests of a toolkit server with OpenTelemetry.
//
//	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
//	toolkit.New().
//		Addr(":8080").
//		With(otel.Spans(provider)).
//		Get("/hello/{name}", hello).
//		Run()
//
// Each request, for a native handler or one of net/http, is a server span by the
// semantic conventions for HTTP (https://opentelemetry.io/docs/specs/semconv/http/http-spans/,
// the stable ones). It continues the trace of the caller, as W3C's headers traceparent, tracestate and
// baggage tell of it. Probes, such as the health endpoints, are not traced; nor is
// what fasthttp or net/http refuse before there is a handler.
//
// A span begins when the request has been read, and ends when its handler has
// returned: before the response is sent, or a streamed one made. Lines of the log about a request
// have trace_id and span_id. When all connections are gone, and after all other
// exit hooks, what has not been exported yet is. A span costs some 6 us, one that is not
// sampled 2.
package otel

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/lastcall-go/lastcall/toolkit"
)

// scope names the spans' instrumentation.
const scope = "github.com/lastcall-go/lastcall/toolkit/otel"

// w3c is how traces cross processes.
var w3c = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// Spans traces the server's requests with a provider. If that has a method ForceFlush, as
// the SDK's has, an exit hook "traces" calls it; where that fails, as where there is no
// collector, a hook has failed. To shut it down is for who made it.
func Spans(provider trace.TracerProvider) toolkit.Extension {
	return func(b *toolkit.Builder) error {
		if provider == nil {
			return errors.New("otel.Spans(nil)")
		}
		t := &tracing{tracer: provider.Tracer(scope), life: context.Background()}
		b.Observe(toolkit.Observer{Native: t.native, Net: t.net})
		b.OnBuild(func(s *toolkit.Server) error {
			t.life = s.Context()
			return nil
		})
		if p, ok := provider.(interface{ ForceFlush(context.Context) error }); ok {
			b.PreExit("traces", p.ForceFlush)
		}
		return nil
	}
}

type contextKey struct{}

// Context is the context of the request's trace, for what its native handler calls: with its
// span and its baggage. It ends with the server's (see lifecycle.Server.Context), and may be
// used after the request. One that ends when the client goes is
//
//	trace.ContextWithSpan(toolkit.ClientContext(ctx), trace.SpanFromContext(otel.Context(ctx)))
//
// Outside of a traced request it is a context without a span. A handler of net/http
// has r.Context().
func Context(ctx *fasthttp.RequestCtx) context.Context {
	if c, ok := ctx.UserValue(contextKey{}).(context.Context); ok {
		return c
	}
	return context.Background()
}

// Inject has a request that is made with fasthttp's client continue the trace of ctx.
func Inject(ctx context.Context, h *fasthttp.RequestHeader) { w3c.Inject(ctx, carrier{h}) }

// carrier is a header of fasthttp, for propagation.
type carrier struct{ *fasthttp.RequestHeader }

func (c carrier) Get(key string) string { return string(c.Peek(key)) }

func (c carrier) Values(key string) (values []string) {
	for _, v := range c.PeekAll(key) {
		values = append(values, string(v))
	}
	return values
}

func (c carrier) Keys() (keys []string) {
	for _, k := range c.PeekKeys() {
		keys = append(keys, string(k))
	}
	return keys
}

// tracing is an Observer.
type tracing struct {
	tracer trace.Tracer
	life   context.Context // the server's
}

func (t *tracing) native(ctx *fasthttp.RequestCtx, next func(*fasthttp.RequestCtx) toolkit.Outcome) toolkit.Outcome {
	h, uri := &ctx.Request.Header, ctx.URI()
	r := request{
		method:    string(ctx.Method()),
		scheme:    string(uri.Scheme()),
		path:      string(uri.PathOriginal()),
		query:     string(uri.QueryString()),
		host:      string(ctx.Host()),
		version:   version(string(h.Protocol())),
		userAgent: string(h.UserAgent()),
		peer:      ctx.RemoteAddr().String(),
	}
	if ip := toolkit.ClientIP(ctx); ip.IsValid() {
		r.client = ip.String()
	}
	if ctx.IsTLS() {
		r.scheme = "https"
	}
	c, span := t.begin(w3c.Extract(t.life, carrier{h}), r)
	defer span.End()
	ctx.SetUserValue(contextKey{}, c)
	if span.SpanContext().IsValid() {
		ctx.SetUserValue(toolkit.LogFields, fields(span.SpanContext()))
	}
	return end(span, r.method, next(ctx)) // after which ctx may be another's
}

func (t *tracing) net(w http.ResponseWriter, req *http.Request, next func(http.ResponseWriter, *http.Request) toolkit.Outcome) toolkit.Outcome {
	r := request{
		method:    req.Method,
		scheme:    "http",
		path:      req.URL.EscapedPath(),
		query:     req.URL.RawQuery,
		host:      req.Host,
		version:   version(req.Proto),
		userAgent: req.UserAgent(),
		peer:      req.RemoteAddr,
	}
	if ip := toolkit.NetClientIP(req); ip.IsValid() {
		r.client = ip.String()
	}
	if req.TLS != nil {
		r.scheme = "https"
	}
	c, span := t.begin(w3c.Extract(req.Context(), propagation.HeaderCarrier(req.Header)), r)
	defer span.End()
	if span.SpanContext().IsValid() {
		c = context.WithValue(c, toolkit.LogFields, fields(span.SpanContext()))
	}
	return end(span, r.method, next(w, req.WithContext(c)))
}

// fields are those of the log.
type fields trace.SpanContext

// MarshalZerologObject is for zerolog.
func (f fields) MarshalZerologObject(e *zerolog.Event) {
	c := trace.SpanContext(f)
	e.Str("trace_id", c.TraceID().String()).Str("span_id", c.SpanID().String())
}

// request is what a span says of a request.
type request struct {
	method, scheme, path, query, host, version, userAgent string

	peer   string // address and port of who has connected
	client string // address of the client, which may be behind a proxy
}

// begin begins a span. What a sampler may want to know is there by then.
func (t *tracing) begin(ctx context.Context, r request) (context.Context, trace.Span) {
	attrs := make([]attribute.KeyValue, 0, 16)
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, attribute.String(key, strings.ToValidUTF8(value, "\uFFFD")))
		}
	}
	addPort := func(key, port string) {
		if n, err := strconv.Atoi(port); err == nil {
			attrs = append(attrs, attribute.Int(key, n))
		}
	}
	if known(r.method) {
		add("http.request.method", r.method)
	} else {
		add("http.request.method", "_OTHER")
		add("http.request.method_original", r.method)
	}
	add("url.scheme", r.scheme)
	add("url.path", r.path)
	add("url.query", redact(r.query))
	server, port := splitHost(r.host)
	add("server.address", server)
	addPort("server.port", port)
	if peer, port, err := net.SplitHostPort(r.peer); err == nil {
		add("network.peer.address", peer)
		addPort("network.peer.port", port)
	}
	add("client.address", r.client)
	add("network.protocol.version", r.version)
	add("user_agent.original", r.userAgent)
	return t.tracer.Start(ctx, name(r.method, ""), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attrs...))
}

// end says what became of the request.
func end(span trace.Span, method string, o toolkit.Outcome) toolkit.Outcome {
	if !span.IsRecording() {
		return o
	}
	span.SetName(name(method, o.Route))
	span.SetAttributes(attribute.Int("http.response.status_code", o.Status))
	if o.Route != "" {
		span.SetAttributes(attribute.String("http.route", strings.ToValidUTF8(o.Route, "\uFFFD")))
	}
	switch {
	case o.Cut:
		span.SetAttributes(attribute.String("error.type", "panic"))
		span.SetStatus(codes.Error, "")
	case o.Status >= http.StatusInternalServerError:
		span.SetAttributes(attribute.String("error.type", strconv.Itoa(o.Status)))
		span.SetStatus(codes.Error, "")
	}
	return o
}

// name is a span's name, with few different ones.
func name(method, route string) string {
	if !known(method) {
		method = "HTTP"
	}
	if route == "" {
		return method
	}
	return method + " " + strings.ToValidUTF8(route, "\uFFFD")
}

// known reports whether a method is one of RFC 9110 or RFC 5789.
func known(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// version is that of a protocol. HTTP/2 has no minor ones.
func version(protocol string) string {
	return strings.Replace(strings.TrimPrefix(protocol, "HTTP/"), "2.0", "2", 1)
}

// splitHost splits a Host, which need not have a port.
func splitHost(host string) (name, port string) {
	if name, port, err := net.SplitHostPort(host); err == nil {
		return name, port
	}
	return strings.Trim(host, "[]"), ""
}

// secrets are the arguments whose values the conventions want kept out, or once did, as they
// sign URLs.
var secrets = map[string]bool{
	"X-Amz-Signature": true, "X-Amz-Credential": true, "X-Amz-Security-Token": true, "sig": true, "X-Goog-Signature": true,
	"AWSAccessKeyId": true, "Signature": true,
}

// redact takes secrets out of a query.
func redact(query string) string {
	if query == "" {
		return ""
	}
	args := strings.Split(query, "&")
	for i, arg := range args {
		name, _, _ := strings.Cut(arg, "=")
		if plain, err := url.QueryUnescape(name); err == nil && secrets[plain] {
			args[i] = name + "=REDACTED"
		}
	}
	return strings.Join(args, "&")
}
