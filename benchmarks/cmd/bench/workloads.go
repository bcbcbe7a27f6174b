package main

import (
	"fmt"

	"github.com/lastcall-go/lastcall/benchmarks/internal/contract"
)

// workload is a load under which requests are counted.
type workload struct {
	Name     string
	Path     string
	Conns    int
	Pipeline int  // requests sent at once; 0 is 1
	Upload   int  // a POST with a body of that many bytes; 0 is a GET
	TLS      bool // to the contender's TLS server
	Fresh    bool // Connection: close on each request
	Streams  int  // that each connection has open at a time, by HTTP/2; 0 is HTTP/1
	Net      bool // of net/http handlers: for contenders that have them

	// stretch makes slots that many times as long: 1000 connections have to be
	// made first, as TLS handshakes have, and handed over, and of large bodies a slot has few.
	stretch int
}

// workloads are those of requests per second and CPU time per request. A name's
// first part is the table that it goes to.
func workloads() (all []workload) {
	for _, body := range []struct {
		name string
		page contract.Page
	}{{"13B", contract.Plain13}, {"1kB", contract.Plain1k}, {"16kB", contract.Plain16k}, {"64kB", contract.Plain64k}} {
		for _, conns := range []int{1, 64, 1000} {
			stretch := 1
			if conns == 1000 {
				stretch = 2
			}
			all = append(all, workload{
				Name: fmt.Sprintf("plain/%s/%d", body.name, conns),
				Path: body.page.Path, Conns: conns, stretch: stretch,
			})
		}
	}
	all = append(all,
		workload{Name: "pipelined/13B/64x16", Path: contract.Plain13.Path, Conns: 64, Pipeline: 16, stretch: 1},
		workload{Name: "upload/1kB/64", Path: contract.Upload, Conns: 64, Upload: 1 << 10, stretch: 1},
		workload{Name: "upload/1MB/16", Path: contract.Upload, Conns: 16, Upload: 1 << 20, stretch: 2},
		workload{Name: "file/10MB/4", Path: contract.File, Conns: 4, stretch: 2},
		workload{Name: "tls/13B/64", Path: contract.Plain13.Path, Conns: 64, TLS: true, stretch: 2},
		workload{Name: "tls/16kB/64", Path: contract.Plain16k.Path, Conns: 64, TLS: true, stretch: 2},
		workload{Name: "fresh/13B/64", Path: contract.Plain13.Path, Conns: 64, Fresh: true, stretch: 1},
		workload{Name: netGroup + "hello/64", Path: contract.NetHello, Conns: 64, Net: true, stretch: 2},
		workload{Name: netGroup + "echo-2kB/64", Path: contract.NetEcho, Conns: 64, Upload: 2 << 10, Net: true, stretch: 2},
		workload{Name: netGroup + "stream/64", Path: contract.NetStream, Conns: 64, Net: true, stretch: 2},
	)
	for _, name := range []string{"h2c-", "h2-"} {
		http2 := workload{Conns: 4, Streams: 16, TLS: name == "h2-", Net: true, stretch: 2}
		for _, one := range []struct {
			name, path string
			upload     int
		}{{"hello", contract.NetHello, 0}, {"echo-2kB", contract.NetEcho, 2 << 10}, {"plain-13B", contract.Plain13.Path, 0}} {
			http2.Name = fmt.Sprintf("%s%s%s/%dx%d", netGroup, name, one.name, http2.Conns, http2.Streams)
			http2.Path, http2.Upload = one.path, one.upload
			all = append(all, http2)
		}
	}
	return all
}

// netGroup begins the names of the workloads of net/http handlers.
const netGroup = "net-http/"

// workloadNames are those and all others.
func workloadNames() (names []string) {
	for _, w := range workloads() {
		names = append(names, w.Name)
	}
	for _, n := range idleConnections {
		names = append(names, idleName(n))
	}
	for _, e := range exitWorkloads {
		names = append(names, e.name)
	}
	return append(names, inProcessName)
}
