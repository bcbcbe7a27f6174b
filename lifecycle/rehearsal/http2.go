package rehearsal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// http2 calls the server by net/http's client, with Depth streams at a time on one
// connection, or on the next one when the server has asked it to leave that.
func (c *client) http2() {
	transport := c.transport()
	defer transport.CloseIdleConnections()
	if !c.post(transport, 1) {
		return
	}
	c.inPosition()
	var streams sync.WaitGroup
	for i := range c.Depth {
		streams.Go(func() {
			for n := i + 2; ; n += c.Depth {
				time.Sleep(c.pause())
				if !c.post(transport, n) {
					return
				}
			}
		})
	}
	streams.Wait()
}

func (c *client) transport() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(c.plan.TLS != nil)
	protocols.SetUnencryptedHTTP2(c.plan.TLS == nil)
	return &http.Transport{
		Protocols:       protocols,
		TLSClientConfig: c.plan.TLS.Clone(),
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			if c.began.Load() == nil { // see hold
				return c.connect(c.timeout)
			}
			return c.connect(dialTimeout)
		},
	}
}

// post makes the nth request, and reports whether another one is worth while. What the
// client would send again has been lost.
func (c *client) post(transport *http.Transport, n int) bool {
	var sent atomic.Int32
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Add(1) }})
	url := "http://rehearsal" + c.path
	if c.plan.TLS != nil {
		url = "https://rehearsal" + c.path
	}
	body := io.NopCloser(strings.NewReader(strings.Repeat("x", c.Body))) // which cannot be had again
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		c.fail(err)
		return false
	}
	if req.ContentLength = int64(c.Body); c.Body == 0 {
		req.Body = http.NoBody
	}
	ended, err := exchange(transport, req)
	switch {
	case err == nil && ended == "" && sent.Load() == 1:
		c.served[c.Kind].Add(1)
		return true
	case c.awaited:
		if err == nil {
			err = errors.New(ended)
		}
		c.fail(err)
	case sent.Load() == 0: // it has not been accepted
	case sent.Load() > 1:
		ended = "sent again"
		fallthrough
	default:
		if ended == "" {
			ended = err.Error()
		}
		c.round.lose(lost{Loss: Loss{Kind: c.Kind, What: c.what, Request: n, Ended: ended}, sent: began, at: time.Now()})
	}
	return false
}

// exchange returns how a request ended if that was not well.
func exchange(transport *http.Transport, req *http.Request) (ended string, err error) {
	resp, err := transport.RoundTrip(req)
	if err == nil {
		defer func() { _ = resp.Body.Close() }()
		_, err = io.Copy(io.Discard, resp.Body)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout", err
	case err != nil:
		return "", err
	case resp.ProtoMajor != 2:
		return fmt.Sprintf("refused: it is %s", resp.Proto), nil
	case resp.StatusCode != http.StatusOK:
		return refused(resp.Status).Error(), nil
	}
	return "", nil
}
