//go:build !race

package debug

import (
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// However many connections there are, an event allocates for those that it shows.
func TestAllocIsForRowsAlone(t *testing.T) {
	const limit, each = 10, 16 // for a row, and what more there is in an event
	v := &view{server: crowd(t, 2_000).Server.Server}
	for _, query := range queries() {
		var args fasthttp.Args
		args.Parse(query + "&limit=10")
		q, err := queryOf(&args)
		if err != nil {
			t.Fatal(err)
		}
		past, n := time.Now(), float64(limit*each+1)
		for try := 0; n > limit*each && try < 100; try++ { // connections may be getting ready for their next request
			n = testing.AllocsPerRun(20, func() { v.snapshot(q, past) })
		}
		if n > limit*each {
			t.Errorf("%s: %v allocations for %d rows", query, n, limit)
		}
	}
}
