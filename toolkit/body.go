package toolkit

import (
	"io"
	"reflect"

	"github.com/valyala/fasthttp"
)

// limitStreams has the body limit hold for bodies that a handler reads as they
// come. fasthttp takes its limit there for how much to read beforehand (and, of a
// form, for nothing).
func limitStreams(h *fasthttp.Server, limits *bodyLimits) {
	h.DisablePreParseMultipartForm = true // it reads the form to its end, onto the disk
	next, ofServer := h.Handler, h.MaxRequestBodySize
	if ofServer <= 0 {
		ofServer = fasthttp.DefaultMaxRequestBodySize
	}
	h.Handler = func(ctx *fasthttp.RequestCtx) {
		if !ctx.Request.IsBodyStream() {
			next(ctx)
			return
		}
		length, limit := ctx.Request.Header.ContentLength(), limits.of(&ctx.Request.Header, ofServer)
		if length > limit {
			h.ErrorHandler(ctx, fasthttp.ErrBodyTooLarge) // package lifecycle's, around the user's
			ctx.SetConnectionClose()
			return
		}
		body := &limitedBody{stream: ctx.RequestBodyStream(), length: length, limit: limit}
		ctx.Request.SetBodyStream(body, length)
		next(ctx)
		if ctx.LastTimeoutErrorResponse() == nil && body.failed() {
			ctx.SetConnectionClose()
		}
	}
}

// limitedBody is a request's body that does not exceed a limit, and whose end is not
// io.EOF where its client has not sent all of it.
type limitedBody struct {
	stream io.Reader // fasthttp's
	length int       // -1: chunked
	limit  int
	n      int   // bytes read
	err    error // of the last Read, once there was one
}

func (b *limitedBody) failed() bool { return b.err != nil && b.err != io.EOF } //nolint:errorlint // io.Reader's contract

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	left := b.limit - b.n
	if len(p) > left+1 { // one more tells whether there is more
		p = p[:left+1]
	}
	n, err := b.stream.Read(p)
	if n > left {
		n, err = left, fasthttp.ErrBodyTooLarge
	}
	b.n += n
	if err == io.EOF && !b.whole() {
		err = io.ErrUnexpectedEOF
	}
	b.err = err
	return n, err
}

// whole reports whether the stream, which has returned io.EOF, is at the body's end:
// fasthttp says the same for a connection that has ended in the middle of a body, or
// between two chunks. Of a chunked body its own note tells; should it have none any
// more, what comes before a chunk's size passes for the end again.
func (b *limitedBody) whole() bool {
	if b.length >= 0 {
		return b.n == b.length
	}
	v := reflect.Indirect(reflect.ValueOf(b.stream))
	if v.Kind() != reflect.Struct {
		return true
	}
	eof := v.FieldByName("eof")
	return eof.Kind() != reflect.Bool || eof.Bool()
}
