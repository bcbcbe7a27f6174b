package toolkit

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/internal/testtool"
)

func sayRemote(ctx *fasthttp.RequestCtx) { ctx.SetBodyString(ctx.RemoteAddr().String()) }

const (
	headerV1  = "PROXY TCP4 192.0.2.7 10.0.0.1 99 80\r\n"
	header6V1 = "PROXY TCP6 2001:db8::7 2001:db8::1 99 80\r\n"
)

// headerV2 is a header of version 2 by its command, its family and what follows.
func headerV2(command, family byte, rest string) string {
	return string(binary.BigEndian.AppendUint16([]byte("\r\n\r\n\x00\r\nQUIT\n"+string([]byte{command, family})), uint16(len(rest)))) + rest
}

const (
	tcp4 = "\xc0\x00\x02\x07\x0a\x00\x00\x01\x00\x63\x00\x50" // 192.0.2.7:99 to 10.0.0.1:80
	tlv  = "\x03\x00\x04abcd\x04\x00\x01\x00"
)

var tcp6 = "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x07" + strings.Repeat("\x00", 16) + "\x00\x63\x00\x50"

// own is the address of a connection itself.
const own = ""

var proxyHeaders = map[string]struct{ header, want string }{
	"v1":                       {headerV1, "192.0.2.7:99"},
	"v1, IPv6":                 {header6V1, "[2001:db8::7]:99"},
	"v1, unknown":              {"PROXY UNKNOWN\r\n", own},
	"v1, unknown, with more":   {"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", own},
	"v1, longest":              {"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", own},
	"v2":                       {headerV2(0x21, 0x11, tcp4), "192.0.2.7:99"},
	"v2, IPv6":                 {headerV2(0x21, 0x21, tcp6), "[2001:db8::7]:99"},
	"v2, TLVs":                 {headerV2(0x21, 0x11, tcp4+tlv), "192.0.2.7:99"},
	"v2, local":                {headerV2(0x20, 0x00, ""), own},
	"v2, local, addresses":     {headerV2(0x20, 0x11, tcp4), own},
	"v2, unspecified":          {headerV2(0x21, 0x00, ""), own},
	"v2, unspecified, TLVs":    {headerV2(0x21, 0x00, tlv), own},
	"v2, Unix":                 {headerV2(0x21, 0x31, strings.Repeat("x", 216)), own},
	"v2, as much as there may": {headerV2(0x21, 0x11, tcp4+strings.Repeat("x", 4096-len(tcp4))), "192.0.2.7:99"},
}

var badHeaders = map[string]string{
	"v1, LF alone":     "PROXY TCP4 192.0.2.7 10.0.0.1 99 80\n",
	"v1, too long":     "PROXY UNKNOWN " + strings.Repeat("x", 94) + "\r\n",
	"v1, endless":      "PROXY TCP4 " + strings.Repeat("1", 1000),
	"v1, no address":   "PROXY TCP4 a b 99 80\r\n",
	"v1, wrong family": "PROXY TCP4 2001:db8::7 2001:db8::1 99 80\r\n",
	"v1, port":         "PROXY TCP4 192.0.2.7 10.0.0.1 99999 80\r\n",
	"v1, protocol":     "PROXY UDP4 192.0.2.7 10.0.0.1 99 80\r\n",
	"v2, version":      headerV2(0x11, 0x11, tcp4),
	"v2, command":      headerV2(0x22, 0x11, tcp4),
	"v2, family":       headerV2(0x21, 0x41, tcp4),
	"v2, too short":    headerV2(0x21, 0x11, tcp4[1:]),
	"v2, too long":     headerV2(0x21, 0x11, tcp4+strings.Repeat("x", 4097-len(tcp4))),
	"v2, another":      "\r\n\r\n\x00\r\nQUIX\n!\x11\x00\x0c" + tcp4,
	"none":             "GET / HTTP/1.1\r\nHost: t\r\n\r\n",
	"TLS":              "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	"zeros":            strings.Repeat("\x00", 100),
}

