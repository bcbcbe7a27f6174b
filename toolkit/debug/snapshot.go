package debug

import (
	"cmp"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
)

// snapshot is the server at a moment.
type snapshot struct {
	At       time.Time               `json:"at"`
	Phase    lifecycle.Phase         `json:"phase"`
	Phases   []lifecycle.PhaseChange `json:"phases"`
	Cause    string                  `json:"cause,omitempty"`   // of the drain
	Deadline time.Time               `json:"deadline,omitzero"` // of the drain
	// End is set in the last event: "drained" where all that the drain awaited has ended,
	// "cut" where some of it was cut, "unseen" where the drain goes on, unseen from here.
	End      string `json:"end,omitempty"`
	Starving string `json:"starving,omitempty"` // why no connection can be accepted

	Counts     lifecycle.Counts `json:"counts"`
	Watching   int              `json:"watching"` // of these, how many look at this
	Open       lifecycle.Counts `json:"open"`     // when the drain began
	Told       int64            `json:"told"`     // see lifecycle.Report, as the next ones
	LastCalled int64            `json:"last_called"`
	Cut        int              `json:"cut"`
	Totals     lifecycle.Totals `json:"totals"`
	InFlight   inFlight         `json:"in_flight"`
	Panics     uint64           `json:"panics"`

	Conns   []lifecycle.ConnInfo  `json:"conns"`    // the rows that were asked for
	Of      int                   `json:"conns_of"` // so many that match
	Work    []lifecycle.WorkInfo  `json:"work"`
	Hooks   []hook                `json:"hooks"`
	Checks  []toolkit.CheckResult `json:"checks"`
	History []point               `json:"history"`

	Server *server `json:"server,omitempty"` // in the first event of several only

	last time.Time     // of the past that is known now
	took time.Duration // the walk and the text
}

type inFlight struct {
	Now     int    `json:"now"`
	Refused uint64 `json:"refused"`
}

// hook is a hook with what has become of it.
type hook struct {
	Stage lifecycle.HookStage `json:"stage"`
	Name  string              `json:"name"`
	State string              `json:"state"` // pending, running, ok, failed
	Took  time.Duration       `json:"took_ns"`
	Err   string              `json:"err,omitempty"`
}

// server is what does not change.
type server struct {
	Program  string            `json:"program"`
	PID      int               `json:"pid"`
	Go       string            `json:"go"`
	Addrs    []string          `json:"addrs"`
	Life     life              `json:"life"`
	Drains   bool              `json:"drains"` // there is a button for it
	Settings []toolkit.Setting `json:"settings"`
	Warnings []toolkit.Warning `json:"warnings"`
}

// life is how long what comes takes at most; -1 is no limit, or, of LastCall, until
// idle timeouts have come.
type life struct {
	ShutdownDelay time.Duration `json:"shutdown_delay_ns"`
	LastCall      time.Duration `json:"last_call_ns"`
	DrainTimeout  time.Duration `json:"drain_timeout_ns"`
	AbortTimeout  time.Duration `json:"abort_timeout_ns"`
}

// snapshot takes one, with the past after a time.
func (v *view) snapshot(q query, past time.Time) *snapshot {
	s := v.server
	v.walk.Lock()
	defer v.walk.Unlock()
	began, points, report := time.Now(), v.history.look(s, past), s.Report()
	snap := &snapshot{
		At: began, Phase: s.Phase(), Phases: report.Phases, Cause: report.Cause,
		Told: report.Told, LastCalled: report.LastCalled, Totals: s.Totals(), Panics: s.Panics(),
		Work: s.Work(), Hooks: hooks(s, report), Checks: s.Checks(),
		Watching: v.streams.len(), History: points, last: past,
	}
	if n := len(snap.History); n > 0 {
		snap.last = snap.History[n-1].At
	}
	if snap.Phase >= lifecycle.PhaseDraining {
		snap.Open, snap.Cut = report.Open, len(report.Cut)
		snap.Deadline, _ = s.DrainDeadline()
	}
	if err := s.Starving(); err != nil {
		snap.Starving = err.Error()
	}
	snap.InFlight.Now, snap.InFlight.Refused = s.InFlight()
	snap.Counts = s.Counts() // a walk may miss those that are being parked
	snap.Conns, snap.Of = q.rows(s.EachConn)
	snap.took = time.Since(began)
	return snap
}

// whole is all there is.
func (v *view) whole(q query) *snapshot {
	snap := v.snapshot(q, time.Time{})
	snap.Server = v.about()
	return snap
}

// about is what does not change.
func (v *view) about() *server {
	s := v.server
	about := &server{
		Program: filepath.Base(os.Args[0]), PID: os.Getpid(), Go: runtime.Version(),
		Life: life{
			s.ShutdownDelay, max(0, cmp.Or(s.LastCall, lifecycle.DefaultLastCall)),
			cmp.Or(s.DrainTimeout, lifecycle.DefaultDrainTimeout), max(0, cmp.Or(s.AbortTimeout, lifecycle.DefaultAbortTimeout)),
		},
		Drains: v.drains, Settings: s.Settings(), Warnings: s.Warnings(),
	}
	if s.LastCall == lifecycle.UntilIdle {
		about.Life.LastCall = -1
	}
	for _, addr := range s.ListenAddrs() {
		about.Addrs = append(about.Addrs, addr.Network()+" "+addr.String())
	}
	return about
}

// hooks are all of them: those that have ended, the one that runs, those that come yet.
func hooks(s *toolkit.Server, report lifecycle.Report) (all []hook) {
	for _, h := range report.Hooks {
		one := hook{Stage: h.Stage, Name: h.Name, State: "ok", Took: h.Took}
		if h.Err != nil {
			one.State, one.Err = "failed", h.Err.Error()
		}
		all = append(all, one)
	}
	for _, h := range s.PendingHooks() {
		one := hook{Stage: h.Stage, Name: h.Name, State: "pending", Took: h.Took}
		if h.Took > 0 {
			one.State = "running"
		}
		all = append(all, one)
	}
	return all
}
