package nethttp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"

	"github.com/valyala/fasthttp"
)

// Middleware makes net/http middleware one for native handlers: what it returns is a
// toolkit.Middleware. m is called once, when the server is built; a nil m, or a nil handler
// of it, is an error there.
//
// m's handler gets an *http.Request made of the fasthttp one, of which nothing is shared
// and all may be kept; its body is a copy that is made when it is read. What m changes
// before it calls the next handler, the native one sees: the method, URL (its path, query
// and host, not the route, which has been chosen), Host, the fields of the header,
// RemoteAddr where it is an IP address, with or without a port, until m returns, a Body in
// the place of the old one, and the context, by Context. The header fields of the response that are there
// by then are there for the native handler, too, which may change them.
//
// If m answers without the next handler, that is the response, its Content-Type found as
// net/http finds it. If m calls it with the http.ResponseWriter that it was given, the
// native response stays as it is, streams and hijacks too. If it calls it with one of its
// own, as do loggers and compressors, the native response is written to that, in one
// Write, when the native handler has returned. A body that is a stream goes by
// it: it gets the status alone, and where it would hold that back or encode the body the
// answer is a 500. So is it where a Body is put in the place of one that is being streamed
// (fasthttp.Server's StreamRequestBody), and where m drops the request's context.
//
// As with net/http, changes of the header come too late once the next handler has returned,
// unless that has left the response as it was: status 200, no body. Then m may write it. Of
// a native handler that panics, m has the header, and not what there is of the body.
// An m that returns before the next handler does, as http.TimeoutHandler, is waited for no
// longer: its response is sent, and the handler goes on, as after
// fasthttp.RequestCtx.TimeoutError. The drain knows of it if lifecycle.Server's Track is
// around the handler.
//
// An m that is a router's own, as are CleanPath and GetHead of chi, needs that router's
// context. docs/migrating.md lists what has been tried.
//
// The http.ResponseWriter has no Flusher, no Hijacker and no deadlines: an m that streams
// or hijacks itself is for a NetHTTP route. 1xx responses and trailers of its own are not
// sent. The context ends with none of the request's: it is context.Background's with m's
// values.
//
// A request costs some 4 us and 31 allocations more, with a writer of m's own another
// microsecond and 5 more: BenchmarkMiddleware. On a hot route that is most of what a native
// handler saves.
func Middleware(m func(http.Handler) http.Handler) func(fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(native fasthttp.RequestHandler) fasthttp.RequestHandler {
		if m == nil {
			return nil
		}
		h := m(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if e, ok := r.Context().Value(exchangeKey{}).(*exchange); ok {
				e.callNative(native, w, r)
				return
			}
			http.Error(w, "the request's context is not the server's", http.StatusInternalServerError)
		}))
		if h == nil {
			return nil
		}
		return func(ctx *fasthttp.RequestCtx) {
			e := &exchange{ctx: ctx, header: make(http.Header)}
			if !e.makeRequest() {
				ctx.Error("Bad Request", http.StatusBadRequest)
				return
			}
			defer e.end() // a panic may come while the native handler runs elsewhere
			h.ServeHTTP(e, e.request)
			e.answer()
		}
	}
}

// Context returns the context that middleware of net/http has given to a native handler's
// request: context.Background where there is none.
func Context(ctx *fasthttp.RequestCtx) context.Context {
	if c, ok := ctx.UserValue(contextKey{}).(context.Context); ok {
		return c
	}
	return context.Background()
}

type contextKey struct{}

// exchange is a request on its way through net/http middleware, and the
// http.ResponseWriter that this has.
type exchange struct {
	ctx     *fasthttp.RequestCtx
	request *http.Request
	was     http.Request // what of request can be told to have changed
	fields  http.Header  // as well

	header http.Header // of the response
	addr   net.Addr    // the client's, where m has changed it

	mu      sync.Mutex  // guards what follows
	status  int         // of the response, 0 until it is written
	sent    http.Header // header as it was then; nil where the native response is in its place
	body    []byte
	native  bool   // the body is the native response's, in its place
	passing []byte // the native body, while it is being passed on
	using   int    // who uses ctx: the native handler, or a Read of the body
	over    bool   // nobody may begin to
}

