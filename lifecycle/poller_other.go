//go:build !linux

package lifecycle

import "errors"

// poller needs Linux.
type poller struct{}

func newPoller() (*poller, error) {
	return nil, errors.New("lifecycle: connections are not parked on this platform")
}

const pollInput, pollEnd, pollOnce = 0, 0, 0

type ready struct {
	fd            int
	ended, failed bool
}

func (*poller) add(int, int) error     { return nil }
func (*poller) modify(int, int) error  { return nil }
func (*poller) remove(int)             {}
func (*poller) wait() ([]ready, error) { return nil, errors.ErrUnsupported }
func (*poller) close()                 {}

func localOf(int) string { return "" }

func remoteOf(int) string { return "" }

func closeNotified(uintptr) bool { return false }
