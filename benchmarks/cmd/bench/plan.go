package main

import (
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/lastcall-go/lastcall/internal/testcert"
)

// plan is what the command line asks for, and what is prepared for it.
type plan struct {
	Rounds     int
	Slot       time.Duration
	pin        bool
	load, out  string
	run, skip  *regexp.Regexp
	contenders []contender

	cpus      split
	dir       string // temporary: binaries, certificate, file, scripts
	cert, key string
	file      string
	generator generator
	maxConns  int // that the limit of descriptors leaves room for
}

func (p *plan) wants(workload string) bool {
	return p.run.MatchString(workload) && !p.skip.MatchString(workload)
}

// measure does everything, and writes the results.
func (p *plan) measure() error {
	began := time.Now()
	var err error
	if p.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(p.dir) }()
	if err := p.prepare(); err != nil {
		return err
	}
	r, err := p.describe()
	if err != nil {
		return err
	}
	for _, step := range []func(*results) error{p.throughput, p.idle, p.exits, p.inProcess} {
		if err := step(r); err != nil {
			return err
		}
	}
	r.Took = time.Since(began).Round(time.Second).String()
	return r.write(p.out)
}

// prepare builds the contenders, and whatever they need.
func (p *plan) prepare() error {
	if err := os.MkdirAll(p.out, 0o755); err != nil { //nolint:gosec // results are for everyone
		return err
	}
	var err error
	if p.maxConns, err = raiseDescriptorLimit(wantedDescriptors); err != nil {
		return err
	}
	p.maxConns -= spareDescriptors
	if p.pin {
		if p.cpus, err = splitCPUs(); err != nil {
			return err
		}
		if err := pinSelf(p.cpus.Load); err != nil {
			return err
		}
	}
	if p.generator, err = p.newGenerator(); err != nil {
		return err
	}
	if p.cert, p.key, err = testcert.Files(testcert.New(), p.dir); err != nil {
		return err
	}
	p.file = filepath.Join(p.dir, "file")
	if err := os.WriteFile(p.file, make([]byte, fileSize), 0o600); err != nil {
		return err
	}
	progress("building the servers")
	return p.build()
}

const (
	fileSize = 10 << 20
	// wantedDescriptors are those of 100,000 connections and some.
	wantedDescriptors = 100_000 + spareDescriptors
	spareDescriptors  = 200
)
