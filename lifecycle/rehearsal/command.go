package rehearsal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Cmd is a server that is a program of its own, ended by a signal.
type Cmd struct {
	// Signal ends the program. The default is SIGTERM.
	Signal os.Signal
	// Env is added to the program's environment.
	Env []string
	// Within is how long the program may take to accept connections. The default
	// is 10 s.
	Within time.Duration

	name string
	args []string
}

// Command is a program, with its arguments.
func Command(name string, args ...string) *Cmd { return &Cmd{name: name, args: args} }

// At returns a Plan.Start that runs the program, which is to listen on the TCP
// address. It has started when it accepts a connection. An exit code other than 0
// is an error of Wait, and so of the Result.
func (c *Cmd) At(addr string) func() (*Target, error) {
	return func() (*Target, error) { return c.start(addr) }
}

func (c *Cmd) start(addr string) (*Target, error) {
	cmd := exec.Command(c.name, c.args...) //nolint:gosec // the caller's own program
	cmd.Env = append(os.Environ(), c.Env...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exited := make(chan struct{})
	var exitErr error
	go func() {
		defer close(exited)
		exitErr = cmd.Wait()
	}()
	sig := c.Signal
	if sig == nil {
		sig = syscall.SIGTERM
	}
	end := time.Now().Add(orDefault(c.Within, 10*time.Second))
	for {
		nc, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			_ = nc.Close()
			break
		}
		select {
		case <-exited:
			return nil, fmt.Errorf("%s: exited before it listened on %s: %w", c.name, addr, errors.Join(exitErr, err))
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(end) {
			_ = cmd.Process.Kill()
			<-exited
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return &Target{
		Addr:     addr,
		Shutdown: func() error { return cmd.Process.Signal(sig) },
		Wait: func() error {
			<-exited
			return exitErr
		},
	}, nil
}

// FreeAddr returns a loopback address with a port that was free a moment ago. On
// Linux, which has all of 127.0.0.0/8, the address is one that is nobody else's: a
// port of 127.0.0.1 may be given to some connection meanwhile.
func FreeAddr() (string, error) {
	ip := net.IPv4(127, 0, 0, 1)
	if runtime.GOOS == "linux" {
		ip = net.IPv4(127, byte(1+rand.IntN(254)), byte(rand.IntN(256)), byte(1+rand.IntN(254))) //nolint:gosec // no secret, and a byte
	}
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: ip})
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}
