package lifecycle

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// program is one below testdata, which reads lines and writes some.
type program struct {
	*exec.Cmd
	stdin  io.WriteCloser
	lines  *bufio.Scanner
	stderr strings.Builder // to be read after Wait
}

// startProgram builds a program and starts it. It ends with the test.
func startProgram(t *testing.T, name string, args ...string) *program {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("go", "build", "-o", path, "./testdata/"+name).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p := &program{Cmd: exec.CommandContext(t.Context(), path, args...)}
	p.Stderr = &p.stderr
	stdin, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.stdin, p.lines = stdin, bufio.NewScanner(stdout)
	return p
}

// line is what the program writes next.
func (p *program) line() string { p.lines.Scan(); return p.lines.Text() }

func TestShutdownOfAProcess(t *testing.T) {
	p := startProgram(t, "shutdown")
	nc, err := net.Dial("tcp", p.line())
	if err != nil {
		t.Fatal(err)
	}
	c := (&running{t: t}).client(nc)
	c.send(request)
	if got := p.line(); got != "serving" {
		t.Fatal(got)
	}
	fmt.Fprintln(p.stdin, "shut down")
	if got, want := p.line(), "hurried: lifecycle: the drain goes on: context deadline exceeded"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	fmt.Fprintln(p.stdin, "go on")
	if got := p.line(); got != "over: <nil>" {
		t.Errorf("Run returned %q", got)
	}
	if resp := c.response(); body(resp) != "late" || !resp.Close {
		t.Errorf("response %v, close %v", resp.Status, resp.Close)
	}
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
}
