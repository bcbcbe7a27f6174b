// The contender mounted: the handler of the contender nethttp in a nethttp.Server, with its
// defaults. With -native, GETs of the pages are native routes beside it.
package main

import (
	"errors"
	"log"
	"net/http"

	"github.com/lastcall-go/lastcall/benchmarks/internal/contract"
	"github.com/lastcall-go/lastcall/benchmarks/internal/fast"
	"github.com/lastcall-go/lastcall/benchmarks/internal/mux"
	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit/nethttp"
)

func main() {
	o := contract.Flags()
	s := &nethttp.Server{
		Addr:         o.Addr,
		Handler:      mux.Handler(o),
		ReadTimeout:  contract.ReadTimeout,
		WriteTimeout: contract.WriteTimeout,
		IdleTimeout:  contract.IdleTimeout,
		Life: lifecycle.Server{
			Signals:      lifecycle.DefaultSignals(),
			DrainTimeout: contract.ShutdownTimeout,
			ParkAfter:    o.ParkAfter,
		},
	}
	if o.Native {
		for _, p := range contract.Plain {
			s.Native("GET "+p.Path, fast.Page(p))
		}
	}
	var err error
	if o.TLS() {
		err = s.ListenAndServeTLS(o.Cert, o.Key)
	} else {
		err = s.ListenAndServe()
	}
	if !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}
