package toolkit

import (
	"errors"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// Logger returns the server's logger with the request's id as a field, for
// handlers; outside of a server it returns one that is silent.
func Logger(ctx *fasthttp.RequestCtx) zerolog.Logger {
	s := FromRequest(ctx)
	if s == nil {
		return zerolog.Nop()
	}
	with := s.log.With().Bytes("request_id", ctx.Request.Header.PeekCanonical(headerRequestID))
	if fields, ok := ctx.UserValue(LogFields).(zerolog.LogObjectMarshaler); ok {
		with = with.EmbedObject(fields)
	}
	return with.Logger()
}

// withFields adds what LogFields holds, if anything.
func withFields(e *zerolog.Event, fields zerolog.LogObjectMarshaler) *zerolog.Event {
	if fields == nil {
		return e
	}
	return e.EmbedObject(fields)
}

// httpLog takes what fasthttp itself logs: connections that failed, and what
// handlers print through ctx.Logger().
type httpLog struct{ log *zerolog.Logger }

func (l httpLog) Printf(format string, args ...any) {
	l.log.Info().Str("from", "fasthttp").Msgf(format, args...)
}

// logEvent writes the events of the server's life, and at its end the report.
func (s *Server) logEvent(e lifecycle.Event) {
	if e.Kind == lifecycle.EventPhase {
		s.logPhase(e)
		return
	}
	level := zerolog.InfoLevel
	switch {
	case e.Kind == lifecycle.EventAcceptRetry, e.Kind == lifecycle.EventRefused, e.Kind == lifecycle.EventPrefaceFail:
		level = zerolog.WarnLevel
	case e.Err != nil:
		level = zerolog.ErrorLevel
	}
	l := s.log.WithLevel(level)
	if e.Name != "" {
		l = l.Str("name", e.Name)
	}
	if e.Addr != nil {
		l = l.Stringer("addr", e.Addr)
	}
	if e.Duration > 0 {
		l = s.took(l, "duration", e.Duration)
	}
	s.withError(l, e.Err).Msg(e.Kind.String())
}

// logPhase writes a line when a phase is entered, with what begins or ends with it.
func (s *Server) logPhase(e lifecycle.Event) {
	if e.Phase == lifecycle.PhaseStopped {
		s.logReport(s.Report())
		return
	}
	if e.Phase == lifecycle.PhaseExiting && s.console.isTerminal() {
		s.console.show("") // until there is something to await once more
	}
	l := s.log.Info()
	if e.Name != "" {
		l = l.Str("cause", e.Name)
	}
	l.Msg("server " + e.Phase.String())
	switch {
	case e.Phase == lifecycle.PhaseStarting:
		s.ran.Store(true)
		s.logWarnings()
	// Before Run, the end of the drain may never come.
	case e.Phase == lifecycle.PhaseExiting, e.Phase == lifecycle.PhaseDraining && s.ran.Load():
		s.telling.Do(func() { go s.watchDrain() })
	default:
	}
}

// took adds a time to a line: with its unit for people, in zerolog.DurationFieldUnit for
// programs.
func (s *Server) took(l *zerolog.Event, name string, d time.Duration) *zerolog.Event {
	if s.console == nil {
		return l.Dur(name, d)
	}
	unit := time.Microsecond
	for d >= 1000*unit {
		unit *= 10
	}
	// Three digits, and no quotes, as zerolog has them around what is not ASCII.
	return l.Str(name, strings.Replace(d.Round(unit).String(), "µ", "u", 1))
}

// withError adds an error to a line, and of a panic, which it counts, its stack.
func (s *Server) withError(l *zerolog.Event, err error) *zerolog.Event {
	if p, ok := errors.AsType[*lifecycle.PanicError](err); ok {
		s.panics.Add(1)
		l = l.Bytes("stack", p.Stack)
	}
	return l.Err(err)
}

// logReport writes the one line that says how the life ended, and for people a table.
func (s *Server) logReport(r lifecycle.Report) {
	level := zerolog.InfoLevel
	if r.Err != nil {
		level = zerolog.ErrorLevel
	}
	l := s.log.WithLevel(level).Int("exit_code", r.ExitCode()).Err(r.Err)
	if s.console != nil {
		l.Msg("drained")
		s.console.finish(r.Table())
		return
	}
	l.Str("cause", r.Cause).
		Dur("drain", r.Spent(lifecycle.PhaseDraining)).
		Interface("open", r.Open).
		Int64("accepted", r.Accepted).
		Int64("told", r.Told).
		Int64("last_called", r.LastCalled).
		Interface("cut", r.Cut).
		Strs("work_left", r.Work).
		Interface("hooks", r.Hooks).
		Int("hooks_failed", r.HooksFailed()).
		Msg("drained")
}