func TestProxyProtocol(t *testing.T) {
	r := run(t, loopback().Get("/", sayRemote).ProxyProtocol("127.0.0.0/8"))
	for name, tt := range proxyHeaders {
		for how, parts := range map[string][]string{
			"with the request": {tt.header + getRequest},
			"alone":            {tt.header, getRequest},
			"byte by byte":     append(strings.Split(tt.header, ""), getRequest),
			"in halves":        {tt.header[:len(tt.header)/2], tt.header[len(tt.header)/2:] + getRequest[:5], getRequest[5:]},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				c := dialAddr(t, r.ListenAddrs()[0])
				want := tt.want
				if want == own {
					want = c.LocalAddr().String()
				}
				for _, part := range parts {
					c.send(part)
				}
				if got := c.reply("GET").text; got != want {
					t.Errorf("%s; want %s", got, want)
				}
				if got := c.get("/").text; got != want {
					t.Errorf("then %s; want %s", got, want)
				}
			})
		}
	}
	// Only the first header is one: the next is a request, and a broken one.
	c := r.dial()
	c.send(headerV1 + headerV1)
	if got := c.reply("GET"); got.StatusCode != fasthttp.StatusBadRequest {
		t.Error(got)
	}
}

func TestProxyProtocolWithoutAHeader(t *testing.T) {
	var log logs
	r := run(t, loopback().Logger(log.logger()).Get("/", sayRemote).ProxyProtocol("127.0.0.0/8"))
	for name, header := range badHeaders {
		c := r.dial()
		_, _ = io.WriteString(c.Conn, header+getRequest) // it may be closed before it has all
		if got, err := io.ReadAll(c.r); len(got) > 0 {
			t.Errorf("%s: read %q, %v", name, got, err)
		}
	}
	r.finish()
	lines := log.lines(t, "preface failed")
	if len(lines) != len(badHeaders) || len(log.lines(t, "request")) != 0 {
		t.Errorf("%d lines, and %d requests", len(lines), len(log.lines(t, "request")))
	}
	for _, line := range lines {
		if line["level"] != "warn" || !strings.HasPrefix(line["addr"].(string), "127.0.0.1:") || line["error"] == "" {
			t.Errorf("%v", line)
		}
	}
}

// Who is no proxy is served as it is, and cannot send a header.
func TestProxyProtocolFromElsewhere(t *testing.T) {
	r := run(t, loopback().Get("/", sayRemote).ProxyProtocol("192.0.2.0/24", "2001:db8::1"))
	c := r.dial()
	if got := c.get("/").text; got != c.LocalAddr().String() {
		t.Error(got)
	}
	c = r.dial()
	c.send(headerV1 + getRequest)
	if got := c.reply("GET"); got.StatusCode != fasthttp.StatusBadRequest {
		t.Error(got)
	}
}

// The header of a proxy's proxy is the next to be looked at.
func TestProxyProtocolThenTrustedProxies(t *testing.T) {
	var log logs
	r := run(t, loopback().Logger(log.logger()).Get("/", func(ctx *fasthttp.RequestCtx) {
		fmt.Fprintf(ctx, "%v %v", ctx.RemoteAddr(), ClientIP(ctx))
	}).ProxyProtocol("127.0.0.0/8").TrustedProxies("X-Forwarded-For", "192.0.2.7"))
	for header, want := range map[string]string{
		headerV1:  "192.0.2.7:99 198.51.100.1",
		header6V1: "[2001:db8::7]:99 2001:db8::7", // not trusted
	} {
		c := r.dial()
		c.send(header)
		if got := c.get("/", "X-Forwarded-For", "6.6.6.6, 198.51.100.1").text; got != want {
			t.Errorf("%s; want %s", got, want)
		}
	}
	r.finish()
	var remotes []string
	for _, line := range log.lines(t, "request") {
		remotes = append(remotes, line["remote"].(string))
	}
	if len(remotes) != 2 || strings.Contains(fmt.Sprint(remotes), "127.0.0.1") {
		t.Errorf("%v in the log", remotes)
	}
}

func TestProxyProtocolBeforeTLS(t *testing.T) {
	cert := certificate()
	r := run(t, loopback().TLS(certFiles(t, cert)).Get("/", sayRemote).ProxyProtocol("127.0.0.0/8"))
	for _, header := range []string{headerV1, headerV2(0x21, 0x11, tcp4)} {
		c := r.dial()
		c.send(header)
		c = newClient(t, tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true}))
		if got := c.get("/").text; got != "192.0.2.7:99" {
			t.Error(got)
		}
	}
}

// counted counts what is read of it.
type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