type exchangeKey struct{}

// use reports whether ctx may be used, until release.
func (e *exchange) use() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.over {
		e.using++
	}
	return !e.over
}

func (e *exchange) release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.using--
}

// end has nobody begin to use ctx any more. The address that m gave to a request is not
// that of the connection's next one, for which fasthttp would keep it.
func (e *exchange) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
	if e.using == 0 && e.addr != nil && e.ctx.LastTimeoutErrorResponse() == nil { // else ctx is not used again
		e.ctx.SetRemoteAddr(e.addr)
	}
}

// makeRequest reports false for a target that net/http would refuse.
func (e *exchange) makeRequest() bool {
	h := &e.ctx.Request.Header
	r := &http.Request{
		Method: string(h.Method()), RequestURI: string(h.RequestURI()), Host: string(h.Host()),
		Proto: string(h.Protocol()), Header: make(http.Header), Body: http.NoBody,
		RemoteAddr: e.ctx.RemoteAddr().String(), TLS: e.ctx.TLSConnectionState(),
	}
	var err error
	if r.Method == http.MethodConnect && r.RequestURI[0] != '/' {
		r.URL = &url.URL{Host: r.RequestURI}
	} else if r.URL, err = url.ParseRequestURI(r.RequestURI); err != nil {
		return false
	}
	var ok bool
	if r.ProtoMajor, r.ProtoMinor, ok = http.ParseHTTPVersion(r.Proto); !ok {
		return false
	}
	r.Close = h.ConnectionClose()
	for key, value := range h.All() {
		if name := http.CanonicalHeaderKey(string(key)); name != "Host" && name != "Transfer-Encoding" {
			r.Header[name] = append(r.Header[name], string(value))
		}
	}
	switch n := h.ContentLength(); {
	case n > 0:
		r.ContentLength, r.Body = int64(n), &lateBody{e: e}
	case n == -1:
		r.ContentLength, r.Body, r.TransferEncoding = -1, &lateBody{e: e}, []string{"chunked"}
	}
	for key, value := range e.ctx.Response.Header.All() {
		if name := http.CanonicalHeaderKey(string(key)); !framing(name) && name != "Content-Type" {
			e.header[name] = append(e.header[name], string(value))
		}
	}
	e.was, e.fields = *r, make(http.Header, len(r.Header))
	for name, values := range r.Header {
		e.fields[name] = slices.Clone(values)
	}
	u := *r.URL
	e.was.URL = &u
	e.request = r.WithContext(context.WithValue(context.Background(), exchangeKey{}, e))
	return true
}

// framing are the fields that fasthttp sees to.
func framing(name string) bool {
	return name == "Content-Length" || name == "Transfer-Encoding" || name == "Trailer" || name == "Server" || name == "Date"
}

// lateBody is a copy of a body, once it is read.
type lateBody struct {
	e *exchange
	r io.Reader
}

func (b *lateBody) Read(p []byte) (int, error) {
	if !b.e.use() {
		return 0, http.ErrBodyReadAfterClose
	}
	defer b.e.release()
	if req := &b.e.ctx.Request; b.r == nil && req.IsBodyStream() {
		b.r = b.e.ctx.RequestBodyStream()
	} else if b.r == nil {
		b.r = bytes.NewReader(bytes.Clone(req.Body()))
	}
	return b.r.Read(p)
}

func (b *lateBody) Close() error { return nil }

// callNative is the next handler.
func (e *exchange) callNative(native fasthttp.RequestHandler, w http.ResponseWriter, r *http.Request) {
	if !e.use() {
		return // too late
	}
	defer e.release()
	if code := e.changeRequest(r); code != 0 {
		http.Error(w, http.StatusText(code), code)
		return
	}
	putHeader(&e.ctx.Response.Header, w.Header())
	panics := true
	defer func() {
		if panics && !e.isOver() {
			takeHeader(w.Header(), &e.ctx.Response)
		}
	}()
	native(e.ctx)
	panics = false
	if !e.ctx.Hijacked() {
		e.passOn(w)
	}
}

