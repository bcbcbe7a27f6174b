package ecosystem

import (
	"io"
	"net/http"
	"testing"

	"github.com/rs/cors"
)

func TestCORS(t *testing.T) {
	t.Parallel()
	c := cors.New(cors.Options{
		AllowedOrigins:      []string{"https://*.example.com"},
		AllowedMethods:      []string{"GET", "PUT"},
		AllowedHeaders:      []string{"X-Token"},
		ExposedHeaders:      []string{"X-Total"},
		AllowCredentials:    true,
		AllowPrivateNetwork: true,
		MaxAge:              600,
	})
	app := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Total", "3")
		_, _ = io.WriteString(w, "app")
	}))
	each(t, app, func(s *server) {
		wantHeader := func(got reply, name, want string) {
			s.Helper()
			if v := got.Header.Get(name); v != want {
				s.Errorf("%s: %q; want %q", name, v, want)
			}
		}
		preflight := s.do("OPTIONS", "/", "", "Origin", "https://a.example.com", "Access-Control-Request-Method", "PUT",
			"Access-Control-Request-Headers", "x-token", "Access-Control-Request-Private-Network", "true")
		s.want(preflight, 204, "")
		wantHeader(preflight, "Access-Control-Allow-Origin", "https://a.example.com")
		wantHeader(preflight, "Access-Control-Allow-Methods", "PUT")
		wantHeader(preflight, "Access-Control-Allow-Headers", "x-token")
		wantHeader(preflight, "Access-Control-Allow-Private-Network", "true")
		wantHeader(preflight, "Access-Control-Max-Age", "600")

		refused := s.do("OPTIONS", "/", "", "Origin", "https://evil.example", "Access-Control-Request-Method", "PUT")
		s.want(refused, 204, "")
		wantHeader(refused, "Access-Control-Allow-Origin", "")

		got := s.do("PUT", "/", "x", "Origin", "https://a.example.com")
		s.want(got, 200, "app")
		wantHeader(got, "Access-Control-Allow-Origin", "https://a.example.com")
		wantHeader(got, "Access-Control-Allow-Credentials", "true")
		wantHeader(got, "Access-Control-Expose-Headers", "X-Total")
		wantHeader(got, "Vary", "Origin")
		s.want(s.do("OPTIONS", "/", ""), 200, "app") // no preflight
	})
}
