package lifecycle

import (
	"net"
	"sync"
	"sync/atomic"
	"unsafe"
)

// table is the set of connections that fasthttp serves, found by the net.Conn that
// it hands to its hooks, three times a request. It is a hash table with open
// addressing, keyed by the pointer in that interface: a look-up takes no lock and
// costs a third of sync.Map's (benchmarks/README.md). Changes take a lock; they
// come once a connection.
//
// A look-up may be reading slots that have been replaced. It is for a connection
// that was in the table before it began, and so in them too.
type table struct {
	slots  atomic.Pointer[[]slot] // a power of two of them, at most half of them used
	open   atomic.Int64           // connections, parked ones too, which are not in slots
	lastID atomic.Uint64

	mu   sync.Mutex // guards what follows, and changes of slots
	held int        // connections in slots
	used int        // slots that are not nil
}

// slot holds a connection, removed, or nil, at which a search ends.
type slot = atomic.Pointer[conn]

// removed stands where a connection was, so that searches go on. Its key is that of
// no connection, not even of a nil one.
var removed = func() *conn {
	c := new(conn)
	c.key = unsafe.Pointer(c) //nolint:gosec // any address that is no connection's
	return c
}()

const minSlots = 64

// keyOf is the identity of a connection. Connections are pointers, and the garbage
// collector moves nothing on the heap.
func keyOf(nc net.Conn) unsafe.Pointer { return (*[2]unsafe.Pointer)(unsafe.Pointer(&nc))[1] } //nolint:gosec // see above

// home is where the search for a key begins: Fibonacci hashing.
func home(key unsafe.Pointer, slots []slot) int {
	return int(uint64(uintptr(key))*0x9E3779B97F4A7C15>>32) & (len(slots) - 1)
}

func next(i int, slots []slot) int { return (i + 1) & (len(slots) - 1) }

// get returns the entry of a connection, or nil.
func (t *table) get(nc net.Conn) *conn {
	p := t.slots.Load()
	if p == nil {
		return nil
	}
	slots, key := *p, keyOf(nc)
	for i := home(key, slots); ; i = next(i, slots) {
		if c := slots[i].Load(); c == nil || c.key == key {
			return c
		}
	}
}

// add takes a connection that has just been opened.
func (t *table) add(c *conn) {
	c.id = t.lastID.Add(1)
	t.open.Add(1)
	t.put(c)
}

// put takes a connection that is not in the table.
func (t *table) put(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.key = keyOf(c.Conn)
	slots := t.room()
	i := home(c.key, slots)
	for at := slots[i].Load(); at != nil && at != removed; at = slots[i].Load() {
		i = next(i, slots)
	}
	if slots[i].Load() == nil {
		t.used++
	}
	slots[i].Store(c)
	t.held++
}

// room returns slots of which, with one more used, at most half are, and not too
// many for the connections that are open. If need be it makes new ones.
func (t *table) room() []slot {
	var old []slot
	if p := t.slots.Load(); p != nil {
		old = *p
	}
	if 2*(t.used+1) <= len(old) && len(old) <= max(minSlots, 32*(t.held+1)) {
		return old
	}
	size := minSlots
	for size < 4*(t.held+1) {
		size *= 2
	}
	slots := make([]slot, size)
	for i := range old {
		if c := old[i].Load(); c != nil && c != removed {
			j := home(c.key, slots)
			for slots[j].Load() != nil {
				j = next(j, slots)
			}
			slots[j].Store(c)
		}
	}
	t.used = t.held
	t.slots.Store(&slots)
	return slots
}

// remove forgets a connection, which is in the table and has been closed, and
// returns how many are open.
func (t *table) remove(c *conn) (open int64) {
	t.take(c)
	return t.closed()
}

// closed is for a connection that is no longer open, and returns how many are.
func (t *table) closed() (open int64) { return t.open.Add(-1) }

// take takes a connection out of the table.
func (t *table) take(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	slots := *t.slots.Load()
	i := home(c.key, slots)
	for slots[i].Load() != c {
		i = next(i, slots)
	}
	slots[i].Store(removed)
	if slots[next(i, slots)].Load() == nil { // nor does a search have to go on here
		for ; slots[i].Load() == removed; i = (i - 1) & (len(slots) - 1) {
			slots[i].Store(nil)
			t.used--
		}
	}
	t.held--
}

// each calls f for every connection in the table until it returns false. It may
// miss those that come or go meanwhile.
func (t *table) each(f func(*conn) bool) {
	p := t.slots.Load()
	if p == nil {
		return
	}
	for i := range *p {
		if c := (*p)[i].Load(); c != nil && c != removed && !f(c) {
			return
		}
	}
}
