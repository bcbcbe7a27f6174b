package toolkit

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"

	"github.com/valyala/fasthttp"
)

// HeaderRequestID names a request from hop to hop.
const HeaderRequestID = "X-Request-ID"

var headerRequestID = []byte(HeaderRequestID)

// maxRequestID is how long an incoming request id may be.
const maxRequestID = 128

// requestID gives each request an id: the one it came with, if that is sane, or a
// random one. It is put on the request's header, where RequestID and whoever
// forwards the request finds it, and on the response's.
func requestID(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		id := ctx.Request.Header.PeekBytes(headerRequestID)
		if !saneRequestID(id) {
			ctx.Request.Header.DelBytes(headerRequestID) // also a second and third one
			var made [32]byte
			ctx.Request.Header.SetBytesKV(headerRequestID, makeRequestID(&made))
			id = ctx.Request.Header.PeekBytes(headerRequestID)
		}
		next(ctx)
		// After the handler: ctx.Error and the like reset the response. That of a
		// handler which timed out is a copy, and the request still its own.
		if resp := ctx.LastTimeoutErrorResponse(); resp != nil {
			resp.Header.SetBytesKV(headerRequestID, id)
			return
		}
		ctx.Response.Header.SetBytesKV(headerRequestID, ctx.Request.Header.PeekBytes(headerRequestID))
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

// makeRequestID fills buf with 128 random bits in hexadecimal. The generator is
// the runtime's ChaCha8: ids need not be secret, only distinct.
func makeRequestID(buf *[32]byte) []byte {
	var random [16]byte
	binary.NativeEndian.PutUint64(random[:8], rand.Uint64()) //nolint:gosec // see above
	binary.NativeEndian.PutUint64(random[8:], rand.Uint64()) //nolint:gosec // see above
	hex.Encode(buf[:], random[:])
	return buf[:]
}