// isOver reports whether nobody waits for the native response any more.
func (e *exchange) isOver() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.over
}

// changeRequest has the native handler see what has been changed, and returns a status if
// that cannot be done.
func (e *exchange) changeRequest(r *http.Request) (status int) {
	e.ctx.SetUserValue(contextKey{}, r.Context())
	req, was := &e.ctx.Request, &e.was
	if r.Method != was.Method {
		req.Header.SetMethod(r.Method)
	}
	if *r.URL != *was.URL {
		req.SetRequestURI(r.URL.RequestURI())
	}
	if !maps.EqualFunc(r.Header, e.fields, slices.Equal) {
		for _, h := range []http.Header{e.fields, r.Header} { // first, as Del leaves no order
			for name := range h {
				if name != "Content-Length" {
					req.Header.Del(name)
				}
			}
		}
		for name, values := range r.Header {
			for _, value := range values {
				if name != "Content-Length" {
					req.Header.Add(name, value)
				}
			}
		}
	}
	host := r.Host
	if host == was.Host && r.URL.Host != was.URL.Host {
		host = r.URL.Host
	}
	if host != was.Host {
		req.Header.SetHost(host)
		req.URI().SetHost(host)
	}
	if r.RemoteAddr != was.RemoteAddr {
		if addr := parseAddr(r.RemoteAddr); addr != nil {
			e.addr = e.ctx.RemoteAddr()
			e.ctx.SetRemoteAddr(addr)
		}
	}
	if r.Body != was.Body {
		return e.changeBody(r.Body)
	}
	return 0
}

func (e *exchange) changeBody(body io.ReadCloser) (status int) {
	if e.ctx.Request.IsBodyStream() {
		e.ctx.Logger().Printf("nethttp: middleware cannot take the place of a body that is being streamed")
		return http.StatusInternalServerError
	}
	if body == nil {
		body = http.NoBody
	}
	all, err := io.ReadAll(body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case err != nil:
		return http.StatusBadRequest
	}
	e.ctx.Request.SetBody(all)
	e.ctx.Request.Header.SetContentLength(len(all))
	return 0
}

func parseAddr(text string) net.Addr {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return net.TCPAddrFromAddrPort(ap)
	}
	if ip, err := netip.ParseAddr(text); err == nil {
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0))
	}
	return nil
}

// response is where the native response is: a copy, if its handler has timed out.
func (e *exchange) response() *fasthttp.Response {
	if resp := e.ctx.LastTimeoutErrorResponse(); resp != nil {
		return resp
	}
	return &e.ctx.Response
}

// passOn gives the native response to the writer that the next handler was called with.
func (e *exchange) passOn(w http.ResponseWriter) {
	if e.isOver() {
		return
	}
	resp := e.response()
	own, isOwn := w.(*exchange)
	isOwn = isOwn && own == e
	if resp != &e.ctx.Response { // which was made without them
		for name, values := range w.Header() {
			if len(resp.Header.Peek(name)) == 0 {
				addAll(&resp.Header, name, values)
			}
		}
	}
	takeHeader(w.Header(), resp)
	if untouched(resp) {
		return // as if nothing had been written: m may write it
	}
	if isOwn {
		e.mu.Lock()
		defer e.mu.Unlock()
		switch {
		case e.status == 0:
			e.status, e.native = resp.StatusCode(), true
		case resp.IsBodyStream() || len(e.body) == 0: // under the status that was there before
			e.native = true
		default:
			e.body = append(e.body, resp.Body()...)
		}
		return
	}
	encoding := string(resp.Header.ContentEncoding())
	w.WriteHeader(resp.StatusCode())
	if resp.IsBodyStream() {
		e.passBy(resp, encoding)
		return
	}
	if body := resp.Body(); len(body) > 0 {
		e.setPassing(body)
		_, _ = w.Write(body)
		e.setPassing(nil)
	}
}

// untouched reports whether a native handler has left a response as it was, save for the
// header.
func untouched(resp *fasthttp.Response) bool {
	return resp.StatusCode() == http.StatusOK && !resp.IsBodyStream() && len(resp.Body()) == 0 && !resp.SkipBody
}

