package debug

import (
	"encoding/json"
	"testing"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"
)

// What one event costs, of a server with ten thousand idle connections.
func BenchmarkEvent(b *testing.B) {
	const n = 10_000
	mem := fasthttputil.NewInmemoryListener()
	builder := loopback(nil).Listener(mem).IdleTimeout(0).MaxConns(2 * n)
	v := &view{}
	s, err := builder.Build()
	if err != nil {
		b.Fatal(err)
	}
	v.server = s
	r := start(b, s)
	for range n {
		nc, err := mem.Dial()
		if err != nil {
			b.Fatal(err)
		}
		c := &client{Conn: nc, t: b}
		c.send("GET", "/hello")
	}
	for r.Counts().Idle < n {
	}
	for _, query := range []string{"", "sort=-age", "sort=remote", "q=pipe", "limit=1000"} {
		b.Run("query="+query, func(b *testing.B) {
			var args fasthttp.Args
			args.Parse(query)
			q, err := queryOf(&args)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				snap := v.snapshot(q, v.server.Report().Phases[0].At)
				if text, err := json.Marshal(snap); err != nil || len(text) == 0 {
					b.Fatal(err)
				}
			}
		})
	}
}
