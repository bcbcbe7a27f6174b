package ecosystem

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
)

// site is a directory with a page and a large file.
func site(t *testing.T) (dir string, large []byte) {
	t.Helper()
	dir, large = t.TempDir(), bytes.Repeat([]byte("0123456789"), 400_000)
	for name, content := range map[string][]byte{
		"index.html": []byte("<h1>page</h1>"), "large.bin": large, "sub/a.txt": []byte("text"), "a b&c.css": []byte("body{}"),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, large
}

func TestFileServer(t *testing.T) {
	t.Parallel()
	dir, large := site(t)
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(dir)))
	mux.Handle("/fs/", http.StripPrefix("/fs", http.FileServerFS(os.DirFS(dir))))
	modified := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	mux.HandleFunc("/content", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		http.ServeContent(w, r, "x.txt", modified, bytes.NewReader(large))
	})
	each(t, mux, func(s *server) {
		got := s.get("/large.bin")
		if got.text != string(large) || got.ContentLength != int64(len(large)) || got.Header.Get("Accept-Ranges") != "bytes" {
			s.Error(len(got.text), got.Header)
		}
		s.want(s.get("/"), 200, "<h1>page</h1>")
		s.want(s.get("/index.html"), 301, "")
		s.want(s.get("/sub"), 301, "")
		s.want(s.get("/sub/"), 200, `<a href="a.txt">a.txt</a>`)
		s.want(s.get("/none"), 404, "404 page not found")
		s.want(s.get("/fs/sub/a.txt"), 200, "text")
		if got := s.get("/a%20b&c.css"); got.text != "body{}" || !strings.HasPrefix(got.Header.Get("Content-Type"), "text/css") {
			s.Error(got.text, got.Header)
		}

		got = s.get("/content", "Range", "bytes=10-19")
		s.want(got, 206, "0123456789")
		if got.Header.Get("Content-Range") != "bytes 10-19/4000000" {
			s.Error(got.Header)
		}
		s.want(s.get("/content", "Range", "bytes=-3"), 206, "789")
		s.want(s.get("/content", "Range", "bytes=4000000-"), 416, "")
		s.want(s.get("/content", "If-None-Match", `"v1"`), 304, "")
		s.want(s.get("/content", "If-Match", `"v0"`), 412, "")
		s.want(s.get("/content", "If-Modified-Since", modified.Format(http.TimeFormat)), 304, "")
		s.want(s.get("/content", "Range", "bytes=0-0", "If-Range", `"v1"`), 206, "0")
		s.want(s.get("/content", "Range", "bytes=0-0", "If-Range", `"v0"`), 200, "0123")
		got = s.do("HEAD", "/content", "")
		if got.ContentLength != int64(len(large)) || got.Header.Get("Last-Modified") != "Thu, 02 Jan 2020 03:04:05 GMT" {
			s.Error(got.Header)
		}
		testMultiRange(s)
	})
}

func testMultiRange(s *server) {
	s.Helper()
	got := s.get("/large.bin", "Range", "bytes=0-2,10-13")
	_, params, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
	if err != nil || got.StatusCode != 206 {
		s.Fatal(err, got.StatusCode)
	}
	in := multipart.NewReader(strings.NewReader(got.text), params["boundary"])
	for _, want := range []string{"012", "0123"} {
		part, err := in.NextPart()
		if err != nil {
			s.Fatal(err)
		}
		if text, _ := io.ReadAll(part); string(text) != want {
			s.Errorf("%q", text)
		}
	}
}

// fileListener counts the files that its connections are given to send, which they do
// by sendfile(2).
type fileListener struct {
	net.Listener
	files atomic.Int64
}

type fileConn struct {
	*net.TCPConn
	l *fileListener
}

func (l *fileListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &fileConn{nc.(*net.TCPConn), l}, nil
}

func (c *fileConn) ReadFrom(r io.Reader) (int64, error) {
	if limited, ok := r.(*io.LimitedReader); ok {
		if _, ok := limited.R.(*os.File); ok {
			c.l.files.Add(1)
		}
	}
	return c.TCPConn.ReadFrom(r)
}

func listenForFiles(t *testing.T) *fileListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // does not wait
	if err != nil {
		t.Fatal(err)
	}
	return &fileListener{Listener: l}
}

// A file goes from the disk to the socket without a copy of it in the process.
func TestFileServerUsesSendfile(t *testing.T) {
	t.Parallel()
	dir, large := site(t)
	app := http.FileServer(http.Dir(dir))
	want := func(t *testing.T, l *fileListener) {
		t.Helper()
		client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
		defer client.CloseIdleConnections()
		for n := range int64(2) {
			resp, err := client.Get("http://" + l.Addr().String() + "/large.bin") //nolint:noctx // the client has a timeout
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || !bytes.Equal(body, large) {
				t.Errorf("%d bytes, %v", len(body), err)
			}
			if got := l.files.Load(); got != n+1 {
				t.Errorf("%d files were sent as such, of %d", got, n+1)
			}
		}
	}
	t.Run("net/http", func(t *testing.T) {
		l := listenForFiles(t)
		ref := httptest.NewUnstartedServer(app)
		_ = ref.Listener.Close()
		ref.Listener = l
		ref.Start()
		defer ref.Close()
		want(t, l)
	})
	for _, beside := range []bool{false, true} {
		t.Run(map[bool]string{false: "alone", true: "beside native routes"}[beside], func(t *testing.T) {
			l := listenForFiles(t)
			b := toolkit.New().Listener(l).NetHTTP("/", app).Logger(zerolog.Nop())
			if beside {
				b.Get("/native", func(*fasthttp.RequestCtx) {})
			}
			srv, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- srv.Run(t.Context()) }()
			<-srv.Reached(lifecycle.PhaseReady)
			want(t, l)
			srv.Drain()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}
