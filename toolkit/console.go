package toolkit

import (
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
)

// Console has the log written for people, from level info on, in place of Logger: a line
// each with the time of day. On a terminal it is in colour, unless NO_COLOR is set, and
// while the server drains a last line shows how far that is: the time left, how many
// connections have been told, are busy, idle, hijacked and parked, and what has been awaited
// for longest, as far as that fits. What else writes to a terminal meanwhile should do so by
// Server.Logger.
func (b *Builder) Console(f *os.File) *Builder {
	// Windows' own console would show escape sequences as they are.
	terminal := isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb" && runtime.GOOS != "windows"
	b.console = &console{out: f, terminal: terminal, columns: func() int { return columns(f) }}
	b.logger = b.console.logger()
	return b
}

// redrawInterval is how often a terminal shows a drain's progress, where that takes no more than
// one in redrawShare of a CPU.
const (
	redrawInterval = time.Second / 10
	redrawShare    = 20
)

// console is a log for people, with a last line on a terminal that is drawn anew.
type console struct {
	terminal bool
	columns  func() int // that the terminal has; 0 where that is not known

	mu     sync.Mutex // guards what follows
	out    io.Writer
	status string // the last line; "" for none
	over   bool   // there is none any more
}

func (c *console) logger() zerolog.Logger {
	w := zerolog.NewConsoleWriter(func(w *zerolog.ConsoleWriter) {
		w.Out, w.NoColor = c, !c.terminal || os.Getenv("NO_COLOR") != ""
		w.FieldsOrder = []string{"method", "path", "status", "duration", "bytes", "remote"} // of a request; others follow
		// That of a logger is in zerolog.TimeFieldFormat, by default of whole seconds.
		w.FormatTimestamp = func(any) string {
			now := time.Now().Format("15:04:05.000")
			if w.NoColor {
				return now
			}
			return "\x1b[90m" + now + "\x1b[0m"
		}
	})
	return zerolog.New(w).Level(zerolog.InfoLevel)
}

// Terminals do as ECMA-48 says, and what they have of DEC's: beyond their last column
// they show nothing while wrapping is off.
const (
	eraseLine = "\r\x1b[K"
	wrapOff   = "\x1b[?7l"
	wrapOn    = "\x1b[?7h"
)

// Write writes a line of the log.
func (c *console) Write(line []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := string(line)
	if c.status != "" {
		text = eraseLine + text + c.statusLine()
	}
	_, err := io.WriteString(c.out, text)
	return len(line), err
}

func (c *console) statusLine() string { return wrapOff + c.status + wrapOn }

// isTerminal reports whether a last line can be shown. There may be no console.
func (c *console) isTerminal() bool { return c != nil && c.terminal }

// fit is a line as far as the terminal has columns for it.
func (c *console) fit(line string) string {
	if c.columns == nil {
		return line
	}
	runes := []rune(line)
	if n := c.columns(); n > 0 && len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return line
}

// show draws the last line.
func (c *console) show(status string) {
	status = c.fit(status)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || status == c.status {
		return
	}
	c.status = status
	_, _ = io.WriteString(c.out, eraseLine+c.statusLine())
}

// finish takes the last line away, for good, and writes what is to stand there.
func (c *console) finish(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status != "" {
		text = eraseLine + text
	}
	c.status, c.over = "", true
	_, _ = io.WriteString(c.out, text)
}
