//go:build unix

package docs

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// excerpted are the files that blocks of a language are from, each with the test that
// has it checked by who reads it.
var excerpted = map[string][]string{
	"yaml":       {"../examples/kubernetes/deployment.yaml"},                            // TestManifest in e2e, TestKubernetes
	"dockerfile": {"../examples/kubernetes/Dockerfile"},                                 // TestKubernetes does what it says
	"ini":        {"../examples/systemd/app.service", "../examples/systemd/app.socket"}, // TestSystemdUnits
	"haproxy":    {"../examples/haproxy/haproxy.cfg"},                                   // TestRollingRestarts
	"nginx":      {"../examples/haproxy/nginx.conf"},                                    // TestRollingRestarts
}

// What is to be copied from here is what works there, letter by letter.
func TestExcerpts(t *testing.T) {
	seen := map[string]bool{}
	for _, b := range blocks(t) {
		switch b.language {
		case "go", "sh": // TestBlocks, TestCommands
			continue
		case "":
			if b.file != "../README.md" || !strings.Contains(b.code, "LastCall ->") {
				t.Errorf("%s:%d: a block of what?", b.file, b.line)
			}
			continue
		}
		seen[b.language] = true
		if !slices.ContainsFunc(excerpted[b.language], func(file string) bool {
			text, err := os.ReadFile(file)
			return err == nil && strings.Contains(string(text), b.code)
		}) {
			t.Errorf("%s:%d: %s that is in none of %v", b.file, b.line, b.language, excerpted[b.language])
		}
	}
	if len(seen) != len(excerpted) {
		t.Errorf("there were only %v", slices.Collect(maps.Keys(seen)))
	}
}

var (
	fenced   = regexp.MustCompile("(?ms)^```.*?^```$")
	inline   = regexp.MustCompile("`[^`]+`")
	target   = regexp.MustCompile(`\bmake ([a-z0-9-]+)`)
	goTool   = regexp.MustCompile(`\bgo (?:run|test|doc) [^#;\n` + "`" + `]*`)
	folder   = regexp.MustCompile(` (\.\S*)`)
	selected = regexp.MustCompile(` -(run|bench) '?([^ ']+)`)
)

// commands are those in blocks and in the text, and where each is run.
func commands(t *testing.T) map[string]string {
	t.Helper()
	all, code := map[string]string{}, blocks(t)
	for file, text := range pages(t) {
		dir := ".."
		if file == "../benchmarks/README.md" || file == "../examples/nethttp/README.md" {
			dir = filepath.Dir(file) // modules of their own
		}
		for _, b := range code {
			if b.file == file && b.language == "sh" {
				for line := range strings.Lines(b.code) {
					all[strings.TrimSpace(line)] = dir
				}
			}
		}
		for _, span := range inline.FindAllString(fenced.ReplaceAllString(text, ""), -1) {
			all[strings.ReplaceAll(strings.Trim(span, "`"), "\n", " ")] = dir
		}
	}
	return all
}

// A figure has the command beside it that measures it: that has to be there to be run.
func TestCommands(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	made, gone := 0, 0
	for command, dir := range commands(t) {
		if m := target.FindStringSubmatch(command); m != nil && strings.HasPrefix(command, m[0]) {
			made++
			if !strings.Contains(string(makefile), "\n"+m[1]+":") {
				t.Errorf("%s: no such target", command)
			}
		}
		tool := goTool.FindString(command)
		if tool == "" {
			continue
		}
		for _, m := range folder.FindAllStringSubmatch(tool, -1) {
			gone++
			// Packages of the main module are named from its root everywhere.
			if !isDir(filepath.Join(dir, m[1])) && !isDir(filepath.Join("..", m[1])) {
				t.Errorf("%s: no %s", command, m[1])
				continue
			}
			for _, sel := range selected.FindAllStringSubmatch(tool, -1) {
				if sel[2] != "^$" && strings.HasPrefix(tool, "go test") && !declares(t, filepath.Join("..", m[1]), sel[1], sel[2]) {
					t.Errorf("%s: nothing of that name in %s", command, m[1])
				}
			}
		}
	}
	if made < 10 || gone < 10 {
		t.Errorf("%d commands of make, %d of go were found", made, gone)
	}
}

func isDir(path string) bool {
	info, err := os.Stat(strings.TrimSuffix(path, "/..."))
	return err == nil && info.IsDir()
}

// declares reports whether a package has a test or benchmark that is so selected.
func declares(t *testing.T, dir, kind, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	prefix := map[string]string{"run": "Test", "bench": "Benchmark"}[kind]
	re := regexp.MustCompile(`(?m)^func ` + prefix + `\w*` + strings.Split(name, "/")[0])
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err == nil && re.Match(text)
	})
}

var (
	link    = regexp.MustCompile(`(?:\]\(|src(?:set)?=")([^)"\s]+)[)"]`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	unsaid  = regexp.MustCompile(`[^\w -]`) // of a heading, in its anchor
)

func TestLinks(t *testing.T) {
	all := pages(t)
	anchors := func(file string) (names []string) {
		for _, m := range heading.FindAllStringSubmatch(all[file], -1) {
			names = append(names, strings.ReplaceAll(unsaid.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
		}
		return names
	}
	for file, text := range all {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.HasPrefix(m[1], "https://") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			to := file
			if path != "" {
				to = filepath.Join(filepath.Dir(file), path)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %s: %v", file, m[1], err)
			} else if anchor != "" && !slices.Contains(anchors(to), anchor) {
				t.Errorf("%s: %s: no such heading: %v", file, m[1], anchors(to))
			}
		}
	}
}

// The README shows some of the rows that make rehearse has printed. All are in
// benchmarks/README.md, which is where they are brought up to date first.
func TestFigures(t *testing.T) {
	all := pages(t)
	_, table, found := strings.Cut(all["../README.md"], "| `make rehearse` |")
	table, _, ended := strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")
	if !found || !ended || len(rows) < 4 {
		t.Fatalf("the table was not found: %q", table)
	}
	for _, row := range rows[2:] {
		if !strings.Contains(all["../benchmarks/README.md"], "\n"+row+"\n") {
			t.Errorf("not in benchmarks/README.md: %s", row)
		}
	}
}

// An example is a program that explains itself in a few lines.
func TestExamples(t *testing.T) {
	all := pages(t)
	for _, name := range []string{"minimal", "server", "existing-fasthttp", "nethttp", "websocket-chat", "jobs", "kubernetes", "systemd", "haproxy"} {
		text := all["../examples/"+name+"/README.md"]
		if lines := strings.Count(text, "\n"); lines < 4 || lines > 7 {
			t.Errorf("%s: %d lines", name, lines)
		}
		if !strings.Contains(all["../README.md"], "(examples/"+name+")") {
			t.Errorf("%s is not in the README", name)
		}
	}
}
