package toolkit

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// CORSOptions say which pages of other origins may read responses, and send more than
// plain requests: the Fetch standard, https://fetch.spec.whatwg.org/#http-cors-protocol.
type CORSOptions struct {
	// Origins are those of the pages: "https://app.example", with a port where it is not
	// the scheme's own. "https://*.example" is each name below it, of any depth, and not
	// itself. "*" is any origin. "null", which each sandboxed frame and file has, is
	// allowed by "*" alone.
	Origins []string

	// Allow, if set, is asked of origins that Origins does not have. It may be called by any
	// number of goroutines, and never with "null".
	Allow func(origin string) bool

	// Methods are those that pages may use beside GET, HEAD and POST. "*" is any.
	Methods []string

	// Headers are those that pages may send beside those which the standard lets
	// through. "*" is any, Authorization included.
	Headers []string

	// Expose are the headers of responses that pages may read beside those which the
	// standard lets through. "*" is any, without Credentials.
	Expose []string

	// Credentials says whether requests may have cookies and the like, and pages read what
	// these get. Every page of Origins can then act in its user's name, so "*" is not
	// allowed with it.
	Credentials bool

	// MaxAge is for how long browsers may remember the answer to a preflight, in whole
	// seconds. They have limits of their own, some hours. The default, 0, leaves it to
	// them: five seconds.
	MaxAge time.Duration
}

// CORS answers preflights, with a 204, and marks the responses that pages of other origins
// may read. It is not access control: who may not read a response has sent the request
// all the same.
//
// With Builder.Use it sees preflights of all paths. With Group.Use it sees none by itself, as
// the group has no route for OPTIONS; give it one:
//
//	g.Use(toolkit.CORS(options)).Options("/{path:*}", func(*fasthttp.RequestCtx) {})
//
// A panic of the handler is answered inside of it, so that pages can read the 500. What the
// server refuses before it looks for a route (Strict, MaxInFlight, a body that is too large)
// pages cannot read: to them it is a failure of the network.
func CORS(options CORSOptions) Middleware {
	c, err := newCORS(options)
	if err != nil {
		return refuse("CORS: %w", err)
	}
	return func(next fasthttp.RequestHandler) fasthttp.RequestHandler { return c.handler(Recover(next)) }
}

// cors is what CORSOptions come to.
type cors struct {
	any         bool
	exact       map[string]bool
	below       [][2]string // what comes before and after the name of a subdomain
	allow       func(origin string) bool
	methods     string // "*" is what was asked for, as the next one
	headers     string
	expose      string
	credentials bool
	maxAge      string
}

func newCORS(o CORSOptions) (*cors, error) {
	c := &cors{exact: map[string]bool{}, allow: o.Allow, credentials: o.Credentials}
	var errs []error
	for _, origin := range o.Origins {
		errs = append(errs, c.add(origin))
	}
	for _, names := range [][]string{o.Methods, o.Headers, o.Expose} {
		for _, name := range names {
			if !saneToken(name) {
				errs = append(errs, fmt.Errorf("%q is not a token", name))
			}
		}
	}
	c.methods, c.headers, c.expose = oneOf(o.Methods), oneOf(o.Headers), oneOf(o.Expose)
	switch {
	case len(o.Origins) == 0 && o.Allow == nil:
		errs = append(errs, errors.New("neither Origins nor Allow"))
	case c.any && o.Credentials:
		errs = append(errs, errors.New(`"*" in Origins with Credentials: any page could act in its user's name`))
	case c.any && (len(o.Origins) > 1 || o.Allow != nil):
		errs = append(errs, errors.New(`"*" in Origins beside other origins`))
	case c.expose == "*" && o.Credentials:
		errs = append(errs, errors.New(`"*" in Expose with Credentials: it is a header's name then`))
	}
	if o.MaxAge < 0 || o.MaxAge%time.Second != 0 {
		errs = append(errs, fmt.Errorf("MaxAge %v: not whole seconds", o.MaxAge))
	}
	if o.MaxAge > 0 {
		c.maxAge = strconv.FormatInt(int64(o.MaxAge/time.Second), 10)
	}
	return c, errors.Join(errs...)
}

// oneOf is a list as a header has it, "*" where that is in it.
func oneOf(names []string) string {
	for _, name := range names {
		if name == "*" {
			return name
		}
	}
	return strings.Join(names, ", ")
}

