package toolkit

import (
	"bufio"
	"io"
	"net"
	"sync/atomic"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/toolkit/nethttp"
)

// Stream answers with a body that write makes while the client reads it, as
// fasthttp.RequestCtx.SetBodyStreamWriter does: in a goroutine of its own, which
// begins at once and must not use ctx. Flush sends what was written; once it fails
// the client has gone, and write is to return.
//
// Where write returns an error or panics, the body does not look complete: what
// was written is sent, then the connection is cut, without a chunked body's end (RFC
// 9112, section 8); one of an HTTP/1.0 client, which has no other sign, is reset. Both
// are logged with the request's id, a panic with its stack; an error of a client
// that has gone is not. The drain awaits a stream as long as DrainTimeout lets it;
// Server.Draining tells it of the drain.
//
// Outside of a server a panic is not caught.
func Stream(ctx *fasthttp.RequestCtx, write func(w *bufio.Writer) error) {
	body := &stream{}
	if !ctx.Request.Header.IsHTTP11() && !nethttp.IsStream(ctx) {
		body.conn = ctx.Conn()
	}
	var from *request
	if s := FromRequest(ctx); s != nil {
		from = s.asked(ctx)
	}
	body.ReadCloser = fasthttp.NewStreamReader(func(w *bufio.Writer) {
		if from != nil {
			defer from.catch()
		}
		err := write(w)
		body.complete.Store(err == nil)
		if err != nil && from != nil && !body.closed.Load() {
			from.line().Err(err).Msg("stream failed")
		}
	})
	ctx.SetBodyStream(body, -1)
}

// stream is a body that ends in an error where what makes it did not return well.
type stream struct {
	io.ReadCloser
	conn net.Conn // of an HTTP/1.0 client, else nil

	complete atomic.Bool // set before the end can be read
	broken   atomic.Bool // the end has been read, and came too early
	closed   atomic.Bool // nobody reads any more
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != io.EOF || s.complete.Load() {
		return n, err
	}
	s.broken.Store(true)
	if s.conn != nil {
		abort(s.conn)
	}
	return n, io.ErrUnexpectedEOF // which fasthttp does not log once more
}

// Close fails for a body that came to a bad end: fasthttp's compression looks for
// that here alone.
func (s *stream) Close() error {
	s.closed.Store(true)
	err := s.ReadCloser.Close()
	if s.broken.Load() {
		return io.ErrUnexpectedEOF
	}
	return err
}

// abort closes the socket below a connection with a reset, where it has such a
// thing, and without TLS's last alert: neither is an orderly end.
func abort(nc net.Conn) {
	for {
		above, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		nc = above.NetConn()
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = nc.Close()
}
