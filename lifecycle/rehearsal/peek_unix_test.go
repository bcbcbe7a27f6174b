//go:build unix

package rehearsal

import (
	"crypto/tls"
	"net"
	"runtime"
	"testing"
	"time"
)

// Session tickets are no end, and what comes behind them is one.
func TestTheEndIsSeenBehindSessionTickets(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			ln, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ln.Close() }()
			end := make(chan struct{})
			go func() {
				nc, err := ln.Accept()
				if err != nil {
					return
				}
				_ = nc.(*tls.Conn).Handshake()
				<-end
				_ = nc.Close()
			}()
			conf := &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			r := &round{plan: Plan{TLS: conf}, timeout: DefaultTimeout, connect: func(time.Duration) (net.Conn, error) {
				return net.Dial("tcp", ln.Addr().String())
			}}
			c, err := r.dial(DefaultTimeout)
			if err != nil {
				close(end)
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			if version == tls.VersionTLS13 {
				await(t, c.socket.raw)
			}
			if ended(c.socket.raw, false) {
				t.Error("nothing has ended yet")
			}
			close(end)
			for start := time.Now(); !ended(c.socket.raw, false); runtime.Gosched() {
				if time.Since(start) > DefaultTimeout {
					t.Fatal("the end is not seen")
				}
			}
		})
	}
}

// await returns when there is something to read.
func await(t *testing.T, c *net.TCPConn) {
	rc, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = rc.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _ := peek(fd, b[:])
		return n > 0
	})
	if err != nil {
		t.Fatal(err)
	}
}
