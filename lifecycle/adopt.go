package lifecycle

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// Adopted is a connection that something else than fasthttp serves, such as an
// http.Server. It stays what it was in all else: its entry in the table, its limits
// and its drain are those of any connection. Who serves it says what becomes of it,
// by these methods, at the moments at which fasthttp does. They are for the goroutine
// that serves the connection; Close is for any.
//
//	Active -> Enter -> (handler) -> Leave -> Idle -> Active -> ...
//
// It ends with Close, or goes back to fasthttp with GiveBack. One of several requests at
// a time begins with Multiplex. What waits for a request has to be in a Read: the drain
// ends it by a FIN to its client and an io.EOF to its reader; where there is no socket,
// and on Windows, by a read deadline.
type Adopted struct {
	s *Server
	c *conn
}

// adopt takes an entry of the table for one that fasthttp does not serve.
func (s *Server) adopt(c *conn) *Adopted {
	a := &Adopted{s, c}
	c.adopted.Store(a)
	return a
}

// HandOver takes the connection of a request, which is being handled and is not
// answered, out of fasthttp's hands: to is called once fasthttp has let go of it, in
// a goroutine of its own that ends with it, and had better not block. unread is what
// fasthttp had read behind the request's header and used for nothing. The request is
// counted, and its connection active: neither is for to to report. Answers to
// requests before it have been sent.
//
// A body is not among unread, unless HTTP.HeaderReceived hid it: fasthttp has read it.
//
// HandOver reports false, and does nothing, for a connection that is not from a
// listener of this Server.
//
// For HTTP.ConnState the connection is hijacked, before to is called.
func (s *Server) HandOver(ctx *fasthttp.RequestCtx, to func(a *Adopted, unread []byte)) bool {
	c := s.conns.get(ctx.Conn())
	if c == nil {
		return false
	}
	a := s.adopt(c)
	if s.connState != nil {
		c.letGo = make(chan struct{})
	}
	ctx.HijackSetNoResponse(true)
	ctx.Hijack(func(hc net.Conn) {
		if c.letGo != nil {
			<-c.letGo
			c.letGo = nil
		}
		to(a, readBuffered(hc))
		// When a hijack handler returns, fasthttp closes the connection, unless
		// KeepHijackedConns says otherwise for all of them. It does nothing else that
		// is missed: its context goes to the garbage collector.
		runtime.Goexit()
	})
	return true
}

// readBuffered returns what has been read from a connection's socket, and reads
// nothing more: what would have to is told that its time is over.
func readBuffered(nc net.Conn) (all []byte) {
	_ = nc.SetReadDeadline(past)
	defer func() { _ = nc.SetReadDeadline(time.Time{}) }()
	var buf [4 << 10]byte
	for {
		n, err := nc.Read(buf[:])
		all = append(all, buf[:n]...)
		if n == 0 || err != nil {
			return all
		}
	}
}

// Conn is the connection, as it was accepted. To read and to write is
// for who serves it; to close it is not: see Close.
func (a *Adopted) Conn() net.Conn { return below(a.c.Conn) } // what was to be replayed has been read

// RemoteAddr is the client's address: that of the connection's preface, or its own.
func (a *Adopted) RemoteAddr() net.Addr { return a.c.remoteAddr() }

// Listener is what the connection was accepted from: one of Server.Listeners, one given
// to ServeListener, or one opened for Addrs.
func (a *Adopted) Listener() net.Listener { return a.c.from.Listener }

// Adopt takes over a connection that fasthttp has given to a handler of its NextProto,
// which must not return before the connection has been closed. It returns nil for one
// that is not from a listener of this Server, or is one too many: then fasthttp closes
// it when the handler returns.
func (s *Server) Adopt(nc net.Conn) *Adopted {
	c := s.conns.get(nc)
	switch {
	case c == nil:
		return nil
	case c.refused != admitted:
		c.lingerAfter() // it is told so while it sends
		return nil
	}
	return s.adopt(c)
}

