package ecosystem

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

// lines is a log that tests read.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// chiApp is a router as chi's README has it, with nearly all of chi's middleware.
func chiApp(logged *lines) http.Handler {
	r := chi.NewRouter()
	r.Use(
		middleware.RequestID,
		middleware.RealIP, //nolint:staticcheck // deprecated, and in everybody's main
		middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: log.New(logged, "", 0), NoColor: true}),
		middleware.Recoverer,
		middleware.Heartbeat("/ping"),
		middleware.CleanPath,
		middleware.StripSlashes,
		middleware.GetHead,
		middleware.Compress(5),
		middleware.SetHeader("X-App", "chi"),
	)
	r.Get("/users/{id}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "user %s of %s, request %s", chi.URLParam(r, "id"), r.RemoteAddr, middleware.GetReqID(r.Context()))
	})
	r.Get("/panic", func(http.ResponseWriter, *http.Request) { panic("oh no") })
	r.Get("/text", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, strings.Repeat("compress me ", 1000))
	})
	r.Get("/files/*", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, chi.URLParam(r, "*")) })
	r.Route("/admin", func(r chi.Router) {
		r.Use(middleware.BasicAuth("admin", map[string]string{"me": "secret"}), middleware.NoCache)
		r.Get("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "welcome") })
	})
	r.Group(func(r chi.Router) {
		r.Use(middleware.AllowContentType("application/json"), middleware.RequestSize(10))
		r.Post("/json", func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
			}
			fmt.Fprintf(w, "%q", body)
		})
	})
	r.Mount("/debug", middleware.Profiler())
	return r
}

func TestChi(t *testing.T) {
	t.Parallel()
	logged := new(lines)
	each(t, chiApp(logged), func(s *server) {
		got := s.get("/users/7", "X-Real-IP", "203.0.113.9", "X-Request-Id", "mine")
		s.want(got, 200, "user 7 of 203.0.113.9, request mine")
		if got.Header.Get("X-App") != "chi" {
			s.Error(got.Header)
		}
		s.want(s.get("/users//7/"), 200, "user 7 of 127.0.0.1:") // CleanPath, StripSlashes
		s.want(s.get("/ping"), 200, ".")
		s.want(s.get("/none"), 404, "404 page not found")
		s.want(s.do("DELETE", "/users/7", ""), 405, "")
		s.want(s.get("/files/a%2Fb/c?d=e"), 200, "a%2Fb/c")
		s.want(s.get("/debug/pprof/cmdline"), 200, "ecosystem")
		if got := s.do("HEAD", "/users/7", ""); got.StatusCode != 200 || got.text != "" || got.ContentLength <= 0 {
			s.Errorf("%v %q", got, got.text)
		}
		for range 2 { // which is Recoverer's, and not the connection's end
			s.want(s.get("/panic"), 500, "")
		}
		s.want(s.get("/admin/"), 401, "")
		got = s.get("/admin/", "Authorization", "Basic bWU6c2VjcmV0")
		s.want(got, 200, "welcome")
		if got.Header.Get("Cache-Control") == "" {
			s.Error(got.Header)
		}
		s.want(s.do("POST", "/json", `{"a":1}`, "Content-Type", "application/json"), 200, `"{\"a\":1}"`)
		s.want(s.do("POST", "/json", `{"a":1}`, "Content-Type", "text/plain"), 415, "")
		s.want(s.do("POST", "/json", `{"a":12345678}`, "Content-Type", "application/json"), 413, `"{\"a\":12345"`)

		got = s.get("/text", "Accept-Encoding", "gzip")
		in, err := gzip.NewReader(strings.NewReader(got.text))
		if err != nil {
			s.Fatal(err)
		}
		if text, err := io.ReadAll(in); len(text) != 12000 || err != nil || got.Header.Get("Content-Encoding") != "gzip" {
			s.Errorf("%d bytes, %v, %v", len(text), err, got.Header)
		}
	})
	for _, want := range []string{`[mine] "GET http://127.0.0.1:`, "/users/7 HTTP/1.1\" from 203.0.113.9 - 200 ", "- 404 ", "- 500 "} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("no %q in %s", want, logged)
		}
	}
}

// Timeout ends the request's context, and Throttle has requests wait for each other.
func TestChiTimeoutAndThrottle(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	r := chi.NewRouter()
	r.With(middleware.Timeout(time.Millisecond)).Get("/timeout", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	r.With(middleware.ThrottleBacklog(1, 1, time.Minute)).Get("/throttled", func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-release
	})
	each(t, r, func(s *server) {
		s.want(s.get("/timeout"), 504, "")
		statuses := make(chan int, 3)
		get := func() { statuses <- s.get("/throttled").StatusCode }
		go get()
		<-entered
		go get() // waits for the first, or is refused as the third
		go get()
		if got := <-statuses; got != http.StatusTooManyRequests {
			s.Error(got)
		}
		release <- struct{}{}
		<-entered
		release <- struct{}{}
		for range 2 {
			if got := <-statuses; got != 200 {
				s.Error(got)
			}
		}
	})
}
