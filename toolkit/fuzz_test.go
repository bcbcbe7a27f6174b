package toolkit

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// fed is a connection of a client that sends all it has at once, and ends.
type fed struct {
	in     *bytes.Reader
	mu     sync.Mutex // guards out
	out    bytes.Buffer
	closed chan struct{}
	once   sync.Once
}

func (c *fed) Read(p []byte) (int, error) { return c.in.Read(p) }

func (c *fed) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}

func (c *fed) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (*fed) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*fed) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*fed) SetDeadline(time.Time) error      { return nil }
func (*fed) SetReadDeadline(time.Time) error  { return nil }
func (*fed) SetWriteDeadline(time.Time) error { return nil }

// feeder is their listener.
type feeder struct {
	conns chan net.Conn
	over  chan struct{}
	once  sync.Once
}

func (l *feeder) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.over:
		return nil, net.ErrClosed
	}
}

func (l *feeder) Close() error {
	l.once.Do(func() { close(l.over) })
	return nil
}

func (*feeder) Addr() net.Addr { return &net.TCPAddr{} }

// serving returns the stacks of the goroutines that serve.
func serving() (stacks []string) {
	buf := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(stack, "lastcall/lifecycle.") || strings.Contains(stack, "fasthttp.(*") {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}

// FuzzServer sends a whole server whatever comes to mind. It answers each request
// that it takes for one with one response, that can be read, in order; ends the
// connection after a refusal; does not panic, and leaves no goroutine.
func FuzzServer(f *testing.F) {
	for _, m := range corpus {
		f.Add([]byte(m.raw + canary))
	}
	ln := &feeder{conns: make(chan net.Conn), over: make(chan struct{})}
	var methods []string // of requests in their order, one connection at a time
	var handled int
	b := quiet().Listener(ln).MaxBodySize(64<<10).
		Get("/a", hello).
		Post("/a", func(ctx *fasthttp.RequestCtx) { ctx.SetBody(ctx.PostBody()) }).
		Get("/stream", func(ctx *fasthttp.RequestCtx) { ctx.SetBodyStream(bytes.NewReader([]byte("body")), -1) }).
		Any("/{path:*}", func(ctx *fasthttp.RequestCtx) { ctx.SetBody(ctx.RequestURI()) }).
		Use(func(next fasthttp.RequestHandler) fasthttp.RequestHandler {
			return func(ctx *fasthttp.RequestCtx) {
				handled++
				next(ctx)
			}
		}).
		Configure(func(h *fasthttp.Server) {
			next := h.Handler
			h.Handler = func(ctx *fasthttp.RequestCtx) {
				methods = append(methods, string(ctx.Method()))
				next(ctx)
			}
		})
	s := run(f, b)
	f.Cleanup(func() {
		s.finish()
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // nothing tells of a goroutine's end
			left := serving()
			if len(left) == 0 {
				return
			}
			if time.Now().After(deadline) {
				f.Fatalf("goroutines are left: %s", left)
			}
		}
	})
	f.Fuzz(func(t *testing.T, sent []byte) {
		methods, handled = methods[:0], 0
		c := &fed{in: bytes.NewReader(sent), closed: make(chan struct{})}
		ln.conns <- c
		select {
		case <-c.closed:
		case <-time.After(patience):
			t.Fatal("the connection has not ended")
		}
		c.mu.Lock()
		out := slices.Clone(c.out.Bytes())
		c.mu.Unlock()
		answers, refusals := 0, 0
		for in := bufio.NewReader(bytes.NewReader(out)); ; {
			if _, err := in.Peek(1); errors.Is(err, io.EOF) {
				break
			}
			if refusals > 0 {
				t.Fatalf("a response follows a refusal: %q", out)
			}
			// A request that fasthttp refuses has no method, and its response a body.
			method := http.MethodPost
			if answers < len(methods) {
				method = methods[answers]
			}
			if method == http.MethodConnect {
				method = http.MethodPost // one without a tunnel
			}
			resp, err := http.ReadResponse(in, &http.Request{Method: method})
			if err != nil {
				t.Fatalf("response %d to %q: %v in %q", answers, methods, err, out)
			}
			if _, err := io.ReadAll(resp.Body); err != nil {
				t.Fatalf("body of response %d to %q: %v in %q", answers, methods, err, out)
			}
			if resp.StatusCode == http.StatusContinue {
				continue
			}
			answers++
			if resp.StatusCode == http.StatusBadRequest {
				refusals++
				if !resp.Close {
					t.Fatalf("refused without an end: %q", out)
				}
			}
		}
		if answers < len(methods) || answers > len(methods)+1 {
			t.Fatalf("%d responses to %q: %q", answers, methods, out)
		}
		if answers > handled+1 {
			t.Fatalf("%d responses, %d requests handled: %q", answers, handled, out)
		}
	})
}
