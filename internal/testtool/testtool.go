// Package testtool finds the programs that tests run beside a server. No program imports it.
package testtool

import (
	"os"
	"os/exec"
	"testing"
)

// Find returns the path of the first of these programs that is installed, be it where only
// root's PATH leads. Where there is none it skips the test; in CI, where .ci/run installs
// them, it fails it. debian is the package that has them.
func Find(t testing.TB, debian string, names ...string) string {
	t.Helper()
	for _, name := range names {
		for _, dir := range []string{"", "/usr/sbin/", "/usr/local/sbin/"} {
			if path, err := exec.LookPath(dir + name); err == nil {
				return path
			}
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed: .ci/run does that", names[0])
	}
	t.Skipf("%s is not installed: apt-get install %s", names[0], debian)
	return ""
}
