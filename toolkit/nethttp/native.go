package nethttp

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// serveNative has a request that came by the http.Server answered by the native
// handler.
func (s *server) serveNative(w http.ResponseWriter, r *http.Request, c *conn) {
	if r.Method == http.MethodConnect || r.Header.Get("Upgrade") != "" {
		s.sendBack(w, r, c) // to fasthttp, where it can be hijacked
		return
	}
	_ = c.settleNow() // the handler may set deadlines of Conn
	resp, head := s.callNative(s.newCtx(r, c.Conn, c.RemoteAddr()), r, c.setReadDeadlineNow), r.Method == http.MethodHead
	if c.adopted.Last() || r.Close {
		resp.SetConnectionClose()
	}
	if c.natives++; c.natives >= nativesInARow && r.ProtoAtLeast(1, 1) && !resp.ConnectionClose() && !resp.IsBodyStream() && !s.life.HTTP.StreamRequestBody {
		resp.SkipBody = head
		s.goBack(w, resp, c)
		return
	}
	s.answer(w, resp, head)
	c.adopted.Leave()
}

// serveNativeStream is serveNative for a request by HTTP/2, which stays where it is.
func (s *server) serveNativeStream(w *Stream, r *http.Request, c *streams) {
	var nc net.Conn = &streamConn{c.Conn, http.NewResponseController(w)}
	if tc, ok := c.Conn.(secure); ok {
		nc = &secureStreamConn{nc.(*streamConn), tc}
	}
	ctx := s.newCtx(r, nc, c.RemoteAddr())
	ctx.SetUserValue(streamKey{}, true)
	end := func() {}
	c.adopted.SetClientContext(ctx, func() (client context.Context) {
		client, end = s.clientContext(r.Context())
		return client
	})
	resp := s.callNative(ctx, r, http.NewResponseController(w).SetReadDeadline)
	resp.Header.ResetConnectionClose()
	for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Upgrade"} { // RFC 9113, section 8.2.2
		resp.Header.Del(name)
	}
	s.answer(w, resp, r.Method == http.MethodHead)
	end()
}

// streamConn is what a native handler has for the connection of a stream: its deadlines
// are the stream's.
type streamConn struct {
	net.Conn
	to *http.ResponseController
}

func (c *streamConn) SetReadDeadline(t time.Time) error  { return c.to.SetReadDeadline(t) }
func (c *streamConn) SetWriteDeadline(t time.Time) error { return c.to.SetWriteDeadline(t) }

