package toolkit

import (
	"maps"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"
)

// DefaultSecurityHeaders returns what SecurityHeaders sets by default: what browsers do for
// pages that do not ask for it is there for old ones, and no page that is not framed by
// another origin's loses anything by it.
// https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html
func DefaultSecurityHeaders() map[string]string {
	return map[string]string{
		"X-Content-Type-Options": "nosniff",
		"X-Frame-Options":        "SAMEORIGIN",
		"Referrer-Policy":        "strict-origin-when-cross-origin",
	}
}

// SecurityHeaders sets DefaultSecurityHeaders, changed by those given, on all responses that
// do not have them: a handler's own win. A header given as "" is left out; one that is not
// among the defaults, as Content-Security-Policy, is added.
//
// Strict-Transport-Security is sent over TLS alone (RFC 6797, section 7.2), and not by
// default: a browser that has seen it does not come back without TLS. Where a proxy ends
// TLS, it is the proxy's to send.
//
// A panic of the handler is answered inside of it, so that the 500 has them.
func SecurityHeaders(headers map[string]string) Middleware {
	all := DefaultSecurityHeaders()
	for name, value := range headers {
		if !saneToken(name) || !saneValue(value) {
			return refuse("SecurityHeaders: %q: %q is not a header", name, value)
		}
		all[string(fasthttp.AppendNormalizedHeaderKey(nil, name))] = value
	}
	maps.DeleteFunc(all, func(_, value string) bool { return value == "" })
	var fixed []secureHeader
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fixed = append(fixed, secureHeader{[]byte(name), []byte(all[name]), name == fasthttp.HeaderStrictTransportSecurity})
	}
	return func(next fasthttp.RequestHandler) fasthttp.RequestHandler {
		next = Recover(next)
		return func(ctx *fasthttp.RequestCtx) {
			next(ctx)
			h := &answered(ctx).Header
			for _, f := range fixed {
				if f.tls && !ctx.IsTLS() || len(h.PeekBytes(f.name)) > 0 {
					continue
				}
				h.SetCanonical(f.name, f.value)
			}
		}
	}
}

// saneValue accepts what a header may have as its value: RFC 9110, section 5.5.
func saneValue(value string) bool {
	return !strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}

// secureHeader is a header that is always the same.
type secureHeader struct {
	name, value []byte
	tls         bool // over TLS alone
}
