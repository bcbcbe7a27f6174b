package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// someResults have one of everything.
func someResults() *results {
	return &results{
		Machine: machine{CPU: "A CPU", CPUs: 4, Pinned: true, split: split{Server: []int{0, 1}, Load: []int{2, 3}}, Descriptors: 20000},
		Slots: []slot{
			aSlot("fasthttp", 0, 1000, 10*time.Millisecond), aSlot("nethttp", 0, 1000, 20*time.Millisecond),
			aSlot("fasthttp", 1, 1000, 30*time.Millisecond), aSlot("nethttp", 1, 1000, 60*time.Millisecond),
			aSlot("toolkit", 0, 0, 0, errors.New("no request was completed")),
		},
		Idle: []idleResult{
			{Workload: "idle/10000", Contender: "fasthttp", Conns: 10000, PerConn: 16600, AnswerMedian: 50, AnswerP99: 90},
			{Workload: "idle/100000", Contender: "fasthttp", Conns: 19800, PerConn: 16700, AnswerMedian: 51, AnswerP99: 91},
		},
		Exits: []exitResult{
			{Workload: "exit/idle-now", Contender: "close", Took: 100 * time.Millisecond, Conns: 10000, Ends: ends{EOF: 9999, Reset: 1}},
			{Workload: "exit/lost", Contender: "fiber", Took: time.Millisecond, Conns: 64, Lost: 2},
			{Workload: "exit/lost", Contender: "fiber", Took: time.Millisecond, Conns: 64, Lost: 3},
			{Workload: "exit/idle-now", Contender: "hertz", Conns: 10000, Error: "killed"},
		},
		InProcess: []benchmark{{Name: "fasthttp", Nanos: []float64{1000, 1100}, Bytes: []float64{0, 0}, Allocs: []float64{0, 0}}},
	}
}

func TestMarkdown(t *testing.T) {
	got := someResults().markdown()
	for _, line := range []string{
		"- Servers on CPUs [0 1] with GOMAXPROCS=2, load on CPUs [2 3]",
		"| Server CPU per request, µs | fasthttp | toolkit | nethttp |",
		"| 13B/64 | 20 (15–25) | failed | 40 (30–50) **×2.000** (2.000–2.000) |",
		"| 13B/64 | 1000 (1000–1000) | failed | 1000 (1000–1000) **×1.000** (1.000–1.000) |",
		"- 1: plain/13B/64, toolkit: no request was completed",
		"| idle/10000 | fasthttp | 10000 | 16600 | 50 | 90 | 0 |",
		"idle/100000 has fewer connections, as 20000 descriptors are all that the limit allows.",
		"| exit/idle-now | close | 1 | 10000 | 100.00 | 100.00–100.00 | 9999 | 1 | 0 | 0 |  |",
		"| exit/lost | fiber | 2 | 64 | 1.00 | 1.00–1.00 | 0 | 0 | 0 | 2.5 |  |",
		"| exit/idle-now | hertz | 1 | 10000 | – | – | 0 | 0 | 0 | 0 | killed |",
		"| fasthttp | 1050 (1025–1075) | 0 | 0 |",
	} {
		if !strings.Contains(got, "\n"+line+"\n") {
			t.Errorf("missing: %s", line)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
	if strings.Contains(got, "idle/10000 has fewer") {
		t.Error("10000 connections were not too many")
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	if err := someResults().write(dir); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"results.json", "results.md", "cpu.svg", "memory.svg"} {
		if b, err := os.ReadFile(filepath.Join(dir, file)); err != nil || len(b) == 0 {
			t.Errorf("%s: %d bytes, %v", file, len(b), err)
		}
	}
	empty := t.TempDir()
	if err := new(results).write(empty); err != nil {
		t.Errorf("with nothing measured: %v", err)
	}
}

func TestParseBenchmarks(t *testing.T) {
	got := parseBenchmarks([]byte(`goos: linux
pkg: p
BenchmarkRequest/memory/fasthttp-4         	   10000	      1000 ns/op	       1 B/op	       0 allocs/op
BenchmarkRequest/memory/fasthttp-4         	   10000	      1200 ns/op	       0 B/op	       0 allocs/op
BenchmarkRequest/memory/toolkit,ownid      	   10000	      2000.5 ns/op	       0 B/op	       2 allocs/op
PASS
`))
	if len(got) != 2 || got[0].Name != "fasthttp" || got[1].Name != "toolkit,ownid" {
		t.Fatalf("%+v", got)
	}
	if len(got[0].Nanos) != 2 || spreadOf(got[0].Nanos).Median < 1099 || got[1].Allocs[0] != 2 {
		t.Errorf("%+v", got)
	}
}

func TestSelectContenders(t *testing.T) {
	got, err := selectContenders([]string{"nethttp", "lifecycle"})
	if err != nil || len(got) != 2 || got[0].name != "lifecycle" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := selectContenders([]string{"nginx"}); err == nil {
		t.Error("nginx is taken for a contender")
	}
}
