package toolkit

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

func settingsOf(t *testing.T, b *Builder) map[string]Setting {
	t.Helper()
	all := map[string]Setting{}
	for _, set := range build(t, b).Settings() {
		if _, twice := all[set.Call]; twice || set.Value == "" {
			t.Errorf("%+v", set)
		}
		all[set.Call] = set
	}
	return all
}

// What is shown is what is in effect, and what differs from the defaults.
func TestSettings(t *testing.T) {
	for call, set := range settingsOf(t, New().Addr("127.0.0.1:0")) {
		if set.Default != (call != "Addr") {
			t.Errorf("without an option: %+v", set)
		}
	}
	all := settingsOf(t, New().Addr("127.0.0.1:0", "127.0.0.1:0").
		ReadHeaderTimeout(0).IdleTimeout(0).ParkAfter(time.Second).LastCall(UntilIdle).MinReadRate(0, 0).MinWriteRate(5, time.Second).
		MaxInFlight(3, time.Second).KeepAlive(false).TrustedProxies("Forwarded", "10.0.0.0/8").ProxyProtocol("10.1.0.0/16").
		TerminationGracePeriod(10*time.Second).
		Configure(func(h *fasthttp.Server) { h.MaxRequestBodySize = 7 }))
	for call, want := range map[string]string{
		"Addr": "127.0.0.1:0, 127.0.0.1:0", "ReadHeaderTimeout": "none", "IdleTimeout": "none", "ParkAfter": "1s", "LastCall": "until idle",
		"MinReadRate": "none", "MinWriteRate": "5 B in 1s", "MaxInFlight": "3, wait 1s", "KeepAlive": "off", "MaxBodySize": "7 B",
		"TrustedProxies": "Forwarded 10.0.0.0/8", "ProxyProtocol": "10.1.0.0/16", "DrainTimeout": "8.1s", "AbortTimeout": "900ms",
	} {
		if set := all[call]; set.Value != want || set.Default {
			t.Errorf("%+v; want %s", set, want)
		}
	}
	for call, want := range map[string]string{"MaxConns": "262144", "HookTimeout": "10s", "Strict": "on", "NetHTTP": "none", "HTTP2": "off"} {
		if set := all[call]; set.Value != want || !set.Default {
			t.Errorf("%+v; want the default, %s", set, want)
		}
	}
}

// Checks tells what those who asked were told, and what still runs; it asks nobody.
func TestChecks(t *testing.T) {
	var release chan error
	b := quiet().ReadyCheck("slow", func(context.Context) error { return <-release }).ReadyCheck("quick", func(context.Context) error { return nil })
	bubble(t, b, func(t *testing.T, r *running) {
		release = make(chan error)
		for _, c := range r.Checks() {
			if c.Name == "" || c != (CheckResult{Name: c.Name}) {
				t.Errorf("before the first probe: %+v", c)
			}
		}
		began := time.Now()
		r.dial().get("/readyz")
		at := time.Now()
		checks := r.Checks()
		if c := checks[0]; !c.Running.Equal(began) || !c.At.IsZero() {
			t.Errorf("one that runs: %+v", c)
		}
		if c := checks[1]; !c.At.Equal(began) || c.Err != nil || !c.Running.IsZero() {
			t.Errorf("one that has ended: %+v", c)
		}
		release <- errors.New("no")
		time.Sleep(time.Second)
		c := r.Checks()[0]
		if c.Err == nil || !c.At.Equal(at) || c.Took != at.Sub(began) || !c.Running.IsZero() {
			t.Errorf("one that has failed: %+v", c)
		}
		text, err := c.MarshalJSON()
		if want := `{"name":"slow","at":"2000-01-01T00:00:00.9Z","took_ns":900000000,"err":"no"}`; err != nil || string(text) != want {
			t.Errorf("%s, %v; want %s", text, err, want)
		}
	})
}
