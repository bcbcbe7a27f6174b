package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"
)

// The frames of HTTP/2 (RFC 9113, section 6), as far as a script sends or reads them.
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	frameReset        = 0x3
	frameSettings     = 0x4
	framePush         = 0x5
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindow       = 0x8
	frameContinuation = 0x9

	flagAck        = 0x1
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// h2 is the client's end of a connection of HTTP/2, as low as frames. What the server
// sends is noted stream by stream, since the order between streams, and where DATA is
// cut, mean nothing.
type h2 struct {
	*conn
	decoder *hpack.Decoder
	streams map[uint32]*strings.Builder
	over    map[uint32]bool
	data    map[uint32][]byte
	goAway  string
	pings   int
}

// withHTTP2 has a server without TLS speak HTTP/2 as well.
func withHTTP2(_ *run, s *http.Server) {
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
}

// spoken is a behaviour by HTTP/2. The script begins behind the settings.
func spoken(name string, serve func(x *run, w http.ResponseWriter, r *http.Request), script func(x *run, h *h2)) behaviour {
	return behaviour{name: name, plain: true, server: withHTTP2, serve: serve, script: func(x *run, c *conn) {
		h := x.speak(c)
		script(x, h)
		h.note()
	}}
}

// asked is one that asks once, and reads the answer.
func asked(name string, serve func(x *run, w http.ResponseWriter, r *http.Request), fields ...string) behaviour {
	return spoken(name, serve, func(_ *run, h *h2) {
		h.headers(1, true, fields...)
		h.end(1)
	})
}

func (x *run) speak(c *conn) *h2 {
	h := &h2{conn: c, decoder: hpack.NewDecoder(4096, nil), streams: map[uint32]*strings.Builder{}, over: map[uint32]bool{}, data: map[uint32][]byte{}}
	c.muted = true
	_, _ = io.WriteString(c.Conn, preface)
	h.frame(frameSettings, 0, 0, "\x00\x02\x00\x00\x00\x00\x00\x04\x7f\xff\xff\xff") // no push, and windows that are never full, save where a script says so
	h.frame(frameWindow, 0, 0, "\x7f\xff\x00\x00")
	return h
}

func (h *h2) frame(kind, flags byte, stream uint32, payload string) {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags} //nolint:gosec // its lower bits
	b = binary.BigEndian.AppendUint32(b, stream)
	_ = h.SetWriteDeadline(time.Now().Add(limit))
	_, _ = h.Write(append(b, payload...))
}

// get2 are the fields of a GET.
var get2 = []string{":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/"}

func post2(fields ...string) []string {
	return append([]string{":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/"}, fields...)
}

func with(fields ...string) []string { return append(slices.Clone(get2), fields...) }

func block2(fields ...string) string {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1], Sensitive: true}) // not indexed: each block stands by itself
	}
	return b.String()
}

func (h *h2) headers(stream uint32, end bool, fields ...string) {
	flags := byte(flagEndHeaders)
	if end {
		flags |= flagEndStream
	}
	all := block2(fields...)
	first := all[:min(len(all), 16<<10)]
	if all = all[len(first):]; all != "" {
		flags &^= flagEndHeaders
	}
	h.frame(frameHeaders, flags, stream, first)
	for all != "" {
		next := all[:min(len(all), 16<<10)]
		all = all[len(next):]
		flags = 0
		if all == "" {
			flags = flagEndHeaders
		}
		h.frame(frameContinuation, flags, stream, next)
	}
}

// body sends a part of the body of the first stream.
func (h *h2) body(end bool, text string) {
	var flags byte
	if end {
		flags = flagEndStream
	}
	h.frame(frameData, flags, 1, text)
}

func (h *h2) reset(stream uint32) { h.frame(frameReset, 0, stream, "\x00\x00\x00\x08") }

// next reads a frame, and reports false at the connection's end.
func (h *h2) next() bool {
	if h.conn.over != "" {
		return false
	}
	head := make([]byte, 9)
	if _, err := io.ReadFull(h.br, head); err != nil {
		h.ended(err)
		return false
	}
	payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
	if _, err := io.ReadFull(h.br, payload); err != nil {
		h.ended(err)
		return false
	}
	h.take(head[3], head[4], binary.BigEndian.Uint32(head[5:])&0x7fffffff, payload)
	return true
}

