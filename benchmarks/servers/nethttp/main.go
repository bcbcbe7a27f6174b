// The contender nethttp: http.Server with time limits, and its own shutdown.
package main

import (
	"errors"
	"log"
	"net/http"

	"github.com/lastcall-go/lastcall/benchmarks/internal/contract"
	"github.com/lastcall-go/lastcall/benchmarks/internal/mux"
)

func main() {
	o := contract.Flags()
	terminated := contract.Terminated()
	s := &http.Server{
		Addr:         o.Addr,
		Handler:      mux.Handler(o),
		ReadTimeout:  contract.ReadTimeout,
		WriteTimeout: contract.WriteTimeout,
		IdleTimeout:  contract.IdleTimeout,
		Protocols:    new(http.Protocols),
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(true) // which mounted has by default
	go func() {
		var err error
		if o.TLS() {
			err = s.ListenAndServeTLS(o.Cert, o.Key)
		} else {
			err = s.ListenAndServe()
		}
		if !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()
	<-terminated.Done()
	ctx, cancel := contract.Shutdown()
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		log.Print(err)
	}
}
