package toolkit

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
)

//go:embed testdata/static
var embedded embed.FS

// changed is when all files of a site were.
var changed = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// site makes a directory with files, and one beside it that is not to be seen.
func site(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "site")
	for name, content := range map[string]string{
		"secret.txt":               "secret",
		"site/index.html":          "<h1>home</h1>",
		"site/app.js":              strings.Repeat("code();", 1000),
		"site/app.js.br":           "as brotli",
		"site/app.js.gz":           "as gzip",
		"site/old.css":             "new",
		"site/old.css.gz":          "stale",
		"site/large.bin":           strings.Repeat("0123456789", 20_000),
		"site/empty.txt":           "",
		"site/page":                "<!doctype html><p>no extension",
		"site/docs/index.html":     "docs",
		"site/docs/a/b.txt":        "b",
		"site/.env":                "PASSWORD=1",
		"site/.git/config":         "[core]",
		"site/docs/.hidden":        "hidden",
		"site/.well-known/x.txt":   "well known",
		"site/sp ace & ü%41?.txt":  "odd",
		"site/x.html/index.html":   "a directory with an extension",
		"site/twice/index.html/no": "index.html is a directory",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		when := changed
		if name == "site/old.css.gz" {
			when = when.Add(-time.Hour)
		}
		if err := os.Chtimes(file, when, when); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{
		"in.txt": "docs/a/b.txt", "out.txt": "../secret.txt", "absolute.txt": filepath.Join(root, "secret.txt"), "outside": "..", "loop": "loop",
	} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	ln, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return dir
}

