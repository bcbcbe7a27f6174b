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
	from, to *http.Request // the http.Server's, and the handler's
	tooLarge atomic.Bool   // the last Read was to be the last
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	gaveUp := n > 0 && n == len(p) && n < cap(p) && byMaxBytesReader()
	b.shareTrailer()
	if b.tooLarge.Load() != gaveUp {
		b.tooLarge.Store(gaveUp)
	}
	return n, err
}

// shareTrailer is for when the body may have been read to its end, by the handler, or by
// the http.Server before it sends a header. A trailer that was announced is in a map that
// both requests have.
func (b *body) shareTrailer() {
	if b.from != nil && b.from.Trailer != nil && b.to.Trailer == nil {
		b.to.Trailer = b.from.Trailer
	}
}

// byMaxBytesReader reports whether Read was called by an http.MaxBytesReader.
func byMaxBytesReader() bool {
	var pc [1]uintptr
	runtime.Callers(3, pc[:])
	f, _ := runtime.CallersFrames(pc[:]).Next()
	return f.Function == "net/http.(*maxBytesReader).Read"
}

// requestFor returns the request that the handler gets: r, with w to see what becomes
// of its body. r itself is the http.Server's, which looks at its Body's type in the end.
func (w *Response) requestFor(r *http.Request) *http.Request {
	if !hasBody(r) {
		return r
	}
	copied := *r
	copied.Body = &w.body
	w.body.ReadCloser, w.body.from, w.body.to = r.Body, r, &copied
	return &copied
}

// LimitBody has the request's body end in an *http.MaxBytesError after limit bytes, as
// http.MaxBytesReader does. It is for who calls the handler, before anything is read.
func (w *Response) LimitBody(limit int64) {
	if w.body.ReadCloser != nil {
		w.body.ReadCloser = http.MaxBytesReader(w.ResponseWriter, w.body.ReadCloser, limit)
	}
}

// noticeTooLarge passes on what body has seen.
func (w *Response) noticeTooLarge() {
	if w.body.tooLarge.Load() && w.body.tooLarge.Swap(false) {
		one := io.NopCloser(strings.NewReader("x"))
		_, _ = http.MaxBytesReader(w.ResponseWriter, one, 0).Read(make([]byte, 1)) // which tells it
	}
}
