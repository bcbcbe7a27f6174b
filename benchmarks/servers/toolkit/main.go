// The contender toolkit: a server as toolkit builds it with no option set, save
// for a log that is disabled. Recovery, request id and access log are around its
// routes, and requests are checked strictly; its time limits are the other
// contenders'. With -hardened it has all limits, too.
package main

import (
	"log"
	"os"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/benchmarks/internal/contract"
	"github.com/lastcall-go/lastcall/benchmarks/internal/fast"
	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
)

func main() {
	o := contract.Flags()
	b := toolkit.New().
		Addr(o.Addr).
		Logger(zerolog.Nop()).
		DrainTimeout(contract.ShutdownTimeout).
		ParkAfter(o.ParkAfter).
		Post(contract.Upload, fast.Upload).
		Get(contract.File, func(ctx *fasthttp.RequestCtx) { ctx.SendFile(o.File) }).
		Get(contract.Slow, fast.Slow)
	for _, p := range contract.Plain {
		b.Get(p.Path, fast.Page(p))
	}
	if o.Hardened { // none of it is ever reached here
		b.MaxConns(100_000).
			MaxConnsPerIP(100_000).
			MaxConnAge(time.Hour).
			MaxRequestsPerConn(1_000_000_000).
			MaxInFlight(100_000, time.Second).
			TerminationGracePeriod(time.Minute)
	}
	if o.TLS() {
		b.TLS(o.Cert, o.Key)
	}
	err := b.Run()
	if err != nil {
		log.Print(err)
	}
	os.Exit(lifecycle.ExitCode(err))
}
