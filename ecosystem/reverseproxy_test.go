package ecosystem

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// origin is what is behind a proxy. gone gets the error of a request's context.
func origin(draining <-chan struct{}, gone chan<- error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Set-Cookie"] = []string{"a=b", "c=d"}
		fmt.Fprintf(w, "%s %s for %s at %s", r.Method, r.RequestURI, r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Host"))
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > 0 {
			w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
		}
		var body bytes.Buffer
		body.Grow(int(max(r.ContentLength, 0)) + bytes.MinRead)
		if _, err := body.ReadFrom(r.Body); err != nil {
			panic(err)
		}
		_, _ = w.Write(body.Bytes())
	})
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		for i := 0; ; i++ {
			fmt.Fprintln(w, "line", i)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-draining:
				fmt.Fprintln(w, "end")
				return
			case <-r.Context().Done():
				gone <- r.Context().Err()
				return
			default:
			}
			if i == 2 {
				select {
				case <-draining:
				case <-r.Context().Done():
				}
			}
		}
	})
	mux.HandleFunc("/trailers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Announced")
		_, _ = io.Copy(w, r.Body)
		_ = http.NewResponseController(w).Flush() // HTTP/2 would set a Content-Length, and the proxy heed it
		w.Header().Set("Announced", "1")
		w.Header().Set(http.TrailerPrefix+"Unannounced", "2")
	})
	mux.HandleFunc("/hints", func(w http.ResponseWriter, _ *http.Request) {
		for i := range 2 {
			w.Header().Set("Link", fmt.Sprintf("<%d.css>; rel=preload", i))
			w.WriteHeader(http.StatusEarlyHints)
		}
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "hinted")
	})
	mux.HandleFunc("/upgrade", func(w http.ResponseWriter, _ *http.Request) {
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer nc.Close()
		_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhi\n")
		_, _ = io.Copy(nc, rw)
	})
	mux.HandleFunc("/abort", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "partial") // chunked
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		var code int
		_, _ = fmt.Sscan(r.PathValue("code"), &code)
		w.WriteHeader(code)
	})
	return mux
}

// proxyTo is a proxy to an upstream.
func proxyTo(upstream string, transport http.RoundTripper) *httputil.ReverseProxy {
	target, err := url.Parse(upstream)
	if err != nil {
		panic(err)
	}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
		},
		Transport: transport,
		ErrorLog:  log.New(io.Discard, "", 0),
	}
}

// eachProxy runs a test through a proxy that is mounted on each kind of server, and
// through one before it.
func eachProxy(t *testing.T, gone chan<- error, test func(s *server)) {
	t.Run("proxy", func(t *testing.T) {
		var upstream *httptest.Server
		app := func(draining <-chan struct{}) http.Handler {
			upstream = httptest.NewServer(origin(draining, gone))
			return proxyTo(upstream.URL, upstream.Client().Transport)
		}
		eachDraining(t, app, func(s *server) {
			defer upstream.Close()
			test(s)
		})
	})
	t.Run("upstream", func(t *testing.T) {
		app := func(draining <-chan struct{}) http.Handler { return origin(draining, gone) }
		eachDraining(t, app, func(s *server) {
			front := httptest.NewServer(proxyTo(s.url, s.client.Transport))
			defer front.Close()
			through := *s
			through.client, through.url, through.tls = front.Client(), front.URL, nil
			test(&through)
		})
	})
}

func TestReverseProxy(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("0123456789abcdef", 1<<18)
	eachProxy(t, nil, func(s *server) {
		got := s.get("/headers?a=b%20c&d")
		s.want(got, 200, "GET /headers?a=b%20c&d for 127.0.0.1 at 127.0.0.1:")
		if cookies := got.Header.Values("Set-Cookie"); !slices.Equal(cookies, []string{"a=b", "c=d"}) {
			s.Error(cookies)
		}
		s.want(s.do("PROPFIND", "/headers", ""), 200, "PROPFIND")
		s.want(s.get("/none"), 404, "")
		for _, code := range []int{204, 301, 304, 418, 500, 503} {
			s.want(s.get(fmt.Sprint("/status/", code)), code, "")
		}
		if got := s.do("HEAD", "/headers", ""); got.StatusCode != 200 || got.ContentLength <= 0 {
			s.Error(got.StatusCode, got.ContentLength)
		}
		if got := s.do("POST", "/echo", large); got.text != large {
			s.Errorf("%d bytes", len(got.text))
		}
		if got := s.do("POST", "/echo", large[:1<<20], "Expect", "100-continue"); got.text != large[:1<<20] {
			s.Errorf("%d bytes", len(got.text))
		}
	})
}

