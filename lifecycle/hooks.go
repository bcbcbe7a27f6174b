package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// HookFunc is what a hook does. Its context ends with the hook's timeout.
type HookFunc func(ctx context.Context) error

// HookStage says when a hook runs.
type HookStage string

// The stages of hooks.
const (
	StageStart HookStage = "start"
	StageDrain HookStage = "drain"
	StageExit  HookStage = "exit"
)

// HookError is the error of a hook that failed, panicked or took too long.
type HookError struct {
	Stage HookStage
	Name  string
	Err   error
}

func (e *HookError) Error() string {
	return fmt.Sprintf("lifecycle: %s hook %q: %v", e.Stage, e.Name, e.Err)
}

// Unwrap returns the hook's own error.
func (e *HookError) Unwrap() error { return e.Err }

// PanicError is a recovered panic, as an error.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that panicked
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// HookResult is what became of a hook.
type HookResult struct {
	Stage HookStage     `json:"stage"`
	Name  string        `json:"name"`
	Took  time.Duration `json:"took_ns"`
	Err   error         `json:"-"` // in JSON it is its text
}

// MarshalJSON adds Err, as text.
func (h HookResult) MarshalJSON() ([]byte, error) {
	type fields HookResult // without this method
	return json.Marshal(struct {
		fields
		Err string `json:"err,omitempty"`
	}{fields(h), errorText(h.Err)})
}

type hook struct {
	name    string
	run     HookFunc
	timeout time.Duration // zero: Server.HookTimeout
}

// runningHook is the hook that runs. Hooks run one at a time: when the drain begins, there
// are no start hooks any more, or no drain hooks will run.
type runningHook struct {
	stage HookStage
	name  string
	began time.Time
}

// OnStart registers a hook that runs before the server listens, first
// registered first. An error ends the start, and Run returns it; then, and
// whenever the start fails, the exit hooks are what undoes a start: let a start
// hook register its own, once it has something to undo.
//
// The hook's context also ends when the drain begins. An optional timeout takes
// the place of Server.HookTimeout for this hook.
func (s *Server) OnStart(name string, run HookFunc, timeout ...time.Duration) {
	s.addHook(&s.startHooks, name, run, timeout)
}

// OnDrain registers a hook that runs when the drain begins, beside it, first
// registered first: readiness is red already, connections are still served. The
// drain awaits it until the deadline, at which its context ends. An optional
// timeout takes the place of Server.HookTimeout for this hook.
func (s *Server) OnDrain(name string, run HookFunc, timeout ...time.Duration) {
	s.addHook(&s.drainHooks, name, run, timeout)
}

// PreExit registers a hook that runs when all connections are gone, before Run
// returns: last registered first, one after the other, each whatever became of
// the one before. All errors are joined in what Run returns.
//
// Hooks run whether the server ever started or not. They may register further
// ones, which run next, and start work with Go, which is awaited. An optional
// timeout takes the place of Server.HookTimeout for this hook; a hook that
// outstays it is left behind.
func (s *Server) PreExit(name string, run HookFunc, timeout ...time.Duration) {
	s.addHook(&s.exitHooks, name, run, timeout)
}

