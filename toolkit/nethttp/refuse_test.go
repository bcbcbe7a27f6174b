package nethttp

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// A request that both refuse gets the same words from both. What fasthttp's errors say is
// not part of its contract: that they still say it is what this test is for.
func TestRefusalsHaveOneWording(t *testing.T) {
	for name, request := range map[string]string{
		"request line":        "GET / HTTP/x\r\nHost: t\r\n\r\n",
		"method":              "G<T / HTTP/1.1\r\nHost: t\r\n\r\n",
		"target":              "GET a b HTTP/1.1\r\nHost: t\r\n\r\n",
		"authority":           "GET http://[::1/ HTTP/1.1\r\nHost: t\r\n\r\n",
		"no Host":             "GET / HTTP/1.1\r\n\r\n",
		"no Host, but others": "GET / HTTP/1.1\r\nA: b\r\n\r\n",
		"two Hosts":           "GET / HTTP/1.1\r\nHost: t\r\nHost: t\r\n\r\n",
		"malformed Host":      "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
		"name":                "GET / HTTP/1.1\r\nHost: t\r\nA : b\r\n\r\n",
		"name, quoted":        "GET / HTTP/1.1\r\nHost: t\r\nA\"\t: b\r\n\r\n",
		"value":               "GET / HTTP/1.1\r\nHost: t\r\nA: \x01\r\n\r\n",
		"Content-Length":      "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: x\r\n\r\n",
		"coding":              "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip\r\n\r\n",
		"two codings":         "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
		"too large":           "GET / HTTP/1.1\r\nHost: t\r\nA: " + strings.Repeat("a", 3<<10) + "\r\n" + strings.Repeat("B: "+strings.Repeat("b", 3<<10)+"\r\n", 5) + "\r\n",
	} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/secure=%v", name, secure), func(t *testing.T) {
				var said [2]string
				for i, first := range []string{"/net", "/native"} { // who reads the second one
					r := run(t, "tcp", app{
						set:   func(s *lifecycle.Server) { s.HTTP.SecureErrorLogMessage = secure },
						mount: func(m *Mount) { m.HTTP.MaxHeaderBytes = 4 << 10 },
					})
					c := r.dial()
					c.get(first)
					c.send(request)
					got := c.reply("GET")
					said[i] = fmt.Sprintf("%s, %q, close %v: %s", got.Status, got.Header["Content-Type"], got.Close, got.text)
				}
				if said[0] != said[1] {
					t.Errorf("net/http: %s\nfasthttp: %s", said[0], said[1])
				}
			})
		}
	}
}
