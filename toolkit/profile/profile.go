// Package profile serves Go's profiles, as net/http/pprof does, from native handlers.
//
//	toolkit.New().With(profile.At("/debug/pprof"))
//
//	go tool pprof http://localhost:8080/debug/pprof/profile?seconds=10
//
// Unlike net/http/pprof, linking it puts nothing on http.DefaultServeMux, and it does not show
// the command line. A profile that takes its time ends early where the drain begins or
// its client goes, with what there is until then; one that is asked for in the drain ends
// with its deadline.
package profile

import (
	"fmt"
	"path"
	"regexp"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/toolkit"
)

// At serves the profiles below a path: an index at that itself, with a slash; the CPU at
// "profile" and an execution trace at "trace", for so many seconds (30 and 1); and the
// others under their names, with debug=1 or 2 as text, the heap with gc=1 after a garbage
// collection. Those of package runtime/pprof that there are when the server is
// built are served; block and mutex are empty unless runtime.SetBlockProfileRate and
// SetMutexProfileFraction have been called.
//
// They are for clients on this machine, or for whom guards let through: a profile costs
// CPU time and tells of the program's inside. All are of the kind of
// toolkit.Builder.Probe. A toolkit.Timeout does not end those that last.
func At(under string, guards ...toolkit.Middleware) toolkit.Extension {
	return func(b *toolkit.Builder) error {
		if !strings.HasPrefix(under, "/") || strings.HasSuffix(under, "/") {
			return fmt.Errorf("profile.At(%q): want a path that begins with a slash and ends with none", under)
		}
		guard, profiles := toolkit.Guard(guards...), slices.DeleteFunc(pprof.Profiles(), unservable)
		b.Probe(under+"/", guard(index(profiles)))
		b.Probe(under+"/profile", guard(lasting(cpu)))
		b.Probe(under+"/trace", guard(lasting(execution)))
		for _, p := range profiles {
			b.Probe(under+"/"+p.Name(), guard(named(p)))
		}
		return nil
	}
}

// unservable reports whether a profile of the application's own has a name that is not
// one of a path, or that is another one's.
func unservable(p *pprof.Profile) bool {
	name := p.Name()
	return name == "profile" || name == "trace" || !plain.MatchString(name) || path.Clean("/"+name) != "/"+name
}

var plain = regexp.MustCompile(`^[\w./-]+$`)

// cpu profiles the CPU.
func cpu(ctx *fasthttp.RequestCtx) {
	record(ctx, "profile", 30, func() error { return pprof.StartCPUProfile(ctx) }, pprof.StopCPUProfile)
}

// execution traces the execution.
func execution(ctx *fasthttp.RequestCtx) {
	record(ctx, "trace", 1, func() error { return trace.Start(ctx) }, trace.Stop)
}

// record has ctx written to between start and stop.
func record(ctx *fasthttp.RequestCtx, name string, seconds float64, start func() error, stop func()) {
	if arg := ctx.QueryArgs().Peek("seconds"); len(arg) > 0 {
		var err error
		if seconds, err = strconv.ParseFloat(string(arg), 64); err != nil || !(seconds > 0 && seconds <= longest.Seconds()) {
			ctx.Error(fmt.Sprintf("seconds=%q: want a number from 0 to %v\n", arg, longest.Seconds()), fasthttp.StatusBadRequest)
			return
		}
	}
	if err := start(); err != nil { // as there is only one at a time
		ctx.Error(err.Error()+"\n", fasthttp.StatusConflict)
		return
	}
	defer stop()
	download(ctx, name)
	wait(ctx, time.Duration(seconds*float64(time.Second)))
}

// longest is how long one may ask for.
const longest = time.Hour

// lasting takes the place of a Timeout around all routes, which is for those of clients.
var lasting = toolkit.Timeout(2*longest, "")

// wait waits for d, or less: see the package.
func wait(ctx *fasthttp.RequestCtx, d time.Duration) {
	var draining <-chan struct{}
	if s := toolkit.FromRequest(ctx); s != nil {
		draining = s.Draining()
		select {
		case <-draining:
			draining = nil // it may be the drain that is to be seen
		default:
		}
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-draining:
	case <-toolkit.ClientContext(ctx).Done():
	}
}

// named serves a profile of package runtime/pprof.
func named(p *pprof.Profile) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		args := ctx.QueryArgs()
		debug := args.GetUintOrZero("debug")
		switch {
		case args.Has("seconds"):
			ctx.Error("seconds is for profile and trace; take two, and see go tool pprof -base\n", fasthttp.StatusBadRequest)
			return
		case p.Name() == "heap" && args.GetUintOrZero("gc") > 0:
			runtime.GC()
		}
		download(ctx, p.Name())
		if debug > 0 {
			ctx.Response.Header.Del(fasthttp.HeaderContentDisposition)
			ctx.SetContentType("text/plain; charset=utf-8")
		}
		if err := p.WriteTo(ctx, debug); err != nil {
			ctx.Error(err.Error()+"\n", fasthttp.StatusInternalServerError)
		}
	}
}

func download(ctx *fasthttp.RequestCtx, name string) {
	ctx.SetContentType("application/octet-stream")
	ctx.Response.Header.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
	ctx.Response.Header.Set(fasthttp.HeaderContentDisposition, fmt.Sprintf("attachment; filename=%q", name))
}

// index lists what there is.
func index(profiles []*pprof.Profile) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		ctx.SetContentType("text/html; charset=utf-8")
		fmt.Fprint(ctx, "<!doctype html>\n<title>profiles</title>\n<table>\n")
		for _, name := range []string{"profile", "trace"} {
			fmt.Fprintf(ctx, "<tr><td><td><a href=%q>%s</a>\n", name+"?seconds=5", name)
		}
		for _, p := range profiles {
			fmt.Fprintf(ctx, "<tr><td>%d<td><a href=%q>%s</a>\n", p.Count(), p.Name()+"?debug=1", p.Name())
		}
		fmt.Fprint(ctx, "</table>\n")
	}
}
