//go:build unix

// Package examples tests the programs below it that have no tests of their own, as a
// user has them: built, called, ended by a signal.
package examples

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/lastcall-go/lastcall/lifecycle/rehearsal"
)

// build builds an example.
func build(t *testing.T, name string, env ...string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	cmd := exec.Command("go", "build", "-o", path, "./"+name)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

func freeAddr(t *testing.T) string {
	t.Helper()
	addr, err := rehearsal.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// process is a running example.
type process struct {
	*exec.Cmd
	t              *testing.T
	stdout, stderr bytes.Buffer // to be read after Wait
}

func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: cmd, t: t}
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	return p
}

// end sends SIGTERM, and returns the exit code.
func (p *process) end() int {
	p.t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	_ = p.Wait()
	return p.ProcessState.ExitCode()
}

// patience turns a hang into a failure.
const patience = time.Minute

// ready waits until somebody listens.
func ready(t *testing.T, addr string) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		nc, err := net.Dial("tcp", addr)
		if err == nil {
			_ = nc.Close()
			return
		}
		if time.Since(began) > patience {
			t.Fatal(err)
		}
	}
}

func TestMinimal(t *testing.T) {
	addr := freeAddr(t)
	rehearsal.Run(t, rehearsal.Plan{
		Start:   rehearsal.Command(build(t, "minimal"), "-addr", addr).At(addr),
		Path:    "/hello/you",
		Clients: []rehearsal.Clients{{Kind: rehearsal.Streaming, Count: 16, Pause: time.Millisecond}},
		Rounds:  3,
	})
}

func TestExistingFasthttp(t *testing.T) {
	addr := freeAddr(t)
	rehearsal.Run(t, rehearsal.Plan{
		Start:   rehearsal.Command(build(t, "existing-fasthttp"), "-addr", addr).At(addr),
		Clients: []rehearsal.Clients{{Kind: rehearsal.KeepAlive, Count: 16, Pause: time.Millisecond}},
		Rounds:  3,
	})
}

