package lifecycle

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// readFrom is a Preface that reads a line, "FROM 192.0.2.7:99\n" or "FROM itself\n".
func readFrom(nc net.Conn) (net.Addr, error) {
	var line []byte
	for !strings.HasSuffix(string(line), "\n") {
		var b [1]byte
		if _, err := nc.Read(b[:]); err != nil {
			return nil, err
		}
		line = append(line, b[0])
	}
	addr, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "FROM ")
	switch {
	case !ok:
		return nil, errors.New("no FROM")
	case addr == "itself":
		return nil, nil
	}
	return net.ResolveTCPAddr("tcp", addr)
}

const from = "FROM 192.0.2.7:99\n"

func sayRemote(ctx *fasthttp.RequestCtx) { ctx.SetBodyString(ctx.RemoteAddr().String()) }

// prefaced is a server whose connections begin with a FROM, on tcp or tls.
func prefaced(t testing.TB, kind string, s *Server) *running {
	t.Helper()
	s.Preface = readFrom
	return runKind(t, kind, s)
}

// beginTLS goes on with TLS where the server has it.
func (r *running) beginTLS(nc net.Conn) *client {
	if r.HTTP.TLSConfig != nil {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
	}
	return r.client(nc)
}

func write(t testing.TB, nc net.Conn, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if _, err := io.WriteString(nc, text); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPrefaceGivesTheClientsAddress(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		for name, parts := range map[string][]string{
			"at once":     {from},
			"in pieces":   {"F", "ROM 192", ".0.2.7:", "99", "\n"},
			"byte a byte": strings.Split(from, ""),
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				r := prefaced(t, kind, &Server{HTTP: quiet(func(ctx *fasthttp.RequestCtx) {
					switch nc := ctx.Conn().(type) {
					case *net.TCPConn, *tls.Conn:
					default:
						t.Errorf("fasthttp serves a %T", nc)
					}
					sayRemote(ctx)
				})})
				nc := r.dialRaw()
				write(t, nc, parts...)
				c := r.beginTLS(nc)
				for range 2 {
					if resp := c.get("/"); body(resp) != "192.0.2.7:99" {
						t.Errorf("remote address %v", resp)
					}
				}
				if info := r.Conns()[0]; info.Remote != "192.0.2.7:99" || info.Local != nc.RemoteAddr().String() {
					t.Errorf("%+v", info)
				}
				r.Drain()
				c.wantEOF()
				if err := r.wait(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	t.Run("its own", func(t *testing.T) {
		r := prefaced(t, "tcp", &Server{HTTP: quiet(sayRemote)})
		c := r.dial()
		c.send("FROM itself\n")
		if got := body(c.get("/")); got != c.LocalAddr().String() || got != r.Conns()[0].Remote {
			t.Errorf("remote address %v", got)
		}
	})
	t.Run("with a request in its segment", func(t *testing.T) {
		r := prefaced(t, "tcp", &Server{HTTP: quiet(sayRemote)})
		c := r.dial()
		c.send(from + request + request)
		for range 2 {
			if got := body(c.response()); got != "192.0.2.7:99" {
				t.Errorf("remote address %v", got)
			}
		}
	})
	t.Run("to the error handler", func(t *testing.T) {
		h := quiet(hello)
		h.ErrorHandler = func(ctx *fasthttp.RequestCtx, _ error) { sayRemote(ctx) }
		r := prefaced(t, "tcp", &Server{HTTP: h})
		c := r.dial()
		c.send(from + "nonsense\r\n\r\n")
		if got := body(c.response()); got != "192.0.2.7:99" {
			t.Errorf("remote address %v", got)
		}
	})
}

// A Unix connection has none.
func TestPrefaceIsOfTCP(t *testing.T) {
	r := prefaced(t, "unix", &Server{HTTP: quiet(hello)})
	if got := body(r.dial().get("/")); got != "hello" {
		t.Errorf("answered %q", got)
	}
}

// tell returns a Server that tells of its failed prefaces.
func tell(h fasthttp.RequestHandler) (*Server, <-chan Event) {
	failed := make(chan Event, 10)
	return &Server{HTTP: quiet(h), OnEvent: func(e Event) {
		if e.Kind == EventPrefaceFail {
			failed <- e
		}
	}}, failed
}

func TestPrefaceThatFailsClosesTheConnection(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			s, failed := tell(func(*fasthttp.RequestCtx) { t.Error("a handler has run") })
			var states sync.Map
			s.HTTP.ConnState = func(nc net.Conn, st fasthttp.ConnState) {
				if last, ok := states.Swap(nc, st); ok != (st == fasthttp.StateClosed) {
					t.Errorf("%v after %v", st, last)
				}
			}
			r := prefaced(t, kind, s)
			_ = r.dialRaw().Close() // as a load balancer's checks end
			resetConn(r.client(r.dialRaw()))
			for r.conns.lastID.Load() < 2 {
				time.Sleep(time.Millisecond)
			}
			r.waitTotal(0)
			c := r.client(r.dialRaw())
			c.send("MORF\n" + request)
			c.wantNothing()
			e := <-failed
			if e.Addr.String() != c.LocalAddr().String() || e.Err.Error() != "no FROM" {
				t.Errorf("event %v; want one of %v", e, c.LocalAddr())
			}
			r.waitTotal(0)
		})
	}
}

