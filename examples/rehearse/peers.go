package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/toolkit"
)

// peerTimeout is what the peers' shutdowns may take, as the bundled server's.
const peerTimeout = 10 * time.Second

// servePeer is a server as the peer's documentation shows it: SIGTERM, then its own
// graceful shutdown, awaited.
func servePeer(name, addr, cert, key string, idleTimeout time.Duration) error {
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	var lc net.ListenConfig
	ln, err := lc.Listen(stop, "tcp", addr)
	if err != nil {
		return err
	}
	var serve func() error
	var shutdown func(context.Context) error
	switch name {
	case "fasthttp":
		s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { ctx.SetBody(ctx.PostBody()) }, IdleTimeout: idleTimeout}
		shutdown = s.ShutdownWithContext
		serve = func() error { return s.Serve(ln) }
		if cert != "" {
			serve = func() error { return s.ServeTLS(ln, cert, key) }
		}
	case "net/http":
		s := &http.Server{Handler: http.HandlerFunc(echo), IdleTimeout: idleTimeout, ReadHeaderTimeout: peerTimeout, Protocols: new(http.Protocols)}
		s.Protocols.SetHTTP1(true)
		s.Protocols.SetHTTP2(true)
		s.Protocols.SetUnencryptedHTTP2(true)
		shutdown = s.Shutdown
		serve = func() error { return s.Serve(ln) }
		if cert != "" {
			serve = func() error { return s.ServeTLS(ln, cert, key) }
		}
	default:
		return fmt.Errorf("-serve %q: want fasthttp, net/http or close(2)", name)
	}
	failed := make(chan error, 1)
	go func() { failed <- serve() }()
	select {
	case err := <-failed:
		return err
	case <-stop.Done():
	}
	ctx, cancelShutdown := context.WithTimeout(context.Background(), peerTimeout)
	defer cancelShutdown()
	err = shutdown(ctx)
	if serveErr := <-failed; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}

// serveOurs is lastcall as a server of net/http handlers.
func serveOurs(addr, cert, key string) error {
	b := toolkit.New().Addr(addr).DrainTimeout(peerTimeout).Logger(zerolog.Nop()).NetHTTP("/", http.HandlerFunc(echo))
	if cert != "" {
		b.TLS(cert, key)
	}
	return b.Run()
}

func echo(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }
