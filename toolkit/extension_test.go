package toolkit

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// An extension is asked for each server anew, and its exit hooks come after all others.
func TestWith(t *testing.T) {
	var ended []string
	end := func(name string) (string, func(context.Context) error) {
		return name, func(context.Context) error { ended = append(ended, name); return nil }
	}
	asked := 0
	extend := func(b *Builder) error {
		asked++
		var s *Server
		b.Get("/extension", func(ctx *fasthttp.RequestCtx) {
			if s != FromRequest(ctx) {
				ctx.SetStatusCode(500)
			}
		})
		b.OnBuild(func(built *Server) error { s = built; return nil })
		b.PreExit(end("extension"))
		return nil
	}
	b := loopback().With(extend).PreExit(end("first")).PreExit(end("last"))
	for want := 1; want <= 2; want++ {
		ended = nil
		r := run(t, b)
		if got := r.dial().get("/extension").String(); got != "200 " {
			t.Error(got)
		}
		r.finish()
		if asked != want || !slices.Equal(ended, []string{"last", "first", "extension"}) {
			t.Errorf("asked %d times, ended %q", asked, ended)
		}
	}
}

func TestWithMistakes(t *testing.T) {
	bad := errors.New("no such thing")
	_, err := loopback().With(
		func(*Builder) error { return bad },
		func(*Builder) error { panic("on purpose") },
		func(b *Builder) error { b.IdleTimeout(-1).Observe(Observer{}).Probe("/{x}", hello); return nil },
	).Build()
	if !errors.Is(err, bad) {
		t.Error(err)
	}
	for _, want := range []string{
		"With: no such thing", "With: panic: on purpose",
		"IdleTimeout(-1ns): negative", "Observe: observer 0 lacks a function", `Probe("/{x}"): a parameter`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if _, err := loopback().OnBuild(func(*Server) error { return bad }).Build(); !errors.Is(err, bad) {
		t.Error(err)
	}
}
