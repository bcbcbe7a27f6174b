package toolkit

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/lastcall-go/lastcall/"

// golist returns what go list says, word by word.
func golist(t *testing.T, goos string, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	cmd.Env = append(os.Environ(), "GOOS="+goos)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

// What a user of toolkit has not asked for must not reach their build.
func TestToolkitLinksNothingThatWasNotAskedFor(t *testing.T) {
	deps := golist(t, "linux", "-deps", module+"toolkit")
	if len(deps) < 100 {
		t.Fatalf("few dependencies: %q", deps)
	}
	for _, dep := range deps {
		for _, never := range []string{"prometheus", "opentelemetry", "chromedp", "protobuf", "expvar", "net/http/pprof", module + "internal/", module + "toolkit/"} {
			if strings.Contains(dep, never) && dep != module+"toolkit/nethttp" {
				t.Errorf("toolkit links %s", dep)
			}
		}
	}
}

func TestLifecycleImportsLittle(t *testing.T) {
	for _, goos := range []string{"linux", "darwin", "freebsd", "windows"} {
		for _, path := range golist(t, goos, "-f", `{{join .Imports "\n"}}`, module+"lifecycle") {
			host, _, _ := strings.Cut(path, "/")
			if strings.Contains(host, ".") && !strings.HasPrefix(path, "github.com/valyala/fasthttp") && !strings.HasPrefix(path, "golang.org/x/sys/") {
				t.Errorf("%s: lifecycle imports %s", goos, path)
			}
		}
	}
}
