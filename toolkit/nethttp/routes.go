package nethttp

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/valyala/fasthttp"
)

// routes are the patterns of Server.Native. http.ServeMux knows their syntax and their
// conflicts. It does not find them: that would take it a fifth of a microsecond and
// some allocations, twice a request, and it needs an http.Request.
type routes struct {
	mux   *http.ServeMux               // nil if there are none
	plain map[string]map[string]*route // those that are for one path alone, by that and by method, to spare the look at trees
	trees map[string]*node             // by method, "" for any; each begins behind a path's first slash
}

// route is a pattern with its handler.
type route struct {
	handler fasthttp.RequestHandler
	path    string // of the pattern
}

// node is what has been seen of a path, up to a slash.
type node struct {
	next map[string]*node // by the segment that follows
	wild *node            // whatever follows: {name}
	here *route           // the path ends here, without a slash
	rest *route           // it goes on in any way: {name...}, or the slash at a pattern's end
}

// add panics where http.ServeMux would.
func (t *routes) add(pattern string, h fasthttp.RequestHandler) {
	if h == nil {
		panic("nethttp: nil handler of " + pattern)
	}
	if t.mux == nil {
		t.mux, t.plain, t.trees = http.NewServeMux(), map[string]map[string]*route{}, map[string]*node{}
	}
	t.mux.Handle(pattern, http.NotFoundHandler())
	method, path := "", pattern
	if space := strings.IndexAny(pattern, " \t"); space >= 0 {
		method, path = pattern[:space], strings.TrimLeft(pattern[space:], " \t")
	}
	if !strings.HasPrefix(path, "/") {
		panic(fmt.Sprintf("nethttp: a native route is for all hosts: %q", pattern))
	}
	if t.trees[method] == nil {
		t.trees[method] = new(node)
	}
	rt := &route{h, path}
	t.trees[method].add(path[1:], rt)
	if _, plain := pathOf(path); plain && !rt.goesOn() && !strings.ContainsAny(path, "{%") {
		if t.plain[path] == nil {
			t.plain[path] = map[string]*route{}
		}
		t.plain[path][method] = rt
	}
}

func (n *node) add(path string, rt *route) {
	segment, path, more := strings.Cut(path, "/")
	switch {
	case !more && (segment == "" || strings.HasSuffix(segment, "...}")):
		n.rest = rt
		return
	case segment == "{$}":
		n = n.child("")
	case strings.HasPrefix(segment, "{"):
		if n.wild == nil {
			n.wild = new(node)
		}
		n = n.wild
	default:
		n = n.child(unescape(segment))
	}
	if more {
		n.add(path, rt)
	} else {
		n.here = rt
	}
}

func (n *node) child(segment string) *node {
	c := n.next[segment]
	if c == nil {
		c = new(node)
		if n.next == nil {
			n.next = map[string]*node{}
		}
		n.next[segment] = c
	}
	return c
}

// find returns the native route of a request, by its method and its target, or nil. It
// is the one that http.ServeMux would choose among them; but a target for which that
// would redirect to another has none, nor has one that fasthttp would show as another.
func (t *routes) find(method, target string) *route {
	if t.mux == nil {
		return nil
	}
	if rt := t.plain[target][method]; rt != nil {
		return rt
	}
	path, ok := pathOf(target)
	if !ok {
		return nil
	}
	rt := t.match(method, path, false)
	if rt != nil && rt.goesOn() && path != "" && !strings.HasSuffix(path, "/") {
		// The pattern that ends where the path does, but for a slash, wins by a redirect.
		to := t.match(method, path, true)
		if to != nil && strings.Count(to.path, "/") == strings.Count(path, "/")+2 {
			return nil
		}
	}
	return rt
}

// match returns the route of a path, to the end of which a slash may be added.
func (t *routes) match(method, path string, slash bool) *route {
	rt := t.trees[method].find(path, slash)
	if rt == nil && method == http.MethodHead {
		rt = t.trees[http.MethodGet].find(path, slash)
	}
	if rt == nil {
		rt = t.trees[""].find(path, slash)
	}
	return rt
}

// goesOn reports whether a path may be longer than the pattern.
func (rt *route) goesOn() bool {
	return strings.HasSuffix(rt.path, "/") || strings.HasSuffix(rt.path, "...}")
}

// pathOf returns the path of a request's target without its first slash (RFC 9112,
// section 3.2), and whether it is plain: no segment of it is empty, but for the last, nor
// stands for dots or a slash.
func pathOf(target string) (path string, plain bool) {
	if !strings.HasPrefix(target, "/") {
		_, rest, ok := strings.Cut(target, "://")
		end := strings.IndexAny(rest, "/?#")
		if !ok || end < 0 || rest[end] != '/' {
			return "", false
		}
		target = rest[end:]
	}
	path = target[1:]
	if end := strings.IndexByte(path, '?'); end >= 0 {
		path = path[:end]
	}
	switch {
	case strings.HasPrefix(path, "/"), strings.Contains(path, "//"), strings.IndexByte(path, '#') >= 0: // no client sends the last
		return "", false
	case strings.IndexByte(path, '%') < 0 && strings.IndexByte(path, '.') < 0:
		return path, true
	}
	if strings.Contains(path, "%") {
		decoded, err := url.PathUnescape(path)
		u := url.URL{Path: decoded, RawPath: path} // which would be escaped anew if it were not so already
		if err != nil || u.EscapedPath() != path {
			return "", false
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment = unescape(segment); segment == "." || segment == ".." || segment == "/" {
			return "", false
		}
	}
	return path, true
}

func (n *node) find(path string, slash bool) *route {
	if n == nil {
		return nil
	}
	segment, path, more := strings.Cut(path, "/")
	segment = unescape(segment)
	if rt := n.next[segment].findBehind(path, more, slash); rt != nil {
		return rt
	}
	if segment != "" {
		if rt := n.wild.findBehind(path, more, slash); rt != nil {
			return rt
		}
	}
	return n.rest
}

func (n *node) findBehind(path string, more, slash bool) *route {
	switch {
	case n == nil:
		return nil
	case more:
		return n.find(path, slash)
	case slash:
		return n.find("", false)
	}
	return n.here
}

// unescape is segment without its %-escapes, which pathOf has looked at.
func unescape(segment string) string {
	if !strings.Contains(segment, "%") {
		return segment
	}
	if plain, err := url.PathUnescape(segment); err == nil {
		return plain
	}
	return segment
}

// values sets what the wildcards of the route stand for as user values of a request.
func (rt *route) values(ctx *fasthttp.RequestCtx, target string) {
	if !strings.Contains(rt.path, "{") {
		return
	}
	path, _ := pathOf(target)
	for wild := range strings.SplitSeq(rt.path[1:], "/") {
		segment, rest, _ := strings.Cut(path, "/")
		switch {
		case !strings.HasPrefix(wild, "{") || wild == "{$}":
		case strings.HasSuffix(wild, "...}"):
			ctx.SetUserValue(wild[1:len(wild)-len("...}")], strings.Clone(unescape(path)))
		default:
			ctx.SetUserValue(wild[1:len(wild)-1], strings.Clone(unescape(segment)))
		}
		path = rest
	}
}