func TestStatic(t *testing.T) {
	l := &logs{}
	r := run(t, loopback().Logger(l.logger()).
		NotFound(func(ctx *fasthttp.RequestCtx) { ctx.Error("nothing here", 404) }).
		Static("/assets/", site(t)).
		Get("/assets/native", answer("native")))
	c := r.dial()
	for target, want := range map[string]string{
		"/assets/":             "200 <h1>home</h1>",
		"/assets/index.html":   "200 <h1>home</h1>",
		"/assets/docs/":        "200 docs",
		"/assets/docs/a/b.txt": "200 b",
		"/assets/empty.txt":    "200 ",
		"/assets/page":         "200 <!doctype html><p>no extension",
		"/assets/sp%20ace%20%26%20%C3%BC%2541%3F.txt": "200 odd",
		"/assets/in.txt":            "200 b",
		"/assets/.well-known/x.txt": "200 well known",
		"/assets/docs/a/../a/b.txt": "200 b",
		"/assets/docs//a/b.txt":     "200 b",
		"/assets/x.html/":           "200 a directory with an extension",
		"/assets/native":            "200 native",
		"/assets/large.bin?v=1":     "200 " + strings.Repeat("0123456789", 20_000),

		"/assets/docs/a/":                        "", // no index, no listing
		"/assets/docs/a/b.txt/":                  "",
		"/assets/nothing":                        "",
		"/assets/.env":                           "",
		"/assets/.git/config":                    "",
		"/assets/.well-known":                    "",
		"/assets/docs/.hidden":                   "",
		"/assets/out.txt":                        "",
		"/assets/absolute.txt":                   "",
		"/assets/outside":                        "",
		"/assets/outside/":                       "",
		"/assets/outside/secret.txt":             "",
		"/assets/loop":                           "",
		"/assets/socket":                         "",
		"/assets/twice/":                         "",
		"/assets/../secret.txt":                  "",
		"/assets/../assets/../secret.txt":        "",
		"/assets/%2e%2e/secret.txt":              "",
		"/assets/..%2fsecret.txt":                "",
		"/assets/docs/..%2f..%2f..%2fsecret.txt": "",
		"/assets/..%5csecret.txt":                "",
		"/assets/docs%5ca%5cb.txt":               "",
		"/assets/%2e%2e%5csecret.txt":            "",
		"/assets/index.html%00":                  "",
		"/assets/index.html%00.txt":              "",
		"/assets/%00":                            "",
		"/assets/C:%5cx":                         "",
		"/assets/...":                            "",
		"/assets/" + strings.Repeat("x", 300):    "",
	} {
		if want == "" {
			want = "404 nothing here"
		}
		if got := c.get(target); got.String() != want {
			t.Errorf("%s: %.200s (%v), want %.200s", target, got, got.Header, want)
		}
	}
	if got := c.do("POST", "/assets/app.js", "Content-Length", "0"); got.StatusCode != 405 {
		t.Error(got)
	}
	r.finish()
	for _, line := range l.lines(t, "request") {
		if streamed := line["path"] == "/assets/large.bin" || line["path"] == "/assets/empty.txt"; line["status"] == 200.0 && (line["stream"] != nil) != streamed {
			t.Errorf("access log: %v", line)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if strings.Contains(l.buf.String(), `"from":"fasthttp"`) {
		t.Error("fasthttp's file server has seen what is not there")
	}
}

// A directory is asked for once more, on the same host, whatever it is called.
func TestStaticRedirects(t *testing.T) {
	dir := site(t)
	if err := os.MkdirAll(filepath.Join(dir, `evil.example`, `a b%c`), 0o755); err != nil {
		t.Fatal(err)
	}
	h := build(t, loopback().Static("/", dir).Static("/assets", dir)).Handler()
	for target, want := range map[string]string{
		"/docs":                               "/docs/",
		"/docs?a=b&c":                         "/docs/?a=b&c",
		"/assets/docs":                        "/assets/docs/",
		"/assets/docs/a":                      "/assets/docs/a/",
		"/%2Fevil.example":                    "/evil.example/",
		"/%2F%2Fevil.example":                 "/evil.example/",
		"/evil.example/a%20b%25c":             "/evil.example/a%20b%25c/",
		"/assets/..%2f..%2f/evil.example":     "",
		"/assets/docs%0d%0aX-Injected:%201":   "",
		"/assets/docs/../../assets/docs/../x": "",
	} {
		ctx := call(h, "GET", target)
		if got := string(ctx.Response.Header.Peek("Location")); got != want || (want != "") != (ctx.Response.StatusCode() == 301) {
			t.Errorf("%s: %d to %q, want %q", target, ctx.Response.StatusCode(), got, want)
		}
	}
}

// On the wire all is as net/http's file server has it, where both can: ranges and
// conditions, of GET and HEAD.
func TestStaticAsNetHTTP(t *testing.T) {
	dir := site(t)
	r := run(t, loopback().Static("/", dir))
	c := r.dial()
	tags := map[string]string{}
	files := http.FileServer(http.Dir(dir))
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("ETag", tags[req.URL.Path]) // it makes none
		files.ServeHTTP(w, req)
	}))
	defer peer.Close()
	reference := dialAddr(t, peer.Listener.Addr())

	earlier, same, later := changed.Add(-time.Second).Format(http.TimeFormat), changed.Format(http.TimeFormat), changed.Add(time.Second).Format(http.TimeFormat)
	ranges := []string{"", "bytes=0-0", "bytes=0-", "bytes=3-5", "bytes=-3", "bytes=-1000000", "bytes=5-1000000", "bytes=1000000-", "bytes=199999-", "bytes=200000-",
		"bytes=5-3", "bytes=a-b", "bytes=-", "bytes=12"}
	n := 0
	for _, path := range []string{"/docs/", "/large.bin", "/empty.txt", "/app.js"} {
		tag := c.do("HEAD", path).Header.Get("ETag")
		if !strings.HasPrefix(tag, `"`) {
			t.Fatalf("%s: ETag %s", path, tag)
		}
		tags[path] = tag
		for _, method := range []string{"GET", "HEAD"} {
			for _, rng := range ranges {
				if path == "/empty.txt" && rng != "" && !strings.HasPrefix(rng, "bytes=0") {
					continue // net/http has ranges "0--1/0"
				}
				for _, cond := range [][]string{
					nil, {"If-Range", tag}, {"If-Range", "W/" + tag}, {"If-Range", `"x"`}, {"If-Range", same}, {"If-Range", earlier}, {"If-Range", later},
					{"If-None-Match", tag}, {"If-None-Match", `"x"`}, {"If-None-Match", `"x"`, "If-Modified-Since", later}, {"If-Modified-Since", same}, {"If-Modified-Since", earlier},
					{"If-Match", tag}, {"If-Match", `"x"`}, {"If-Unmodified-Since", earlier}, {"If-Unmodified-Since", same},
				} {
					headers := cond
					if rng != "" {
						headers = append([]string{"Range", rng}, cond...)
					}
					got, want := c.do(method, path, headers...), reference.do(method, path, headers...)
					show := func(r reply) string {
						text := fmt.Sprintf("%d %d bytes %.20q", r.StatusCode, len(r.text), r.text)
						if r.StatusCode == 416 || r.StatusCode == 412 {
							text = fmt.Sprint(r.StatusCode) // the words are each one's own
						}
						for _, name := range []string{"Content-Range", "Content-Type", "Last-Modified", "ETag", "Accept-Ranges"} {
							if r.StatusCode < 300 {
								text += fmt.Sprintf("|%s %s", name, r.Header.Get(name))
							}
						}
						if r.StatusCode < 300 {
							text += fmt.Sprint("|length ", r.ContentLength)
						}
						return text
					}
					if show(got) != show(want) {
						t.Errorf("%s %s %q:\n%s\nnet/http:\n%s", method, path, headers, show(got), show(want))
					}
					n++
				}
			}
		}
	}
	t.Logf("%d requests", n)
	_ = reference.Close()
	r.finish()
}