func (h *h2) take(kind, flags byte, stream uint32, payload []byte) {
	switch kind {
	case frameSettings:
		if flags&flagAck == 0 {
			h.frame(frameSettings, flagAck, 0, "")
		}
		return
	case framePing:
		if flags&flagAck == 0 {
			h.frame(framePing, flagAck, 0, string(payload))
		} else {
			h.pings++
		}
		return
	case frameGoAway:
		h.goAway = fmt.Sprintf("GOAWAY %d %q", binary.BigEndian.Uint32(payload[4:]), payload[8:])
		return
	case frameWindow:
		return
	}
	s := h.streams[stream]
	if s == nil {
		s = new(strings.Builder)
		h.streams[stream] = s
	}
	if kind != frameData {
		h.flush(stream)
	}
	switch kind {
	case frameData:
		h.data[stream] = append(h.data[stream], payload...)
	case frameHeaders:
		fields, err := h.decoder.DecodeFull(payload)
		var lines []string
		for _, f := range fields {
			if f.Name == "date" {
				if t, err := http.ParseTime(f.Value); err == nil && time.Since(t).Abs() < time.Hour {
					f.Value = "now"
				}
			}
			lines = append(lines, f.Name+": "+f.Value)
		}
		slices.SortStableFunc(lines, func(a, b string) int { return cmp.Compare(name(a[1:]), name(b[1:])) })
		fmt.Fprintf(s, "  header %s %v\n", short(fmt.Sprintf("%q", lines)), err)
	case frameReset:
		fmt.Fprintf(s, "  reset %d\n", binary.BigEndian.Uint32(payload))
		h.over[stream] = true
	case framePush:
		fmt.Fprintf(s, "  push\n")
	default:
		fmt.Fprintf(s, "  frame of type %d\n", kind)
	}
	if flags&flagEndStream != 0 && (kind == frameData || kind == frameHeaders) {
		h.flush(stream)
		fmt.Fprintf(s, "  end\n")
		h.over[stream] = true
	}
}

func (h *h2) flush(stream uint32) {
	if b := h.data[stream]; len(b) > 0 {
		fmt.Fprintf(h.streams[stream], "  data %s\n", quote(b))
		h.data[stream] = nil
	}
}

// end reads until a stream has ended.
func (h *h2) end(stream uint32) {
	for !h.over[stream] && h.next() {
	}
}

// answered reads until a stream has its header, or more.
func (h *h2) answered(stream uint32) {
	for h.streams[stream] == nil && h.next() {
	}
}

// got reads until a stream has brought this as its data.
func (h *h2) got(stream uint32, text string) {
	for !bytes.HasSuffix(h.data[stream], []byte(text)) && !h.over[stream] && h.next() {
	}
}

// gone reads to the connection's end, which a GOAWAY may come before.
func (h *h2) gone() {
	for h.next() {
	}
}

// ping waits for the server to have read all before.
func (h *h2) ping() {
	was := h.pings
	h.frame(framePing, 0, 0, "12345678")
	for h.pings == was && h.next() {
	}
}

// note notes what has come, and ends the connection.
func (h *h2) note() {
	var ids []uint32
	for id := range h.streams {
		h.flush(id)
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		h.x.notef("stream %d\n%s", id, h.streams[id])
	}
	if h.goAway != "" {
		h.x.notef("%s", h.goAway)
	}
	_ = h.Close()
	h.conn.over = cmp.Or(h.conn.over, "left")
}

func dump2(x *run, w http.ResponseWriter, r *http.Request) {
	x.sawf("%s %q %s for %q, length %d, encoding %q, trailer %q, close %v, TLS %v", r.Method, r.RequestURI, r.Proto, r.Host, r.ContentLength, r.TransferEncoding, r.Trailer, r.Close, r.TLS != nil)
	x.sawf("URL %q: scheme %q host %q path %q raw %q query %q", r.URL, r.URL.Scheme, r.URL.Host, r.URL.Path, r.URL.RawPath, r.URL.RawQuery)
	x.sawf("header %q", r.Header)
	dumpBody(x, r)
	_, _ = io.WriteString(w, "ok\n")
}

