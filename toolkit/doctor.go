package toolkit

import (
	"crypto/tls"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// Warning is a danger that Build sees in what it builds: it can be meant so, which
// is why it is no error, but mostly it is not.
type Warning struct {
	Call   string `json:"call"`   // the Builder's calls that it comes from, with their values
	Danger string `json:"danger"` // what can happen
	Reason string `json:"reason"` // how that is known: what was measured, or where it is documented
}

// String is the warning in one line.
func (w Warning) String() string { return w.Call + ": " + w.Danger + " (" + w.Reason + ")" }

// Warnings returns the dangers that Build has seen, nil for none. The server logs
// each once, at level warn, when it starts.
func (s *Server) Warnings() []Warning { return append([]Warning(nil), s.warnings...) }

// logWarnings writes a line for each warning.
func (s *Server) logWarnings() {
	for _, w := range s.warnings {
		s.log.Warn().Str("call", w.Call).Str("reason", w.Reason).Msg(w.Danger)
	}
}

// The borders of what Warnings warns of.
const (
	// balancerIdle is after what time load balancers close an idle connection to a
	// server, by default.
	balancerIdle = time.Minute
	// shortLastCall is a round trip to a client 20 ms away, and a pause.
	shortLastCall = 50 * time.Millisecond
	// probeTimeout is what Kubernetes gives a probe by default.
	probeTimeout = time.Second
)

// behindProxy reports whether something is surely between the clients and the server:
// nothing but a load balancer takes notice of a shutdown's delay.
func (b *Builder) behindProxy() bool { return b.shutdownDelay > 0 || b.trusts || b.proxied }

// onTCP reports whether clients may come from other machines.
func (b *Builder) onTCP() bool {
	for _, ln := range b.listeners {
		if addr := ln.Addr(); addr != nil && strings.HasPrefix(addr.Network(), "tcp") {
			return true
		}
	}
	return len(b.addrs) > 0
}

// warnings is what is dangerous in what was built. replaced says that Configure has
// put another handler in the place of the builder's.
func (b *Builder) warnings(h *fasthttp.Server, l *lifecycle.Server, replaced bool) (warnings []Warning) {
	warn := func(dangerous bool, call, danger, reason string) {
		if dangerous {
			warnings = append(warnings, Warning{call, danger, reason})
		}
	}
	tcp, keepAlive, untilIdle := b.onTCP(), !h.DisableKeepalive, b.lastCall == UntilIdle
	idle := h.IdleTimeout
	if idle >= forever {
		idle = 0 // see finishHTTP
	}
	// Idle connections are left alone during ShutdownDelay, and the deadline comes
	// after it.
	lastCall, bounded, deadline := max(b.lastCall, b.shutdownDelay), l.DrainTimeout > 0, sum(b.shutdownDelay, l.DrainTimeout)

	const slowloris = "only MinReadRate and MinWriteRate end it then, on Linux, where it is slower than they ask for; https://www.cloudflare.com/learning/ddos/ddos-attack-tools/slowloris/"
	warn(tcp && h.ReadTimeout == 0, "ReadHeaderTimeout(0)", "a client that never ends its header holds a connection for ever", slowloris)
	warn(tcp && b.readBodyTimeout == 0, "ReadBodyTimeout(0)", "a client that never ends its body holds a connection for ever", slowloris)
	warn(tcp && h.WriteTimeout == 0, "WriteTimeout(0)", "a client that does not read its response holds a connection and the response for ever", slowloris)
	warn(tcp && keepAlive && idle == 0, "IdleTimeout(0)",
		"clients that never come back to their connections pile them up",
		"each holds a descriptor and 16 kB (benchmarks/README.md), and TCP's keep-alives end only those whose client has vanished")
	warn(b.behindProxy() && keepAlive && idle > 0 && idle <= balancerIdle, fmt.Sprintf("IdleTimeout(%v)", idle),
		"behind a load balancer that keeps idle connections for longer, requests meet a connection that this server is closing, and become a 502",
		"the idle timeout of AWS ALB and of nginx's upstreams is 60 s, and who closes first must be the client;"+
			" https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html,"+
			" https://nginx.org/en/docs/http/ngx_http_upstream_module.html#keepalive_timeout")
	warn(b.trusts && !b.proxied && h.MaxConnsPerIP > 0, fmt.Sprintf("MaxConnsPerIP(%d), TrustedProxies(%q, %q)", h.MaxConnsPerIP, b.trustHeader, b.trustNetworks),
		"a proxy can open no more connections than that, for all of its clients together",
		"a connection is the proxy's, and a header of HTTP tells of one request; of a connection only ProxyProtocol tells whose it is")
	warn(b.writeTimeout == 0 && h.WriteTimeout > 0, fmt.Sprintf("Configure: WriteTimeout %v", h.WriteTimeout),
		"streams are cut after that time",
		"fasthttp counts it from a response's begin to its end; Builder.WriteTimeout exempts streams")

	warn(tcp && keepAlive && lastCall < shortLastCall, fmt.Sprintf("LastCall(%v)", b.lastCall),
		"requests that are on their way when the drain begins are lost",
		"measured with lifecycle/rehearsal: of 64 busy connections 20 ms away, a shutdown loses 63 requests without a last call, 36 with one of 25 ms, none with 100 ms")
	warn(keepAlive && !untilIdle && bounded && b.lastCall >= deadline, fmt.Sprintf("LastCall(%v), DrainTimeout(%v)", b.lastCall, l.DrainTimeout),
		"every drain with an idle connection runs into its deadline, cuts connections and exits with code 2",
		"idle connections are closed when the last call is over, which is after the deadline; lifecycle's contract of the drain, lines 4 and 11")
	warn(keepAlive && untilIdle && bounded && (idle == 0 || idle >= deadline), fmt.Sprintf("LastCall(UntilIdle), IdleTimeout(%v), DrainTimeout(%v)", idle, l.DrainTimeout),
		"a drain with idle connections runs into its deadline, unless their clients close them",
		"idle timeouts are to empty the server, and are longer than the drain may take")
	warn(b.maxRequestsPerConn > 0 && !keepAlive, fmt.Sprintf("MaxRequestsPerConn(%d), KeepAlive(false)", b.maxRequestsPerConn),
		"MaxRequestsPerConn has no effect", "each connection is closed after its first response")
	warn(len(b.checks) > 0 && b.readyz != "" && (b.readyTimeout == 0 || b.readyTimeout >= probeTimeout), fmt.Sprintf("ReadyTimeout(%v)", b.readyTimeout),
		"a check that hangs makes probes time out, and no answer says which one it is",
		"Kubernetes gives a probe 1 s by default; https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/#configure-probes")

	warn(h.TLSConfig != nil && h.TLSConfig.MinVersion != 0 && h.TLSConfig.MinVersion < tls.VersionTLS12, "TLSConfig",
		"connections can be downgraded to a version of TLS that is broken", "RFC 8996 forbids TLS 1.0 and 1.1")
	warn(replaced, "Configure: Handler",
		"a panic in what is around the builder's handler ends the process; if that one is not called at all, request ids, the access log and the exemption of streams from WriteTimeout are gone too",
		"fasthttp recovers no panic, and what Configure puts there is outside of the builder's recovery; what Use takes is inside")
	return append(warnings, b.graceWarnings()...)
}

// sameHandler reports whether two handlers are the same function, as far as Go
// lets it be known: by their code.
func sameHandler(a, b fasthttp.RequestHandler) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

// TerminationGracePeriod is what the platform gives the process from SIGTERM to
// SIGKILL: terminationGracePeriodSeconds in Kubernetes (30 s by default, less what a
// preStop hook takes of it), TimeoutStopSec in systemd (90 s), the timeout of docker
// stop (10 s). A kill cuts requests and skips exit hooks, so all that the end may
// take has to fit: ShutdownDelay, DrainTimeout, AbortTimeout and the timeouts of the
// exit hooks one after the other, with a tenth of the period, at most a second, to
// spare.
//
// Those of DrainTimeout, AbortTimeout and, for exit hooks, HookTimeout that are not
// called are derived from it: AbortTimeout is a tenth of what ShutdownDelay leaves,
// exit hooks without a timeout of their own share a third of the rest, both up to
// their defaults, and DrainTimeout is what then remains; the fields of lifecycle.Server
// show it. What is called stays as it is; if the sum does not fit, that is a Warning,
// and an error from Build where no time is left to drain. Exit hooks that are
// registered on the Server later are not known to Build. The default, 0, states and
// derives nothing.
func (b *Builder) TerminationGracePeriod(d time.Duration) *Builder {
	b.gracePeriod = d
	return b
}

// graceMargin is for what no timeout covers: connections that are cut, hooks that
// are left behind, the process's own end.
func (b *Builder) graceMargin() time.Duration { return min(time.Second, b.gracePeriod/10) }

// graceLeft is what the grace period leaves after what was set for all but the drain
// and the hooks.
func (b *Builder) graceLeft() time.Duration {
	left := b.gracePeriod - b.graceMargin() - b.shutdownDelay
	if b.abortSet && left > 0 {
		left -= b.abortTimeout
	}
	return left
}

// ends returns DrainTimeout, AbortTimeout and the timeout of exit hooks that have none
// of their own: as they were set, or derived from the grace period. Start and drain
// hooks keep HookTimeout: they take nothing of what comes after the drain.
func (b *Builder) ends() (drain, abort, hook time.Duration) {
	drain, abort, hook = b.drainTimeout, b.abortTimeout, b.hookTimeout
	left := b.graceLeft()
	if b.gracePeriod == 0 || left <= 0 {
		return drain, abort, hook
	}
	if !b.abortSet {
		abort = min(abort, left/10)
		left -= abort
	}
	if !b.hookSet {
		share := left - b.exitTime(0)
		if b.drainSet {
			share = left - sum(b.exitTime(0), drain)
		} else {
			share /= 3
		}
		untimed := 0
		for _, h := range b.exitHooks {
			if len(h.timeout) == 0 {
				untimed++
			}
		}
		if share /= time.Duration(max(1, untimed)); share > 0 {
			hook = min(hook, share)
		}
	}
	if !b.drainSet {
		// Hooks that alone take it all are warned of: they may well be quicker.
		if drain = left - b.exitTime(hook); drain <= 0 {
			drain = left
		}
	}
	return drain, abort, hook
}

// exitTime is how long the exit hooks may take where one without a timeout of its own
// has that of HookTimeout.
func (b *Builder) exitTime(hookTimeout time.Duration) (all time.Duration) {
	for _, h := range b.exitHooks {
		d := hookTimeout
		if len(h.timeout) > 0 {
			d = h.timeout[0]
		}
		all = sum(all, d)
	}
	return all
}

// sum adds times that are not negative, up to the longest that there is.
func sum(times ...time.Duration) (all time.Duration) {
	for _, d := range times {
		if d > math.MaxInt64-all {
			return math.MaxInt64
		}
		all += d
	}
	return all
}

// graceWarnings says whether the end can outlast the grace period.
func (b *Builder) graceWarnings() []Warning {
	if b.gracePeriod == 0 {
		return nil
	}
	const reason = "then comes SIGKILL, which cuts requests and skips exit hooks;" +
		" https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination"
	call := fmt.Sprintf("TerminationGracePeriod(%v)", b.gracePeriod)
	drain, abort, hook := b.ends()
	exit := b.exitTime(hook)
	unbounded := hook == 0 && b.exitTime(1) > exit
	all := sum(b.shutdownDelay, drain, abort, exit)
	switch {
	case drain == 0:
		return []Warning{{call + ", DrainTimeout(0)", "a drain without a limit can outlast the grace period", reason}}
	case unbounded:
		return []Warning{{call + ", HookTimeout(0)", "exit hooks without a limit can outlast the grace period", reason}}
	case all > b.gracePeriod-b.graceMargin():
		return []Warning{{call, fmt.Sprintf("the end may take %v: ShutdownDelay %v, DrainTimeout %v, AbortTimeout %v, exit hooks %v; with %v to spare that is too long",
			all, b.shutdownDelay, drain, abort, exit, b.graceMargin()), reason}}
	}
	return nil
}
