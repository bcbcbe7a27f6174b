package nethttp

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"
)

// recorder keeps what is written.
type recorder struct {
	net.Conn
	all []byte
}

func (r *recorder) Write(p []byte) (int, error) {
	r.all = append(r.all, p...)
	return len(p), nil
}

// FuzzFrames writes frames, in pieces as they come, with one of ours to be put in at
// some point: it has to come between two others, at once, and never in front of the
// first one or within a header block.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, uint16(3), byte(5))
	f.Add([]byte{0, 250, 1, 0, 9, 0, 9, 4, 0, 0, 3, 0}, uint16(40), byte(1))
	f.Add([]byte{1, 0, 9, 0, 9, 4}, uint16(0), byte(9))
	f.Fuzz(func(t *testing.T, spec []byte, when uint16, piece byte) {
		var text []byte
		places := []int{} // where a frame may be put in
		block := false
		for i, n := range spec {
			kind, flags := n%10, n/10
			if kind == frameGoAway { // it makes the connection end
				continue
			}
			if block {
				kind = frameContinuation
			} else if kind == frameContinuation {
				kind = frameData
			}
			text = appendFrame(text, kind, flags, uint32(i), make([]byte, int(n)*int(n)/7))
			if block = (kind == frameHeaders || block) && flags&flagEndHeaders == 0; !block {
				places = append(places, len(text))
			}
		}
		out := new(recorder)
		c := &streams{Conn: out}
		ours := goAway(maxStream, noError)
		told := -1
		for at := 0; at < len(text); {
			if told < 0 && at >= int(when) {
				c.tell(ours)
				told = at
			}
			n := min(len(text)-at, 1+int(piece))
			if m, err := c.Write(text[at : at+n]); m != n || err != nil {
				t.Fatal(m, err)
			}
			at += n
		}
		want := bytes.Clone(text)
		for _, place := range places {
			if told >= 0 && place >= told {
				want = append(append(bytes.Clone(text[:place]), ours...), text[place:]...)
				break
			}
		}
		if !bytes.Equal(out.all, want) {
			t.Errorf("got  %x\nwant %x", out.all, want)
		}
	})
}

// A stream is over with the frame that says so, and not before its header block is.
func TestFramesEndStreams(t *testing.T) {
	var text []byte
	for _, one := range []struct {
		kind, flags byte
		stream      uint32
		size        int
	}{
		{frameHeaders, flagEndHeaders, 1, 10},
		{frameData, 0, 1, 1000},
		{frameHeaders, flagEndStream, 3, 0},
		{frameContinuation, 0, 3, 5},
		{frameContinuation, flagEndHeaders, 3, 0},
		{frameData, flagEndStream, 1, 0},
		{frameHeaders, flagEndHeaders | flagEndStream, 5, 3},
		{frameHeaders, 0, 7, 3},
		{frameContinuation, flagEndHeaders, 7, 3},
		{frameReset, 0, 9, 4},
		{0x8, 0, 0, 4},
	} {
		text = appendFrame(text, one.kind, one.flags, one.stream, make([]byte, one.size))
	}
	for size := 1; size <= len(text); size++ {
		var f frames
		var over []byte
		for rest := text; len(rest) > 0; {
			n := min(size, len(rest))
			f.follow(rest[:n], nil, func(one frame) bool {
				if f.endsStream() {
					over = binary.AppendUvarint(over, uint64(one.stream))
				}
				return true
			})
			rest = rest[n:]
		}
		if want := []byte{3, 1, 5, 9}; !bytes.Equal(over, want) {
			t.Fatalf("in pieces of %d: %v; want %v", size, over, want)
		}
	}
}
