// Package debug shows a server's life while it is lived: a page with where in its life it
// is, its connections by state over the last minutes and one by one, hooks, checks and
// configuration, and a button that begins the drain. The page stays up during the drain,
// and shows it to its end without holding it up.
//
//	toolkit.New().With(debug.At("/debug/lastcall"))
//
// The Builder has no method for it, so that who does not import this package links nothing of it.
//
// The same is there as plain text (curl localhost:8080/debug/lastcall), as JSON (with Accept:
// application/json, or ?format=json) and as server-sent events (?format=events).
//
// # What it costs
//
// Nothing is done until somebody looks. From then on the connections are counted once a
// second, until for ten minutes nobody has looked: that is the plot's past. A page that is
// open gets an event a second, and in the drain five: with the counts and some rows of the
// table, never all of it. For that the server walks over its connections, and holds and puts
// in order no more of them than it sends. Events come less often where all that look would
// together take more than a twentieth of a CPU.
//
// Of 100,000 connections, an event with fifty rows is 8 kB and takes 12 ms of CPU time and
// 40 kB of memory, in any order, and 70 ms where each address is looked at, for a filter or the
// order of addresses (go test -bench Event ./toolkit/debug). One page takes 4% of a CPU, or 7
// with a filter; sixteen, which is as many as may look, 8% (-bench Watched).
package debug

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/toolkit"
)

// At serves the page at path, to clients on this machine, or to whom guards let through. Its
// GET is a toolkit.Builder.Probe; a POST to it begins the drain, if it does not come
// from another site's page.
func At(path string, guards ...toolkit.Middleware) toolkit.Extension {
	return at("At", path, true, guards)
}

// ViewAt is At without the button.
func ViewAt(path string, guards ...toolkit.Middleware) toolkit.Extension {
	return at("ViewAt", path, false, guards)
}

func at(call, path string, drains bool, guards []toolkit.Middleware) toolkit.Extension {
	return func(b *toolkit.Builder) error {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("debug.%s(%q): a path begins with a slash", call, path)
		}
		v := &view{drains: drains}
		b.OnBuild(func(s *toolkit.Server) error { v.server = s; return nil })
		guard := toolkit.Guard(guards...)
		b.Probe(path, guard(v.serve))
		if drains {
			b.Post(path, guard(v.drain))
		}
		return nil
	}
}

// view is the page of one server.
type view struct {
	server  *toolkit.Server
	drains  bool // it has the button
	history history
	streams streams
	walk    sync.Mutex // held by who takes a snapshot: one at a time, however many look
}

// serve answers in the format that is asked for.
func (v *view) serve(ctx *fasthttp.RequestCtx) {
	h := &ctx.Response.Header
	h.Set(fasthttp.HeaderCacheControl, "no-store")
	h.Set(fasthttp.HeaderVary, fasthttp.HeaderAccept)
	h.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	format := formatOf(ctx)
	if format == "html" {
		v.servePage(ctx)
		return
	}
	// That a browser shows nothing of it to another site's page is not to depend on what
	// middleware says about that.
	if !sameOrigin(ctx) {
		ctx.Error("not for pages of other sites\n", fasthttp.StatusForbidden)
		return
	}
	q, err := queryOf(ctx.QueryArgs())
	if err != nil {
		ctx.Error(err.Error()+"\n", fasthttp.StatusBadRequest)
		return
	}
	switch format {
	case "events":
		v.serveEvents(ctx, q)
	case "json":
		ctx.SetContentType("application/json; charset=utf-8")
		enc := json.NewEncoder(ctx)
		enc.SetIndent("", "  ")
		_ = enc.Encode(v.whole(q))
	case "text":
		ctx.SetContentType("text/plain; charset=utf-8")
		v.whole(q).writeText(ctx)
	default:
		ctx.Error(fmt.Sprintf("format=%q: want html, json, text or events\n", format), fasthttp.StatusBadRequest)
	}
}

// formatOf is what the query asks for, or the header. Browsers want HTML, EventSource
// events; curl takes anything, and gets text.
func formatOf(ctx *fasthttp.RequestCtx) string {
	if format := ctx.QueryArgs().Peek("format"); format != nil {
		return string(format)
	}
	accept := ctx.Request.Header.Peek(fasthttp.HeaderAccept)
	for _, f := range []struct{ accepted, format string }{
		{"text/event-stream", "events"}, {"text/html", "html"}, {"application/json", "json"},
	} {
		if bytes.Contains(accept, []byte(f.accepted)) {
			return f.format
		}
	}
	return "text"
}

// drain begins the drain.
func (v *view) drain(ctx *fasthttp.RequestCtx) {
	if !sameOrigin(ctx) {
		ctx.Error("not for pages of other sites\n", fasthttp.StatusForbidden)
		return
	}
	log := toolkit.Logger(ctx)
	log.Info().Stringer("remote", ctx.RemoteAddr()).Msg("the drain was asked for on the live page")
	v.server.Drain()
	ctx.SetStatusCode(fasthttp.StatusAccepted)
	ctx.SetBodyString("draining\n")
}

// sameOrigin reports whether a request does not come from another origin's page. Browsers
// say so with Sec-Fetch-Site, which no page can set, or, where that is missing, as over
// plain HTTP to another machine, with Origin; who sends neither is no browser. It is what
// http.CrossOriginProtection does.
func sameOrigin(ctx *fasthttp.RequestCtx) bool {
	switch string(ctx.Request.Header.Peek("Sec-Fetch-Site")) {
	case "same-origin", "none": // by its page, by the user
		return true
	case "":
		origin := ctx.Request.Header.Peek(fasthttp.HeaderOrigin)
		if len(origin) == 0 {
			return true
		}
		u, err := url.Parse(string(origin))
		return err == nil && u.Host != "" && strings.EqualFold(u.Host, string(ctx.Host()))
	}
	return false
}
