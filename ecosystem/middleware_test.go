package ecosystem

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5/middleware"
	"github.com/gorilla/handlers"
	"github.com/justinas/alice"
	"github.com/justinas/nosurf"
	"github.com/klauspost/compress/gzhttp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/cors"
	"github.com/unrolled/secure"
	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"github.com/lastcall-go/lastcall/toolkit/nethttp"
)

// seen is what a handler sees of a request, and says in its response. That it is the same
// for a handler of net/http and for a native one is what the tests are about.
type seen struct {
	method, uri, host, ip string
	header                http.Header
	body                  string
	ctx                   context.Context
}

func (s seen) String() string {
	text := fmt.Sprintf("%s %s %s %s %q id=%q span=%v\n", s.method, s.uri, s.host, s.ip, s.body,
		middleware.GetReqID(s.ctx), trace.SpanContextFromContext(s.ctx).IsValid())
	for _, name := range slices.Sorted(maps.Keys(s.header)) {
		if name != "Host" && name != "Content-Length" {
			text += fmt.Sprintf("%s: %q\n", name, s.header[name])
		}
	}
	return text
}

// large is worth compressing.
var large = strings.Repeat("to be or not to be, ", 1000)

// netApp and nativeApp are equal handlers.
func netApp(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		http.Error(w, http.StatusText(http.StatusRequestEntityTooLarge), http.StatusRequestEntityTooLarge)
		return
	}
	ip, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		ip = r.RemoteAddr
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-App", "yes")
	switch r.URL.Path {
	case "/large":
		_, _ = io.WriteString(w, large)
	case "/missing":
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "missing")
	case "/nothing":
		w.Header().Del("Content-Type")
		w.WriteHeader(http.StatusNoContent)
	case "/panic":
		panic("as is wanted")
	case "/waits":
		<-r.Context().Done()
	case "/token":
		_, _ = io.WriteString(w, nosurf.Token(r))
	default:
		_, _ = io.WriteString(w, seen{r.Method, r.URL.RequestURI(), r.Host, ip, r.Header, string(body), r.Context()}.String())
	}
}

func nativeApp(ctx *fasthttp.RequestCtx) {
	header := make(http.Header)
	for name, value := range ctx.Request.Header.All() {
		header.Add(string(name), string(value))
	}
	ctx.Response.Header.Set("X-App", "yes")
	ctx.SetContentType("text/plain; charset=utf-8")
	switch string(ctx.Path()) {
	case "/large":
		ctx.SetBodyString(large)
	case "/missing":
		ctx.SetStatusCode(http.StatusNotFound)
		ctx.SetBodyString("missing")
	case "/nothing":
		ctx.Response.Header.Del("Content-Type")
		ctx.SetStatusCode(http.StatusNoContent)
	case "/panic":
		panic("as is wanted")
	case "/waits":
		<-nethttp.Context(ctx).Done()
	case "/token":
		ctx.SetBodyString(nosurf.Token((&http.Request{}).WithContext(nethttp.Context(ctx))))
	default:
		ctx.SetBodyString(seen{
			string(ctx.Method()), string(ctx.RequestURI()), string(ctx.Host()), ctx.RemoteIP().String(),
			header, string(ctx.PostBody()), nethttp.Context(ctx),
		}.String())
	}
}

// ask is a request. Headers are names and values by turns.
type ask struct {
	method, path, body string
	headers            []string
}

func get(path string, headers ...string) ask { return ask{"GET", path, "", headers} }

func post(path, body string, headers ...string) ask { return ask{"POST", path, body, headers} }

// used is a middleware under test, made anew for each server. What it writes to its log
// is compared, too.
type used struct {
	name string
	make func(log io.Writer) func(http.Handler) http.Handler
	asks []ask
}

// just is for middleware that has no log.
func just(m func(http.Handler) http.Handler) func(io.Writer) func(http.Handler) http.Handler {
	return func(io.Writer) func(http.Handler) http.Handler { return m }
}

