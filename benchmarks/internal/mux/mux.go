// Package mux is the net/http handler that contenders serve by net/http itself or within
// nethttp.Server.
package mux

import (
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/lastcall-go/lastcall/benchmarks/internal/contract"
)

// Handler is an http.ServeMux with all that contenders answer.
func Handler(o contract.Options) http.Handler {
	mux := http.NewServeMux()
	for _, p := range contract.Plain {
		mux.HandleFunc("GET "+p.Path, page(p))
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
	mux.HandleFunc("GET "+contract.NetHello, page(contract.Plain13))
	mux.HandleFunc("POST "+contract.NetEcho, echo)
	mux.HandleFunc("GET "+contract.NetStream, stream)
	return mux
}

func page(p contract.Page) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { send(w, p.Body) }
}

// send says the length: net/http would find out that of a short body by itself,
// and send a long one in chunks.
func send(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", contract.ContentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	send(w, body)
}

func stream(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", contract.ContentType)
	to := http.NewResponseController(w)
	for range contract.StreamParts {
		_, _ = w.Write(contract.StreamPart)
		_ = to.Flush()
	}
}
