// Package lifecycle gives a fasthttp.Server what fasthttp leaves out: a life. It
// listens, becomes ready, serves, drains and exits, and nothing that a client
// sent is lost on the way down.
//
//	srv := &lifecycle.Server{
//		HTTP:    &fasthttp.Server{Handler: handler, IdleTimeout: time.Minute},
//		Signals: lifecycle.DefaultSignals(),
//	}
//	os.Exit(lifecycle.ExitCode(srv.ListenAndServe(":8080")))
//
// # The life of a server
//
//	PhaseStarting  PhaseReady     PhaseDraining                                        PhaseExiting  PhaseStopped
//	start hooks    accept, serve  drain hooks                                          exit hooks    Run returns
//	listen                                                                             (last first)
//	                    signal or |<- ShutdownDelay ->|<- LastCall ->|
//	                    Drain     | still accepting   | no accepting | idle ones closed, busy ones awaited
//	                              |                   |<---------- DrainTimeout ---------->|<- AbortTimeout ->|
//	                                                   every response: Connection: close    contexts end       cut
//
// Phases only move forward; Reached waits for one. Run, Serve and ListenAndServe
// return only when all is over: those of net/http and fasthttp return when a
// shutdown begins, and a main function that then ends kills the requests that it
// was to wait for.
//
// # Observe, don't wrap
//
// fasthttp serves the real *net.TCPConn, *tls.Conn or *net.UnixConn, never a
// wrapper, and finds writev and sendfile by its type. The package observes it
// through fasthttp.Server.ConnState and a handler around the user's, and acts on
// it through its socket. Each connection has one atomic word of state; who wins a
// race for it, a request that arrives or a drain that ends it, is decided by a
// compare-and-swap. A request takes no lock and allocates nothing.
//
// # Parked connections
//
// fasthttp keeps some 16 kB for an idle connection: a goroutine, two buffers and a
// RequestCtx. With Server.ParkAfter all that is given back once a connection has
// been idle for long, and what is left takes less than 600 bytes: the socket is put
// into an epoll instance, and when its next request comes fasthttp is handed a new
// net.Conn of it. A parked connection is idle in all else: its idle timeout, the
// drain's last call, Conns and Report go on. Plain TCP and Unix sockets on Linux.
//
// # Faults and floods
//
// The accept loop goes on whatever accept(2) fails with. While no descriptor is left,
// those who connect are answered by one that is held in reserve; see Server.Starving. A
// connection beyond HTTP.Concurrency or HTTP.MaxConnsPerIP is answered at its first byte,
// in its own goroutine, and closed: over TLS too, and whatever it is still sending.
// Server.Totals counts all of it. A panic of a callback is an event.
//
// # Clients that are slow
//
// Server.MinReadRate and Server.MinWriteRate end a client that sends a request, or
// takes a response, in dribs and drabs: with a 408, and with a reset. The kernel is
// asked, about once a second, how far those have got that are still at it; a request
// pays nothing. TCP on Linux.
//
// # Clients that have gone
//
// Server.ClientContext gives a handler a context that ends when its client has
// disconnected. It is watched by the connection's end alone: no byte is read for it.
//
// # What comes before HTTP
//
// Server.Preface reads what a load balancer puts in front of a connection, as the
// header of the PROXY protocol, and says whose connection it is. It blocks no accept
// loop, and fasthttp serves the connection itself. Until its preface is complete, a
// connection has sent nothing, for the contract's line 7 too.
//
// # Another server beside fasthttp
//
// Server.HandOver takes a connection out of fasthttp's hands, and Server.Divert a new
// one, or with DivertIf those that begin in some way, for another server, such as an
// http.Server, which this package does not know.
// Adopted is how that tells what becomes of it, so that the contract holds for it too,
// and how it goes back. A connection that carries several requests at a time, as HTTP/2
// does, is active while one of them is under way, and ends in its protocol's own way: see
// Adopted.Multiplex. Package toolkit/nethttp is built on it.
//
// # A close that destroys no response
//
// A response that closes its connection under a client which is still sending, a
// 413 to a large upload or the last answer to a pipeline, reaches that client: the
// write side is closed first, then input is read and thrown away until the client
// closes too, for at most 2 s and 64 MB, or half a second without input. A plain
// close would send a reset, which can overtake the response (RFC 9112, section
// 9.6). The drain awaits that. Windows has no such thing.
//
// # The contract of the drain
//
// The drain begins with Drain, ShutdownWithContext, Close, the end of Run's
// context, or the first of Signals.
//
//  1. Phase and Draining change before anything else does: readiness is red.
//  2. For ShutdownDelay connections are accepted and served as before. From the
//     drain's begin on every HTTP/1.x response says Connection: close, and its
//     connection closes after it, flushed.
//  3. Then new connections are kept out, what waits in the accept queue is
//     accepted and served, and the listeners close. On Linux the kernel is first
//     told to drop connection requests, and handshakes under way are awaited,
//     for at most 250 ms (5 ms where sock_diag(7) is not to be had, as with SYN
//     cookies); one that takes longer is reset. On other systems, with a
//     Multipath TCP listener (which net.Listen makes, but Addrs does not), and
//     with a Unix listener of Listeners (which may be another process's too), so
//     is one that comes between the last look at the queue and its end.
//  4. An idle connection may send one more request until LastCall after its last
//     response or the drain's begin, whichever is later. It is served, and told
//     Connection: close. Then, if the kernel holds nothing unread of it, the
//     connection gets a FIN. A request that crosses the FIN on its way is one
//     that its client has to send again; LastCall is there to make that rare.
//     Where more than 1,000 are open, one that has been idle for four times
//     LastCall gets its FIN at once: ten thousand sleepers do not hold the exit.
//  5. A request whose first byte is in the kernel or with fasthttp before that is
//     served in full, in however many segments it comes; so is one that has begun
//     within a TLS record, save the first of its connection, for which LastCall has
//     to do. That holds, for TCP on Linux, of what has been read by a goroutine that
//     gets no CPU to say so, from the drain's begin on; elsewhere, and for Unix
//     sockets, save for the microsecond in which it changes hands. A request that
//     can no longer be answered is not handed to the handler.
//  6. Of pipelined requests, each whose handler has run is answered, and the
//     answers reach the client; after a response with Connection: close no handler
//     runs and no response follows.
//  7. A connection that has sent nothing, or has not finished its TLS handshake,
//     is ended as an idle one is, without a response. One that has sent part of
//     a request has its read timeout for the rest.
//  8. Active connections are awaited. The drain ends by the event of the last
//     connection's end; nothing polls, save for what line 9 says.
//  9. Hijacked connections, streams and work started with Go are awaited too;
//     Draining is how they know. The end of a hijack handler is an event.
//     Connections that outlive it (KeepHijackedConns) are looked at every 10 ms
//     while draining. A handler that fasthttp.TimeoutHandler has given up on is
//     awaited if Track is around it.
//     What only shows the server's life, see Watch, is not awaited: it is told when all
//     else has ended, and has a second for its last word.
//  10. RequestCtx.Done and Context stay open until the deadline, which is
//     DrainTimeout after the end of ShutdownDelay.
//  11. At the deadline they end; handlers have AbortTimeout to answer; then every
//     connection is cut, and nothing more is served. What is cut within a response
//     does not look whole: over plain TCP that is a reset.
//  12. Run then returns an error that is ErrDrainTimeout; Report says what was cut.
//  13. Exit hooks run one after the other, last registered first, each with its
//     timeout, panics caught, errors joined. Hooks that they register and work
//     that they start is run and awaited too.
//  14. The second signal ends the wait at once: contexts end, connections are cut,
//     Run returns ErrForced, joined with ErrDrainTimeout if the deadline had come.
//     The third exits the process with code 2.
//  15. Drain returns at once, so that a handler may call it, and still deliver its
//     response. ShutdownWithContext waits, for each caller as long as its own
//     context; all get the same result.
//  16. Close ends everything now. Drain, ShutdownWithContext and Close may be
//     called any number of times, at any time. A second Run is ErrAlreadyRun.
//  17. What happened is data: Report, Event, ExitCode.
//  18. A server may have any number of listeners, of different kinds; ServeListener
//     adds some while it runs.
//
// On macOS, the BSDs and Linux all of it holds, save for what line 3 says. On
// Windows, and on connections without a socket, as in memory, idle connections are
// ended by a read deadline instead: a request that arrives in the moment between
// that and the close is lost.
package lifecycle
