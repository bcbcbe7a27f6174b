// Rehearses the shutdown of the bundled server, and for comparison of bare
// fasthttp and net/http, and prints what each has lost. make rehearse runs it.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/lastcall-go/lastcall/internal/testcert"
	"github.com/lastcall-go/lastcall/lifecycle/rehearsal"
)

func main() {
	rounds := flag.Int("rounds", 200, "`shutdowns` of each server under each load")
	only := flag.String("loads", "", "`regexp` of the loads; empty for all")
	idle := flag.Int("idle", 10_000, "idle `connections` of the last table; 0 for none")
	idleRounds := flag.Int("idle-rounds", 5, "`shutdowns` of each server for that")
	serve := flag.String("serve", "", "be a `peer`: lastcall, fasthttp, net/http or close(2), on -addr")
	addr := flag.String("addr", "", "`address` of -serve")
	cert := flag.String("cert", "", "PEM `file` of -serve")
	key := flag.String("key", "", "PEM `file` of -serve")
	idleTimeout := flag.Duration("idle-timeout", 4*time.Second, "of -serve")
	flag.Parse()
	var err error
	switch *serve {
	case "":
		err = rehearse(*rounds, *only, *idle, *idleRounds)
	case "close(2)":
		err = serveAndClose(*addr)
	case ours:
		err = serveOurs(*addr, *cert, *key)
	default:
		err = servePeer(*serve, *addr, *cert, *key, *idleTimeout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "rehearse:", err)
		os.Exit(1)
	}
}

// load is what the servers are shut down under.
type load struct {
	name    string
	clients rehearsal.Clients
	tls     bool
	delay   time.Duration
	alone   bool // the peers serve nothing of the kind
	http2   bool // of a net/http handler
}

var http2Clients = rehearsal.Clients{Kind: rehearsal.HTTP2, Count: 16, Pause: 5 * time.Millisecond, Body: 10}

var loads = []load{
	{name: "64 connections, pauses of 0-5 ms", clients: rehearsal.Clients{Kind: rehearsal.KeepAlive, Count: 64, Pause: 5 * time.Millisecond, Body: 10}},
	{name: "500 connections, pauses of 0-4 ms", clients: rehearsal.Clients{Kind: rehearsal.KeepAlive, Count: 500, Pause: 4 * time.Millisecond, Body: 10}},
	{name: "64 KiB bodies in two segments", clients: rehearsal.Clients{Kind: rehearsal.Segmented, Count: 64, Pause: 5 * time.Millisecond, Body: 64 << 10}},
	{name: "pipelines of eight", clients: rehearsal.Clients{Kind: rehearsal.Pipelined, Count: 64, Pause: 5 * time.Millisecond, Body: 10}},
	{name: "a connection a request", clients: rehearsal.Clients{Kind: rehearsal.Fresh, Count: 16, Body: 10}},
	{name: "TLS", tls: true, clients: rehearsal.Clients{Kind: rehearsal.KeepAlive, Count: 64, Pause: 5 * time.Millisecond, Body: 10}},
	{name: "streams of 100 ms", alone: true, clients: rehearsal.Clients{Kind: rehearsal.Streaming, Count: 64, Pause: 5 * time.Millisecond, Path: "/stream?n=6&ms=20"}},
	{name: "WebSockets", alone: true, clients: rehearsal.Clients{Kind: rehearsal.WebSocket, Count: 64, Pause: 5 * time.Millisecond, Body: 10, Path: "/ws"}},
	{name: "HTTP/2, 16 connections of 8 streams", http2: true, clients: http2Clients},
	{name: "HTTP/2 over TLS", http2: true, tls: true, clients: http2Clients},
	{name: "HTTP/2, 20 ms away", http2: true, delay: 20 * time.Millisecond, clients: http2Clients},
	{name: "HTTP/2 over TLS, 20 ms away", http2: true, tls: true, delay: 20 * time.Millisecond, clients: http2Clients},
	{name: "20 ms away", delay: 20 * time.Millisecond, clients: rehearsal.Clients{Kind: rehearsal.KeepAlive, Count: 64, Pause: 5 * time.Millisecond, Body: 10}},
}

// server is a program to be shut down.
type server struct {
	name string
	run  func(args ...string) *rehearsal.Cmd
}

// ours is the name of the bundled server.
const ours = "lastcall"

// peer is this program, as another server.
func peer(name string) server {
	return server{name, func(args ...string) *rehearsal.Cmd {
		return rehearsal.Command(os.Args[0], append(args, "-serve", name)...)
	}}
}

// rehearse shuts the servers down in turn, and fails if the bundled one has lost a
// request.
func rehearse(rounds int, only string, idle, idleRounds int) error {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "rehearse")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	bundled := filepath.Join(dir, "server")
	build := exec.Command("go", "build", "-o", bundled, "github.com/lastcall-go/lastcall/examples/server") //nolint:gosec // a path of our own
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return err
	}
	cert, key, err := testcert.Files(testcert.New(), dir)
	if err != nil {
		return err
	}
	servers := []server{
		{ours, func(args ...string) *rehearsal.Cmd { return rehearsal.Command(bundled, append(args, "-log", "off")...) }},
		peer("fasthttp"),
		peer("net/http"),
	}

	fmt.Printf("Requests lost a shutdown (mean), of %d shutdowns each, and the median time a shutdown took:\n\n", rounds)
	fmt.Print("| load |")
	for _, s := range servers {
		fmt.Printf(" %s |", s.name)
	}
	fmt.Print("\n|---|---|---|---|\n")
	failed := 0
	for _, l := range loads {
		if !wanted.MatchString(l.name) {
			continue
		}
		fmt.Printf("| %s |", l.name)
		for _, s := range servers {
			if l.alone && s.name != ours || l.http2 && s.name == "fasthttp" {
				fmt.Print(" |")
				continue
			}
			if l.http2 && s.name == ours {
				s = peer(ours) // the bundled one has no net/http handlers
			}
			addr, err := rehearsal.FreeAddr()
			if err != nil {
				return err
			}
			args := []string{"-addr", addr}
			plan := rehearsal.Plan{Clients: []rehearsal.Clients{l.clients}, Rounds: rounds, Path: "/echo", Delay: l.delay}
			if l.delay > 0 {
				plan.After = 10 * l.delay
			}
			if l.tls {
				args = append(args, "-cert", cert, "-key", key)
				plan.TLS = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // our own, on loopback
			}
			plan.Start = s.run(args...).At(addr)
			result, err := plan.Rehearse()
			if err != nil {
				return err
			}
			fmt.Printf(" %.4g, %v |", float64(len(result.Lost))/float64(result.Rounds), result.MedianDrain().Round(time.Millisecond))
			if s.name == ours && len(result.Lost)+len(result.Errors) > 0 {
				failed += len(result.Lost) + len(result.Errors)
				fmt.Fprint(os.Stderr, result)
			}
		}
		fmt.Println()
	}
	if failed > 0 {
		return fmt.Errorf("the bundled server lost requests, or failed: %d", failed)
	}
	if idle == 0 {
		return nil
	}
	return rehearseIdle(servers, idle, idleRounds)
}
