package toolkit

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/fasthttp/router"
	"github.com/rs/zerolog"

	"github.com/lastcall-go/lastcall/toolkit/nethttp"
)

// NetHTTP mounts a net/http handler for all methods of a path, which is one as Handle
// takes. It is served by a real http.Server, on the same listeners and in the same life:
// see package nethttp. The more specific route wins, and of two that are the same the
// native one, so that routes can be made native one by one. "/" is a whole application:
// it gets all that has no other route, with the redirects, the 404 and the 405 that
// are its own.
//
// Request ids, the access log, MaxBodySize, MaxInFlight and the limits of connections
// hold for it. A panic is logged and closes the connection, as in net/http. Middleware of
// Use and of groups is for native handlers: the application has its own. So is Strict, but
// for what follows a CONNECT: net/http reads requests in its own way, those for native
// handlers too that come on a connection which has asked for net/http before. It reads
// none in another way than fasthttp, nor than HAProxy and nginx: some that Strict refuses
// it reads as they do. The least rates hold for
// what a net/http handler itself reads, which fails then, and writes; ReadBodyTimeout does,
// and WriteTimeout, for each write. Parameters of the path are not passed on. For net/http middleware around
// native handlers there is nethttp.Middleware. Server.Handler is the native
// handlers alone.
func (b *Builder) NetHTTP(path string, h http.Handler) *Builder {
	b.netHTTP = append(b.netHTTP, netRoute{path, h})
	return b
}

// HTTP2 has a server with NetHTTP speak HTTP/2 too, for its native routes as well: over
// TLS where the client wants it, and without TLS with clients that know it beforehand. The
// default is true. All limits, the access log and the drain hold for each request, or
// stream, as they do otherwise; a panic ends its stream only. Where TLSConfig says
// what is offered, its order is kept. Connections are not parked, nor is the least rate of a
// body measured.
func (b *Builder) HTTP2(on bool) *Builder {
	b.http2 = on
	return b
}

func (b *Builder) speaksHTTP2() bool { return b.http2 && len(b.netHTTP) > 0 }

// netRoute is a call of NetHTTP.
type netRoute struct {
	path    string
	handler http.Handler
}

// dispatch says which server a request is for: the native routes and those for net/http
// are in one table.
type dispatch struct {
	table    *numbers
	handlers []http.Handler // of the table's routes for net/http
	app      http.Handler   // of "/", or nil
}

// methods are those for which the router looks before it looks for any method. Routes
// for any are in the table for each of them: a specific one is to win over one that
// matches by a wildcard, whatever their methods.
var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	http.MethodConnect, http.MethodOptions, http.MethodTrace, router.MethodWild,
}

// dispatch makes the table. It is nil where NetHTTP was not called.
func (s *Server) dispatch(b *Builder, native []route, proxies *trustedProxies) (*dispatch, []error) {
	if len(b.netHTTP) == 0 {
		return nil, nil
	}
	d := &dispatch{table: newNumbers()}
	taken := map[string]bool{}
	for _, rt := range native {
		if rt.method != router.MethodWild {
			_ = d.add(taken, rt.method, rt.path, isNative) // mistakes are told of by route
		}
	}
	for _, rt := range native {
		if rt.method == router.MethodWild {
			for _, method := range methods {
				_ = d.add(taken, method, rt.path, isNative)
			}
		}
	}
	var errs []error
	for _, rt := range b.netHTTP {
		if err := s.addNet(d, taken, b, rt, proxies); err != nil {
			errs = append(errs, fmt.Errorf("toolkit: NetHTTP(%q): %w", rt.path, err))
		}
	}
	return d, errs
}

func (s *Server) addNet(d *dispatch, taken map[string]bool, b *Builder, rt netRoute, proxies *trustedProxies) error {
	seen := "NetHTTP " + rt.path
	switch {
	case rt.handler == nil:
		return fmt.Errorf("nil handler")
	case taken[seen]:
		return fmt.Errorf("given twice")
	}
	taken[seen] = true
	h := s.aroundNet(b, rt, proxies)
	if rt.path == "/" {
		d.app = h
		return nil
	}
	d.handlers = append(d.handlers, h)
	n := isNetHTTP + len(d.handlers) - 1
	for _, method := range methods {
		if err := d.add(taken, method, rt.path, n); err != nil {
			return err
		}
	}
	return nil
}

// The numbers in the table.
const (
	isNative  = 1
	isNetHTTP = 2 // and above: that of a handler
)

// add puts a route in the table, unless it is there.
func (d *dispatch) add(taken map[string]bool, method, path string, n int) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%v", v)
		}
	}()
	if key := method + " " + path; !taken[key] {
		d.table.add(method, path, n)
		taken[key] = true
	}
	return nil
}

// route returns the handler of a request for net/http, nil for a native one.
func (d *dispatch) route(method, target string) http.Handler {
	switch n := d.table.of(method, target); n {
	case 0:
		return d.app
	case isNative:
		return nil
	default:
		return d.handlers[n-isNetHTTP]
	}
}

