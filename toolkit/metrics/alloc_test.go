//go:build !race

package metrics_test

import (
	"testing"

	"github.com/lastcall-go/lastcall/toolkit/metrics"
)

func TestRequestsAllocateNothing(t *testing.T) {
	x := newExchange(t, metrics.At("/metrics"))
	for range 1000 { // pools, buffers and buckets fill
		x.do()
	}
	if n := testing.AllocsPerRun(1000, x.do); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}