func TestPrefaceHasADeadline(t *testing.T) {
	s, failed := tell(hello)
	s.HTTP.ReadTimeout = 20 * time.Millisecond
	r := prefaced(t, "tcp", s)
	silent, half := r.dial(), r.dial()
	half.send("FROM 192.")
	silent.wantNothing()
	half.wantNothing()
	for range 2 {
		if e := <-failed; !isTimeout(e.Err) {
			t.Errorf("event %v", e)
		}
	}
	r.waitTotal(0)

	// So has the idle timeout, which ends it as any that is silent.
	s = &Server{HTTP: quiet(hello)}
	s.HTTP.IdleTimeout = 20 * time.Millisecond
	prefaced(t, "tcp", s).dial().wantEOF()

	// It is not the first request's.
	s = &Server{HTTP: quiet(hello), Preface: func(nc net.Conn) (net.Addr, error) {
		defer func() { _ = nc.SetReadDeadline(past) }()
		return readFrom(nc)
	}}
	c := runTCP(t, s).dial()
	c.send(from)
	if got := body(c.get("/")); got != "hello" {
		t.Errorf("answered %q", got)
	}
}

// A thousand that say nothing hold up nobody, neither who comes nor the drain.
func TestSilentPrefacesHoldNothingUp(t *testing.T) {
	const silent = 1000
	for _, kind := range []string{"tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			r := prefaced(t, kind, &Server{HTTP: quiet(sayRemote), DrainTimeout: -1, LastCall: time.Millisecond})
			var clients []*client
			for range silent {
				clients = append(clients, r.client(r.dialRaw()))
			}
			nc := r.dialRaw()
			write(t, nc, from)
			c := r.beginTLS(nc)
			if got := body(c.get("/")); got != "192.0.2.7:99" {
				t.Errorf("remote address %v", got)
			}
			r.waitTotal(silent + 1)
			r.Drain()
			for _, c := range append(clients, c) {
				c.wantEOF()
			}
			if err := r.wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The drain finds a connection at each moment of its preface. It has no deadline.
func TestDrainOfPrefaces(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		for name, sent := range map[string]string{"silent": "", "half": "FROM 192.0", "complete": from} {
			t.Run(kind+" "+name, func(t *testing.T) {
				h := quiet(sayRemote)
				h.ReadTimeout = time.Hour // the preface's, too: it is not what ends it
				r := prefaced(t, kind, &Server{HTTP: h, DrainTimeout: -1, LastCall: time.Millisecond})
				c := r.client(r.dialRaw())
				c.send(sent)
				r.untilNew(sent)
				r.Drain()
				c.wantEOF()
				if err := r.wait(); err != nil {
					t.Error(err)
				}
			})
			t.Run(kind+" "+name+", and then a request", func(t *testing.T) {
				r := prefaced(t, kind, &Server{HTTP: quiet(sayRemote), DrainTimeout: -1, LastCall: UntilIdle})
				nc := r.dialRaw()
				write(t, nc, sent)
				r.untilNew(sent)
				r.Drain()
				write(t, nc, strings.TrimPrefix(from, sent))
				c := r.beginTLS(nc)
				if resp := c.get("/"); !resp.Close || body(resp) != "192.0.2.7:99" {
					t.Errorf("answered %v, close %v", resp, resp.Close)
				}
				c.wantEOF()
				if err := r.wait(); err != nil {
					t.Error(err)
				}
			})
			t.Run(kind+" "+name+", at the deadline", func(t *testing.T) {
				r := prefaced(t, kind, &Server{HTTP: quiet(sayRemote), LastCall: UntilIdle, DrainTimeout: 10 * time.Millisecond, AbortTimeout: -1})
				c := r.client(r.dialRaw())
				c.send(sent)
				r.untilNew(sent)
				r.Drain()
				if err := r.wait(); !errors.Is(err, ErrDrainTimeout) {
					t.Error(err)
				}
				c.wantNothing()
				if cut := r.Report().Cut; len(cut) != 1 || cut[0].State != StateNew {
					t.Errorf("cut %+v", cut)
				}
			})
		}
	}
	t.Run("with its request in the kernel", func(t *testing.T) {
		s := &Server{HTTP: quiet(sayRemote), DrainTimeout: -1}
		goOn := make(chan struct{})
		s.HTTP.ConnState = func(_ net.Conn, st fasthttp.ConnState) {
			if st == fasthttp.StateNew {
				<-goOn // nothing reads it yet, and nothing else is accepted
			}
		}
		r := prefaced(t, "tcp", s)
		first, queued := r.dial(), r.dial()
		first.send(from + request)
		queued.send(from + request)
		for r.Counts().New == 0 {
			time.Sleep(time.Millisecond)
		}
		r.Drain()
		close(goOn)
		for _, c := range []*client{first, queued} {
			if resp := c.response(); !resp.Close || body(resp) != "192.0.2.7:99" {
				t.Errorf("answered %v, close %v", resp, resp.Close)
			}
			c.wantEOF()
		}
		if err := r.wait(); err != nil {
			t.Error(err)
		}
	})
}

// untilNew waits until the only connection is one of which what was sent has been read.
func (r *running) untilNew(sent string) {
	r.t.Helper()
	complete := sent == from
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		var only *conn
		r.conns.each(func(c *conn) bool { only = c; return false })
		if only != nil && !hasInput(only.Conn) && (only.remote.Load() != nil) == complete {
			return
		}
		if time.Since(began) > patience {
			r.t.Fatalf("counts %v", r.Counts())
		}
	}
}

