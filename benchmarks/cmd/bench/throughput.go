package main

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/benchmarks/internal/contract"
)

// slot is one contender under one workload for a short time.
type slot struct {
	Workload  string `json:"workload"`
	Contender string `json:"contender"`
	Round     int    `json:"round"`
	load
	CPU   time.Duration `json:"server_cpu_ns"`
	Error string        `json:"error,omitempty"`
}

// perSecond is the requests per second.
func (s slot) perSecond() float64 { return float64(s.Requests) / float64(s.Micros) * 1e6 }

// cpuPerRequest is the server's time a request, in microseconds.
func (s slot) cpuPerRequest() float64 {
	return float64(s.CPU.Nanoseconds()) / 1e3 / float64(s.Requests)
}

// cpusInUse is how many CPUs the server kept busy. Where that is less than it has,
// the load was the bottleneck, and requests per second say little of the server.
func (s slot) cpusInUse() float64 { return float64(s.CPU.Microseconds()) / float64(s.Micros) }

// throughput runs the workloads one after the other, and under each the
// contenders in turn, round by round. All are started once and stay; a server
// without load uses no CPU.
func (p *plan) throughput(r *results) error {
	wanted := slices.DeleteFunc(workloads(), func(w workload) bool { return !p.wants(w.Name) })
	servers, err := p.startAll(wanted)
	defer func() {
		for _, s := range servers {
			s.kill()
		}
	}()
	if err != nil {
		return err
	}
	for _, w := range wanted {
		under := slices.DeleteFunc(slices.Clone(servers), func(s *server) bool { return s.tls != w.TLS || w.Net && !s.net })
		p.workload(w, under, r)
	}
	return nil
}

// startAll starts each contender, and again for TLS, as far as workloads want it,
// and checks that they answer alike.
func (p *plan) startAll(wanted []workload) (servers []*server, err error) {
	for _, withTLS := range []bool{false, true} {
		if !slices.ContainsFunc(wanted, func(w workload) bool { return w.TLS == withTLS }) {
			continue
		}
		for _, c := range p.busy() {
			s, err := p.start(c, withTLS)
			if err != nil {
				return servers, err
			}
			servers = append(servers, s)
			if err := s.check(); err != nil {
				return servers, fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	return servers, nil
}

// workload is all rounds of one.
func (p *plan) workload(w workload, servers []*server, r *results) {
	progress("%s", w.Name)
	for _, s := range servers {
		_, _ = p.generator.run(w, s, wrkTick) // to warm up; slots find what is wrong
	}
	for round := range p.Rounds {
		for i := range servers {
			s := servers[(round+i)%len(servers)]
			taken := p.slot(w, s)
			taken.Round = round
			if taken.Error != "" {
				progress("%s, %s: %s", w.Name, s.name, taken.Error)
			}
			r.Slots = append(r.Slots, taken)
		}
	}
}

func (p *plan) slot(w workload, s *server) slot {
	taken := slot{Workload: w.Name, Contender: s.name}
	err := func() error {
		before, err := cpuTime(s.pid())
		if err != nil {
			return err
		}
		if taken.load, err = p.generator.run(w, s, time.Duration(w.stretch)*p.Slot); err != nil {
			return err
		}
		after, err := cpuTime(s.pid())
		taken.CPU = after - before
		return cmp.Or(err, taken.check())
	}()
	if err != nil {
		taken.Error = err.Error()
	}
	return taken
}

// check compares what a server answers with the contract.
func (s *server) check() error {
	transport := &http.Transport{
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // our own, on loopback
		DisableCompression: true,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	expect := func(path, contentType string, body []byte, do func() (*http.Response, error)) error {
		resp, err := do()
		if err != nil {
			return err
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", path, err)
		case resp.StatusCode != http.StatusOK || !bytes.Equal(got, body):
			return fmt.Errorf("%s: %s and %d bytes, want %d", path, resp.Status, len(got), len(body))
		case resp.Close || resp.ContentLength != int64(len(body)) && path != contract.NetStream:
			return fmt.Errorf("%s: close %v, length %d", path, resp.Close, resp.ContentLength)
		case contentType != "" && resp.Header.Get("Content-Type") != contentType:
			return fmt.Errorf("%s: Content-Type %q", path, resp.Header.Get("Content-Type"))
		case resp.Header.Get("Date") == "" || resp.Header.Get("Server") != "":
			return fmt.Errorf("%s: header %v: want Date, and no Server", path, resp.Header)
		}
		return nil
	}
	get := func(path string) func() (*http.Response, error) {
		return func() (*http.Response, error) { return client.Get(s.url(path)) }
	}
	for _, page := range contract.Plain {
		if err := expect(page.Path, contract.ContentType, page.Body, get(page.Path)); err != nil { //nolint:bodyclose // expect does
			return err
		}
	}
	const sent = 1 << 20
	err := expect(contract.Upload, contract.ContentType, []byte(strconv.Itoa(sent)), func() (*http.Response, error) {
		return client.Post(s.url(contract.Upload), "application/octet-stream", strings.NewReader(strings.Repeat("x", sent)))
	})
	err = cmp.Or(err, expect(contract.File, "", make([]byte, fileSize), get(contract.File))) //nolint:bodyclose // expect does
	if err != nil || !s.net {
		return err
	}
	return cmp.Or(
		expect(contract.NetHello, contract.ContentType, contract.Plain13.Body, get(contract.NetHello)),                                     //nolint:bodyclose // expect does
		expect(contract.NetStream, contract.ContentType, bytes.Repeat(contract.StreamPart, contract.StreamParts), get(contract.NetStream)), //nolint:bodyclose // expect does
		expect(contract.NetEcho, contract.ContentType, []byte("echo"), func() (*http.Response, error) {
			return client.Post(s.url(contract.NetEcho), contract.ContentType, strings.NewReader("echo"))
		}))
}