func (s *Server) addHook(chain *[]hook, name string, run HookFunc, timeout []time.Duration) {
	s.init()
	h := hook{name: name, run: run}
	if len(timeout) > 0 {
		h.timeout = timeout[0]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if run == nil {
		s.mistakes = append(s.mistakes, fmt.Errorf("lifecycle: hook %q is nil", name))
		return
	}
	*chain = append(*chain, h)
}

// PendingHooks returns the hooks that have not ended: the one that runs, if one does, and
// then by their stage, and within it in the order in which they will, those that will
// run. Of each only Stage and Name are set, and Took of the one that runs.
func (s *Server) PendingHooks() (pending []HookResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.running; h != nil {
		pending = append(pending, HookResult{Stage: h.stage, Name: h.name, Took: max(1, time.Since(h.began))})
	}
	add := func(stage HookStage, h hook) { pending = append(pending, HookResult{Stage: stage, Name: h.name}) }
	for _, h := range s.startHooks {
		add(StageStart, h)
	}
	for _, h := range s.drainHooks {
		add(StageDrain, h)
	}
	for _, h := range slices.Backward(s.exitHooks) {
		add(StageExit, h)
	}
	return pending
}

// nextHook takes the next hook off a chain: from its front, or, for exit hooks,
// from its end.
func (s *Server) nextHook(chain *[]hook) (h hook, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(*chain)
	if n == 0 {
		return hook{}, false
	}
	at := 0
	if chain == &s.exitHooks {
		at = n - 1
	}
	h = (*chain)[at]
	*chain = slices.Delete(*chain, at, at+1)
	return h, true
}

func (s *Server) runStartHooks(ctx context.Context) error {
	for ctx.Err() == nil {
		h, ok := s.nextHook(&s.startHooks)
		if !ok {
			return nil
		}
		if err := s.runHook(ctx, StageStart, h); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) runDrainHooks(ctx context.Context) {
	var errs []error
	for {
		h, ok := s.nextHook(&s.drainHooks)
		if !ok {
			break
		}
		errs = append(errs, s.runHook(ctx, StageDrain, h))
	}
	s.mu.Lock()
	s.drainHookErr = errors.Join(errs...)
	s.mu.Unlock()
}

// runExitHooks runs the exit hooks and what they bring forth: further hooks,
// and work that they started.
func (s *Server) runExitHooks() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.mu.Lock()
	s.exitCtx = ctx
	s.mu.Unlock()

	var errs []error
	for {
		if h, ok := s.nextHook(&s.exitHooks); ok {
			errs = append(errs, s.runHook(ctx, StageExit, h))
			continue
		}
		if s.work.len() == 0 {
			return errors.Join(errs...)
		}
		if err := s.awaitExitWork(); err != nil {
			return errors.Join(append(errs, err)...)
		}
	}
}

// awaitExitWork waits for the work that exit hooks started, as long as a hook may
// take.
func (s *Server) awaitExitWork() error {
	timeout := newTimer(orDefault(s.HookTimeout, DefaultHookTimeout))
	defer timeout.Stop()
	for s.work.len() > 0 {
		select {
		case <-s.changed:
		case <-timeout.C:
			return &HookError{StageExit, "work started by hooks", fmt.Errorf("still running: %q", s.work.names())}
		}
	}
	return nil
}

// runHook runs one hook, in a goroutine of its own so that one that does not
// heed its context cannot hold the process.
func (s *Server) runHook(ctx context.Context, stage HookStage, h hook) error {
	timeout := h.timeout
	if timeout == 0 {
		timeout = orDefault(s.HookTimeout, DefaultHookTimeout)
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, fmt.Errorf("took longer than %v: %w", timeout, context.DeadlineExceeded))
		defer cancel()
	}
	began, name := time.Now(), fmt.Sprintf("%s hook %q", stage, h.name)
	s.mu.Lock()
	s.running = &runningHook{stage, h.name, began}
	s.mu.Unlock()
	defer s.work.remove(s.work.add(name)) // who asks what is awaited gets its name
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		close(begun)
		ended <- guard(func() error { return h.run(ctx) })
	}()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		// A hook that heeds its context ends now and knows best what became
		// of it; one that does not is left behind. One that has had no CPU yet is
		// neither.
		<-begun
		select {
		case err = <-ended:
		case <-time.After(hookLeeway):
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		err = &HookError{stage, h.name, err}
	}
	result := HookResult{Stage: stage, Name: h.name, Took: time.Since(began), Err: err}
	s.mu.Lock()
	s.report.Hooks, s.running = append(s.report.Hooks, result), nil
	s.mu.Unlock()
	s.emit(Event{Kind: EventHook, Name: name, Duration: result.Took, Err: err})
	return err
}

// hookLeeway is how long a hook whose context has ended is given to return.
const hookLeeway = 100 * time.Millisecond

// guard runs f and turns a panic into an error.
func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return f()
}
