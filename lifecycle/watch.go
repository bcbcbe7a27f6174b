package lifecycle

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// watchers are what Watch needs.
type watchers struct {
	conns atomic.Int64  // that are open and watch
	once  sync.Once     // closes over
	over  chan struct{} // closed when all that a drain awaits has ended
}

// Watch is for a handler whose response shows the server's life to its end, such as a
// stream of events: the drain does not await it. The channel that Watch returns is closed
// when all that a drain awaits has ended, or was cut; no values are sent on it. Then there
// is time for a last word: the drain goes on when the response has been sent, and waits
// no more than a second for it. The response is its connection's last, and says so.
//
//	over := srv.Watch(ctx)
//	ctx.SetBodyStreamWriter(func(w *bufio.Writer) { show(w, over) })
//
// Over HTTP/2, where other requests share the connection, and outside of a server, the
// channel is closed when the drain begins, and the response is awaited as any other.
func (s *Server) Watch(ctx *fasthttp.RequestCtx) (over <-chan struct{}) {
	s.init()
	c := s.conns.get(ctx.Conn())
	if c == nil { // it may be of an HTTP/2 connection
		return s.Draining()
	}
	if !c.watches.Swap(true) {
		s.watchers.conns.Add(1)
		s.signalChange()
	}
	return s.watchers.over
}

// watchTimeout is how long those who watch have for their last word.
const watchTimeout = time.Second

// endWatching tells those who watch that there is nothing more to see.
func (s *Server) endWatching() {
	s.watchers.once.Do(func() { close(s.watchers.over) })
}

// cutWatching cuts those who watch and take too long for their last word. It does nothing,
// and reports false, where there is more to await.
func (s *Server) cutWatching() bool {
	if !s.onlyWatched() {
		return false
	}
	s.cutting.Store(true)
	s.cutConns(true)
	s.awaitUnwinding()
	return true
}
