package metrics

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
)

// requests counts requests, as an Observer.
type requests struct {
	inFlight  atomic.Int64
	durations *prometheus.HistogramVec

	unread [len(unreadStatuses)]atomic.Uint64

	mu     sync.Mutex                         // orders the making of series
	routes atomic.Pointer[map[string]*series] // by route; replaced as a whole
}

// series are those of a route. Each is made when it is first needed.
type series [numMethods][numStatuses]atomic.Pointer[counts]

// counts are those of one route, method and status.
type counts struct {
	labels   []string
	requests atomic.Uint64
	received atomic.Uint64 // bytes of bodies
	sent     atomic.Uint64
	duration prometheus.Observer
}

// noRoute is the label of all requests that no route took.
const noRoute = "none"

// methods are the labels of methods, the last one that of all others.
var methods = [...]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "other"}

// statuses are the labels of classes of status, the first one that of all others.
var statuses = [...]string{"other", "1xx", "2xx", "3xx", "4xx", "5xx"}

// unreadStatuses are the answers to requests that cannot be read, the first one all
// others.
var unreadStatuses = [...]string{"other", "400", "408", "413", "431", "501"}

const (
	numMethods  = len(methods)
	numStatuses = len(statuses)
)

func methodIndex(method string) int {
	for i, known := range methods[:numMethods-1] {
		if method == known {
			return i
		}
	}
	return numMethods - 1
}

func statusIndex(status int) int {
	if i := status / 100; i < numStatuses {
		return i
	}
	return 0
}

func newRequests() *requests {
	r := &requests{durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "lastcall_request_duration_seconds",
		Help:    "Time from when a request was read until its handler had returned.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},

		// Some 8 buckets for each power of two. More than 160 are made coarser, or, at most
		// once an hour, begun anew.
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: time.Hour,
	}, requestLabels)}
	r.routes.Store(&map[string]*series{})
	return r
}

func (r *requests) native(ctx *fasthttp.RequestCtx, next func(*fasthttp.RequestCtx) toolkit.Outcome) toolkit.Outcome {
	r.inFlight.Add(1)
	defer r.inFlight.Add(-1)
	began, method, received := ctx.Time(), methodIndex(string(ctx.Method())), bodyLength(ctx)
	o := next(ctx) // which may leave ctx to others
	r.count(o, method, began, received)
	return o
}

// bodyLength is how long the request's body is, 0 if that is not known: of a stream in
// chunks.
func bodyLength(ctx *fasthttp.RequestCtx) int64 {
	n := ctx.Request.Header.ContentLength()
	if n < 0 && !ctx.Request.IsBodyStream() {
		n = len(ctx.Request.Body())
	}
	return int64(max(n, 0))
}

func (r *requests) net(w http.ResponseWriter, req *http.Request, next func(http.ResponseWriter, *http.Request) toolkit.Outcome) toolkit.Outcome {
	r.inFlight.Add(1)
	defer r.inFlight.Add(-1)
	began, method := time.Now(), methodIndex(req.Method)
	o := next(w, req)
	r.count(o, method, began, max(req.ContentLength, 0))
	return o
}

// count adds a request that has been answered.
func (r *requests) count(o toolkit.Outcome, method int, began time.Time, received int64) {
	c := r.of(o.Route, method, statusIndex(o.Status))
	c.requests.Add(1)
	if received > 0 {
		c.received.Add(uint64(received))
	}
	if o.Size > 0 {
		c.sent.Add(uint64(o.Size))
	}
	c.duration.Observe(time.Since(began).Seconds())
}

// countUnread counts what fasthttp refuses by itself.
func (r *requests) countUnread(h *fasthttp.Server) {
	answer := h.ErrorHandler
	if answer == nil {
		answer = lifecycle.AnswerError
	}
	h.ErrorHandler = func(ctx *fasthttp.RequestCtx, err error) {
		answer(ctx, err)
		r.unread[max(0, slices.Index(unreadStatuses[:], strconv.Itoa(ctx.Response.StatusCode())))].Add(1)
	}
}

// of returns the counts of a route, a method and a status.
func (r *requests) of(route string, method, status int) *counts {
	if s := (*r.routes.Load())[route]; s != nil {
		if c := s[method][status].Load(); c != nil {
			return c
		}
	}
	return r.make(route, method, status)
}

func (r *requests) make(route string, method, status int) *counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := (*r.routes.Load())[route]
	if s == nil {
		s = new(series)
		routes := maps.Clone(*r.routes.Load())
		routes[route] = s
		r.routes.Store(&routes)
	}
	if c := s[method][status].Load(); c != nil {
		return c
	}
	label := noRoute
	if route != "" {
		label = strings.ToValidUTF8(route, "\uFFFD")
	}
	labels := []string{label, methods[method], statuses[status]}
	c := &counts{labels: labels, duration: r.durations.WithLabelValues(labels...)}
	s[method][status].Store(c)
	return c
}

// each calls f with all counts that there are.
func (r *requests) each(f func(*counts)) {
	for _, s := range *r.routes.Load() {
		for method := range s {
			for status := range s[method] {
				if c := s[method][status].Load(); c != nil {
					f(c)
				}
			}
		}
	}
}
