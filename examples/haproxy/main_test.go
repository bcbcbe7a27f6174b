//go:build unix

package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var restarts = flag.Int("restarts", 2, "how many rolling restarts")

func TestRollingRestarts(t *testing.T) {
	program := filepath.Join(t.TempDir(), "haproxy")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name := range proxies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, tool := range []string{name, "curl"} {
				if _, err := exec.LookPath(tool); err == nil {
					continue
				}
				if os.Getenv("CI") == "true" {
					t.Fatalf("%s is not installed: .ci/run does that", tool)
				}
				t.Skipf("%s is not installed: apt-get install %[1]s", tool)
			}
			out, err := exec.CommandContext(t.Context(), program, "-proxy", name, "-restarts", fmt.Sprint(*restarts)).CombinedOutput()
			if err != nil || !strings.Contains(string(out), " requests, 0 failed") {
				t.Errorf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}

// A proxy that gets no answer is a witness.
func TestWitness(t *testing.T) {
	dir := t.TempDir()
	log := "200 unix:a.sock 200\n502 unix:a.sock 502\n200 unix:a.sock, unix:b.sock 502, 200\n"
	if err := os.WriteFile(filepath.Join(dir, "access.log"), []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	says, failed, err := nginxLog(dir)
	if says != "1 answered, 2 failed or tried again" || failed != 2 || err != nil {
		t.Error(says, failed, err)
	}
}
