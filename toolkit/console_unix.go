//go:build unix

package toolkit

import (
	"os"

	"golang.org/x/sys/unix"
)

// columns is how wide a terminal is, 0 if that is not known.
func columns(terminal *os.File) int {
	size, err := unix.IoctlGetWinsize(int(terminal.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}
