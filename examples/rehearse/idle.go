package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/lastcall-go/lastcall/lifecycle/rehearsal"
)

// rehearseIdle ends servers that hold idle connections, and says how long it took and
// how the clients saw it. It fails if the bundled server's clients saw anything but a
// FIN.
func rehearseIdle(servers []server, count, rounds int) error {
	waits := []time.Duration{500 * time.Millisecond, 4 * time.Second}

	fmt.Printf("\nFrom SIGTERM to the process's end with %d idle connections, median of %d shutdowns, and connections that did not end with a FIN:\n\n", count, rounds)
	fmt.Printf("| server | idle for %v | idle for %v |\n|---|---|---|\n", waits[0], waits[1])
	for _, s := range append(servers, peer("close(2)")) {
		fmt.Printf("| %s |", s.name)
		for _, wait := range waits {
			result, err := rehearsal.Plan{
				Start:   startElsewhere(s),
				Clients: []rehearsal.Clients{{Kind: rehearsal.Idle, Count: count}},
				Rounds:  rounds, Path: "/echo", After: wait, Jitter: time.Millisecond,
			}.Rehearse()
			if err != nil {
				return err
			}
			fmt.Printf(" %v, %d |", result.MedianDrain().Round(time.Millisecond), len(result.Lost))
			if s.name == ours && len(result.Lost)+len(result.Errors) > 0 {
				return fmt.Errorf("the bundled server: %v", result)
			}
		}
		fmt.Println()
	}
	return nil
}

// startElsewhere starts a server each time on another address: one address's ports
// would soon be used up.
func startElsewhere(s server) func() (*rehearsal.Target, error) {
	return func() (*rehearsal.Target, error) {
		addr, err := rehearsal.FreeAddr()
		if err != nil {
			return nil, err
		}
		return s.run("-addr", addr, "-idle-timeout", "60s").At(addr)()
	}
}

// serveAndClose answers one request on each connection. On SIGTERM it closes them by
// nothing but close(2), one after the other: what closing costs at least.
func serveAndClose(addr string) error {
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	var lc net.ListenConfig
	ln, err := lc.Listen(stop, "tcp", addr)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var conns []net.Conn
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReaderSize(nc, 512)); err != nil {
				_ = nc.Close()
				continue
			}
			_, _ = fmt.Fprint(nc, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			mu.Lock()
			conns = append(conns, nc)
			mu.Unlock()
		}
	}()
	<-stop.Done()
	mu.Lock()
	defer mu.Unlock()
	for _, nc := range conns {
		_ = nc.Close()
	}
	return nil
}
