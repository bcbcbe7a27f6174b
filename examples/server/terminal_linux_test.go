package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal opens a pseudo-terminal.
func openTerminal(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no pseudo-terminals here: ", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return master, terminal
}

// screen is what a terminal has been sent.
type screen struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// causeLine begins where a line does, of which what stood there has been erased.
var causeLine = regexp.MustCompile(`(\r\n|\r\x1b\[K)cause `)

// Who starts the server in a terminal and presses Ctrl-C sees what it still awaits, in a
// last line that is drawn anew, and in the end what became of it.
func TestTerminal(t *testing.T) {
	t.Parallel()
	master, terminal := openTerminal(t)
	path := socketPath(t)
	p := &process{t: t, network: "unix", addr: path, cmd: command([]string{"TERM=xterm"}, "-addr", "", "-unix", path)}
	p.cmd.Stderr = terminal
	p.begin()
	_ = terminal.Close()
	var shown screen
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, err := io.Copy(&shown, master)
		if !errors.Is(err, syscall.EIO) { // which is how its other side's end is told
			t.Errorf("the terminal: %v", err)
		}
	}()
	p.awaitReached()
	c := p.dial()
	c.send("GET /slow?ms=1500 HTTP/1.1\r\nHost: t\r\n\r\n")
	p.awaitRoute("GET /slow")
	p.signal(syscall.SIGINT)
	p.until("shown", func() bool {
		return strings.Contains(shown.String(), "s | told 0, 1 busy, 0 idle, 0 hijacked, 0 parked | GET /slow of a connection active for")
	})
	c.response().want(t, 200, "done")
	p.wantExit(0)
	<-read
	text := shown.String()
	const redrawn = "\r\x1b[K\x1b[?7ldraining, "
	if n := strings.Count(text, redrawn); n < 3 {
		t.Errorf("the last line is drawn %d times: %q", n, text)
	}
	// The line may be drawn once more, while the exit hooks run.
	end := text[strings.LastIndex(text, redrawn)+len(redrawn):]
	_, end, wraps := strings.Cut(end, "\x1b[?7h")
	_, report, exiting := strings.Cut(end, "server exiting")
	if !wraps || !exiting || !causeLine.MatchString(report) || !strings.HasSuffix(report, "exit code   0\r\n") {
		t.Errorf("the end: %q", end)
	}
}
