//go:build !linux

package lifecycle

import "net"

// refuseNew needs Linux.
func refuseNew(net.Listener, bool) {}

func allowNew(net.Listener) {}

// taken needs Linux.
func taken(net.Conn) (n uint64, known bool) { return 0, false }

// handshakes needs Linux.
func handshakes(net.Listener) (n int, known bool) { return 0, false }
