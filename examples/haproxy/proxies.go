package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// proxy is one in front of the instances.
type proxy struct {
	command   []string
	keepAlive bool // clients keep their connections
	// witness returns what the proxy itself has counted, and how many requests failed.
	witness func(ctx context.Context, dir string, front *process) (says string, failed int, err error)
}

var proxies = map[string]proxy{
	"haproxy": {[]string{"haproxy", "-db", "-f", "haproxy.cfg"}, true, haproxySays},
	// An nginx that reloads its configuration closes its clients' connections.
	"nginx": {[]string{"nginx", "-p", ".", "-c", "nginx.conf"}, false, nginxSays},
}

// haproxySays adds up the statistics of the backend's servers: errors of connections
// and of responses, retries, redispatches, and responses of 5xx.
func haproxySays(ctx context.Context, dir string, _ *process) (string, int, error) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "in.sock"))
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/stats;csv", http.NoBody)
	if err != nil {
		return "", 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	rows, err := csv.NewReader(resp.Body).ReadAll()
	if err != nil {
		return "", 0, err
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	sum := func(name string) (n int) {
		for _, row := range rows[1:] {
			if row[0] == "instances" && row[1] == "BACKEND" {
				n, err = strconv.Atoi(row[column[name]])
			}
		}
		return n
	}
	answered, failed, says := sum("hrsp_2xx"), 0, []string(nil)
	for _, name := range []string{"econ", "eresp", "wretr", "wredis", "hrsp_5xx"} {
		n := sum(name)
		failed += n
		says = append(says, fmt.Sprintf("%s %d", name, n))
	}
	return fmt.Sprintf("%d answered, %s", answered, strings.Join(says, ", ")), failed, err
}

// nginxSays counts the lines of its log by their status, once all are written.
func nginxSays(_ context.Context, dir string, front *process) (string, int, error) {
	front.end()
	return nginxLog(dir)
}

func nginxLog(dir string) (string, int, error) {
	log, err := os.ReadFile(filepath.Join(dir, "access.log")) //nolint:gosec // our own directory
	if err != nil {
		return "", 0, err
	}
	answered, failed := 0, 0
	for line := range strings.Lines(string(log)) {
		status, upstream, _ := strings.Cut(line, " ")
		if status == "200" && !strings.Contains(upstream, ",") { // a second try
			answered++
			continue
		}
		failed++
	}
	return fmt.Sprintf("%d answered, %d failed or tried again", answered, failed), failed, nil
}
