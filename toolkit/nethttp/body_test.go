package nethttp

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// What becomes of a body is to be seen on the wire as it is from a plain http.Server, be
// it the http.Server's own request that the handler gets, or a copy.
func TestBodyAsNetHTTP(t *testing.T) {
	said := func(w http.ResponseWriter, err error) {
		if errors.Is(err, http.ErrBodyReadAfterClose) {
			err = errors.New("closed")
		}
		_, _ = io.WriteString(w, " "+errText(err))
	}
	read := func(w http.ResponseWriter, r io.Reader) {
		b, err := io.ReadAll(r)
		_, _ = w.Write(b)
		said(w, err)
	}
	handlers := map[string]func(w http.ResponseWriter, r *http.Request){
		"unread": func(w http.ResponseWriter, _ *http.Request) { said(w, nil) },
		"read":   func(w http.ResponseWriter, r *http.Request) { read(w, r.Body) },
		"read, close": func(w http.ResponseWriter, r *http.Request) {
			read(w, r.Body)
			said(w, r.Body.Close())
			read(w, r.Body)
		},
		"close": func(w http.ResponseWriter, r *http.Request) { said(w, r.Body.Close()); read(w, r.Body) },
		"part, close twice": func(w http.ResponseWriter, r *http.Request) {
			read(w, io.LimitReader(r.Body, 2))
			said(w, r.Body.Close())
			said(w, r.Body.Close())
		},
		"header, close": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusAccepted)
			_ = http.NewResponseController(w).Flush()
			said(w, r.Body.Close())
			read(w, r.Body)
		},
		"replaced": func(w http.ResponseWriter, r *http.Request) {
			r.Body = struct{ io.ReadCloser }{r.Body}
			read(w, io.LimitReader(r.Body, 2))
		},
		"replaced, close": func(w http.ResponseWriter, r *http.Request) {
			r.Body = struct{ io.ReadCloser }{r.Body}
			said(w, r.Body.Close())
		},
		"limited": func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, 4)
			read(w, r.Body)
		},
		"limited, close": func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, 4)
			said(w, r.Body.Close())
			read(w, r.Body)
		},
		"hijack": func(w http.ResponseWriter, r *http.Request) {
			_ = r.Body.Close()
			nc, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				said(w, err)
				return
			}
			rest, err := rw.ReadString('G')
			_, _ = io.WriteString(nc, "hijacked "+rest+errText(err))
			_ = nc.Close()
		},
	}
	requests := map[string]string{
		"length":     "POST /net HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello",
		"too short":  "POST /net HTTP/1.1\r\nHost: t\r\nContent-Length: 5000\r\n\r\nhello",
		"chunked":    "POST /net HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"bad chunk":  "POST /net HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n\r\n",
		"close":      "POST /net HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.0":   "POST /net HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello",
		"keep-alive": "POST /net HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
		"expect":     "POST /net HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
		"none":       "GET /net HTTP/1.1\r\nHost: t\r\n\r\n",
	}
	for what, h := range handlers {
		for form, request := range requests {
			if (strings.HasPrefix(what, "replaced") || what == "limited, close") && (form == "expect" || form == "bad chunk") {
				continue // net/http does not know its own body any more, and keeps what should be closed
			}
			t.Run(what+"/"+form, func(t *testing.T) {
				handler := func(w http.ResponseWriter, r *http.Request) {
					w.Header()["Date"] = nil
					if r.Method == http.MethodPut { // the next request: its connection was kept
						_, _ = io.WriteString(w, "next")
						return
					}
					h(w, r)
				}
				ln, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				plain := &http.Server{Handler: http.HandlerFunc(handler)}
				go func() { _ = plain.Serve(ln) }()
				defer func() { _ = plain.Close() }()
				ours := run(t, "tcp", app{net: handler, fresh: true})

				request += "PUT /net HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n"
				want, got := sayAll(t, ln.Addr(), request), sayAll(t, ours.ListenAddrs()[0], request)
				if got != want {
					t.Errorf("%q\nnet/http:\n%s\nours:\n%s", request, want, got)
				}
			})
		}
	}
}

func errText(err error) string {
	if err == nil {
		return "ok"
	}
	return err.Error()
}

// sayAll sends all that a client has to say, and returns all that it is answered.
func sayAll(t *testing.T, to net.Addr, request string) string {
	t.Helper()
	nc, err := net.Dial(to.Network(), to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	if _, err = io.WriteString(nc, request); err == nil {
		err = nc.(*net.TCPConn).CloseWrite()
	}
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	_, _ = io.Copy(&got, nc) // may end in a reset, of which the time is the kernel's
	return got.String()
}
