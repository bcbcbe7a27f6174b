package rehearsal

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
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
	// They count from when the clients are in position that have to be.
	After, Jitter time.Duration

	// Path is what requests are for, where Clients.Path does not say. It has to
	// answer a POST with a body, for Streaming a GET, for WebSocket an upgrade.
	// The default is "/".
	Path string

	// TLS, if set, is the clients' configuration; they speak plain HTTP if not.
	TLS *tls.Config

	// Delay is how long each byte travels, each way, as through a network. To
	// connect takes no time.
	Delay time.Duration

	// Timeout is how long a client waits for a response, or an echo, before it
	// counts its request as lost; a Streaming client, for the next part of one. It
	// is also how long, from the begin of the shutdown, the connections of Silent
	// and Idle clients may stay open: let it be longer than the shutdown. Zero is
	// DefaultTimeout.
	Timeout time.Duration
}

// The defaults of a Plan.
const (
	DefaultAfter   = 30 * time.Millisecond
	DefaultJitter  = 60 * time.Millisecond
	DefaultTimeout = 20 * time.Second
)

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
// out, as when the server does not start, or a client does not get in position;
// lost requests are in the Result.
func (p Plan) Rehearse() (Result, error) {
	if err := p.check(); err != nil {
		return Result{}, err
	}
	result := Result{Rounds: max(1, p.Rounds), ByKind: map[Kind]int64{}}
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
	for _, field := range []struct {
		name     string
		negative bool
	}{
		{"Rounds", p.Rounds < 0},
		{"After", p.After < 0},
		{"Jitter", p.Jitter < 0},
		{"Delay", p.Delay < 0},
		{"Timeout", p.Timeout < 0},
	} {
		if field.negative {
			errs = append(errs, fmt.Errorf("rehearsal: Plan.%s is negative", field.name))
		}
	}
	if !validPath(p.Path) {
		errs = append(errs, fmt.Errorf("rehearsal: Plan.Path: %q is not a path", p.Path))
	}
	for i, c := range p.Clients {
		if mistake := c.mistake(); mistake != "" {
			errs = append(errs, fmt.Errorf("rehearsal: Plan.Clients[%d]: %s", i, mistake))
		}
	}
	return errors.Join(errs...)
}

// mistake is what is wrong with the group.
func (c Clients) mistake() string {
	switch {
	case c.Kind < 0 || c.Kind >= numKinds:
		return fmt.Sprintf("Kind: unknown kind %d", int(c.Kind))
	case c.Count <= 0:
		return fmt.Sprintf("Count: %d clients", c.Count)
	case !validPath(c.Path):
		return fmt.Sprintf("Path: %q is not a path", c.Path)
	case c.Pause < 0:
		return "Pause is negative"
	case c.Body < 0:
		return "Body is negative"
	case c.Depth < 0:
		return "Depth is negative"
	case c.Gap < 0:
		return "Gap is negative"
	}
	return ""
}

// validPath reports whether the path can be asked for as it is.
func validPath(path string) bool {
	return path == "" || path[0] == '/' && !strings.ContainsFunc(path, func(c rune) bool { return c <= ' ' || c >= 0x7f })
}

// round is one life of the server.
func (p Plan) round(n int, result *Result) error {
	target, err := p.Start()
	if err != nil {
		return fmt.Errorf("rehearsal: start: %w", err)
	}
	dial := func(within time.Duration) (net.Conn, error) { return net.DialTimeout("tcp", target.Addr, within) }
	if p.Delay > 0 {
		proxy, err := delay(target.Addr, p.Delay)
		if err != nil {
			return errors.Join(fmt.Errorf("rehearsal: %w", err), target.Shutdown(), target.Wait())
		}
		defer proxy.close()
		dial = proxy.dial
	}
	r := &round{plan: p, timeout: orDefault(p.Timeout, DefaultTimeout), connect: dial, dialing: make(chan struct{}, maxDialing)}
	for _, c := range p.Clients {
		r.groups = append(r.groups, p.group(c))
	}
	unfit := r.position()
	if unfit == nil {
		r.begin(false)
		time.Sleep(orDefault(p.After, DefaultAfter) + rand.N(orDefault(p.Jitter, DefaultJitter))) //nolint:gosec // no secret
	}

	began := time.Now()
	r.began.Store(&began)
	err = target.Shutdown()
	err = errors.Join(err, target.Wait())
	result.Drains = append(result.Drains, time.Since(began))
	r.over.Store(true)
	r.clients.Wait()

	if err != nil {
		result.Errors = append(result.Errors, fmt.Errorf("round %d: %w", n, err))
	}
	r.count(n, result)
	return unfit
}

// maxDialing is how many clients connect at a time. More could overflow the
// server's accept queue, which drops who comes.
const maxDialing = 128

// round is what the clients of one round share.
type round struct {
	plan      Plan
	timeout   time.Duration // Plan.Timeout
	connect   func(within time.Duration) (net.Conn, error)
	groups    []*group
	clients   sync.WaitGroup
	positions sync.WaitGroup // one each for the clients that are not yet in position
	dialing   chan struct{}  // one each for the clients that connect
	began     atomic.Pointer[time.Time]
	over      atomic.Bool // the server has gone
	served    [numKinds]atomic.Int64

	mu   sync.Mutex // guards lost, and failed and failure of the groups
	lost []lost
}

// lost is a Loss whose times and round are yet to be filled in.
type lost struct {
	Loss
	sent, at time.Time
}

// begin starts the clients that hold something open, or those that call.
func (r *round) begin(holding bool) {
	for _, g := range r.groups {
		if g.Kind.holds() != holding {
			continue
		}
		run := r.call
		if holding {
			run = r.hold
			r.positions.Add(g.Count)
		}
		for range g.Count {
			r.clients.Go(func() { run(g) })
		}
	}
}

// position starts the clients that hold something open, and returns when each is in
// position, or cannot be.
func (r *round) position() error {
	r.begin(true)
	r.positions.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for i, g := range r.groups {
		if g.failed > 0 {
			errs = append(errs, fmt.Errorf("rehearsal: Plan.Clients[%d]: %d of %d %v clients did not get in position; the first: %w", i, g.failed, g.Count, g.Kind, g.failure))
		}
	}
	return errors.Join(errs...)
}

func (r *round) lose(l lost) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = append(r.lost, l)
}

// count adds what came of the round.
func (r *round) count(n int, result *Result) {
	began := *r.began.Load()
	network := "tcp"
	if r.plan.TLS != nil {
		network = "tls"
	}
	for _, l := range r.lost {
		l.Round, l.Network, l.Sent, l.At = n, network, l.sent.Sub(began), l.at.Sub(began)
		result.Lost = append(result.Lost, l.Loss)
	}
	for _, g := range r.groups {
		if g.Kind != Silent && g.Kind != Half {
			served := r.served[g.Kind].Swap(0) // groups may be of the same kind
			result.ByKind[g.Kind] += served
			result.Served += served
		}
	}
}

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}
