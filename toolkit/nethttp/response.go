package nethttp

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"path"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Response is the http.ResponseWriter that handlers get. It has what that of
// http.Server has, sees what is answered, and puts Connection: close on the last
// response of a connection, which the drain makes of each. It belongs to the handler's
// goroutine.
type Response struct {
	http.ResponseWriter
	conn   carrier
	status int
	size   int64
	late   bool // it was begun after the drain's deadline
	taken  bool // by Hijack
	body   body // of the request, if it has one
}

// carrier is the connection of a response.
type carrier interface {
	RemoteAddr() net.Addr
	lastResponse(h http.Header) // is asked before each, and puts on the last one that it is
	overdue() bool              // the drain's deadline is over, and a response may be cut
}

// Status is the status of the response, 0 while there is none; 101 of a connection
// that was hijacked before there was one.
func (w *Response) Status() int { return w.status }

// Size is the number of bytes of the response's body that were written so far.
func (w *Response) Size() int64 { return w.size }

// RemoteAddr is the client's address, as in the request, but no text.
func (w *Response) RemoteAddr() net.Addr { return w.conn.RemoteAddr() }

// serve has h answer a request, on w or what is around it.
func (w *Response) serve(h http.Handler, as http.ResponseWriter, r *http.Request) {
	asked := w.requestFor(r)
	h.ServeHTTP(as, asked)
	if asked != r {
		r.MultipartForm = asked.MultipartForm // whose files http.Server removes
	}
	if w.cutShort(r) {
		panic(http.ErrAbortHandler)
	}
	w.begin(http.StatusOK) // as http.Server will, if the handler has not
	w.noticeTooLarge()
	w.shareChanges()
}

// begin is for when the header is about to be written, if that has not been.
func (w *Response) begin(status int) {
	if w.status == 0 {
		w.beginWith(status)
	}
}

func (w *Response) beginWith(status int) {
	if status > 999 || status < http.StatusOK && status != http.StatusSwitchingProtocols {
		return
	}
	w.noticeTooLarge()
	w.shareChanges()
	w.status = status
	w.late = w.conn.overdue()
	if status != http.StatusSwitchingProtocols {
		w.conn.lastResponse(w.Header())
	}
}

// cutShort reports whether a handler that has returned may have done so because its
// context has ended with the drain's deadline, in the middle of a response. In net/http
// a context ends when nobody reads any more, so that handlers simply return then: here
// their client must not take what it got for the whole. Where there is a Content-Length,
// http.Server sees to that.
func (w *Response) cutShort(r *http.Request) bool {
	if w.status < http.StatusOK || w.late || !w.conn.overdue() {
		return false
	}
	bodiless := r.Method == http.MethodHead || w.status == http.StatusNoContent || w.status == http.StatusNotModified
	return !bodiless && w.Header().Get("Content-Length") == ""
}

// WriteHeader is as of any http.ResponseWriter.
func (w *Response) WriteHeader(status int) {
	switch {
	case w.taken:
		w.complain("response.WriteHeader on hijacked connection")
	case w.status != 0 && w.complain("superfluous response.WriteHeader call"):
	default:
		w.begin(status)
		w.ResponseWriter.WriteHeader(status)
	}
}

// complain logs what http.Server would log, which took w for the caller of its writer's
// methods. It reports false for HTTP/2, where nothing is logged.
func (w *Response) complain(of string) bool {
	c, ok := w.conn.(*conn)
	if !ok {
		return false
	}
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])]) // from the caller of w's method on
	f, more := frames.Next()
	for more && strings.HasPrefix(f.Function, "net/http.") {
		f, more = frames.Next()
	}
	c.server.logf("http: %s from %s (%s:%d)", of, f.Function, path.Base(f.File), f.Line)
	return true
}

func (w *Response) Write(p []byte) (int, error) {
	if w.taken && len(p) > 0 {
		w.complain("response.Write on hijacked connection")
		return 0, http.ErrHijacked
	}
	w.begin(http.StatusOK)
	n, err := w.ResponseWriter.Write(p)
	w.wrote(int64(n))
	return n, err
}

// WriteString spares a copy.
func (w *Response) WriteString(text string) (int, error) {
	if w.taken && text != "" {
		w.complain("response.Write on hijacked connection")
		return 0, http.ErrHijacked
	}
	w.begin(http.StatusOK)
	n, err := io.WriteString(w.ResponseWriter, text)
	w.wrote(int64(n))
	return n, err
}

