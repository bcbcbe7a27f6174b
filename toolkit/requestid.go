package toolkit

import (
	"encoding/binary"
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
		sent := ctx.Request.Header.PeekCanonical(headerRequestID)
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
		// After the handler: ctx.Error and the like reset the response.
		answered(ctx).Header.SetCanonical(headerRequestID, id)
	}
}

// RequestID returns the request's id.
func RequestID(ctx *fasthttp.RequestCtx) string {
	return string(ctx.Request.Header.PeekCanonical(headerRequestID))
}

// saneRequestID accepts what uuids, ULIDs, trace ids and base64 are made of, and
// nothing that could forge a log line or a header.
func saneRequestID(id []byte) bool {
	return len(id) > 0 && len(id) <= maxRequestID && idBytes.only(id)
}

var idBytes = alphanumericAnd("-_.~+/=:@")

// makeRequestID appends 128 random bits in hexadecimal. The generator is the
// runtime's ChaCha8: ids need not be secret, only distinct.
func makeRequestID(buf []byte) []byte {
	for range 2 {
		random := rand.Uint64() //nolint:gosec // see above
		buf = binary.NativeEndian.AppendUint64(buf, hexDigits(random&nibbles))
		buf = binary.NativeEndian.AppendUint64(buf, hexDigits(random>>4&nibbles))
	}
	return buf
}

const nibbles = 0x0f0f0f0f0f0f0f0f

// hexDigits makes a digit of each byte, which is one of nibbles. encoding/hex takes
// as long as the router.
func hexDigits(v uint64) uint64 {
	letters := (v + 0x0606060606060606) >> 4 & 0x0101010101010101 // 1 for 10 and more
	return v + 0x3030303030303030 + letters*('a'-'0'-10)
}
