package rehearsal

import (
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// busy is the connection of a client that gets no CPU, once, between its look for the
// connection's end and its request, or behind that.
type busy struct {
	*net.TCPConn
	before, after func()
}

func (b *busy) Write(p []byte) (int, error) {
	before, after := b.before, b.after
	b.before, b.after = func() {}, func() {}
	before()
	n, err := b.TCPConn.Write(p)
	after()
	return n, err
}

// What is sent when the end has come is not lost, though its client has looked before. All
// else is, however late the client learns of it.
func TestARequestThatIsSentAfterTheEnd(t *testing.T) {
	fin := func(server *net.TCPConn) { _ = server.CloseWrite() }
	closed := func(server *net.TCPConn) { _ = server.Close() }
	reset := func(server *net.TCPConn) {
		_ = server.SetLinger(0)
		_ = server.Close()
	}
	for _, test := range []struct {
		name          string
		before, after func(server *net.TCPConn)
		kind          Kind
		ended         []string
	}{
		{"closed, request", closed, nil, KeepAlive, nil},
		{"closed, half a request", closed, nil, Segmented, nil},
		{"request, FIN", nil, fin, KeepAlive, []string{"EOF"}},
		{"request, closed", nil, closed, KeepAlive, []string{"reset"}}, // it has not been read
		{"half a request, FIN", nil, fin, Segmented, []string{"EOF"}},
		{"half a request, closed", nil, closed, Segmented, []string{"reset"}},
		{"request, read and closed", nil, func(server *net.TCPConn) {
			_, _ = server.Read(make([]byte, 1000))
			closed(server)
		}, KeepAlive, []string{"EOF"}},
		{"reset, request", reset, nil, KeepAlive, []string{"reset"}}, // the kernel does not know since when
		{"request, reset", nil, reset, KeepAlive, []string{"reset"}},
		{"request, a part of a response", nil, func(server *net.TCPConn) {
			_, _ = io.WriteString(server, "HTTP/1.1 200 OK\r\n")
			fin(server)
		}, KeepAlive, []string{"truncated"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			near, server := pair(t)
			if _, err := io.WriteString(near, "x"); err != nil { // what came before has been acknowledged
				t.Fatal(err)
			}
			if _, err := server.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			awaitTicks(t, near)
			r := &round{timeout: DefaultTimeout}
			c := &client{round: r, group: Plan{}.group(Clients{Kind: test.kind, Count: 1, Body: 100, Gap: time.Nanosecond}), conn: &conn{socket: &socket{raw: near}}}
			c.socket.Conn = &busy{near, func() {
				if test.before != nil {
					test.before(server)
					awaitEnd(t, near)
				}
			}, func() {
				if test.after != nil {
					test.after(server)
				}
				awaitEnd(t, near)
			}}
			c.Conn = c.socket
			if c.requests() {
				t.Error("it goes on")
			}
			var ended []string
			for _, l := range r.lost {
				ended = append(ended, l.Ended)
			}
			if !slices.Equal(ended, test.ended) {
				t.Errorf("lost: %q; want %q", ended, test.ended)
			}
		})
	}
}

// The kernel says what was when: all times are how long ago it was.
func TestWhatIsLate(t *testing.T) {
	late := unix.TCPInfo{State: unix.BPF_TCP_CLOSE_WAIT, Last_ack_recv: 8, Last_data_sent: 4, Bytes_sent: 150, Bytes_acked: 51}
	for name, test := range map[string]struct {
		change func(*unix.TCPInfo)
		want   bool
	}{
		"sent after the FIN":                  {func(*unix.TCPInfo) {}, true},
		"a reset then":                        {func(i *unix.TCPInfo) { i.State = unix.BPF_TCP_CLOSE }, true},
		"no end has come":                     {func(i *unix.TCPInfo) { i.State = unix.BPF_TCP_ESTABLISHED }, false},
		"sent in the tick of the FIN":         {func(i *unix.TCPInfo) { i.Last_ack_recv = 4 }, false},
		"the FIN has crossed it":              {func(i *unix.TCPInfo) { i.Last_ack_recv = 0 }, false},
		"sent again, before the FIN at first": {func(i *unix.TCPInfo) { i.Total_retrans = 1 }, false},
		"the server has some of it":           {func(i *unix.TCPInfo) { i.Bytes_acked++ }, false},
	} {
		info := late
		test.change(&info)
		if got := isLate(&info, 100); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// pair is a connection of TCP.
func pair(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near.(*net.TCPConn), far.(*net.TCPConn)
}

// awaitTicks returns when what has happened on a connection was at an earlier time, by the
// kernel's clock, than what comes.
func awaitTicks(t *testing.T, c *net.TCPConn) {
	t.Helper()
	awaitInfo(t, c, func(info *unix.TCPInfo) bool { return info.Last_ack_recv > 0 && info.Last_data_sent > 0 })
}

// awaitEnd returns when a connection's end has come, and a tick after it.
func awaitEnd(t *testing.T, c *net.TCPConn) {
	t.Helper()
	awaitInfo(t, c, func(info *unix.TCPInfo) bool { return info.State != unix.BPF_TCP_ESTABLISHED })
	awaitTicks(t, c)
}

// awaitInfo takes no byte and no error of the connection.
func awaitInfo(t *testing.T, c *net.TCPConn, is func(*unix.TCPInfo) bool) {
	t.Helper()
	rc, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for so := false; !so; time.Sleep(time.Millisecond) {
		err := rc.Control(func(fd uintptr) {
			info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
			if err != nil {
				t.Error(err)
			}
			so = err != nil || is(info)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
