package ecosystem

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// What net/http itself has to put into an application.
func TestNetHTTP(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	say := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
	}
	mux.HandleFunc("GET /items/{id}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "item %s by %s", r.PathValue("id"), r.Pattern)
	})
	mux.Handle("/strip/", http.StripPrefix("/strip", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.URL.Path, " ", r.RequestURI)
	})))
	mux.Handle("/moved", http.RedirectHandler("/items/1", http.StatusPermanentRedirect))
	mux.Handle("/timeout", http.TimeoutHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	}), time.Millisecond, "too slow"))
	mux.Handle("/in-time", http.TimeoutHandler(say("in time"), time.Minute, "too slow"))
	mux.Handle("/forms", http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.FormValue("a"), " ", r.PostFormValue("b"))
	})))
	mux.HandleFunc("/login", func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "s1", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	})
	mux.HandleFunc("/me", func(w http.ResponseWriter, r *http.Request) {
		c, err := r.Cookie("session")
		fmt.Fprint(w, c, err)
	})
	mux.HandleFunc("/context", func(w http.ResponseWriter, r *http.Request) {
		_, isServer := r.Context().Value(http.ServerContextKey).(*http.Server)
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		_, pushes := w.(http.Pusher)
		_, hijacks := w.(http.Hijacker)
		_, flushes := w.(http.Flusher)
		_, reads := w.(io.ReaderFrom)
		_, writes := w.(io.StringWriter)
		fmt.Fprint(w, r.ProtoMajor, isServer, local, pushes, hijacks, flushes, reads, writes, r.TLS != nil)
	})
	each(t, mux, func(s *server) {
		s.want(s.get("/items/7"), 200, "item 7 by GET /items/{id}")
		s.want(s.get("/items/a%2Fb"), 200, "item a/b by")
		s.want(s.do("POST", "/items/7", ""), 405, "Method Not Allowed")
		s.want(s.get("//items//7"), 307, "") // cleaned
		s.want(s.get("/strip/x/y?z"), 200, "/x/y /strip/x/y?z")
		s.want(s.get("/moved"), 308, "/items/1")
		s.want(s.get("/timeout"), 503, "too slow")
		s.want(s.get("/in-time"), 200, "in time")
		s.want(s.do("POST", "/forms?a=1", "b=2", "Content-Type", "application/x-www-form-urlencoded"), 200, "1 2")
		s.want(s.do("POST", "/forms", "", "Origin", "http://evil.example"), 403, "cross-origin")
		_, addr, _ := strings.Cut(s.url, "://")
		is := "1 true %s false true true true true %v"
		if s.protocol.http2 {
			is = "2 true %s true false true false true %v"
		}
		s.want(s.get("/context"), 200, fmt.Sprintf(is, addr, s.tls != nil))

		s.client.Jar, _ = cookiejar.New(nil)
		s.want(s.get("/login"), 200, "")
		s.want(s.get("/me"), 200, "session=s1 <nil>")
		s.client.Jar = nil
	})
}

func TestRequestTrailers(t *testing.T) {
	t.Parallel()
	each(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, before := r.Trailer["X-Sum"]
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %v %v", body, before, r.Trailer)
	}), func(s *server) {
		for range 2 {
			r, _ := http.NewRequestWithContext(s.Context(), "POST", s.url, io.NopCloser(strings.NewReader("body")))
			r.Trailer = http.Header{"X-Sum": {"7"}}
			s.want(s.send(r), 200, "body true map[X-Sum:[7]]")
		}
	})
}

// Both sides talk at the same time, on one connection of HTTP/1.1.
func TestFullDuplex(t *testing.T) {
	t.Parallel()
	each(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if err := rc.EnableFullDuplex(); err != nil {
			panic(err)
		}
		_ = rc.Flush()
		in := bufio.NewScanner(r.Body)
		for in.Scan() {
			fmt.Fprintln(w, "heard", in.Text())
			_ = rc.Flush()
		}
	}), func(s *server) {
		body, say := io.Pipe()
		r, _ := http.NewRequestWithContext(s.Context(), "POST", s.url, body)
		resp, err := s.client.Do(r)
		if err != nil {
			s.Fatal(err)
		}
		defer resp.Body.Close()
		in := bufio.NewScanner(resp.Body)
		for i := range 100 {
			fmt.Fprintln(say, i)
			if in.Scan(); in.Text() != fmt.Sprint("heard ", i) {
				s.Fatalf("%q, %v", in.Text(), in.Err())
			}
		}
		_ = say.Close()
		if in.Scan() || in.Err() != nil {
			s.Errorf("%q, %v", in.Text(), in.Err())
		}
		s.want(s.do("POST", "/", "again"), 200, "heard again")
	})
}

