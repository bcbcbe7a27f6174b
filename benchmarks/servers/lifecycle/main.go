// The contender lifecycle: the fasthttp.Server of the contender fasthttp within
// a lifecycle.Server with its defaults.
package main

import (
	"crypto/tls"
	"log"
	"os"

	"github.com/lastcall-go/lastcall/benchmarks/internal/contract"
	"github.com/lastcall-go/lastcall/benchmarks/internal/fast"
	"github.com/lastcall-go/lastcall/lifecycle"
)

func main() {
	o := contract.Flags()
	s := &lifecycle.Server{
		HTTP:         fast.Server(o),
		Signals:      lifecycle.DefaultSignals(),
		DrainTimeout: contract.ShutdownTimeout,
		ParkAfter:    o.ParkAfter,
	}
	if o.TLS() {
		cert, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			log.Fatal(err)
		}
		s.HTTP.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	err := s.ListenAndServe(o.Addr)
	if err != nil {
		log.Print(err)
	}
	os.Exit(lifecycle.ExitCode(err))
}
