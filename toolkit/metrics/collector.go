package metrics

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
)

// collector reads what there is to know of a server when it is asked for.
type collector struct {
	server   *toolkit.Server
	requests *requests
}

var requestLabels = []string{"route", "method", "status"}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("lastcall_"+name, help, labels, nil)
}

var (
	connections  = desc("connections", "Open connections.", "state")
	accepted     = desc("connections_accepted_total", "Connections accepted, without those refused.")
	refused      = desc("connections_refused_total", "Connections refused.", "reason")
	parked       = desc("connections_parked_total", "How often a connection was parked.")
	unparked     = desc("connections_unparked_total", "How often a parked connection was served again.")
	acceptErrors = desc("accept_errors_total", "Failures to accept a connection, each retried.")
	starving     = desc("starving", "Whether no connection can be accepted, as for lack of descriptors.")
	slowClients  = desc("slow_clients_total", "Clients cut for sending a request, or taking a response, more slowly than they must.", "slow")

	inFlight        = desc("requests_in_flight", "Requests that are with their handlers.")
	requestsTotal   = desc("requests_total", "Requests answered.", requestLabels...)
	requestBytes    = desc("request_body_bytes_total", "Bytes of requests' bodies whose length was known.", requestLabels...)
	responseBytes   = desc("response_body_bytes_total", "Bytes of responses' bodies whose length was known.", requestLabels...)
	requestsRefused = desc("requests_refused_total", "Requests refused because too many were in flight.")
	requestsUnread  = desc("requests_unread_total", "Requests that could not be read, or were too large, and have not come to a handler.", "status")
	panics          = desc("panics_total", "Panics caught: of handlers, beside them, of callbacks, hooks and checks.")

	phase         = desc("phase", "Whether the server is in this phase of its life.", "phase")
	phaseSeconds  = desc("phase_seconds", "How long the server has been in this phase.", "phase")
	drainDeadline = desc("drain_deadline_timestamp_seconds", "When the drain will be ended by force.")
	drainAccepted = desc("drain_connections_accepted_total", "Connections accepted since the drain began.")
	drainClosed   = desc("drain_connections_closed_total", "Connections that the drain closed: after a last call with nothing pending, or whatever they were at.", "how")
	drainTold     = desc("drain_responses_told_total", "Responses that told their client, for the drain, to close the connection.")
	hookDuration  = desc("hook_duration_seconds", "How long a hook has taken.", "stage", "name")
	hookFailures  = desc("hook_failures_total", "Hooks that failed.", "stage", "name")
)

// Describe is for prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		connections, accepted, refused, parked, unparked, acceptErrors, starving, slowClients,
		inFlight, requestsTotal, requestBytes, responseBytes, requestsRefused, requestsUnread, panics,
		phase, phaseSeconds, drainDeadline, drainAccepted, drainClosed, drainTold, hookDuration, hookFailures,
	} {
		ch <- d
	}
	c.requests.durations.Describe(ch)
}

// Collect is for prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	out := sink(ch)
	c.collectConns(out)
	c.collectRequests(out)
	c.collectLife(out, time.Now())
	c.requests.durations.Collect(ch)
}

// sink takes what is collected.
type sink chan<- prometheus.Metric

func (ch sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (ch sink) counter(d *prometheus.Desc, v uint64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (c *collector) collectConns(ch sink) {
	open, totals := c.server.Counts(), c.server.Totals()
	ch.gauge(connections, float64(open.New), lifecycle.StateNew.String())
	ch.gauge(connections, float64(open.Active), lifecycle.StateActive.String())
	ch.gauge(connections, float64(open.Idle), lifecycle.StateIdle.String())
	ch.gauge(connections, float64(open.Parked), lifecycle.StateParked.String())
	ch.gauge(connections, float64(open.Hijacked), lifecycle.StateHijacked.String())
	ch.counter(accepted, totals.Accepted)
	ch.counter(refused, totals.RefusedConns, "max_conns")
	ch.counter(refused, totals.RefusedPerIP, "max_conns_per_ip")
	ch.counter(refused, totals.RefusedStarved, "no_descriptor")
	ch.counter(parked, totals.Parked)
	ch.counter(unparked, totals.Unparked)
	ch.counter(acceptErrors, totals.AcceptErrors)
	ch.gauge(starving, truth(c.server.Starving() != nil))
	ch.counter(slowClients, totals.SlowRequests, "request")
	ch.counter(slowClients, totals.SlowResponses, "response")
}

func (c *collector) collectRequests(ch sink) {
	ch.gauge(inFlight, float64(c.requests.inFlight.Load()))
	c.requests.each(func(n *counts) {
		ch.counter(requestsTotal, n.requests.Load(), n.labels...)
		ch.counter(requestBytes, n.received.Load(), n.labels...)
		ch.counter(responseBytes, n.sent.Load(), n.labels...)
	})
	_, tooMany := c.server.InFlight()
	ch.counter(requestsRefused, tooMany)
	for i, status := range unreadStatuses {
		ch.counter(requestsUnread, c.requests.unread[i].Load(), status)
	}
	ch.counter(panics, c.server.Panics())
}

func (c *collector) collectLife(ch sink, now time.Time) {
	report, current := c.server.Report(), c.server.Phase()
	for p := lifecycle.PhaseNew; p <= lifecycle.PhaseStopped; p++ {
		ch.gauge(phase, truth(p == current), p.String())
	}
	for i, change := range report.Phases {
		until := now
		if i+1 < len(report.Phases) {
			until = report.Phases[i+1].At
		}
		ch.gauge(phaseSeconds, until.Sub(change.At).Seconds(), change.Phase.String())
	}
	if deadline, ok := c.server.DrainDeadline(); ok {
		ch.gauge(drainDeadline, float64(deadline.UnixNano())/1e9)
	}
	count := func(d *prometheus.Desc, n int64, labels ...string) {
		ch.counter(d, uint64(n), labels...) //nolint:gosec // counts up from 0
	}
	count(drainAccepted, report.Accepted)
	count(drainClosed, report.LastCalled, "last_called")
	count(drainClosed, int64(len(report.Cut)), "cut")
	count(drainTold, report.Told)
	collectHooks(ch, report.Hooks)
}

// collectHooks shows hooks of the same name as one.
func collectHooks(ch sink, hooks []lifecycle.HookResult) {
	type key struct{ stage, name string }
	type result struct {
		took   time.Duration
		failed uint64
	}
	results := map[key]*result{}
	for _, h := range hooks {
		k := key{string(h.Stage), strings.ToValidUTF8(h.Name, "\uFFFD")}
		r := results[k]
		if r == nil {
			r = new(result)
			results[k] = r
		}
		r.took += h.Took
		if h.Err != nil {
			r.failed++
		}
	}
	for k, r := range results {
		ch.gauge(hookDuration, r.took.Seconds(), k.stage, k.name)
		ch.counter(hookFailures, r.failed, k.stage, k.name)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
