//go:build !race

package debug

import (
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// However many connections there are, an event allocates for those that it shows.
func TestAllocIsForRowsAlone(t *testing.T) {
	const limit, each = 10, 16 // for a row, its text, and what more there is in an event
	v := &view{server: crowd(t, 2_000).Server}
	for _, query := range queries() {
		var args fasthttp.Args
		args.Parse(query + "&limit=10")
		q, err := queryOf(&args)
		if err != nil {
			t.Fatal(err)
		}
		past := time.Now()
		if n := testing.AllocsPerRun(20, func() { v.snapshot(q, past) }); n > limit*each {
			t.Errorf("%s: %v allocations for %d rows", query, n, limit)
		}
	}
}