// Multiplex is for a connection that carries several requests at a time, as HTTP/2
// does, before the first of them. It is idle then, and is not parked any more. Each
// request is told of by Active, also while others are under way. Enter may be called
// again, to tell of another one that runs; Leave and Idle are for when the last of them
// is over. All may be called from any goroutine, by one at a time.
//
// Where another connection would get a FIN, end is called, once, in a goroutine of its
// own: it has to tell the client, and to see to it that Close is called. From then on
// Active reports false. Before that the drain asks ready, again and again, until it
// reports true, as when the client has confirmed that it will open no more: it must not
// block.
//
// The request that the connection was handed over with, if any, is not counted: it was
// HTTP/2's preface. Multiplex reports false, and does nothing, if there was another
// before, or if the client has been sent a FIN already: then the connection is to be
// closed.
func (a *Adopted) Multiplex(ready func() bool, end func()) bool {
	c := a.c
	c.forgetRoute()
	for {
		word := c.word.Load()
		st, requests := stateOf(word), word/oneRequest
		if st == StateActive && requests > 0 {
			requests--
		}
		if requests > 0 || st != StateNew && st != StateActive && st != stateWaking {
			return false
		}
		c.farewell.Store(&multiplex{ready: ready, end: end})
		if c.word.CompareAndSwap(word, uint64(StateIdle)) {
			c.since.Store(int64(a.s.now()))
			if st == stateWaking {
				a.s.restoreDeadline(c)
			}
			a.s.noticeIdle()
			return true
		}
		c.farewell.Store(nil)
	}
}

// multiplex is what ends a connection that carries several requests at a time.
type multiplex struct {
	ready func() bool
	end   func()
	asked atomic.Int64 // when it was to be ended first; zero before
}

// multiplexed reports whether the connection carries several requests at a time.
func (c *conn) multiplexed() bool { return c.farewell.Load() != nil }

// endMultiplexed is end for a connection that carries several requests at a time. Its
// input may be one more of them. But where there is input all the time, and none of it is
// a request, as in a flood of SETTINGS, that holds the end up for leaveTime alone.
func (s *Server) endMultiplexed(c *conn) (done bool) {
	word, f := c.word.Load(), c.farewell.Load()
	if st := stateOf(word); st != StateIdle {
		return st == stateEnding
	}
	now := s.now()
	f.asked.CompareAndSwap(0, int64(now))
	over := now > time.Duration(f.asked.Load())+leaveTime
	if !over && hasInput(c.Conn) || !c.word.CompareAndSwap(word, word&^stateMask|uint64(stateEnding)) {
		return false
	}
	go f.end()
	return true
}

// SetClientContext has ClientContext return what client returns, for a request that
// has a context of its own: one of several on its connection. It is called at most
// once.
func (a *Adopted) SetClientContext(ctx *fasthttp.RequestCtx, client func() context.Context) {
	ctx.SetUserValue(clientKey{}, sync.OnceValue(client))
}

type clientKey struct{}

// Active is for the first byte of a request. buffered says that it was read together
// with what was before it: the client pipelines. Active reports false for a request
// that cannot be answered any more: its client has been sent a FIN.
func (a *Adopted) Active(buffered bool) bool {
	if a.c.multiplexed() && stateOf(a.c.word.Load()) == StateActive {
		a.c.word.Add(oneRequest)
		return true
	}
	if from := a.s.activate(a.c, a.s.now()); from == stateEnding || from == StateClosed {
		return false
	}
	if buffered {
		a.c.word.Or(flagPipelines)
	}
	a.c.forgetRoute()
	return true
}

// Enter is for the begin of a request's handler. It reports false for a request that
// must not be handled, as it cannot be answered: then the connection is to be closed.
func (a *Adopted) Enter(method, path string) bool {
	c := a.c
	c.forgetRoute() // that fasthttp noted before it was handed over
	word := c.word.Load()
	if a.s.cutting.Load() || stateOf(word) != StateActive || word&flagSlow != 0 {
		return false
	}
	noteRoute(c, method, path)
	return c.word.CompareAndSwap(word, word|flagRoute|flagInside) // see conn.enter
}

