package servertest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// Client is one connection of a client that retries nothing.
type Client struct {
	net.Conn
	T        testing.TB
	R        *bufio.Reader // reads from Conn
	patience time.Duration // for each Send and Reply, and what follows; 0: no bound
}

func newClient(t testing.TB, nc net.Conn, patience time.Duration) *Client {
	return &Client{nc, t, bufio.NewReader(nc), patience}
}

func (c *Client) wait() {
	if c.patience > 0 {
		_ = c.SetDeadline(time.Now().Add(c.patience))
	}
}

// Send sends a text as it is.
func (c *Client) Send(text string) {
	c.T.Helper()
	c.wait()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.T.Fatalf("send: %v", err)
	}
}

// Ask sends a request. Headers are names and values by turns; Content-Length is added, and
// Host where there is none.
func (c *Client) Ask(method, path, body string, headers ...string) {
	c.T.Helper()
	c.Send(request(method, path, body, headers...))
}

func request(method, path, body string, headers ...string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\n", method, path)
	for i := 0; i+1 < len(headers); i += 2 {
		fmt.Fprintf(&text, "%s: %s\r\n", headers[i], headers[i+1])
	}
	if !slices.Contains(headers, "Host") {
		text.WriteString("Host: localhost:8080\r\n")
	}
	if body != "" || method == "POST" {
		fmt.Fprintf(&text, "Content-Length: %d\r\n", len(body))
	}
	return text.String() + "\r\n" + body
}

// Reply is a response that has been read to its end.
type Reply struct {
	*http.Response
	Text string // its body
}

// Reply reads the response to a request of the method.
func (c *Client) Reply(method string) Reply {
	c.T.Helper()
	c.wait()
	resp, err := http.ReadResponse(c.R, &http.Request{Method: method})
	if err != nil {
		c.T.Fatalf("response: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		c.T.Fatalf("response body: %v", err)
	}
	return Reply{resp, string(body)}
}

// Do makes a request: Ask and Reply.
func (c *Client) Do(method, path, body string, headers ...string) Reply {
	c.T.Helper()
	c.Ask(method, path, body, headers...)
	return c.Reply(method)
}

// Get is Do of a GET request.
func (c *Client) Get(path string, headers ...string) Reply {
	c.T.Helper()
	return c.Do("GET", path, "", headers...)
}
