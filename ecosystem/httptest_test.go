package ecosystem

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// A handler's tests go on as they are: what httptest.ResponseRecorder says of it is what
// a client of the server sees.
func TestHTTPTest(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("X-Twice", "1")
		w.Header().Add("X-Twice", "2")
		fmt.Fprintf(w, "<p>%s %s", r.PathValue("name"), r.FormValue("q"))
	})
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		w.WriteHeader(http.StatusCreated)
		_, _ = io.Copy(w, r.Body)
	})
	mux.HandleFunc("/cookie", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
		http.Redirect(w, r, "/elsewhere", http.StatusSeeOther)
	})
	mux.HandleFunc("/nothing", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/trailer", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", "7")
	})
	each(t, mux, func(s *server) {
		for _, request := range []struct{ method, target, body string }{
			{"GET", "/hello/you?q=a%20b", ""}, {"POST", "/echo", "text"}, {"GET", "/cookie", ""}, {"DELETE", "/echo", ""},
			{"GET", "/nothing", ""}, {"GET", "/none", ""}, {"GET", "/trailer", ""},
		} {
			rec := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(s.Context(), request.method, request.target, strings.NewReader(request.body))
			r.Header.Set("Content-Type", "text/x-test")
			mux.ServeHTTP(rec, r)
			want := rec.Result()
			got := s.do(request.method, request.target, request.body, "Content-Type", "text/x-test")
			if got.StatusCode != want.StatusCode || got.text != rec.Body.String() || !maps.EqualFunc(got.Trailer, want.Trailer, slices.Equal) {
				s.Errorf("%v: %d %q %v; want %d %q %v", request, got.StatusCode, got.text, got.Trailer, want.StatusCode, rec.Body, want.Trailer)
			}
			for name := range want.Header {
				if name != "Trailer" && !slices.Equal(got.Header[name], want.Header[name]) {
					s.Errorf("%v: %s: %q; want %q", request, name, got.Header[name], want.Header[name])
				}
			}
		}
	})
}
