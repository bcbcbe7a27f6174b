package rehearsal

import (
	"net"
	"sync"
	"time"
)

// delayer is a proxy that forwards bytes, and ends, after a time.
type delayer struct {
	ln   net.Listener
	to   string
	by   time.Duration
	mu   sync.Mutex // held from a dial of ln to its accept
	done sync.WaitGroup
}

func delay(to string, by time.Duration) (*delayer, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &delayer{ln: ln, to: to, by: by}, nil
}

// close returns when the last connection has ended.
func (d *delayer) close() {
	_ = d.ln.Close()
	d.done.Wait()
}

// dial connects to the server, through the proxy. The server comes first: that the
// proxy accepts says nothing, and a refusal is to be seen.
func (d *delayer) dial(within time.Duration) (net.Conn, error) {
	server, err := net.DialTimeout("tcp", d.to, within)
	if err != nil {
		return nil, err
	}
	near, far, err := d.pair()
	if err != nil {
		_ = server.Close()
		return nil, err
	}
	var both sync.WaitGroup
	both.Go(func() { d.forward(server, far) })
	both.Go(func() { d.forward(far, server) })
	d.done.Go(func() {
		both.Wait()
		_ = far.Close()
		_ = server.Close()
	})
	return near, nil
}

// pair returns both ends of a connection.
func (d *delayer) pair() (near, far net.Conn, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if near, err = net.Dial("tcp", d.ln.Addr().String()); err != nil {
		return nil, nil, err
	}
	if far, err = d.ln.Accept(); err != nil {
		_ = near.Close()
		return nil, nil, err
	}
	return near, far, nil
}

type parcel struct {
	due  time.Time
	data []byte
}

// maxParcels bounds what is under way in one direction.
const maxParcels = 1024

// forward copies from one side to the other, each piece when it is due, and ends
// the other side's stream when this one has ended, and as it has: a reset is not
// to look like a FIN.
func (d *delayer) forward(to, from net.Conn) {
	parcels := make(chan parcel, maxParcels)
	var end error // once parcels is closed
	go func() {
		defer close(parcels)
		for {
			buf := make([]byte, 32<<10)
			n, err := from.Read(buf)
			if n > 0 {
				parcels <- parcel{time.Now().Add(d.by), buf[:n]}
			}
			if err != nil {
				end = err
				return
			}
		}
	}()
	for p := range parcels {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.data); err != nil {
			_ = from.Close()
			for range parcels { // the reader must not hang
			}
			break
		}
	}
	time.Sleep(d.by)
	if isReset(end) {
		_ = to.(*net.TCPConn).SetLinger(0)
		_ = to.Close()
		return
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
