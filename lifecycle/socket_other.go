//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package lifecycle

import (
	"errors"
	"net"
)

// canShut says that idle connections are ended by a read deadline here.
const canShut = false

func endIdle(net.Conn, func() bool) bool { return false }

// acceptQueued cannot be had here: the system refuses what waits in the queue.
func acceptQueued(net.Listener) (net.Conn, error) { return nil, errors.ErrUnsupported }