// ReadFrom is there for sendfile.
func (w *Response) ReadFrom(src io.Reader) (int64, error) {
	was := w.status
	w.begin(http.StatusOK)
	n, err := w.ResponseWriter.(io.ReaderFrom).ReadFrom(src)
	if n == 0 {
		w.status = was // there may be another yet
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge { // of the request, most likely
		w.noticeTooLarge()
	}
	w.wrote(n)
	return n, err
}

// Flush is for handlers that ask for an http.Flusher.
func (w *Response) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController calls.
func (w *Response) FlushError() error {
	w.begin(http.StatusOK)
	err := w.ResponseWriter.(interface{ FlushError() error }).FlushError()
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
	w.wrote(0) // a header that was buffered
	if err == nil {
		w.begin(http.StatusSwitchingProtocols)
		w.taken = true
	}
	return nc, rw, err
}

// SetReadDeadline is what http.ResponseController calls, and who does without it.
func (w *Response) SetReadDeadline(t time.Time) error {
	if c, ok := w.conn.(*conn); ok {
		return c.setReadDeadlineNow(t)
	}
	return http.NewResponseController(w.ResponseWriter).SetReadDeadline(t)
}

// SetWriteDeadline is as SetReadDeadline.
func (w *Response) SetWriteDeadline(t time.Time) error {
	return http.NewResponseController(w.ResponseWriter).SetWriteDeadline(t)
}

// EnableFullDuplex is as SetReadDeadline.
func (w *Response) EnableFullDuplex() error {
	return http.NewResponseController(w.ResponseWriter).EnableFullDuplex()
}

// CloseNotify is for handlers from before there were contexts.
func (w *Response) CloseNotify() <-chan bool {
	return w.ResponseWriter.(http.CloseNotifier).CloseNotify() //nolint:staticcheck // see above
}

// Stream is the http.ResponseWriter that handlers get for a request by HTTP/2: a
// Response that cannot be hijacked, and can push. It belongs to the handler's goroutine.
type Stream struct {
	r        Response
	timeout  time.Duration // of each write
	deadline bool          // the handler has set one of its own for writes
	timer    *time.Timer   // once there was a write

	mu      sync.Mutex // guards writing
	writing bool
}

// Status is as Response's.
func (w *Stream) Status() int { return w.r.Status() }

// Size is as Response's.
func (w *Stream) Size() int64 { return w.r.Size() }

// LimitBody is as Response's.
func (w *Stream) LimitBody(limit int64) { w.r.LimitBody(limit) }

// RemoteAddr is as Response's.
func (w *Stream) RemoteAddr() net.Addr { return w.r.RemoteAddr() }

// Header is as of any http.ResponseWriter.
func (w *Stream) Header() http.Header { return w.r.Header() }

// WriteHeader is as of any http.ResponseWriter.
func (w *Stream) WriteHeader(status int) { w.r.WriteHeader(status) }

func (w *Stream) Write(p []byte) (int, error) {
	w.limit()
	defer w.written()
	return w.r.Write(p)
}

// WriteString spares a copy.
func (w *Stream) WriteString(text string) (int, error) {
	w.limit()
	defer w.written()
	return w.r.WriteString(text)
}

// Flush is for handlers that ask for an http.Flusher.
func (w *Stream) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController calls.
func (w *Stream) FlushError() error {
	w.limit()
	defer w.written()
	return w.r.FlushError()
}

// SetWriteDeadline is what http.ResponseController calls.
func (w *Stream) SetWriteDeadline(t time.Time) error {
	w.deadline = !t.IsZero()
	return http.NewResponseController(w.r.ResponseWriter).SetWriteDeadline(t)
}

// SetReadDeadline is what http.ResponseController calls.
func (w *Stream) SetReadDeadline(t time.Time) error { return w.r.SetReadDeadline(t) }

// EnableFullDuplex is what http.ResponseController calls.
func (w *Stream) EnableFullDuplex() error { return w.r.EnableFullDuplex() }

// CloseNotify is for handlers from before there were contexts.
func (w *Stream) CloseNotify() <-chan bool { return w.r.CloseNotify() }

// Push is for handlers that ask for an http.Pusher.
func (w *Stream) Push(target string, opts *http.PushOptions) error {
	return w.r.ResponseWriter.(http.Pusher).Push(target, opts)
}

// limit gives what is about to be written its time, where http.Server knows one for a
// stream as a whole.
func (w *Stream) limit() {
	if w.timeout <= 0 || w.deadline {
		return
	}
	w.mu.Lock()
	w.writing = true
	w.mu.Unlock()
	if w.timer == nil {
		w.timer = time.AfterFunc(w.timeout, w.reset)
		return
	}
	w.timer.Reset(w.timeout)
}

// written is for when that is over. reset cannot come any more: http.Server's writer is
// not to be touched once the handler has returned.
func (w *Stream) written() {
	if w.timer == nil {
		return
	}
	w.timer.Stop()
	w.mu.Lock()
	w.writing = false
	w.mu.Unlock()
}

// reset ends the stream.
func (w *Stream) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.writing {
		_ = http.NewResponseController(w.r.ResponseWriter).SetWriteDeadline(time.Unix(1, 0))
	}
}