// The limit is the client's, not that of the proxy, whose connections all of them are.
func TestLimitPerIPBehindAPreface(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			h := quiet(sayRemote)
			h.MaxConnsPerIP = 2
			r := prefaced(t, kind, &Server{HTTP: h})
			ask := func(from string) (c *client, resp *http.Response) {
				nc := r.dialRaw()
				write(t, nc, "FROM "+from+":1\n")
				c = r.beginTLS(nc)
				return c, c.get("/")
			}
			first, _ := ask("192.0.2.1")
			for _, client := range []string{"192.0.2.2", "192.0.2.1", "192.0.2.2"} {
				if _, resp := ask(client); body(resp) != client+":1" {
					t.Errorf("%s: %v", client, resp.Status)
				}
			}
			c, resp := ask("192.0.2.1")
			wantRefused(t, resp, fasthttp.StatusTooManyRequests)
			c.wantEOF()
			_ = first.Close()
			r.waitTotal(3)
			if _, resp := ask("192.0.2.1"); body(resp) != "192.0.2.1:1" {
				t.Errorf("after one had gone: %v", resp.Status)
			}
			if totals := r.Totals(); totals.Accepted != 5 || totals.RefusedPerIP != 1 {
				t.Errorf("totals %+v", totals)
			}
		})
	}
}

