package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/perf/benchfmt"
)

const inProcessName = "in-process"

// benchmark is what Go's benchmarks say of one variant.
type benchmark struct {
	Name   string    `json:"name"`
	Nanos  []float64 `json:"ns_per_op"`
	Bytes  []float64 `json:"bytes_per_op"`
	Allocs []float64 `json:"allocs_per_op"`
}

// inProcess runs the benchmarks of request_test.go over memory, and leaves what
// they print for benchstat.
func (p *plan) inProcess(r *results) error {
	if !p.wants(inProcessName) {
		return nil
	}
	progress(inProcessName)
	cmd := exec.Command("go", "test", "-run", "^$", "-bench", "^BenchmarkRequest$/^memory$", //nolint:gosec // our own arguments
		"-count", strconv.Itoa(p.Rounds), "-benchtime", p.Slot.String(), ".")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	cmd.Env = os.Environ()
	if p.pin {
		cmd.Env = append(cmd.Env, "GOMAXPROCS="+strconv.Itoa(len(p.cpus.Server)))
	}
	if err := startOn(cmd, p.cpus.Server); err != nil {
		return err
	}
	// go test is content with a benchmark that fails.
	if err := cmd.Wait(); err != nil || bytes.Contains(out.Bytes(), []byte("--- FAIL")) {
		return fmt.Errorf("go test: %w: %s", cmp.Or(err, errors.New("a benchmark failed")), out.Bytes())
	}
	r.InProcess = parseBenchmarks(out.Bytes())
	return os.WriteFile(filepath.Join(p.out, "in-process.txt"), out.Bytes(), 0o644) //nolint:gosec // for everyone
}

func parseBenchmarks(output []byte) (all []benchmark) {
	in := benchfmt.NewReader(bytes.NewReader(output), "in-process.txt")
	for in.Scan() {
		result, ok := in.Result().(*benchfmt.Result)
		if !ok {
			continue
		}
		_, name, _ := strings.Cut(string(result.Name.Full()), "/memory/")
		// Go appends GOMAXPROCS, unless it is 1.
		if at := strings.LastIndexByte(name, '-'); at > 0 {
			if _, err := strconv.Atoi(name[at+1:]); err == nil {
				name = name[:at]
			}
		}
		i := slices.IndexFunc(all, func(b benchmark) bool { return b.Name == name })
		if i < 0 {
			i, all = len(all), append(all, benchmark{Name: name})
		}
		b := &all[i]
		for unit, values := range map[string]*[]float64{"sec/op": &b.Nanos, "B/op": &b.Bytes, "allocs/op": &b.Allocs} {
			v, _ := result.Value(unit)
			if unit == "sec/op" {
				v *= 1e9
			}
			*values = append(*values, v)
		}
	}
	return all
}
