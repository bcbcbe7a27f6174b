package lifecycle

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// stacks are the stacks of goroutines that servers have started, of this test and
// of others, without those that test.
func stacks() (left []string) {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		server := strings.Contains(stack, "valyala/fasthttp.") || strings.Contains(stack, "lastcall/lifecycle.")
		if server && !strings.Contains(stack, "testing.tRunner(") && !strings.Contains(stack, "fasthttp.updateServerDate") {
			left = append(left, stack)
		}
	}
	return left
}

// settle waits until no goroutine is left of servers that ran.
func settle(t *testing.T) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		left := stacks()
		if len(left) == 0 {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
		}
	}
}

// awaitNoMore waits until there are no more goroutines and descriptors than there
// were.
func awaitNoMore(t *testing.T, goroutines, files int) {
	t.Helper()
	for began := time.Now(); runtime.NumGoroutine() > goroutines || openFiles(t) > files; time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > patience {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines and %d files, before %d and %d:\n%s", runtime.NumGoroutine(), openFiles(t), goroutines, files, buf[:runtime.Stack(buf, true)])
		}
	}
}

// life is one of a server of which something might be left.
type life struct {
	set  func(t *testing.T, s *Server, release <-chan struct{}) // release is closed when Run has returned
	each func(n int, c *client)                                 // what each of some clients does
	end  func(s *Server)                                        // Drain, if nil
	want error                                                  // of Run
}

// cutSoon has what is left cut.
func cutSoon(s *Server) { s.DrainTimeout, s.AbortTimeout = 20*time.Millisecond, -1 }

// upload sends a request whose body is too large, and the begin of that.
func (c *client) upload() {
	c.t.Helper()
	c.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 8000\r\n\r\nbegin")
	if resp := c.response(); resp.StatusCode != fasthttp.StatusRequestEntityTooLarge {
		c.t.Error(resp.Status)
	}
	c.wantEOF()
}

func asks(_ int, c *client) { c.get("/") }

var lives = map[string]life{
	"idle, new and half": {
		set: func(_ *testing.T, s *Server, _ <-chan struct{}) { s.LastCall = time.Millisecond; cutSoon(s) },
		each: func(n int, c *client) {
			switch n % 3 {
			case 0:
				c.get("/")
			case 1:
				c.send("GET / HT")
			}
		},
		want: ErrDrainTimeout,
	},
	"hijacked": {
		set: func(_ *testing.T, s *Server, _ <-chan struct{}) {
			s.HTTP.Handler = func(ctx *fasthttp.RequestCtx) { ctx.Hijack(func(net.Conn) { <-s.Draining() }) }
		},
		each: asks,
	},
	"hijacked and cut": {
		set: func(_ *testing.T, s *Server, _ <-chan struct{}) {
			cutSoon(s)
			s.HTTP.Handler = func(ctx *fasthttp.RequestCtx) {
				ctx.Hijack(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
			}
		},
		each: asks,
		want: ErrDrainTimeout,
	},
	"kept": {
		set: func(_ *testing.T, s *Server, _ <-chan struct{}) {
			s.HTTP.KeepHijackedConns = true
			s.HTTP.Handler = func(ctx *fasthttp.RequestCtx) {
				ctx.Hijack(func(c net.Conn) {
					go func() {
						<-s.Draining()
						_ = c.Close()
					}()
				})
			}
		},
		each: asks,
	},
	"kept and cut": {
		set: func(_ *testing.T, s *Server, _ <-chan struct{}) {
			cutSoon(s)
			s.HTTP.KeepHijackedConns = true
			s.HTTP.Handler = func(ctx *fasthttp.RequestCtx) { ctx.Hijack(func(net.Conn) {}) }
		},
		each: asks,
		want: ErrDrainTimeout,
	},
	"handlers, cut": {
		set: func(_ *testing.T, s *Server, release <-chan struct{}) {
			cutSoon(s)
			s.HTTP.Handler = func(*fasthttp.RequestCtx) { <-release }
		},
		each: func(_ int, c *client) { c.send(request) },
		want: ErrDrainTimeout,
	},
	"handlers, closed": {
		set: func(_ *testing.T, s *Server, release <-chan struct{}) {
			s.HTTP.Handler = func(*fasthttp.RequestCtx) { <-release }
		},
		each: func(n int, c *client) {
			if n%2 == 0 {
				c.send(request)
			}
		},
		end:  func(s *Server) { _ = s.Close() },
		want: ErrForced,
	},
	"lingering": {
		set:  func(_ *testing.T, s *Server, _ <-chan struct{}) { s.HTTP.MaxRequestBodySize = 10 },
		each: func(_ int, c *client) { c.upload(); _ = c.Close() },
	},
	"lingering, cut": {
		set:  func(_ *testing.T, s *Server, _ <-chan struct{}) { s.HTTP.MaxRequestBodySize = 10; cutSoon(s) },
		each: func(_ int, c *client) { c.upload() },
		want: ErrDrainTimeout,
	},
	"streams, cut": {
		set: func(_ *testing.T, s *Server, _ <-chan struct{}) {
			cutSoon(s)
			s.HTTP.Handler = sse(nil, make(chan error, 10))
		},
		each: func(_ int, c *client) { c.streaming("/", "event: tick\n") },
		want: ErrDrainTimeout,
	},
	"hooks and work": {
		set: func(_ *testing.T, s *Server, release <-chan struct{}) {
			deaf := func(context.Context) error { <-release; return nil }
			s.OnDrain("heeds", func(context.Context) error { return nil })
			s.OnDrain("deaf", deaf, 10*time.Millisecond)
			s.PreExit("deaf", deaf, 10*time.Millisecond)
			s.PreExit("starts", func(context.Context) error {
				s.Go("of a hook", func(context.Context) {})
				return nil
			})
			s.Go("work", func(context.Context) { <-s.Draining() })
		},
		each: asks,
		want: context.DeadlineExceeded,
	},
	"hooks and work, cut": {
		set: func(_ *testing.T, s *Server, release <-chan struct{}) {
			cutSoon(s)
			s.OnDrain("stays", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, -1)
			s.Go("stays", func(ctx context.Context) { <-ctx.Done() })
			s.Go("deaf", func(context.Context) { <-release })
		},
		want: ErrDrainTimeout,
	},
	"a start hook that fails": {
		set: func(_ *testing.T, s *Server, _ <-chan struct{}) {
			s.OnStart("fails", func(context.Context) error { return errors.New("no") })
		},
		want: ErrStart,
	},
	"a start that fails": {
		set: func(t *testing.T, s *Server, _ <-chan struct{}) {
			s.Addrs = append(s.Addrs, "127.0.0.1:0", "unix:"+filepath.Join(t.TempDir(), "does", "not", "exist"))
		},
		want: ErrStart,
	},
	"a start that is called off": {
		set: func(_ *testing.T, s *Server, _ <-chan struct{}) {
			s.OnStart("long", func(ctx context.Context) error { s.Drain(); <-ctx.Done(); return ctx.Err() })
		},
	},
	"a listener that fails": {
		set: func(t *testing.T, s *Server, _ <-chan struct{}) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s.Listeners = append(s.Listeners, ln)
		},
		end:  func(s *Server) { _ = s.Listeners[0].Close() },
		want: errListener,
	},
}

