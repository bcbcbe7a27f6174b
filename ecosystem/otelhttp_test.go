package ecosystem

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

func TestOpenTelemetry(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	traces := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	reader := sdkmetric.NewManualReader()
	options := []otelhttp.Option{
		otelhttp.WithTracerProvider(traces),
		otelhttp.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))),
		otelhttp.WithPropagators(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /items/{id}", func(w http.ResponseWriter, r *http.Request) {
		trace.SpanFromContext(r.Context()).AddEvent("handled")
		fmt.Fprint(w, baggage.FromContext(r.Context()).Member("tenant").Value())
		if err := http.NewResponseController(w).Flush(); err != nil {
			panic(err)
		}
	})
	mux.HandleFunc("POST /fail", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusInternalServerError)
	})
	requests := 0
	each(t, otelhttp.NewHandler(mux, "server", options...), func(s *server) {
		spans.Reset()
		s.client.Transport = otelhttp.NewTransport(s.client.Transport, options...)
		tenant, _ := baggage.NewMember("tenant", "blue")
		bag, _ := baggage.New(tenant)
		r, _ := http.NewRequestWithContext(baggage.ContextWithBaggage(s.Context(), bag), "GET", s.url+"/items/7", nil)
		s.want(s.send(r), 200, "blue")
		s.want(s.do("POST", "/fail", "12345"), 500, "")
		if err := s.shutdown(); err != nil { // then all spans have ended
			s.Error(err)
		}
		requests += 2

		byKind := map[trace.SpanKind][]sdktrace.ReadOnlySpan{}
		for _, span := range spans.Ended() {
			byKind[span.SpanKind()] = append(byKind[span.SpanKind()], span)
		}
		clients, servers := byKind[trace.SpanKindClient], byKind[trace.SpanKindServer]
		if len(clients) != 2 || len(servers) != 2 {
			s.Fatalf("%d spans of clients, %d of servers", len(clients), len(servers))
		}
		for i := range servers {
			if servers[i].Parent().SpanID() != clients[i].SpanContext().SpanID() || !servers[i].Parent().IsRemote() {
				s.Errorf("%v is no child of %v", servers[i].Parent(), clients[i].SpanContext())
			}
		}
		if events := servers[0].Events(); len(events) == 0 || events[len(events)-1].Name != "handled" {
			s.Error(events)
		}
		wantAttribute(s, servers[0], "http.response.status_code", attribute.IntValue(200))
		wantAttribute(s, servers[0], "http.response.body.size", attribute.IntValue(4))
		wantAttribute(s, servers[0], "network.protocol.version", attribute.StringValue(map[bool]string{false: "1.1", true: "2.0"}[s.protocol.http2]))
		wantAttribute(s, servers[0], "url.scheme", attribute.StringValue(map[bool]string{false: "http", true: "https"}[s.tls != nil]))
		wantAttribute(s, servers[1], "http.request.method", attribute.StringValue("POST"))
		wantAttribute(s, servers[1], "http.request.body.size", attribute.IntValue(5))
		if got := servers[1].Status().Code; got != codes.Error {
			s.Error(got)
		}
	})

	var metrics metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &metrics); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, scope := range metrics.ScopeMetrics {
		for _, m := range scope.Metrics {
			if h, ok := m.Data.(metricdata.Histogram[float64]); ok && m.Name == "http.server.request.duration" {
				for _, p := range h.DataPoints {
					n += int(p.Count)
				}
			}
		}
	}
	if n != requests {
		t.Errorf("%d requests were measured, of %d", n, requests)
	}
}

func wantAttribute(s *server, span sdktrace.ReadOnlySpan, key attribute.Key, want attribute.Value) {
	s.Helper()
	for _, a := range span.Attributes() {
		if a.Key == key {
			if a.Value != want {
				s.Errorf("%s: %v; want %v", key, a.Value, want)
			}
			return
		}
	}
	s.Errorf("no %s in %v", key, span.Attributes())
}
