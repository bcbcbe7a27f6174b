package toolkit

import (
	"strings"
	"sync"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"
)

// numbers says which of several routes a request will take, by the router's own way of
// choosing, before there is a request to be handled: each route has a number, which its
// handler in the table says by the status code that it sets on a probe.
type numbers struct {
	table   *router.Router
	methods map[string]bool // that routes name
	probes  sync.Pool       // of *fasthttp.RequestCtx
}

func newNumbers() *numbers {
	n := &numbers{table: router.New(), methods: map[string]bool{}}
	n.probes.New = func() any { return new(fasthttp.RequestCtx) }
	return n
}

// add gives a route its number, which is not 0: fasthttp takes that for 200. It panics as
// the router does.
func (n *numbers) add(method, path string, number int) {
	n.methods[method] = true
	n.table.Handle(method, path, func(probe *fasthttp.RequestCtx) { probe.SetStatusCode(number) })
}

// of is the number of the route that a request takes, 0 if it takes none.
func (n *numbers) of(method, target string) int {
	if !n.methods[method] { // Lookup finds nothing for it; the router's handler finds what is for any
		method = router.MethodWild
	}
	says, _ := n.table.Lookup(method, pathOf(target), nil)
	if says == nil {
		return 0
	}
	probe := n.probes.Get().(*fasthttp.RequestCtx)
	defer n.probes.Put(probe)
	says(probe)
	return probe.Response.StatusCode()
}

// pathOf is the path of a request's target, as the router sees it: RFC 9112, section
// 3.2.
func pathOf(target string) string {
	if !strings.HasPrefix(target, "/") {
		if _, rest, ok := strings.Cut(target, "://"); ok { // absolute-form
			target = "/"
			if i := strings.IndexAny(rest, "/?#"); i >= 0 {
				target = rest[i:]
			}
		}
	}
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	return target
}
