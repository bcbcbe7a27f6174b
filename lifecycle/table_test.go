package lifecycle

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// The table against a map, through growth, shrinking and reuse of slots.
func TestTableAgainstAMap(t *testing.T) {
	var table table
	model := map[net.Conn]*conn{}
	var gone []net.Conn
	random := rand.New(rand.NewPCG(1, 2))
	for step := range 100_000 {
		if want := 1000 * (1 - step/50_000); len(model) == 0 || len(model) < want || random.IntN(2) == 0 && len(model) < 2*want {
			c := &conn{Conn: &net.TCPConn{}}
			table.add(c)
			model[c.Conn] = c
		} else {
			for nc, c := range model { // some
				delete(model, nc)
				gone = append(gone, nc)
				if left := table.remove(c); left != int64(len(model)) {
					t.Fatalf("%d left; want %d", left, len(model))
				}
				break
			}
		}
		if step%1000 > 0 {
			continue
		}
		visitor := &conn{Conn: &net.TCPConn{}}
		table.add(visitor) // which is when slots shrink
		table.remove(visitor)
		seen := 0
		table.each(func(c *conn) bool {
			seen++
			if model[c.Conn] != c {
				t.Fatal("a connection that should have gone")
			}
			return true
		})
		for nc, c := range model {
			if table.get(nc) != c {
				t.Fatal("a connection is not found")
			}
		}
		for _, nc := range gone {
			if table.get(nc) != nil {
				t.Fatal("a connection that has gone is found")
			}
		}
		gone = gone[:0]
		if slots := *table.slots.Load(); seen != len(model) || 2*table.used > len(slots) || len(slots) > 64*(len(model)+1) {
			t.Fatalf("step %d: %d connections seen of %d, %d of %d slots used", step, seen, len(model), table.used, len(slots))
		}
	}
}

// Each goroutine finds its own connection, whatever the others do.
func TestTableIsConcurrent(t *testing.T) {
	var table table
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			var mine []*conn
			for i := range 3000 {
				c := &conn{Conn: &net.TCPConn{}}
				table.add(c)
				mine = append(mine, c)
				for _, c := range mine {
					if table.get(c.Conn) != c {
						t.Error("a connection is not found")
						return
					}
				}
				if i%3 > 0 {
					table.remove(mine[0])
					mine = mine[1:]
				}
				if len(mine) > 50 {
					for _, c := range mine {
						table.remove(c)
					}
					mine = mine[:0]
				}
			}
			for _, c := range mine {
				table.remove(c)
			}
		})
	}
	all.Go(func() {
		for range 100 {
			table.each(func(c *conn) bool { return c.key != nil })
		}
	})
	all.Wait()
	if open := table.open.Load(); open != 0 {
		t.Errorf("%d connections are left", open)
	}
}