// forgetRoute is for when one request follows another with nothing between them.
func (c *conn) forgetRoute() {
	for {
		word := c.word.Load()
		switch {
		case word&flagRoute == 0:
			return
		case word&flagRead != 0:
			runtime.Gosched()
		case c.word.CompareAndSwap(word, word&^(flagRoute|flagInside)):
			return
		}
	}
}

// AwaitBody is for the begin and for the end of a read of a request's body, so that
// MinReadRate holds for it: the read of a client that is too slow is ended by a deadline.
func (a *Adopted) AwaitBody(begins bool) {
	switch {
	case a.s.MinReadRate.Per == 0 && a.s.MinWriteRate.Per == 0: // nobody asks
	case begins:
		a.c.word.Or(flagAwaits)
	default:
		a.c.word.And(^uint64(flagAwaits))
	}
}

// Leave is for the end of a request's handler.
func (a *Adopted) Leave() {
	a.c.leave()
	a.c.endClientContext()
}

// Last reports whether the response that is about to be sent is to be the
// connection's last, and to say so: the drain has begun, MaxConnAge or
// HTTP.MaxRequestsPerConn is reached, or HTTP.DisableKeepalive is set. It is asked once
// a response: those of a drain are counted.
func (a *Adopted) Last() bool {
	if a.s.phases.load() >= PhaseDraining {
		a.s.told.Add(1)
		return true
	}
	return a.mayGo()
}

// mayGo reports whether the connection is to end, drain or not.
func (a *Adopted) mayGo() bool { return a.s.HTTP.DisableKeepalive || a.s.wornOut(a.c) }

// Idle is for when a response has been sent and the connection waits for another
// request. One of several requests at a time that is to have no more of them ends soon
// after, as by the drain: its client may keep to what it was told, and not close it.
func (a *Adopted) Idle() {
	a.s.rest(a.c, a.s.now())
	if a.c.multiplexed() && a.mayGo() {
		time.AfterFunc(leaveTime, a.endIdle)
	}
}

// leaveTime is what a client that was asked to leave has for that itself, as in net/http.
const leaveTime = time.Second

// endIdle ends a connection of several requests at a time, unless one has come.
func (a *Adopted) endIdle() {
	f := a.c.farewell.Load()
	if stateOf(a.c.word.Load()) == StateIdle && (!f.ready() || !a.s.end(a.c)) {
		time.AfterFunc(leaveTime, a.endIdle) // it is not ready, or there is something to read
	}
}

// Hijacked is for when a handler has taken the connection over. It is awaited until
// Close.
func (a *Adopted) Hijacked() { a.s.hijack(a.c) }

// Close closes the connection. A client that is still sending gets to read its last
// response all the same: see the package documentation. After the drain's deadline, and
// before Leave, it is cut: the response is not whole. It may be called again.
func (a *Adopted) Close() (err error) {
	c := a.c
	switch word := c.word.Load(); {
	case stateOf(word) == StateActive && word&flagInside != 0 && a.s.ctx.Err() != nil:
		c.cut()
	case c.multiplexed(), stateOf(word) == StateActive && (word&flagPipelines != 0 || hasInput(c.Conn)):
		c.lingerAfter()
		fallthrough
	default:
		err = c.Close()
	}
	a.s.removeConn(c)
	return err
}