// mount puts the http.Server beside what was built.
func (s *Server) mount(b *Builder, d *dispatch) {
	h, probes := s.HTTP, probesOf(b.routes)
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(b.http2)
	protocols.SetUnencryptedHTTP2(b.http2)
	nethttp.Mount{
		HTTP: &http.Server{
			ReadHeaderTimeout: h.ReadTimeout,
			IdleTimeout:       h.IdleTimeout,
			MaxHeaderBytes:    h.ReadBufferSize,
			ErrorLog:          log.New(netLog{&s.log}, "", 0),
			Protocols:         &protocols,
		},
		Route:           d.route,
		Fresh:           d.app != nil && !slices.ContainsFunc(b.routes, func(rt route) bool { return !probes.has([]byte(rt.path)) }),
		ReadBodyTimeout: b.readBodyTimeout,
		WriteTimeout:    h.WriteTimeout,
	}.On(s.Server)
}

// netLog takes what http.Server logs.
type netLog struct{ log *zerolog.Logger }

func (l netLog) Write(line []byte) (int, error) {
	l.log.Info().Str("from", "net/http").Msg(strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}

// aroundNet puts around a net/http handler what is around native ones: a request id,
// the access log, the limits of bodies and of requests in flight, and a log line for a
// panic.
func (s *Server) aroundNet(b *Builder, rt netRoute, proxies *trustedProxies) http.Handler {
	logs := b.accessLog && s.log.GetLevel() != zerolog.Disabled
	strict, limit, inFlight := b.strict, int64(b.maxBodySize), b.maxInFlight > 0
	wait, retryAfter := b.maxWait, b.retryAfter()
	h := observeNet(b.observers, func(w http.ResponseWriter, r *http.Request) (o Outcome) {
		resp, began := w.(netResponse), time.Now()
		seen := &request{server: s, id: netRequestID(r), method: r.Method, path: r.URL.Path, route: rt.path}
		seen.fields, _ = r.Context().Value(LogFields).(zerolog.LogObjectMarshaler)
		remote := r.RemoteAddr
		if ip, ok := r.Context().Value(clientIPKey{}).(netip.Addr); ok && ip.IsValid() {
			remote = ip.String()
		}
		w.Header().Set(HeaderRequestID, seen.id)
		defer func() {
			v := recover()
			if v != nil && v != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
				seen.logPanic(v, "handler panicked")
			}
			o = seen.netOutcome(resp, r.Pattern, v != nil)
			if logs {
				seen.logNet(o, remote, time.Since(began))
			}
		}()
		if strict && r.Method == http.MethodConnect && r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // see strict
		}
		if r.ContentLength > limit {
			if r.ProtoMajor == 1 { // else it would end all that is on the connection
				w.Header().Set("Connection", "close")
			}
			http.Error(w, "Request body too large", http.StatusRequestEntityTooLarge)
			return o
		}
		resp.LimitBody(limit)
		if inFlight {
			if !s.inFlight.enter(s, wait) {
				seen.refused = tooManyRequests
				w.Header().Set("Retry-After", retryAfter)
				http.Error(w, tooManyRequests, http.StatusServiceUnavailable)
				return o
			}
			defer s.inFlight.leave()
		}
		rt.handler.ServeHTTP(w, r)
		return o
	})
	if proxies != nil {
		h = proxies.findNetClient(h)
	}
	return h
}

// netResponse is nethttp.Response and nethttp.Stream.
type netResponse interface {
	Status() int
	Size() int64
	RemoteAddr() net.Addr
	LimitBody(limit int64)
}

// findNetClient is findClient for net/http.
func (t *trustedProxies) findNetClient(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ip, trusted := t.proxy(w.(netResponse).RemoteAddr())
		if trusted {
			var lines [][]byte
			for _, line := range r.Header.Values(string(t.header)) {
				lines = append(lines, []byte(line))
			}
			ip = t.walk(ip, lines)
		}
		next(w, r.WithContext(context.WithValue(r.Context(), clientIPKey{}, ip)))
	}
}

// netRequestID is requestID for net/http.
func netRequestID(r *http.Request) string {
	if sent := r.Header.Values(HeaderRequestID); len(sent) == 1 && saneRequestID([]byte(sent[0])) {
		return sent[0]
	}
	id := string(makeRequestID(nil))
	r.Header.Set(HeaderRequestID, id)
	return id
}

// netOutcome is outcomeOf for net/http.
func (r *request) netOutcome(w netResponse, pattern string, panicked bool) Outcome {
	o := Outcome{Route: r.route, Status: w.Status(), Size: w.Size(), Cut: panicked}
	if i := strings.IndexByte(pattern, '/'); i >= 0 {
		o.Route = pattern[i:]
	}
	switch {
	case o.Status == 0 && panicked:
		o.Status = http.StatusInternalServerError
	case o.Status == 0:
		o.Status = http.StatusOK // as http.Server will
	}
	if r.method == http.MethodHead {
		o.Size = 0
	}
	return o
}

// logNet is logAccess for net/http.
func (r *request) logNet(o Outcome, remote string, took time.Duration) {
	level := zerolog.InfoLevel
	if o.Status >= http.StatusInternalServerError {
		level = levelOfFailure(r.refused)
	}
	e := r.server.log.WithLevel(level)
	if e == nil {
		return
	}
	if r.refused != "" {
		e.Str("refused", r.refused)
	}
	withFields(e, r.fields).
		Str("method", r.method).
		Str("path", r.path).
		Str("route", o.Route).
		Int("status", o.Status).
		Int64("bytes", o.Size)
	r.server.took(e, "duration", took).
		Str("remote", remote).
		Str("request_id", r.id).
		Msg("request")
}
