// Two instances of the bundled server behind a proxy, restarted one after the other
// while clients send requests that nobody sends again: how many fail?
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

//go:embed haproxy.cfg nginx.conf rolling-restart
var files embed.FS

func main() {
	proxyName := flag.String("proxy", "haproxy", "which `proxy` is in front: haproxy or nginx")
	restarts := flag.Int("restarts", 20, "how many rolling restarts, of both instances each")
	rate := flag.Int("rate", 200, "POST requests a second")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *proxyName, *restarts, *rate)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "haproxy:", err)
		os.Exit(1)
	}
}

var errFailed = errors.New("requests have failed")

// run returns errFailed where a request has failed, whoever says so.
func run(ctx context.Context, proxyName string, restarts, rate int) error {
	p, ok := proxies[proxyName]
	switch {
	case !ok:
		return fmt.Errorf("-proxy %q: want haproxy or nginx", proxyName)
	case restarts < 1 || rate < 1:
		return fmt.Errorf("-restarts %d, -rate %d: want at least one", restarts, rate)
	}
	dir, err := os.MkdirTemp("", "lastcall-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := prepare(dir); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	instances, err := supervise(ctx, dir, cancel)
	if err != nil {
		return err
	}
	defer instances.end()
	front, err := startProxy(ctx, dir, p, cancel)
	if err != nil {
		return err
	}
	defer front.end()

	load := startLoad(filepath.Join(dir, "in.sock"), rate, p.keepAlive)
	began := time.Now()
	err = restart(ctx, dir, proxyName, restarts)
	took := time.Since(began)
	sent, failures := load.end()
	if err != nil {
		return err
	}
	witness, failed, err := p.witness(ctx, dir, front)
	if err != nil {
		return err
	}
	fmt.Printf("%d restarts of two instances in %v: %d requests, %d failed\n%s: %s\n",
		restarts, took.Round(time.Second), sent, len(failures), proxyName, witness)
	for _, f := range failures[:min(len(failures), 10)] {
		fmt.Println(f)
	}
	if len(failures) > 0 || failed > 0 {
		return fmt.Errorf("%w; %s says: %s", errFailed, proxyName, front.end())
	}
	return nil
}

// prepare puts everything into one directory, where sockets and files are then found by
// their names alone.
func prepare(dir string) error {
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "server"), "github.com/lastcall-go/lastcall/examples/server") //nolint:gosec // into our own directory
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", build, err, out)
	}
	if err := os.CopyFS(dir, files); err != nil {
		return err
	}
	upstream := []byte("server unix:a.sock;\nserver unix:b.sock;\n")
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "upstream.conf"), upstream, 0o600),
		os.Chmod(filepath.Join(dir, "rolling-restart"), fs.ModePerm),
	)
}

// restart runs the script.
func restart(ctx context.Context, dir, proxyName string, times int) error {
	for range times {
		script := exec.CommandContext(ctx, "./rolling-restart", proxyName) //nolint:gosec // one of proxies
		script.Dir = dir
		if out, err := script.CombinedOutput(); err != nil {
			return fmt.Errorf("rolling-restart: %w: %s", errors.Join(context.Cause(ctx), err), out)
		}
	}
	return nil
}
