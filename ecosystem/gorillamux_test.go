package ecosystem

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/gorilla/mux"
)

// muxApp matches by all that gorilla/mux can match by.
func muxApp() http.Handler {
	say := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s %v", name, mux.Vars(r)) }
	}
	r := mux.NewRouter().StrictSlash(true).UseEncodedPath()
	r.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			path, _ := mux.CurrentRoute(r).GetPathTemplate()
			w.Header().Set("X-Route", path)
			next.ServeHTTP(w, r)
		})
	})
	r.Host("{tenant}.example.com").Path("/host").Handler(say("host"))
	r.HandleFunc("/articles/{category}/{id:[0-9]+}", say("article")).Methods("GET", "PUT").Name("article")
	r.HandleFunc("/search", say("search")).Queries("q", "{q}")
	r.HandleFunc("/ajax", say("ajax")).Headers("X-Requested-With", "XMLHttpRequest")
	r.HandleFunc("/slash/", say("slash"))
	r.HandleFunc("/url", func(w http.ResponseWriter, _ *http.Request) {
		u, _ := r.Get("article").URL("category", "tech", "id", "7")
		_, _ = io.WriteString(w, u.String())
	})
	api := r.PathPrefix("/api").Subrouter()
	api.Use(mux.CORSMethodMiddleware(api))
	api.HandleFunc("/things/{key}", say("thing")).Methods("GET", "DELETE", "OPTIONS")
	return r
}

func TestGorillaMux(t *testing.T) {
	t.Parallel()
	each(t, muxApp(), func(s *server) {
		got := s.get("/articles/tech/42")
		s.want(got, 200, "article map[category:tech id:42]")
		if route := got.Header.Get("X-Route"); route != "/articles/{category}/{id:[0-9]+}" {
			s.Error(route)
		}
		s.want(s.get("/articles/a%2Fb/1"), 200, "map[category:a%2Fb id:1]")
		s.want(s.get("/articles/tech/x"), 404, "404 page not found")
		s.want(s.do("POST", "/articles/tech/42", "body"), 405, "")
		s.want(s.get("/host", "Host", "blue.example.com"), 200, "host map[tenant:blue]")
		s.want(s.get("/search?q=a+b"), 200, "search map[q:a b]")
		s.want(s.get("/search"), 404, "")
		s.want(s.get("/ajax", "X-Requested-With", "XMLHttpRequest"), 200, "ajax")
		s.want(s.get("/ajax"), 404, "")
		s.want(s.get("/url"), 200, "/articles/tech/7")
		if got := s.get("/slash?a=b"); got.StatusCode != 301 || got.Header.Get("Location") != "/slash/?a=b" {
			s.Error(got.StatusCode, got.Header)
		}
		if got := s.do("OPTIONS", "/api/things/1", ""); got.Header.Get("Access-Control-Allow-Methods") != "GET,DELETE,OPTIONS" {
			s.Error(got.StatusCode, got.Header)
		}
	})
}