// Handlers see what a TLS connection is, and whose.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	each(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil {
			_, _ = io.WriteString(w, "plain")
			return
		}
		fmt.Fprint(w, r.TLS.HandshakeComplete, r.TLS.PeerCertificates[0].Subject.Organization, r.TLS.NegotiatedProtocol)
	}), func(s *server) {
		want := "plain"
		if s.tls != nil {
			s.tls.Certificates = certificate().server.Certificates
			want = "true [Acme Co]"
			if s.protocol.http2 {
				want += "h2"
			}
		}
		for range 2 {
			if got := s.get("/"); strings.TrimSuffix(got.text, "http/1.1") != want {
				s.Errorf("%q; want %q", got.text, want)
			}
		}
	})
}

// An upgrade is behind other requests in one segment, and before its first bytes.
func TestPipelinedUpgrade(t *testing.T) {
	t.Parallel()
	eachDraining(t, func(draining <-chan struct{}) http.Handler { return origin(draining, nil) }, func(s *server) {
		s.onlyHTTP1()
		nc := s.dial()
		_, _ = io.WriteString(nc, "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"+
			"GET /status/204 HTTP/1.1\r\nHost: t\r\n\r\n"+
			"GET /upgrade HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly")
		in := bufio.NewReader(nc)
		for _, want := range []int{200, 204, 101} {
			resp, err := http.ReadResponse(in, nil)
			if err != nil || resp.StatusCode != want {
				s.Fatal(resp, err)
			}
			if want != http.StatusSwitchingProtocols {
				_, _ = io.Copy(io.Discard, resp.Body)
			}
		}
		b := make([]byte, len("hi\nearly"))
		if _, err := io.ReadFull(in, b); err != nil || string(b) != "hi\nearly" {
			s.Errorf("%q, %v", b, err)
		}
		_ = nc.Close()
	})
}

// An error is no reason to close a connection, unless net/http closes it too.
func TestConnectionsAreKept(t *testing.T) {
	t.Parallel()
	codes := []string{"200", "204", "304", "400", "404", "413", "500", "503"}
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var code int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &code)
		if r.URL.Query().Has("abort") {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(code)
	})
	bodies := map[string]string{"none": "", "small": "unread", "large": strings.Repeat("unread", 100_000)}
	requests := []string{}
	for _, size := range []string{"none", "small", "large"} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			for _, code := range codes {
				requests = append(requests, method+" "+size+" /"+code)
			}
		}
	}
	var reference []bool
	each(t, app, func(s *server) {
		s.onlyHTTP1()
		var reused []bool
		_, toAndFro := s.client.Transport.(*toAndFro)
		for _, request := range requests {
			words := strings.Fields(request)
			ctx := httptrace.WithClientTrace(s.Context(), &httptrace.ClientTrace{
				GotConn: func(info httptrace.GotConnInfo) { reused = append(reused, info.Reused) },
			})
			r, _ := http.NewRequestWithContext(ctx, words[0], s.url+words[2], strings.NewReader(bodies[words[1]]))
			resp, err := s.client.Do(r)
			if err != nil {
				s.Fatal(request, err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if got := fmt.Sprint("/", resp.StatusCode); got != words[2] {
				s.Error(request, got)
			}
			if toAndFro { // nine native ones were first, of which the first may have needed a new one
				n := len(reused) - 10
				reused = append(reused[:n], reused[n])
			}
		}
		if s.Name() == "TestConnectionsAreKept/net/http" {
			reference = reused
		}
		if !slices.Equal(reused, reference) {
			s.Errorf("\n%v; net/http has\n%v", reused, reference)
		}
	})
}

// zeros is a body of a size that no memory should be wanted for.
type zeros struct{ left int }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), z.left)
	clear(p[:n])
	z.left -= n
	return n, nil
}

func TestVeryLargeBodies(t *testing.T) {
	t.Parallel()
	const size = 16 << 20
	sum := crc32.NewIEEE()
	_, _ = io.Copy(sum, &zeros{size})
	want := fmt.Sprint(size, sum.Sum32())
	each(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = io.Copy(w, &zeros{size})
			return
		}
		sum := crc32.NewIEEE()
		n, err := io.Copy(sum, r.Body)
		if err != nil {
			panic(err)
		}
		fmt.Fprint(w, n, sum.Sum32())
	}), func(s *server) {
		for _, length := range []int64{size, -1} {
			r, _ := http.NewRequestWithContext(s.Context(), "PUT", s.url, io.NopCloser(&zeros{size}))
			r.ContentLength = length
			s.want(s.send(r), 200, want)
		}
		resp, err := s.client.Get(s.url) //nolint:noctx // the client has a timeout
		if err != nil {
			s.Fatal(err)
		}
		defer resp.Body.Close()
		sum := crc32.NewIEEE()
		if n, err := io.Copy(sum, resp.Body); err != nil || fmt.Sprint(n, sum.Sum32()) != want {
			s.Error(n, err)
		}
	})
}

