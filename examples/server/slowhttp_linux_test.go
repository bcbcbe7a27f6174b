package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/internal/testtool"
)

const (
	slowConns = 1000
	// slowGrace is on top of the ratio of two p99s: a p99 of some 300 us is doubled by
	// one more process on two CPUs, and a client does not see the difference.
	slowGrace = 2 * time.Millisecond
	// slowMemory is what each may take of the server's memory: goroutine, buffers and
	// RequestCtx, 17 kB, and what the collector leaves until it has run.
	slowMemory = 64 << 10
	// slowCPU is what each may take of the server's time.
	slowCPU = 2 * time.Millisecond
)

// slowSeconds is how long each attack takes at most: SLOWHTTP_SECONDS, 30 without it,
// and 5 with go test -short, which is too short to see the attackers end.
func slowSeconds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("SLOWHTTP_SECONDS")
	switch {
	case text == "" && testing.Short():
		return 5
	case text == "":
		return 30
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Debian's slowhttptest, https://github.com/shekyan/slowhttptest, holds as many
// connections as it can for as long as it can. Others are served meanwhile as fast as
// by a server at its side that is not attacked, and has the same machine with all that
// runs on it. Not in parallel with other tests, nor the attacks with each other: times
// are compared.
func TestSlowHTTP(t *testing.T) {
	tool := testtool.Find(t, "slowhttptest", "slowhttptest")
	if os.Getenv("PARK_AFTER") != "" {
		t.Skip("make test has it; parked connections have no rate")
	}
	seconds := slowSeconds(t)
	for _, attack := range []struct {
		name, path string
		args       []string
		limit      int // seconds, after which the server has ended a connection
	}{
		// -i: seconds between two pieces, -x: the most that is in one.
		{"header", "/test", []string{"-H", "-i", "2", "-x", "24"}, 10},
		{"body", "/echo", []string{"-B", "-i", "2", "-x", "24", "-s", "8192"}, 10},
		// -n: seconds between two reads, -z: bytes of one, -w and -y: the window.
		{"read", "/bytes?n=300000", []string{"-X", "-n", "2", "-z", "32", "-w", "512", "-y", "1024"}, 20},
	} {
		t.Run(attack.name, func(t *testing.T) {
			const idle = "-idle-timeout=75s" // toolkit's default
			p, control := start(t, idle), start(t, idle)
			args := append([]string{
				"-c", strconv.Itoa(slowConns), "-r", "250", "-p", "5",
				"-l", strconv.Itoa(seconds + 10), "-u", "http://" + p.addr + attack.path,
			}, attack.args...)
			latencies(time.Second, p, control) // warms up

			memory, files, cpu := p.memory("VmRSS"), p.files(), p.cpu()-control.cpu()
			slow := exec.Command(tool, args...)
			if err := slow.Start(); err != nil {
				t.Fatal(err)
			}
			took := latencies(time.Duration(seconds)*time.Second, p, control)
			left, most := p.files()-files, p.memory("VmHWM")
			cpu = p.cpu() - control.cpu() - cpu
			_ = slow.Process.Kill()
			_ = slow.Wait() // was killed
			p.until("the attackers' connections gone", func() bool { return p.files() < files+10 })

			attacked, unattacked := p99(took[0]), p99(took[1])
			t.Logf("p99 of %d requests %v, unattacked %v; %v more CPU time; memory %d kB, at most %d kB; %d connections left",
				len(took[0]), attacked, unattacked, cpu, memory>>10, most>>10, left)
			if attacked > 2*unattacked+slowGrace {
				t.Errorf("p99 under attack %v; without %v", attacked, unattacked)
			}
			if seconds >= attack.limit+10 && left > 10 {
				t.Errorf("the attackers still have %d connections", left)
			}
			if raceEnabled { // which takes time and memory of its own
				return
			}
			if cpu > slowConns*slowCPU {
				t.Errorf("the attack took %v of the server's time", cpu)
			}
			if most > memory+slowConns*slowMemory {
				t.Errorf("memory rose from %d to %d bytes", memory, most)
			}
			// fasthttp's workers wait for 10 s, and Go takes its time, too.
			for began := time.Now(); p.memory("VmRSS") > (memory+most)/2; p.conns() { // whose garbage has Go collect
				if time.Since(began) > 3*patience {
					t.Fatalf("memory is not given back: %d bytes", p.memory("VmRSS"))
				}
			}
		})
	}
}

// latencies measures requests to each server for that long: some hundred a second, half
// of them on one connection, half on one of their own each.
func latencies(long time.Duration, servers ...*process) (took [][]time.Duration) {
	var clients sync.WaitGroup
	kept, fresh := make([][]time.Duration, len(servers)), make([][]time.Duration, len(servers))
	over := time.Now().Add(long)
	for i, p := range servers {
		clients.Go(func() { kept[i] = p.latenciesUntil(over, false) })
		clients.Go(func() { fresh[i] = p.latenciesUntil(over, true) })
	}
	clients.Wait()
	for i := range servers {
		took = append(took, slices.Concat(kept[i], fresh[i]))
	}
	return took
}

func (p *process) latenciesUntil(over time.Time, fresh bool) (took []time.Duration) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var c *client
	for range tick.C {
		began := time.Now()
		if began.After(over) {
			break
		}
		if c == nil || fresh {
			nc, err := net.Dial(p.network, p.addr)
			if err != nil {
				p.t.Errorf("a good client is not let in: %v", err)
				return took
			}
			defer nc.Close()
			_ = nc.SetDeadline(over.Add(patience))
			c = &client{nc, p.t, bufio.NewReader(nc)}
		}
		_, err := io.WriteString(c, "GET /test HTTP/1.1\r\nHost: t\r\n\r\n")
		if err == nil {
			_, err = readEcho(c.r, greeting)
		}
		if err != nil {
			p.t.Errorf("a good client is not served: %v", err)
			return took
		}
		took = append(took, time.Since(began))
		if fresh {
			_ = c.Close()
		}
	}
	return took
}

func p99(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)*99/100]
}

// files is how many descriptors the server has.
func (p *process) files() int {
	p.t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	return len(files)
}

// memory is a line of the server's proc_pid_status(5), in bytes.
func (p *process) memory(name string) int {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == name+":" {
			kB, err := strconv.Atoi(fields[1])
			if err != nil {
				p.t.Fatal(err)
			}
			return kB << 10
		}
	}
	p.t.Fatalf("no %s in %s", name, status)
	return 0
}

// cpu is the processor time that the server has taken, by the fields utime and stime of
// proc_pid_stat(5), in ticks of 10 ms.
func (p *process) cpu() (spent time.Duration) {
	p.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // of the name
	for _, field := range strings.Fields(rest)[11:13] {
		ticks, err := strconv.Atoi(field)
		if err != nil {
			p.t.Fatal(err)
		}
		spent += time.Duration(ticks) * 10 * time.Millisecond
	}
	return spent
}