// live lives a life on a listener of the kind. Nothing here holds on to the server
// for longer, as run would. What collected is closed when it has become garbage.
func (l life) live(t *testing.T, kind string) (collected chan struct{}) {
	collected = make(chan struct{})
	s := &Server{HTTP: quiet(hello)}
	runtime.AddCleanup(s, func(c chan struct{}) { close(c) }, collected)
	s.HTTP.IdleTimeout = time.Hour
	s.HTTP.MaxIdleWorkerDuration = 5 * time.Millisecond
	listenOnKind(t, kind, s)
	release := make(chan struct{})
	defer close(release)
	if l.set != nil {
		l.set(t, s, release)
	}
	r := &running{Server: s, t: t, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = s.Run(context.Background())
	}()
	select {
	case <-s.Reached(PhaseReady):
	case <-r.done:
	}
	if l.each != nil {
		for n := range 6 {
			c := r.dial()
			defer func() { _ = c.Close() }()
			l.each(n, c)
		}
		for s.conns.lastID.Load() < 6 {
			time.Sleep(time.Millisecond)
		}
	}
	if l.end == nil {
		l.end = (*Server).Drain
	}
	l.end(s)
	if err := r.wait(); !errors.Is(err, l.want) || l.want == nil && err != nil {
		t.Error(err)
	}
	return collected
}

// When a life is over, and its clients and handlers have gone, it leaves no
// goroutine and no descriptor; and that the server becomes garbage means that no
// timer is left either, for instance that of an idle timeout.
func TestNothingIsLeftOf(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a descriptor that is forgotten is closed with the garbage
	certificate()
	(&fasthttp.ResponseHeader{}).Header() // begins fasthttp's clock, a goroutine of the process
	for name, life := range lives {
		for _, kind := range kinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				settle(t)
				goroutines, files := runtime.NumGoroutine(), openFiles(t)
				collected := life.live(t, kind)
				settle(t)
				awaitNoMore(t, goroutines, files)
				for began := time.Now(); ; time.Sleep(time.Millisecond) {
					runtime.GC()
					select {
					case <-collected:
						return
					default:
					}
					if time.Since(began) > patience {
						buf := make([]byte, 1<<20)
						t.Fatalf("something holds the server:\n%s", buf[:runtime.Stack(buf, true)])
					}
				}
			})
		}
	}
}
