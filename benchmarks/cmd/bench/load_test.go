package main

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestParseLoad(t *testing.T) {
	const output = `Running 1m test @ http://127.0.0.1:8080/plain/13
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   717.36us  137.98us   3.92ms   93.91%
  17000 requests in 200.11ms, 2.27MB read
Requests/sec:  84953.28

{"requests":17000,"duration_us":200110,"bytes":2380000,"connect_errors":1,"read_errors":2,"write_errors":3,"status_errors":4,"timeouts":5}
`
	got, err := parseLoad([]byte(output))
	want := load{Requests: 17000, Micros: 200110, Bytes: 2380000, Connect: 1, Read: 2, Write: 3, Status: 4, Timeout: 5}
	if err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if got.check() == nil {
		t.Error("a load with errors passes the check")
	}
	for _, bad := range []string{"", "unable to connect\n", "{broken\n"} {
		if got, err := parseLoad([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
	if (load{}).check() == nil {
		t.Error("a load without requests passes the check")
	}
}

func TestWrkScript(t *testing.T) {
	for _, tc := range []struct {
		w    workload
		has  string
		lack string
	}{
		{workload{}, "done =", "request ="},
		{workload{Upload: 1024}, "string.rep('x', 1024)", "request ="},
		{workload{Fresh: true}, "'Connection'] = 'close'", "request ="},
		{workload{Pipeline: 16}, "string.rep(wrk.format(), 16)", "POST"},
	} {
		got := wrkScript(tc.w)
		if !strings.Contains(got, tc.has) || strings.Contains(got, tc.lack) {
			t.Errorf("%+v: want %q, and no %q:\n%s", tc.w, tc.has, tc.lack, got)
		}
	}
}

func TestOwnRequest(t *testing.T) {
	get := order{workload: workload{Path: "/p", Pipeline: 2}, Addr: "a"}
	if got, want := string(get.bytes()), strings.Repeat("GET /p HTTP/1.1\r\nHost: a\r\n\r\n", 2); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	post := order{workload: workload{Path: "/u", Upload: 3, Fresh: true}, Addr: "a"}
	if got, want := string(post.bytes()), "POST /u HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nxxx"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestReadResponse(t *testing.T) {
	for _, tc := range []struct {
		in  string
		ok  bool
		err bool
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: y\r\n\r\nabc", true, false},
		{"HTTP/1.1 204 No Content\r\ncontent-length:0\r\n\r\n", true, false},
		{"HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nabc", false, false},
		{"HTTP/1.1 200 OK\r\n\r\nabc", false, true},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", false, true},
		{"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", false, true},
		{"", false, true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", true, false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", false, true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nabc\r\n", false, true},
	} {
		r := bufio.NewReader(strings.NewReader(tc.in))
		ok, n, err := readResponse(r)
		if (err != nil) != tc.err || err == nil && (ok != tc.ok || n != len(tc.in)) {
			t.Errorf("%q: %v, %d bytes, %v", tc.in, ok, n, err)
		}
	}
}

func TestStreams(t *testing.T) {
	for _, over := range []string{"h2c", "TLS"} {
		var c client
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c.requests.Load() >= 20 { // two may be counted between two requests
				c.over.Store(true)
			}
			_, _ = io.Copy(w, r.Body)
		}))
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetHTTP2(over == "TLS")
		s.Config.Protocols.SetUnencryptedHTTP2(over != "TLS")
		if s.EnableHTTP2 = over == "TLS"; s.EnableHTTP2 {
			s.StartTLS()
		} else {
			s.Start()
		}
		c.order = order{workload: workload{Path: "/e", Upload: 3, Streams: 2, TLS: s.EnableHTTP2}, Addr: s.Listener.Addr().String()}
		c.request = c.bytes()
		c.runStreams()
		n := c.requests.Load()
		if n < 20 || c.received.Load() != 3*n || c.connectErrors.Load()+c.readErrors.Load()+c.statusErrors.Load() > 0 {
			t.Errorf("%s: %d requests, %d bytes, errors: %d to connect, %d to read, %d of status", over, n,
				c.received.Load(), c.connectErrors.Load(), c.readErrors.Load(), c.statusErrors.Load())
		}
		s.CloseClientConnections()
		s.Close()
	}
}
