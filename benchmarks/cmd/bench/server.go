package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/lastcall-go/lastcall/lifecycle/rehearsal"
)

// server is a contender's process.
type server struct {
	contender
	addr string
	tls  bool
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{} // closed when the process has ended
	end  time.Time     // of the process, once done
	err  error         // of its Wait, once done
}

// start starts a contender and waits until it accepts connections. What it writes
// goes to a file of its name beside the results.
func (p *plan) start(c contender, withTLS bool) (*server, error) {
	addr, err := rehearsal.FreeAddr()
	if err != nil {
		return nil, err
	}
	args := append([]string{"-addr", addr, "-file", p.file}, c.args...)
	if withTLS {
		args = append(args, "-cert", p.cert, "-key", p.key)
	}
	s := &server{contender: c, addr: addr, tls: withTLS, done: make(chan struct{})}
	s.log, err = os.OpenFile(filepath.Join(p.out, c.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644) //nolint:gosec // a log
	if err != nil {
		return nil, err
	}
	s.cmd = exec.Command(p.binary(c), args...) //nolint:gosec // our own
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.Env = os.Environ()
	if p.pin {
		s.cmd.Env = append(s.cmd.Env, "GOMAXPROCS="+strconv.Itoa(len(p.cpus.Server)))
	}
	if err := startOn(s.cmd, p.cpus.Server); err != nil {
		return nil, errors.Join(err, s.log.Close())
	}
	go func() {
		defer close(s.done)
		s.err = s.cmd.Wait()
		s.end = time.Now()
		_ = s.log.Close()
	}()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return s, conn.Close()
		}
		select {
		case <-s.done:
			return nil, fmt.Errorf("%s did not start, see its log in %s: %w", c.name, p.out, s.err)
		default:
		}
		if time.Now().After(deadline) {
			s.kill()
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
	}
}

func (s *server) pid() int { return s.cmd.Process.Pid }

func (s *server) terminate() error { return s.cmd.Process.Signal(syscall.SIGTERM) }

// kill ends the process, for which it waits.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
}

func (s *server) url(path string) string {
	if s.tls {
		return "https://" + s.addr + path
	}
	return "http://" + s.addr + path
}
