package toolkit

import (
	"bytes"
	"io"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/toolkit/nethttp"
)

// refusedKey is where the reason is for which a request was refused.
type refusedKey struct{}

// strict refuses requests that others on their way may have read differently, with
// a 400, and closes the connection: no byte behind them is ever taken for a request.
func strict(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		chunked, doubt := examine(ctx)
		if doubt != "" {
			ctx.SetUserValue(refusedKey{}, doubt)
			ctx.Error("Bad Request: "+doubt, fasthttp.StatusBadRequest)
			ctx.SetConnectionClose()
			return
		}
		// What follows a CONNECT that is answered with 2xx goes through a proxy as it is.
		streamed, last := chunked && ctx.Request.IsBodyStream(), ctx.IsConnect()
		body, _ := ctx.RequestBodyStream().(*limitedBody) // PostBody takes it off the request
		next(ctx)
		if (last || streamed) && ctx.LastTimeoutErrorResponse() == nil && !ctx.Hijacked() && (last || !endSeen(ctx, body)) {
			ctx.SetConnectionClose()
		}
	}
}

// endSeen reports whether the handler has read a chunked stream to its end, and no
// trailer was there.
func endSeen(ctx *fasthttp.RequestCtx, body *limitedBody) bool {
	return body != nil && body.err == io.EOF && !hasTrailer(&ctx.Request.Header) //nolint:errorlint // io.Reader's contract
}

// hasTrailer reports whether a chunked body that has been read had a trailer, whose
// fields fasthttp puts among those of the header.
func hasTrailer(h *fasthttp.RequestHeader) bool { return len(h.TrailerHeader()) > len("\r\n") }

// Names and values that frame a request.
var (
	nameContentLength    = []byte("content-length")
	nameTransferEncoding = []byte("transfer-encoding")
	valueChunked         = []byte("chunked")
)

// examine says what is doubtful about a request that fasthttp has accepted, and
// whether its body came in chunks. It looks for what fasthttp lets through alone:
// that names are tokens or contain spaces, that no value has a control character,
// that Host, Content-Length and Transfer-Encoding come once, has been seen to.
func examine(ctx *fasthttp.RequestCtx) (chunked bool, doubt string) {
	h := &ctx.Request.Header
	if !h.IsHTTP11() && string(h.Protocol()) != "HTTP/1.0" && !nethttp.IsStream(ctx) {
		return false, "HTTP version"
	}
	if doubt := examineTarget(ctx); doubt != "" {
		return false, doubt
	}
	// The header's lines as they came, with the empty one at the end.
	length := false
	for raw := h.RawHeaders(); len(raw) > 0; {
		end := bytes.IndexByte(raw, '\n')
		if end < 1 || raw[end-1] != '\r' {
			return chunked, "line without CR"
		}
		line := raw[:end-1]
		raw = raw[end+1:]
		if len(line) == 0 {
			break
		}
		colon := bytes.IndexByte(line, ':')
		if line[0] == ' ' || line[0] == '\t' || colon < 0 {
			return chunked, "folded line"
		}
		name := line[:colon]
		if bytes.IndexByte(name, ' ') >= 0 {
			return chunked, "space in a header's name"
		}
		switch {
		case len(name) == len(nameContentLength) && bytes.EqualFold(name, nameContentLength):
			length = true
		case len(name) == len(nameTransferEncoding) && bytes.EqualFold(name, nameTransferEncoding):
			if !bytes.EqualFold(bytes.Trim(line[colon+1:], " \t"), valueChunked) {
				return chunked, "Transfer-Encoding"
			}
			chunked = true
		}
	}
	switch {
	case chunked && length:
		return chunked, "Transfer-Encoding and Content-Length"
	case chunked && !ctx.Request.IsBodyStream() && hasTrailer(h):
		return chunked, "trailer"
	}
	return chunked, ""
}

// examineTarget looks at the request's target, and at Host beside it.
func examineTarget(ctx *fasthttp.RequestCtx) (doubt string) {
	target, host := ctx.Request.Header.RequestURI(), ctx.Request.Header.Host()
	switch {
	case !saneHost(host):
		return "Host"
	case bytes.IndexByte(target, '#') >= 0:
		return "fragment in the target"
	case len(target) == 0 || string(target) == "*":
		return ""
	case target[0] == '/':
		// fasthttp takes "//a/b?c=d://e" for one with an authority, and "//a/b" where
		// there is no Host.
		if len(target) > 1 && target[1] == '/' && !bytes.EqualFold(ctx.Host(), host) {
			return "authority"
		}
		return ""
	}
	authority := target
	if _, rest, ok := bytes.Cut(target, []byte("://")); ok {
		authority = rest
		if end := bytes.IndexAny(rest, "/?"); end >= 0 {
			authority = rest[:end]
		}
	} else if port := bytes.LastIndexByte(target, ':'); port >= 0 && bytes.EqualFold(target[:port], host) {
		authority = host // CONNECT, whose Host may lack the port
	}
	if !saneHost(authority) || len(host) > 0 && !bytes.EqualFold(authority, host) {
		return "authority other than Host"
	}
	return ""
}

// saneHost accepts what a name or an address with a port are made of (RFC 3986,
// section 3.2.2), save percent-encoding, which fasthttp decodes in one place and
// not in the other.
func saneHost(host []byte) bool { return hostBytes.only(host) }

var hostBytes = alphanumericAnd("-._~:[]!$&'()*+,;=")

// byteSet is a set of bytes.
type byteSet [256]bool

func alphanumericAnd(others string) *byteSet {
	set := new(byteSet)
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" + others) {
		set[c] = true
	}
	return set
}

// only reports whether text has no other bytes.
func (s *byteSet) only(text []byte) bool {
	for _, c := range text {
		if !s[c] {
			return false
		}
	}
	return true
}
