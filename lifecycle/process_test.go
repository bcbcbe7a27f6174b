package lifecycle

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestShutdownOfAProcess(t *testing.T) {
	program := filepath.Join(t.TempDir(), "shutdown")
	if out, err := exec.Command("go", "build", "-o", program, "./testdata/shutdown").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), program)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	line := func() string { lines.Scan(); return lines.Text() }

	nc, err := net.Dial("tcp", line())
	if err != nil {
		t.Fatal(err)
	}
	c := (&running{t: t}).client(nc)
	c.send(request)
	if got := line(); got != "serving" {
		t.Fatal(got)
	}
	fmt.Fprintln(stdin, "shut down")
	if got, want := line(), "hurried: lifecycle: the drain goes on: context deadline exceeded"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	fmt.Fprintln(stdin, "go on")
	if got := line(); got != "over: <nil>" {
		t.Errorf("Run returned %q", got)
	}
	if resp := c.response(); body(resp) != "late" || !resp.Close {
		t.Errorf("response %v, close %v", resp.Status, resp.Close)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
