package debug

import (
	"bufio"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
)

// maxStreams is how many may look at a time. The more do, the rarer events may be: see share.
const maxStreams = 16

// streams counts those who look.
type streams struct{ n atomic.Int64 }

func (s *streams) len() int { return int(s.n.Load()) }

// begin counts one more, unless that is one too many.
func (s *streams) begin() bool {
	if s.n.Add(1) > maxStreams {
		s.n.Add(-1)
		return false
	}
	return true
}

func (s *streams) end() { s.n.Add(-1) }

// serveEvents sends an event for each state of the server, until the client goes or there
// is nothing more to see. The first has all of it; the past comes in parts.
func (v *view) serveEvents(ctx *fasthttp.RequestCtx, q query) {
	ctx.SetContentType("text/event-stream")
	if ctx.IsHead() {
		return
	}
	if !v.streams.begin() {
		ctx.Error("too many look already\n", fasthttp.StatusServiceUnavailable)
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "5")
		return
	}
	over := v.server.Watch(ctx)
	toolkit.Stream(ctx, func(w *bufio.Writer) error {
		defer v.streams.end()
		return v.stream(w, q, over)
	})
}

func (v *view) stream(w *bufio.Writer, q query, over <-chan struct{}) error {
	if _, err := fmt.Fprint(w, "retry: 1000\n\n"); err != nil {
		return err
	}
	snap := v.whole(q)
	draining := v.server.Draining()
	for {
		if err := snap.send(w); err != nil || snap.End != "" {
			return err // the client has gone, or all is said
		}
		if snap.Phase >= lifecycle.PhaseDraining {
			draining = nil // it has been seen
		}
		past, end := snap.last, ""
		switch ended, err := rest(w, pause(v.server, snap.took, v.streams.len()), draining, over); {
		case err != nil:
			return err
		case ended:
			end = v.end(over)
		}
		snap = v.snapshot(q, past)
		snap.End = end
	}
}

// rest waits for d, or until there is something that is to be seen at once, and reports whether
// that is the end. Now and then it sends what a client does not heed, so that one which
// has gone is noticed.
func rest(w *bufio.Writer, d time.Duration, draining, over <-chan struct{}) (ended bool, err error) {
	for ; d > 0; d -= interval {
		select {
		case <-draining:
			return false, nil
		case <-over:
			return true, nil
		case <-time.After(min(d, interval)):
		}
		if d > interval {
			_, _ = w.WriteString(":\n\n")
			if err := w.Flush(); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}

// end says why there is nothing more to see.
func (v *view) end(over <-chan struct{}) string {
	report := v.server.Report()
	switch {
	case over == v.server.Draining(): // see lifecycle.Server.Watch
		return "unseen"
	case len(report.Cut)+len(report.Work) > 0:
		return "cut"
	}
	return "drained"
}

// send sends an event.
func (s *snapshot) send(w *bufio.Writer) error {
	began := time.Now()
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	s.took += time.Since(began)
	if _, err := fmt.Fprintf(w, "data: %s\n\n", text); err != nil {
		return err
	}
	return w.Flush()
}