// GiveBack has fasthttp serve the connection again. It is the last call. After Leave,
// it is between two requests, and unread is what was read of the next ones. Before
// Leave it is for a request that fasthttp is to handle, and that unread begins with.
// The connection's fasthttp.RequestCtx counts ConnID and ConnRequestNum anew, and for
// HTTP.ConnState it is new.
func (a *Adopted) GiveBack(unread []byte) {
	s, c := a.s, a.c
	if word := c.word.Load(); word&flagInside != 0 {
		c.leave()
		c.word.Add(^uint64(oneRequest - 1)) // fasthttp will count it
	}
	c.forgetRoute()
	c.adopted.Store(nil)
	if _, ok := below(c.Conn).(*tls.Conn); ok && len(unread) == 0 {
		unread = readBuffered(c.Conn) // of which its socket knows nothing
	}
	if len(unread) > 0 {
		c = s.replay(c, unread)
	} else {
		c.rest(s.now())
		s.noticeIdle()
	}
	s.tellState(c.Conn, fasthttp.StateNew)
	go func() {
		// fasthttp would wait as on a new connection: for its read timeout, not for the
		// idle one.
		if len(unread) == 0 && rawConn(c.Conn) != nil && canShut &&
			s.awaitInput(c) != nil {
			_ = c.Close()
			s.setConnState(c.Conn, fasthttp.StateClosed)
			return
		}
		s.serveByFasthttp(c.Conn)
	}()
}

// awaitInput waits until there is something for fasthttp to read, on a connection that has
// a socket. It fails when the idle timeout is over, or the connection is.
func (s *Server) awaitInput(c *conn) error {
	rc, err := rawConn(c.Conn).SyscallConn()
	if err != nil {
		return err
	}
	if end := s.idleTimeoutOver(s.now()); end != maxTime {
		_ = c.SetReadDeadline(s.epoch.Add(end))
	}
	err = rc.Read(func(fd uintptr) bool { return look(fd) != inputNone })
	if isTimeout(err) && stateOf(c.word.Load()) == StateIdle && !s.end(c) {
		err = nil // something has come after all; one that is to be parked is closed
	}
	_ = c.SetReadDeadline(time.Time{})
	return err
}

// replay puts an entry into the table whose connection begins with what has been read
// of it, in place of c.
func (s *Server) replay(c *conn, unread []byte) *conn {
	switch r := c.Conn.(type) {
	case *replayed: // once more: its last reader has left nothing
		r.unread = unread
		return c
	case *replayedTLS:
		r.unread = unread
		return c
	}
	r := replayed{c.Conn, unread}
	again := &conn{
		Conn: &r, id: c.id, from: c.from, accepted: c.accepted, ip: c.ip, input: c.input,
		route: c.route, routeLen: c.routeLen,
	}
	if _, ok := c.Conn.(*tls.Conn); ok {
		again.Conn = &replayedTLS{r}
	}
	again.seen.Store(c.seen.Load())
	again.remote.Store(c.remote.Load())
	again.since.Store(c.since.Load())
	again.word.Store(c.word.Load() &^ flagRead)
	s.conns.put(again)
	s.conns.take(c)
	c.word.Store(uint64(StateClosed)) // for who still holds it
	if s.cutting.Load() {
		cut(again.Conn)
	}
	return again
}

// replayed is a connection that has been given back to fasthttp with something that
// was read of it already. It is the one exception from the rule that fasthttp serves
// no wrappers: it hides writev, and keeps sendfile.
type replayed struct {
	net.Conn
	unread []byte
}

func (r *replayed) Read(p []byte) (int, error) {
	if len(r.unread) == 0 {
		return r.Conn.Read(p)
	}
	n := copy(p, r.unread)
	if r.unread = r.unread[n:]; len(r.unread) == 0 {
		r.unread = nil // it may be large
	}
	return n, nil
}

// ReadFrom is there for sendfile.
func (r *replayed) ReadFrom(src io.Reader) (int64, error) {
	if to, ok := r.Conn.(io.ReaderFrom); ok {
		return to.ReadFrom(src)
	}
	return io.Copy(struct{ io.Writer }{r.Conn}, src)
}

// replayedTLS has what fasthttp knows a TLS connection by.
type replayedTLS struct{ replayed }

func (r *replayedTLS) Handshake() error { return r.Conn.(*tls.Conn).Handshake() }

func (r *replayedTLS) ConnectionState() tls.ConnectionState {
	return r.Conn.(*tls.Conn).ConnectionState()
}

// below is a connection without what replay may have put around it.
func below(nc net.Conn) net.Conn {
	switch r := nc.(type) {
	case *replayed:
		return r.Conn
	case *replayedTLS:
		return r.Conn
	}
	return nc
}
