//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package lifecycle

import (
	"errors"
	"net"
	"os"
)

// canShut says that idle connections are ended by a read deadline here.
const canShut = false

func endIdle(net.Conn, func() bool) bool { return false }

// hasInput cannot be asked here.
func hasInput(net.Conn) bool { return false }

// look cannot be had here.
func look(uintptr) input { return inputNone }

// peek cannot be had here.
func peek(uintptr, []byte) (int, input) { return 0, inputNone }

// connOf cannot be had here.
func connOf(int) (net.Conn, error) { return nil, errors.ErrUnsupported }

// duplicate cannot be had here: connections do not linger, nor are they parked.
func duplicate(net.Conn) (int, error) { return 0, errors.ErrUnsupported }

func closeFD(int) {}

func shutWrite(*os.File) {}

func resets(*os.File) bool { return false }

// turnOneAway cannot be had here.
func turnOneAway(net.Listener, []byte) bool { return false }

// acceptQueued cannot be had here: the system refuses what waits in the queue.
func acceptQueued(net.Listener) (net.Conn, error) { return nil, errors.ErrUnsupported }
