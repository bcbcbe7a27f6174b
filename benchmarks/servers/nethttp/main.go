// The contender nethttp: http.Server with time limits, and its own shutdown.
package main

import (
	"errors"
	"io"
	"log"
	"net/http"
	"strconv"
	"time"

	"github.com/lastcall-go/lastcall/benchmarks/internal/contract"
)

func main() {
	o := contract.Flags()
	terminated := contract.Terminated()
	mux := http.NewServeMux()
	for _, p := range contract.Plain {
		mux.HandleFunc("GET "+p.Path, func(w http.ResponseWriter, _ *http.Request) { send(w, p.Body) })
	}
	mux.HandleFunc("POST "+contract.Upload, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		send(w, contract.Length(int(n)))
	})
	mux.HandleFunc("GET "+contract.File, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, o.File) })
	mux.HandleFunc("GET "+contract.Slow, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(contract.SlowTime)
		send(w, contract.SlowBody)
	})
	s := &http.Server{
		Addr:         o.Addr,
		Handler:      mux,
		ReadTimeout:  contract.ReadTimeout,
		WriteTimeout: contract.WriteTimeout,
		IdleTimeout:  contract.IdleTimeout,
	}
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

// send says the length: net/http would find out that of a short body by itself,
// and send a long one in chunks.
func send(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", contract.ContentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}
