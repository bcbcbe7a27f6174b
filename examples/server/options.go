package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// The values of -mode: three answers to the question of how to end a server
// whose clients keep their connections open.
const (
	modeBusy = "busy" // only connections that are busy with a request hold the exit
	modeIdle = "idle" // exit once idle timeouts have emptied the server
	modeOnce = "once" // close each connection after its response
)

// The values of -log.
const (
	logConsole = "console"
	logJSON    = "json"
	logOff     = "off"
)

type options struct {
	addr, unix, cert, key string
	mode, log             string

	idleTimeout, parkAfter, shutdownDelay, lastCall, drainTimeout, abortTimeout, gracePeriod time.Duration
}

const usage = `The bundled lastcall server. Try, from another terminal:

  curl -i http://127.0.0.1:8080/hello        a greeting
  curl 'http://127.0.0.1:8080/slow?ms=5000'  then press Ctrl-C here: it is still answered
  curl http://127.0.0.1:8080/debug/lastcall  what goes on; a browser has a live page there
  curl http://127.0.0.1:8080/conns           the open connections
  curl http://127.0.0.1:8080/end             end the server by a request

Also: /test, POST /echo, /stream?n=N&ms=M, /events (SSE), /bytes?n=N, /ws (WebSocket echo), /panic,
/livez, /readyz, /metrics (for Prometheus; dashboard.json is one for Grafana). The first SIGTERM or Ctrl-C drains, the second ends the wait,
the third exits at once. Exit codes: 0 clean, 1 start failed, 2 forced, 3 a hook
failed.

Each flag may also be set by the variable in brackets; the flag wins.
`

// parseOptions reads flags and environment. Help goes to w.
func parseOptions(args []string, getenv func(string) string, w io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("server", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // of a mistake, one line is enough
	text := func(p *string, name, def, help string) { fs.StringVar(p, name, def, help+env(name)) }
	duration := func(p *time.Duration, name string, def time.Duration, help string) {
		fs.DurationVar(p, name, def, help+env(name))
	}
	text(&o.addr, "addr", "127.0.0.1:8080", "TCP `address` to listen on; empty for none")
	text(&o.unix, "unix", "", "Unix socket `path` to listen on too")
	text(&o.cert, "cert", "", "PEM `file` with the certificate chain; with -key, TCP speaks TLS")
	text(&o.key, "key", "", "PEM `file` with the private key")
	text(&o.mode, "mode", modeBusy, "what holds the exit: busy (connections with a request under way), idle (all, until their idle timeout), once (each closes after its response)")
	text(&o.log, "log", logConsole, "log `format`: console, json or off")
	duration(&o.idleTimeout, "idle-timeout", 4*time.Second, "how long a connection may rest between requests")
	duration(&o.parkAfter, "park-after", 0, "how long a connection may rest before its memory is given back; 0 for ever")
	duration(&o.shutdownDelay, "shutdown-delay", 0, "how long to keep accepting when the drain has begun")
	duration(&o.lastCall, "last-call", lifecycle.DefaultLastCall, "how long the drain lets an idle connection send one more request")
	duration(&o.drainTimeout, "drain-timeout", 10*time.Second, "how long the drain may take; 0 for no limit")
	duration(&o.abortTimeout, "abort-timeout", lifecycle.DefaultAbortTimeout, "how long handlers have after that to answer")
	duration(&o.gracePeriod, "termination-grace-period", 0, "what the platform gives from SIGTERM to SIGKILL, to be warned if the end may take longer; 0 for unknown")

	var setErr error
	fs.VisitAll(func(f *flag.Flag) {
		v := getenv(variable(f.Name))
		if v == "" || setErr != nil {
			return
		}
		if err := f.Value.Set(v); err != nil {
			setErr = fmt.Errorf("%s=%q: %w", variable(f.Name), v, err)
		}
	})
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fs.SetOutput(w)
			fmt.Fprint(w, usage, "\n")
			fs.PrintDefaults()
		}
		return o, err
	}
	for name, d := range map[string]time.Duration{
		"idle-timeout": o.idleTimeout, "park-after": o.parkAfter, "shutdown-delay": o.shutdownDelay, "last-call": o.lastCall,
		"drain-timeout": o.drainTimeout, "abort-timeout": o.abortTimeout,
		"termination-grace-period": o.gracePeriod,
	} {
		if d < 0 {
			return o, fmt.Errorf("-%s %v: negative", name, d)
		}
	}
	switch {
	case setErr != nil:
		return o, setErr
	case fs.NArg() > 0:
		return o, fmt.Errorf("unexpected arguments: %q", fs.Args())
	case !slices.Contains([]string{modeBusy, modeIdle, modeOnce}, o.mode):
		return o, fmt.Errorf("-mode %q: want busy, idle or once", o.mode)
	case !slices.Contains([]string{logConsole, logJSON, logOff}, o.log):
		return o, fmt.Errorf("-log %q: want console, json or off", o.log)
	}
	return o, nil
}

// variable is the environment variable of a flag.
func variable(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }

func env(name string) string { return " [" + variable(name) + "]" }