// Who asks for several ranges gets all, which RFC 9110, section 14.2, allows.
func TestStaticSeveralRanges(t *testing.T) {
	c := run(t, loopback().Static("/", site(t))).dial()
	for _, path := range []string{"/app.js", "/large.bin"} {
		whole := c.get(path)
		got := c.do("GET", path, "Range", "bytes=0-1,3-4")
		if got.StatusCode != 200 || got.text != whole.text || len(whole.text) < 5 {
			t.Errorf("%s: %s, %d of %d bytes", path, got.Status, len(got.text), len(whole.text))
		}
	}
}

func TestStaticTypesAndCaching(t *testing.T) {
	dir := site(t)
	for name, want := range map[string]string{
		"a.js": "text/javascript; charset=utf-8", "a.MJS": "text/javascript; charset=utf-8", "a.css": "text/css; charset=utf-8", "a.svg": "image/svg+xml",
		"a.json": "application/json", "a.wasm": "application/wasm", "a.woff2": "font/woff2", "a.webmanifest": "application/manifest+json", "a.txt": "text/plain; charset=utf-8",
		"a.unknown": "text/plain; charset=utf-8", "a": "text/plain; charset=utf-8",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("content"), 0o644); err != nil {
			t.Fatal(err)
		}
		h := build(t, loopback().Static("/", dir).Static("/forever", dir, "public, max-age=31536000, immutable")).Handler()
		ctx := call(h, "GET", "/"+name)
		if got := string(ctx.Response.Header.ContentType()); got != want {
			t.Errorf("%s: %s", name, got)
		}
		if got := string(ctx.Response.Header.Peek("Cache-Control")); got != "no-cache" {
			t.Errorf("%s: %s", name, got)
		}
		if tag := string(ctx.Response.Header.Peek("ETag")); !strings.HasPrefix(tag, `W/"`) {
			t.Errorf("%s was written just now, and may be again: %s", name, tag)
		}
		forever := call(h, "GET", "/forever/"+name, "If-None-Match", string(ctx.Response.Header.Peek("ETag")))
		if got := string(forever.Response.Header.Peek("Cache-Control")); got != "public, max-age=31536000, immutable" || forever.Response.StatusCode() != 304 {
			t.Errorf("%s: %d %s", name, forever.Response.StatusCode(), got)
		}
		if ctx := call(h, "GET", "/nothing"); len(ctx.Response.Header.Peek("Cache-Control")) > 0 || len(ctx.Response.Header.Peek("ETag")) > 0 {
			t.Errorf("a 404 has %s", &ctx.Response.Header)
		}
	}
}

