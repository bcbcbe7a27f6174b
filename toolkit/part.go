package toolkit

import (
	"errors"
	"fmt"

	"github.com/valyala/fasthttp"
)

// Part is what another package puts into a server that asks for it: its routes, its
// hooks, its Observer. Packages metrics, otel and profile have some. Build calls it, on a copy
// of the Builder that is for this server alone, before all else; the server is not
// built then, and is to be used once it runs. An error is one of Build. Of a part's exit
// hooks the last runs after those of the Builder: what observes them ends after them.
type Part func(b *Builder, s *Server) error

// With adds parts.
func (b *Builder) With(parts ...Part) *Builder {
	b.parts = append(b.parts, parts...)
	return b
}

// withParts is the Builder as its parts have left it.
func (b *Builder) withParts(s *Server) (*Builder, []error) {
	var errs []error
	built := *b
	built.exitHooks = nil
	for i, p := range b.parts {
		err := errors.New("nil")
		if p != nil {
			err = guard(func() error { return p(&built, s) })
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("toolkit: With: part %d: %w", i, err))
		}
	}
	built.exitHooks = append(built.exitHooks, b.exitHooks...)
	return &built, errs
}

// Probe mounts a handler, for GET and HEAD, that is for those who watch the server and not
// for its clients. As the health endpoints, it is exempt from MaxInFlight, it is in the
// access log at level debug, and no Observer sees it. Its path has no parameters.
func (b *Builder) Probe(path string, h fasthttp.RequestHandler) *Builder {
	for _, method := range []string{fasthttp.MethodGet, fasthttp.MethodHead} {
		b.routes = append(b.routes, route{call: "Probe", method: method, path: path, handler: h, probe: true})
	}
	return b
}

// probesOf are the paths of those routes that are for who watches the server.
func probesOf(routes []route) map[string]bool {
	probes := map[string]bool{}
	for _, rt := range routes {
		if rt.probe {
			probes[rt.path] = true
		}
	}
	return probes
}
