//go:build !race

package toolkit

import "testing"

// The race detector allocates; without it a request costs what bare fasthttp
// makes it cost, which is nothing.
func TestRequestsAllocateNothing(t *testing.T) {
	for _, v := range variants() {
		if v.logs {
			continue // what a line costs is the benchmark's to tell
		}
		t.Run(v.name, func(t *testing.T) {
			x := newExchange(t, v)
			for range 100 { // pools and buffers fill
				x.do()
			}
			if n := testing.AllocsPerRun(1000, x.do); n != 0 {
				t.Errorf("%v allocations a request", n)
			}
		})
	}
}
