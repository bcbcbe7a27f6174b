package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// wrk is https://github.com/wg/wrk, driven by generated scripts.
type wrk struct {
	path string
	dir  string // of scripts
	cpus []int
	own  *own // for HTTP/2, which wrk does not speak
}

func newWrk(path, dir string, cpus []int) (*wrk, error) {
	own, err := newOwn(cpus)
	return &wrk{path, dir, cpus, own}, err
}

func (g *wrk) describe() string {
	out, _ := exec.Command(g.path, "-v").CombinedOutput() //nolint:gosec // it exits with 1 after its version
	line, _, _ := bytes.Cut(out, []byte("\n"))
	version, _, _ := strings.Cut(string(line), " Copyright")
	return version + ", and an own client (Go) for HTTP/2"
}

// wrkTick is how often wrk's threads look whether they are to stop.
const wrkTick = 100 * time.Millisecond

func (g *wrk) run(w workload, s *server, d time.Duration) (load, error) {
	if w.Streams > 0 {
		return g.own.run(w, s, d)
	}
	script := filepath.Join(g.dir, "wrk.lua")
	if err := os.WriteFile(script, []byte(wrkScript(w)), 0o600); err != nil {
		return load{}, err
	}
	threads := runtime.NumCPU()
	if len(g.cpus) > 0 {
		threads = len(g.cpus)
	}
	// Its -d counts whole seconds. At an interrupt it stops and reports.
	cmd := exec.Command(g.path, "-s", script, "-d", strconv.Itoa(60+int(d.Seconds())), //nolint:gosec // our own arguments
		"-c", strconv.Itoa(w.Conns), "-t", strconv.Itoa(min(threads, w.Conns)), s.url(w.Path))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := startOn(cmd, g.cpus); err != nil {
		return load{}, err
	}
	time.Sleep(d - wrkTick/5)
	_ = cmd.Process.Signal(syscall.SIGINT)
	if err := cmd.Wait(); err != nil {
		return load{}, fmt.Errorf("wrk: %w: %s", err, out.Bytes())
	}
	return parseLoad(out.Bytes())
}

// wrkScript is Lua for what wrk has no flag for. The request is made once, not in
// a function that runs a request, unless it is pipelined.
func wrkScript(w workload) string {
	var b strings.Builder
	if w.Upload > 0 {
		fmt.Fprintf(&b, "wrk.method = 'POST'\nwrk.body = string.rep('x', %d)\n", w.Upload)
		b.WriteString("wrk.headers['Content-Type'] = 'application/octet-stream'\n")
	}
	if w.Fresh {
		b.WriteString("wrk.headers['Connection'] = 'close'\n")
	}
	if w.Pipeline > 1 {
		fmt.Fprintf(&b, `local pipeline
init = function(args) pipeline = string.rep(wrk.format(), %d) end
request = function() return pipeline end
`, w.Pipeline)
	}
	b.WriteString(`done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\n{"requests":%d,"duration_us":%d,"bytes":%d,"connect_errors":%d,"read_errors":%d,"write_errors":%d,"status_errors":%d,"timeouts":%d}\n',
    summary.requests, summary.duration, summary.bytes, e.connect, e.read, e.write, e.status, e.timeout))
end
`)
	return b.String()
}