// A file that is held in memory is looked at anew when its time is over, and at once for a part
// of it. One that has just been written is not held.
func TestStaticSeesChanges(t *testing.T) {
	dir := site(t)
	file := filepath.Join(dir, "page")
	write := func(content string, when time.Time) {
		if err := errors.Join(os.WriteFile(file, []byte(content), 0o644), os.Chtimes(file, when, when)); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		h := build(t, loopback().Static("/", dir)).Handler()
		want := func(when, want string, headers ...string) *fasthttp.RequestCtx {
			ctx := call(h, "GET", "/page", headers...)
			if got(ctx) != want {
				t.Errorf("%s: %s, want %s", when, got(ctx), want)
			}
			return ctx
		}
		long := time.Now().Add(-time.Hour)
		write("first", long)
		first := want("first", "200 first")
		tag := string(first.Response.Header.Peek("ETag"))

		write("second", long.Add(time.Second))
		want("a part", "206 sec", "Range", "bytes=0-2")
		want("a part of the first one", "200 second", "Range", "bytes=0-2", "If-Range", tag)
		time.Sleep(heldFor - time.Nanosecond)
		want("a moment too early", "200 second") // of which it was a part
		write("third", long.Add(2*time.Second))
		time.Sleep(time.Nanosecond)
		want("in time", "200 third", "If-None-Match", tag)

		write("fourth", time.Now()) // not held: it may change again at this very time
		time.Sleep(heldFor)
		want("just written", "200 fourth")
		write("fifth!", time.Now())
		want("written again", "200 fifth!")
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		want("removed", "404 Not Found")
	})
}

// A compressed file beside is seen, and no longer, as the file itself.
func TestStaticSeesCompressedChanges(t *testing.T) {
	dir := site(t)
	synctest.Test(t, func(t *testing.T) {
		long := time.Now().Add(-time.Hour)
		write := func(name, content string) {
			file := filepath.Join(dir, name)
			if err := errors.Join(os.WriteFile(file, []byte(content), 0o644), os.Chtimes(file, long, long)); err != nil {
				t.Fatal(err)
			}
		}
		h := build(t, loopback().Static("/", dir)).Handler()
		want := func(want string) {
			if ctx := call(h, "GET", "/a.css", "Accept-Encoding", "gzip"); got(ctx) != want {
				t.Errorf("%s, want %s", got(ctx), want)
			}
		}
		write("a.css", "plain")
		want("200 plain")
		write("a.css.gz", "gzip")
		time.Sleep(heldFor)
		want("200 gzip")
		if err := os.Remove(filepath.Join(dir, "a.css.gz")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(heldFor)
		want("200 plain")
	})
}

// Files are replaced while they are asked for: each response is one of them, whole, and a strong
// tag is that of one content alone.
func TestStaticWhileFilesAreReplaced(t *testing.T) {
	dir, beside := site(t), t.TempDir()
	replace := func(n int) {
		file, when := filepath.Join(beside, "new"), changed.Add(time.Duration(n)*time.Second)
		content := strings.Repeat(string(rune('a'+n%26)), 1000)
		if err := errors.Join(os.WriteFile(file, []byte(content), 0o644), os.Chtimes(file, when, when), os.Rename(file, filepath.Join(dir, "page"))); err != nil {
			t.Error(err)
		}
	}
	replace(0)
	h := build(t, loopback().Static("/", dir)).Handler()
	over := make(chan struct{})
	var contents sync.Map // of tags
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				ctx := call(h, "GET", "/page")
				tag, body := string(ctx.Response.Header.Peek("ETag")), string(ctx.Response.Body())
				if ctx.Response.StatusCode() != 200 || len(body) != 1000 || strings.Trim(body, body[:1]) != "" {
					t.Errorf("%.100s", got(ctx))
					return
				}
				if was, _ := contents.LoadOrStore(tag, body); was != body {
					t.Errorf("tag %s of %.1s and %.1s", tag, was, body)
					return
				}
			}
		})
	}
	for n := range 100 {
		replace(n)
	}
	close(over)
	wg.Wait()
}

