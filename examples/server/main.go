// The bundled server: every way in which a lastcall server can come to its end,
// to be watched from a terminal. Start it, hold a connection open, press Ctrl-C.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/rs/zerolog"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
)

func main() {
	zerolog.TimeFieldFormat = time.RFC3339Nano // a drain is a matter of milliseconds
	opts, err := parseOptions(os.Args[1:], os.Getenv, os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
	srv, err := build(opts, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
	err = srv.Run(context.Background())
	if err != nil && opts.log == logOff {
		fmt.Fprintln(os.Stderr, "server:", err)
	}
	os.Exit(lifecycle.ExitCode(err))
}

// build makes the server: its life first, then what it serves.
func build(o options, stderr *os.File) (*toolkit.Server, error) {
	b := toolkit.New().
		IdleTimeout(o.idleTimeout).
		ParkAfter(o.parkAfter).
		ShutdownDelay(o.shutdownDelay).
		LastCall(o.lastCall).
		DrainTimeout(o.drainTimeout).
		AbortTimeout(o.abortTimeout).
		TerminationGracePeriod(o.gracePeriod)
	switch o.log {
	case logConsole:
		b.Console(stderr)
	case logJSON:
		b.Logger(zerolog.New(stderr).Level(zerolog.InfoLevel).With().Timestamp().Logger())
	case logOff:
		b.Logger(zerolog.Nop())
	}
	switch o.mode {
	case modeIdle:
		b.LastCall(toolkit.UntilIdle)
	case modeOnce:
		b.KeepAlive(false)
	}
	if o.addr != "" {
		b.Addr(o.addr)
	}
	if o.unix != "" {
		b.Unix(o.unix, 0)
	}
	if o.cert != "" || o.key != "" {
		b.TLS(o.cert, o.key)
	}
	routes(b)
	srv, err := b.Build()
	if err != nil {
		return nil, err
	}
	srv.Signals = lifecycle.DefaultSignals()
	hooks(srv)
	go announce(srv, o.cert != "")
	return srv, nil
}

// announce says where the live page is, when it is there, and what to do next.
func announce(srv *toolkit.Server, secure bool) {
	<-srv.Reached(lifecycle.PhaseReady)
	scheme, log := "http", srv.Logger()
	if secure {
		scheme = "https"
	}
	for _, addr := range srv.ListenAddrs() {
		if addr.Network() == "tcp" {
			log.Info().Str("url", scheme+"://"+addr.String()+livePage).Msg("live page")
		}
	}
	log.Info().Msg("press Ctrl-C to drain it: what is under way is answered, then it exits; once more to end the wait")
}

// hooks registers what a real server has to put away. Of those before the exit,
// the last one registered runs first.
func hooks(srv *toolkit.Server) {
	log := srv.Logger()
	step := func(name, did string) (string, lifecycle.HookFunc) {
		return name, func(context.Context) error {
			log.Info().Str("hook", name).Msg(did)
			return nil
		}
	}
	srv.OnDrain(step("registry", "told the service registry that this instance is going"))
	srv.PreExit(step("database", "closed the database"))
	srv.PreExit("queue", func(context.Context) error {
		log.Info().Str("hook", "queue").Msg("flushed the queue, and found that a receipt is owed")
		srv.PreExit(step("receipt", "wrote the receipt"))
		return nil
	})
}
