package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// generator makes load, in a process of its own.
type generator interface {
	// describe names it, with its version.
	describe() string
	// run puts a server under a workload for a time.
	run(w workload, s *server, d time.Duration) (load, error)
}

// load is what a generator has counted. Both print it as a line of JSON.
type load struct {
	Requests int64 `json:"requests"`
	Micros   int64 `json:"duration_us"`
	Bytes    int64 `json:"bytes"`
	// What went wrong, by kind.
	Connect int64 `json:"connect_errors"`
	Read    int64 `json:"read_errors"`
	Write   int64 `json:"write_errors"`
	Status  int64 `json:"status_errors"` // not 2xx or 3xx
	Timeout int64 `json:"timeouts"`
}

// check says what makes a slot void.
func (l load) check() error {
	if l.Connect+l.Read+l.Write+l.Status+l.Timeout > 0 {
		return fmt.Errorf("errors: %d connect, %d read, %d write, %d status, %d timeout",
			l.Connect, l.Read, l.Write, l.Status, l.Timeout)
	}
	if l.Requests == 0 || l.Micros == 0 {
		return errors.New("no request was completed")
	}
	return nil
}

// parseLoad finds the line of JSON in what a generator printed.
func parseLoad(output []byte) (l load, err error) {
	for line := range bytes.Lines(output) {
		if bytes.HasPrefix(line, []byte("{")) {
			return l, json.Unmarshal(line, &l)
		}
	}
	return l, fmt.Errorf("no counts in %q", output)
}

func (p *plan) newGenerator() (generator, error) {
	path, err := exec.LookPath("wrk")
	switch {
	case p.load == "go", p.load == "" && err != nil:
		return newOwn(p.cpus.Load)
	case p.load == "wrk" && err != nil:
		return nil, err
	case p.load == "wrk", p.load == "":
		return newWrk(path, p.dir, p.cpus.Load)
	}
	return nil, fmt.Errorf("-load %q: want wrk or go", p.load)
}