func FuzzProxyHeader(f *testing.F) {
	for _, tt := range proxyHeaders {
		f.Add([]byte(tt.header + getRequest))
	}
	for _, header := range badHeaders {
		f.Add([]byte(header))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &counted{Reader: bytes.NewReader(data)}
		addr, err := readProxyHeader(r)
		size := bytes.IndexByte(data, '\n') + 1 // of a header, if it is one
		most := maxHeaderV1
		if bytes.HasPrefix(data, []byte("\r\n")) && len(data) >= fixedV2 {
			size = fixedV2 + int(binary.BigEndian.Uint16(data[fixedV2-2:]))
			most = fixedV2 + 4096
		}
		if err == nil && r.n != size || r.n > most {
			t.Fatalf("read %d of %d bytes, %v", r.n, size, err)
		}
		if err != nil && addr != nil {
			t.Fatalf("%v and %v", addr, err)
		}
		slow, slowErr := readProxyHeader(iotest.OneByteReader(bytes.NewReader(data)))
		if !reflect.DeepEqual(addr, slow) || (err == nil) != (slowErr == nil) {
			t.Fatalf("%v, %v; byte by byte %v, %v", addr, err, slow, slowErr)
		}
		if addr != nil {
			_ = addr.String()
			if !ipOf(addr).IsValid() {
				t.Fatalf("%v has no address", addr)
			}
		}
	})
}

// haproxy starts HAProxy in front of a server, and returns where it listens. It skips
// the test where there is none.
func haproxy(t *testing.T, mode, server string) net.Addr {
	t.Helper()
	path := testtool.Find(t, "haproxy", "haproxy")
	ln, err := net.Listen("tcp", "127.0.0.1:0") // HAProxy gets it: no port to be taken meanwhile
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	config := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(config, fmt.Appendf(nil, `
defaults
	timeout connect %[1]ds
	timeout client %[1]ds
	timeout server %[1]ds
	mode %[2]s
frontend f
	bind fd@3
	default_backend b
backend b
	server s %[3]s
`, int(patience/time.Second), mode, server), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command(path, "-db", "-f", config)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = &out, &out, []*os.File{file}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("haproxy: %s", &out)
		}
	})
	return ln.Addr()
}

// dialFrom connects from an address of the loopback network that is not HAProxy's.
func dialFrom(t *testing.T, from string, addr net.Addr) *client {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	nc, err := d.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	return newClient(t, nc)
}

func TestBehindHAProxy(t *testing.T) {
	for _, version := range []string{"send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id,crc32c"} {
		t.Run(version, func(t *testing.T) {
			r := run(t, loopback().Get("/", sayRemote).ProxyProtocol("127.0.0.1"))
			addr := haproxy(t, "tcp", r.ListenAddrs()[0].String()+" "+version)
			for range 3 {
				c := dialFrom(t, "127.0.0.2", addr)
				for range 2 {
					if got := c.get("/"); got.text != c.LocalAddr().String() {
						t.Errorf("%v; want %v", got, c.LocalAddr())
					}
				}
			}
		})
		t.Run(version+", TLS", func(t *testing.T) {
			cert := certificate()
			r := run(t, loopback().TLS(certFiles(t, cert)).Get("/", sayRemote).ProxyProtocol("127.0.0.1"))
			c := dialFrom(t, "127.0.0.2", haproxy(t, "tcp", r.ListenAddrs()[0].String()+" "+version))
			local := c.LocalAddr().String()
			c = newClient(t, tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true}))
			if got := c.get("/"); got.text != local {
				t.Errorf("%v; want %v", got, local)
			}
		})
		t.Run(version+", HTTP", func(t *testing.T) {
			r := run(t, loopback().Get("/", sayRemote).ProxyProtocol("127.0.0.1"))
			c := dialFrom(t, "127.0.0.2", haproxy(t, "http", r.ListenAddrs()[0].String()+" "+version))
			if got := c.get("/"); got.text != c.LocalAddr().String() {
				t.Errorf("%v; want %v", got, c.LocalAddr())
			}
		})
	}
	t.Run("option forwardfor", func(t *testing.T) {
		r := run(t, loopback().Get("/", sayClient).TrustedProxies("X-Forwarded-For", "127.0.0.1"))
		c := dialFrom(t, "127.0.0.2", haproxy(t, "http", r.ListenAddrs()[0].String()+"\n\toption forwardfor"))
		for _, forged := range []string{"6.6.6.6", "127.0.0.1", "garbage,"} {
			if got := c.get("/", "X-Forwarded-For", forged, "Forwarded", "for=6.6.6.6"); got.text != "127.0.0.2" {
				t.Errorf("%v", got)
			}
		}
		if got := netip.MustParseAddr(c.get("/").text); got != netip.MustParseAddr("127.0.0.2") {
			t.Errorf("%v", got)
		}
	})
}
