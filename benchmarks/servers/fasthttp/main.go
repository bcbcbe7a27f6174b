// The contender fasthttp: a fasthttp.Server, and its own shutdown.
package main

import (
	"log"

	"github.com/lastcall-go/lastcall/benchmarks/internal/contract"
	"github.com/lastcall-go/lastcall/benchmarks/internal/fast"
)

func main() {
	o := contract.Flags()
	terminated := contract.Terminated()
	s := fast.Server(o)
	s.CloseOnShutdown = true // clients are told; without it they are cut off between requests
	go func() {
		var err error
		if o.TLS() {
			err = s.ListenAndServeTLS(o.Addr, o.Cert, o.Key)
		} else {
			err = s.ListenAndServe(o.Addr)
		}
		if err != nil {
			log.Fatal(err)
		}
	}()
	<-terminated.Done()
	ctx, cancel := contract.Shutdown()
	defer cancel()
	if err := s.ShutdownWithContext(ctx); err != nil {
		log.Print(err)
	}
}
