package lifecycle

import "fmt"

// ConnState is the state of a connection, named as fasthttp.ConnState names it.
type ConnState uint8

// The states of a connection. Active and hijacked connections are busy: the
// drain awaits them. New, idle and parked ones it closes after their last call.
const (
	StateNew      ConnState = iota // accepted, no byte read yet
	StateActive                    // a request is being read, handled or answered
	StateIdle                      // keep-alive, between two requests
	StateParked                    // idle, its goroutine and buffers given back; see Server.ParkAfter
	StateHijacked                  // taken over by a hijack handler, as for WebSockets
	StateClosed
	// Public code sees those below as StateNew or StateIdle.
	stateWaking  // its reader is being woken by a past deadline, unless a request comes first
	stateEnding  // it has been sent a FIN: nothing that it sends can be answered
	stateParking // its reader is being woken, to be parked, unless a request comes first
	stateRefused // one too many: its first byte is answered with a refusal
	stateLeaving // fasthttp has let go of it, and it is about to be parked
)

var stateNames = [...]string{"new", "active", "idle", "parked", "hijacked", "closed"}

func (c ConnState) String() string {
	if int(c) >= len(stateNames) {
		return "unknown"
	}
	return stateNames[c]
}

// MarshalText renders the state as its name.
func (c ConnState) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Counts is how many connections are in each state.
type Counts struct {
	New      int `json:"new"`
	Active   int `json:"active"`
	Idle     int `json:"idle"`
	Parked   int `json:"parked"`
	Hijacked int `json:"hijacked"`
}

// Total is the number of open connections.
func (c Counts) Total() int { return c.New + c.Active + c.Idle + c.Parked + c.Hijacked }

// Busy is the number of connections that the drain awaits.
func (c Counts) Busy() int { return c.Active + c.Hijacked }

// Add counts one more connection; one that is closed is none.
func (c *Counts) Add(st ConnState) {
	switch st {
	case StateNew:
		c.New++
	case StateActive:
		c.Active++
	case StateIdle:
		c.Idle++
	case StateParked:
		c.Parked++
	case StateHijacked:
		c.Hijacked++
	default:
	}
}

func (c Counts) String() string {
	return fmt.Sprintf("%d new, %d active, %d idle, %d parked, %d hijacked", c.New, c.Active, c.Idle, c.Parked, c.Hijacked)
}
