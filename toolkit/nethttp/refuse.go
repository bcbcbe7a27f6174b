package nethttp

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// AnswerError answers a request that fasthttp could not read in the words of net/http,
// so that a refusal does not depend on which of the two has read it. It is the
// ErrorHandler that Mount sets where there is none. What net/http leaves to its handlers,
// a body that is too large or does not come, is answered as lifecycle.AnswerError does it.
// Unlike net/http's refusals these have a Date and a Content-Length (RFC 9110, sections
// 6.6.1 and 8.6).
func AnswerError(ctx *fasthttp.RequestCtx, err error) {
	lifecycle.AnswerError(ctx, err)
	switch code := ctx.Response.StatusCode(); code {
	case http.StatusRequestHeaderFieldsTooLarge:
		refuse(ctx, code, "")
	case http.StatusBadRequest:
		refuse(ctx, code, reasonOf(ctx, err))
	}
}

// reasonOf is what net/http says of a request that fasthttp has refused by err, and
// often nothing.
func reasonOf(ctx *fasthttp.RequestCtx, err error) string {
	if h := &ctx.Request.Header; len(h.RawHeaders()) > 0 { // it has been read
		if h.RequestURI()[0] == '/' && new(fasthttp.URI).Parse(h.Host(), h.RequestURI()) != nil {
			return "malformed Host header"
		}
		return ""
	}
	if within := errors.Unwrap(err); within != nil {
		err = within // without what it quotes of the request
	}
	text := err.Error()
	switch {
	case errors.Is(err, fasthttp.ErrUnsupportedTransferEncoding),
		strings.HasPrefix(text, "unsupported transfer-encoding: "),
		text == "too many transfer-encoding headers":
		return unsupportedCoding
	case text == "missing required host header in request":
		return "missing required Host header"
	case strings.HasPrefix(text, `invalid header key "`) && strings.HasSuffix(text, ` "`):
		return "invalid header name"
	}
	return ""
}

// unsupportedCoding is a reason that has a status of its own.
const unsupportedCoding = "Unsupported transfer encoding"

// refuse writes a refusal as net/http's server does.
func refuse(ctx *fasthttp.RequestCtx, code int, reason string) {
	if reason == unsupportedCoding {
		ctx.Error(reason, http.StatusNotImplemented)
		return
	}
	status := http.StatusText(code)
	body := strconv.Itoa(code) + " " + status
	if reason != "" {
		body += ": " + reason
	}
	ctx.Error(body, code)
	if reason != "" {
		ctx.Response.Header.SetStatusMessage([]byte(status + ": " + reason))
	}
}