// What has been accepted is done, or said to be left.
func TestJobs(t *testing.T) {
	program := build(t, "jobs")
	for _, tt := range []struct {
		drain string
		code  int
		left  bool
	}{{"10s", 0, false}, {"50ms", 2, true}} {
		t.Run(tt.drain, func(t *testing.T) {
			addr := freeAddr(t)
			p := start(t, exec.Command(program, "-addr", addr, "-took", "20ms", "-drain-timeout", tt.drain))
			ready(t, addr)
			want := map[string]bool{}
			for i := range 50 {
				name := fmt.Sprint(i)
				resp, err := http.Post("http://"+addr+"/jobs", "text/plain", strings.NewReader(name))
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusAccepted {
					t.Fatal(resp.Status)
				}
				want[name] = true
			}
			if code := p.end(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if strings.Contains(p.stdout.String(), "left:") != tt.left {
				t.Errorf("left: %q", p.stdout.String())
			}
			for line := range strings.Lines(p.stdout.String()) {
				for _, name := range strings.Fields(line)[1:] {
					if !want[name] {
						t.Errorf("%s is told of twice, or was never accepted", name)
					}
					delete(want, name)
				}
			}
			if len(want) > 0 {
				t.Errorf("nothing is known of %d jobs", len(want))
			}
		})
	}
}

func TestWebSocketChat(t *testing.T) {
	addr := freeAddr(t)
	p := start(t, exec.Command(build(t, "websocket-chat"), "-addr", addr))
	ready(t, addr)
	join := func() *websocket.Conn {
		c, resp, err := websocket.DefaultDialer.Dial("ws://"+addr+"/ws", nil)
		if err != nil {
			t.Fatal(err, resp)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, got, err := c.ReadMessage(); err != nil || string(got) != "welcome" {
			t.Fatalf("%q, %v", got, err)
		}
		return c
	}
	members := []*websocket.Conn{join(), join(), join()}
	for i, m := range members {
		if err := m.WriteMessage(websocket.TextMessage, fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
		for _, other := range members {
			if _, got, err := other.ReadMessage(); err != nil || string(got) != fmt.Sprint(i) {
				t.Fatalf("%q, %v", got, err)
			}
		}
	}
	exit := make(chan int)
	go func() { exit <- p.end() }()
	for _, m := range members {
		_, _, err := m.ReadMessage()
		if !websocket.IsCloseError(err, websocket.CloseGoingAway) {
			t.Errorf("the end was told as %v", err)
		}
	}
	if code := <-exit; code != 0 {
		t.Errorf("exit code %d: %s", code, p.stderr.String())
	}
}

// The page talks to the server that it came from.
func TestWebSocketChatPage(t *testing.T) {
	addr := freeAddr(t)
	p := start(t, exec.Command(build(t, "websocket-chat"), "-addr", addr))
	ready(t, addr)
	resp, err := http.Get("http://" + addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/html") {
		t.Errorf("Content-Type %q", got)
	}
	if code := p.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A service is told of, and its socket outlives it: clients that connect while it
// restarts are served by the next process.
func TestSystemd(t *testing.T) {
	program := build(t, "systemd")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	socket, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	path := filepath.Join(t.TempDir(), "notify")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	_ = notify.SetReadDeadline(time.Now().Add(patience))
	told := func(want string) {
		t.Helper()
		var buf [1 << 10]byte
		if n, err := notify.Read(buf[:]); err != nil || string(buf[:n]) != want {
			t.Fatalf("told %q, %v; want %q", buf[:n], err, want)
		}
	}
	serve := func() *process {
		// systemd sets LISTEN_PID, which nobody knows before the process is there.
		cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0"`, program)
		cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "NOTIFY_SOCKET="+path)
		cmd.ExtraFiles = []*os.File{socket}
		return start(t, cmd)
	}
	for range 3 {
		p := serve()
		told("READY=1")
		get(t, ln.Addr().String())
		exit := make(chan int)
		go func() { exit <- p.end() }()
		told("STOPPING=1")
		if code := <-exit; code != 0 {
			t.Errorf("exit code %d: %s", code, p.stderr.String())
		}
		// Nobody serves now, and nobody is refused.
		waiting, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatalf("between two processes: %v", err)
		}
		next := serve()
		told("READY=1")
		fmt.Fprint(waiting, "GET / HTTP/1.0\r\n\r\n")
		var answer bytes.Buffer
		if _, err := answer.ReadFrom(waiting); err != nil || !strings.HasPrefix(answer.String(), "HTTP/1.1 200 ") {
			t.Errorf("%v: %q", err, answer.String())
		}
		_ = waiting.Close()
		go func() { exit <- next.end() }()
		told("STOPPING=1")
		<-exit
	}
}

// The units are what systemd takes them for.
func TestSystemdUnits(t *testing.T) {
	verify, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd is not installed")
	}
	dir := t.TempDir()
	for _, name := range []string{"app.service", "app.socket"} {
		unit, err := os.ReadFile(filepath.Join("systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		unit = bytes.ReplaceAll(unit, []byte("/usr/local/bin/app"), []byte("/bin/true"))
		if err := os.WriteFile(filepath.Join(dir, name), unit, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(verify, "verify", "--man=no", "--recursive-errors=no", filepath.Join(dir, "app.service"), filepath.Join(dir, "app.socket")).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte(dir)) {
		t.Errorf("%v\n%s", err, out)
	}
}

func get(t *testing.T, addr string) {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
}

// manifestArgs are the arguments that the manifest gives the server, and its grace
// period.
func manifestArgs(t *testing.T) (args []string, grace string) {
	t.Helper()
	manifest, err := os.ReadFile("kubernetes/deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(manifest)) {
		line = strings.TrimSpace(line)
		if arg, ok := strings.CutPrefix(line, `- "-`); ok {
			args = append(args, "-"+strings.TrimSuffix(arg, `"`))
		}
		if seconds, ok := strings.CutPrefix(line, "terminationGracePeriodSeconds: "); ok {
			grace = seconds
		}
	}
	return args, grace
}

// As in an image from scratch: a static binary, PID 1, nothing else there.
func TestKubernetes(t *testing.T) {
	args, grace := manifestArgs(t)
	if !slices.Contains(args, "-termination-grace-period="+grace+"s") {
		t.Errorf("the manifest gives %s s, its arguments say %q", grace, args)
	}
	addr := freeAddr(t)
	for i, arg := range args {
		switch arg {
		case "-addr=:8080":
			args[i] = "-addr=" + addr
		case "-shutdown-delay=5s":
			args[i] = "-shutdown-delay=100ms"
		}
	}
	program := build(t, "server", "CGO_ENABLED=0")
	cmd := exec.Command("/server", args...)
	if !empty(cmd, filepath.Dir(program)) {
		t.Log("only root, on Linux, runs it as PID 1 in an empty root")
		cmd = exec.Command(program, args...)
	}
	p := start(t, cmd)
	ready(t, addr)
	resp, err := http.Get("http://" + addr + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("readiness: %s", resp.Status)
	}
	if code := p.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if log := p.stderr.String(); strings.Contains(log, `"level":"warn"`) || !strings.Contains(log, `"message":"drained"`) {
		t.Errorf("log: %s", log)
	}
}
