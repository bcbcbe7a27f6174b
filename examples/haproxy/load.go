package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// load sends POST requests at a rate, whether those before have been answered or not.
type load struct {
	client *http.Client
	stop   chan struct{} // closed when no more are to be sent
	done   sync.WaitGroup

	sent     int        // of its goroutine alone, until done
	mu       sync.Mutex // guards failures
	failures []error
}

func startLoad(socket string, rate int, keepAlive bool) *load {
	l := &load{stop: make(chan struct{}), client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives:   !keepAlive,
		MaxIdleConnsPerHost: 100,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
	l.done.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for ; ; l.sent++ {
			select {
			case <-tick.C:
				l.done.Go(func() { l.post(l.sent) })
			case <-l.stop:
				return
			}
		}
	})
	return l
}

func (l *load) post(n int) {
	if err := l.try(fmt.Sprintf("order %d", n)); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.failures = append(l.failures, fmt.Errorf("request %d: %w", n, err))
	}
}

// try sends a request that nothing sends again: its body can be read once.
func (l *load) try(body string) error {
	once := struct{ io.Reader }{strings.NewReader(body)}
	resp, err := l.client.Post("http://localhost/echo", "text/plain", once)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || string(got) != body) {
		err = errors.New(resp.Status)
	}
	return err
}

// end returns how many requests were sent, and those that failed.
func (l *load) end() (sent int, failures []error) {
	close(l.stop)
	l.done.Wait()
	l.client.CloseIdleConnections()
	return l.sent, l.failures
}
