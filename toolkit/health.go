package toolkit

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// check is a named readiness check.
type check struct {
	name string
	run  func(ctx context.Context) error
}

func checkMistakes(checks []check) (errs mistakes) {
	seen := map[string]bool{}
	for _, c := range checks {
		switch {
		case c.run == nil:
			errs.add("ReadyCheck(%q): nil function", c.name)
		case seen[c.name]:
			errs.add("ReadyCheck(%q): given twice", c.name)
		}
		seen[c.name] = true
	}
	return errs
}

// healthRoutes are the routes of the health endpoints, for GET and HEAD.
func (s *Server) healthRoutes(b *Builder) (routes []route) {
	checks := make([]*checker, len(b.checks))
	for i, c := range b.checks {
		checks[i] = &checker{check: c, last: CheckResult{Name: c.name}}
	}
	s.checks = checks
	timeout := b.readyTimeout
	ready := func(ctx *fasthttp.RequestCtx) { s.serveReady(ctx, checks, timeout) }
	for _, e := range []struct {
		path    string
		handler fasthttp.RequestHandler
	}{{b.livez, serveLive}, {b.readyz, ready}} {
		if e.path != "" {
			routes = append(routes, probeRoutes("HealthPaths", e.path, e.handler)...)
		}
	}
	return routes
}

// serveLive answers as long as there is a process to answer: during a drain a
// server is alive, and an orchestrator that restarted it would cut its requests.
func serveLive(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("ok\n") }

// serveReady is green while the server is ready, can accept connections, and every
// check passes. Reasons go to the log: the endpoint may be open to strangers.
func (s *Server) serveReady(ctx *fasthttp.RequestCtx, checks []*checker, timeout time.Duration) {
	if phase := s.Phase(); phase != lifecycle.PhaseReady {
		ctx.SetStatusCode(fasthttp.StatusServiceUnavailable)
		fmt.Fprintf(ctx, "[-]server %v\n", phase)
		return
	}
	if err := s.Starving(); err != nil {
		ctx.SetStatusCode(fasthttp.StatusServiceUnavailable)
		fmt.Fprint(ctx, "[-]server cannot accept connections\n")
		s.log.Warn().Err(err).Msg("not ready")
		return
	}
	for i, err := range runChecks(s.Context(), checks, timeout) {
		if err != nil {
			ctx.SetStatusCode(fasthttp.StatusServiceUnavailable)
			fmt.Fprintf(ctx, "[-]%s failed\n", checks[i].name)
			s.withError(s.log.Warn().Str("request_id", RequestID(ctx)).Str("check", checks[i].name), err).Msg("not ready")
			continue
		}
		fmt.Fprintf(ctx, "[+]%s ok\n", checks[i].name)
	}
	if ctx.Response.StatusCode() == fasthttp.StatusOK {
		fmt.Fprint(ctx, "ok\n")
	}
}

// runChecks runs all checks side by side and returns their errors, each at its
// check's place. It waits no longer than timeout, if that is not 0.
func runChecks(ctx context.Context, checks []*checker, timeout time.Duration) []error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	attempts := make([]*attempt, len(checks))
	for i, c := range checks {
		attempts[i] = c.begin(ctx)
	}
	errs := make([]error, len(checks))
	for i, a := range attempts {
		select {
		case <-a.ended:
			errs[i] = a.err
		case <-ctx.Done():
			select {
			case <-a.ended: // in time, while an earlier one was waited for
				errs[i] = a.err
			default:
				errs[i] = context.Cause(ctx)
			}
		}
	}
	return errs
}

// checker runs a check once at a time: probes that come together share an
// attempt, and a check that hangs takes one goroutine, not one a probe.
type checker struct {
	check

	mu      sync.Mutex // guards what follows
	current *attempt   // nil while none runs
	last    CheckResult
}

type attempt struct {
	ended chan struct{} // closed when err is set
	err   error
}

// begin joins the attempt that runs, or begins one, which ends with ctx if it
// heeds it.
func (c *checker) begin(ctx context.Context) *attempt {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != nil {
		return c.current
	}
	a := &attempt{ended: make(chan struct{})}
	c.current = a
	c.last.Running = time.Now()
	go func() {
		err := guard(func() error { return c.run(ctx) })
		c.mu.Lock()
		defer c.mu.Unlock()
		c.current = nil
		c.last = CheckResult{Name: c.name, At: time.Now(), Took: time.Since(c.last.Running), Err: err}
		a.err = err
		close(a.ended)
	}()
	return a
}

// CheckResult is what a readiness check has last come to, whoever asked.
type CheckResult struct {
	Name    string        `json:"name"`
	At      time.Time     `json:"at,omitzero"` // when it ended; zero if it has not yet
	Took    time.Duration `json:"took_ns"`
	Err     error         `json:"-"`                // in JSON it is its text
	Running time.Time     `json:"running,omitzero"` // since when it runs once more; zero if it does not
}

// MarshalJSON adds Err, as text.
func (c CheckResult) MarshalJSON() ([]byte, error) {
	type fields CheckResult // without this method
	text := ""
	if c.Err != nil {
		text = c.Err.Error()
	}
	return json.Marshal(struct {
		fields
		Err string `json:"err,omitempty"`
	}{fields(c), text})
}

// Checks returns what the readiness checks have last come to. It runs none.
func (s *Server) Checks() []CheckResult {
	results := make([]CheckResult, len(s.checks))
	for i, c := range s.checks {
		c.mu.Lock()
		results[i] = c.last
		c.mu.Unlock()
	}
	return results
}

func guard(f func() error) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case mistake:
			err = v
		default:
			err = &lifecycle.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return f()
}
