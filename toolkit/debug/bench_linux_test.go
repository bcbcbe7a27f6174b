package debug

import (
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// What a second costs in CPU time while so many look at a hundred thousand connections, with that of
// the clients, and how many events of how many bytes there are: go test -bench Watched -benchtime 20x.
func BenchmarkWatched(b *testing.B) {
	r := crowd(b, many)
	var sent, events atomic.Int64
	for _, query := range []string{"", "q=10.0", "sort=remote"} {
		for _, n := range []int{1, 4, maxStreams} {
			b.Run(fmt.Sprintf("query=%s/%d", query, n), func(b *testing.B) {
				b.Cleanup(func() {
					for r.snapshot("").Watching > 0 {
						time.Sleep(10 * time.Millisecond)
					}
				})
				for range n {
					e := r.watch(query)
					defer e.Close()
					go func() {
						for {
							line, err := e.body.ReadString('\n')
							if err != nil {
								return
							}
							if strings.HasPrefix(line, "data:") {
								events.Add(1)
							}
							sent.Add(int64(len(line)))
						}
					}()
				}
				time.Sleep(time.Second) // the first event has all
				events.Store(0)
				sent.Store(0)
				began := cpuTime()
				for b.Loop() {
					time.Sleep(time.Second)
				}
				b.ReportMetric((cpuTime()-began).Seconds()*1000/float64(b.N), "cpu-ms/s")
				b.ReportMetric(float64(events.Load())/float64(b.N), "events/s")
				b.ReportMetric(float64(sent.Load())/float64(b.N)/1000, "kB/s")
			})
		}
	}
}

// cpuTime is what this process has used of it.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
