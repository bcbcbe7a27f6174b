// A server as a systemd service: it says when it is ready and when it drains, and may be
// given its socket, which then outlives it.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
)

func main() {
	err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "systemd:", err)
	}
	os.Exit(lifecycle.ExitCode(err))
}

// stopTimeout is TimeoutStopSec in app.service.
const stopTimeout = 30 * time.Second

func run() error {
	b := toolkit.New().
		TerminationGracePeriod(stopTimeout).
		Get("/", func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("Hello, systemd!\n") }).
		OnDrain("systemd", func(context.Context) error { return tell(daemon.SdNotifyStopping) })
	sockets, err := activation.Listeners()
	if err != nil {
		return err
	}
	for _, ln := range sockets {
		b.Listener(ln)
	}
	if len(sockets) == 0 {
		b.Addr("127.0.0.1:8080")
	}
	srv, err := b.Build()
	if err != nil {
		return err
	}
	srv.Signals = lifecycle.DefaultSignals()
	srv.Go("ready", func(ctx context.Context) {
		select {
		case <-srv.Reached(lifecycle.PhaseReady):
			if err := tell(daemon.SdNotifyReady); err != nil {
				fmt.Fprintln(os.Stderr, "systemd:", err)
			}
		case <-ctx.Done():
		}
	})
	return srv.Run(context.Background())
}

// tell tells systemd, if that has started us.
func tell(state string) error {
	_, err := daemon.SdNotify(false, state)
	return err
}
