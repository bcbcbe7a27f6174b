package rehearsal

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"
)

// Target is a server that runs and can be shut down.
type Target struct {
	// Addr is the TCP address that clients connect to.
	Addr string
	// Shutdown begins the shutdown. It need not wait for it.
	Shutdown func() error
	// Wait returns when the shutdown is over.
	Wait func() error
}

// Plan is what is to be rehearsed.
type Plan struct {
	// Start starts the server, once a round, and returns when it accepts
	// connections. Required.
	Start func() (*Target, error)

	// Clients are the groups of clients that call the server. Required.
	Clients []Clients

	// Rounds is the number of shutdowns. Zero is 1.
	Rounds int

	// After is how long the clients have called when the shutdown begins, and
	// Jitter how much longer at random. Zero is DefaultAfter and DefaultJitter.
	After, Jitter time.Duration

	// Path is what requests are for; it has to answer a POST with a body. The
	// default is "/".
	Path string

	// TLS, if set, is the clients' configuration; they speak plain HTTP if not.
	TLS *tls.Config

	// Delay is how long each byte travels, each way, as through a network. It is
	// not for Fresh clients: what delays would accept them in the server's place.
	Delay time.Duration

	// Timeout is how long a client waits for a response before it counts its
	// request as lost. Zero is DefaultTimeout.
	Timeout time.Duration
}

// The defaults of a Plan.
const (
	DefaultAfter   = 30 * time.Millisecond
	DefaultJitter  = 60 * time.Millisecond
	DefaultTimeout = 20 * time.Second
)

// Loss is a request that was lost.
type Loss struct {
	Round   int           // from 1
	Kind    Kind          // of the client
	Request int           // the how-manieth on its connection, from 1
	Sent    time.Duration // when its first byte was sent; counted from the begin of the shutdown, and negative before
	Ended   string        // how it ended: "EOF", "reset", "truncated", "timeout" or another error
}

func (l Loss) String() string {
	return fmt.Sprintf("round %d: %v, request %d, sent at %v: %s", l.Round, l.Kind, l.Request, l.Sent.Round(time.Microsecond), l.Ended)
}

// Result is what came of a Plan.
type Result struct {
	Rounds int
	Served int64           // complete responses
	Lost   []Loss          //
	Drains []time.Duration // of each round, from the begin of the shutdown to the end of Wait; in ascending order
	Errors []error         // of Shutdown and Wait
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

// maxListed is how many losses String lists one by one.
const maxListed = 20

// String is the result as a table: a line for each kind of loss, then the first of
// them.
func (r Result) String() string {
	type class struct {
		kind  Kind
		ended string
	}
	counts := map[class]int{}
	for _, l := range r.Lost {
		counts[class{l.Kind, l.Ended}]++
	}
	classes := make([]class, 0, len(counts))
	for c := range counts {
		classes = append(classes, c)
	}
	slices.SortFunc(classes, func(a, b class) int {
		return cmp.Or(counts[b]-counts[a], strings.Compare(a.ended, b.ended), int(a.kind)-int(b.kind))
	})

	var b strings.Builder
	fmt.Fprintf(&b, "%d shutdowns, %d requests served, %d lost; median shutdown %v, longest %v\n",
		r.Rounds, r.Served, len(r.Lost), r.MedianDrain().Round(time.Microsecond), r.LongestDrain().Round(time.Microsecond))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range classes {
		fmt.Fprintf(w, "  %d\t%v\t%s\n", counts[c], c.kind, c.ended)
	}
	_ = w.Flush()
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

// Run rehearses the plan and fails the test if a request was lost, or a shutdown
// failed.
func Run(t testing.TB, p Plan) Result {
	t.Helper()
	result, err := p.Rehearse()
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Lost)+len(result.Errors) > 0 {
		t.Errorf("the shutdown is not clean: %v", result)
	}
	return result
}

// Rehearse rehearses the plan. Its error says that the plan could not be carried
// out; lost requests are in the Result.
func (p Plan) Rehearse() (Result, error) {
	if err := p.check(); err != nil {
		return Result{}, err
	}
	result := Result{Rounds: max(1, p.Rounds)}
	for n := 1; n <= result.Rounds; n++ {
		if err := p.round(n, &result); err != nil {
			return result, err
		}
	}
	slices.Sort(result.Drains)
	return result, nil
}

func (p Plan) check() error {
	var errs []error
	if p.Start == nil {
		errs = append(errs, errors.New("rehearsal: Plan.Start is nil"))
	}
	if len(p.Clients) == 0 {
		errs = append(errs, errors.New("rehearsal: Plan.Clients is empty"))
	}
	for i, c := range p.Clients {
		if c.Kind < 0 || c.Kind >= numKinds || c.Count <= 0 || c.Pause < 0 || c.Body < 0 || c.Depth < 0 || c.Gap < 0 {
			errs = append(errs, fmt.Errorf("rehearsal: Plan.Clients[%d]: unknown kind, no clients or a negative value: %+v", i, c))
		}
		if c.Kind == Fresh && p.Delay > 0 {
			errs = append(errs, fmt.Errorf("rehearsal: Plan.Clients[%d]: with Delay, Fresh clients cannot know that they are refused", i))
		}
	}
	return errors.Join(errs...)
}

// round is one life of the server.
func (p Plan) round(n int, result *Result) error {
	target, err := p.Start()
	if err != nil {
		return fmt.Errorf("rehearsal: start: %w", err)
	}
	addr := target.Addr
	if p.Delay > 0 {
		proxy, err := delay(addr, p.Delay)
		if err != nil {
			return errors.Join(fmt.Errorf("rehearsal: %w", err), target.Shutdown(), target.Wait())
		}
		defer proxy.close()
		addr = proxy.addr()
	}
	r := &round{plan: p, n: n, addr: addr}
	for _, group := range p.Clients {
		for range group.Count {
			r.clients.Go(func() { r.run(group) })
		}
	}
	time.Sleep(orDefault(p.After, DefaultAfter) + rand.N(orDefault(p.Jitter, DefaultJitter))) //nolint:gosec // no secret

	began := time.Now()
	err = target.Shutdown()
	err = errors.Join(err, target.Wait())
	result.Drains = append(result.Drains, time.Since(began))
	r.over.Store(true)
	r.clients.Wait()

	if err != nil {
		result.Errors = append(result.Errors, fmt.Errorf("round %d: %w", n, err))
	}
	result.Served += r.served.Load()
	for _, l := range r.lost {
		result.Lost = append(result.Lost, Loss{n, l.kind, l.request, l.sent.Sub(began), l.ended})
	}
	return nil
}

// round is what the clients of one round share.
type round struct {
	plan    Plan
	n       int
	addr    string
	clients sync.WaitGroup
	over    atomic.Bool // the server has gone
	served  atomic.Int64

	mu   sync.Mutex // guards lost
	lost []lost
}

type lost struct {
	kind    Kind
	request int
	sent    time.Time
	ended   string
}

func (r *round) lose(l lost) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = append(r.lost, l)
}

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}
