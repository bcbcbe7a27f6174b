package debug

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// writeText writes a snapshot for a terminal.
func (s *snapshot) writeText(to io.Writer) {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	defer func() { _ = w.Flush() }()
	fmt.Fprintf(w, "%s (pid %d, %s) is %v", s.Server.Program, s.Server.PID, s.Server.Go, s.Phase)
	if n := len(s.Phases); n > 0 {
		fmt.Fprintf(w, " since %v", round(s.At.Sub(s.Phases[n-1].At)))
	}
	if s.Cause != "" {
		fmt.Fprintf(w, " (%s)", s.Cause)
	}
	if !s.Deadline.IsZero() {
		fmt.Fprintf(w, ", %v until the deadline", round(s.Deadline.Sub(s.At)))
	}
	fmt.Fprintf(w, "\nlistens on %s\n", strings.Join(s.Server.Addrs, ", "))
	if s.Starving != "" {
		fmt.Fprintf(w, "cannot accept connections: %s\n", s.Starving)
	}
	fmt.Fprintf(w, "%d connections: %v; %d of them watch\n", s.Counts.Total(), s.Counts, s.Watching)
	t := s.Totals
	fmt.Fprintf(w, "accepted %d, refused %d, parked %d, too slow %d, accept errors %d, panics %d; told %d, last-called %d\n",
		t.Accepted, t.RefusedConns+t.RefusedPerIP+t.RefusedStarved, t.Parked, t.SlowRequests+t.SlowResponses, t.AcceptErrors, s.Panics, s.Told, s.LastCalled)

	s.writeConns(w)
	section(w, "WORK\tFOR", len(s.Work))
	for _, one := range s.Work {
		fmt.Fprintf(w, "%s\t%v\n", plain(one.Name), round(one.Age))
	}
	section(w, "HOOK\tSTAGE\tSTATE\tTOOK", len(s.Hooks))
	for _, h := range s.Hooks {
		fmt.Fprintf(w, "%s\t%s\t%s\t%v\t%s\n", plain(h.Name), h.Stage, h.State, round(h.Took), plain(h.Err))
	}
	section(w, "CHECK\tSTATE\tAGO\tTOOK", len(s.Checks))
	for _, c := range s.Checks {
		state, ago, text := "ok", round(s.At.Sub(c.At)).String(), ""
		switch {
		case c.At.IsZero():
			state, ago = "not asked yet", ""
		case c.Err != nil:
			state, text = "failed", c.Err.Error()
		}
		if !c.Running.IsZero() {
			state += fmt.Sprintf(", runs for %v", round(s.At.Sub(c.Running)))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%v\t%s\n", plain(c.Name), state, ago, round(c.Took), plain(text))
	}
	section(w, "WARNING", len(s.Server.Warnings))
	for _, warning := range s.Server.Warnings {
		fmt.Fprintf(w, "%s\n", plain(warning.String()))
	}
	section(w, "SETTING\tVALUE", len(s.Server.Settings))
	for _, set := range s.Server.Settings {
		note := ""
		if !set.Default {
			note = "set"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", set.Call, plain(set.Value), note)
	}
}

func (s *snapshot) writeConns(w io.Writer) {
	section(w, "ID\tSTATE\tFOR\tAGE\tREQUESTS\tENGINE\tREMOTE\tROUTE", len(s.Conns))
	for _, c := range s.Conns {
		state := c.State.String()
		if c.Watches {
			state += " (watches)"
		}
		fmt.Fprintf(w, "%d\t%s\t%v\t%v\t%d\t%s\t%s\t%s\n",
			c.ID, state, round(c.Since), round(c.Age), c.Requests, engine(&c), plain(c.Remote), plain(c.Route))
	}
	if more := s.Of - len(s.Conns); more > 0 {
		fmt.Fprintf(w, "and %d more (?limit=N, ?sort=-age, ?q=TEXT, ?state=active,idle)\n", more)
	}
}

// section begins a table, if it has rows.
func section(w io.Writer, head string, rows int) {
	if rows > 0 {
		fmt.Fprintf(w, "\n%s\n", head)
	}
}

// plain is text that does nothing to a terminal or a table, whoever has chosen it: a path is
// the client's.
func plain(text string) string {
	quoted := strconv.QuoteToGraphic(text)
	if quoted == `"`+text+`"` {
		return text
	}
	return quoted
}

// round has three digits or so.
func round(d time.Duration) time.Duration {
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= 10*unit {
			return d.Round(unit / 10)
		}
	}
	return d.Round(time.Microsecond)
}