func answer2(name string, h func(w http.ResponseWriter)) behaviour {
	return asked(name, func(_ *run, w http.ResponseWriter, _ *http.Request) { h(w) }, get2...)
}

// http2 is about requests and responses by HTTP/2.
var http2 = []behaviour{
	asked("GET", dump2, get2...),
	asked("fields", dump2, with("a", "1", "b", "2", "a", "3", "x-long", strings.Repeat("z", 1000))...),
	asked("cookies are joined", dump2, with("cookie", "a=1", "cookie", "b=2")...),
	asked("a path with escapes and a query", dump2, ":method", "GET", ":scheme", "https", ":authority", "h:1", ":path", "/a%2Fb/?c=d%20e&f"),
	asked("OPTIONS *", dump2, ":method", "OPTIONS", ":scheme", "http", ":authority", "x", ":path", "*"),
	asked("OPTIONS of a path", dump2, ":method", "OPTIONS", ":scheme", "http", ":authority", "x", ":path", "/a"),
	asked("GET of an asterisk", dump2, ":method", "GET", ":scheme", "http", ":authority", "x", ":path", "*"),
	asked("HEAD", dump2, ":method", "HEAD", ":scheme", "http", ":authority", "x", ":path", "/"),
	asked("CONNECT", dump2, ":method", "CONNECT", ":authority", "x:1"),
	asked("CONNECT with a path", dump2, ":method", "CONNECT", ":authority", "x:1", ":scheme", "http", ":path", "/"),
	asked("a method that nobody knows", dump2, ":method", "FOO", ":scheme", "http", ":authority", "x", ":path", "/"),
	asked("a method that is none", dump2, ":method", "G T", ":scheme", "http", ":authority", "x", ":path", "/"),
	asked("no method", dump2, ":scheme", "http", ":authority", "x", ":path", "/"),
	asked("no path", dump2, ":method", "GET", ":scheme", "http", ":authority", "x"),
	asked("an empty path", dump2, ":method", "GET", ":scheme", "http", ":authority", "x", ":path", ""),
	asked("a path without a slash", dump2, ":method", "GET", ":scheme", "http", ":authority", "x", ":path", "a"),
	asked("a path of another host", dump2, ":method", "GET", ":scheme", "http", ":authority", "x", ":path", "//h/a"),
	asked("a path with an invalid escape", dump2, ":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/%zz"),
	asked("a path with a space", dump2, ":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/a b"),
	asked("a path beyond ASCII", dump2, ":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/ä"),
	asked("no scheme", dump2, ":method", "GET", ":authority", "x", ":path", "/"),
	asked("another scheme", dump2, ":method", "GET", ":scheme", "ftp", ":authority", "x", ":path", "/"),
	asked("no authority", dump2, ":method", "GET", ":scheme", "http", ":path", "/"),
	asked("Host for an authority", dump2, ":method", "GET", ":scheme", "http", ":path", "/", "host", "y"),
	asked("Host and an authority", dump2, with("host", "y")...),
	asked("an authority with user and password", dump2, ":method", "GET", ":scheme", "http", ":authority", "u:p@x", ":path", "/"),
	asked("an authority that is none", dump2, ":method", "GET", ":scheme", "http", ":authority", "a b", ":path", "/"),
	asked("a pseudo field after others", dump2, ":method", "GET", ":scheme", "http", "a", "b", ":authority", "x", ":path", "/"),
	asked("a pseudo field twice", dump2, with(":path", "/b")...),
	asked("a pseudo field that nobody knows", dump2, append([]string{":foo", "bar"}, get2...)...),
	asked("a pseudo field of responses", dump2, append([]string{":status", "200"}, get2...)...),
	asked(":protocol", dump2, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "x", ":path", "/"),
	asked("a name in upper case", dump2, with("A", "b")...),
	asked("a name with a space", dump2, with("a b", "c")...),
	asked("an empty name", dump2, with("", "c")...),
	asked("a value with a line break", dump2, with("a", "b\r\nc")...),
	asked("a value with a NUL", dump2, with("a", "b\x00")...),
	asked("a value with space around", dump2, with("a", " b ")...),
	asked("Connection", dump2, with("connection", "close")...),
	asked("Keep-Alive", dump2, with("keep-alive", "1")...),
	asked("Proxy-Connection", dump2, with("proxy-connection", "keep-alive")...),
	asked("Upgrade", dump2, with("upgrade", "x")...),
	asked("Transfer-Encoding", dump2, with("transfer-encoding", "chunked")...),
	asked("TE: trailers", dump2, with("te", "trailers")...),
	asked("TE of something else", dump2, with("te", "gzip")...),
	asked("Expect without a body", dump2, with("expect", "100-continue")...),
	asked("Content-Length: 0", dump2, post2("content-length", "0")...),
	asked("Content-Length, and no body", dump2, post2("content-length", "3")...),
	asked("Content-Length that is no number", dump2, post2("content-length", "a")...),
	asked("Content-Length below zero", dump2, post2("content-length", "-1")...),
	asked("a field of 100 kB", func(x *run, _ http.ResponseWriter, r *http.Request) { x.sawf("%d", len(r.Header.Get("A"))) }, with("a", strings.Repeat("b", 100_000))...),
	asked("3,000 fields", func(x *run, _ http.ResponseWriter, r *http.Request) { x.sawf("%d", len(r.Header["A"])) }, with(slices.Repeat([]string{"a", "b"}, 3000)...)...),
	func() behaviour {
		b := asked("a header over MaxHeaderBytes", dump2, with("a", strings.Repeat("b", 10_000))...)
		b.server = func(x *run, s *http.Server) { withHTTP2(x, s); s.MaxHeaderBytes = 5000 }
		return b
	}(),

	spoken("a body", dump2, func(_ *run, h *h2) {
		h.headers(1, false, post2("content-length", "6")...)
		h.body(false, "abc")
		h.body(true, "def")
		h.end(1)
	}),
	spoken("a body without a length", dump2, func(_ *run, h *h2) {
		h.headers(1, false, post2()...)
		h.body(false, "abc")
		h.body(true, "")
		h.end(1)
	}),
	spoken("a body longer than its Content-Length", dump2, func(_ *run, h *h2) {
		h.headers(1, false, post2("content-length", "2")...)
		h.body(true, "abc")
		h.end(1)
	}),
	spoken("a body shorter than its Content-Length", dump2, func(_ *run, h *h2) {
		h.headers(1, false, post2("content-length", "10")...)
		h.body(true, "abc")
		h.end(1)
	}),
	spoken("a declared trailer", dump2, func(_ *run, h *h2) {
		h.headers(1, false, post2("trailer", "a, b")...)
		h.body(false, "abc")
		h.headers(1, true, "a", "1", "b", "2", "c", "3")
		h.end(1)
	}),
	spoken("a trailer that was not declared", dump2, func(_ *run, h *h2) {
		h.headers(1, false, post2()...)
		h.body(false, "abc")
		h.headers(1, true, "a", "1")
		h.end(1)
	}),
	spoken("a trailer with a pseudo field", dump2, func(_ *run, h *h2) {
		h.headers(1, false, post2()...)
		h.body(false, "abc")
		h.headers(1, true, ":path", "/")
		h.end(1)
	}),
	spoken("a trailer that does not end the stream", dump2, func(_ *run, h *h2) {
		h.headers(1, false, post2()...)
		h.body(false, "abc")
		h.headers(1, false, "a", "1")
		h.end(1)
	}),
	spoken("Expect, and the body is read", dump2, func(_ *run, h *h2) {
		h.headers(1, false, post2("expect", "100-continue", "content-length", "3")...)
		h.answered(1)
		h.body(true, "abc")
		h.end(1)
	}),
	spoken("Expect, and the body is not read", func(_ *run, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(417) }, func(_ *run, h *h2) {
		h.headers(1, false, post2("expect", "100-continue", "content-length", "3")...)
		h.end(1)
	}),
	spoken("a body that is not read", func(_ *run, w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a") }, func(_ *run, h *h2) {
		h.headers(1, false, post2()...)
		h.end(1)
	}),
	spoken("a body that is closed", func(x *run, w http.ResponseWriter, r *http.Request) {
		x.sawf("%v", r.Body.Close())
		_, err := r.Body.Read(make([]byte, 1))
		x.sawf("%v", err)
	}, func(_ *run, h *h2) {
		h.headers(1, false, post2()...)
		h.body(true, "abc")
		h.end(1)
	}),
	spoken("MaxBytesReader beyond its limit", func(x *run, w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 3))
		x.sawf("%q %v", b, err)
	}, func(_ *run, h *h2) {
		h.headers(1, false, post2()...)
		h.body(true, "abcdef")
		h.end(1)
	}),
	spoken("a form", form, func(_ *run, h *h2) {
		h.headers(1, false, post2("content-type", "application/x-www-form-urlencoded")...)
		h.body(true, "a=1&b=2")
		h.end(1)
	}),
	spoken("a form with parts", parts, func(_ *run, h *h2) {
		h.headers(1, false, post2("content-type", "multipart/form-data; boundary=B")...)
		h.body(true, twoParts)
		h.end(1)
	}),
	spoken("an echo as it comes", func(x *run, w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 4)
		for {
			n, err := r.Body.Read(b)
			_, _ = w.Write(b[:n])
			flush(x, w)
			if err != nil {
				x.sawf("%v", err)
				return
			}
		}
	}, func(_ *run, h *h2) {
		h.headers(1, false, post2()...)
		for range 3 {
			h.body(false, "ping")
			h.got(1, "ping")
			h.flush(1)
		}
		h.body(true, "")
		h.end(1)
	}),
	spoken("a client that resets while its handler runs", func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.signal("running")
		gone(x, r)
	}, func(x *run, h *h2) {
		h.headers(1, true, get2...)
		x.wait("running")
		h.reset(1)
		x.awaitHandlers()
		h.ping()
	}),
	spoken("a client that resets within a body", func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.signal("running")
		_, err := io.ReadAll(r.Body)
		x.sawf("%v", err)
	}, func(x *run, h *h2) {
		h.headers(1, false, post2()...)
		x.wait("running")
		h.reset(1)
		x.awaitHandlers()
	}),
	spoken("a client that goes while its handler runs", func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.signal("running")
		gone(x, r)
	}, func(x *run, h *h2) {
		h.headers(1, true, get2...)
		x.wait("running")
		_ = h.Close()
		h.conn.over = "left"
		x.awaitHandlers()
	}),
	spoken("a client that goes within a body", func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.signal("running")
		_, err := io.ReadAll(r.Body)
		x.sawf("%v", err)
	}, func(x *run, h *h2) {
		h.headers(1, false, post2()...)
		x.wait("running")
		_ = h.Close()
		h.conn.over = "left"
		x.awaitHandlers()
	}),
	spoken("streams side by side", busy, func(x *run, h *h2) {
		h.headers(1, true, ":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/busy")
		x.wait("running")
		h.headers(3, true, ":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/b")
		h.end(3)
		x.signal("go on")
		h.end(1)
	}),
	spoken("a stream with an even number", dump2, func(_ *run, h *h2) {
		h.headers(2, true, get2...)
		h.gone()
	}),
	spoken("a stream with a lower number", dump2, func(_ *run, h *h2) {
		h.headers(5, true, get2...)
		h.end(5)
		h.headers(3, true, get2...)
		h.gone()
	}),
	spoken("data of a stream that is not there", dump2, func(_ *run, h *h2) {
		h.body(true, "abc")
		h.gone()
	}),
	spoken("data behind a stream's end", busy, func(x *run, h *h2) {
		h.headers(1, true, ":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/busy")
		x.wait("running")
		h.body(true, "abc")
		h.end(1)
		x.signal("go on")
	}),
	spoken("a frame that nobody knows", dump2, func(_ *run, h *h2) {
		h.frame(0xee, 0, 0, "abc")
		h.headers(1, true, get2...)
		h.end(1)
	}),
	spoken("a frame that is too large", dump2, func(_ *run, h *h2) {
		h.headers(1, false, post2()...)
		h.body(true, strings.Repeat("a", 1<<20+1))
		h.gone()
	}),
	spoken("a header block that is none", dump2, func(_ *run, h *h2) {
		h.frame(frameHeaders, flagEndHeaders|flagEndStream, 1, "\xff\xff\xff\xff\xff\xff")
		h.gone()
	}),
	spoken("PUSH_PROMISE of a client", dump2, func(_ *run, h *h2) {
		h.frame(framePush, flagEndHeaders, 1, "\x00\x00\x00\x02")
		h.gone()
	}),
	spoken("a CONTINUATION without a header", dump2, func(_ *run, h *h2) {
		h.frame(frameContinuation, flagEndHeaders, 1, "")
		h.gone()
	}),
	spoken("a WINDOW_UPDATE of none", dump2, func(_ *run, h *h2) {
		h.frame(frameWindow, 0, 0, "\x00\x00\x00\x00")
		h.gone()
	}),
	spoken("a SETTINGS of a wrong size", dump2, func(_ *run, h *h2) {
		h.frame(frameSettings, 0, 0, "\x00")
		h.gone()
	}),
	spoken("a PING is answered", dump2, func(x *run, h *h2) {
		h.ping()
		x.notef("%d", h.pings)
	}),
	spoken("a window of the client", func(x *run, w http.ResponseWriter, _ *http.Request) {
		_, err := io.WriteString(w, strings.Repeat("a", 100))
		x.sawf("%v", err)
	}, func(x *run, h *h2) {
		h.frame(frameSettings, 0, 0, "\x00\x04\x00\x00\x00\x0a")
		h.ping()
		h.headers(1, true, get2...)
		h.got(1, strings.Repeat("a", 10))
		x.notef("%d", len(h.data[1]))
		h.frame(frameWindow, 0, 1, "\x00\x00\x01\x00")
		h.end(1)
	}),
	{name: "HTTP/1 on the same port", plain: true, server: withHTTP2, serve: dumpTarget, send: get11},
	{name: "an upgrade to h2c is not taken", plain: true, server: withHTTP2, serve: dumpTarget, send: header("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")},
	{name: "no HTTP/1 where it is off", plain: true, server: func(_ *run, s *http.Server) {
		s.Protocols = new(http.Protocols)
		s.Protocols.SetUnencryptedHTTP2(true)
	}, serve: dumpTarget, script: func(_ *run, c *conn) {
		c.send(get11)
		c.rest()
	}},

	answer2("nothing written", func(http.ResponseWriter) {}),
	answer2("a small body", func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html>") }),
	answer2("a body of 100 kB", func(w http.ResponseWriter) { _, _ = io.WriteString(w, strings.Repeat("a", 100_000)) }),
	answer2("a flush, then a body", func(w http.ResponseWriter) {
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "abc")
	}),
	answer2("204 with a body", func(w http.ResponseWriter) { w.WriteHeader(204); _, _ = io.WriteString(w, "abc") }),
	answer2("304", func(w http.ResponseWriter) { w.Header().Set("Etag", "x"); w.WriteHeader(304) }),
	answer2("404 and a type", func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "a/b")
		w.WriteHeader(404)
		_, _ = io.WriteString(w, "abc")
	}),
	answer2("a second status is ignored", func(w http.ResponseWriter) { w.WriteHeader(201); w.WriteHeader(500) }),
	answer2("headers after the status do not count", func(w http.ResponseWriter) { w.WriteHeader(200); w.Header().Set("A", "1") }),
	answer2("names in lower case", func(w http.ResponseWriter) { w.Header()["X-A"] = []string{"1", "2"}; w.Header()["x-b"] = []string{"3"} }),
	answer2("names and values that are none", func(w http.ResponseWriter) {
		w.Header()["A B"] = []string{"1"}
		w.Header()["C"] = []string{"1\r\n2", "\x00"}
		w.Header()["D"] = nil
	}),
	spoken("Connection: close of the handler", func(_ *run, w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }, func(_ *run, h *h2) {
		h.headers(1, true, get2...)
		h.end(1)
		h.gone()
	}),
	answer2("Keep-Alive and Upgrade of the handler", func(w http.ResponseWriter) {
		w.Header().Set("Connection", "keep-alive")
		w.Header().Set("Keep-Alive", "1")
		w.Header().Set("Upgrade", "x")
		w.Header().Set("Proxy-Connection", "x")
	}),
	answer2("Transfer-Encoding of the handler", func(w http.ResponseWriter) {
		w.Header().Set("Transfer-Encoding", "chunked")
		_, _ = io.WriteString(w, "abc")
	}),
	answer2("no Date, no type", func(w http.ResponseWriter) {
		w.Header()["Date"] = nil
		w.Header()["Content-Type"] = nil
		_, _ = io.WriteString(w, "abc")
	}),
	answer2("Content-Length, and too little", func(w http.ResponseWriter) { w.Header().Set("Content-Length", "10"); _, _ = io.WriteString(w, "abc") }),
	asked("Content-Length, and too much", func(x *run, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "2")
		n, err := io.WriteString(w, "abc")
		x.sawf("%d %v", n, err)
	}, get2...),
	answer2("Content-Length of the handler that is no number", func(w http.ResponseWriter) { w.Header().Set("Content-Length", "x"); _, _ = io.WriteString(w, "abc") }),
	asked("HEAD with a body", func(x *run, w http.ResponseWriter, _ *http.Request) {
		n, err := io.WriteString(w, "<html>")
		x.sawf("%d %v", n, err)
	}, ":method", "HEAD", ":scheme", "http", ":authority", "x", ":path", "/"),
	asked("HEAD, flushed", func(x *run, w http.ResponseWriter, _ *http.Request) { flush(x, w) }, ":method", "HEAD", ":scheme", "http", ":authority", "x", ":path", "/"),
	answer2("103 twice", func(w http.ResponseWriter) {
		for range 2 {
			w.Header().Add("Link", "</a>")
			w.WriteHeader(http.StatusEarlyHints)
		}
		_, _ = io.WriteString(w, "abc")
	}),
	answer2("101", func(w http.ResponseWriter) { w.WriteHeader(101); _, _ = io.WriteString(w, "abc") }),
	asked("a status of two digits panics", func(x *run, w http.ResponseWriter, _ *http.Request) {
		defer func() { x.sawf("%v", recover()) }()
		w.WriteHeader(99)
	}, get2...),
	answer2("declared trailers", func(w http.ResponseWriter) {
		w.Header().Set("Trailer", "A, B")
		_, _ = io.WriteString(w, "abc")
		w.Header().Set("A", "1")
		w.Header().Set("B", "2")
		w.Header().Set("C", "3")
	}),
	answer2("declared trailers and nothing written", func(w http.ResponseWriter) {
		w.Header().Set("Trailer", "A")
		w.WriteHeader(200)
		w.Header().Set("A", "1")
	}),
	answer2("trailers of the prefix", func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, "abc")
		w.Header().Set(http.TrailerPrefix+"A", "1")
	}),
	answer2("trailers of the prefix after a flush", func(w http.ResponseWriter) {
		_ = http.NewResponseController(w).Flush()
		w.Header().Set(http.TrailerPrefix+"A", "1")
		w.Header().Set(http.TrailerPrefix+"Content-Length", "1")
	}),
	answer2("a panic", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }),
	answer2("a panic after a write", func(w http.ResponseWriter) { _, _ = io.WriteString(w, "abc"); panic(http.ErrAbortHandler) }),
	answer2("a panic after a flush", func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, "abc")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}),
	func() behaviour {
		b := answer2("a panic is logged", func(http.ResponseWriter) { panic("boom") })
		b.logs = true
		return b
	}(),
	spoken("a panic ends its stream alone", func(x *run, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic(http.ErrAbortHandler)
		}
		dump2(x, w, r)
	}, func(_ *run, h *h2) {
		h.headers(1, true, ":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/panic")
		h.end(1)
		h.headers(3, true, get2...)
		h.end(3)
	}),
	asked("what a writer can do", func(x *run, w http.ResponseWriter, _ *http.Request) {
		_, hijacks := w.(http.Hijacker)
		_, pushes := w.(http.Pusher)
		_, flushes := w.(http.Flusher)
		_, notifies := w.(http.CloseNotifier) //nolint:staticcheck // as above
		_, strs := w.(io.StringWriter)
		_, reads := w.(io.ReaderFrom)
		x.sawf("%v %v %v %v %v %v", hijacks, pushes, flushes, notifies, strs, reads)
	}, get2...),
	asked("a ResponseController", func(x *run, w http.ResponseWriter, _ *http.Request) {
		rc := http.NewResponseController(w)
		_, _, err := rc.Hijack()
		x.sawf("%v %v", err, errors.Is(err, http.ErrNotSupported))
		x.sawf("%v %v %v %v", rc.EnableFullDuplex(), rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{}), rc.Flush())
	}, get2...),
	asked("a write deadline that has passed", func(x *run, w http.ResponseWriter, r *http.Request) {
		x.sawf("%v", http.NewResponseController(w).SetWriteDeadline(past))
		gone(x, r)
	}, get2...),
	spoken("a read deadline that has passed", func(x *run, w http.ResponseWriter, r *http.Request) {
		x.sawf("%v", http.NewResponseController(w).SetReadDeadline(past))
		_, err := io.ReadAll(r.Body)
		x.sawf("%v", err)
		_, _ = io.WriteString(w, "late")
	}, func(_ *run, h *h2) {
		h.headers(1, false, post2()...)
		h.end(1)
	}),
	asked("push to a client that wants none", func(x *run, w http.ResponseWriter, _ *http.Request) {
		p, ok := w.(http.Pusher)
		if !ok {
			x.sawf("no Pusher")
			return
		}
		err := p.Push("/pushed", nil)
		x.sawf("%v %v", err == nil, errors.Is(err, http.ErrNotSupported))
	}, get2...),
	spoken("push to a client that wants it", func(x *run, w http.ResponseWriter, r *http.Request) {
		if p, ok := w.(http.Pusher); ok && r.URL.Path == "/" {
			x.sawf("%v", p.Push("/pushed", &http.PushOptions{Header: http.Header{"A": {"1"}}}))
			x.sawf("%v", p.Push("pushed", nil))
			return
		}
		w.Header().Set("Pushed", fmt.Sprintf("%s %s %q", r.Method, r.URL, r.Header))
	}, func(x *run, h *h2) {
		h.frame(frameSettings, 0, 0, "\x00\x02\x00\x00\x00\x01")
		h.ping()
		h.headers(1, true, get2...)
		h.end(1)
		h.end(2)
	}),
	asked("a context has no deadline, and the server's values", func(x *run, _ http.ResponseWriter, r *http.Request) {
		_, deadline := r.Context().Deadline()
		_, server := r.Context().Value(http.ServerContextKey).(*http.Server)
		addr := r.Context().Value(http.LocalAddrContextKey)
		x.sawf("%v %v %v %v", deadline, server, fmt.Sprint(addr) == x.addr, r.Context().Err())
		context.AfterFunc(r.Context(), func() { x.signal("ended") })
	}, get2...),
	spoken("Shutdown", busy, func(x *run, h *h2) {
		onShutdown(x)
		h.headers(1, true, ":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/busy")
		x.wait("running")
		over := make(chan error, 1)
		go func() { over <- x.shutdown(limit) }()
		x.wait("shutting down")
		for h.goAway == "" && h.next() {
		}
		x.signal("go on")
		h.end(1)
		h.gone()
		x.notef("%v", <-over)
	}),
	spoken("SetKeepAlivesEnabled(false)", path, func(x *run, h *h2) {
		h.headers(1, true, get2...)
		h.end(1)
		x.server.SetKeepAlivesEnabled(false)
		h.headers(3, true, get2...)
		h.end(3)
	}),
	func() behaviour {
		b := spoken("ConnState", path, func(x *run, h *h2) {
			h.headers(1, true, get2...)
			h.end(1)
			x.wait("idle")
			h.headers(3, true, get2...)
			h.end(3)
			x.wait("idle")
			_ = h.Close()
			h.conn.over = "left"
			x.wait("closed")
		})
		b.server = func(x *run, s *http.Server) { withHTTP2(x, s); states(x, s) }
		return b
	}(),
	handled2("ReverseProxy", proxied(func(_ *run, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "T")
		fmt.Fprintf(w, "%s %s", r.Proto, r.Header.Get("X-Forwarded-Host"))
		w.Header().Set("T", "1")
	})),
	handled2("ServeContent", func(_ *run, w http.ResponseWriter, r *http.Request) { content(w, r) }),
	handled2("FileServer: 300 kB", func(_ *run, w http.ResponseWriter, r *http.Request) {
		r.URL.Path = "/big.bin"
		files.ServeHTTP(w, r)
	}),
	handled2("TimeoutHandler", func(_ *run, w http.ResponseWriter, r *http.Request) {
		http.TimeoutHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), time.Millisecond, "late").ServeHTTP(w, r)
	}),
}

func handled2(name string, serve func(x *run, w http.ResponseWriter, r *http.Request)) behaviour {
	return asked(name, serve, get2...)
}