func TestReverseProxyTrailers(t *testing.T) {
	t.Parallel()
	eachProxy(t, nil, func(s *server) {
		got := s.do("POST", "/trailers", "body") // with those of a request ReverseProxy does nothing
		s.want(got, 200, "body")
		if got := got.Trailer; got.Get("Announced") != "1" || got.Get("Unannounced") != "2" {
			s.Error(got)
		}
	})
}

func TestReverseProxyInformational(t *testing.T) {
	t.Parallel()
	eachProxy(t, nil, func(s *server) {
		var links []string
		ctx := httptrace.WithClientTrace(s.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
				links = append(links, fmt.Sprint(code, header.Get("Link")))
				return nil
			},
		})
		r, _ := http.NewRequestWithContext(ctx, "GET", s.url+"/hints", nil)
		s.want(s.send(r), 200, "hinted")
		if !slices.Equal(links, []string{"103<0.css>; rel=preload", "103<1.css>; rel=preload"}) {
			s.Errorf("%q", links)
		}
	})
}

// A response that its origin has not finished does not look finished.
func TestReverseProxyAbort(t *testing.T) {
	t.Parallel()
	eachProxy(t, nil, func(s *server) {
		resp, err := s.client.Get(s.url + "/abort") //nolint:noctx // the client has a timeout
		if err != nil {
			s.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); string(body) != "partial" || err == nil {
			s.Errorf("%q, %v", body, err)
		}
	})
}

func TestReverseProxyUpstreamDown(t *testing.T) {
	t.Parallel()
	down := httptest.NewServer(nil)
	down.Close()
	each(t, proxyTo(down.URL, nil), func(s *server) { s.want(s.get("/"), http.StatusBadGateway, "") })
}

// stream asks for a stream, and reads what comes of it before something happens.
func (s *server) stream(ctx context.Context) (*http.Response, *bufio.Scanner) {
	s.Helper()
	r, _ := http.NewRequestWithContext(ctx, "GET", s.url+"/stream", nil)
	resp, err := s.client.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	in := bufio.NewScanner(resp.Body)
	for i := range 3 {
		if in.Scan(); in.Text() != fmt.Sprint("line ", i) {
			s.Errorf("%q, %v", in.Text(), in.Err())
		}
	}
	return resp, in
}

// A client that goes is seen at the other end.
func TestReverseProxyCancel(t *testing.T) {
	t.Parallel()
	gone := make(chan error, 1)
	eachProxy(t, gone, func(s *server) {
		ctx, cancel := context.WithCancel(s.Context())
		resp, _ := s.stream(ctx)
		cancel()
		if err := <-gone; err != context.Canceled { //nolint:errorlint // as handlers compare it
			s.Error(err)
		}
		_ = resp.Body.Close()
	})
}

// A drain waits for a stream through the proxy, which its origin ends.
func TestReverseProxyStreamDrain(t *testing.T) {
	t.Parallel()
	eachProxy(t, nil, func(s *server) {
		resp, in := s.stream(s.Context())
		defer resp.Body.Close()
		over := s.drain()
		last := ""
		for in.Scan() {
			last = in.Text()
		}
		if last != "end" || in.Err() != nil {
			s.Errorf("%q, %v", last, in.Err())
		}
		if err := <-over; err != nil {
			s.Error(err)
		}
	})
}

// upgraded is a connection through the proxy that echoes.
func (s *server) upgraded() io.ReadWriteCloser {
	s.Helper()
	r, _ := http.NewRequestWithContext(s.Context(), "GET", s.url+"/upgrade", nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "echo")
	client := *s.client
	client.Timeout = 0
	resp, err := client.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		s.Fatal(resp.Status)
	}
	rw := resp.Body.(io.ReadWriteCloser)
	hi := make([]byte, 3)
	if _, err := io.ReadFull(rw, hi); err != nil || string(hi) != "hi\n" {
		s.Errorf("%q, %v", hi, err)
	}
	return rw
}

func (s *server) wantEcho(rw io.ReadWriter, size int) {
	s.Helper()
	text := bytes.Repeat([]byte("x"), size)
	go func() { _, _ = rw.Write(text) }()
	got := make([]byte, size)
	if _, err := io.ReadFull(rw, got); err != nil || !bytes.Equal(got, text) {
		s.Errorf("%q, %v", got[:min(size, 20)], err)
	}
}

func TestReverseProxyUpgrade(t *testing.T) {
	t.Parallel()
	eachProxy(t, nil, func(s *server) {
		s.onlyHTTP1()
		rw := s.upgraded()
		s.wantEcho(rw, 5)
		s.wantEcho(rw, 1<<20)
		over := s.drain()
		<-s.draining
		s.wantEcho(rw, 5)
		s.wantAwaited(over)
		_ = rw.Close()
		if err := <-over; err != nil {
			s.Error(err)
		}
	})
}
