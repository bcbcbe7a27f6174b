package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/lastcall-go/lastcall/benchmarks/internal/contract"
	"github.com/lastcall-go/lastcall/lifecycle/rehearsal"
)

// exitWorkloads are ways to end a server.
var exitWorkloads = []exitWorkload{
	// A slow request is in flight: from its response to the process's end.
	{name: "exit/slow", run: (*plan).exitSlow},
	// 10,000 connections sleep: from SIGTERM to the process's end.
	{name: "exit/idle-3s", idleFor: 3200 * time.Millisecond, costly: true, run: (*plan).exitIdle},
	// They have just been in use.
	{name: "exit/idle-now", costly: true, run: (*plan).exitIdle},
	// 64 connections are in use, by clients that send nothing twice: what is lost.
	{name: "exit/lost", run: (*plan).exitLost},
	// They are 20 ms away.
	{name: "exit/lost-20ms", away: 20 * time.Millisecond, run: (*plan).exitLost},
}

type exitWorkload struct {
	name    string
	idleFor time.Duration
	away    time.Duration // each way
	costly  bool          // fewer rounds, and closer beside the contenders
	run     func(*plan, exitWorkload, *server, *exitResult) error
}

// exitResult is one exit.
type exitResult struct {
	Workload  string        `json:"workload"`
	Contender string        `json:"contender"`
	Round     int           `json:"round"`
	Took      time.Duration `json:"took_ns"`
	Conns     int           `json:"connections"`
	// Oldest is how long the connection had been idle that had been so longest.
	Oldest time.Duration `json:"oldest_idle_ns,omitempty"`
	Ends   ends          `json:"client_saw"`
	Lost   int           `json:"requests_lost,omitempty"`
	Error  string        `json:"error,omitempty"`
}

const (
	exitConnections = 10_000
	// exitLimit is when a server that does not end is killed.
	exitLimit = 15 * time.Second
)

func (p *plan) exits(r *results) error {
	for _, w := range exitWorkloads {
		if !p.wants(w.name) {
			continue
		}
		rounds, among := max(p.Rounds/2, 1), p.busy()
		if w.costly {
			rounds, among = max(p.Rounds/8, 1), append([]contender{closer}, p.contenders...)
		}
		for round := range rounds {
			for i := range among {
				c := among[(round+i)%len(among)]
				progress("%s, %s", w.name, c.name)
				got := exitResult{Workload: w.name, Contender: c.name, Round: round}
				if err := p.exitOf(w, c, &got); err != nil {
					got.Error = err.Error()
					progress("%s", got.Error)
				}
				r.Exits = append(r.Exits, got)
			}
		}
	}
	return nil
}

func (p *plan) exitOf(w exitWorkload, c contender, got *exitResult) error {
	s, err := p.start(c, false)
	if err != nil {
		return err
	}
	defer s.kill()
	return w.run(p, w, s, got)
}

// waitEnd waits for the process's end, which it enforces in the end.
func (s *server) waitEnd() error {
	select {
	case <-s.done:
		return nil
	case <-time.After(exitLimit):
		s.kill()
		return fmt.Errorf("not over %v after SIGTERM: killed", exitLimit)
	}
}

func (p *plan) exitSlow(_ exitWorkload, s *server, got *exitResult) error {
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	got.Conns = 1
	signalled := make(chan error, 1)
	go func() {
		// The moment is random, as those at which servers poll begin with it.
		time.Sleep(contract.SlowTime/10 + rand.N(contract.SlowTime/2)) //nolint:gosec // no secret
		signalled <- s.terminate()
	}()
	request := bytes.Replace(plainRequest, []byte(contract.Plain13.Path), []byte(contract.Slow), 1)
	err = exchange(conn, request, contract.SlowBody)
	answered := time.Now()
	if err := cmp.Or(<-signalled, err); err != nil {
		return err
	}
	wait := crowd{conn}.watch()
	err = s.waitEnd()
	got.Took = s.end.Sub(answered)
	got.Ends = wait()
	return err
}

func (p *plan) exitIdle(w exitWorkload, s *server, got *exitResult) error {
	conns, err := gather(s, min(exitConnections, p.maxConns))
	defer conns.close()
	got.Conns = len(conns)
	if err != nil {
		return err
	}
	// Once more on each, which is quick: so that all are idle since about now.
	began := time.Now()
	if _, failed := conns.askAll(); failed > 0 {
		return fmt.Errorf("%d of %d connections failed before the exit", failed, len(conns))
	}
	wait := conns.watch()
	time.Sleep(w.idleFor)
	got.Oldest = time.Since(began)
	signalled := time.Now()
	if err := s.terminate(); err != nil {
		return err
	}
	err = s.waitEnd()
	got.Took = s.end.Sub(signalled)
	got.Ends = wait()
	return err
}

func (p *plan) exitLost(w exitWorkload, s *server, got *exitResult) error {
	clients := rehearsal.Clients{Kind: rehearsal.KeepAlive, Count: 64, Pause: 5 * time.Millisecond, Body: 10}
	got.Conns = clients.Count
	r, err := rehearsal.Plan{
		Start: func() (*rehearsal.Target, error) {
			return &rehearsal.Target{Addr: s.addr, Shutdown: s.terminate, Wait: s.waitEnd}, nil
		},
		Path:    contract.Upload,
		Delay:   w.away,
		Clients: []rehearsal.Clients{clients},
	}.Rehearse()
	got.Took, got.Lost = r.MedianDrain(), len(r.Lost)
	return errors.Join(append(r.Errors, err)...)
}
