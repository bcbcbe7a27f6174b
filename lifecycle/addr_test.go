package lifecycle

import (
	"net"
	"testing"

	"github.com/valyala/fasthttp"
)

// proxied is a listener as there are for the PROXY protocol: a connection reads from its
// client who that is, when it is asked first.
type proxied struct{ net.Listener }

func (l proxied) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &proxiedConn{nc, make(chan struct{})}, nil
}

type proxiedConn struct {
	net.Conn
	told chan struct{} // closed when the client's address is known
}

func (c *proxiedConn) Read(p []byte) (int, error) {
	select {
	case <-c.told:
	default:
		var b [1]byte
		if _, err := c.Conn.Read(b[:]); err != nil {
			return 0, err
		}
		close(c.told)
	}
	return c.Conn.Read(p)
}

func (c *proxiedConn) RemoteAddr() net.Addr { <-c.told; return c.Conn.RemoteAddr() }
func (c *proxiedConn) LocalAddr() net.Addr  { <-c.told; return c.Conn.LocalAddr() }

// A client that does not say who it is holds up neither who comes after it, nor who looks
// at the connections, nor the drain.
func TestAddressThatIsNotKnownYet(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := quiet(hello)
	h.Concurrency = 2
	r := run(t, &Server{HTTP: h, Listeners: []net.Listener{proxied{ln}}, LastCall: -1})
	silent := r.dialRaw()
	defer func() { _ = silent.Close() }()

	c, refused := r.dial(), r.dial()
	c.send("P")
	c.get("/")
	remotes := map[string]bool{}
	for _, info := range r.Conns() {
		remotes[info.Remote] = true
	}
	if !remotes[""] || !remotes[c.LocalAddr().String()] {
		t.Errorf("the clients are said to be %v; want that of %v, and one that is not known", remotes, c.LocalAddr())
	}
	refused.send("P")
	if resp := refused.get("/"); resp.StatusCode != fasthttp.StatusServiceUnavailable {
		t.Errorf("one too many is answered with a %d", resp.StatusCode)
	}
	r.Drain()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}
