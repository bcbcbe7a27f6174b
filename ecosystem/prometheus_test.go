package ecosystem

import (
	"io"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// promApp has a handler with all that promhttp puts around one.
func promApp() http.Handler {
	registry := prometheus.NewRegistry()
	labels := []string{"code", "method"}
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "requests_total"}, labels)
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "request_seconds"}, labels)
	header := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "header_seconds"}, labels)
	size := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "response_bytes"}, nil)
	inFlight := prometheus.NewGauge(prometheus.GaugeOpts{Name: "in_flight"})
	registry.MustRegister(requests, seconds, header, size, inFlight)
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/app" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, "12345")
		if r.Method == http.MethodHead {
			return // a Flush would be the end of the response, before that of the handler
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			panic(err)
		}
	})
	mux := http.NewServeMux()
	mux.Handle("/", promhttp.InstrumentHandlerInFlight(inFlight,
		promhttp.InstrumentHandlerDuration(seconds,
			promhttp.InstrumentHandlerTimeToWriteHeader(header,
				promhttp.InstrumentHandlerResponseSize(size,
					promhttp.InstrumentHandlerCounter(requests, app))))))
	mux.Handle("/metrics", promhttp.InstrumentMetricHandler(registry, promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true,
	})))
	return mux
}

// scrape reads metrics as Prometheus does. The transport asks for gzip, and undoes it.
func (s *server) scrape(accept string) map[string]*dto.MetricFamily {
	s.Helper()
	r, _ := http.NewRequestWithContext(s.Context(), http.MethodGet, s.url+"/metrics", nil)
	r.Header.Set("Accept", accept)
	resp, err := s.client.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	if !resp.Uncompressed {
		s.Error("not compressed")
	}
	families := map[string]*dto.MetricFamily{}
	for in := expfmt.NewDecoder(resp.Body, expfmt.ResponseFormat(resp.Header)); ; {
		family := new(dto.MetricFamily)
		if err := in.Decode(family); err != nil {
			if err != io.EOF { //nolint:errorlint // as it is returned
				s.Error(err)
			}
			return families
		}
		families[family.GetName()] = family
	}
}

func TestPrometheus(t *testing.T) {
	model.NameValidationScheme = model.UTF8Validation //nolint:staticcheck // what parses by it has no other way
	for _, f := range []string{
		"text/plain;version=0.0.4",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
	} {
		eachDraining(t, func(<-chan struct{}) http.Handler { return promApp() }, func(s *server) {
			for range 3 {
				s.want(s.get("/app"), 200, "12345")
			}
			s.want(s.get("/none"), 404, "")
			s.want(s.do("HEAD", "/app", ""), 200, "")
			got := s.scrape(f)
			counts := map[string]float64{}
			for _, m := range got["requests_total"].GetMetric() {
				key := ""
				for _, l := range m.GetLabel() {
					key += l.GetValue() + " "
				}
				counts[key] = m.GetCounter().GetValue()
			}
			if len(counts) != 3 || counts["200 get "] != 3 || counts["404 get "] != 1 || counts["200 head "] != 1 {
				s.Error(counts)
			}
			for _, name := range []string{"request_seconds", "header_seconds", "response_bytes"} {
				n := uint64(0)
				for _, m := range got[name].GetMetric() {
					n += m.GetHistogram().GetSampleCount()
				}
				if n != 5 {
					s.Errorf("%s: %d", name, n)
				}
			}
			if n := got["in_flight"].GetMetric()[0].GetGauge().GetValue(); n != 0 {
				s.Error(n)
			}
		})
	}
}