// passBy has a stream stay where it is, if what w has made of its status allows that.
func (e *exchange) passBy(resp *fasthttp.Response, encoding string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.status == resp.StatusCode() && e.sent.Get("Content-Encoding") == encoding {
		e.native = true
		return
	}
	e.ctx.Logger().Printf("nethttp: middleware cannot have the body of a native stream")
	if e.status == 0 {
		e.sent = e.header.Clone()
	}
	e.sent.Del("Content-Encoding")
	e.sent.Set("Content-Type", "text/plain; charset=utf-8")
	e.status, e.body = http.StatusInternalServerError, []byte("Internal Server Error")
}

func (e *exchange) setPassing(body []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.passing = body
}

// takeHeader makes h the header of a response.
func takeHeader(h http.Header, resp *fasthttp.Response) {
	for name := range h {
		if !framing(name) && len(resp.Header.Peek(name)) == 0 {
			delete(h, name)
		}
	}
	empty := !resp.IsBodyStream() && len(resp.Body()) == 0 // the type may be the default one then
	taken := make(map[string]bool)
	for key, value := range resp.Header.All() {
		name := http.CanonicalHeaderKey(string(key))
		if framing(name) || name == "Content-Type" && empty {
			continue
		}
		if !taken[name] {
			taken[name] = true
			h.Del(name)
		}
		h.Add(name, string(value))
	}
}

// answer is for when the middleware has returned.
func (e *exchange) answer() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
	switch {
	case e.using > 0:
		var resp fasthttp.Response // ctx is the native handler's
		e.fill(&resp)
		e.ctx.TimeoutErrorWithResponse(&resp)
	case e.ctx.Hijacked(), e.native && e.sent == nil:
	default:
		e.fill(e.response())
	}
}

// fill makes resp the middleware's response. mu is held.
func (e *exchange) fill(resp *fasthttp.Response) {
	e.writeHeader(http.StatusOK)
	resp.SetStatusCode(e.status)
	if !e.native {
		resp.ResetBody()
		resp.SetBodyRaw(e.body)
		if len(e.sent["Content-Type"]) == 0 && len(e.body) > 0 && e.sent.Get("Content-Encoding") == "" {
			e.sent.Set("Content-Type", http.DetectContentType(e.body))
		}
	}
	putHeader(&resp.Header, e.sent)
}

// putHeader gives a response the fields of a header, and no others.
func putHeader(to *fasthttp.ResponseHeader, h http.Header) {
	var gone []string
	for key := range to.All() {
		if name := http.CanonicalHeaderKey(string(key)); !framing(name) && name != "Content-Type" {
			gone = append(gone, name)
		}
	}
	for _, name := range gone { // first, as Del leaves no order
		to.Del(name)
	}
	for name, values := range h {
		if !framing(name) || name == "Server" {
			to.Del(name) // a Content-Type, or one in other letters
			addAll(to, name, values)
		}
	}
}

func addAll(to *fasthttp.ResponseHeader, name string, values []string) {
	for _, value := range values {
		to.Add(name, value)
	}
}

// Header is as of any http.ResponseWriter.
func (e *exchange) Header() http.Header { return e.header }

// WriteHeader is as of any http.ResponseWriter.
func (e *exchange) WriteHeader(status int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		e.writeHeader(status)
	}
}

// writeHeader is WriteHeader. mu is held.
func (e *exchange) writeHeader(status int) {
	if e.status == 0 {
		e.status, e.sent = status, e.header.Clone()
	}
}

// Write leaves the native response's body where it is, if it is that which is written.
func (e *exchange) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.writeHeader(http.StatusOK)
	switch {
	case len(p) == 0:
	case len(p) == len(e.passing) && &p[0] == &e.passing[0] && len(e.body) == 0:
		e.native = true
	case e.native: // there is more to come behind it
		resp := e.response()
		if resp.IsBodyStream() {
			return 0, errors.New("nethttp: middleware cannot write behind a native stream")
		}
		if e.sent == nil {
			e.sent = e.header.Clone()
		}
		e.native, e.body = false, bytes.Clone(resp.Body())
		fallthrough
	default:
		e.body = append(e.body, p...)
	}
	return len(p), nil
}