func (c *streamConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// secureStreamConn has what fasthttp knows a TLS connection by.
type secureStreamConn struct {
	*streamConn
	tls secure
}

func (c *secureStreamConn) Handshake() error                     { return c.tls.Handshake() }
func (c *secureStreamConn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

type streamKey struct{}

// IsStream reports whether a native handler's request has come by HTTP/2. Its header's
// Protocol is then "HTTP/2.0", which it may be in a request by HTTP/1 as well.
func IsStream(ctx *fasthttp.RequestCtx) bool { return ctx.UserValue(streamKey{}) != nil }

// callNative returns the native handler's response to a request.
func (s *server) callNative(ctx *fasthttp.RequestCtx, r *http.Request, setReadDeadline func(time.Time) error) *fasthttp.Response {
	if s.wanted(ctx) {
		if err := s.readBody(ctx, r, setReadDeadline); err != nil {
			s.life.HTTP.ErrorHandler(ctx, err)
			ctx.SetConnectionClose()
		} else {
			s.native(ctx)
		}
	}
	resp := ctx.LastTimeoutErrorResponse()
	if resp == nil { // else ctx is still its handler's
		resp = &ctx.Response
		switch {
		case !ctx.Hijacked():
		case r.ProtoMajor > 1:
			resp.Reset()
			ctx.Error("HTTP/2 cannot be hijacked", http.StatusNotImplemented)
		default:
			resp.Reset()
			ctx.Error("only an Upgrade or a CONNECT can be hijacked here", http.StatusInternalServerError)
		}
	}
	s.finish(resp)
	return resp
}

// newCtx makes a RequestCtx of a request. It is the request's alone: a handler may
// keep it.
func (s *server) newCtx(r *http.Request, nc net.Conn, remote net.Addr) *fasthttp.RequestCtx {
	settings := s.life.HTTP
	ctx := new(fasthttp.RequestCtx)
	ctx.Init2(nc, settings.Logger, true)
	ctx.SetRemoteAddr(remote)
	h := &ctx.Request.Header
	if settings.DisableHeaderNamesNormalizing {
		h.DisableNormalizing()
		ctx.Response.Header.DisableNormalizing()
	}
	ctx.Response.Header.SetNoDefaultContentType(settings.NoDefaultContentType)
	h.SetMethod(r.Method)
	h.SetRequestURI(r.RequestURI)
	h.SetProtocol(r.Proto)
	h.SetHost(r.Host)
	for name, values := range r.Header {
		for _, value := range values {
			h.Add(name, value)
		}
	}
	if r.ContentLength < 0 {
		h.SetContentLength(-1) // chunked: net/http has taken the field away
	}
	if r.Close {
		h.SetConnectionClose() // as well
	}
	if r.TLS != nil {
		ctx.URI().SetScheme("https")
	}
	return ctx
}

// readBody reads a request's body, or has the handler read it, as the
// fasthttp.Server's settings want it.
func (s *server) readBody(ctx *fasthttp.RequestCtx, r *http.Request, setReadDeadline func(time.Time) error) error {
	settings := s.life.HTTP
	if settings.GetOnly && r.Method != http.MethodGet && r.Method != http.MethodHead {
		return fasthttp.ErrGetOnly
	}
	rc := settings.HeaderReceived(&ctx.Request.Header) // package lifecycle's, around ours
	if rc.ReadTimeout > 0 && hasBody(r) {
		_ = setReadDeadline(time.Now().Add(rc.ReadTimeout))
	}
	limit := rc.MaxRequestBodySize
	if limit <= 0 {
		limit = settings.MaxRequestBodySize
	}
	if limit <= 0 {
		limit = fasthttp.DefaultMaxRequestBodySize
	}
	switch {
	case r.ContentLength > int64(limit) && !settings.StreamRequestBody:
		return fasthttp.ErrBodyTooLarge
	case !hasBody(r):
		return nil
	case settings.StreamRequestBody:
		ctx.Request.SetBodyStream(r.Body, int(r.ContentLength))
		return nil
	}
	var body bytes.Buffer
	if r.ContentLength > 0 {
		body.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	if _, err := body.ReadFrom(io.LimitReader(r.Body, int64(limit)+1)); err != nil {
		return err
	}
	if body.Len() > limit {
		return fasthttp.ErrBodyTooLarge
	}
	ctx.Request.SetBodyRaw(body.Bytes())
	for name, values := range r.Trailer {
		if err := ctx.Request.Header.AddTrailer(name); err != nil {
			return err
		}
		for _, value := range values {
			ctx.Request.Header.Add(name, value)
		}
	}
	return nil
}

// hasBody reports whether a request has, or may have, a body.
func hasBody(r *http.Request) bool {
	return r.Body != http.NoBody && (r.ProtoMajor == 1 || r.ContentLength != 0)
}

// wanted asks the fasthttp.Server's hooks about a request that expects a 100, and
// answers it if they refuse. The 100 itself is sent by who reads the body.
func (s *server) wanted(ctx *fasthttp.RequestCtx) bool {
	settings, code := s.life.HTTP, http.StatusContinue
	switch {
	case !ctx.Request.MayContinue():
	case settings.ExpectHandler != nil:
		code = settings.ExpectHandler(ctx)
	case settings.ContinueHandler != nil && !settings.ContinueHandler(&ctx.Request.Header):
		code = http.StatusExpectationFailed
	}
	if code == http.StatusContinue {
		return true
	}
	ctx.SetStatusCode(code)
	ctx.SetConnectionClose()
	return false
}

// finish puts on a response what fasthttp's loop would.
func (s *server) finish(resp *fasthttp.Response) {
	if settings := s.life.HTTP; len(resp.Header.Server()) == 0 && !settings.NoDefaultServerHeader {
		name := settings.Name
		if name == "" {
			name = "fasthttp"
		}
		resp.Header.SetServer(name)
	}
}

// answer sends a response through the http.Server.
func (s *server) answer(w http.ResponseWriter, resp *fasthttp.Response, head bool) {
	code, body := resp.StatusCode(), []byte(nil)
	stream := resp.IsBodyStream()
	if !stream {
		body = resp.Body()
	}
	bodiless := code < 200 || code == http.StatusNoContent || code == http.StatusNotModified // nor has it a length
	none := head || resp.SkipBody || bodiless
	h := w.Header()
	s.copyHeader(h, resp, !bodiless && (stream || len(body) > 0))
	size := resp.Header.ContentLength()
	if !stream && (len(body) > 0 || !none) {
		size = len(body)
	}
	if size > 0 && !bodiless || size == 0 && !stream && !none {
		h["Content-Length"] = []string{strconv.Itoa(size)}
	}
	w.WriteHeader(code)
	if resp.ImmediateHeaderFlush {
		_ = http.NewResponseController(w).Flush()
	}
	var err error
	switch {
	case none:
		_ = resp.CloseBodyStream()
		return
	case stream && size < 0:
		err = resp.BodyWriteTo(flushed{w, http.NewResponseController(w)})
	default:
		err = resp.BodyWriteTo(w)
	}
	if err != nil {
		panic(http.ErrAbortHandler) // so that the client sees that it is not whole
	}
	for name := range resp.Header.Trailers() {
		h.Set(string(name), string(resp.Header.PeekBytes(name)))
	}
}

// copyHeader copies the fields of a response but its framing.
func (s *server) copyHeader(h http.Header, resp *fasthttp.Response, body bool) {
	contentType := string(resp.Header.ContentType())
	resp.Header.SetNoDefaultContentType(true)
	if given := resp.Header.ContentType(); len(given) == 0 && (!body || s.life.HTTP.NoDefaultContentType) {
		contentType = ""
	}
	for key, value := range resp.Header.All() {
		switch name := string(key); {
		case strings.EqualFold(name, "Content-Length"), strings.EqualFold(name, "Content-Type"),
			strings.EqualFold(name, "Transfer-Encoding"), strings.EqualFold(name, "Trailer"):
		case strings.EqualFold(name, "Date") && !s.life.HTTP.NoDefaultDate:
		default:
			h[name] = append(h[name], string(value))
		}
	}
	for name := range resp.Header.Trailers() {
		h.Add("Trailer", string(name))
	}
	h["Content-Type"] = nil // which keeps net/http from guessing
	if contentType != "" {
		h["Content-Type"] = []string{contentType}
	}
	if _, given := h["Date"]; !given && s.life.HTTP.NoDefaultDate {
		h["Date"] = nil // as above
	}
}

// flushed sends each chunk of a stream at once, as fasthttp does.
type flushed struct {
	w  io.Writer
	to *http.ResponseController
}

func (f flushed) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = f.to.Flush()
	}
	return n, err
}

// goBack sends a response, and gives the connection back to fasthttp.
func (s *server) goBack(w http.ResponseWriter, resp *fasthttp.Response, c *conn) {
	rw, unread, err := c.leave(w)
	if err == nil {
		err = resp.Write(rw.Writer)
	}
	if err == nil {
		err = rw.Flush()
	}
	if err != nil {
		_ = c.adopted.Close()
		return
	}
	_ = c.Conn.SetWriteDeadline(time.Time{})
	c.adopted.Leave()
	c.adopted.GiveBack(unread)
}

// sendBack gives a connection back to fasthttp together with its request, of which
// the body has not been read.
func (s *server) sendBack(w http.ResponseWriter, r *http.Request, c *conn) {
	var b bytes.Buffer
	b.WriteString(r.Method + " " + r.RequestURI + " " + r.Proto + "\r\nHost: " + r.Host + "\r\n")
	if r.ContentLength < 0 {
		b.WriteString("Transfer-Encoding: chunked\r\n")
	}
	for name := range r.Trailer {
		b.WriteString("Trailer: " + name + "\r\n")
	}
	_ = r.Header.Write(&b)
	b.WriteString("\r\n")
	_, unread, err := c.leave(w)
	if err != nil {
		_ = c.adopted.Close()
		return
	}
	c.adopted.GiveBack(append(b.Bytes(), unread...))
}

// leave takes a connection out of the http.Server's hands, and returns what that has
// read and not used.
func (c *conn) leave(w http.ResponseWriter) (rw *bufio.ReadWriter, unread []byte, err error) {
	c.leaving = true
	if _, rw, err = http.NewResponseController(w).Hijack(); err == nil {
		unread, err = rw.Peek(rw.Reader.Buffered())
		unread = append(bytes.Clone(unread), c.unread...)
	}
	return rw, unread, err
}
