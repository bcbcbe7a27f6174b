package lifecycle

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// work is the set of background work that the drain awaits, and of the hook that runs.
type work struct {
	mu    sync.Mutex // guards tasks and next
	tasks map[uint64]task
	next  uint64
}

type task struct {
	id    uint64
	name  string
	began time.Time
}

func (w *work) add(name string) (id uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tasks == nil {
		w.tasks = make(map[uint64]task)
	}
	w.next++
	w.tasks[w.next] = task{w.next, name, time.Now()}
	return w.next
}

func (w *work) remove(id uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.tasks, id)
}

func (w *work) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.tasks)
}

// all returns the tasks, the oldest first.
func (w *work) all() []task {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]task, 0, len(w.tasks))
	for _, t := range w.tasks {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b task) int { return cmp.Compare(a.id, b.id) })
	return all
}

func (w *work) names() (names []string) {
	for _, t := range w.all() {
		names = append(names, t.name)
	}
	slices.Sort(names)
	return names
}

// abandon gives up on all work that is under way and returns its names.
func (w *work) abandon() []string {
	names := w.names()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tasks = nil
	return names
}

// WorkInfo is work that is under way.
type WorkInfo struct {
	Name string        `json:"name"`
	Age  time.Duration `json:"age_ns"` // since it began
}

// Work returns the work under way that Go and Track know of, and the hook that runs, by
// the name that its event has. The oldest comes first.
func (s *Server) Work() (infos []WorkInfo) {
	for _, t := range s.work.all() {
		infos = append(infos, WorkInfo{t.name, time.Since(t.began)})
	}
	return infos
}

// Go runs f in a goroutine that the drain awaits as it awaits connections. f
// watches Draining to come to an end in good time; its context stays open until
// the drain's deadline. Work that an exit hook starts is awaited as long as a
// hook may take. A panic is caught, and reported as an event.
//
// Go may be called at any time, from handlers and hooks too; after Run has
// returned the context that f gets has ended.
func (s *Server) Go(name string, f func(ctx context.Context)) {
	s.init()
	s.mu.Lock()
	ctx := s.ctx
	if s.exitCtx != nil {
		ctx = s.exitCtx
	}
	s.mu.Unlock()
	id := s.work.add(name)
	go func() {
		defer s.signalChange()
		defer s.work.remove(id)
		s.try(name, func() { f(ctx) })
	}()
}

// Track returns h such that each call of it is awaited as work started with Go is,
// even where what called it has given up on it: fasthttp.TimeoutHandler answers
// for a handler that takes too long, and leaves it running, unseen by the drain.
//
//	fasthttp.TimeoutHandler(srv.Track("report", report), time.Second, "too slow")
//
// It costs a lock a request: it is for handlers that something may abandon. They
// end in time by watching Draining, or, at the deadline, Context.
//
// A panic of h is answered with a 500, and reported as an event: in the goroutine in
// which TimeoutHandler runs it nothing else could catch it.
func (s *Server) Track(name string, h fasthttp.RequestHandler) fasthttp.RequestHandler {
	s.init()
	return func(ctx *fasthttp.RequestCtx) {
		id := s.work.add(name)
		defer s.signalChange()
		defer s.work.remove(id)
		if !s.try(name, func() { h(ctx) }) {
			if ctx.Hijacked() {
				ctx.Hijack(nil)
			}
			ctx.Error(fasthttp.StatusMessage(fasthttp.StatusInternalServerError), fasthttp.StatusInternalServerError)
		}
	}
}
