package toolkit

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"

	"github.com/valyala/fasthttp"
)

// HeaderRequestID names a request from hop to hop.
const HeaderRequestID = "X-Request-ID"

// headerRequestID is the name as fasthttp normalizes it, which spares it that.
var headerRequestID = []byte("X-Request-Id")

// maxRequestID is how long an incoming request id may be.
const maxRequestID = 128

// requestID gives each request an id: the one it came with, if that is sane, or a
// random one. It is put on the request's header, where RequestID and whoever
// forwards the request finds it, and on the response's.
func requestID(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		var buf [maxRequestID]byte // the handler may reset or reuse the request
		var id []byte
		sent := ctx.Request.Header.PeekBytes(headerRequestID)
		if len(sent) > 0 && len(ctx.Request.Header.PeekAll(HeaderRequestID)) == 1 && saneRequestID(sent) {
			id = append(buf[:0], sent...)
		} else {
			id = makeRequestID(buf[:0])
			if sent != nil {
				ctx.Request.Header.DelBytes(headerRequestID) // all of them
			}
			ctx.Request.Header.SetCanonical(headerRequestID, id)
		}
		next(ctx)
		// After the handler: ctx.Error and the like reset the response. That of a
		// handler which timed out is a copy.
		resp := ctx.LastTimeoutErrorResponse()
		if resp == nil {
			resp = &ctx.Response
		}
		resp.Header.SetCanonical(headerRequestID, id)
	}
}

// RequestID returns the request's id.
func RequestID(ctx *fasthttp.RequestCtx) string {
	return string(ctx.Request.Header.PeekBytes(headerRequestID))
}

// saneRequestID accepts what uuids, ULIDs, trace ids and base64 are made of, and
// nothing that could forge a log line or a header.
func saneRequestID(id []byte) bool {
	if len(id) == 0 || len(id) > maxRequestID {
		return false
	}
	for _, c := range id {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.', c == '~', c == '+', c == '/', c == '=', c == ':', c == '@':
		default:
			return false
		}
	}
	return true
}

// makeRequestID appends 128 random bits in hexadecimal. The generator is the
// runtime's ChaCha8: ids need not be secret, only distinct.
func makeRequestID(buf []byte) []byte {
	var random [16]byte
	binary.NativeEndian.PutUint64(random[:8], rand.Uint64()) //nolint:gosec // see above
	binary.NativeEndian.PutUint64(random[8:], rand.Uint64()) //nolint:gosec // see above
	return hex.AppendEncode(buf, random[:])
}
