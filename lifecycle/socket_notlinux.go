//go:build !linux

package lifecycle

import "net"

// refuseHandshakes needs Linux's socket filters.
func refuseHandshakes(net.Listener) {}
