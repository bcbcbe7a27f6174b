package lifecycle

import (
	"fmt"
	"net"
	"time"
)

// EventKind says what an Event is about.
type EventKind int

// The kinds of Event, with the fields that each one sets beside Kind and Time.
const (
	EventPhase       EventKind = iota // Phase, and for PhaseDraining the cause in Name: a phase was entered
	EventListening                    // Addr: a listener is open
	EventHook                         // Name ("exit hook \"db\""), Duration, Err: a hook has ended
	EventSignal                       // Name: a signal was received
	EventAcceptRetry                  // Addr, Err, Duration: accepting failed and is retried after Duration
	EventListenFail                   // Addr, Err: a listener failed for good, which begins the drain, but for ServeListener's
	EventPanic                        // Name, Err, a *PanicError: tracked work or a callback panicked
	EventNotParked                    // Err: connections, or those of a kind, cannot be parked; once
	EventRefused                      // Name (why), Addr (whose): a connection was refused; at most once a minute for each reason
	EventPrefaceFail                  // Addr, Err: Server.Preface failed for a connection from Addr, which was closed
	EventTooSlow                      // Name ("request" or "response"), Addr: a client was too slow with it, and is cut; see Server.MinReadRate
)

var eventNames = [...]string{
	"phase", "listening", "hook", "signal", "accept retry", "listener failed", "panic", "not parked", "refused", "preface failed",
	"too slow",
}

func (k EventKind) String() string {
	if k < 0 || int(k) >= len(eventNames) {
		return "unknown"
	}
	return eventNames[k]
}

// Event is something that happened in a server's life. The package logs
// nothing; whoever wants to know sets Server.OnEvent.
type Event struct {
	Kind     EventKind
	Time     time.Time
	Phase    Phase
	Name     string
	Addr     net.Addr
	Err      error
	Duration time.Duration
}

func (e Event) String() string {
	text := e.Kind.String()
	if e.Kind == EventPhase {
		text += " " + e.Phase.String()
	}
	if e.Name != "" {
		text += " " + e.Name
	}
	if e.Addr != nil {
		text += " " + e.Addr.String()
	}
	if e.Duration > 0 {
		text += " " + e.Duration.String()
	}
	if e.Err != nil {
		text = fmt.Sprintf("%s: %v", text, e.Err)
	}
	return text
}

func (s *Server) emit(e Event) {
	if s.OnEvent == nil {
		return
	}
	e.Time = time.Now()
	defer func() { _ = recover() }() // whom could one tell?
	s.OnEvent(e)
}
