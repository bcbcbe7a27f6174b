//go:build linux

// Soaks a server: for ten minutes or as long as -duration says, a random mix of
// clients calls it, good ones and bad ones, connections are parked, descriptors run
// out, and it is restarted all the while, in one process. In the end every request is
// accounted for, and nothing is left: no connection, goroutine, descriptor or memory.
// make soak runs it. It is for Linux: /proc tells it what is left.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle/rehearsal"
)

func main() {
	duration := flag.Duration("duration", 10*time.Minute, "how long")
	every := flag.Duration("every", 10*time.Second, "the `interval` of the lines that say how far it is")
	seed := flag.Uint64("seed", 0, "of the clients that are drawn; 0 for another each time")
	flag.Parse()
	s := &soak{seed: cmp.Or(*seed, rand.Uint64())} //nolint:gosec // no secret
	s.run(*duration, *every)
	if s.failures > 0 {
		fmt.Printf("FAILED: %d failures, seed %d\n", s.failures, s.seed)
		os.Exit(1)
	}
	fmt.Println("ok")
}

// soak is the sum of all lives of the server.
type soak struct {
	seed     uint64
	began    time.Time
	failures int
	lives    int
	tally
	heaps []uint64 // bytes in use after each life
}

// tally is what happened in a life, or in all of them.
type tally struct {
	answered  int64 // requests with a complete and right answer
	abandoned int64 // requests whose client went away on purpose
	handled   int64 // requests that a handler has run for
	excused   int64 // new connections that the server had no descriptor for
	starved   int64 // moments without descriptors
	parked    int   // connections that were parked when the shutdown began
}

func (t *tally) add(u tally) {
	t.answered += u.answered
	t.abandoned += u.abandoned
	t.handled += u.handled
	t.excused += u.excused
	t.starved += u.starved
	t.parked += u.parked
}

func (s *soak) fail(format string, args ...any) {
	s.failures++
	fmt.Printf("life %d: "+format+"\n", append([]any{s.lives}, args...)...)
}

func (s *soak) run(duration, every time.Duration) {
	// What lasts as long as the process is there before anything is counted: the
	// clock of fasthttp's Date header, and the poller of the network.
	(&fasthttp.ResponseHeader{}).Header()
	if _, err := rehearsal.FreeAddr(); err != nil {
		s.fail("%v", err)
		return
	}
	goroutines, descriptors := runtime.NumGoroutine(), countDescriptors()
	fmt.Printf("seed %d, %v\n", s.seed, duration)

	s.began = time.Now()
	random := rand.New(rand.NewPCG(s.seed, 0)) //nolint:gosec // no secret
	told := s.began
	for s.lives == 0 || time.Since(s.began) < duration {
		s.lives++
		s.live(random)
		s.heaps = append(s.heaps, heap())
		if time.Since(told) >= every {
			told = time.Now()
			s.tell()
		}
	}
	s.tell()
	s.wantNothingLeft(goroutines, descriptors)
	s.wantFlat()
}

// live is one life of the server, and what came of it.
func (s *soak) live(random *rand.Rand) {
	l := newLife(random)
	result, err := l.plan(random).Rehearse()
	l.end()
	if err != nil {
		s.fail("the plan could not be carried out: %v", err)
	}
	for _, err := range result.Errors {
		s.fail("%v", err)
	}
	for _, lost := range result.Lost {
		refused := lost.Ended == "EOF" || lost.Ended == "reset" || strings.HasPrefix(lost.Ended, "refused: 503")
		if lost.Request == 1 && refused && l.excuses(l.shutdown.Add(lost.At)) {
			l.sum.excused++
			continue
		}
		s.fail("lost: %v", lost)
	}
	for _, lost := range l.lost {
		s.fail("lost: %s", lost)
	}
	// A message on a WebSocket is no request, and one that crossed the server's
	// farewell may have been echoed into the void.
	requests := result.Served - result.ByKind[rehearsal.WebSocket]
	if called := l.called.Load(); called != requests {
		s.fail("handlers ran for %d requests of good clients, who have %d answers", called, requests)
	}
	// Of those whose clients went away, the server may have seen the end first.
	answered, abandoned := l.answered.Load(), l.abandoned.Load()
	if n := l.faulted.Load(); n < answered || n > answered+abandoned {
		s.fail("handlers ran for %d requests of bad clients, who have %d answers and have abandoned %d", n, answered, abandoned)
	}
	if open := l.server.Counts(); open.Total() > 0 {
		s.fail("open in the end: %v", open)
	}
	if report := l.server.Report(); report.Err != nil || len(report.Cut)+len(report.Work) > 0 {
		s.fail("%v", report)
	}
	l.sum.answered, l.sum.abandoned, l.sum.handled = result.Served+answered, abandoned, l.called.Load()+l.faulted.Load()
	s.add(l.sum)
}

// tell prints how far it is.
func (s *soak) tell() {
	fmt.Printf("%8v  %d lives, %d answered, %d abandoned, %d parked at an end, %d without descriptors: %d excused; %d failures; heap %d kB, %d goroutines, %d descriptors\n",
		time.Since(s.began).Round(time.Second), s.lives, s.answered, s.abandoned, s.parked, s.starved, s.excused, s.failures,
		s.heaps[len(s.heaps)-1]>>10, runtime.NumGoroutine(), countDescriptors())
}

// patience is what is given to goroutines that end on their own.
const patience = 15 * time.Second

// wantNothingLeft waits until there are no more goroutines and descriptors than in
// the beginning.
func (s *soak) wantNothingLeft(goroutines, descriptors int) {
	for end := time.Now().Add(patience); runtime.NumGoroutine() > goroutines || countDescriptors() > descriptors; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.fail("left: %d goroutines, of %d in the beginning, and %d descriptors, of %d", runtime.NumGoroutine(), goroutines, countDescriptors(), descriptors)
			_ = pprof.Lookup("goroutine").WriteTo(os.Stdout, 1)
			return
		}
	}
}

// heapSlack is how much more memory the last third of all lives may leave behind than
// the first one.
const heapSlack = 1 << 20

// wantFlat compares the first third of all lives with the last.
func (s *soak) wantFlat() {
	third := len(s.heaps) / 3
	if third == 0 {
		return
	}
	median := func(heaps []uint64) uint64 {
		heaps = slices.Sorted(slices.Values(heaps))
		return heaps[len(heaps)/2]
	}
	first, last := median(s.heaps[:third]), median(s.heaps[len(s.heaps)-third:])
	fmt.Printf("heap after a life: %d kB in the first third, %d kB in the last\n", first>>10, last>>10)
	if last > first+first/5+heapSlack {
		s.fail("memory is not flat")
	}
}

// heap is what is in use when no server runs.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // twice, as pools keep what they hold for one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// countDescriptors is how many the process has, but for the one that counts.
func countDescriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(entries) - 1
}