var usual = []ask{get("/"), get("/?a=b%20c", "X-A", "1", "X-A", "2"), post("/form", "a=b", "Content-Type", "application/x-www-form-urlencoded"), get("/missing"), get("/nothing")}

var compressed = []ask{
	get("/large"), get("/large", "Accept-Encoding", "gzip"), get("/", "Accept-Encoding", "gzip"),
	get("/nothing", "Accept-Encoding", "gzip"), {"HEAD", "/large", "", []string{"Accept-Encoding", "gzip"}},
}

// realIP is deprecated as it believes anybody, but much used.
var realIP = middleware.RealIP //nolint:staticcheck // see above

var middlewares = []used{
	{"none", just(func(h http.Handler) http.Handler { return h }), append(slices.Clone(usual), compressed...)},
	{"rs/cors", just(cors.New(cors.Options{
		AllowedOrigins: []string{"https://*.example.com"}, AllowedMethods: []string{"GET", "PUT"}, AllowedHeaders: []string{"X-Token"},
		ExposedHeaders: []string{"X-App"}, AllowCredentials: true, MaxAge: 600,
	}).Handler), append(slices.Clone(usual),
		get("/", "Origin", "https://a.example.com"), get("/", "Origin", "https://evil.example"),
		ask{"OPTIONS", "/", "", []string{"Origin", "https://a.example.com", "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "x-token"}},
		ask{"OPTIONS", "/", "", []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "PUT"}},
		ask{"OPTIONS", "/", "", []string{"Origin", "https://a.example.com", "Access-Control-Request-Method", "DELETE"}},
		ask{"OPTIONS", "/", "", nil})},
	{"chi RequestID", just(middleware.RequestID), []ask{get("/", "X-Request-Id", "mine")}},
	{"chi RealIP", just(realIP), []ask{get("/", "X-Real-IP", "192.0.2.7"), get("/", "X-Forwarded-For", "192.0.2.8, 192.0.2.9"), get("/", "True-Client-IP", "2001:db8::1")}},
	{"chi Logger", func(w io.Writer) func(http.Handler) http.Handler {
		return middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: log.New(w, "", 0), NoColor: true})
	}, append(slices.Clone(usual), get("/large"))},
	{"chi Logger and Recoverer", func(io.Writer) func(http.Handler) http.Handler {
		logger := middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: log.New(io.Discard, "", 0), NoColor: true})
		return func(h http.Handler) http.Handler { return logger(middleware.Recoverer(h)) }
	}, append(slices.Clone(usual), get("/panic"), get("/"))},
	{"chi Timeout", just(middleware.Timeout(10 * time.Millisecond)), []ask{get("/waits")}},
	{"chi Compress", just(middleware.Compress(5)), compressed},
	{"chi StripSlashes", just(middleware.StripSlashes), []ask{get("/a/"), get("/a/?b=c"), get("/")}},
	{"chi RedirectSlashes", just(middleware.RedirectSlashes), []ask{get("/a/"), get("/a/?b=c"), get("/")}},
	{"chi StripPrefix", just(middleware.StripPrefix("/v1")), []ask{get("/v1/a?b=c"), get("/large")}},
	{"chi Heartbeat", just(middleware.Heartbeat("/ping")), append(slices.Clone(usual), get("/ping"), ask{"HEAD", "/ping", "", nil}, post("/ping", "x"))},
	{"chi NoCache", just(middleware.NoCache), append(slices.Clone(usual), get("/", "If-None-Match", `"a"`, "If-Modified-Since", "Mon, 02 Jan 2006 15:04:05 GMT"))},
	{"chi BasicAuth", just(middleware.BasicAuth("realm", map[string]string{"user": "secret"})), []ask{get("/"), get("/", "Authorization", "Basic dXNlcjpzZWNyZXQ="), get("/", "Authorization", "Basic dXNlcjp3cm9uZw==")}},
	{"chi SetHeader", just(middleware.SetHeader("X-Set", "by chi")), usual},
	{"chi Throttle", just(middleware.Throttle(1)), usual},
	{"chi ContentCharset", just(middleware.ContentCharset("utf-8")), []ask{post("/", "x", "Content-Type", "text/plain; charset=utf-8"), post("/", "x", "Content-Type", "text/plain; charset=latin1")}},
	{"chi AllowContentType", just(middleware.AllowContentType("application/json")), []ask{post("/", "{}", "Content-Type", "application/json"), post("/", "x", "Content-Type", "text/xml"), get("/")}},
	{"chi AllowContentEncoding", just(middleware.AllowContentEncoding("gzip")), []ask{post("/", "x", "Content-Encoding", "gzip"), post("/", "x", "Content-Encoding", "br"), get("/")}},
	{"chi RequestSize", just(middleware.RequestSize(10)), []ask{post("/", "0123456789"), post("/", "01234567890"), get("/")}},
	{"chi RouteHeaders", just(middleware.RouteHeaders().Route("X-Version", "2", middleware.SetHeader("X-Was", "2")).RouteDefault(middleware.SetHeader("X-Was", "other")).Handler), []ask{get("/"), get("/", "X-Version", "2")}},
	{"chi URLFormat", just(middleware.URLFormat), []ask{get("/a.json"), get("/a")}},
	{"chi PathRewrite", just(middleware.PathRewrite("/old", "/new")), []ask{get("/old/a?b"), get("/large")}},
	{"chi Sunset", just(middleware.Sunset(time.Unix(2e9, 0), "/next")), usual},
	{"chi WithValue", just(middleware.WithValue(middleware.RequestIDKey, "by value")), usual},
	{"gorilla CompressHandler", just(handlers.CompressHandler), compressed},
	{"gorilla ProxyHeaders", just(handlers.ProxyHeaders), []ask{get("/", "X-Forwarded-For", "192.0.2.7", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "other.example"), get("/", "Forwarded", `for="192.0.2.9";proto=https`), get("/")}},
	{"gorilla CombinedLoggingHandler", func(w io.Writer) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler { return handlers.CombinedLoggingHandler(w, h) }
	}, append(slices.Clone(usual), get("/large", "Referer", "there"))},
	{"gorilla CanonicalHost", just(handlers.CanonicalHost("http://canonical.example", 301)), []ask{get("/a?b"), get("/a", "Host", "canonical.example")}},
	{"gorilla HTTPMethodOverrideHandler", just(handlers.HTTPMethodOverrideHandler), []ask{post("/", "x", "X-HTTP-Method-Override", "PUT"), post("/", "x"), get("/", "X-HTTP-Method-Override", "PUT")}},
	{"gorilla ContentTypeHandler", just(func(h http.Handler) http.Handler { return handlers.ContentTypeHandler(h, "application/json") }), []ask{post("/", "{}", "Content-Type", "application/json"), post("/", "x", "Content-Type", "text/xml"), get("/")}},
	{"gorilla CORS", just(handlers.CORS(handlers.AllowedOrigins([]string{"https://a.example"}))), []ask{get("/", "Origin", "https://a.example"), get("/", "Origin", "https://b.example"), {"OPTIONS", "/", "", []string{"Origin", "https://a.example", "Access-Control-Request-Method", "GET"}}}},
	{"gorilla RecoveryHandler", func(w io.Writer) func(http.Handler) http.Handler {
		return handlers.RecoveryHandler(handlers.RecoveryLogger(log.New(w, "", 0)))
	}, []ask{get("/"), get("/panic"), get("/missing")}},
	{"alice", just(alice.New(middleware.RequestID, realIP, middleware.NoCache, handlers.CompressHandler).Then), []ask{get("/large", "Accept-Encoding", "gzip"), get("/", "X-Request-Id", "mine", "Accept-Encoding", "gzip"), get("/", "X-Request-Id", "mine", "X-Real-IP", "192.0.2.7")}},
	{"gzhttp", just(func(h http.Handler) http.Handler { return gzhttp.GzipHandler(h) }), compressed},
	{"unrolled/secure", just(secure.New(secure.Options{
		AllowedHosts: []string{"good.example"}, FrameDeny: true, ContentTypeNosniff: true, STSSeconds: 1000, ForceSTSHeader: true,
		ContentSecurityPolicy: "default-src $NONCE", ReferrerPolicy: "same-origin",
	}).Handler), []ask{get("/", "Host", "good.example"), get("/missing", "Host", "good.example"), get("/", "Host", "bad.example")}},
	{"unrolled/secure SSLRedirect", just(secure.New(secure.Options{SSLRedirect: true, SSLProxyHeaders: map[string]string{"X-Forwarded-Proto": "https"}}).Handler), []ask{get("/a?b"), get("/a", "X-Forwarded-Proto", "https")}},
	{"nosurf", just(nosurf.NewPure), []ask{get("/token"), post("/", "x"), post("/", "csrf_token=wrong", "Content-Type", "application/x-www-form-urlencoded")}},
	{"otelhttp", makeOtel, append(slices.Clone(usual), get("/large"), get("/", "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))},
	{"promhttp", makeProm, append(slices.Clone(usual), get("/large"))},
	{"x/time/rate", func(io.Writer) func(http.Handler) http.Handler { return limited(rate.NewLimiter(0, 2)) }, []ask{get("/"), get("/"), get("/")}},
	{"http.StripPrefix", just(func(h http.Handler) http.Handler { return http.StripPrefix("/v1", h) }), []ask{get("/v1/a?b=c"), get("/v1/large"), get("/large")}},
	{"http.MaxBytesHandler", just(func(h http.Handler) http.Handler { return http.MaxBytesHandler(h, 10) }), []ask{post("/", "0123456789"), post("/", "01234567890")}},
	{"http.TimeoutHandler", just(func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Minute, "too slow") }), append(slices.Clone(usual), compressed...)},
	{"http.AllowQuerySemicolons", just(http.AllowQuerySemicolons), []ask{get("/?a=b;c=d")}},
	{"http.CrossOriginProtection", just(new(http.CrossOriginProtection).Handler), []ask{post("/", "x", "Sec-Fetch-Site", "cross-site"), post("/", "x", "Sec-Fetch-Site", "same-origin"), get("/", "Sec-Fetch-Site", "cross-site")}},
}

