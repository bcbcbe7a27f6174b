package toolkit

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"io/fs"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// script is what the fuzzer says, read as calls of a Builder's methods with their
// arguments. When it is over, it reads as zeros.
type script struct{ bytes []byte }

func (s *script) byte() (b byte) {
	if len(s.bytes) > 0 {
		b, s.bytes = s.bytes[0], s.bytes[1:]
	}
	return b
}

// int is small, or anything.
func (s *script) int() int {
	n := int(int8(s.byte()))
	if n == -128 {
		var b [8]byte
		s.bytes = s.bytes[copy(b[:], s.bytes):]
		n = int(binary.LittleEndian.Uint64(b[:]))
	}
	return n
}

// duration is in ms, or anything.
func (s *script) duration() time.Duration {
	n := s.int()
	if n >= -128 && n < 128 {
		n *= int(time.Millisecond)
	}
	return time.Duration(n)
}

func (s *script) string() string {
	n := min(int(s.byte()), len(s.bytes))
	text := string(s.bytes[:n])
	s.bytes = s.bytes[n:]
	return text
}

func (s *script) timeouts() (timeouts []time.Duration) {
	for range s.byte() % 3 {
		timeouts = append(timeouts, s.duration())
	}
	return timeouts
}

// play makes the calls.
func (s *script) play(b *Builder) {
	handler := func() fasthttp.RequestHandler {
		return []fasthttp.RequestHandler{hello, hello, nil, func(*fasthttp.RequestCtx) { panic("on purpose") }}[s.byte()%4]
	}
	middleware := func() Middleware {
		return []Middleware{mark("m"), nil, nothing, func(fasthttp.RequestHandler) fasthttp.RequestHandler { panic("on purpose") }}[s.byte()%4]
	}
	hookFunc := func() lifecycle.HookFunc {
		return []lifecycle.HookFunc{nop, nil, func(context.Context) error { panic("on purpose") }}[s.byte()%3]
	}
	routes := []func(string, fasthttp.RequestHandler) *Builder{
		b.Get, b.Head, b.Post, b.Put, b.Patch, b.Delete, b.Connect, b.Options, b.Trace, b.Any,
	}
	durations := []func(time.Duration) *Builder{
		b.ReadHeaderTimeout, b.ReadBodyTimeout, b.WriteTimeout, b.IdleTimeout, b.ParkAfter, b.ShutdownDelay, b.LastCall,
		b.DrainTimeout, b.AbortTimeout, b.HookTimeout, b.ReadyTimeout, b.TerminationGracePeriod,
	}
	ints := []func(int) *Builder{b.MaxHeaderSize, b.MaxBodySize, b.MaxConns, b.MaxConnsPerIP, b.MaxRequestsPerConn}
	for calls := 0; len(s.bytes) > 0 && calls < 100; calls++ {
		switch s.byte() % 20 {
		case 0, 1, 2:
			durations[int(s.byte())%len(durations)](s.duration())
		case 3, 4:
			ints[int(s.byte())%len(ints)](s.int())
		case 5, 6:
			routes[int(s.byte())%len(routes)](s.string(), handler())
		case 7:
			b.Handle(s.string(), s.string(), handler())
		case 8:
			b.Group(s.string(), func(g *Group) {
				if s.byte()%2 == 0 {
					g.Use(middleware())
				}
				g.Get(s.string(), handler()).Handle(s.string(), s.string(), handler())
			})
		case 9:
			b.Use(middleware())
		case 10:
			b.HealthPaths(s.string(), s.string())
		case 11:
			b.ReadyCheck(s.string(), hookFunc())
		case 12:
			b.OnStart(s.string(), hookFunc(), s.timeouts()...)
		case 13:
			b.OnDrain(s.string(), hookFunc(), s.timeouts()...)
		case 14:
			b.PreExit(s.string(), hookFunc(), s.timeouts()...)
		case 15:
			b.Addr(s.string())
		case 16:
			b.Unix(s.string(), fs.FileMode(s.int()))
		case 17:
			b.KeepAlive(s.byte()%2 == 0).AccessLog(s.byte()%2 == 0).NotFound(handler()).MethodNotAllowed(handler())
		case 18:
			switch s.byte() % 6 {
			case 0:
				b.TLS("", "")
			case 1:
				b.TLS("/no/cert.pem", "/no/key.pem")
			case 2:
				b.TLSConfig(nil)
			case 3:
				b.TLSConfig(new(tls.Config))
			case 4:
				cert := certificate()
				b.TLSConfig(&tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{s.string()}, MinVersion: tls.VersionTLS12})
			case 5:
				b.Listener(nil)
			}
		case 19:
			b.Configure([]func(*fasthttp.Server){
				nil,
				func(h *fasthttp.Server) { h.Handler = hello },
				func(h *fasthttp.Server) { *h = fasthttp.Server{} },
				func(h *fasthttp.Server) { h.StreamRequestBody = true },
				func(*fasthttp.Server) { panic("on purpose") },
			}[s.byte()%5])
		}
	}
}

