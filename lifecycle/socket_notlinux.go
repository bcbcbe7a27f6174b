//go:build !linux

package lifecycle

import "net"

// refuseNew needs Linux.
func refuseNew(net.Listener, bool) {}

func allowNew(net.Listener) {}

// handshakes needs Linux.
func handshakes(net.Listener) (n int, known bool) { return 0, false }
