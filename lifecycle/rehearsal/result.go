package rehearsal

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Loss is a request that was lost, or an end of a connection that its client could
// not have expected.
type Loss struct {
	Round   int    `json:"round"`   // from 1
	Kind    Kind   `json:"kind"`    // of the client
	Network string `json:"network"` // "tcp", or "tls" on top of it
	// What was sent: "POST /echo, 10 B body", "8 x POST /", "GET /stream",
	// "message on /ws, 5 B", "nothing", "nothing since POST /".
	What string `json:"what"`
	// Request is the how-manieth request or message it was on its connection, from
	// 1; in a pipeline, the first one of it.
	Request int `json:"request"`
	// Sent is when its first byte was sent, or that of the last request before an
	// end, or when a connection was made on which nothing was sent. At is when the
	// loss was seen. Both are counted from the begin of the shutdown, and negative
	// before.
	Sent time.Duration `json:"sent_ns"`
	At   time.Duration `json:"at_ns"`
	// Ended is how it ended:
	//
	//	"EOF"        no byte of a response came, then the connection's end
	//	"reset"      no byte of a response came, then a reset
	//	"truncated"  some bytes of a response came, then an end or a reset
	//	"timeout"    it took longer than Plan.Timeout
	//	"refused: "  and a status, "503 Service Unavailable": a complete response that is not a 200
	//
	// or another error's text, or what came instead of an echo or an end.
	Ended string `json:"ended"`
}

// String is the loss in one line.
func (l Loss) String() string {
	return fmt.Sprintf("round %d: %v over %s, request %d: %s: %s; sent at %v, lost at %v", l.Round, l.Kind, l.Network, l.Request, l.What, l.Ended,
		l.Sent.Round(time.Microsecond), l.At.Round(time.Microsecond))
}

// Result is what came of a Plan.
type Result struct {
	Rounds int             `json:"rounds"`
	Served int64           `json:"served"`         // complete responses, and echoes
	ByKind map[Kind]int64  `json:"by_kind"`        // Served, of each kind in the plan that is to be served
	Lost   []Loss          `json:"lost,omitempty"` //
	Drains []time.Duration `json:"drains_ns"`      // of each round, from the begin of the shutdown to the end of Wait; in ascending order
	Errors []error         `json:"-"`              // of Shutdown and Wait; "errors" in JSON, as text
}

// MarshalJSON renders the result with its errors' texts.
func (r Result) MarshalJSON() ([]byte, error) {
	type plain Result
	var texts []string
	for _, err := range r.Errors {
		texts = append(texts, err.Error())
	}
	return json.Marshal(struct {
		plain
		Errors []string `json:"errors,omitempty"`
	}{plain(r), texts})
}

// MedianDrain is how long half of the shutdowns took at most.
func (r Result) MedianDrain() time.Duration { return r.drain(len(r.Drains) / 2) }

// LongestDrain is how long the longest shutdown took.
func (r Result) LongestDrain() time.Duration { return r.drain(len(r.Drains) - 1) }

func (r Result) drain(at int) time.Duration {
	if at < 0 || at >= len(r.Drains) {
		return 0
	}
	return r.Drains[at]
}

// maxListed is how many kinds of losses, and how many losses one by one, String
// lists.
const maxListed = 20

// String is the result as a table: a line for each kind of loss, then the first of
// them.
func (r Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d shutdowns, %d requests served%s, %d lost; median shutdown %v, longest %v\n",
		r.Rounds, r.Served, r.byKind(), len(r.Lost), r.MedianDrain().Round(time.Microsecond), r.LongestDrain().Round(time.Microsecond))
	r.classes(&b)
	for i, l := range r.Lost {
		if i == maxListed {
			fmt.Fprintf(&b, "  and %d more\n", len(r.Lost)-i)
			break
		}
		fmt.Fprintf(&b, "  %v\n", l)
	}
	for _, err := range r.Errors {
		fmt.Fprintf(&b, "  %v\n", err)
	}
	return b.String()
}

// byKind says what of Served was whose, if there was more than one kind.
func (r Result) byKind() string {
	var parts []string
	for k := range numKinds {
		if n, ok := r.ByKind[k]; ok {
			parts = append(parts, fmt.Sprintf("%v %d", k, n))
		}
	}
	if len(parts) < 2 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// classes writes how many losses there are of each kind, the most frequent first.
func (r Result) classes(b *strings.Builder) {
	type class struct {
		kind                 Kind
		network, what, ended string
	}
	counts := map[class]int{}
	for _, l := range r.Lost {
		counts[class{l.Kind, l.Network, l.What, l.Ended}]++
	}
	if len(counts) == 0 {
		return
	}
	classes := make([]class, 0, len(counts))
	for c := range counts {
		classes = append(classes, c)
	}
	slices.SortFunc(classes, func(a, b class) int {
		return cmp.Or(counts[b]-counts[a], int(a.kind-b.kind), strings.Compare(a.network, b.network),
			strings.Compare(a.what, b.what), strings.Compare(a.ended, b.ended))
	})
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "  lost\tclient\tover\tsent\tended\n")
	for _, c := range classes[:min(len(classes), maxListed)] {
		fmt.Fprintf(w, "  %d\t%v\t%s\t%s\t%s\n", counts[c], c.kind, c.network, c.what, c.ended)
	}
	_ = w.Flush()
}
