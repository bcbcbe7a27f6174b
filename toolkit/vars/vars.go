// Package vars serves what is published by package expvar.
//
// It links that package, which by itself puts /debug/vars on http.DefaultServeMux: a
// server that mounts that mux shows them to everybody.
package vars

import (
	"expvar"
	"fmt"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/toolkit"
)

// At serves all variables at path, the command line among them, as expvar.Handler does: to clients on this
// machine, or to whom guards let through. It is a toolkit.Builder.Probe.
func At(path string, guards ...toolkit.Middleware) toolkit.Extension {
	return func(b *toolkit.Builder) error {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("vars.At(%q): a path begins with a slash", path)
		}
		b.Probe(path, toolkit.Guard(guards...)(serve))
		return nil
	}
}

func serve(ctx *fasthttp.RequestCtx) {
	ctx.SetContentType("application/json; charset=utf-8")
	fmt.Fprint(ctx, "{")
	separator := "\n"
	expvar.Do(func(v expvar.KeyValue) {
		fmt.Fprintf(ctx, "%s%q: %v", separator, v.Key, v.Value)
		separator = ",\n"
	})
	fmt.Fprint(ctx, "\n}\n")
}
