package toolkit

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"

	"github.com/valyala/fasthttp"
)

// ETag gives a 200 to a GET or HEAD a tag of its body, unless the handler has set an ETag,
// and answers requests that have the body already with a 304: by If-None-Match, or, without
// that, by If-Modified-Since where the handler has set Last-Modified. If-Match and
// If-Unmodified-Since that do not hold are a 412 (RFC 9110, section 13.2.2). The handler has
// run in any case: what is saved is the way to the client.
//
// The tag is strong, and the same on all servers: half of the body's SHA-256, which takes
// some 2 us for 1 kB. A response with Cache-Control: no-store gets none; streams are left
// alone.
// If-Match of a PUT, PATCH or DELETE, against lost updates, is the handler's to see to,
// before it changes anything.
func ETag() Middleware {
	return func(next fasthttp.RequestHandler) fasthttp.RequestHandler {
		return func(ctx *fasthttp.RequestCtx) {
			read := ctx.IsGet() || ctx.IsHead() // before a handler that times out has it
			next(ctx)
			resp := &ctx.Response
			if !read || ctx.LastTimeoutErrorResponse() != nil || resp.StatusCode() != fasthttp.StatusOK || resp.IsBodyStream() {
				return
			}
			if wantsTag(resp, ctx.IsHead()) {
				var buf [sha256.Size]byte
				sum := sha256.Sum256(resp.Body())
				resp.Header.SetCanonical(headerETag, appendTag(buf[:0], sum[:]))
			}
			if code := precondition(&ctx.Request.Header, &resp.Header); code != 0 {
				answerInstead(ctx, code)
			}
		}
	}
}

// wantsTag reports whether a response has no tag, and a body whose tag is that of a GET.
func wantsTag(resp *fasthttp.Response, head bool) bool {
	return len(resp.Header.PeekBytes(headerETag)) == 0 &&
		(!head || len(resp.Body()) > 0) &&
		!listed(resp.Header.PeekAll(fasthttp.HeaderCacheControl), "no-store")
}

// headerETag is the name as fasthttp normalizes it.
var headerETag = []byte("Etag")

// appendTag appends the tag of some content, given its SHA-256: 128 bits of it.
func appendTag(dst, sum []byte) []byte {
	dst = append(dst, '"')
	dst = base64.RawURLEncoding.AppendEncode(dst, sum[:16])
	return append(dst, '"')
}

// answerInstead makes a 304 or 412 of a response. A 304 keeps the header, which updates
// what its client has, but for what describes a body: RFC 9110, section 15.4.5. A 412 is not to be
// cached, as the response would have been: RFC 9111, section 3, allows it for what says how long.
func answerInstead(ctx *fasthttp.RequestCtx, code int) {
	resp := &ctx.Response
	resp.ResetBody()
	resp.SetStatusCode(code)
	resp.Header.SetContentType("")
	resp.Header.SetContentEncoding("")
	resp.Header.Del(fasthttp.HeaderContentLength)
	if code == fasthttp.StatusPreconditionFailed {
		resp.Header.Del(fasthttp.HeaderCacheControl)
		resp.Header.Del(fasthttp.HeaderExpires)
	}
}

// precondition evaluates a GET's or HEAD's conditions against the ETag and Last-Modified of
// its response: 304, 412, or 0 where it is to be answered as if it had none. RFC 9110,
// section 13.2.2.
func precondition(asked *fasthttp.RequestHeader, has *fasthttp.ResponseHeader) int {
	tag, modified := has.Peek(fasthttp.HeaderETag), has.Peek(fasthttp.HeaderLastModified)
	switch ifMatch := asked.PeekAll(fasthttp.HeaderIfMatch); {
	case len(ifMatch) > 0 && !tagListed(ifMatch, tag, true),
		len(ifMatch) == 0 && after(modified, asked.Peek(fasthttp.HeaderIfUnmodifiedSince)):
		return fasthttp.StatusPreconditionFailed
	}
	switch ifNoneMatch := asked.PeekAll(fasthttp.HeaderIfNoneMatch); {
	case len(ifNoneMatch) > 0 && tagListed(ifNoneMatch, tag, false),
		len(ifNoneMatch) == 0 && notAfter(modified, asked.Peek(fasthttp.HeaderIfModifiedSince)):
		return fasthttp.StatusNotModified
	}
	return 0
}

// after reports whether one time of HTTP is later than another one. Where one is missing
// or none, neither this nor notAfter holds.
func after(a, b []byte) bool { return compareDates(a, b) > 0 }

func notAfter(a, b []byte) bool { c := compareDates(a, b); return c == -1 || c == 0 }

// compareDates is -1, 0 or 1, or -2 where there is nothing to compare.
func compareDates(a, b []byte) int {
	if len(a) == 0 || len(b) == 0 {
		return -2
	}
	at, err := fasthttp.ParseHTTPDate(a)
	if err != nil {
		return -2
	}
	bt, err := fasthttp.ParseHTTPDate(b)
	if err != nil {
		return -2
	}
	return at.Compare(bt)
}

// tagListed reports whether an If-Match or If-None-Match has a tag: "*" any, and a list what
// is in it until something is no tag. With strong, a weak tag matches nothing (section
// 8.8.3.2).
func tagListed(lines [][]byte, tag []byte, strong bool) bool {
	tag, weak := bytes.CutPrefix(tag, []byte("W/"))
	if len(lines) == 1 && string(bytes.TrimSpace(lines[0])) == "*" {
		return true
	}
	for _, line := range lines {
		for {
			line = bytes.TrimLeft(line, " \t,")
			if len(line) == 0 {
				break
			}
			one, rest, oneWeak := cutTag(line)
			if one == nil {
				return false
			}
			if bytes.Equal(one, tag) && (!strong || !weak && !oneWeak) {
				return true
			}
			line = rest
		}
	}
	return false
}

// cutTag returns the tag that a list begins with, nil where it is none, and what follows.
func cutTag(list []byte) (tag, rest []byte, weak bool) {
	list, weak = bytes.CutPrefix(list, []byte("W/"))
	if len(list) == 0 || list[0] != '"' {
		return nil, nil, weak
	}
	end := bytes.IndexByte(list[1:], '"')
	if end < 0 {
		return nil, nil, weak
	}
	return list[:end+2], list[end+2:], weak
}
