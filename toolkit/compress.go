package toolkit

import (
	"bytes"
	"strings"

	"github.com/valyala/bytebufferpool"
	"github.com/valyala/fasthttp"
)

// minCompressed is the least size of a body that is worth it: less fits into the packet that
// the header takes anyway.
const minCompressed = 1 << 10

// Compress compresses bodies of 1 kB and more for clients that take zstd, br or gzip, by the
// qualities that they give (RFC 9110, section 12.5.3), in this order where these are
// equal. It does so with fasthttp's writers, at their default levels, for types that are
// text at heart: text, JSON, XML, JavaScript, SVG, WebAssembly, fonts that are not
// compressed yet. What comes out larger is sent as it was.
//
// Streams are compressed, and flushed, with each write that fasthttp reads of them;
// server-sent events are not, nor is what is encoded already, part of a whole (206), marked
// Cache-Control: no-transform, or has a digest of its bytes (RFC 9530). Vary is set on all
// responses of these types and sizes, so that caches keep both forms apart. A strong ETag
// becomes a weak one, as the bytes are others (section 8.8.1), and Accept-Ranges is dropped.
//
// A page that has a secret in it, beside text that others can choose, should not be
// compressed: its size gives the secret away (http://breachattack.com).
func Compress() Middleware {
	return func(next fasthttp.RequestHandler) fasthttp.RequestHandler {
		return func(ctx *fasthttp.RequestCtx) {
			chosen, mustEncode := negotiate(ctx.Request.Header.PeekAll(fasthttp.HeaderAcceptEncoding), nil) // the handler may change it
			head := ctx.IsHead()
			next(ctx)
			resp := &ctx.Response
			if ctx.LastTimeoutErrorResponse() != nil || ctx.Hijacked() {
				return
			}
			if resp.StatusCode() == fasthttp.StatusNotModified {
				addVary(&resp.Header, fasthttp.HeaderAcceptEncoding)
				if chosen != nil {
					weaken(&resp.Header)
				}
				return
			}
			if !compressible(resp) {
				return
			}
			size, known := bodySize(resp), true
			if head && size == 0 {
				size, known = resp.Header.ContentLength(), false
			}
			if size >= 0 && size < minCompressed && !mustEncode {
				return
			}
			addVary(&resp.Header, fasthttp.HeaderAcceptEncoding)
			if chosen == nil || size == 0 {
				return
			}
			if known && !chosen.encode(ctx, mustEncode) {
				return
			}
			if !known { // the handler has left out the body
				resp.Header.Del(fasthttp.HeaderContentLength)
			}
			resp.Header.SetContentEncoding(chosen.name)
			resp.Header.Del(fasthttp.HeaderAcceptRanges)
			weaken(&resp.Header)
		}
	}
}

// coding is a way to compress.
type coding struct {
	name   string
	append func(dst, src []byte) []byte
	stream fasthttp.RequestHandler // has a response's stream compressed, for who takes this coding alone
	suffix string                  // of files
}

// codings are the ways to compress, best first.
var codings = []*coding{
	{
		name: "zstd",
		append: func(dst, src []byte) []byte {
			return fasthttp.AppendZstdBytesLevel(dst, src, fasthttp.CompressZstdDefault)
		},
		stream: fasthttp.CompressHandlerLevel(func(*fasthttp.RequestCtx) {}, fasthttp.CompressZstdDefault),
		suffix: ".zst",
	},
	{
		name:   "br",
		append: fasthttp.AppendBrotliBytes,
		stream: fasthttp.CompressHandlerBrotliLevel(func(*fasthttp.RequestCtx) {}, fasthttp.CompressBrotliDefaultCompression, fasthttp.CompressDefaultCompression),
		suffix: ".br",
	},
	{
		name:   "gzip",
		append: fasthttp.AppendGzipBytes,
		stream: fasthttp.CompressHandler(func(*fasthttp.RequestCtx) {}),
		suffix: ".gz",
	},
}

// encode compresses a response's body. It reports false where that would be no gain.
func (c *coding) encode(ctx *fasthttp.RequestCtx, must bool) bool {
	resp := &ctx.Response
	if resp.IsBodyStream() {
		accept := &ctx.Request.Header
		was := append([]byte(nil), bytes.Join(accept.PeekAll(fasthttp.HeaderAcceptEncoding), []byte(", "))...)
		accept.Set(fasthttp.HeaderAcceptEncoding, c.name)
		c.stream(ctx)
		accept.SetBytesV(fasthttp.HeaderAcceptEncoding, was)
		return len(resp.Header.ContentEncoding()) > 0
	}
	body, buf := resp.Body(), bytebufferpool.Get()
	defer bytebufferpool.Put(buf)
	buf.B = c.append(buf.B[:0], body)
	if len(buf.B) >= len(body) && !must {
		return false
	}
	resp.SetBody(buf.B)
	return true
}