// add takes an origin as browsers write it (RFC 6454, section 6.2). One that is written
// otherwise would never match.
func (c *cors) add(origin string) error {
	if origin == "*" {
		c.any = true
		return nil
	}
	scheme, host, _ := strings.Cut(origin, "://")
	before, after, wild := strings.Cut(origin, "://*.")
	probe := origin
	if wild {
		probe = before + "://" + after
	}
	u, err := url.Parse(probe)
	switch {
	case err != nil || u.Host == "" || scheme+"://"+u.Host != strings.Replace(origin, "*.", "", 1) || strings.Contains(u.Host, "*"):
		return fmt.Errorf("origin %q is not as in https://app.example:8443 or https://*.example", origin)
	case strings.ToLower(origin) != origin || !saneHost([]byte(strings.TrimPrefix(host, "*."))):
		return fmt.Errorf("origin %q is not as browsers write it: in lower case and ASCII", origin)
	case scheme == "http" && u.Port() == "80", scheme == "https" && u.Port() == "443":
		return fmt.Errorf("origin %q is not as browsers write it: without the scheme's own port", origin)
	}
	if wild {
		c.below = append(c.below, [2]string{before + "://", "." + after})
	} else {
		c.exact[origin] = true
	}
	return nil
}

// saneToken accepts RFC 9110's tokens, section 5.6.2.
func saneToken(name string) bool { return name != "" && tokenBytes.only([]byte(name)) }

var tokenBytes = alphanumericAnd("!#$%&'*+-.^_`|~")

func (c *cors) handler(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		var origin string
		if c.any {
			origin = "*" // whoever asks: caches are not told to keep these responses apart
		} else if lines := ctx.Request.Header.PeekAll(fasthttp.HeaderOrigin); len(lines) == 1 {
			origin = c.allowed(lines[0])
		}
		if method := ctx.Request.Header.Peek(fasthttp.HeaderAccessControlRequestMethod); ctx.IsOptions() && len(method) > 0 &&
			len(ctx.Request.Header.Peek(fasthttp.HeaderOrigin)) > 0 {
			c.preflight(ctx, origin, method)
			return
		}
		next(ctx)
		h := &answered(ctx).Header
		c.mark(h, origin)
		if origin != "" && c.expose != "" {
			h.Set(fasthttp.HeaderAccessControlExposeHeaders, c.expose)
		}
	}
}

// mark says on a response which origin may read it.
func (c *cors) mark(h *fasthttp.ResponseHeader, origin string) {
	if !c.any { // else it is the same for all
		addVary(h, fasthttp.HeaderOrigin)
	}
	if origin == "" {
		return
	}
	h.Set(fasthttp.HeaderAccessControlAllowOrigin, origin)
	if c.credentials {
		h.Set(fasthttp.HeaderAccessControlAllowCredentials, "true")
	}
}

// preflight says what a page may send. It is the browser that compares.
func (c *cors) preflight(ctx *fasthttp.RequestCtx, origin string, method []byte) {
	h := &ctx.Response.Header
	ctx.SetStatusCode(fasthttp.StatusNoContent)
	c.mark(h, origin)
	addVary(h, fasthttp.HeaderAccessControlRequestMethod, fasthttp.HeaderAccessControlRequestHeaders)
	if origin == "" {
		return
	}
	allow := func(header, names string, asked []byte) {
		if names == "*" {
			names = saneList(asked) // with credentials "*" is a name, and Authorization is never in it
		}
		if names != "" {
			h.Set(header, names)
		}
	}
	allow(fasthttp.HeaderAccessControlAllowMethods, c.methods, method)
	allow(fasthttp.HeaderAccessControlAllowHeaders, c.headers, ctx.Request.Header.Peek(fasthttp.HeaderAccessControlRequestHeaders))
	if c.maxAge != "" {
		h.Set(fasthttp.HeaderAccessControlMaxAge, c.maxAge)
	}
}

// saneList is a list of tokens as it came, "" where it is none.
func saneList(list []byte) string {
	for name := range bytes.SplitSeq(list, []byte(",")) {
		if !saneToken(string(bytes.TrimSpace(name))) {
			return ""
		}
	}
	return string(list)
}

// allowed returns what is to be said to an origin that is allowed, else "".
func (c *cors) allowed(origin []byte) string {
	switch {
	case len(origin) == 0 || string(origin) == "null":
		return ""
	case c.exact[string(origin)]:
		return string(origin)
	}
	for _, ends := range c.below {
		name, ok := bytes.CutPrefix(origin, []byte(ends[0]))
		if !ok {
			continue
		}
		if name, ok = bytes.CutSuffix(name, []byte(ends[1])); ok && saneName(name) {
			return string(origin)
		}
	}
	if c.allow != nil && c.allow(string(origin)) {
		return string(origin)
	}
	return ""
}

// saneName accepts the labels of a DNS name, in lower case.
func saneName(name []byte) bool {
	return len(name) > 0 && name[0] != '.' && nameBytes.only(name) && bytes.Equal(bytes.ToLower(name), name)
}

var nameBytes = alphanumericAnd("-_.")
