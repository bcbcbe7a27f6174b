package nethttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// Response is the http.ResponseWriter that handlers get. It has what that of
// http.Server has, sees what is answered, and puts Connection: close on the last
// response of a connection, which the drain makes of each. It belongs to the handler's
// goroutine.
type Response struct {
	http.ResponseWriter
	conn   *conn
	status int
	size   int64
	late   bool // it was begun after the drain's deadline
	body   body // of the request, if it has one
}

// Status is the status of the response, 0 while there is none; 101 of a connection
// that was hijacked before there was one.
func (w *Response) Status() int { return w.status }

// Size is the number of bytes of the response's body that were written so far.
func (w *Response) Size() int64 { return w.size }

// RemoteAddr is the client's address, as in the request, but no text.
func (w *Response) RemoteAddr() net.Addr { return w.conn.RemoteAddr() }

// Unwrap is for http.ResponseController.
func (w *Response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// begin is for when the header is about to be written.
func (w *Response) begin(status int) {
	if w.status != 0 || status < http.StatusOK && status != http.StatusSwitchingProtocols {
		return
	}
	w.noticeTooLarge()
	w.status = status
	w.late = w.conn.server.overdue()
	if status != http.StatusSwitchingProtocols && w.conn.adopted.Last() {
		w.Header().Set("Connection", "close")
	}
}

// overdue reports whether the drain's deadline is over.
func (s *server) overdue() bool { return s.life.Context().Err() != nil }

// cutShort reports whether a handler that has returned may have done so because its
// context has ended with the drain's deadline, in the middle of a response. In net/http
// a context ends when nobody reads any more, so that handlers simply return then: here
// their client must not take what it got for the whole. Where there is a Content-Length,
// http.Server sees to that.
func (w *Response) cutShort(r *http.Request) bool {
	if w.status == 0 || w.late || !w.conn.server.overdue() || w.conn.hijacked.Load() {
		return false
	}
	bodiless := r.Method == http.MethodHead || w.status == http.StatusNoContent || w.status == http.StatusNotModified
	return !bodiless && w.Header().Get("Content-Length") == ""
}

// WriteHeader is as of any http.ResponseWriter.
func (w *Response) WriteHeader(status int) {
	w.begin(status)
	w.ResponseWriter.WriteHeader(status)
}

func (w *Response) Write(p []byte) (int, error) {
	w.begin(http.StatusOK)
	n, err := w.ResponseWriter.Write(p)
	w.wrote(int64(n))
	return n, err
}

// WriteString spares a copy.
func (w *Response) WriteString(text string) (int, error) {
	w.begin(http.StatusOK)
	n, err := io.WriteString(w.ResponseWriter, text)
	w.wrote(int64(n))
	return n, err
}

// ReadFrom is there for sendfile.
func (w *Response) ReadFrom(src io.Reader) (int64, error) {
	w.begin(http.StatusOK)
	n, err := w.ResponseWriter.(io.ReaderFrom).ReadFrom(src)
	w.wrote(n)
	return n, err
}

// Flush is for handlers that ask for an http.Flusher.
func (w *Response) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController calls.
func (w *Response) FlushError() error {
	w.begin(http.StatusOK)
	err := http.NewResponseController(w.ResponseWriter).Flush()
	w.wrote(0)
	return err
}

func (w *Response) wrote(n int64) {
	w.size += n
	w.body.shareTrailer()
}

// Hijack is for handlers that ask for an http.Hijacker.
func (w *Response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.begin(http.StatusSwitchingProtocols)
	}
	return nc, rw, err
}

// CloseNotify is for handlers from before there were contexts.
func (w *Response) CloseNotify() <-chan bool {
	return w.ResponseWriter.(http.CloseNotifier).CloseNotify() //nolint:staticcheck // see above
}
