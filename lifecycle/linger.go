package lifecycle

import (
	"os"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// A close(2) with input unread sends a reset, and a reset can destroy a response
// that is still on its way, or make its client give up before it reads it: RFC
// 9112, section 9.6, asks for a close in stages. Where a client may still be
// sending, a duplicate of the socket outlives fasthttp's close. Its write side is
// shut down, its input read and thrown away until the client closes too, for a
// bounded time and size.
const (
	lingerTimeout = 2 * time.Second        // in all
	lingerQuiet   = 500 * time.Millisecond // without input; net/http waits as long
	lingerBytes   = 64 << 20
	maxLingering  = 1024 // beyond it connections are closed as they are
)

// lingering is the set of sockets that linger.
type lingering struct {
	mu    sync.Mutex // guards files
	files map[*os.File]struct{}
}

func (l *lingering) add(f *os.File) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.files) >= maxLingering {
		return false
	}
	if l.files == nil {
		l.files = make(map[*os.File]struct{})
	}
	l.files[f] = struct{}{}
	return true
}

func (l *lingering) remove(f *os.File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.files, f)
}

func (l *lingering) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.files)
}

// cut ends all waits.
func (l *lingering) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for f := range l.files {
		_ = f.SetReadDeadline(past)
	}
}

// lingerAfter has the connection linger when fasthttp closes it.
func (c *conn) lingerAfter() {
	if c.tail != nil {
		return
	}
	if fd, err := duplicate(c.Conn); err == nil {
		c.tail = os.NewFile(uintptr(fd), "") // does not block, as the original
	}
}

// dropTail is for a connection that was not closed after all.
func (c *conn) dropTail() {
	_ = c.tail.Close()
	c.tail = nil
}

// mayStillSend reports whether the connection, after the handler, is to be closed
// on a client that is still sending: the rest of a body that is being streamed, or
// further requests of a pipeline.
func (s *Server) mayStillSend(ctx *fasthttp.RequestCtx, c *conn) bool {
	if ctx.LastTimeoutErrorResponse() != nil {
		return false // the request is not ours to look at any more
	}
	if ctx.Request.IsBodyStream() {
		return true
	}
	closes := ctx.Response.ConnectionClose() || s.HTTP.DisableKeepalive
	return closes && !ctx.Request.Header.ConnectionClose() && (c.word.Load()&flagPipelines != 0 || hasInput(c.Conn))
}

// linger is called when fasthttp has closed its own descriptor. Where that was to be a
// reset (SO_LINGER of 0), as at the end of a response that must not look whole, so is
// the close of the second one.
func (s *Server) linger(tail *os.File) {
	if resets(tail) || !s.lingering.add(tail) {
		_ = tail.Close()
		return
	}
	go func() {
		defer s.signalChange()
		defer s.lingering.remove(tail)
		drainInput(tail)
		_ = tail.Close()
	}()
	if s.cutting.Load() {
		s.lingering.cut()
	}
}

func drainInput(tail *os.File) {
	shutWrite(tail)
	buf := make([]byte, 16<<10)
	end := time.Now().Add(lingerTimeout)
	for left := lingerBytes; left > 0; {
		quiet := time.Now().Add(lingerQuiet)
		if quiet.After(end) {
			quiet = end
		}
		if tail.SetReadDeadline(quiet) != nil {
			return
		}
		n, err := tail.Read(buf)
		if err != nil || n == 0 {
			return // io.EOF is what is hoped for
		}
		left -= n
	}
}
