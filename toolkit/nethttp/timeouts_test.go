package nethttp

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
)

// timeouts are those of an http.Server, in seconds.
type timeouts struct{ read, header, write, idle int }

func (o timeouts) String() string {
	return fmt.Sprintf("read %d header %d write %d idle %d", o.read, o.header, o.write, o.idle)
}

// seconds is n of them.
func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// scene is what one client, and the handlers that it gets to, say of when what has happened.
type scene struct {
	began time.Time
	paths *strings.Replacer
	out   chan string // what the client sends

	mu  sync.Mutex // guards log
	log []string
}

func (s *scene) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, text := fmt.Sprintf("%v ", time.Since(s.began)), fmt.Sprintf(format, args...)
	s.log = append(s.log, at+text)
}

// send has the client send something, when what it has sent before is read.
func (s *scene) send(text string) { s.out <- s.paths.Replace(text) }

// after is send, some seconds later, and never at the moment of a timeout.
func (s *scene) after(n int, text string) {
	time.Sleep(seconds(n) + 100*time.Millisecond)
	s.send(text)
}

// readable is what has come, without the fields that may differ, and of much only how much
// it is and its hash: to quote it takes long with the race detector.
func readable(all []byte) string {
	head := all[:min(len(all), 4<<10)]
	text := fmt.Sprintf("%q", fields.ReplaceAll(head, nil))
	if rest := all[len(head):]; len(rest) > 0 {
		text += fmt.Sprintf(" and %d bytes %x", len(rest), sha256.Sum256(rest))
	}
	return text
}

var fields = regexp.MustCompile(`(?m)^(Date|Server|Content-Type|Content-Length|Connection: keep-alive).*\r\n`)

// play has a client connect, and follow the script. It returns what was noted until the
// connection's end, or a very long time had passed. A deaf client reads when it has sent
// all.
func (s *scene) play(l *pipe, deaf bool, script func(*scene)) []string {
	s.began = time.Now()
	client := l.dial()
	s.out = make(chan string, 100)
	done := make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() {
		for text := range s.out {
			_, _ = io.WriteString(client, text) // the end is what the other one sees
		}
	})
	both.Go(func() {
		if deaf {
			<-done
		}
		_ = client.SetReadDeadline(s.began.Add(seconds(1000)))
		buf := make([]byte, 64<<10)
		var all []byte
		var at time.Time
		for {
			n, err := client.Read(buf)
			if len(all) > 0 && (err != nil || !time.Now().Equal(at)) { // what comes at one time is one
				s.mu.Lock()
				s.log = append(s.log, fmt.Sprintf("%v got %s", at.Sub(s.began), readable(all)))
				s.mu.Unlock()
				all = all[:0]
			}
			all, at = append(all, buf[:n]...), time.Now()
			if err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					s.note("goes on")
				} else {
					s.note("end %v", err)
				}
				_ = client.Close()
				return
			}
		}
	})
	script(s)
	close(done)
	close(s.out)
	both.Wait()
	synctest.Wait() // for what handlers note at the end
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log
}

// timed is how net/http's handlers behave by the last element of the path.
func (s *scene) timed(w http.ResponseWriter, r *http.Request) {
	to := http.NewResponseController(w)
	what := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	switch what {
	case "echo":
		b, err := io.ReadAll(r.Body)
		if err != nil {
			s.note("body %q, timeout: %v", b, errors.Is(err, os.ErrDeadlineExceeded))
		}
		_, _ = w.Write(append([]byte("echo "), b...))
	case "ignore":
		_, _ = io.WriteString(w, "ignored")
	case "sleep":
		time.Sleep(seconds(9))
		_, err := io.WriteString(w, "slept")
		s.note("write %v, flush %v", err, to.Flush())
	case "stream":
		for i := range 5 {
			fmt.Fprintf(w, "%d", i)
			if err := to.Flush(); err != nil {
				s.note("flush: timeout: %v", errors.Is(err, os.ErrDeadlineExceeded))
				return
			}
			time.Sleep(seconds(3))
		}
	case "large":
		_, err := w.Write(make([]byte, 1<<20))
		s.note("write: timeout: %v", errors.Is(err, os.ErrDeadlineExceeded))
	case "readdeadline":
		_ = to.SetReadDeadline(time.Now().Add(seconds(3)))
		b, err := io.ReadAll(r.Body)
		s.note("body %q, timeout: %v", b, errors.Is(err, os.ErrDeadlineExceeded))
		_, _ = io.WriteString(w, "read")
	case "nodeadline":
		_ = to.SetReadDeadline(time.Time{})
		b, err := io.ReadAll(r.Body)
		s.note("body %q, timeout: %v", b, errors.Is(err, os.ErrDeadlineExceeded))
		_, _ = io.WriteString(w, "read")
	case "writedeadline":
		_ = to.SetWriteDeadline(time.Now().Add(seconds(3)))
		_, err := w.Write(make([]byte, 1<<20))
		s.note("write: timeout: %v", errors.Is(err, os.ErrDeadlineExceeded))
	case "hijack":
		nc, rw, err := to.Hijack()
		if err != nil {
			s.note("hijack %v", err)
			return
		}
		_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		time.Sleep(seconds(30))
		_, err = io.WriteString(nc, "behind")
		line, err2 := rw.ReadString('\n')
		s.note("hijacked: %v %q %v", err, line, err2)
		_ = nc.Close()
	}
}