// weaken makes a strong ETag a weak one.
func weaken(h *fasthttp.ResponseHeader) {
	if tag := h.Peek(fasthttp.HeaderETag); len(tag) > 0 && !bytes.HasPrefix(tag, []byte("W/")) {
		h.Set(fasthttp.HeaderETag, "W/"+string(tag))
	}
}

// compressible reports whether a response is one to compress, if its client takes it.
func compressible(resp *fasthttp.Response) bool {
	h := &resp.Header
	return resp.StatusCode() >= fasthttp.StatusOK && resp.StatusCode() != fasthttp.StatusNoContent &&
		resp.StatusCode() != fasthttp.StatusPartialContent &&
		len(h.ContentEncoding()) == 0 && len(h.Peek(fasthttp.HeaderContentRange)) == 0 &&
		len(h.Peek("Content-Digest")) == 0 && len(h.Peek("Repr-Digest")) == 0 &&
		compressibleType(h.ContentType()) &&
		!listed(h.PeekAll(fasthttp.HeaderCacheControl), "no-transform")
}

// compressibleType reports whether a media type is text at heart.
func compressibleType(contentType []byte) bool {
	mediaType, _, _ := bytes.Cut(contentType, []byte(";"))
	t := strings.ToLower(string(bytes.TrimSpace(mediaType)))
	switch {
	case t == "text/event-stream": // each event is to arrive by itself, now
		return false
	case strings.HasPrefix(t, "text/"), strings.HasSuffix(t, "+json"), strings.HasSuffix(t, "+xml"):
		return true
	}
	switch t {
	case "application/json", "application/javascript", "application/xml", "application/wasm", "application/x-ndjson",
		"application/graphql", "application/sql", "application/x-yaml", "application/yaml", "application/toml",
		"application/vnd.ms-fontobject", "font/ttf", "font/otf", "font/collection", "image/x-icon":
		return true
	}
	return false
}

// negotiate returns the coding that a client likes best of those that has says yes to, nil
// for none, and whether it does without compression only under protest. Without has it is
// one of all.
func negotiate(lines [][]byte, has func(c *coding) bool) (chosen *coding, mustEncode bool) {
	const unset = -1
	qs := [3]int{unset, unset, unset}
	identity, others := unset, unset
	for _, line := range lines {
		for part := range bytes.SplitSeq(line, []byte(",")) {
			name, params, _ := bytes.Cut(part, []byte(";"))
			name = bytes.TrimSpace(name)
			q := quality(params)
			switch {
			case bytes.EqualFold(name, []byte("identity")):
				identity = q
			case string(name) == "*":
				others = q
			case bytes.EqualFold(name, []byte("x-gzip")): // RFC 9110, section 8.4.1.3
				qs[2] = max(qs[2], q)
			}
			for i, c := range codings {
				if bytes.EqualFold(name, []byte(c.name)) {
					qs[i] = q
				}
			}
		}
	}
	best := 0
	for i, c := range codings {
		if qs[i] == unset {
			qs[i] = others
		}
		if qs[i] > best && qs[i] >= identity && (has == nil || has(c)) {
			best, chosen = qs[i], c
		}
	}
	if identity == unset && others == 0 {
		identity = 0
	}
	return chosen, identity == 0 && chosen != nil
}

// quality is a q-value in thousandths (RFC 9110, section 12.4.2), 0 where it is none.
func quality(params []byte) int {
	for param := range bytes.SplitSeq(params, []byte(";")) {
		name, value, _ := bytes.Cut(param, []byte("="))
		if name = bytes.TrimSpace(name); len(name) != 1 || name[0]|0x20 != 'q' {
			continue
		}
		value = bytes.TrimSpace(value)
		if len(value) == 0 || len(value) > len("0.123") || value[0] != '0' && value[0] != '1' || len(value) > 1 && value[1] != '.' {
			return 0
		}
		q, digit := 1000*int(value[0]-'0'), 100
		for _, c := range value[min(2, len(value)):] {
			if c < '0' || c > '9' {
				return 0
			}
			q += digit * int(c-'0')
			digit /= 10
		}
		return min(q, 1000)
	}
	return 1000
}
