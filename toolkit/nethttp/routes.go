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
	mux   *http.ServeMux      // nil if there are none
	plain map[string]byMethod // those that are for one path alone, to spare the look at the tree
	deep  bool                // there are others
	tree  node                // of all, behind a path's first slash
}

// route is a pattern with its handler.
type route struct {
	handler fasthttp.RequestHandler
	method  string // of the pattern, "" for any
	path    string // of the pattern
}

// byMethod are routes for the same paths. There are no others that a request of one of
// them could be for: http.ServeMux takes no two patterns of which one has the method and
// the other the path that is more specific.
type byMethod []*route

// node is what has been seen of a path, up to a slash.
type node struct {
	next map[string]*node // by the segment that follows
	wild *node            // whatever follows: {name}
	here byMethod         // the path ends here, without a slash
	rest byMethod         // it goes on in any way: {name...}, or the slash at a pattern's end
}

// add panics where http.ServeMux would.
func (t *routes) add(pattern string, h fasthttp.RequestHandler) {
	if h == nil {
		panic("nethttp: nil handler of " + pattern)
	}
	if t.mux == nil {
		t.mux, t.plain = http.NewServeMux(), map[string]byMethod{}
	}
	t.mux.Handle(pattern, http.NotFoundHandler())
	method, path := "", pattern
	if space := strings.IndexAny(pattern, " \t"); space >= 0 {
		method, path = pattern[:space], strings.TrimLeft(pattern[space:], " \t")
	}
	if !strings.HasPrefix(path, "/") {
		panic(fmt.Sprintf("nethttp: a native route is for all hosts: %q", pattern))
	}
	rt := &route{h, method, path}
	t.tree.add(path[1:], rt)
	if _, plain := pathOf(path); plain && !rt.goesOn() && !strings.ContainsAny(path, "{%") {
		t.plain[path] = append(t.plain[path], rt)
	} else {
		t.deep = true
	}
}

func (n *node) add(path string, rt *route) {
	segment, path, more := strings.Cut(path, "/")
	switch {
	case !more && (segment == "" || strings.HasSuffix(segment, "...}")):
		n.rest = append(n.rest, rt)
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
		n.here = append(n.here, rt)
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
	if rt := t.plain[target].find(method); rt != nil {
		return rt
	}
	if !t.deep && strings.HasPrefix(target, "/") && strings.IndexByte(target, '?') < 0 && strings.IndexByte(target, '%') < 0 {
		return nil // it would have been found
	}
	path, ok := cutPath(target)
	if !ok {
		return nil
	}
	rt := t.tree.find(method, path, false)
	if rt == nil || !isPlain(path) { // what most are not is asked first
		return nil
	}
	if rt.goesOn() && path != "" && !strings.HasSuffix(path, "/") {
		// The pattern that ends where the path does, but for a slash, wins by a redirect.
		to := t.tree.find(method, path, true)
		if to != nil && strings.Count(to.path, "/") == strings.Count(path, "/")+2 {
			return nil
		}
	}
	return rt
}

// find returns the route for a method, or nil.
func (m byMethod) find(method string) (found *route) {
	for _, rt := range m {
		switch {
		case rt.method == method:
			return rt
		case rt.method == "" && found == nil, rt.method == http.MethodGet && method == http.MethodHead:
			found = rt
		}
	}
	return found
}

// goesOn reports whether a path may be longer than the pattern.
func (rt *route) goesOn() bool {
	return strings.HasSuffix(rt.path, "/") || strings.HasSuffix(rt.path, "...}")
}

// pathOf returns the path of a request's target without its first slash, and whether it is
// plain.
func pathOf(target string) (path string, plain bool) {
	path, ok := cutPath(target)
	if !ok || !isPlain(path) {
		return "", false
	}
	return path, true
}

// cutPath returns the path of a request's target without its first slash, if the target has
// one: RFC 9112, section 3.2.
func cutPath(target string) (path string, ok bool) {
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
	return path, true
}

// isPlain reports whether no segment of a path is empty, but for the last, nor stands for
// dots or a slash.
func isPlain(path string) bool {
	switch {
	case strings.HasPrefix(path, "/"), strings.Contains(path, "//"), strings.IndexByte(path, '#') >= 0: // no client sends the last
		return false
	case strings.IndexByte(path, '%') < 0 && strings.IndexByte(path, '.') < 0:
		return true
	}
	if strings.Contains(path, "%") {
		decoded, err := url.PathUnescape(path)
		u := url.URL{Path: decoded, RawPath: path} // which would be escaped anew if it were not so already
		if err != nil || u.EscapedPath() != path {
			return false
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment = unescape(segment); segment == "." || segment == ".." || segment == "/" {
			return false
		}
	}
	return true
}

// find returns the route of a path, to the end of which a slash may be added, or nil.
func (n *node) find(method, path string, slash bool) *route {
	segment, more := path, false
	if end := strings.IndexByte(path, '/'); end >= 0 { // strings.Cut takes more time, and more of the stack
		segment, path, more = path[:end], path[end+1:], true
	}
	segment = unescape(segment)
	if rt := n.next[segment].findBehind(method, path, more, slash); rt != nil {
		return rt
	}
	if segment != "" {
		if rt := n.wild.findBehind(method, path, more, slash); rt != nil {
			return rt
		}
	}
	return n.rest.find(method)
}

func (n *node) findBehind(method, path string, more, slash bool) *route {
	switch {
	case n == nil:
		return nil
	case more:
		return n.find(method, path, slash)
	case slash:
		return n.find(method, "", false)
	}
	return n.here.find(method)
}

// unescape is segment without its %-escapes, which pathOf has looked at.
func unescape(segment string) string {
	if strings.IndexByte(segment, '%') < 0 {
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