// What is held does not grow without bound, whatever is asked for, and goes away again.
func TestStaticMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		long, body := time.Now().Add(-time.Hour), make([]byte, maxHeldFile)
		for i := range 3 * maxHeld / maxHeldFile {
			f := &file{versions: []*version{{tag: []byte("x"), changed: long, body: body}, {tag: []byte("x"), changed: long, body: body[:i]}}}
			if i%2 == 0 {
				f.versions[0].changed, f.versions[1].changed = time.Time{}, time.Time{}
			}
			m.put(strconv.Itoa(i%1000), f)
			sum := 0
			for path, f := range m.files {
				sum += f.takes(path)
			}
			if m.size != sum || sum > maxHeld || m.get([]byte(strconv.Itoa(i%1000)), false) != f {
				t.Fatalf("after %d: %d bytes, counted %d", i, sum, m.size)
			}
		}
		time.Sleep(time.Minute)
		m.put("last", &file{versions: []*version{{tag: []byte("x"), changed: long, body: body}}})
		for path, f := range m.files {
			if path != "last" && !f.until.IsZero() {
				t.Errorf("%s is held until %v", path, f.until)
			}
		}
	})
}

// What is sent of a large file, and of a part of one, is the file itself, for sendfile.
func TestStaticSendsFiles(t *testing.T) {
	dir := site(t)
	for name, h := range map[string]fasthttp.RequestHandler{
		"Static":   build(t, loopback().Static("/", dir)).Handler(),
		"StaticFS": build(t, loopback().StaticFS("/", os.DirFS(dir))).Handler(),
	} {
		for _, headers := range [][]string{nil, {"Range", "bytes=10-100009"}} {
			ctx := call(h, "GET", "/large.bin", headers...)
			body, ok := ctx.Response.BodyStream().(io.WriterTo)
			if !ok {
				t.Fatalf("%s: %T", name, ctx.Response.BodyStream())
			}
			var to sendsFiles
			if _, err := body.WriteTo(&to); err != nil || !to.file {
				t.Errorf("%s %q: %+v, %v", name, headers, to, err)
			}
			_ = ctx.Response.CloseBodyStream()
		}
	}
}

// sendsFiles is what a TCP connection would send by sendfile.
type sendsFiles struct {
	io.Writer
	file bool
}

func (s *sendsFiles) ReadFrom(r io.Reader) (int64, error) {
	if limited, ok := r.(*io.LimitedReader); ok {
		_, s.file = limited.R.(*os.File)
	}
	return 0, nil
}

func TestStaticCompressed(t *testing.T) {
	dir := site(t)
	r := run(t, loopback().Use(Compress()).Static("/", dir))
	c := r.dial()
	plain := strings.Repeat("code();", 1000)
	for _, tt := range []struct {
		path, accept   string
		encoding, text string
	}{
		{"/app.js", "gzip, br, zstd", "br", "as brotli"},
		{"/app.js", "gzip", "gzip", "as gzip"},
		{"/app.js", "gzip;q=1, br;q=0.5", "gzip", "as gzip"},
		{"/app.js", "identity, gzip;q=0.5", "", plain},
		{"/app.js", "", "", plain},
		{"/old.css", "gzip", "", "new"},
	} {
		var headers []string
		if tt.accept != "" {
			headers = []string{"Accept-Encoding", tt.accept}
		}
		got := c.get(tt.path, headers...)
		if got.Header.Get("Content-Encoding") != tt.encoding || got.text != tt.text || got.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s for %q: %.100s %v", tt.path, tt.accept, got, got.Header)
		}
		if got.ContentLength != int64(len(tt.text)) {
			t.Errorf("%s for %q: Content-Length %d", tt.path, tt.accept, got.ContentLength)
		}
		if tt.path == "/app.js" && got.Header.Get("Content-Type") != "text/javascript; charset=utf-8" {
			t.Errorf("%s for %q: %v", tt.path, tt.accept, got.Header)
		}
		tag := got.Header.Get("ETag")
		if again := c.get(tt.path, append(headers, "If-None-Match", tag)...); again.StatusCode != 304 || strings.TrimPrefix(again.Header.Get("ETag"), "W/") != tag {
			t.Errorf("%s for %q: %v %v, want %s", tt.path, tt.accept, again, again.Header, tag)
		}
	}
	// A range is one of what is not compressed.
	if got := c.get("/app.js", "Accept-Encoding", "br", "Range", "bytes=0-3"); got.String() != "206 code" || got.Header.Get("Content-Encoding") != "" {
		t.Errorf("%v %v", got, got.Header)
	}
	// What has none beside it is compressed as it goes.
	got := c.get("/old.css.gz", "Accept-Encoding", "gzip")
	if got.String() != "200 stale" || got.Header.Get("Content-Encoding") != "" {
		t.Errorf("asked for by its own name: %v %v", got, got.Header)
	}
	r.finish()
}

