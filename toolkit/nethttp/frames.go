package nethttp

import "encoding/binary"

// What is needed of HTTP/2's frames: RFC 9113, section 6.
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	frameReset        = 0x3
	framePing         = 0x6
	frameGoAway       = 0x7
	frameContinuation = 0x9

	flagEndStream  = 0x1 // of frameData and frameHeaders
	flagAck        = 0x1 // of framePing
	flagEndHeaders = 0x4 // of frameHeaders and frameContinuation

	noError            = 0x0 // of frameGoAway
	inadequateSecurity = 0xc
	enhanceYourCalm    = 0xb

	maxStream = 1<<31 - 1
)

// preface is what a client begins with: RFC 9113, section 3.4. Its first half looks like
// a request of HTTP/1.
const (
	prefaceHead = "PRI * HTTP/2.0\r\n\r\n"
	preface     = prefaceHead + "SM\r\n\r\n"
)

// frame is a frame without most of its payload.
type frame struct {
	kind, flags byte
	stream      uint32
	payload     [8]byte // its first bytes
}

// frames follows one direction of a connection, frame by frame. Its zero value is at the
// first frame's begin.
type frames struct {
	frame
	header   [9]byte
	have     int  // bytes of header
	size     int  // of the frame's payload
	got      int  // bytes of it
	block    bool // a header block is to be continued: no other frame may come between
	endsFlag bool // with that block its stream ends
	some     bool // there has been a frame
}

// between reports whether a frame may be put in here. The first one has to be the
// server's own SETTINGS.
func (f *frames) between() bool { return f.have == 0 && !f.block && f.some }

// follow calls begun when the header of a frame is known, and done when all of it has
// come. It stops when one of them, where it is not nil, returns false.
func (f *frames) follow(p []byte, begun, done func(frame) bool) bool {
	for len(p) > 0 {
		if f.have < len(f.header) {
			n := copy(f.header[f.have:], p)
			p = p[n:]
			if f.have += n; f.have < len(f.header) {
				return true
			}
			f.parse()
			if begun != nil && !begun(f.frame) {
				return false
			}
		}
		n := min(f.size-f.got, len(p))
		if f.got < len(f.payload) {
			copy(f.payload[f.got:], p[:n])
		}
		p = p[n:]
		if f.got += n; f.got < f.size {
			return true
		}
		f.end()
		if done != nil && !done(f.frame) {
			return false
		}
	}
	return true
}

// parse is for a header that is complete: RFC 9113, section 4.1.
func (f *frames) parse() {
	f.size, f.got = int(f.header[0])<<16|int(f.header[1])<<8|int(f.header[2]), 0
	f.frame = frame{kind: f.header[3], flags: f.header[4], stream: binary.BigEndian.Uint32(f.header[5:]) & maxStream}
}

func (f *frames) end() {
	f.have, f.some = 0, true
	switch f.kind {
	case frameHeaders:
		f.block, f.endsFlag = f.flags&flagEndHeaders == 0, f.flags&flagEndStream != 0
	case frameContinuation:
		f.block = f.flags&flagEndHeaders == 0
	}
}

// untilBetween is how much of p comes before the first place where a frame may be put
// in; all of it if there is none.
func (f *frames) untilBetween(p []byte) int {
	ahead := *f
	for n := range p {
		ahead.follow(p[n:n+1], nil, nil)
		if ahead.between() {
			return n + 1
		}
	}
	return len(p)
}

// endsStream reports whether a frame that was sent in full is the last one of its
// stream.
func (f *frames) endsStream() bool {
	switch f.kind {
	case frameReset:
		return true
	case frameData:
		return f.flags&flagEndStream != 0
	case frameHeaders, frameContinuation:
		return f.endsFlag && !f.block
	}
	return false
}

// ourPing is what our PING says, which its acknowledgement repeats. http.Server, which may
// send its own, ignores one that is not of these.
var ourPing = [8]byte([]byte("lastcall"))

// ping is a PING frame. Section 6.7.
func ping() []byte { return append([]byte{0, 0, 8, framePing, 0, 0, 0, 0, 0}, ourPing[:]...) }

// goAway is a GOAWAY frame: no stream above the last one has been or will be handled.
// Section 6.8.
func goAway(last uint32, code uint32) []byte {
	b := []byte{0, 0, 8, frameGoAway, 0, 0, 0, 0, 0}
	b = binary.BigEndian.AppendUint32(b, last)
	return binary.BigEndian.AppendUint32(b, code)
}
