package lifecycle

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// ErrClientGone is the context.Cause of a client's context whose client has gone.
var ErrClientGone = errors.New("lifecycle: client has gone")

// ClientContext returns a context for the request that is being handled. It ends when
// the client closes its connection, with ErrClientGone as its context.Cause; at the
// drain's deadline, as Context does; and when the handler has returned, with
// context.Canceled. It has no values: RequestCtx, which has, is used again by another
// request when the handler has returned.
//
//	rows, err := db.QueryContext(srv.ClientContext(ctx), "SELECT ...")
//
// A client that shuts down its side for writing has gone, as it has for net/http; one
// that has pipelined another request before that has not, nor one whose body the
// handler has not read to its end; a reset is seen in any case. No byte is read for
// it, and none is waited for: the connection is watched by its end alone, from when
// Done is first called, which costs two system calls a request. A body that is being
// streamed may be read meanwhile. Handlers that do not call ClientContext pay nothing.
//
// Clients are watched on Linux, on TCP and Unix sockets, and over TLS on Addrs (of a
// TLS listener that was handed in, close_notify is not known); elsewhere the context
// has its other ends. A stream writer, which runs when the
// handler has returned, learns of its client's end by a failing Flush.
//
// It is for the time of the handler. Every call in it returns the same context.
func (s *Server) ClientContext(ctx *fasthttp.RequestCtx) context.Context {
	s.init()
	if own, ok := ctx.UserValue(clientKey{}).(func() context.Context); ok {
		return own()
	}
	c := s.conns.get(ctx.Conn())
	if c == nil { // not from a listener of ours
		return s.ctx
	}
	for {
		if cc := c.client.Load(); cc != nil {
			return cc
		}
		cc := &clientContext{s: s, c: c}
		cc.Context, cc.cancel = context.WithCancelCause(s.ctx)
		if c.client.CompareAndSwap(nil, cc) {
			return cc
		}
		cc.cancel(nil)
	}
}

// endClientContext is for the handler's end.
func (c *conn) endClientContext() {
	if c.client.Load() == nil {
		return // spares the swap
	}
	if cc := c.client.Swap(nil); cc != nil {
		cc.end()
	}
}

// clientContext starts to watch its client when it is first asked for Done. What it
// embeds is one of the context package's own, so that contexts derived from it need
// no goroutine.
type clientContext struct {
	context.Context
	cancel context.CancelCauseFunc
	s      *Server
	c      *conn

	mu    sync.Mutex // guards what follows
	state watchState
	fd    int
}

type watchState int

const (
	unwatched watchState = iota
	watched
	watchOver
)

// Done is as of any context.
func (cc *clientContext) Done() <-chan struct{} {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if cc.state == unwatched {
		cc.state = watchOver
		if fd, ok := cc.s.clients.watch(cc); ok {
			cc.state, cc.fd = watched, fd
		}
	}
	return cc.Context.Done()
}

// end is for when the handler has returned.
func (cc *clientContext) end() {
	cc.mu.Lock()
	if cc.state == watched {
		cc.s.clients.unwatch(cc)
	}
	cc.state = watchOver
	cc.mu.Unlock()
	cc.cancel(context.Canceled)
}

// clients watches connections for their clients' end.
type clients struct {
	start  sync.Once
	poller *poller // nil where there is none
	loop   sync.WaitGroup

	mu      sync.Mutex // guards watched
	watched map[int]*clientContext
}

func (w *clients) watch(cc *clientContext) (fd int, ok bool) {
	sc := rawConn(cc.c.Conn)
	if sc == nil {
		return 0, false
	}
	w.start.Do(func() {
		p, err := newPoller()
		if err != nil {
			return
		}
		w.poller, w.watched = p, make(map[int]*clientContext)
		w.loop.Go(w.run)
	})
	if w.poller == nil {
		return 0, false
	}
	control(sc, func(raw uintptr) {
		fd = int(raw)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.watched[fd] = cc
		if ok = w.poller.add(fd, cc.events()|pollOnce) == nil; !ok {
			delete(w.watched, fd)
		}
	})
	return fd, ok
}

func (w *clients) unwatch(cc *clientContext) {
	control(rawConn(cc.c.Conn), func(raw uintptr) { w.poller.remove(int(raw)) })
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watched[cc.fd] == cc { // a connection that was cut has left its descriptor to another
		delete(w.watched, cc.fd)
	}
}

// run ends the contexts of clients that have gone.
func (w *clients) run() {
	for {
		fds, err := w.poller.wait()
		if err != nil {
			return
		}
		for _, f := range fds {
			w.mu.Lock()
			cc := w.watched[f.fd]
			w.mu.Unlock()
			if cc != nil {
				w.lookAfter(cc, f)
			}
		}
	}
}

// lookAfter ends a context if its client has gone: if the socket has failed, or has
// come to its end with nothing before that.
func (w *clients) lookAfter(cc *clientContext, f ready) {
	cc.mu.Lock() // the descriptor is the connection's until the handler's end
	defer cc.mu.Unlock()
	if cc.state != watched {
		return
	}
	if f.failed {
		cc.cancel(ErrClientGone)
		return
	}
	control(rawConn(cc.c.Conn), func(fd uintptr) {
		switch in, input := look(fd), cc.c.input; {
		case in == inputEnded, input != nil && in == inputSome && input.between() && closeNotified(fd):
			cc.cancel(ErrClientGone)
		case in == inputNone: // the handler has read what was there
			_ = w.poller.modify(int(fd), cc.events()|pollOnce)
		case f.ended: // but it hides behind what the handler may yet read
			time.AfterFunc(hiddenInterval, func() { w.lookAfter(cc, f) })
		default:
			_ = w.poller.modify(int(fd), pollEnd|pollOnce)
		}
	})
}

// hiddenInterval is after what time a client is looked at again that has sent its end,
// and before that something that has not been read.
const hiddenInterval = 10 * time.Millisecond

// events are what a client is watched for. Over TLS its end may be announced without a
// FIN.
func (cc *clientContext) events() int {
	if _, ok := below(cc.c.Conn).(*tls.Conn); ok {
		return pollEnd | pollInput
	}
	return pollEnd
}

func (w *clients) stop() {
	w.start.Do(func() {}) // nobody starts any more
	if w.poller != nil {
		w.poller.close()
		w.loop.Wait()
	}
}
