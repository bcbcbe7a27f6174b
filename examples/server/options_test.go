package main

import (
	"bytes"
	"errors"
	"flag"
	"strings"
	"testing"
	"time"
)

// allFlags are the flags of the server; the variable of each is in brackets in
// its help.
var allFlags = map[string]string{
	"addr": "ADDR", "unix": "UNIX", "cert": "CERT", "key": "KEY", "mode": "MODE", "log": "LOG",
	"idle-timeout": "IDLE_TIMEOUT", "park-after": "PARK_AFTER", "shutdown-delay": "SHUTDOWN_DELAY", "last-call": "LAST_CALL",
	"drain-timeout": "DRAIN_TIMEOUT", "abort-timeout": "ABORT_TIMEOUT",
	"termination-grace-period": "TERMINATION_GRACE_PERIOD",
}

func defaults() options {
	return options{
		addr: "127.0.0.1:8080", mode: "busy", log: "console",
		idleTimeout: 4 * time.Second, lastCall: 250 * time.Millisecond,
		drainTimeout: 10 * time.Second, abortTimeout: time.Second,
	}
}

// parse parses with a fake environment.
func parse(args []string, env map[string]string) (o options, help string, err error) {
	var w bytes.Buffer
	o, err = parseOptions(args, func(name string) string { return env[name] }, &w)
	return o, w.String(), err
}

func TestParseOptions(t *testing.T) {
	type env = map[string]string
	for _, tt := range []struct {
		name string
		args string
		env  env
		want func(*options)
	}{
		{"defaults", "", nil, func(*options) {}},
		{"unknown variables", "", env{"PATH": "/bin", "TIMEOUT": "1s"}, func(*options) {}},
		{"empty variable", "", env{"ADDR": "", "MODE": ""}, func(*options) {}},

		{"-addr", "-addr :1", nil, func(o *options) { o.addr = ":1" }},
		{"-addr empty", "-addr=", nil, func(o *options) { o.addr = "" }},
		{"-unix", "-unix /s", nil, func(o *options) { o.unix = "/s" }},
		{"-cert -key", "-cert c -key k", nil, func(o *options) { o.cert, o.key = "c", "k" }},
		{"-mode", "-mode once", nil, func(o *options) { o.mode = "once" }},
		{"-log", "-log off", nil, func(o *options) { o.log = "off" }},
		{"-idle-timeout", "-idle-timeout 1s", nil, func(o *options) { o.idleTimeout = time.Second }},
		{"-shutdown-delay", "-shutdown-delay 2s", nil, func(o *options) { o.shutdownDelay = 2 * time.Second }},
		{"-last-call", "-last-call 0", nil, func(o *options) { o.lastCall = 0 }},
		{"-drain-timeout", "-drain-timeout 1m", nil, func(o *options) { o.drainTimeout = time.Minute }},
		{"-abort-timeout", "--abort-timeout=5ms", nil, func(o *options) { o.abortTimeout = 5 * time.Millisecond }},
		{"-termination-grace-period", "-termination-grace-period 30s", nil, func(o *options) { o.gracePeriod = 30 * time.Second }},

		{"ADDR", "", env{"ADDR": ":1"}, func(o *options) { o.addr = ":1" }},
		{"UNIX", "", env{"UNIX": "/s"}, func(o *options) { o.unix = "/s" }},
		{"CERT KEY", "", env{"CERT": "c", "KEY": "k"}, func(o *options) { o.cert, o.key = "c", "k" }},
		{"MODE", "", env{"MODE": "idle"}, func(o *options) { o.mode = "idle" }},
		{"LOG", "", env{"LOG": "json"}, func(o *options) { o.log = "json" }},
		{"IDLE_TIMEOUT", "", env{"IDLE_TIMEOUT": "1s"}, func(o *options) { o.idleTimeout = time.Second }},
		{"SHUTDOWN_DELAY", "", env{"SHUTDOWN_DELAY": "2s"}, func(o *options) { o.shutdownDelay = 2 * time.Second }},
		{"LAST_CALL", "", env{"LAST_CALL": "0s"}, func(o *options) { o.lastCall = 0 }},
		{"DRAIN_TIMEOUT", "", env{"DRAIN_TIMEOUT": "1m"}, func(o *options) { o.drainTimeout = time.Minute }},
		{"ABORT_TIMEOUT", "", env{"ABORT_TIMEOUT": "5ms"}, func(o *options) { o.abortTimeout = 5 * time.Millisecond }},
		{"TERMINATION_GRACE_PERIOD", "", env{"TERMINATION_GRACE_PERIOD": "30s"}, func(o *options) { o.gracePeriod = 30 * time.Second }},

		{"flag over variable", "-mode once -idle-timeout 1s", env{"MODE": "idle", "IDLE_TIMEOUT": "9s", "LOG": "off"},
			func(o *options) { o.mode, o.idleTimeout, o.log = "once", time.Second, "off" }},
		{"flag set to its default over variable", "-mode busy -addr=", env{"MODE": "idle", "ADDR": ":1"},
			func(o *options) { o.addr = "" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := defaults()
			tt.want(&want)
			got, help, err := parse(strings.Fields(tt.args), tt.env)
			if got != want || err != nil || help != "" {
				t.Errorf("options %+v, error %v, help %q; want %+v", got, err, help, want)
			}
		})
	}
}

func TestParseOptionsNamesWhatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		name string
		args string
		env  map[string]string
		want []string
	}{
		{"mode", "-mode x", nil, []string{"-mode", `"x"`, "busy, idle or once"}},
		{"log", "-log x", nil, []string{"-log", `"x"`, "console, json or off"}},
		{"argument", "-mode idle more", nil, []string{"unexpected", "more"}},
		{"duration", "-last-call soon", nil, []string{"-last-call", `"soon"`}},
		{"unknown flag", "-bogus", nil, []string{"-bogus"}},
		{"variable", "", map[string]string{"IDLE_TIMEOUT": "abc"}, []string{"IDLE_TIMEOUT", `"abc"`}},
		{"variable without unit", "", map[string]string{"LAST_CALL": "5"}, []string{"LAST_CALL", `"5"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, help, err := parse(strings.Fields(tt.args), tt.env)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q has no %q", err, want)
				}
			}
			if help != "" {
				t.Errorf("the error's one line is buried in %d bytes of help", len(help))
			}
		})
	}
}

func TestHelpComesBeforeMistakes(t *testing.T) {
	_, help, err := parse([]string{"-h"}, map[string]string{"IDLE_TIMEOUT": "abc"})
	if !errors.Is(err, flag.ErrHelp) || !strings.Contains(help, "-idle-timeout") {
		t.Errorf("error %v, help %q", err, help)
	}
}
