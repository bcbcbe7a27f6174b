package nethttp

import (
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// framed is a client of HTTP/2 in fake time: what it is sent is noted, with its time.
type framed struct {
	net.Conn
	began   time.Time
	deaf    chan struct{} // if not nil, nothing is read before it is closed
	over    chan struct{} // closed when the connection has ended, after log is complete
	log     []string
	goAways []farewell
	asked   bool          // to leave, by a GOAWAY that is no error
	last    time.Duration // when the last frame came
}

// farewell is a GOAWAY.
type farewell struct {
	at         time.Duration
	last, code uint32
}

// begin says the preface and SETTINGS, and begins to read.
func (p *pipe) begin(deaf chan struct{}) *framed {
	c := &framed{Conn: p.dial(), began: time.Now(), deaf: deaf, over: make(chan struct{})}
	go c.read()
	c.send([]byte(preface), appendFrame(nil, 0x4, 0, 0, nil))
	synctest.Wait() // what both say at first is in no order
	return c
}

// send is without an error: the end is what read sees.
func (c *framed) send(parts ...[]byte) { _, _ = c.Write(slices.Concat(parts...)) }

func (c *framed) read() {
	defer close(c.over)
	defer func() { _ = c.Close() }()
	if c.deaf != nil {
		<-c.deaf
	}
	for {
		var fs frames
		_, err := io.ReadFull(c, fs.header[:])
		if err != nil {
			at := time.Since(c.began)
			if c.asked && at-c.last <= time.Second {
				at = c.last // http.Server waits for a second here: see streams.rest
			}
			c.log = append(c.log, fmt.Sprintf("%v end", at))
			return
		}
		fs.parse()
		payload := make([]byte, fs.size)
		_, _ = io.ReadFull(c, payload)
		if fs.kind == framePing && fs.flags&flagAck == 0 {
			go c.send(appendFrame(nil, framePing, flagAck, 0, payload))
		}
		if late := fs.kind == framePing || fs.kind == 0x4 || fs.kind == frameReset && payload[3] == 5; late && c.asked {
			continue // what it acknowledges, or finds closed, in that second
		}
		c.asked = c.asked || fs.kind == frameGoAway && binary.BigEndian.Uint32(payload[4:]) == noError
		if c.last = time.Since(c.began); fs.kind == frameGoAway {
			c.goAways = append(c.goAways, farewell{c.last, binary.BigEndian.Uint32(payload), binary.BigEndian.Uint32(payload[4:])})
		}
		text := fmt.Sprintf("%q", payload)
		if fs.size > 200 {
			text = fmt.Sprint(fs.size)
		}
		c.log = append(c.log, fmt.Sprintf("%v kind %d flags %d stream %d: %s", time.Since(c.began), fs.kind, fs.flags, fs.stream, text))
	}
}

// heard is all that came until the end. What comes at the same time is in no order.
func (c *framed) heard() []string {
	<-c.over
	slices.Sort(c.log)
	return slices.Compact(c.log) // one that is silent from the begin is sent two equal GOAWAYs: lifecycle's is one
}

// get is a request that is complete.
func get(stream uint32, path string) []byte {
	return appendFrame(nil, frameHeaders, flagEndStream|flagEndHeaders, stream, headers(":method", "GET", ":scheme", "http", ":authority", "t", ":path", path))
}

// post is the header of a request with a body to come.
func post(stream uint32, path string) []byte {
	return appendFrame(nil, frameHeaders, flagEndHeaders, stream, headers(":method", "POST", ":scheme", "http", ":authority", "t", ":path", path))
}

func number(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// inHTTP2 is how handlers behave, by the path.
func inHTTP2(note func(string, ...any)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		to := http.NewResponseController(w)
		switch r.URL.Path {
		case "/net/panic":
			panic(http.ErrAbortHandler)
		case "/net/midway":
			_, _ = io.WriteString(w, "half")
			_ = to.Flush()
			panic("on purpose")
		case "/net/sleep":
			time.Sleep(9 * time.Second)
			_, err := io.WriteString(w, "slept")
			note("sleep: %v, %v", err, r.Context().Err())
		case "/net/stream":
			for i := range 4 {
				if _, err := fmt.Fprint(w, i); err != nil {
					note("stream: %v", err)
					return
				}
				if err := to.Flush(); err != nil {
					note("flush: %v", err)
					return
				}
				time.Sleep(3 * time.Second)
			}
		case "/net/large":
			_, err := w.Write(make([]byte, 1<<20))
			note("large: %v", err)
		case "/net/own":
			note("own: %v, %v", to.SetReadDeadline(time.Now().Add(3*time.Second)), to.SetWriteDeadline(time.Now().Add(15*time.Second)))
			b, err := io.ReadAll(r.Body)
			note("own: %q, %v", b, err)
			_, _ = io.WriteString(w, "read")
		default:
			b, err := io.ReadAll(r.Body)
			if err != nil {
				note("body: %q, %v", b, err)
			}
			fmt.Fprintf(w, "%s %q", r.Method, b)
		}
	}
}

// What a client of HTTP/2 is sent, and when, is what it is sent by an http.Server, whatever
// it does and whichever timeouts there are.
func TestHTTP2AsByNetHTTP(t *testing.T) {
	const second = time.Second
	scripts := map[string]struct {
		deaf bool
		play func(c *framed)
	}{
		"nothing":              {play: func(*framed) {}},
		"one":                  {play: func(c *framed) { c.send(get(1, "/net")) }},
		"one, then another":    {play: func(c *framed) { c.send(get(1, "/net")); time.Sleep(4100 * time.Millisecond); c.send(get(3, "/net")) }},
		"half a frame":         {play: func(c *framed) { c.send(get(1, "/net")[:20]) }},
		"half a header block":  {play: func(c *framed) { c.send(appendFrame(nil, frameHeaders, 0, 1, headers(":method", "GET"))) }},
		"no body":              {play: func(c *framed) { c.send(post(1, "/net")) }},
		"no body beside a GET": {play: func(c *framed) { c.send(post(1, "/net"), get(3, "/net/sleep")) }},
		"slow body": {play: func(c *framed) {
			c.send(post(1, "/net"))
			for range 12 {
				time.Sleep(1030 * time.Millisecond) // never at the time of something else
				c.send(appendFrame(nil, frameData, 0, 1, []byte("x")))
			}
			c.send(appendFrame(nil, frameData, flagEndStream, 1, nil))
		}},
		"own deadlines": {play: func(c *framed) { c.send(post(1, "/net/own"), appendFrame(nil, frameData, 0, 1, []byte("x"))) }},
		"slow handler":  {play: func(c *framed) { c.send(get(1, "/net/sleep")); synctest.Wait(); c.send(get(3, "/net")) }},
		"stream":        {play: func(c *framed) { c.send(get(1, "/net/stream")); synctest.Wait(); c.send(get(3, "/net")) }},
		"no window":     {play: func(c *framed) { c.send(get(1, "/net/large")); time.Sleep(30 * second); c.send(get(3, "/net/sleep")) }},
		"deaf":          {deaf: true, play: func(c *framed) { go c.send(get(1, "/net/large")); time.Sleep(30 * second) }},
		"panic": {play: func(c *framed) {
			c.send(get(1, "/net/panic"), get(3, "/net/midway"))
			time.Sleep(second)
			c.send(get(5, "/net"))
		}},
		"PING": {play: func(c *framed) {
			for range 40 { // which does not keep it open
				time.Sleep(1030 * time.Millisecond) // never at the time of something else
				c.send(appendFrame(nil, framePing, 0, 0, []byte("12345678")))
			}
		}},
		"SETTINGS": {play: func(c *framed) {
			for range 40 {
				time.Sleep(1030 * time.Millisecond) // never at the time of something else
				c.send(appendFrame(nil, 0x4, 0, 0, nil))
			}
		}},
		"PING of 7 bytes": {play: func(c *framed) { c.send(appendFrame(nil, framePing, 0, 0, []byte("1234567"))) }},
		"WINDOW_UPDATE 0": {play: func(c *framed) { c.send(appendFrame(nil, 0x8, 0, 0, number(0))) }},
		"a stream's":      {play: func(c *framed) { c.send(get(1, "/net/sleep"), appendFrame(nil, 0x8, 0, 1, number(0)), get(3, "/net")) }},
		"too large a window": {play: func(c *framed) {
			c.send(get(1, "/net/sleep"), appendFrame(nil, 0x8, 0, 1, number(maxStream)), get(3, "/net"))
		}},
		"its own table": {play: func(c *framed) {
			c.send(appendFrame(nil, 0x4, 0, 0, append([]byte{0, 1}, number(1<<31)...)), get(1, "/net"))
		}},
		"the server's table": {play: func(c *framed) { c.send(appendFrame(nil, frameHeaders, 5, 1, []byte{0x3f, 0xe1, 0xff, 0xff, 0x7f})) }},
		"an even stream":     {play: func(c *framed) { c.send(get(2, "/net")) }},
		"an old stream":      {play: func(c *framed) { c.send(get(3, "/net")); time.Sleep(second); c.send(get(1, "/net")) }},
		"DATA of no stream":  {play: func(c *framed) { c.send(appendFrame(nil, frameData, 0, 1, []byte("x"))) }},
		"a reset of none":    {play: func(c *framed) { c.send(appendFrame(nil, frameReset, 0, 1, number(8))) }},
		"a reset": {play: func(c *framed) {
			c.send(get(1, "/net/sleep"), appendFrame(nil, frameReset, 0, 1, number(8)), get(3, "/net"))
		}},
		"CONTINUATION alone": {play: func(c *framed) { c.send(appendFrame(nil, frameContinuation, flagEndHeaders, 1, nil)) }},
		"too long a frame":   {play: func(c *framed) { c.send(appendFrame(nil, frameData, 0, 1, make([]byte, 1<<20+1))) }},
		"an unknown frame":   {play: func(c *framed) { c.send(appendFrame(nil, 0xfe, 7, 5, []byte("?")), get(1, "/net")) }},
		"too many at a time": {play: func(c *framed) {
			for stream := range uint32(5) {
				c.send(get(2*stream+1, "/net/sleep"))
				time.Sleep(130 * time.Millisecond)
			}
		}},
		"too large a header": {play: func(c *framed) { c.send(large(1, 3)); time.Sleep(second); c.send(get(3, "/net")) }},
		"much too large":     {play: func(c *framed) { c.send(large(1, 600)); time.Sleep(second); c.send(get(3, "/net")) }},
		"more than promised": {play: func(c *framed) {
			c.send(post(1, "/net"), appendFrame(nil, frameData, flagEndStream, 1, nil))
			synctest.Wait()
			c.send(appendFrame(nil, frameData, 0, 1, nil))
		}},
		"no such window": {play: func(c *framed) { c.send(appendFrame(nil, 0x4, 0, 0, append([]byte{0, 4}, number(1<<31)...))) }},
		"GOAWAY": {play: func(c *framed) {
			c.send(get(1, "/net/sleep"), appendFrame(nil, frameGoAway, 0, 0, append(number(0), number(0)...)))
		}},
		"SETTINGS not wanted": {play: func(c *framed) {
			c.send(appendFrame(nil, 0x4, flagAck, 0, nil), appendFrame(nil, 0x4, flagAck, 0, nil))
		}},
	}
	inSeconds := func(read, header, write, idle int) http.Server {
		return http.Server{ReadTimeout: seconds(read), ReadHeaderTimeout: seconds(header), WriteTimeout: seconds(write), IdleTimeout: seconds(idle)}
	}
	tables := []http.Server{inSeconds(0, 0, 0, 0), inSeconds(5, 0, 0, 0), inSeconds(0, 5, 0, 0), inSeconds(0, 0, 5, 0), inSeconds(0, 0, 0, 5), inSeconds(20, 5, 5, 3), inSeconds(5, -1, -1, 20), inSeconds(-1, -1, -1, -1)}
	config := &http.HTTP2Config{MaxConcurrentStreams: 3}
	quiet := log.New(io.Discard, "", 0)
	for name, script := range scripts {
		for i := range tables {
			o := &tables[i]
			play := func(serve func(h http.Handler, l net.Listener) (end func() error)) (log []string) {
				synctest.Test(t, func(*testing.T) {
					var mu sync.Mutex // guards notes
					var notes []string
					began, l := time.Now(), newPipe()
					end := serve(inHTTP2(func(format string, args ...any) {
						mu.Lock()
						defer mu.Unlock()
						notes = append(notes, fmt.Sprintf("%v ", time.Since(began))+fmt.Sprintf(format, args...))
					}), l)
					var deaf chan struct{}
					if script.deaf {
						deaf = make(chan struct{})
					}
					c := l.begin(deaf)
					script.play(c)
					if script.deaf {
						close(deaf)
					}
					time.Sleep(100 * second)
					_ = c.Close()
					log = c.heard()
					_ = end()
					time.Sleep(48 * time.Hour) // for what ends on its own time, as fasthttp's worker pool
					mu.Lock()
					defer mu.Unlock()
					slices.Sort(notes)
					log = append(log, notes...)
				})
				return log
			}
			want := play(func(h http.Handler, l net.Listener) func() error {
				srv := &http.Server{
					Handler: h, ErrorLog: quiet, HTTP2: config, Protocols: protocols(true, false, true),
					ReadTimeout: o.ReadTimeout, ReadHeaderTimeout: o.ReadHeaderTimeout, WriteTimeout: o.WriteTimeout, IdleTimeout: o.IdleTimeout, MaxHeaderBytes: 64 << 10,
				}
				go func() { _ = srv.Serve(l) }()
				return srv.Close
			})
			for _, native := range []bool{false, true} {
				got := play(func(h http.Handler, l net.Listener) func() error {
					srv := &Server{
						Handler: h, ErrorLog: quiet, HTTP2: config, Protocols: protocols(true, false, true),
						ReadTimeout: o.ReadTimeout, ReadHeaderTimeout: o.ReadHeaderTimeout, WriteTimeout: o.WriteTimeout, IdleTimeout: o.IdleTimeout, MaxHeaderBytes: 64 << 10,
					}
					srv.Life.HTTP = &fasthttp.Server{MaxIdleWorkerDuration: time.Hour}
					if native {
						srv.Native("/native", sayNative)
					}
					go func() { _ = srv.Serve(l) }()
					return srv.Close
				})
				if !slices.Equal(got, want) {
					t.Errorf("%s; read %v header %v write %v idle %v; native routes %v:\n got %s\nwant %s", name, o.ReadTimeout, o.ReadHeaderTimeout, o.WriteTimeout, o.IdleTimeout,
						native, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
				}
			}
		}
	}
}

// large is a request with so many fields of a kilobyte.
func large(stream uint32, kilobytes int) (b []byte) {
	value := strings.Repeat("x", 120)
	b = appendFrame(b, frameHeaders, flagEndStream, stream, headers(":method", "GET", ":scheme", "http", ":authority", "t", ":path", "/net"))
	for range kilobytes * 8 {
		b = appendFrame(b, frameContinuation, 0, stream, headers("x", value))
	}
	return appendFrame(b, frameContinuation, flagEndHeaders, stream, headers("y", "z"))
}

// A connection that has become older than MaxConnAge is ended by GOAWAYs, whether it is
// idle now and then or never, and each of its streams is answered. A client that heeds the
// first of them and opens no more streams need not close it.
func TestHTTP2MaxConnAge(t *testing.T) {
	const age = time.Minute
	for name, tt := range map[string]struct {
		first string        // what the first request takes, in seconds
		pause time.Duration // between the ones after it; they go on, whatever is said, but for 0
	}{
		"idle now and then": {"0", 7 * time.Second},
		"never idle":        {"600", 7 * time.Second},
		"heeds it":          {"70", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPipe()
				srv := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					d, _ := time.ParseDuration(r.URL.Path[len("/net/"):] + "s")
					_, _ = io.WriteString(w, "begun")
					_ = http.NewResponseController(w).Flush()
					time.Sleep(d)
					_, _ = io.WriteString(w, "done")
				})}
				srv.Life.MaxConnAge = age
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					_ = srv.Serve(l)
				}()
				c := l.begin(nil)
				c.send(get(1, "/net/"+tt.first))
				last := uint32(1)
				for began := time.Now(); tt.pause > 0 && !c.isOver() && time.Since(began) < 5*age; {
					time.Sleep(tt.pause)
					last += 2
					c.send(get(last, "/net/0"))
				}
				if tt.pause == 0 {
					time.Sleep(70*time.Second + time.Second/2)
					c.send(get(3, "/net/1"))
					last = 3
				}
				time.Sleep(20 * age)
				if !c.isOver() {
					t.Error("it has not ended")
				}
				_ = c.Close()
				log := strings.Join(c.heard(), "\n")
				asked, handled := -time.Second, uint32(0)
				for _, g := range c.goAways {
					if g.last == maxStream {
						asked = g.at
					} else {
						handled = g.last
					}
					if g.code != noError {
						t.Errorf("GOAWAY of %+v", g)
					}
				}
				if asked < age-age/10 || asked > age+age/10+10*time.Second {
					t.Errorf("asked to leave after %v", asked)
				}
				if handled == 0 || handled > last {
					t.Errorf("the last GOAWAY is of stream %d", handled)
				}
				for stream := uint32(1); stream <= handled; stream += 2 {
					if end := fmt.Sprintf("kind 0 flags 1 stream %d:", stream); !strings.Contains(log, end) {
						t.Errorf("stream %d has no end", stream)
					}
				}
				if t.Failed() {
					t.Log(log)
				}
				_ = srv.Close()
				<-ended
				time.Sleep(48 * time.Hour)
			})
		})
	}
}

