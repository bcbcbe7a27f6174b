//go:build unix

package toolkit

import (
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// startBuilder runs b by its own Run, and returns once it serves.
func startBuilder(t *testing.T, b *Builder) (c *client, over chan error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over = make(chan error, 1)
	go func() { over <- b.Listener(ln).Run() }()
	c = dialAddr(t, ln.Addr())
	c.get("/") // served: the signals are heeded by now
	return c, over
}

func signalSelf(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
}

func TestRunDrainsOnASignal(t *testing.T) {
	for name, tt := range map[string]struct {
		b   *Builder
		sig syscall.Signal
	}{
		"default": {quiet(), syscall.SIGTERM},
		"chosen":  {quiet().Signals(syscall.SIGUSR1), syscall.SIGUSR1},
	} {
		t.Run(name, func(t *testing.T) {
			var log logs
			c, over := startBuilder(t, tt.b.Logger(log.logger()).Get("/", hello))
			signalSelf(t, tt.sig)
			c.wantEOF()
			select {
			case err := <-over:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(patience):
				t.Fatal("Run has not returned")
			}
			if line := log.line(t, "drained"); line["cause"] != "signal: "+tt.sig.String() || line["exit_code"] != 0.0 {
				t.Errorf("logged %v", line)
			}
		})
	}
}
