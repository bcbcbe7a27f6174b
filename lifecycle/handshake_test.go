package lifecycle

import (
	"crypto/tls"
	"io"
	"testing"
	"time"
)

// With each setting of fasthttp's own time limit, which would not end them.
func TestTLSHandshakeTimeout(t *testing.T) {
	for name, readTimeout := range map[string]time.Duration{"alone": 0, "with a read timeout": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &Server{HTTP: quiet(hello), TLSHandshakeTimeout: 200 * time.Millisecond}
			s.HTTP.ReadTimeout = readTimeout
			r := runKind(t, "tls", s)

			began := time.Now()
			silent, dribbling := r.client(r.dialRaw()), r.client(r.dialRaw())
			dribbling.send("\x16\x03\x01\x02\x00\x01\x00")
			go dribbling.dribbleHandshake()
			for _, c := range []*client{silent, dribbling} {
				if b, err := io.ReadAll(c.r); len(b) > 0 || isTimeout(err) {
					t.Errorf("read %q, %v; want the connection's end", b, err)
				}
			}
			if took := time.Since(began); took < s.TLSHandshakeTimeout {
				t.Errorf("ended after %v", took)
			}

			// What comes after the handshake has other limits.
			shaken := r.dial()
			if err := shaken.Conn.(*tls.Conn).Handshake(); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				time.Sleep(2 * s.TLSHandshakeTimeout)
				if resp := shaken.get("/"); body(resp) != "hello" {
					t.Error(resp.Status)
				}
			}
		})
	}
}

// dribbleHandshake sends on what looks like a handshake, until the connection ends.
func (c *client) dribbleHandshake() {
	for {
		if _, err := c.Write([]byte{0}); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