// isOver reports whether the connection has ended.
func (c *framed) isOver() bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

// A request that crosses the end of its connection is handled, or its client is told that it
// is not.
func TestHTTP2CrossesTheEnd(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			l := newPipe()
			srv := &Server{Handler: http.HandlerFunc(sayNet)}
			srv.Life.LastCall = time.Second
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = srv.Serve(l)
			}()
			c := l.begin(nil)
			c.send(get(1, "/net"))
			synctest.Wait()
			srv.Life.Drain()
			time.Sleep(time.Second)
			c.send(get(3, "/net"))
			<-ended
			time.Sleep(48 * time.Hour)
			answered := slices.ContainsFunc(c.heard(), func(line string) bool { return strings.Contains(line, "kind 0 flags 1 stream 3:") })
			if n := len(c.goAways); n < 2 || (c.goAways[n-1].last == 3) != answered {
				t.Errorf("%v; answered: %v", c.goAways, answered)
			}
		})
		if t.Failed() {
			return
		}
	}
}

// small is a listener whose connections buffer little of what is written.
type small struct{ net.Listener }

func (l small) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		err = c.(*net.TCPConn).SetWriteBuffer(4 << 10)
	}
	return c, err
}

// A client that has nothing under way, and takes nothing of what it is sent, does not hold
// up the drain.
func TestHTTP2DeafAtTheEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, "tcp", app{set: func(s *lifecycle.Server) {
		s.Addrs, s.Listeners, s.DrainTimeout = nil, []net.Listener{small{l}}, patience/2
	}})
	c := r.rawHTTP2()
	c.until(frameData, c.ask("/net", flagEndStream), flagEndStream)
	if err := c.Conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	var pings []byte
	for range 9000 { // fewer than the http.Server ends the connection for
		pings = appendFrame(pings, framePing, 0, 0, make([]byte, 8))
	}
	c.send(string(pings))
	r.finish() // which waits until all have been read
}