func TestStaticFS(t *testing.T) {
	files, err := fs.Sub(embedded, "testdata/static")
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, loopback().StaticFS("/", files).Group("/api", func(g *Group) { g.StaticFS("/files", files, "max-age=60") }))
	c := r.dial()
	first := c.get("/")
	tag := first.Header.Get("ETag")
	if !strings.HasPrefix(first.String(), "200 <!doctype html>") || len(tag) != 24 || first.Header.Get("Last-Modified") != "" || first.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%v %v", first, first.Header)
	}
	for _, tt := range []struct {
		path    string
		headers []string
		status  int
		text    string
	}{
		{"/", []string{"If-None-Match", tag}, 304, ""},
		{"/index.html", []string{"If-None-Match", tag}, 304, ""},
		{"/", []string{"If-None-Match", `"x"`}, 200, first.text},
		{"/", []string{"If-Modified-Since", time.Now().UTC().Format(http.TimeFormat)}, 200, first.text}, // it has no time
		{"/", []string{"Range", "bytes=0-4"}, 206, "<!doc"},
		{"/", []string{"Range", "bytes=0-4", "If-Range", tag}, 206, "<!doc"},
		{"/", []string{"Range", "bytes=0-4", "If-Range", `"x"`}, 200, first.text},
		{"/", []string{"Range", "bytes=1000-"}, 416, "Range Not Satisfiable"},
		{"/sub/style.css", nil, 200, "body { margin: 0 }\n"},
		{"/api/files/sub/style.css", nil, 200, "body { margin: 0 }\n"},
		{"/sub", nil, 301, ""},
		{"/sub/", nil, 404, "Not Found"},
		{"/nothing", nil, 404, "Not Found"},
		{"/../static_test.go", nil, 404, "Not Found"},
	} {
		if got := c.get(tt.path, tt.headers...); got.StatusCode != tt.status || got.text != tt.text {
			t.Errorf("%s %q: %v", tt.path, tt.headers, got)
		}
	}
	r.finish()
}

// A file system with times is as a directory is.
func TestStaticFSWithTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := time.Now().Add(-time.Hour).UTC()
		files := fstest.MapFS{"a.txt": {Data: []byte("content"), ModTime: long}}
		h := build(t, loopback().StaticFS("/", files)).Handler()
		ctx := call(h, "GET", "/a.txt", "If-Modified-Since", long.Format(http.TimeFormat))
		if ctx.Response.StatusCode() != 304 {
			t.Errorf("%s", &ctx.Response.Header)
		}
		files["a.txt"] = &fstest.MapFile{Data: []byte("changed"), ModTime: long.Add(time.Minute)}
		time.Sleep(heldFor)
		if ctx := call(h, "GET", "/a.txt", "If-Modified-Since", long.Format(http.TimeFormat)); got(ctx) != "200 changed" {
			t.Error(got(ctx))
		}
	})
}

