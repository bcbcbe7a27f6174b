package lifecycle

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

const farewell = "event: drain\ndata: closedown\n\n"

// sse streams events until end is closed, says farewell, and tells how it ended.
func sse(end <-chan struct{}, ended chan<- error) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		ctx.SetContentType("text/event-stream")
		ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for n := 0; ; n++ {
				fmt.Fprintf(w, "event: tick\ndata: %d\n\n", n)
				if err := w.Flush(); err != nil {
					ended <- err
					return
				}
				select {
				case <-tick.C:
				case <-end:
					_, _ = io.WriteString(w, farewell)
					ended <- w.Flush()
					return
				}
			}
		})
	}
}

// stuckReader is a body that says a little and then nothing until it is let on.
type stuckReader struct {
	io.Reader
	release <-chan struct{}
}

func (r *stuckReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if err == io.EOF {
		<-r.release
	}
	return n, err
}

// streaming asks for the path and reads the begin of its stream.
func (c *client) streaming(path, begin string) *http.Response {
	c.t.Helper()
	c.send("GET " + path + " HTTP/1.1\r\nHost: t\r\n\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	got := make([]byte, len(begin))
	if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != begin {
		c.t.Fatalf("the stream begins with %q, %v", got, err)
	}
	return resp
}

// wantStreamsEnd wants the stream to end as it should, with the farewell.
func (c *client) wantStreamsEnd(resp *http.Response) {
	c.t.Helper()
	rest, err := io.ReadAll(resp.Body)
	if err != nil || !strings.HasSuffix(string(rest), farewell) {
		c.t.Errorf("the stream ends with %q, %v", rest[max(0, len(rest)-60):], err)
	}
}

// A stream that heeds the drain comes to its own end, and its client sees that end.
func TestContract09StreamsThatHeed(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			const n = 3
			ended := make(chan error, n)
			s := &Server{LastCall: time.Millisecond, DrainTimeout: -1}
			s.HTTP = quiet(sse(s.Draining(), ended))
			r := runKind(t, kind, s)
			streams := map[*client]*http.Response{}
			for range n {
				c := r.dial()
				streams[c] = c.streaming("/events", "event: tick\n")
			}
			r.Drain()
			for c, resp := range streams {
				c.wantStreamsEnd(resp)
				c.wantEOF()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
			if err := r.wait(); err != nil {
				t.Error(err)
			}
			if rep := r.Report(); rep.Open.Active != n || len(rep.Cut) != 0 {
				t.Errorf("report %+v", rep)
			}
		})
	}
}

// A stream that does not is cut, and its client can tell: what it gets is not a
// complete response.
func TestContract09StreamsThatDoNotHeedAreCut(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			release, ended := make(chan struct{}), make(chan error, 1)
			endless := sse(nil, ended)
			s := &Server{DrainTimeout: 30 * time.Millisecond, AbortTimeout: 10 * time.Millisecond}
			s.HTTP = quiet(func(ctx *fasthttp.RequestCtx) {
				stuck := &stuckReader{strings.NewReader("begin"), release}
				switch string(ctx.Path()) {
				case "/endless":
					endless(ctx)
				case "/stuck":
					ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
						_, _ = io.WriteString(w, "begin")
						_ = w.Flush()
						<-release
					})
				case "/chunked":
					ctx.SetBodyStream(stuck, -1)
				case "/sized":
					ctx.SetBodyStream(stuck, 100)
				}
				ctx.Response.ImmediateHeaderFlush = true
			})
			r := runKind(t, kind, s)
			streams := map[string]*http.Response{}
			streams["/endless"] = r.dial().streaming("/endless", "event: tick\n")
			streams["/stuck"] = r.dial().streaming("/stuck", "begin")
			for _, path := range []string{"/chunked", "/sized"} { // fasthttp holds what is less than its buffer
				streams[path] = r.dial().streaming(path, "")
			}
			r.Drain()
			for path, resp := range streams {
				if rest, err := io.ReadAll(resp.Body); err == nil {
					t.Errorf("%s ends in good order, after %d bytes", path, len(rest))
				}
			}
			err := r.wait()
			if !errors.Is(err, ErrDrainTimeout) || ExitCode(err) != 2 {
				t.Error(err)
			}
			if err := <-ended; err == nil {
				t.Error("the endless stream has come to an end")
			}
			cut := r.Report().Cut
			for _, info := range cut {
				path := strings.TrimPrefix(info.Route, "GET ")
				if streams[path] == nil || info.State != StateActive || info.Age < 40*time.Millisecond {
					t.Errorf("cut %+v", info)
				}
				delete(streams, path)
			}
			if len(streams) > 0 {
				t.Errorf("cut %+v; not %v", cut, streams)
			}
			close(release)
			for r.conns.open.Load() > 0 {
				time.Sleep(time.Millisecond)
			}
		})
	}
}
