package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/lastcall-go/lastcall/internal/testtool"
)

// scrape returns the names of the series that the server has now.
func (p *process) scrape(names map[string]bool) {
	p.t.Helper()
	r := p.get("/metrics")
	if r.StatusCode != 200 {
		p.t.Fatalf("%v", r)
	}
	for line := range strings.Lines(r.body) {
		if !strings.HasPrefix(line, "#") {
			names[line[:strings.IndexAny(line, "{ ")]] = true
		}
	}
}

// queries are those of a dashboard.
func queries(t *testing.T, file string) (exprs []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var dashboard any
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for key, e := range v {
				if expr, ok := e.(string); ok && (key == "expr" || key == "definition") {
					exprs = append(exprs, expr)
				}
				walk(e)
			}
		}
	}
	walk(dashboard)
	return exprs
}

var seriesName = regexp.MustCompile(`\b(lastcall|process|go)_\w+`)

// Each metric that the dashboard asks for is one that the server has, and each that
// the server has of its own is on the dashboard.
func TestDashboard(t *testing.T) {
	t.Parallel()
	p := start(t, "-shutdown-delay", "1m", "-drain-timeout", "1m")
	p.get("/hello")
	names := map[string]bool{}
	p.scrape(names)
	p.drain()
	p.await("told the service registry that this instance is going") // a hook
	p.until("the hook's metrics", func() bool { p.scrape(names); return names["lastcall_hook_duration_seconds"] })
	p.signal(syscall.SIGTERM)
	p.wantExit(2)

	exprs := queries(t, "dashboard.json")
	if len(exprs) < 30 {
		t.Fatalf("%d queries", len(exprs))
	}
	asked := map[string]bool{}
	for _, expr := range exprs {
		for _, name := range seriesName.FindAllString(expr, -1) {
			asked[name] = true
			if !names[name] {
				t.Errorf("no %s, which is asked for in %s", name, expr)
			}
		}
	}
	for name := range names {
		if strings.HasPrefix(name, "lastcall_") && !asked[name] {
			t.Errorf("%s is not on the dashboard", name)
		}
	}
}

// Prometheus understands what the dashboard asks for.
func TestDashboardQueries(t *testing.T) {
	promtool := testtool.Find(t, "prometheus", "promtool")
	rules := "groups:\n- name: dashboard\n  rules:\n"
	for i, expr := range queries(t, "dashboard.json") {
		if strings.HasPrefix(expr, "label_values(") { // Grafana's own
			continue
		}
		expr = strings.ReplaceAll(expr, "$__rate_interval", "1m")
		rules += fmt.Sprintf("  - record: query:%d\n    expr: %q\n", i, expr)
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, rules)
	}
}
