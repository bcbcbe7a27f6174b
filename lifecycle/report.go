package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// The exit codes that ExitCode returns.
const (
	exitClean       = 0
	exitStartFailed = 1
	exitForced      = 2
	exitHookFailed  = 3
)

// ErrStart is in the error of a Run that never became ready.
var ErrStart = errors.New("lifecycle: start failed")

// ExitCode returns the process exit code for what Run returned: 0 for nil, 2
// when the drain was ended by its deadline or by force, 1 when the start failed
// or a listener failed later, 3 when a hook failed and all else went well.
func ExitCode(err error) int {
	var hook *HookError
	switch {
	case err == nil:
		return exitClean
	case errors.Is(err, ErrDrainTimeout), errors.Is(err, ErrForced):
		return exitForced
	case errors.Is(err, ErrStart), errors.Is(err, errListener):
		return exitStartFailed
	case errors.As(err, &hook):
		return exitHookFailed
	}
	return exitStartFailed
}

// Report is how a server's life ended, as data.
type Report struct {
	// Cause is what began the drain: "signal: terminated", "Drain",
	// "ShutdownWithContext", "Close", "context: ...", "listener failed: ...".
	Cause string `json:"cause"`
	// Phases are the phases that were entered, and when.
	Phases []PhaseChange `json:"phases"`
	// Open is what was open when the drain began.
	Open Counts `json:"open"`
	// Accepted is how many connections were accepted after that.
	Accepted int64 `json:"accepted"`
	// Told is how many responses carried a Connection: close that the drain put there.
	Told int64 `json:"told"`
	// LastCalled is how many idle and new connections the drain closed, after
	// their last call, with nothing pending.
	LastCalled int64 `json:"last_called"`
	// Cut is what was still open when the drain was ended by force.
	Cut []ConnInfo `json:"cut,omitempty"`
	// Work names tracked work and drain hooks that were still running then.
	Work []string `json:"work,omitempty"`
	// Hooks are the hooks that ran, in the order in which they ended.
	Hooks []HookResult `json:"hooks,omitempty"`
	// Err is what Run returned. In JSON it is its text.
	Err error `json:"-"`
}

// MarshalJSON adds Err, as text, and the exit code.
func (r Report) MarshalJSON() ([]byte, error) {
	type fields Report // without this method
	return json.Marshal(struct {
		fields
		Err      string `json:"err,omitempty"`
		ExitCode int    `json:"exit_code"`
	}{fields(r), errorText(r.Err), r.ExitCode()})
}

// errorText is the text of an error, or "" for none.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Report returns what happened in the server's life so far; it is complete once
// Run has returned.
func (s *Server) Report() Report {
	s.init()
	s.mu.Lock()
	r := s.report
	r.Cut = append([]ConnInfo(nil), r.Cut...)
	r.Work = append([]string(nil), r.Work...)
	r.Hooks = append([]HookResult(nil), r.Hooks...)
	s.mu.Unlock()
	r.Phases = s.phases.changes()
	r.Accepted = s.accepted.Load()
	r.Told = s.told.Load()
	r.LastCalled = s.lastCalled.Load()
	return r
}

// ExitCode is ExitCode(r.Err).
func (r Report) ExitCode() int { return ExitCode(r.Err) }

// HooksFailed is how many of Hooks have an error.
func (r Report) HooksFailed() (n int) {
	for _, h := range r.Hooks {
		if h.Err != nil {
			n++
		}
	}
	return n
}

// Spent returns how long the server was in phase p: zero if it never was, or
// has not left it.
func (r Report) Spent(p Phase) time.Duration {
	for i, change := range r.Phases {
		if change.Phase == p && i+1 < len(r.Phases) {
			return r.Phases[i+1].At.Sub(change.At)
		}
	}
	return 0
}

// String is the report in one line.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "drained in %v (%s): open %v; accepted %d, told %d, last-called %d, cut %d",
		r.Spent(PhaseDraining).Round(time.Microsecond), r.Cause, r.Open, r.Accepted, r.Told, r.LastCalled, len(r.Cut))
	if n := len(r.Work); n > 0 {
		fmt.Fprintf(&b, ", work left %d", n)
	}
	fmt.Fprintf(&b, "; hooks run %d, failed %d; exit code %d", len(r.Hooks), r.HooksFailed(), r.ExitCode())
	return b.String()
}

// maxCutShown is how many connections Table names: a terminal has few lines.
const maxCutShown = 10

// Table is the report as a short table, for a terminal.
func (r Report) Table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, name+"\t"+format+"\n", args...)
	}
	row("cause", "%s", r.Cause)
	for _, change := range r.Phases {
		if spent := r.Spent(change.Phase); spent > 0 {
			row(change.Phase.String(), "%v", spent.Round(time.Microsecond))
		}
	}
	row("open", "%d: %v; %d accepted since", r.Open.Total(), r.Open, r.Accepted)
	row("ended", "%d told to close, %d idle after a last call, %d cut", r.Told, r.LastCalled, len(r.Cut))
	for _, c := range r.Cut[:min(len(r.Cut), maxCutShown)] {
		row("cut", "%v %s %q, for %v, age %v", c.State, c.Remote, c.Route, c.Since.Round(time.Millisecond), c.Age.Round(time.Millisecond))
	}
	if more := len(r.Cut) - maxCutShown; more > 0 {
		row("cut", "and %d more", more)
	}
	for _, name := range r.Work {
		row("left", "%q still ran", name)
	}
	for _, h := range r.Hooks {
		outcome := "ok"
		if h.Err != nil {
			outcome = h.Err.Error()
		}
		row(string(h.Stage)+" hook", "%q %v: %s", h.Name, h.Took.Round(time.Microsecond), outcome)
	}
	row("exit code", "%d", r.ExitCode())
	_ = w.Flush() // into a strings.Builder
	return b.String()
}
