package toolkit

import (
	"maps"
	"sync"
	"time"
)

// What Static and StaticFS hold of their files.
const (
	maxHeldFile = 64 << 10               // bytes of a file; sendfile gains with larger ones
	maxHeld     = 32 << 20               // bytes of all
	heldFor     = 100 * time.Millisecond // until a file that may change is looked at anew
	heldBeside  = 1 << 10                // bytes that a file takes beside its content, at most
)

// memory holds files, by the paths that ask for them. The zero value is empty.
type memory struct {
	mu    sync.RWMutex // guards what follows
	files map[string]*file
	size  int
	sweep time.Time // when files whose time is over have to be dropped
}

// get returns the file of a path, nil where it is not held, or its time is over. A part of a file is
// read from it later, so the file has to be as it is now.
func (m *memory) get(path []byte, ranged bool) *file {
	m.mu.RLock()
	f := m.files[string(path)]
	m.mu.RUnlock()
	if f == nil || f.until.IsZero() || !ranged && time.Now().Before(f.until) {
		return f
	}
	return nil
}

// put holds a file that can be.
func (m *memory) put(path string, f *file) {
	now := time.Now()
	if !f.hold(now) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.After(m.sweep) {
		m.sweep = now.Add(10 * heldFor)
		maps.DeleteFunc(m.files, func(path string, f *file) bool {
			over := !f.until.IsZero() && now.After(f.until)
			if over {
				m.size -= f.takes(path)
			}
			return over
		})
	}
	if old := m.files[path]; old != nil {
		m.size -= old.takes(path)
	}
	m.size += f.takes(path)
	if m.size > maxHeld || m.files == nil {
		m.files, m.size = map[string]*file{}, f.takes(path)
	}
	m.files[path] = f
}

// hold reports whether a file may be held, and says how long: one that does not change for ever,
// one that is all in memory and has not changed just now for a while.
func (f *file) hold(now time.Time) bool {
	for _, v := range f.versions {
		switch {
		case v.tag == nil:
			return false
		case v.changed.IsZero():
		case v.body == nil || v.recent():
			return false
		default:
			f.until = now.Add(heldFor)
		}
	}
	return true
}

// takes is how much memory a file takes.
func (f *file) takes(path string) int {
	n := len(path) + heldBeside
	for _, v := range f.versions {
		n += len(v.body)
	}
	return n
}