// getEcho ends a request whose path it ends.
const getEcho = " HTTP/1.1\r\nHost: t\r\n\r\n"

// scripts are what clients do. {1} and {2} are where what they ask for is: see TestTimeouts.
var scripts = map[string]struct {
	net  bool // for handlers of net/http alone
	tls  bool
	deaf bool
	play func(s *scene)
}{
	"nothing":           {play: func(*scene) {}},
	"nothing, TLS":      {tls: true, play: func(*scene) {}},
	"half a hello, TLS": {tls: true, play: func(s *scene) { s.after(3, "\x16\x03\x01\x00") }},
	"one byte":          {play: func(s *scene) { s.after(3, "G") }},
	"an empty line":     {play: func(s *scene) { s.after(3, "\r\n") }},
	"half a line":       {play: func(s *scene) { s.after(3, "GET {1}/ec") }},
	"half a header":     {play: func(s *scene) { s.after(3, "GET {1}/echo HTTP/1.1\r\nHos"); s.after(1, "t: t\r\nX: ") }},
	"slow header":       {play: func(s *scene) { slowly(s, "GET {1}/echo HTTP/1.1\r\nHost: t\r\n\r\n") }},
	"late":              {play: func(s *scene) { s.after(4, "GET {1}/echo"+getEcho) }},
	"idle":              {play: func(s *scene) { s.send("GET {1}/echo" + getEcho) }},
	"two":               {play: func(s *scene) { s.send("GET {1}/echo" + getEcho); s.after(4, "GET {2}/echo"+getEcho) }},
	"second late":       {play: func(s *scene) { s.send("GET {1}/echo" + getEcho); s.after(15, "GET {2}/echo"+getEcho) }},
	"second one byte":   {play: func(s *scene) { s.send("GET {1}/echo" + getEcho); s.after(3, "G") }},
	"second half":       {play: func(s *scene) { s.send("GET {1}/echo" + getEcho); s.after(3, "GET {2}/ec") }},
	"second slow": {play: func(s *scene) {
		s.send("GET {1}/echo" + getEcho)
		slowly(s, "GET {2}/echo HTTP/1.1\r\nHost: t\r\n\r\n")
	}},
	"pipelined":             {play: func(s *scene) { s.send("GET {1}/echo" + getEcho + "GET {2}/echo" + getEcho) }},
	"pipelined, one byte":   {play: func(s *scene) { s.send("GET {1}/echo" + getEcho + "G") }},
	"pipelined, half":       {play: func(s *scene) { s.send("GET {1}/echo" + getEcho + "GET {2}/ec") }},
	"pipelined, then whole": {play: func(s *scene) { s.send("GET {1}/echo" + getEcho + "GET {2}/ec"); s.after(4, "ho"+getEcho) }},
	"to and fro": {play: func(s *scene) {
		for range 3 {
			s.send("GET {1}/echo" + getEcho)
			s.after(2, "GET {2}/echo"+getEcho)
			time.Sleep(seconds(2))
		}
	}},
	"body": {play: func(s *scene) {
		s.send("POST {1}/echo HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\n")
		slowly(s, "abcd")
	}},
	"second body": {play: func(s *scene) {
		s.send("GET {1}/echo" + getEcho)
		s.after(4, "POST {2}/echo HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\n")
		slowly(s, "abcd")
	}},
	"slow body": {net: true, play: func(s *scene) {
		s.send("POST {1}/echo HTTP/1.1\r\nHost: t\r\nContent-Length: 30\r\n\r\n")
		slowly(s, "abcdefghijklmnopqrstuvwxyz0123")
	}},
	"second slow body": {net: true, play: func(s *scene) {
		s.send("GET {1}/echo" + getEcho)
		s.after(4, "POST {2}/echo HTTP/1.1\r\nHost: t\r\nContent-Length: 30\r\n\r\n")
		slowly(s, "abcdefghijklmnopqrstuvwxyz0123")
	}},
	"no body": {net: true, play: func(s *scene) { s.send("POST {1}/echo HTTP/1.1\r\nHost: t\r\nContent-Length: 30\r\n\r\n") }},
	"unread slow body": {net: true, play: func(s *scene) {
		s.send("POST {1}/ignore HTTP/1.1\r\nHost: t\r\nContent-Length: 30\r\n\r\n")
		slowly(s, "abcdefghijklmnopqrstuvwxyz0123")
	}},
	"Expect": {net: true, play: func(s *scene) {
		s.send("POST {1}/echo HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
		s.after(2, "abc")
	}},
	"Expect, no body": {net: true, play: func(s *scene) {
		s.send("POST {1}/echo HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
	}},
	"Expect, unread": {net: true, play: func(s *scene) {
		s.send("POST {1}/ignore HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
	}},
	"deaf":               {net: true, deaf: true, play: func(s *scene) { s.send("GET {1}/large" + getEcho); time.Sleep(seconds(30)) }},
	"deaf, own deadline": {net: true, deaf: true, play: func(s *scene) { s.send("GET {1}/writedeadline" + getEcho); time.Sleep(seconds(30)) }},
	"own read deadline":  {net: true, play: func(s *scene) { s.send("POST {1}/readdeadline HTTP/1.1\r\nHost: t\r\nContent-Length: 30\r\n\r\nabc") }},
	"no read deadline": {net: true, play: func(s *scene) {
		s.send("POST {1}/nodeadline HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nabc")
		s.after(50, "d")
	}},
	"second read deadline": {net: true, play: func(s *scene) {
		s.send("GET {1}/echo" + getEcho)
		s.after(2, "POST {2}/readdeadline HTTP/1.1\r\nHost: t\r\nContent-Length: 30\r\n\r\nabc")
	}},
	"hijack": {net: true, play: func(s *scene) { s.send("GET {1}/hijack" + getEcho); s.after(40, "line\n") }},
	"second hijack": {net: true, play: func(s *scene) {
		s.send("GET {1}/echo" + getEcho)
		s.after(2, "GET {2}/hijack"+getEcho)
		s.after(40, "line\n")
	}},
	"slow handler": {net: true, play: func(s *scene) { s.send("GET {1}/sleep" + getEcho); time.Sleep(seconds(20)) }},
	"stream":       {net: true, play: func(s *scene) { s.send("GET {1}/stream" + getEcho); time.Sleep(seconds(20)) }},
}

// slowly sends a byte a second.
func slowly(s *scene, text string) {
	text = s.paths.Replace(text)
	for i := range text {
		time.Sleep(time.Second / 2)
		s.send(text[i : i+1])
		time.Sleep(time.Second / 2)
	}
}

// served is what Server and http.Server have in common here.
type served interface {
	Serve(l net.Listener) error
	ServeTLS(l net.Listener, certFile, keyFile string) error
	Close() error
}

// whileServed calls f while srv serves l, and returns when nothing of srv is left. It is for
// a bubble of fake time.
func whileServed(srv served, l net.Listener, secure bool, f func()) {
	var over sync.WaitGroup
	over.Go(func() {
		if secure {
			_ = srv.ServeTLS(l, "", "")
		} else {
			_ = srv.Serve(l)
		}
	})
	f()
	_ = srv.Close()
	over.Wait()
	time.Sleep(48 * time.Hour) // for what ends on its own time, as fasthttp's worker pool
}

// unfinished are the scripts in which a request's header does not end in time, and when its
// first byte comes, in milliseconds.
var unfinished = map[string]int{
	"one byte": 3100, "half a line": 3100, "half a header": 3100, "slow header": 500,
	"second one byte": 3100, "second half": 3100, "second slow": 500,
	"pipelined, one byte": 0, "pipelined, half": 0,
}

// ends is when our server is meant to end a connection at another moment than net/http does,
// zero being never; where that differs, as docs/migrating.md tells.
func ends(name string, o timeouts, first string) (at time.Duration, differs bool) {
	header, idle := seconds(cmp.Or(o.header, o.read)), seconds(cmp.Or(o.idle, o.read))
	begins := time.Duration(unfinished[name]) * time.Millisecond
	later := strings.HasPrefix(name, "second") || strings.HasPrefix(name, "pipelined")
	switch {
	case strings.HasPrefix(name, "nothing"), strings.Contains(name, "TLS"):
		begins = forever
	case name == "late":
		begins = 4100 * time.Millisecond
	case name == "an empty line":
		begins = 3100 * time.Millisecond
	}
	if strings.Contains(name, "TLS") {
		header = handshakeTimeout(&http.Server{ReadTimeout: seconds(o.read), ReadHeaderTimeout: seconds(o.header), WriteTimeout: seconds(o.write)})
	}
	if begins > 0 && !later && idle > 0 && idle < begins && (header <= 0 || idle < header) {
		return idle, true // it has been silent for too long
	}
	if _, is := unfinished[name]; !is {
		return 0, false
	}
	switch {
	case name == "pipelined, one byte" && first != "/nat":
		return seconds(o.header), o.header > 0
	case first == "/all", later && first != "/nat", later && idle > 0 && idle < begins:
		return 0, false
	case header <= 0:
		return 0, name == "second one byte" || name == "pipelined, one byte"
	}
	return begins + header, true
}

// endsAt reports whether the log is that of a connection that ends then, with as many
// answers as in the other one.
func endsAt(at time.Duration, log, other []string) bool {
	last := fmt.Sprintf("%v end EOF", at)
	if at == 0 {
		last = fmt.Sprintf("%v goes on", seconds(1000))
	}
	return len(log) > 0 && log[len(log)-1] == last &&
		strings.Count(strings.Join(log, ""), "200 OK") <= strings.Count(strings.Join(other, ""), "200 OK")
}

// What a client sees, and when, is what it sees of an http.Server with the same timeouts,
// whichever of the two servers the requests are for.
func TestTimeouts(t *testing.T) {
	tables := []timeouts{
		{}, {read: 10}, {header: 5}, {idle: 20}, {write: 8}, {read: 10, header: 5}, {read: 5, header: 10}, {read: 10, idle: 20},
		{header: 5, idle: 3}, {read: 10, header: 5, write: 8, idle: 20}, {read: 10, header: -1}, {read: 10, idle: -1}, {read: -1, header: 5}, {write: -1},
	}
	paths := [][2]string{{"/all", "/all"}, {"/net", "/net"}, {"/nat", "/net"}, {"/net", "/nat"}, {"/nat", "/nat"}} // the first one with no native routes
	config := serverTLS()
	quiet := log.New(io.Discard, "", 0)
	for name, script := range scripts {
		for _, o := range tables {
			play := func(path [2]string, serverOf func(*scene) served) (log []string) {
				synctest.Test(t, func(*testing.T) {
					s := &scene{paths: strings.NewReplacer("{1}", path[0], "{2}", path[1])}
					srv, l := serverOf(s), newPipe()
					whileServed(srv, l, script.tls, func() { log = s.play(l, script.deaf, script.play) })
				})
				return log
			}
			want := play(paths[0], func(s *scene) served {
				return &http.Server{
					Handler: http.HandlerFunc(s.timed), TLSConfig: config, ErrorLog: quiet,
					ReadTimeout: seconds(o.read), ReadHeaderTimeout: seconds(o.header), WriteTimeout: seconds(o.write), IdleTimeout: seconds(o.idle),
				}
			})
			for _, path := range paths {
				if script.net && (path[0] == "/nat" && !strings.HasPrefix(name, "second ") || path[1] == "/nat") {
					continue
				}
				got := play(path, func(s *scene) served {
					srv := &Server{
						Handler: http.HandlerFunc(s.timed), TLSConfig: config, ErrorLog: quiet,
						ReadTimeout: seconds(o.read), ReadHeaderTimeout: seconds(o.header), WriteTimeout: seconds(o.write), IdleTimeout: seconds(o.idle),
					}
					srv.Life.HTTP = &fasthttp.Server{MaxIdleWorkerDuration: time.Hour}
					if path[0] != "/all" {
						srv.Native("/nat/echo", func(ctx *fasthttp.RequestCtx) { fmt.Fprintf(ctx, "echo %s", ctx.PostBody()) })
					}
					return srv
				})
				is := slices.Equal(got, want)
				if at, differs := ends(name, o, path[0]); differs {
					is = endsAt(at, got, want)
				}
				if !is {
					t.Errorf("%s; %v; %q:\n got %s\nwant %s", name, o, path, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
				}
			}
		}
	}
}
