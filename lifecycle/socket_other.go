//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package lifecycle

import "net"

// canShut says that idle connections are ended by a read deadline here.
const canShut = false

func endIdle(net.Conn, func() bool) bool { return false }

// acceptable cannot be asked here: the system refuses what waits in the queue.
func acceptable(net.Listener) bool { return false }
