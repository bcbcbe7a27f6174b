package debug

import (
	"encoding/json"
	"io"
	"testing"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/lastcall-go/lastcall/internal/servertest"
)

// What one event costs, of a server with ten thousand idle connections.
func BenchmarkEvent(b *testing.B) {
	const n = 10_000
	mem := fasthttputil.NewInmemoryListener()
	r := servertest.Run(b, loopback(nil).Listener(mem).IdleTimeout(0).MaxConns(2*n))
	v := &view{server: r.Server}
	for range n {
		nc, err := mem.Dial()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.WriteString(nc, "GET /hello HTTP/1.1\r\nHost: t\r\n\r\n"); err != nil {
			b.Fatal(err)
		}
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
