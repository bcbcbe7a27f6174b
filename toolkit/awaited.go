package toolkit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// awaitedInterval is how often a drain says what it awaits.
const awaitedInterval = time.Second

// awaitedShown is how many connections a line names.
const awaitedShown = 3

// watchDrain says what holds the server's end, until that has come: in the log, and on
// a terminal.
func (s *Server) watchDrain() {
	line := time.NewTicker(awaitedInterval)
	defer line.Stop()
	redraw := time.NewTimer(redrawInterval)
	defer redraw.Stop()
	if !s.console.isTerminal() {
		redraw.Stop()
	}
	for {
		select {
		case <-s.Reached(lifecycle.PhaseStopped):
			return
		case <-line.C:
			s.logAwaited()
		case began := <-redraw.C:
			s.console.show(s.progress())
			redraw.Reset(max(redrawInterval, redrawShare*time.Since(began))) // with many connections
		}
	}
}

// logAwaited writes a line with what is still awaited, if anything is.
func (s *Server) logAwaited() {
	e := s.log.Info()
	if !e.Enabled() {
		return
	}
	a := s.findAwaited()
	if len(a.work)+a.Total() == 0 {
		return
	}
	var names []string
	for _, w := range a.work {
		names = append(names, fmt.Sprintf("%s for %v", w.Name, tenths(w.Age)))
	}
	for _, c := range a.oldest {
		names = append(names, describe(c))
	}
	e = e.Str("awaited", strings.Join(names, "; "))
	if more := a.Total() - len(a.oldest); more > 0 {
		e = e.Int("more", more)
	}
	if left, until, ok := s.timeLeft(); ok {
		e = s.took(e.Str("until", until), "left", left.Round(time.Millisecond))
	}
	e.Msg("still awaited")
}

// awaited is what a server that is going down awaits.
type awaited struct {
	lifecycle.Counts                      // without those who only watch
	oldest           []lifecycle.ConnInfo // awaitedShown of them
	work             []lifecycle.WorkInfo
}

// findAwaited looks for what is awaited. The oldest connections are those that have been in
// their state for longest, of the busy ones first.
func (s *Server) findAwaited() awaited {
	a := awaited{work: s.Work()}
	var oldest []lifecycle.OpenConn
	for c := range s.EachConn {
		if c.Watches {
			continue
		}
		a.Add(c.State)
		if i, _ := slices.BinarySearchFunc(oldest, c, awaitedMore); i < awaitedShown {
			oldest = slices.Insert(oldest, i, c)[:min(len(oldest)+1, awaitedShown)]
		}
	}
	for _, c := range oldest {
		if info, open := c.Info(); open {
			a.oldest = append(a.oldest, info)
		}
	}
	return a
}

// awaitedMore orders connections by how much they hold a drain up.
func awaitedMore(a, b lifecycle.OpenConn) int {
	if busy := isBusy(a.State); busy != isBusy(b.State) {
		if busy {
			return -1
		}
		return 1
	}
	return cmp.Compare(b.Since, a.Since)
}

func isBusy(st lifecycle.ConnState) bool {
	return st == lifecycle.StateActive || st == lifecycle.StateHijacked
}

// describe is a connection in a few words. Its route is as the client has sent it, and
// quoted where it could upset a terminal.
func describe(c lifecycle.ConnInfo) string {
	text := c.Remote
	if text == "" || text == "@" { // of a Unix socket
		text = "a connection"
	}
	if c.Route != "" {
		text = printable(c.Route) + " of " + text
	}
	text += fmt.Sprintf(" %v for %v", c.State, tenths(c.Since))
	if age := tenths(c.Age); age != tenths(c.Since) {
		text += fmt.Sprintf(", connected for %v", age)
	}
	return text
}

// printable is text as it is, or quoted if it has anything that does not print.
func printable(text string) string {
	if quoted := fmt.Sprintf("%+q", text); quoted != `"`+text+`"` {
		return quoted
	}
	return text
}

func tenths(d time.Duration) time.Duration { return d.Round(time.Second / 10) }

// timeLeft is how long the drain goes on as it does, and until what: the end of
// ShutdownDelay, the deadline, or the cut. It reports false where there is no such time,
// as in the exit hooks.
func (s *Server) timeLeft() (left time.Duration, until string, ok bool) {
	deadline, bounded := s.DrainDeadline()
	if s.Phase() != lifecycle.PhaseDraining {
		return 0, "", false
	}
	if d := s.ShutdownDelay; d > 0 {
		phases := s.Report().Phases
		if left = d - time.Since(phases[len(phases)-1].At); left > 0 {
			return left, "the listeners close", true
		}
	}
	if !bounded {
		return 0, "", false
	}
	if left = time.Until(deadline); left > 0 {
		return left, "the deadline", true
	}
	return max(0, left+s.AbortTimeout), "the cut", true
}

// progress is a drain in one line, for a terminal. What a line of the log says each second
// anyway comes last, as many have but 80 columns.
func (s *Server) progress() string {
	a, phase := s.findAwaited(), s.Phase()
	parts := []string{phase.String()}
	if left, until, ok := s.timeLeft(); ok {
		parts[0] += fmt.Sprintf(", %s in %.1fs", until, left.Seconds())
	}
	if phase == lifecycle.PhaseDraining { // later there are no connections
		parts = append(parts, fmt.Sprintf("told %d, %d busy, %d idle, %d hijacked, %d parked",
			s.Report().Told, a.Active, a.New+a.Idle, a.Hijacked, a.Parked))
	}
	switch {
	case len(a.oldest) > 0 && (len(a.work) == 0 || isBusy(a.oldest[0].State)):
		parts = append(parts, describe(a.oldest[0]))
	case len(a.work) > 0:
		parts = append(parts, fmt.Sprintf("%s for %v", a.work[0].Name, tenths(a.work[0].Age)))
	}
	return strings.Join(parts, " | ")
}
