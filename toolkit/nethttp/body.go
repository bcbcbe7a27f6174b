package nethttp

import (
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
)

// body is a request's body as handlers read it. It sees what http.MaxBytesReader has
// found too large. That tells the http.Server by a method that only net/http's own
// writers can have, and not a Response, so that the connection would be kept.
//
// An http.MaxBytesReader asks for one byte more than it may pass on, and gives up once
// it gets it. By its way of asking it is known: what it reads into it has cut shorter
// than its capacity. Who reads into a part of a slice through one, and does not go on,
// is taken for one that has given up: his connection is closed after its response.
type body struct {
	io.ReadCloser
	copied   *copied     // the handler's request, if that is not the http.Server's
	shared   bool        // it is, and the http.Server looks at its Body in the end
	closed   atomic.Bool // by the handler, if shared
	tooLarge atomic.Bool // the last Read was to be the last
}

// copied is a request that is not the http.Server's.
type copied struct {
	http.Request
	from *http.Request // which is
}

func (b *body) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.ReadCloser.Read(p)
	gaveUp := n > 0 && n == len(p) && n < cap(p) && byMaxBytesReader()
	b.shareTrailer()
	if b.tooLarge.Load() != gaveUp {
		b.tooLarge.Store(gaveUp)
	}
	return n, err
}

// Close reads the rest, as net/http's own does where that is little, but leaves it to the
// http.Server to close that: it would not see otherwise that the rest has been read.
func (b *body) Close() error {
	if !b.shared {
		defer b.shareTrailer() // it may be in the rest
		return b.ReadCloser.Close()
	}
	if b.closed.Swap(true) {
		return nil
	}
	own := b.ReadCloser
	if l, ok := own.(*limited); ok {
		own = l.of
	}
	_, err := io.CopyN(io.Discard, own, littleLeft)
	if err == io.EOF || err == http.ErrBodyReadAfterClose { //nolint:errorlint // as net/http compares them
		err = nil // it may have been read and closed before the header was sent
	}
	return err
}

// shareTrailer is for when the body may have been read to its end, by the handler, or by
// the http.Server before it sends a header. A trailer that was announced is in a map that
// both requests have.
func (b *body) shareTrailer() {
	if c := b.copied; c != nil && c.from.Trailer != nil && c.Trailer == nil {
		c.Trailer = c.from.Trailer
	}
}

// shareChanges has the http.Server see what a handler has changed of its request, as far as
// it looks there: whether there is a body to be read, and whose.
func (w *Response) shareChanges() {
	c := w.body.copied
	if c == nil {
		return
	}
	c.from.Method, c.from.ProtoMajor, c.from.ProtoMinor, c.from.ContentLength = c.Method, c.ProtoMajor, c.ProtoMinor, c.ContentLength
	if c.Body != io.ReadCloser(&w.body) {
		c.from.Body = c.Body
	}
}

// byMaxBytesReader reports whether Read was called by an http.MaxBytesReader.
func byMaxBytesReader() bool {
	var pc [1]uintptr
	runtime.Callers(3, pc[:])
	f, _ := runtime.CallersFrames(pc[:]).Next()
	return f.Function == "net/http.(*maxBytesReader).Read"
}

// littleLeft is of how much of a body net/http's server rather reads the rest than that it
// closes the connection.
const littleLeft = 256 << 10

// requestFor returns the request that the handler gets: r, with w to see what becomes
// of its body. r itself is the http.Server's, which looks at its Body's type in the end: a
// copy has to be made where it would take a body of ours for another thing than its own.
// It treats both alike where what is left of it is little in any case, and no 100 is due.
func (w *Response) requestFor(r *http.Request) *http.Request {
	if !hasBody(r) {
		return r
	}
	b := &w.body
	b.ReadCloser = r.Body
	switch _, http1 := w.conn.(*conn); { // not by r's version, which is what its client says
	case http1 && (r.ContentLength < 0 || r.ContentLength >= littleLeft || r.Close || r.Header["Expect"] != nil):
		b.copied = &copied{*r, r}
		r = &b.copied.Request
	default:
		b.shared = http1
	}
	r.Body = b
	return r
}

// LimitBody has the request's body end in an *http.MaxBytesError after limit bytes, as
// http.MaxBytesReader does. It is for who calls the handler, before anything is read.
func (w *Response) LimitBody(limit int64) {
	if of := w.body.ReadCloser; of != nil {
		w.body.ReadCloser = &limited{http.MaxBytesReader(w.ResponseWriter, of, limit), of}
	}
}

// limited is a body that is limited by LimitBody.
type limited struct {
	io.ReadCloser
	of io.ReadCloser
}

// noticeTooLarge passes on what body has seen.
func (w *Response) noticeTooLarge() {
	if w.body.tooLarge.Load() && w.body.tooLarge.Swap(false) {
		one := io.NopCloser(strings.NewReader("x"))
		_, _ = http.MaxBytesReader(w.ResponseWriter, one, 0).Read(make([]byte, 1)) // which tells it
	}
}