// A client of HTTP/1.0, and one that says keep-alive.
func TestHTTP10(t *testing.T) {
	t.Parallel()
	each(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			for range 3 {
				_, _ = io.WriteString(w, "part")
				_ = http.NewResponseController(w).Flush()
			}
			return
		}
		fmt.Fprint(w, r.Proto, r.Host)
	}), func(s *server) {
		s.onlyHTTP1()
		nc := s.dial()
		in := bufio.NewReader(nc)
		for range 2 {
			_, _ = io.WriteString(nc, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				s.Fatal(err)
			}
			if body, _ := io.ReadAll(resp.Body); string(body) != "HTTP/1.0" || resp.Header.Get("Connection") != "keep-alive" {
				s.Errorf("%q %v", body, resp.Header)
			}
		}
		_, _ = io.WriteString(nc, "GET /stream HTTP/1.0\r\n\r\n")
		all, err := io.ReadAll(in)
		if _, body, _ := strings.Cut(string(all), "\r\n\r\n"); body != "partpartpart" || err != nil {
			s.Errorf("%q, %v", all, err)
		}
	})
}

func TestInformational(t *testing.T) {
	t.Parallel()
	each(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProcessing)
		w.Header().Set("Link", "</a.css>")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusCreated)
	}), func(s *server) {
		var seen []string
		ctx := httptrace.WithClientTrace(s.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
				seen = append(seen, fmt.Sprint(code, header["Link"]))
				return nil
			},
		})
		r, _ := http.NewRequestWithContext(ctx, "GET", s.url, nil)
		s.want(s.send(r), 201, "")
		if !slices.Equal(seen, []string{"102 []", "103 [</a.css>]"}) {
			s.Errorf("%q", seen)
		}
	})
}

// forward is a forward proxy: a CONNECT is a tunnel, and all else is fetched.
func forward(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
		return
	}
	to, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer to.Close()
	w.WriteHeader(http.StatusOK)
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer nc.Close()
	go func() {
		_, _ = io.Copy(to, rw)
		_ = to.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(nc, to)
}

// The client has the server for its proxy.
func TestForwardProxy(t *testing.T) {
	t.Parallel()
	behind := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %d", r.Method, r.RequestURI, len(body))
	})
	each(t, http.HandlerFunc(forward), func(s *server) {
		defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		s.onlyHTTP1()
		proxy, _ := url.Parse(s.url)
		for _, start := range []func(http.Handler) *httptest.Server{httptest.NewServer, httptest.NewTLSServer} {
			target := start(behind)
			client := target.Client()
			transport := client.Transport.(*http.Transport)
			transport.Proxy = http.ProxyURL(proxy)
			transport.TLSClientConfig = &tls.Config{RootCAs: certificate().roots, MinVersion: tls.VersionTLS12}
			for range 2 {
				resp, err := client.Post(target.URL+"/a?b=c", "text/plain", strings.NewReader(strings.Repeat("x", 1<<20))) //nolint:noctx // a test
				if err != nil {
					s.Fatal(err)
				}
				if text, err := io.ReadAll(resp.Body); string(text) != "POST /a?b=c 1048576" {
					s.Errorf("%q, %v", text, err)
				}
				_ = resp.Body.Close()
			}
			target.Close()
		}
	})
}

// events is a stream of server-sent events: five, and one more when it is told of the
// drain.
func events(draining <-chan struct{}, gone chan<- error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 5 {
			fmt.Fprintf(w, "id: %d\ndata: {\"n\":%d}\n\n", i, i)
			if err := rc.Flush(); err != nil {
				panic(err)
			}
		}
		select {
		case <-draining:
			_, _ = io.WriteString(w, "event: bye\ndata: {\"n\":-1}\n\n")
		case <-r.Context().Done():
			gone <- context.Cause(r.Context())
		}
	})
}

func TestServerSentEvents(t *testing.T) {
	t.Parallel()
	gone := make(chan error, 1)
	eachDraining(t, func(draining <-chan struct{}) http.Handler { return events(draining, gone) }, func(s *server) {
		follow := func(ctx context.Context) (*http.Response, func() int) {
			r, _ := http.NewRequestWithContext(ctx, "GET", s.url, nil)
			resp, err := s.client.Do(r)
			if err != nil {
				s.Fatal(err)
			}
			in := bufio.NewScanner(resp.Body)
			return resp, func() int {
				for in.Scan() {
					if data, ok := strings.CutPrefix(in.Text(), "data: "); ok {
						var event struct{ N int }
						if err := json.Unmarshal([]byte(data), &event); err != nil {
							s.Error(err)
						}
						return event.N
					}
				}
				if in.Err() != nil {
					s.Error(in.Err())
				}
				return 100
			}
		}
		leaving, cancel := context.WithCancel(s.Context())
		left, next := follow(leaving)
		for range 5 {
			next() // all that the handler says unasked
		}
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			s.Error(err)
		}
		_ = left.Body.Close()

		stays, next := follow(s.Context())
		defer stays.Body.Close()
		for want := range 5 {
			if got := next(); got != want {
				s.Errorf("event %d; want %d", got, want)
			}
		}
		over := s.drain()
		for _, want := range []int{-1, 100} {
			if got := next(); got != want {
				s.Errorf("event %d; want %d", got, want)
			}
		}
		if err := <-over; err != nil {
			s.Error(err)
		}
	})
}