// One too many of all is refused behind its preface.
func TestLimitOfConnectionsWithAPreface(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			h := quiet(sayRemote)
			h.Concurrency = 1
			r := prefaced(t, kind, &Server{HTTP: h})
			silent := r.dialRaw()
			defer func() { _ = silent.Close() }()
			r.waitTotal(1)
			nc := r.dialRaw()
			write(t, nc, from)
			c := r.beginTLS(nc)
			wantRefused(t, c.get("/"), fasthttp.StatusServiceUnavailable)
			c.wantEOF()
		})
	}
}

func TestAPrefaceThatPanics(t *testing.T) {
	failed := make(chan error, 1)
	r := runTCP(t, &Server{
		HTTP:    quiet(hello),
		Preface: func(net.Conn) (net.Addr, error) { panic("oops") },
		OnEvent: func(e Event) {
			if e.Kind == EventPrefaceFail {
				failed <- e.Err
			}
		},
	})
	r.client(r.dialRaw()).wantEOF()
	if p, ok := errors.AsType[*PanicError](<-failed); !ok || p.Value != "oops" || len(p.Stack) == 0 {
		t.Errorf("panic %+v", p)
	}
}

// One that is refused behind its preface, and then says nothing, ends without an idle
// timeout too.
func TestSilentRefusedConnectionsEndBehindAPreface(t *testing.T) {
	h := quiet(hello)
	h.MaxConnsPerIP = 1
	r := prefaced(t, "tcp", &Server{HTTP: h})
	first, silent := r.dial(), r.dial()
	first.send(from)
	first.get("/")
	silent.send(from)
	silent.wantEOF()
}

// A ReadTimeout that is only there for the sake of the TLS handshake's limit is none.
func TestPrefaceHasADeadlineBesideThatOfTLS(t *testing.T) {
	r := prefaced(t, "tls", &Server{HTTP: quiet(hello), TLSHandshakeTimeout: time.Minute})
	if d := r.prefaceTimeout(); d != defaultPrefaceTimeout {
		t.Errorf("%v for a preface", d)
	}
}

// What the server itself cuts is no failure of a preface.
func TestPrefacesThatAreCutDoNotFail(t *testing.T) {
	s, failed := tell(hello)
	r := prefaced(t, "tcp", s)
	half := r.dial()
	half.send("FROM 192.")
	r.waitTotal(1)
	_ = r.Close()
	if err := r.wait(); !errors.Is(err, ErrForced) {
		t.Error(err)
	}
	r.waitTotal(0)
	select {
	case e := <-failed:
		t.Errorf("event %v", e)
	default:
	}
}

// fasthttp tells nobody of a connection that is beyond its own limit.
func TestConnectionThatFasthttpRefusesIsForgotten(t *testing.T) {
	handled := make(chan struct{}, 1)
	h := quiet(func(*fasthttp.RequestCtx) { handled <- struct{}{} })
	s := &Server{HTTP: h, Preface: func(net.Conn) (net.Addr, error) {
		select {
		case <-handled: // it is the second; the rest is taken by whom the application serves itself, by ServeConn
			h.Concurrency = 1
		default:
		}
		return nil, nil
	}}
	r := runTCP(t, s)
	r.dial().get("/")
	if resp := r.dial().get("/"); resp.StatusCode != fasthttp.StatusServiceUnavailable {
		t.Errorf("answered %v", resp.Status)
	}
	r.waitTotal(1)
}
