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
// Clients retry nothing. A request is lost if its first byte was written on an
// established connection before the connection's end had been seen, and no complete
// response came. One that is refused before it was sent is not: its client knows
// that it may go elsewhere.
package rehearsal