// makeOtel writes a line for each span.
func makeOtel(w io.Writer) func(http.Handler) http.Handler {
	spans := tracetest.NewSpanRecorder()
	m := otelhttp.NewMiddleware("op", otelhttp.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))))
	return func(h http.Handler) http.Handler {
		h = m(h)
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(rw, r)
			all := spans.Ended()
			span := all[len(all)-1]
			fmt.Fprint(w, span.Name(), span.Status())
			for _, a := range span.Attributes() {
				if a.Key != "network.peer.port" && a.Key != "server.port" && a.Key != "client.port" {
					fmt.Fprint(w, " ", a.Key, "=", a.Value.String())
				}
			}
			fmt.Fprintln(w)
		})
	}
}

// makeProm writes what has been counted.
func makeProm(w io.Writer) func(http.Handler) http.Handler {
	registry := prometheus.NewRegistry()
	labels := []string{"code", "method"}
	count := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "count"}, labels)
	took := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "took"}, labels)
	first := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "first"}, labels)
	in := prometheus.NewSummaryVec(prometheus.SummaryOpts{Name: "request"}, labels)
	out := prometheus.NewSummaryVec(prometheus.SummaryOpts{Name: "response"}, labels)
	flight := prometheus.NewGauge(prometheus.GaugeOpts{Name: "flight"})
	registry.MustRegister(count, took, first, in, out, flight)
	return func(h http.Handler) http.Handler {
		h = promhttp.InstrumentHandlerCounter(count, promhttp.InstrumentHandlerDuration(took, promhttp.InstrumentHandlerTimeToWriteHeader(first,
			promhttp.InstrumentHandlerResponseSize(out, promhttp.InstrumentHandlerInFlight(flight, h)))))
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(rw, r)
			families, _ := registry.Gather()
			for _, family := range families {
				for _, m := range family.Metric {
					fmt.Fprint(w, family.GetName(), m.Label, m.Counter.GetValue(), m.Histogram.GetSampleCount(), m.Summary.GetSampleCount(), m.Summary.GetSampleSum(), "\n")
				}
			}
		})
	}
}

