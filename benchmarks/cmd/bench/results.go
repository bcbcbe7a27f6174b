package main

import (
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// results is all that was measured, and where.
type results struct {
	Machine   machine           `json:"machine"`
	Began     time.Time         `json:"began"`
	Took      string            `json:"took"`
	Command   []string          `json:"command"`
	Revision  string            `json:"revision"`
	Go        string            `json:"go"`
	Modules   map[string]string `json:"modules"`
	Load      string            `json:"load"`
	CPUClock  string            `json:"cpu_clock"`
	Rounds    int               `json:"rounds"`
	SlotTime  string            `json:"slot"`
	Slots     []slot            `json:"slots,omitempty"`
	Idle      []idleResult      `json:"idle,omitempty"`
	Exits     []exitResult      `json:"exits,omitempty"`
	InProcess []benchmark       `json:"in_process,omitempty"`
}

type machine struct {
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Kernel string `json:"kernel"`
	OS     string `json:"os"`
	Pinned bool   `json:"pinned"`
	split
	Descriptors int `json:"descriptors"`
}

func (p *plan) describe() (*results, error) {
	r := &results{
		Machine: machine{CPU: cpuModel(), CPUs: runtime.NumCPU(), Kernel: kernel(), OS: runtime.GOOS + "/" + runtime.GOARCH,
			Pinned: p.pin, split: p.cpus, Descriptors: p.maxConns + spareDescriptors},
		Began: time.Now(), Command: os.Args, Revision: revision(),
		Go: runtime.Version(), Modules: map[string]string{},
		Load: p.generator.describe(), CPUClock: cpuClock,
		Rounds: p.Rounds, SlotTime: p.Slot.String(),
	}
	for _, c := range p.contenders {
		info, err := buildinfo.ReadFile(p.binary(c))
		if err != nil {
			return nil, err
		}
		for _, m := range info.Deps {
			if slices.Contains(peers, m.Path) {
				r.Modules[m.Path] = m.Version
			}
		}
	}
	return r, nil
}

// peers are the modules whose versions matter.
var peers = []string{
	"github.com/valyala/fasthttp", "github.com/fasthttp/router", "github.com/rs/zerolog",
	"github.com/gofiber/fiber/v3", "github.com/cloudwego/hertz", "github.com/cloudwego/netpoll",
}

// revision is the commit, with a + where files differ from it.
func revision() string {
	out, err := exec.Command("git", "rev-parse", "HEAD").Output()
	if err != nil {
		return ""
	}
	commit := strings.TrimSpace(string(out))
	if changed, err := exec.Command("git", "status", "--porcelain").Output(); err != nil || len(changed) > 0 {
		commit += "+"
	}
	return commit
}

// write writes the raw figures, the tables and the plots, and prints the tables.
func (r *results) write(dir string) error {
	raw, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	tables := []byte(r.markdown())
	_, printErr := os.Stdout.Write(tables)
	return errors.Join(printErr,
		os.WriteFile(filepath.Join(dir, "results.json"), append(raw, '\n'), 0o644), //nolint:gosec // for everyone
		os.WriteFile(filepath.Join(dir, "results.md"), tables, 0o644),              //nolint:gosec // for everyone
		r.plot(dir))
}
