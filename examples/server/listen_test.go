//go:build unix

package main

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/lastcall-go/lastcall/internal/testcert"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	cert, key, roots := certificate(t)
	p := start(t, "-cert", cert, "-key", key)
	p.tls = &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}
	slow, idle, told := p.dial(), p.dial(), p.dial()
	idle.get("/hello").want(t, http.StatusOK, greeting)
	told.get("/hello").want(t, http.StatusOK, greeting)
	slow.sendGet("/slow?ms=300")
	p.awaitRoute("GET /slow")
	p.drain()
	told.wantLast("/hello", http.StatusOK, greeting)
	idle.wantEOF() // without a close_notify before it, that were another error
	slow.response().want(t, http.StatusOK, "done")
	slow.wantEOF()
	p.wantExit(0)
}

// certificate returns the files of a new certificate for localhost and its key,
// and a pool for clients.
func certificate(t *testing.T) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	cert := testcert.New()
	certFile, keyFile, err := testcert.Files(cert, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile, testcert.Roots(cert)
}

func TestUnixSocketGoesWithTheServer(t *testing.T) {
	t.Parallel()
	p := startUnix(t, "-log", "json")
	idle := p.dial()
	idle.get("/hello").want(t, http.StatusOK, greeting)
	p.drain()
	idle.wantEOF()
	p.wantExit(0)
	if _, err := os.Lstat(p.addr); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestUnixSocketBesideTCP(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	p := start(t, "-unix", path)
	tcp := p.dial()
	tcp.get("/hello").want(t, http.StatusOK, greeting)
	p.network, p.addr = "unix", path
	p.dial().wantLast("/end", http.StatusOK, "Closedown")
	tcp.wantEOF()
	p.wantExit(0)
}

func TestUnixSocketOfCrashedServerIsTakenOver(t *testing.T) {
	t.Parallel()
	crashed := startUnix(t)
	crashed.signal(syscall.SIGKILL)
	<-crashed.exited
	if _, err := os.Lstat(crashed.addr); err != nil {
		t.Fatalf("no stale socket: %v", err)
	}
	p := launch(t, nil, "-addr", "", "-unix", crashed.addr, "-log", "json")
	p.network, p.addr = "unix", crashed.addr
	p.await("server ready")
	p.get("/hello").want(t, http.StatusOK, greeting)
}

func TestUnixSocketOfLiveServerIsInUse(t *testing.T) {
	t.Parallel()
	live := startUnix(t)
	p := launch(t, nil, "-addr", "", "-unix", live.addr, "-log", "json")
	p.wantStartFailure(live.addr, "address already in use")
	live.get("/hello").want(t, http.StatusOK, greeting)
}

func TestUnixPathOfFileIsLeftAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := launch(t, nil, "-addr", "", "-unix", path, "-log", "json")
	p.wantStartFailure(path, "address already in use")
	if data, err := os.ReadFile(path); string(data) != "data" {
		t.Errorf("the file has %q, %v", data, err)
	}
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	p := launch(t, nil, "-addr", ln.Addr().String(), "-log", "json")
	p.wantStartFailure(ln.Addr().String(), "address already in use")
}

func TestUnixSocketIsClosedAgainIfAnotherListenerFails(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	path := socketPath(t)
	p := launch(t, nil, "-addr", ln.Addr().String(), "-unix", path, "-log", "json")
	p.wantStartFailure(ln.Addr().String(), "address already in use")
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is there: %v", err)
	}
}