func limited(l *rate.Limiter) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !l.Allow() {
				http.Error(w, "too many", http.StatusTooManyRequests)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
}

// changing is what no two runs have in common.
var changing = regexp.MustCompile(`\d+(\.\d+)?[nµm]?s\b|\[\d\d/.*?\]|127\.0\.0\.1:\d+|csrf_token=[^;]*|nonce-[^']*`)

// view is a response, and what was logged, in a form that can be compared.
func view(got reply, log string) string {
	text := fmt.Sprintf("%s %d\n", got.Proto, got.StatusCode)
	for _, name := range slices.Sorted(maps.Keys(got.Header)) {
		if name != "Date" && name != "Content-Length" {
			text += fmt.Sprintf("%s: %q\n", name, got.Header[name])
		}
	}
	switch {
	case len(got.text) > 2000:
		text += fmt.Sprintf("%d bytes, %x", len(got.text), sha256.Sum256([]byte(got.text)))
	case got.Request.URL.Path != "/token":
		text += got.text
	}
	return changing.ReplaceAllString(text+"\nlog: "+log, "*")
}

// Middleware of net/http does around a native handler what it does around one of
// net/http: on the wire, in what the handler sees, and in what it logs and counts.
func TestMiddleware(t *testing.T) {
	t.Parallel()
	for _, p := range []protocol{plain, h2c} {
		for _, u := range middlewares {
			t.Run(fmt.Sprintf("%s, h2=%v", u.name, p.http2), func(t *testing.T) {
				var wantLog, gotLog bytes.Buffer
				ended := make(chan struct{}, 2)
				want := serveApp(t, p, &http.Server{Handler: telling(ended, u.make(&wantLog))(http.HandlerFunc(netApp)), Protocols: p.of(), ErrorLog: log.New(io.Discard, "", 0)})
				ours := &nethttp.Server{Protocols: p.of(), ErrorLog: log.New(io.Discard, "", 0)}
				ours.Native("/", nethttp.Middleware(telling(ended, u.make(&gotLog)))(nativeApp))
				got := serveApp(t, p, ours)
				for _, a := range u.asks {
					a.headers = append([]string{"Host", "app.example"}, a.headers...)
					wantLog.Reset()
					gotLog.Reset()
					want, got := want.do(a.method, a.path, a.body, a.headers...), got.do(a.method, a.path, a.body, a.headers...)
					<-ended // both have written to their logs
					<-ended
					if want.ContentLength >= 0 && got.ContentLength != want.ContentLength {
						t.Errorf("%s %s %q: length %d; want %d", a.method, a.path, a.headers, got.ContentLength, want.ContentLength)
					}
					w, g := view(want, wantLog.String()), view(got, gotLog.String())
					if w != g {
						t.Errorf("%s %s %q:\n--- around a native handler\n%s\n--- around one of net/http\n%s", a.method, a.path, a.headers, g, w)
					}
				}
			})
		}
	}
}

// telling tells when a middleware has returned.
func telling(ended chan<- struct{}, m func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		h = m(h)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() { ended <- struct{}{} }()
			h.ServeHTTP(w, r)
		})
	}
}

// serveApp starts a server, which ends with the test.
func serveApp(t *testing.T, p protocol, srv interface {
	RegisterOnShutdown(func())
	Serve(net.Listener) error
	ServeTLS(l net.Listener, certFile, keyFile string) error
	Shutdown(context.Context) error
	Close() error
}) *server {
	s := &server{T: t, protocol: p, client: &http.Client{Timeout: patience, Transport: &http.Transport{Protocols: p.of(), DisableCompression: true}}}
	f := form{s, nil}
	f.noteShutdown = func() {}
	f.serve(srv)
	s.url = "http://" + s.url
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		if err := s.shutdown(); err != nil {
			t.Error(err)
		}
	})
	return s
}
