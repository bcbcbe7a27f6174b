package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"time"
)

// routed is a behaviour of a ServeMux with these patterns.
func routed(name, send string, patterns ...string) behaviour {
	m := http.NewServeMux()
	for _, p := range patterns {
		m.HandleFunc(p, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%q %s %q %q %q %s", r.Pattern, r.Method, r.PathValue("a"), r.PathValue("b"), r.PathValue("none"), r.URL) //nolint:gosec // no browser reads it
		})
	}
	return handled("ServeMux: "+name, send, m)
}

// ranged is a GET of content with these header lines.
func ranged(name string, lines ...string) behaviour {
	return handled("ServeContent: "+name, header(lines...), content)
}

// limited is a TimeoutHandler that takes too long.
func limited(h http.HandlerFunc) http.Handler {
	return http.TimeoutHandler(h, 30*time.Millisecond, "too late")
}

func cookie(name string, c http.Cookie) behaviour {
	return answer("SetCookie: "+name, func(w http.ResponseWriter) { http.SetCookie(w, &c) })
}

var library = []behaviour{
	routed("the more specific wins", target("/items/new"), "/items/{a}", "/items/new", "/"),
	routed("a method wins", target("/x"), "/x", "GET /x"),
	routed("a host wins", request("GET /x HTTP/1.1", "Host: h"), "h/x", "/x"),
	routed("a host with a port", request("GET /x HTTP/1.1", "Host: h:80"), "h/x", "/x"),
	routed("two wildcards", target("/1/x/2"), "/{a}/x/{b}"),
	routed("an empty wildcard", target("//x/2"), "/{a}/x/{b}", "/"),
	routed("an escape in a wildcard", target("/a%2Fb/x/c%20d"), "/{a}/x/{b}"),
	routed("an escape in a literal", target("/%61/x"), "/a/{b}"),
	routed("an escaped slash in a literal", target("/a%2Fb"), "/a/b", "/{a}"),
	routed("the rest is empty", target("/f/"), "/f/{b...}"),
	routed("the rest without its slash", target("/f"), "/f/{b...}"),
	routed("the rest with slashes and escapes", target("/f/a/b%20c/"), "/f/{b...}"),
	routed("the root alone", target("/"), "/{$}"),
	routed("the root alone, and another", target("/x"), "/{$}"),
	routed("a slash at the end with a query", target("/d?x=1"), "/d/"),
	routed("a slash is not added where there is a pattern", target("/d"), "/d/", "/d"),
	routed("a slash is added to a POST", post("abc", "Content-Length: 3"), "/post/"),
	routed("HEAD where there is HEAD and GET", line("HEAD /x HTTP/1.1"), "GET /x", "HEAD /x"),
	routed("Allow of two methods", line("DELETE /x HTTP/1.1"), "GET /x", "POST /x"),
	routed("Allow of a method and another path", line("DELETE /x HTTP/1.1"), "GET /x", "PUT /{a}"),
	routed("OPTIONS is no method of its own", line("OPTIONS /x HTTP/1.1"), "GET /x"),
	routed("OPTIONS *", line("OPTIONS * HTTP/1.1"), "/"),
	routed("a path with dots is cleaned with its query", target("/a/../x?y=z"), "/x"),
	routed("a path with escaped dots", target("/a/%2e%2e/x"), "/x", "/"),
	routed("slashes within are cleaned", target("/a//x"), "/a/x"),
	routed("slashes within are cleaned, of a POST", line("POST /a//x HTTP/1.1"), "/a/x"),
	routed("a path with a dot at its end", target("/a/."), "/a/"),
	routed("CONNECT is not cleaned", line("CONNECT /a//x HTTP/1.1"), "/a/x", "/"),
	routed("CONNECT of an authority", request("CONNECT h:1 HTTP/1.1", "Host: h:1"), "/", "h/"),
	routed("a method that nobody knows", line("FOO /x HTTP/1.1"), "FOO /x", "/x"),
	routed("an absolute form", target("http://h/x?y"), "h/x", "/x"),
	routed("a path beyond ASCII", target("/%C3%A4/x"), "/ä/{a}"),
	routed("nothing", target("/x")),
	handled("ServeMux: a mux within a mux has its own pattern", target("/out/in/1"), func() http.Handler {
		in := http.NewServeMux()
		in.HandleFunc("/in/{b}", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%q %q %q %q", r.Pattern, r.PathValue("a"), r.PathValue("b"), r.URL.Path)
		})
		out := http.NewServeMux()
		out.Handle("/{a}/", http.StripPrefix("/out", in))
		return out
	}()),
	handled("SetPathValue", get11, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.SetPathValue("id", "1")
		_, _ = io.WriteString(w, r.PathValue("id")+r.PathValue("none"))
	})),
	handled("StripPrefix: another path", target("/other"), http.StripPrefix("/a", http.NotFoundHandler())),
	handled("StripPrefix: an escaped path", target("/a%2Fb/c"), http.StripPrefix("/a/b", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%q %q", r.URL.Path, r.URL.RawPath)
	}))),
	handled("AllowQuerySemicolons: a query and a form", request("POST /?a=1;b=2 HTTP/1.1", "Host: x", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 7", "", "c=3;d=4"),
		http.AllowQuerySemicolons(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%v %q %q", r.ParseForm(), r.Form, r.PostForm)
		}))),
	{name: "a query with a semicolon is logged", send: target("/?a=1;b=2"), logs: true, serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.sawf("%v %q", r.ParseForm(), r.Form)
	}},
	{name: "a query with a semicolon that nobody reads is logged", send: target("/?a=1;b=2"), logs: true, serve: func(*run, http.ResponseWriter, *http.Request) {}},
	{name: "a query with a semicolon is logged once per request", send: target("/?a=1;b=2") + target("/?c;d"), logs: true, serve: form},

	handled("Redirect: to a path with dots", target("/a/b/c"), http.RedirectHandler("../../x", http.StatusSeeOther)),
	handled("Redirect: to a query", target("/a/b"), http.RedirectHandler("?x=y", http.StatusFound)),
	handled("Redirect: to nothing", target("/a/b"), http.RedirectHandler("", http.StatusFound)),
	handled("Redirect: to another scheme", target("/a/b"), http.RedirectHandler("mailto:a@b", http.StatusFound)),
	handled("Redirect: to two slashes", target("/a/b"), http.RedirectHandler("//h/x", http.StatusFound)),
	handled("Redirect: with line breaks and quotes", target("/a/b"), http.RedirectHandler("/x\r\nA: \"b\"<c>", http.StatusFound)),
	handled("Redirect: of a path with a slash at its end", target("/a/b/"), http.RedirectHandler("x/", http.StatusMovedPermanently)),
	handled("Redirect: 308 of a PUT", request("PUT /a HTTP/1.1", "Host: x", "Content-Length: 1", "", "a"), http.RedirectHandler("/b", http.StatusPermanentRedirect)),
	handled("Redirect: with a type of the handler", get11, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		http.Redirect(w, r, "/x", http.StatusFound)
	})),
	handled("Error: of line breaks", get11, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Cache-Control", "max-age=1")
		w.Header().Set("Last-Modified", "x")
		http.Error(w, "a\r\nb", http.StatusBadGateway)
	})),
	handled("Error: to HEAD", line("HEAD / HTTP/1.1"), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "a", http.StatusBadGateway)
	})),

	ranged("no bytes", "Range: bytes=0-0"),
	ranged("of more than there is", "Range: bytes=90-1000"),
	ranged("of the last 1000", "Range: bytes=-1000"),
	ranged("of the last none", "Range: bytes=-0"),
	ranged("of another unit", "Range: lines=0-1"),
	ranged("of two units", "Range: bytes=0-1, lines=2-3"),
	ranged("with spaces", "Range: bytes= 0 - 1 "),
	ranged("backwards", "Range: bytes=5-2"),
	ranged("of nothing", "Range: bytes="),
	ranged("of commas", "Range: bytes=,,"),
	ranged("that overlaps itself, which is all", "Range: bytes=0-,0-,0-"),
	ranged("with an If-Range that matches", "Range: bytes=0-1", `If-Range: "tag"`),
	ranged("with a weak If-Range", "Range: bytes=0-1", `If-Range: W/"tag"`),
	ranged("with an If-Range of a date", "Range: bytes=0-1", "If-Range: "+modified.Format(http.TimeFormat)),
	ranged("with an If-Range of nonsense", "Range: bytes=0-1", "If-Range: x"),
	ranged("with an If-None-Match of a list", `If-None-Match: "a", W/"tag"`),
	ranged("with an If-None-Match of all", "If-None-Match: *"),
	ranged("with an If-Match of all", "If-Match: *"),
	ranged("with a weak If-Match", `If-Match: W/"tag"`),
	ranged("with an If-None-Match and a range", "Range: bytes=0-1", `If-None-Match: "tag"`),
	ranged("with an If-None-Match of another and an If-Modified-Since", `If-None-Match: "x"`, "If-Modified-Since: "+modified.Format(http.TimeFormat)),
	ranged("with two Ranges", "Range: bytes=0-1", "Range: bytes=2-3"),
	handled("ServeContent: a POST with If-None-Match", request("POST / HTTP/1.1", "Host: x", `If-None-Match: "tag"`), content),
	handled("ServeContent: HEAD with a range", request("HEAD / HTTP/1.1", "Host: x", "Range: bytes=2-3"), content),
	handled("ServeContent: of an empty text", get11, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(""))
	})),
	handled("ServeContent: a range of nothing", header("Range: bytes=0-"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(""))
	})),
	handled("ServeContent: with a Content-Encoding", get11, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		http.ServeContent(w, r, "a.bin", modified, strings.NewReader("abc"))
	})),
	handled("ServeContent: of what cannot seek", get11, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, seekless{})
	})),
	handled("ServeContent: of an unknown name is sniffed", get11, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "x", modified, strings.NewReader("\x89PNG\x0D\x0A\x1A\x0A"))
	})),
	handled("FileServer: a POST", line("POST /a%20b.txt HTTP/1.1"), files),
	handled("FileServer: HEAD of a listing", line("HEAD /dir/ HTTP/1.1"), files),
	handled("FileServer: a file with a slash", target("/a%20b.txt/"), files),
	handled("FileServer: a directory with an index", target("/dir2/"), files),
	handled("FileServer: a directory's index by name", target("/dir2/index.html?x=y"), files),
	handled("FileServer: a directory without a slash and with a query", target("/dir2?x=y"), files),
	handled("FileServer: a path with a NUL", target("/a%00b"), files),
	handled("FileServer: a path with a backslash", target(`/..%5cx`), files),
	handled("FileServer: a range", request("GET /big.bin HTTP/1.1", "Host: x", "Range: bytes=299990-"), files),
	handled("FileServer: a range of another file", request("GET /no HTTP/1.1", "Host: x", "Range: bytes=0-"), files),
	handled("FileServer: what may not be read", get11, http.FileServerFS(forbidding{})),
	handled("ServeFile: with dots in the path", target("/../x"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "/no") })),
	handled("ServeFileFS: an index is redirected", target("/index.html"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, os.DirFS("/no"), "index.html")
	})),

	cookie("all fields", http.Cookie{Name: "a", Value: "b c", Path: "/p;x", Domain: ".example.com", MaxAge: 5, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode, Expires: modified}),
	cookie("a name that is none", http.Cookie{Name: "a b", Value: "c"}),
	cookie("a value in quotes", http.Cookie{Name: "a", Value: "b", Quoted: true}),
	cookie("a value with what may not be in it", http.Cookie{Name: "a", Value: "b;\"\\\n"}),
	cookie("a negative MaxAge", http.Cookie{Name: "a", MaxAge: -1}),
	cookie("a Partitioned one", http.Cookie{Name: "a", Value: "b", Partitioned: true, Secure: true}),
	{name: "cookies: by name", send: header("Cookie: a=1; a=2; b=3", "Cookie: a=4"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		c, err := r.Cookie("a")
		x.sawf("%v %v", c, err)
		_, err = r.Cookie("none")
		x.sawf("%v", err)
		x.sawf("%v", r.CookiesNamed("a"))
	}},
	{name: "cookies: 200 of them", send: header("Cookie: " + strings.Repeat("a=1; ", 200)), serve: func(x *run, _ http.ResponseWriter, r *http.Request) { x.sawf("%d", len(r.Cookies())) }},
	{name: "cookies: 4000 of them", send: header("Cookie: " + strings.Repeat("a=1; ", 4000)), serve: func(x *run, _ http.ResponseWriter, r *http.Request) { x.sawf("%d", len(r.Cookies())) }},

	{name: "a form's file is removed", send: multiparted("--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\n" + strings.Repeat("a", 100_000) + "\r\n--B--\r\n"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(-10 << 20); err != nil {
			x.sawf("%v", err)
			return
		}
		f, err := r.MultipartForm.File["f"][0].Open()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		defer func() { _ = f.Close() }()
		of, ok := f.(*os.File)
		x.sawf("a file %v", ok)
		if ok {
			x.mu.Lock()
			x.kept = r.WithContext(context.WithValue(r.Context(), key{}, of.Name()))
			x.mu.Unlock()
		}
	}, script: func(x *run, c *conn) {
		c.send(multiparted("--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\n" + strings.Repeat("a", 100_000) + "\r\n--B--\r\n"))
		c.response("POST")
		c.send(lastRequest) // when that is served, the one before is over
		c.rest()
		x.mu.Lock()
		kept := x.kept
		x.mu.Unlock()
		if kept != nil {
			name, _ := kept.Context().Value(key{}).(string)
			_, err := os.Stat(name)
			x.notef("%v", errors.Is(err, fs.ErrNotExist))
		}
	}},
	{name: "a form with parts, parsed twice", send: multiparted(twoParts), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.sawf("%v %v", r.ParseMultipartForm(1<<20), r.ParseMultipartForm(1<<20))
		_, err := r.MultipartReader()
		x.sawf("%v", err)
	}},
	{name: "a form with parts, first read one by one", send: multiparted(twoParts), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		_, err := r.MultipartReader()
		x.sawf("%v", err)
		x.sawf("%v", r.ParseMultipartForm(1<<20))
	}},
	{name: "a form with parts as they come", script: func(x *run, c *conn) {
		c.send(post("--B\r\nContent-Disposition: form-data; name=a\r\n\r\nfirst\r\n--B\r\nContent-Disposition: form-data; name=b\r\n\r\n", "Content-Type: multipart/form-data; boundary=B", "Content-Length: 116"))
		x.wait("first")
		c.send("second\r\n--B--\r\n")
		c.rest()
	}, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		mr, err := r.MultipartReader()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		for {
			p, err := mr.NextPart()
			if err != nil {
				x.sawf("%v", err)
				return
			}
			x.sawf("%s", p.FormName())
			if p.FormName() == "b" {
				x.signal("first")
			}
			b, err := io.ReadAll(p)
			x.sawf("%q %v", b, err)
		}
	}},
	{name: "a form with 2,000 parts", send: multiparted(strings.Repeat("--B\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n", 2000) + "--B--\r\n"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		err := r.ParseMultipartForm(1 << 20)
		x.sawf("%v %v", err, errors.Is(err, multipart.ErrMessageTooLarge))
	}},
	{name: "a form whose body was closed", send: urlencoded("a=1"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		_ = r.Body.Close()
		x.sawf("%v", r.ParseForm())
	}},
	{name: "a form of a body that is cut", script: truncated(post("a=1&b", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 100")), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.sawf("%v %q", r.ParseForm(), r.PostForm)
	}},
	{name: "a form limited by MaxBytesReader", send: urlencoded("a=" + strings.Repeat("b", 100)), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 10)
		x.sawf("%v", r.ParseForm())
	}},
	handled("MaxBytesHandler: an echo", post("abcdef", "Content-Length: 6"), http.MaxBytesHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(w, r.Body)
		fmt.Fprintf(w, "%d %v", n, err)
	}), 3)),
	handled("MaxBytesHandler: nothing is read", post("abcdef", "Content-Length: 6"), http.MaxBytesHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "a")
	}), 3)),
	{name: "MaxBytesReader around another writer", send: post("abcdef", "Content-Length: 6"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(http.MaxBytesReader(unwrapping{w}, r.Body, 3))
		x.sawf("%q %v", b, err)
	}},
	{name: "MaxBytesReader beyond its limit, after a flush", send: post("abcdef", "Content-Length: 6"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		body := http.MaxBytesReader(w, r.Body, 3)
		b, err := io.ReadAll(body)
		x.sawf("%q %v", b, err)
		_, err = body.Read(make([]byte, 1))
		x.sawf("%v, %v", err, body.Close())
	}},
	{name: "MaxBytesReader of 0", send: post("a", "Content-Length: 1"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 0))
		x.sawf("%q %v", b, err)
	}},
	{name: "MaxBytesReader below zero", send: post("a", "Content-Length: 1"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, -1))
		x.sawf("%q %v", b, err)
	}},
	{name: "MaxBytesReader at its limit", send: post("abc", "Content-Length: 3"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		body := http.MaxBytesReader(w, r.Body, 3)
		b := make([]byte, 3)
		n, err := io.ReadFull(body, b)
		x.sawf("%d %v", n, err)
		n, err = body.Read(b)
		x.sawf("%d %v", n, err)
	}},
	{name: "MaxBytesReader at its limit, of a body that has more", send: post("abcd", "Content-Length: 4"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 3)
		n, err := io.ReadFull(http.MaxBytesReader(w, r.Body, 3), b)
		x.sawf("%d %v", n, err)
	}},

	{name: "TimeoutHandler: too late", send: get11, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		limited(func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			x.sawf("%v", r.Context().Err())
			x.signal("told")
		}).ServeHTTP(w, r)
		x.wait("told")
	}},
	{name: "TimeoutHandler: with a type and headers", send: get11, serve: func(_ *run, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Outer", "1")
		http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Inner", "1")
			w.Header().Set("Outer", "2")
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, "<html>")
		}), time.Hour, "").ServeHTTP(w, r)
	}},
	{name: "TimeoutHandler: late, without a text", send: get11, serve: func(_ *run, w http.ResponseWriter, r *http.Request) {
		http.TimeoutHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), time.Millisecond, "").ServeHTTP(w, r)
	}},
	{name: "TimeoutHandler: a body and HEAD", send: request("HEAD / HTTP/1.1", "Host: x"), serve: func(_ *run, w http.ResponseWriter, r *http.Request) {
		http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "abc") }), time.Hour, "").ServeHTTP(w, r)
	}},
	{name: "TimeoutHandler: a client that goes", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		http.TimeoutHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			x.signal("running")
			<-r.Context().Done()
			x.sawf("%v", r.Context().Err())
			x.signal("told")
		}), time.Hour, "").ServeHTTP(w, r)
		x.wait("told")
	}, script: func(x *run, c *conn) {
		c.send(get11)
		x.wait("running")
		left(c)
	}},
}

// seekless cannot seek.
type seekless struct{ io.Reader }

func (seekless) Seek(int64, int) (int64, error) { return 0, errors.New("no") }

// forbidding has files that nobody may open.
type forbidding struct{}

func (forbidding) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
}
