package ecosystem

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// noted is a body that says whether it was sent.
type noted struct {
	io.Reader
	sent bool
}

func (n *noted) Read(p []byte) (int, error) {
	n.sent = true
	return n.Reader.Read(p)
}

// The client asks whether its body is wanted, and hears before it sends it.
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	each(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	}), func(s *server) {
		transport, ok := s.client.Transport.(*http.Transport)
		if !ok {
			transport = s.client.Transport.(*toAndFro).Transport
		}
		transport.ExpectContinueTimeout = patience
		for range 2 {
			for _, path := range []string{"/yes", "/no"} {
				body := &noted{Reader: strings.NewReader(strings.Repeat("x", 100_000))}
				r, _ := http.NewRequestWithContext(s.Context(), "POST", s.url+path, body)
				r.Header.Set("Expect", "100-continue")
				r.ContentLength = 100_000
				got := s.send(r)
				if path == "/yes" {
					s.want(got, 200, "100000 <nil>")
				} else if s.want(got, 403, "no"); body.sent {
					s.Error("the body was sent all the same")
				}
			}
		}
	})
}
