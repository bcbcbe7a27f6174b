package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// contender is a server to measure. A variant of one is a contender of its own,
// with the same program and further arguments.
type contender struct {
	name    string
	program string // a directory below servers/
	args    []string
	atRest  bool // is measured with idle connections alone
	net     bool // has the workloads of net/http handlers
}

// baseline is what the others are compared with, and netBaseline under the workloads of
// net/http handlers.
const (
	baseline    = "fasthttp"
	netBaseline = "nethttp"
)

func baselineOf(workload string) string {
	if strings.HasPrefix(workload, netGroup) {
		return netBaseline
	}
	return baseline
}

// contenders in the order of tables and plots.
var contenders = []contender{
	{name: "fasthttp", program: "fasthttp"},
	{name: "lifecycle", program: "lifecycle"},
	{name: "lifecycle-parked", program: "lifecycle", args: []string{"-park-after", "50ms"}, atRest: true},
	{name: "toolkit", program: "toolkit"},
	{name: "hardened", program: "toolkit", args: []string{"-hardened"}},
	{name: "fiber", program: "fiber"},
	{name: "hertz", program: "hertz"},
	{name: "nethttp", program: "nethttp", net: true},
	{name: "mounted", program: "mounted", net: true},
	{name: "mixed", program: "mounted", args: []string{"-native"}, net: true},
}

// closer is what exits with idle connections are measured against; see its source.
var closer = contender{name: "close", program: "close"}

func contenderNames() (names []string) {
	for _, c := range contenders {
		names = append(names, c.name)
	}
	return names
}

// selectContenders keeps their order.
func selectContenders(names []string) (selected []contender, err error) {
	for _, name := range names {
		if !slices.Contains(contenderNames(), name) {
			return nil, fmt.Errorf("no contender %q; there are %v", name, contenderNames())
		}
	}
	for _, c := range contenders {
		if slices.Contains(names, c.name) {
			selected = append(selected, c)
		}
	}
	return selected, nil
}

// busy are the contenders that are measured under load.
func (p *plan) busy() []contender {
	return slices.DeleteFunc(slices.Clone(p.contenders), func(c contender) bool { return c.atRest })
}

func (p *plan) binary(c contender) string { return filepath.Join(p.dir, c.program) }

func (p *plan) build() error {
	args := []string{"build", "-o", p.dir + string(os.PathSeparator), "./servers/" + closer.program}
	for _, c := range p.contenders {
		args = append(args, "./servers/"+c.program)
	}
	cmd := exec.Command("go", args...) //nolint:gosec // our own arguments
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build (in the directory benchmarks?): %w", err)
	}
	return nil
}