// A download that the drain waits for is sent to its end, and no file stays open: neither
// of this, nor of one whose client has gone.
func TestStaticIsDrained(t *testing.T) {
	dir := site(t)
	large := strings.Repeat("0123456789abcdef", 4<<20>>4)
	if err := os.WriteFile(filepath.Join(dir, "4MB"), []byte(large), 0o644); err != nil {
		t.Fatal(err)
	}
	r := run(t, loopback().Static("/", dir))
	gone, c := r.dial(), r.dial()
	for _, c := range []*client{gone, c} {
		c.send("GET /4MB HTTP/1.1\r\nHost: t\r\n\r\n")
		if _, err := c.r.Peek(1); err != nil {
			t.Fatal(err)
		}
	}
	_ = gone.Close()
	r.Drain()
	if got := c.reply("GET"); got.StatusCode != 200 || got.text != large {
		t.Errorf("%d, %d bytes", got.StatusCode, len(got.text))
	}
	if err := r.wait(); err != nil {
		t.Error(err)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	for _, fd := range fds {
		if file, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.HasPrefix(file, dir) && !strings.HasSuffix(file, "socket") {
			t.Errorf("%s is open", file)
		}
	}
}

// All middleware at once around files, small and large: bodies and headers stay right, and what is
// held in memory as it was.
func TestStaticInMiddleware(t *testing.T) {
	dir := site(t)
	r := run(t, loopback().
		Use(CORS(CORSOptions{Origins: []string{"*"}}), SecurityHeaders(nil), Compress(), ETag(), Timeout(time.Minute, "")).
		Static("/", dir))
	c := r.dial()
	old, err := os.ReadFile(filepath.Join(dir, "large.bin"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("some text. ", 1000)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "some.txt"), []byte(text), 0o644), os.Chtimes(filepath.Join(dir, "some.txt"), changed, changed)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		plain, packed, head := c.get("/some.txt"), c.get("/some.txt", "Accept-Encoding", "gzip"), c.do("HEAD", "/some.txt", "Accept-Encoding", "gzip")
		tag := plain.Header.Get("ETag")
		if plain.text != text || decoded(t, packed) != text || len(packed.text) > len(text)/10 {
			t.Fatalf("%.50s, %d bytes", plain, len(packed.text))
		}
		if packed.Header.Get("ETag") != "W/"+tag || packed.Header.Get("Accept-Ranges") != "" || head.ContentLength != int64(len(packed.text)) {
			t.Errorf("%v, HEAD %v", packed.Header, head.Header)
		}
		for _, tt := range []struct {
			path    string
			headers []string
			status  int
			text    string
		}{
			{"/some.txt", []string{"If-None-Match", "W/" + tag, "Accept-Encoding", "gzip"}, 304, ""},
			{"/some.txt", []string{"If-Match", `"x"`}, 412, ""},
			{"/some.txt", []string{"Range", "bytes=0-3", "Accept-Encoding", "gzip"}, 206, text[:4]},
			{"/some.txt", []string{"Range", "bytes=0-3", "If-Range", "W/" + tag}, 200, text},
			{"/some.txt", []string{"Range", "bytes=0-3,5-6"}, 200, text}, // as RFC 9110, section 14.2, allows
			{"/some.txt", []string{"Range", "bytes=20000-"}, 416, "Range Not Satisfiable"},
			{"/large.bin", []string{"Accept-Encoding", "gzip"}, 200, string(old)},
			{"/nothing", nil, 404, "Not Found"},
			{"/docs", nil, 301, ""},
		} {
			got := c.get(tt.path, tt.headers...)
			if got.StatusCode != tt.status || got.text != tt.text {
				t.Errorf("%s %q: %.100s", tt.path, tt.headers, got)
			}
			h := got.Header
			if h.Get("Access-Control-Allow-Origin") != "*" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Encoding") != "" {
				t.Errorf("%s %q: %v", tt.path, tt.headers, h)
			}
			if cached := h.Get("Cache-Control") != ""; cached != (tt.status < 400 && tt.status != 301) {
				t.Errorf("%s %q: %v", tt.path, tt.headers, h)
			}
		}
	}
	r.finish()
}
