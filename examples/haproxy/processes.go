package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// instances are the servers, and what a service manager does for them: whichever ends
// is started anew.
type instances struct {
	dir  string
	stop context.CancelFunc
	done sync.WaitGroup
}

// supervise starts the instances, and fails by cancel if one of them cannot be, or ends
// in any other way than it should.
func supervise(ctx context.Context, dir string, cancel context.CancelCauseFunc) (*instances, error) {
	in := &instances{dir: dir}
	ctx, in.stop = context.WithCancel(ctx)
	for _, name := range []string{"a", "b"} {
		in.done.Go(func() {
			for ctx.Err() == nil {
				if err := in.runOne(ctx, name); err != nil {
					cancel(fmt.Errorf("instance %s: %w", name, err))
					return
				}
			}
		})
		if err := await(ctx, filepath.Join(dir, name+".sock")); err != nil {
			in.end()
			return nil, err
		}
	}
	return in, nil
}

// runOne runs an instance until it ends, for which ctx's end is a reason.
func (in *instances) runOne(ctx context.Context, name string) error {
	cmd := exec.CommandContext(ctx, "./server", "-addr", "", "-unix", name+".sock", "-shutdown-delay", "500ms", "-log", "json") //nolint:gosec // a or b
	cmd.Dir = in.dir
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		return err
	}
	pid := []byte(strconv.Itoa(cmd.Process.Pid))
	if err := os.WriteFile(filepath.Join(in.dir, name+".pid"), pid, 0o600); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w\n%s", err, log.Bytes())
	}
	return nil
}

func (in *instances) end() {
	in.stop()
	in.done.Wait()
}

// process is a proxy.
type process struct {
	cmd  *exec.Cmd
	log  *bytes.Buffer // to be read after end
	done chan struct{} // closed when it has ended
}

func startProxy(ctx context.Context, dir string, p proxy, cancel context.CancelCauseFunc) (*process, error) {
	cmd := exec.Command(p.command[0], p.command[1:]...) //nolint:gosec // one of proxies
	cmd.Dir = dir
	log := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := cmd.Wait()
		cancel(fmt.Errorf("%s has ended: %w: %s", cmd.Path, err, log.Bytes()))
	}()
	front := &process{cmd, log, done}
	if err := await(ctx, filepath.Join(dir, "in.sock")); err != nil {
		front.end()
		return nil, err
	}
	return front, nil
}

// end ends it, and returns what it had to say.
func (p *process) end() (log string) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.done
	return p.log.String()
}

// await waits until somebody listens on a Unix socket.
func await(ctx context.Context, socket string) error {
	for {
		nc, err := net.Dial("unix", socket)
		if err == nil {
			return nc.Close()
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}
