// Package rehearsal rehearses a server's shutdown and counts the requests that it
// loses. It drives clients of several kinds against a server, starts the shutdown
// in the middle of it, over and over, and says of each request that was lost what
// was sent, when, on which kind of connection, and how it ended.
//
// Any server can be rehearsed that listens on TCP and can be told to shut down: one
// in the process of the test, or a command that obeys a signal.
//
//	func TestDeploysLoseNothing(t *testing.T) {
//		rehearsal.Run(t, rehearsal.Plan{
//			Start:   rehearsal.Command("./myserver", "-addr", "127.0.0.1:8080").At("127.0.0.1:8080"),
//			Clients: []rehearsal.Clients{{Kind: rehearsal.KeepAlive, Count: 64, Pause: 5 * time.Millisecond}},
//			Rounds:  20,
//		})
//	}
//
// # What is lost
//
// Clients retry nothing. A request is lost if its first byte was written on an
// established connection before the connection's end could be seen, and no complete
// response with the status 200 came within the timeout. One that is refused before
// it was sent is not: its client knows that it may go elsewhere. So does one that
// has pipelined requests behind the one whose response says Connection: close.
//
// # The kinds of clients
//
// These call the server over and over. A request that is lost by the rule above is
// a loss, and nothing else is:
//
//   - KeepAlive sends one request after the other on one connection, until it is
//     told to close, or sees the connection's end before it sends the next.
//   - Segmented does the same with each request in two segments.
//   - Pipelined does the same with several requests at a time.
//   - Fresh makes a connection for each request. One that is not accepted is no
//     loss; one that is, and ends without a response, is.
//
// These hold something open. The shutdown begins when each of them is in position;
// if one does not get there, the plan could not be carried out, which is an error:
//
//   - Idle has one request answered, which puts it in position, and then sends
//     nothing. The connection has to end with a FIN. Lost: a reset, bytes that
//     nobody asked for, or no end within the timeout. One such client costs a
//     goroutine and a socket; there may be 10,000 in a process.
//
//   - Silent connects, and sends nothing at all. The connection has to end, be it
//     by a reset. Lost: any byte of an answer, or no end within the timeout.
//
//   - Half sends the first half of a request, its header and body taken together,
//     and no more. Nothing of it is lost, whatever comes; it is there to hold up
//     the shutdown, which is seen in Result.Drains and Result.Errors.
//
//   - Streaming is as KeepAlive, with GET, for responses that take long. It is in
//     position when the first one has begun. Lost: a response that ends before its
//     last chunk or short of its Content-Length, one in which nothing comes for the
//     timeout, and what is lost by the rule above. A body that only the
//     connection's FIN delimits cannot be judged, and counts as served.
//
//   - WebSocket is in position when it is upgraded. It sends a message, waits for
//     the echo, pauses, and so on, until a close frame comes, which it answers.
//     From then on nothing is lost, a message without an echo included: its client
//     knows. Lost: an end without a close frame, be it in a pause, an echo that is
//     not the message's, or none within the timeout.
//
//   - HTTP2 calls the server with several requests at a time, over HTTP/2 on one
//     connection: by ALPN where Plan.TLS is set, else with prior knowledge. It is
//     net/http's client, and in position when its first request has been answered. A
//     request is lost by the rule above, and also if the client has sent it a second
//     time, as it may when a GOAWAY says that it has not been handled. When it is asked
//     to leave, it connects again, for as long as it is accepted.
//
// On Unix a client looks for the connection's end before it sends. Elsewhere it
// cannot, and a request that crosses the end counts as lost. A client may look, get no
// CPU, as under a quota of CPU time, and send when the end has long come. On Linux the
// kernel is asked whether that was so: then nothing is lost. It says so by its clock, of
// some milliseconds; elsewhere, and where it is not certain, the request counts as lost.
package rehearsal