// A connection beyond a limit is refused, in good order whatever its client sends; those
// that are there are not touched, and their end makes room. Over TLS the client is told by
// HTTP/2. Without, it is refused with its first byte, which does not tell what it speaks.
func TestHTTP2TooManyConns(t *testing.T) {
	for name, limit := range map[string]func(*fasthttp.Server){
		"503": func(h *fasthttp.Server) { h.Concurrency = 1 },
		"429": func(h *fasthttp.Server) { h.MaxConnsPerIP = 1 },
	} {
		for _, kind := range []string{"tcp", "tls"} {
			for _, fresh := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %s fresh=%v", name, kind, fresh), func(t *testing.T) {
					r := run(t, kind, app{fresh: fresh, set: func(s *lifecycle.Server) { limit(s.HTTP) }})
					c := r.rawHTTP2()
					c.until(frameData, c.ask("/net", flagEndStream), flagEndStream)
					for range 3 {
						refused := r.rawHTTP2()
						refused.send(string(large(1, 64)))
						got, err := io.ReadAll(refused.r)
						want := "HTTP/1.1 " + name
						if kind == "tls" {
							want = string(append(appendFrame(nil, 0x4, 0, 0, nil), goAway(0, enhanceYourCalm)...))
						}
						if err != nil || !strings.HasPrefix(string(got), want) {
							t.Errorf("%q, %v", got, err)
						}
						_ = refused.Close()
					}
					c.until(frameData, c.ask("/net", flagEndStream), flagEndStream)
					_ = c.Close()
					r.until("there is room", func() bool { return r.Counts().Total() == 0 })
					c = r.rawHTTP2()
					c.until(frameData, c.ask("/net", flagEndStream), flagEndStream)
					if got := r.Totals(); got.Accepted != 2 || got.RefusedConns+got.RefusedPerIP != 3 {
						t.Errorf("%+v", got)
					}
				})
			}
		}
	}
}
