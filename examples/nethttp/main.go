// Command nethttp is a chi service that has moved from net/http. One type has changed,
// http.Server to nethttp.Server, and its hot route, the price of an item, is a native one.
// All else is as it was: chi, its middleware, server-sent events, how it ends.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/lastcall-go/lastcall/toolkit/nethttp"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	native := flag.Bool("native", true, "have fasthttp serve the hot route")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)

	shop := newShop()
	srv := &nethttp.Server{ // was &http.Server{
		Addr:              *addr,
		Handler:           shop.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       75 * time.Second,
	}
	if *native {
		srv.Native("GET /items/{id}", shop.get) // chi still has it, and gets what is left: a PUT
	}
	srv.RegisterOnShutdown(shop.close)

	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process
		limit, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := srv.Shutdown(limit); err != nil {
			log.Printf("shutdown: %v", err)
		}
	}()
	log.Printf("listening on %s", srv.Addr)
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}
