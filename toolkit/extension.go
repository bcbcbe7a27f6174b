package toolkit

import (
	"fmt"
	"slices"

	"github.com/valyala/fasthttp"
)

// Extension makes a package's calls on a Builder: it mounts its routes, adds its hooks
// and its Observer. It returns what is wrong with its own options, which Build then returns.
// Packages debug, metrics, otel, profile and vars offer some.
type Extension func(b *Builder) error

// With adds extensions. Each Build has them make their calls, in this order and after those
// made on the Builder itself, on a copy of it that is for one server alone. Exit hooks of
// extensions run after all others, for what they watch goes on until then.
func (b *Builder) With(extensions ...Extension) *Builder {
	b.extensions = append(b.extensions, extensions...)
	return b
}

// OnBuild has f called with the server when it has been built, before it runs, by an
// extension that has to know it. An error is one of Build.
func (b *Builder) OnBuild(f func(s *Server) error) *Builder {
	b.onBuild = append(b.onBuild, f)
	return b
}

// extended is a copy of the Builder on which its extensions have made their calls.
func (b *Builder) extended() *Builder {
	own := *b
	own.exitHooks = nil
	for i, extend := range b.extensions {
		if extend == nil {
			own.early = append(own.early, fmt.Errorf("toolkit: With: extension %d is nil", i))
			continue
		}
		if err := guard(func() error { return extend(&own) }); err != nil {
			own.early = append(own.early, fmt.Errorf("toolkit: With: %w", err))
		}
	}
	own.exitHooks = append(own.exitHooks, b.exitHooks...)
	return &own
}

// tell calls what OnBuild was given.
func (b *Builder) tell(s *Server) error {
	for _, f := range b.onBuild {
		if err := guard(func() error { return f(s) }); err != nil {
			return fmt.Errorf("toolkit: OnBuild: %w", err)
		}
	}
	return nil
}

// Probe mounts a handler, for GET and HEAD, that is for those who watch the server and not
// for its clients. As the health endpoints, it is exempt from MaxInFlight, it is in the
// access log at level debug, and no Observer sees it. Its path has no parameters.
func (b *Builder) Probe(path string, h fasthttp.RequestHandler) *Builder {
	b.routes = append(b.routes, probeRoutes("Probe", path, h)...)
	return b
}

func probeRoutes(call, path string, h fasthttp.RequestHandler) []route {
	return []route{
		{call: call, method: fasthttp.MethodGet, path: path, handler: h, probe: true},
		{call: call, method: fasthttp.MethodHead, path: path, handler: h, probe: true},
	}
}

// probesOf are the paths of those routes that are for who watches the server.
func probesOf(routes []route) (probes paths) {
	for _, rt := range routes {
		if rt.probe && !slices.Contains(probes, rt.path) {
			probes = append(probes, rt.path)
		}
	}
	return probes
}

// paths are few, so that to compare them all takes less than to look one up in a map.
type paths []string

func (p paths) has(path []byte) bool {
	for _, one := range p { //nolint:modernize // slices.Contains would have a long path copied
		if one == string(path) {
			return true
		}
	}
	return false
}
