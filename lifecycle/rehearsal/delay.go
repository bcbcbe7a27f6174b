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
	done sync.WaitGroup
}

func delay(to string, by time.Duration) (*delayer, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &delayer{ln: ln, to: to, by: by}
	d.done.Go(d.accept)
	return d, nil
}

func (d *delayer) addr() string { return d.ln.Addr().String() }

// close ends the proxy, and returns when the last connection through it has ended.
func (d *delayer) close() {
	_ = d.ln.Close()
	d.done.Wait()
}

func (d *delayer) accept() {
	for {
		client, err := d.ln.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", d.to)
		if err != nil {
			// As a refusal would: reset, before anything was sent.
			_ = client.(*net.TCPConn).SetLinger(0)
			_ = client.Close()
			continue
		}
		var both sync.WaitGroup
		both.Go(func() { d.forward(server, client) })
		both.Go(func() { d.forward(client, server) })
		d.done.Go(func() {
			both.Wait()
			_ = client.Close()
			_ = server.Close()
		})
	}
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
