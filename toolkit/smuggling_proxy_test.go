package toolkit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/internal/testtool"
)

// proxy is one that people put in front of a server.
type proxy struct {
	name string
	args func(config string) []string
	// config has the directory for its files and the server's address. It listens on
	// the socket in there: no port has to be chosen for it, which another might take.
	config string
}

// nginxHead has nginx run below the test, with its files in its directory.
const nginxHead = `
daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr crit;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
`

// Each writes on every request that it forwards what it takes it for, in place of
// what a client may have put there, and has one connection to the server, which it
// shares among its clients. Whoever waits for the rest of a request is let go soon.
var proxies = []proxy{
	{"haproxy", func(config string) []string { return []string{"-db", "-f", config} }, `
global
	nbthread 1
defaults
	mode http
	timeout connect 5s
	timeout server 5s
	timeout client 300ms
	timeout http-request 300ms
	http-reuse always
frontend in
	bind unix@%[1]s/in
	http-request set-header X-Forwarded-As "%%[method] %%[url]"
	http-request set-header X-Forwarded-Id %%[uuid()]
	default_backend out
backend out
	server one %[2]s maxconn 1 pool-max-conn 1
`},
	{"nginx", func(config string) []string { return []string{"-c", config} }, nginxHead + `
	client_header_timeout 300ms;
	client_body_timeout 300ms;
	underscores_in_headers on;
	ignore_invalid_headers off;
	map $request_uri $target { default $request_uri; ~^[?] /$request_uri; }
	upstream out { server %[2]s; keepalive 1; }
	server {
		listen unix:%[1]s/in;
		location / {
			proxy_pass http://out;
			proxy_http_version 1.1;
			proxy_request_buffering off;
			proxy_set_header Connection "";
			proxy_set_header Host $http_host;
			proxy_set_header X-Forwarded-As "$request_method $target";
			proxy_set_header X-Forwarded-Id $request_id;
		}
	}
}
`},
}

// start runs the proxy until the test's end, and returns where it listens.
func (p proxy) start(t *testing.T, server net.Addr) net.Addr {
	t.Helper()
	binary := testtool.Find(t, p.name, p.name)
	dir := t.TempDir()
	addr := &net.UnixAddr{Name: filepath.Join(dir, "in"), Net: "unix"}
	config := filepath.Join(dir, "config")
	if err := os.WriteFile(config, fmt.Appendf(nil, p.config, dir, server), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, p.args(config)...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() { defer close(over); _ = cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-over
		if t.Failed() {
			t.Logf("%s", output.Bytes())
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // it tells of its readiness in no other way
		c, err := net.DialUnix("unix", nil, addr)
		if err == nil {
			_ = c.Close()
			return addr
		}
		select {
		case <-over:
			t.Fatalf("%s has ended: %s", p.name, output.Bytes())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen: %v", p.name, err)
		}
	}
}

// witness is a handler that says in its answer what it has read, and compares that
// with what the proxy says it has forwarded.
type witness struct {
	mu     sync.Mutex // guards what follows
	ids    map[string]bool
	conns  map[string]bool // by the client's address
	read   int
	reused bool
	wrong  []string
}

func (w *witness) around(fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		var ids []string
		for _, id := range ctx.Request.Header.PeekAll("X-Forwarded-Id") {
			ids = append(ids, string(id))
		}
		read := fmt.Sprintf("%s %s", ctx.Method(), ctx.RequestURI())
		w.compare(ctx.RemoteAddr().String(), read, string(ctx.Request.Header.Peek("X-Forwarded-As")), ids)
		ctx.SetBodyString(read)
	}
}

// ServeHTTP is around for net/http.
func (w *witness) ServeHTTP(to http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	read := r.Method + " " + r.RequestURI
	w.compare(r.RemoteAddr, read, r.Header.Get("X-Forwarded-As"), r.Header.Values("X-Forwarded-Id"))
	_, _ = io.WriteString(to, read)
}

func (w *witness) compare(conn, read, as string, ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read++
	w.reused = w.reused || w.conns[conn]
	w.conns[conn] = true
	if read != as || len(ids) != 1 || w.ids[ids[0]] {
		w.wrong = append(w.wrong, fmt.Sprintf("read %q, forwarded as %q, ids %q", read, as, ids))
	}
	for _, id := range ids {
		w.ids[id] = true
	}
}

func (w *witness) takeWrong() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	wrong := w.wrong
	w.wrong = nil
	return wrong
}

// Of each message, sent by one client, the server reads behind a proxy what that has
// forwarded, request by request; and another client, whose requests go over the same
// connection to the server, is answered what it asked for. So it is whoever reads: native
// routes, one for net/http, and both on one connection.
func TestSmugglingProxies(t *testing.T) {
	servers := map[string]func(w *witness) *Builder{
		"native":   func(w *witness) *Builder { return loopback().Use(w.around) },
		"net/http": func(w *witness) *Builder { return loopback().NetHTTP("/", w) },
		"mixed":    func(w *witness) *Builder { return loopback().Use(w.around).Get("/other/{id}", hello).NetHTTP("/", w) },
	}
	for _, p := range proxies {
		for name, server := range servers {
			t.Run(p.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				w := &witness{ids: map[string]bool{}, conns: map[string]bool{}}
				r := run(t, server(w))
				w.proxied(t, p.start(t, r.ListenAddrs()[0]))
			})
		}
	}
}

// proxied sends the corpus to a proxy.
func (w *witness) proxied(t *testing.T, addr net.Addr) {
	other := dialAddr(t, addr)
	for i, m := range corpus {
		sendAll(t, addr, m)
		// The proxy may have let go of the other client, which was silent.
		for try := 0; ; try++ {
			path := fmt.Sprintf("/other/%d", i)
			got, err := ask(other, path)
			if err == nil && got == "GET "+path {
				break
			}
			if err == nil || try > 2 {
				t.Fatalf("%s: the other client was answered %q, %v", m.name, got, err)
			}
			other = dialAddr(t, addr)
		}
		if wrong := w.takeWrong(); len(wrong) > 0 {
			t.Errorf("%s: %q", m.name, wrong)
		}
	}
	if !w.reused {
		t.Error("no connection was used twice: nothing has been tested")
	}
	t.Logf("%d messages, %d requests read", len(corpus), w.read)
}

// ask makes a request on a connection, whose end is an error.
func ask(c *client, path string) (string, error) {
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: other\r\n\r\n", path); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(c.r, &http.Request{Method: "GET"})
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode == http.StatusRequestTimeout {
		return "", errors.New(resp.Status)
	}
	return string(body), err
}

// sendAll sends a message and a last request, and waits until the proxy has answered
// or refused all it takes for requests, and closed.
func sendAll(t *testing.T, addr net.Addr, m message) {
	t.Helper()
	c := dialAddr(t, addr)
	defer c.Close()
	// It may close before all is sent.
	_, _ = io.WriteString(c.Conn, m.raw+strings.Replace(canary, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
	if _, err := io.Copy(io.Discard, c.r); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("%s: %v", m.name, err)
	}
}