// setters matches the names of the Builder's methods that record.
var setters = func() *regexp.Regexp {
	var names []string
	for m := range reflect.TypeFor[*Builder]().Methods() {
		if m.Name != "Build" && m.Name != "Run" {
			names = append(names, m.Name)
		}
	}
	return regexp.MustCompile(`\b(` + strings.Join(names, "|") + `)\b`)
}()

// Whatever calls are made with whatever values: Build does not panic, each line of
// its error names a call, and what it accepts runs, answers, and ends when told to.
func FuzzBuilder(f *testing.F) {
	const largest = "\x80\xff\xff\xff\xff\xff\xff\xff\x7f"
	for call := range 12 {
		f.Add([]byte{0, byte(call), 0})                                  // each duration 0
		f.Add([]byte{0, byte(call), 1})                                  // 1 ms
		f.Add([]byte{0, byte(call), 255})                                // negative
		f.Add([]byte("\x00" + string(rune(call)) + largest))             // and the longest there is
		f.Add([]byte("\x00\x0b\x64\x00" + string(rune(call)) + largest)) // in a grace period of 100 ms
	}
	for call := range 5 {
		f.Add([]byte("\x03" + string(rune(call)) + largest))
	}
	for _, calls := range []string{
		"\x05\x00\x01/\x00",  // Get("/", hello)
		"\x0a\x05/a\nb/\x00", // HealthPaths, with a line's end
		"\x0a\x02\n/\x00",    // and without a slash
		"\x0f\x01\n",         // Addr("\n")
		"\x0f\x05h:abc",      // Addr("h:abc")
		"\x10\x02/s\x80",     // Unix
		"\x08\x02/g\x00\x00\x02/x\x00\x03GET\x02/y\x00", // Group
		"\x0e\x01a\x02\x00",                             // PreExit that panics
		"\x0c\x01a\x02\x00",                             // OnStart that panics
		"\x0d\x01a\x00\x01\x05\x0e\x01b\x00\x01\x05",    // hooks with timeouts
		"\x11\x01\x01\x00\x03",                          // KeepAlive(false)
		"\x13\x02", "\x13\x03", "\x13\x04",              // Configure
		"\x12\x04\x02h2", // TLSConfig
		"\x00\x06\x80\xff\xff\xff\xff\xff\xff\xff\x7f\x00\x03\x00\x00\x07\x00", // LastCall(UntilIdle), IdleTimeout(0), DrainTimeout(0)
	} {
		f.Add([]byte(calls))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		mem := fasthttputil.NewInmemoryListener()
		defer func() { _ = mem.Close() }()
		b := New().Logger(zerolog.Nop()).Listener(mem)
		(&script{data}).play(b)
		s, err := b.Build()
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "toolkit: ") || !setters.MatchString(line) {
					t.Errorf("line %q names no call, in:\n%v", line, err)
				}
			}
			return
		}
		for _, w := range s.Warnings() {
			if !setters.MatchString(w.Call) || w.Danger == "" || w.Reason == "" {
				t.Errorf("warning %+v", w)
			}
		}
		if len(b.addrs) > 0 || b.unix != "" {
			return // the system's to judge, and not the fuzzer's to open
		}
		done := make(chan struct{})
		go func() { defer close(done); err = s.Run(context.Background()) }()
		select {
		case <-s.Reached(lifecycle.PhaseReady): // or beyond, as when a start hook failed
		case <-done:
		}
		if s.Phase() == lifecycle.PhaseReady {
			wantAnswer(t, mem, b)
		}
		_ = s.Close()
		select {
		case <-done:
		case <-time.After(patience):
			t.Fatalf("Run has not returned; connections: %+v", s.Conns())
		}
		if open := s.Counts(); open != (lifecycle.Counts{}) {
			t.Errorf("open in the end: %v", open)
		}
	})
}

// wantAnswer makes a request. Where no limit is short, it has to be answered.
func wantAnswer(t *testing.T, mem *fasthttputil.InmemoryListener, b *Builder) {
	c, err := mem.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: t\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	for _, d := range []time.Duration{b.readHeaderTimeout, b.writeTimeout, b.idleTimeout} {
		if d != 0 && d < patience {
			return
		}
	}
	if err != nil {
		t.Fatalf("no response: %v", err)
	}
	_ = resp.Body.Close()
}
