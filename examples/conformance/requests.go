package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
)

// request is a request of these lines, and of a body if the last one is none of
// the header's: that after an empty one.
func request(lines ...string) string {
	if !slices.Contains(lines, "") {
		lines = append(lines, "", "")
	}
	return strings.Join(lines, "\r\n")
}

// target is a GET of a target.
func target(t string) string { return request("GET "+t+" HTTP/1.1", "Host: x") }

// line is a request with this request line.
func line(l string) string { return request(l, "Host: x") }

// header is a GET with these header lines.
func header(lines ...string) string {
	return request(append([]string{"GET /header HTTP/1.1", "Host: x"}, lines...)...)
}

// post is a POST with these header lines, and what comes after the header.
func post(body string, lines ...string) string {
	return request(append([]string{"POST /post HTTP/1.1", "Host: x"}, append(lines, "", body)...)...)
}

// chunked is a POST with this as its chunks.
func chunked(chunks string) string { return post(chunks, "Transfer-Encoding: chunked") }

// truncated sends what a client sends that then sends no more.
func truncated(text string) func(x *run, c *conn) {
	return func(_ *run, c *conn) {
		c.send(text)
		c.closeWrite()
		c.rest()
	}
}

// A difference in one part of a request is to show in the behaviours that are
// about it, so each group notes its own part.

func dumpTarget(x *run, w http.ResponseWriter, r *http.Request) {
	x.sawf("%s %q %s (%d.%d) for %q", r.Method, r.RequestURI, r.Proto, r.ProtoMajor, r.ProtoMinor, r.Host)
	u := *r.URL
	x.sawf("URL %q: scheme %q opaque %q user %v host %q path %q raw %q query %q %v fragment %q",
		r.URL, u.Scheme, u.Opaque, u.User, u.Host, u.Path, u.RawPath, u.RawQuery, u.ForceQuery, u.Fragment)
	_, _ = io.WriteString(w, "ok\n")
}

func dumpHeader(x *run, w http.ResponseWriter, r *http.Request) {
	x.sawf("%s %s for %q, close %v", r.Method, r.Proto, r.Host, r.Close)
	h := r.Header.Clone()
	h.Del("Host") // a behaviour of its own
	x.sawf("header %q", h)
	_, _ = io.WriteString(w, "ok\n")
}

func dumpFraming(x *run, w http.ResponseWriter, r *http.Request) {
	x.sawf("%s, length %d, encoding %q, trailer %q, close %v", r.Method, r.ContentLength, r.TransferEncoding, r.Trailer, r.Close)
	for _, name := range []string{"Content-Length", "Transfer-Encoding", "Trailer", "Expect"} {
		if v, ok := r.Header[name]; ok {
			x.sawf("%s %q", name, v)
		}
	}
	dumpBody(x, r)
	_, _ = io.WriteString(w, "ok\n")
}

// dumpBody notes a body, and the trailer that comes with its end.
func dumpBody(x *run, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	x.sawf("body %s, %v", quote(body), err)
	if len(r.Trailer) > 0 {
		x.sawf("trailer then %q", r.Trailer)
	}
}

var targets = []behaviour{
	{name: "root", send: target("/")},
	{name: "path and query", send: target("/a/b?c=d&e=f")},
	{name: "empty query is kept", send: target("/a?")},
	{name: "a second question mark is the query's", send: target("/a?b?c")},
	{name: "encoded slash keeps RawPath", send: target("/a%2Fb")},
	{name: "encoded slash in lower case keeps RawPath", send: target("/a%2fb/c")},
	{name: "needless encoding of a letter", send: target("/%61b")},
	{name: "encoded space and plus", send: target("/a%20b+c?d=e+f%20g")},
	{name: "encoded percent sign", send: target("/100%25")},
	{name: "encoded question mark and number sign", send: target("/a%3Fb%23c")},
	{name: "encoded NUL", send: target("/a%00b")},
	{name: "encoded CR and LF", send: target("/a%0d%0ab")},
	{name: "encoded UTF-8", send: target("/%E4%BD%A0%E5%A5%BD")},
	{name: "encoded bytes that are no UTF-8", send: target("/%ff%fe")},
	{name: "invalid escape", send: target("/%zz")},
	{name: "unfinished escape", send: target("/a%4")},
	{name: "invalid escape in the query", send: target("/a?b=%zz")},
	{name: "two slashes at the begin are a path", send: target("//a/b")},
	{name: "three slashes at the begin", send: target("///a")},
	{name: "slashes within", send: target("/a//b///c/")},
	{name: "dot segments are left alone", send: target("/a/../b/./c/..")},
	{name: "encoded dot segments are left alone", send: target("/%2e%2e/a/%2E")},
	{name: "dots above the root", send: target("/../../etc/passwd")},
	{name: "semicolon in path and query", send: target("/a;v=1?b=c;d=e")},
	{name: "number sign is no fragment", send: target("/a#b?c")},
	{name: "raw UTF-8", send: target("/ä/你?ü=ö")},
	{name: "raw bytes that are no UTF-8", send: target("/\xff\xfe?\xff")},
	{name: "raw quotes and brackets", send: target(`/"a"<b>{c}|d^e` + "`")},
	{name: "backslash", send: target(`/a\b\..\c`)},
	{name: "sub-delimiters", send: target("/!$&'()*+,;=:@-._~")},
	{name: "colon in the first segment", send: target("/a:b")},
	{name: "control character", send: target("/a\x01b")},
	{name: "DEL", send: target("/a\x7fb")},
	{name: "space within", send: target("/a b")},
	{name: "tab within", send: target("/a\tb")},
	{name: "8 kB", send: target("/" + strings.Repeat("abcdefgh", 1024))},
	{name: "100 kB", send: target("/?" + strings.Repeat("abcdefghij", 10_000))},
	{name: "a path of 3 kB", send: target("/" + strings.Repeat("abcdefghij", 300))},
	{name: "a query of 3 kB", send: target("/a?" + strings.Repeat("abcdefghij", 300))},
	{name: "a path of dots and slashes", send: target("/a/./b/../..//c/")},
	{name: "an escape in lower case", send: target("/%e2%82%ac%2f")},
	{name: "over 1 MB", script: func(_ *run, c *conn) {
		c.send(target("/" + strings.Repeat("a", 1<<20+8<<10)))
		c.rest()
	}},
	{name: "absolute form", send: target("http://example.com/a?b")},
	{name: "absolute form without Host", send: request("GET http://example.com/ HTTP/1.1")},
	{name: "absolute form with https", send: target("https://example.com/a")},
	{name: "absolute form with a port and no path", send: target("http://example.com:81")},
	{name: "absolute form with a query and no path", send: target("http://example.com?a")},
	{name: "absolute form with user and password", send: target("http://u:p@example.com/")},
	{name: "absolute form with an IPv6 address", send: target("http://[::1]:80/a")},
	{name: "absolute form with an unclosed bracket", send: target("http://[::1/a")},
	{name: "absolute form in upper case", send: target("HTTP://EXAMPLE.COM/A")},
	{name: "absolute form without a host", send: target("http:///a")},
	{name: "absolute form with a bad port", send: target("http://example.com:port/")},
	{name: "absolute form of another scheme", send: target("ftp://example.com/a")},
	{name: "absolute form with an encoded slash", send: target("http://example.com/a%2Fb")},
	{name: "opaque", send: target("mailto:a@b")},
	{name: "no slash", send: target("a/b")},
	{name: "only a query", send: target("?a")},
	{name: "only an asterisk", send: target("*")},
	{name: "asterisk and more", send: target("*/a")},
	{name: "OPTIONS of the server", send: line("OPTIONS * HTTP/1.1")},
	{name: "OPTIONS of the server with a body", send: request("OPTIONS * HTTP/1.1", "Host: x", "Content-Length: 3", "", "abc")},
	{name: "OPTIONS of the server, left to the handler", send: line("OPTIONS * HTTP/1.1"), server: func(_ *run, s *http.Server) { s.DisableGeneralOptionsHandler = true }},
	{name: "OPTIONS of a path", send: line("OPTIONS /a HTTP/1.1")},
	{name: "CONNECT of an authority", send: request("CONNECT example.com:443 HTTP/1.1", "Host: example.com:443")},
	{name: "CONNECT of an IPv6 authority", send: request("CONNECT [::1]:443 HTTP/1.1", "Host: [::1]:443")},
	{name: "CONNECT of an authority without a port", send: request("CONNECT example.com HTTP/1.1", "Host: example.com")},
	{name: "CONNECT of a path", send: line("CONNECT /rpc HTTP/1.1")},
	{name: "CONNECT of an URL", send: line("CONNECT http://example.com/a HTTP/1.1")},
}

var requestLine = []behaviour{
	{name: "PUT", send: line("PUT /a HTTP/1.1")},
	{name: "PATCH", send: line("PATCH /a HTTP/1.1")},
	{name: "DELETE", send: line("DELETE /a HTTP/1.1")},
	{name: "TRACE", send: line("TRACE /a HTTP/1.1")},
	{name: "HEAD", send: line("HEAD /a HTTP/1.1")},
	{name: "a method that nobody knows", send: line("FOO /a HTTP/1.1")},
	{name: "a method in lower case is another", send: line("get /a HTTP/1.1")},
	{name: "a method of all token characters", send: line("!#$%&'*+-.^_`|~09Az /a HTTP/1.1")},
	{name: "a method that is no token", send: line("G@T /a HTTP/1.1")},
	{name: "a method with a colon", send: line("GET: /a HTTP/1.1")},
	{name: "a method beyond ASCII", send: line("GÉT /a HTTP/1.1")},
	{name: "a method of 5 kB", send: line(strings.Repeat("A", 5000) + " /a HTTP/1.1")},
	{name: "no method", send: line(" /a HTTP/1.1")},
	{name: "HTTP/1.0", send: line("GET /a HTTP/1.0")},
	{name: "HTTP/0.9", send: line("GET /a HTTP/0.9")},
	{name: "HTTP/1.2", send: line("GET /a HTTP/1.2")},
	{name: "HTTP/1.9", send: line("GET /a HTTP/1.9")},
	{name: "HTTP/1.10", send: line("GET /a HTTP/1.10")},
	{name: "HTTP/2.0", send: line("GET /a HTTP/2.0")},
	{name: "HTTP/3.0", send: line("GET /a HTTP/3.0")},
	{name: "HTTP/1", send: line("GET /a HTTP/1")},
	{name: "HTTP/01.1", send: line("GET /a HTTP/01.1")},
	{name: "http/1.1", send: line("GET /a http/1.1")},
	{name: "HTTP/1,1", send: line("GET /a HTTP/1,1")},
	{name: "HTTP/1.1 and a letter", send: line("GET /a HTTP/1.1x")},
	{name: "HTTP/-1.1", send: line("GET /a HTTP/-1.1")},
	{name: "another protocol", send: line("GET /a ICY/1.1")},
	{name: "no version", send: line("GET /a")},
	{name: "no version and no header", send: "GET /a\r\n\r\n"},
	{name: "only a method", send: line("GET")},
	{name: "a space too much before the target", send: line("GET  /a HTTP/1.1")},
	{name: "a space too much before the version", send: line("GET /a  HTTP/1.1")},
	{name: "a space too much at the end", send: line("GET /a HTTP/1.1 ")},
	{name: "a space too much at the begin", send: line(" GET /a HTTP/1.1")},
	{name: "tabs for spaces", send: line("GET\t/a\tHTTP/1.1")},
	{name: "an empty line before", send: "\r\n" + target("/a")},
	{name: "two empty lines before", send: "\r\n\r\n" + target("/a")},
	{name: "an empty line between requests", send: target("/a") + "\r\n" + target("/b")},
	{name: "lines that end in LF", send: "GET /a HTTP/1.1\nHost: x\nA: b\n\n"},
	{name: "lines that end in CR", send: "GET /a HTTP/1.1\rHost: x\r\r"},
	{name: "lines that end in CR CR LF", send: "GET /a HTTP/1.1\r\r\nHost: x\r\r\n\r\r\n"},
	{name: "a NUL", send: "\x00\r\n\r\n"},
	{name: "a TLS client", send: "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n"},
	{name: "garbage", send: "hello there\r\n\r\n"},
	{name: "the preface of HTTP/2", send: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", server: func(_ *run, s *http.Server) {
		s.Protocols = new(http.Protocols)
		s.Protocols.SetHTTP1(true)
	}},
	{name: "the preface of HTTP/2 where that is on", plain: true, server: func(_ *run, s *http.Server) {
		s.Protocols = new(http.Protocols)
		s.Protocols.SetHTTP1(true)
		s.Protocols.SetUnencryptedHTTP2(true)
	}, script: func(x *run, c *conn) {
		c.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		b := make([]byte, 9)
		_, err := io.ReadFull(c.br, b)
		x.notef("a frame of type %d, %v", b[3], err)
		c.mu.Lock()
		c.raw = nil // its settings are the server's own
		c.mu.Unlock()
	}},
	{name: "nothing at all", script: truncated("")},
	{name: "half a request line", script: truncated("GET /a HT")},
	{name: "half a header", script: truncated("GET /a HTTP/1.1\r\nHost: x\r\nA:")},
	{name: "a header without its end", script: truncated("GET /a HTTP/1.1\r\nHost: x\r\n")},
}

var requestHeader = []behaviour{
	{name: "no Host", send: "GET / HTTP/1.1\r\nA: b\r\n\r\n"},
	{name: "no Host in HTTP/1.0", send: "GET / HTTP/1.0\r\nA: b\r\n\r\n"},
	{name: "no header at all", send: "GET / HTTP/1.1\r\n\r\n"},
	{name: "Host is not among the headers", send: header("A: b"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.sawf("%q %q", r.Host, r.Header)
	}},
	{name: "an empty Host", send: request("GET / HTTP/1.1", "Host:")},
	{name: "two Hosts", send: header("Host: y")},
	{name: "two equal Hosts", send: header("Host: x")},
	{name: "two Hosts in HTTP/1.0", send: request("GET / HTTP/1.0", "Host: x", "Host: y")},
	{name: "Host with a port", send: request("GET / HTTP/1.1", "Host: Example.com:8080")},
	{name: "Host with an IPv6 address", send: request("GET / HTTP/1.1", "Host: [::1]:80")},
	{name: "Host with a space", send: request("GET / HTTP/1.1", "Host: a b")},
	{name: "Host with a slash", send: request("GET / HTTP/1.1", "Host: a/b")},
	{name: "Host with a comma", send: request("GET / HTTP/1.1", "Host: a, b")},
	{name: "Host with an at sign", send: request("GET / HTTP/1.1", "Host: a@b")},
	{name: "Host beyond ASCII", send: request("GET / HTTP/1.1", "Host: exämple")},
	{name: "Host with a NUL", send: request("GET / HTTP/1.1", "Host: a\x00b")},
	{name: "Host with an escape", send: request("GET / HTTP/1.1", "Host: a%20b")},
	{name: "values in the order sent", send: header("A: 1", "B: 2", "a: 3", "A: 4")},
	{name: "names are canonical", send: header("x-REQUEST-id: 1", "ETAG: 2", "www-authenticate: 3", "hOsT2: 4")},
	{name: "names that cannot be canonical", send: header("x_y: 1", "a.b: 2", "!#$: 3", "9a: 4")},
	{name: "an empty value", send: header("A:", "B: ", "C:\t")},
	{name: "no space after the colon", send: header("A:b", "B::c")},
	{name: "space around a value", send: header("A:  \t b c\t d \t ")},
	{name: "space before the colon", send: header("A : b")},
	{name: "tab before the colon", send: header("A\t: b")},
	{name: "space in a name", send: header("A B: c")},
	{name: "no colon", send: header("A")},
	{name: "no name", send: header(": b")},
	{name: "a name beyond ASCII", send: header("Ä: b")},
	{name: "a name with brackets", send: header("A[0]: b")},
	{name: "a name with a NUL", send: header("A\x00: b")},
	{name: "a value with a NUL", send: header("A: b\x00c")},
	{name: "a value with a control character", send: header("A: b\x01c")},
	{name: "a value with DEL", send: header("A: b\x7fc")},
	{name: "a value with a bare CR", send: header("A: b\rc: d")},
	{name: "a value of UTF-8", send: header("A: ä你")},
	{name: "a value of Latin 1", send: header("A: \xe4\xff")},
	{name: "a folded line", send: header("A: b", " c", "\td", "E: f")},
	{name: "a folded first line", send: "GET / HTTP/1.1\r\n Host: x\r\nHost: x\r\n\r\n"},
	{name: "a folded Host", send: "GET / HTTP/1.1\r\nHost:\r\n x\r\n\r\n"},
	{name: "a folded name", send: "GET / HTTP/1.1\r\nHost: x\r\nA\r\n : b\r\n\r\n"},
	{name: "two cookies in one line and one in another", send: header("Cookie: a=1; b=2", "Cookie: c=3"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.sawf("%q %v", r.Header["Cookie"], r.Cookies())
	}},
	{name: "cookies that are none", send: header(`Cookie: a="q"; =b; c; d=e f; g=h,i; j=k"l`), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.sawf("%q %v", r.Header["Cookie"], r.Cookies())
	}},
	{name: "basic authorization, agent and referrer", send: header("Authorization: Basic YTpiOmM=", "User-Agent: me/1", "Referer: /b"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		u, p, ok := r.BasicAuth()
		x.sawf("%q %q %v %q %q", u, p, ok, r.UserAgent(), r.Referer())
	}},
	{name: "Connection: close", send: header("Connection: close")},
	{name: "Connection with a list", send: header("Connection: foo, Close")},
	{name: "Connection: upgrade", send: header("Connection: Upgrade", "Upgrade: websocket")},
	{name: "Keep-Alive and Proxy-Connection", send: header("Keep-Alive: timeout=5", "Proxy-Connection: keep-alive")},
	{name: "Pragma: no-cache", send: header("Pragma: no-cache")},
	{name: "TE and Trailer without a body", send: header("TE: trailers", "Trailer: A")},
	{name: "Content-Type twice", send: header("Content-Type: a/b", "Content-Type: c/d")},
	{name: "Range, Accept and Accept-Encoding", send: header("Range: bytes=0-1", "Accept: */*", "Accept-Encoding: gzip, br")},
	{name: "Date and Server of a client", send: header("Date: yesterday", "Server: me")},
	{name: "500 lines", send: header(slices.Repeat([]string{"A: b"}, 500)...)},
	{name: "a value of 64 kB", send: header("A: " + strings.Repeat("b", 64<<10))},
	{name: "a value of 500 kB", send: header("A: " + strings.Repeat("b", 500<<10))},
	{name: "a header over 1 MB", script: func(_ *run, c *conn) {
		c.send(header("A: " + strings.Repeat("b", 1<<20+8<<10)))
		c.rest()
	}},
	{name: "a header over MaxHeaderBytes", server: func(_ *run, s *http.Server) { s.MaxHeaderBytes = 1000 }, script: func(_ *run, c *conn) {
		c.send(header("A: " + strings.Repeat("b", 10_000)))
		c.rest()
	}},
	{name: "a header within MaxHeaderBytes", send: header("A: " + strings.Repeat("b", 600)), server: func(_ *run, s *http.Server) { s.MaxHeaderBytes = 1000 }},
	{name: "a second header is measured by itself", send: strings.Repeat(header("A: "+strings.Repeat("b", 3000)), 3), server: func(_ *run, s *http.Server) { s.MaxHeaderBytes = 1000 }},
}

// unread leaves the body alone.
func unread(x *run, w http.ResponseWriter, r *http.Request) {
	x.sawf("%d", r.ContentLength)
	_, _ = io.WriteString(w, "unread\n")
}

var framing = []behaviour{
	{name: "Content-Length", send: post("abc", "Content-Length: 3")},
	{name: "Content-Length: 0", send: post("", "Content-Length: 0")},
	{name: "neither", send: post("")},
	{name: "an empty Content-Length", send: post("", "Content-Length:")},
	{name: "a negative Content-Length", send: post("", "Content-Length: -1")},
	{name: "Content-Length: +3", send: post("abc", "Content-Length: +3")},
	{name: "Content-Length: 003", send: post("abc", "Content-Length: 003")},
	{name: "Content-Length in hexadecimal", send: post("abc", "Content-Length: 0x3")},
	{name: "Content-Length with space around", send: post("abc", "Content-Length: \t 3 \t")},
	{name: "Content-Length with a space within", send: post("abc", "Content-Length: 1 2")},
	{name: "Content-Length that is no number", send: post("abc", "Content-Length: three")},
	{name: "Content-Length with an underscore", send: post("abc", "Content-Length: 1_0")},
	{name: "Content-Length with a fraction", send: post("abc", "Content-Length: 3.0")},
	{name: "Content-Length beyond 64 bits", send: post("abc", "Content-Length: 99999999999999999999")},
	{name: "a list of equal Content-Lengths", send: post("abc", "Content-Length: 3, 3")},
	{name: "two equal Content-Lengths", send: post("abc", "Content-Length: 3", "Content-Length: 3")},
	{name: "two different Content-Lengths", send: post("abc", "Content-Length: 3", "Content-Length: 4")},
	{name: "GET with a body", send: request("GET / HTTP/1.1", "Host: x", "Content-Length: 3", "", "abc")},
	{name: "HEAD with a body", send: request("HEAD / HTTP/1.1", "Host: x", "Content-Length: 3", "", "abc")},
	{name: "DELETE with a body", send: request("DELETE / HTTP/1.1", "Host: x", "Content-Length: 3", "", "abc")},
	{name: "CONNECT with a body", send: request("CONNECT a:1 HTTP/1.1", "Host: a:1", "Content-Length: 3", "", "abc")},
	{name: "GET with a body that looks like a request", send: request("GET / HTTP/1.1", "Host: x", "Content-Length: 33", "", "GET /smuggled HTTP/1.1\r\nHost: y\r\n\r\n"[:33])},
	{name: "HTTP/1.0 with Content-Length", send: request("POST / HTTP/1.0", "Content-Length: 3", "", "abc")},
	{name: "chunks", send: chunked("3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")},
	{name: "no chunk but the last", send: chunked("0\r\n\r\n")},
	{name: "GET with chunks", send: request("GET / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", "", "3\r\nabc\r\n0\r\n\r\n")},
	{name: "Transfer-Encoding: Chunked", send: post("3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: Chunked")},
	{name: "Transfer-Encoding: identity", send: post("abc", "Transfer-Encoding: identity", "Content-Length: 3")},
	{name: "Transfer-Encoding: gzip, chunked", send: post("3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: gzip, chunked")},
	{name: "Transfer-Encoding: chunked, identity", send: post("3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked, identity")},
	{name: "Transfer-Encoding: chunked, chunked", send: post("3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked, chunked")},
	{name: "Transfer-Encoding: xchunked", send: post("3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: xchunked")},
	{name: "Transfer-Encoding twice", send: post("3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked")},
	{name: "Transfer-Encoding and another", send: post("3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked", "Transfer-Encoding: identity")},
	{name: "an empty Transfer-Encoding", send: post("abc", "Transfer-Encoding:", "Content-Length: 3")},
	{name: "Transfer-Encoding with a vertical tab", send: post("3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: \x0bchunked")},
	{name: "Transfer-Encoding with a parameter", send: post("3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked;a=b")},
	{name: "Transfer-Encoding in quotes", send: post("3\r\nabc\r\n0\r\n\r\n", `Transfer-Encoding: "chunked"`)},
	{name: "Transfer-Encoding with a space before the colon", send: post("3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding : chunked")},
	{name: "Transfer-Encoding folded", send: post("3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding:\r\n chunked")},
	{name: "Transfer-Encoding in HTTP/1.0", send: request("POST / HTTP/1.0", "Host: x", "Transfer-Encoding: chunked", "", "3\r\nabc\r\n0\r\n\r\n")},
	{name: "both, Content-Length first", send: post("3\r\nabc\r\n0\r\n\r\n", "Content-Length: 3", "Transfer-Encoding: chunked")},
	{name: "both, Transfer-Encoding first", send: post("3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked", "Content-Length: 3")},
	{name: "both, and Content-Length is no number", send: post("3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked", "Content-Length: a")},
	{name: "chunk sizes in either case and with zeros", send: chunked("a\r\n0123456789\r\n00B\r\n01234567890\r\n0\r\n\r\n")},
	{name: "chunk extensions", send: chunked("3;a=b;c=\"d;e\"\r\nabc\r\n0;f\r\n\r\n")},
	{name: "a chunk extension of 10 kB", send: chunked("3;" + strings.Repeat("a", 10_000) + "\r\nabc\r\n0\r\n\r\n")},
	{name: "many chunk extensions", send: chunked(strings.Repeat("1;"+strings.Repeat("a", 500)+"\r\nx\r\n", 100) + "0\r\n\r\n")},
	{name: "a chunk extension with a bare LF", send: chunked("3;a\nabc\r\n0\r\n\r\n")},
	{name: "a chunk size that ends in LF", send: chunked("3\nabc\r\n0\r\n\r\n")},
	{name: "a chunk that ends in LF", send: chunked("3\r\nabc\n0\r\n\r\n")},
	{name: "a last chunk that ends in LF", send: chunked("3\r\nabc\r\n0\n\n")},
	{name: "a chunk size with space after it", send: chunked("3 \t\r\nabc\r\n0\r\n\r\n")},
	{name: "a chunk size with space before it", send: chunked(" 3\r\nabc\r\n0\r\n\r\n")},
	{name: "an empty chunk size", send: chunked("\r\nabc\r\n0\r\n\r\n")},
	{name: "a negative chunk size", send: chunked("-3\r\nabc\r\n0\r\n\r\n")},
	{name: "a chunk size with 0x", send: chunked("0x3\r\nabc\r\n0\r\n\r\n")},
	{name: "a chunk size that is none", send: chunked("xyz\r\nabc\r\n0\r\n\r\n")},
	{name: "a chunk size beyond 64 bits", send: chunked("11111111111111111\r\nabc\r\n0\r\n\r\n")},
	{name: "a chunk longer than its size", send: chunked("3\r\nabcd\r\n0\r\n\r\n")},
	{name: "a chunk that does not end", send: chunked("3\r\nabc0\r\n\r\n")},
	{name: "a declared trailer", send: post("3\r\nabc\r\n0\r\nA: 1\r\nb: 2\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: A, B")},
	{name: "a trailer in two lines of Trailer", send: post("3\r\nabc\r\n0\r\nA: 1\r\nB: 2\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: A", "Trailer: B")},
	{name: "a declared trailer that does not come", send: post("3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: A")},
	{name: "a trailer that was not declared", send: chunked("3\r\nabc\r\n0\r\nA: 1\r\n\r\n")},
	{name: "a trailer with two values", send: post("0\r\nA: 1\r\nA: 2\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: A")},
	{name: "a trailer that may not be one", send: post("0\r\nContent-Length: 3\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: Content-Length")},
	{name: "a trailer that may not be one, undeclared", send: chunked("0\r\nTransfer-Encoding: chunked\r\nHost: y\r\n\r\n")},
	{name: "a malformed trailer", send: chunked("0\r\nA\r\n\r\n")},
	{name: "a trailer with Content-Length", send: post("abc", "Content-Length: 3", "Trailer: A")},
	{name: "a trailer of 8 kB", send: post("0\r\nA: "+strings.Repeat("b", 8<<10)+"\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: A")},
	{name: "Content-Length and half a body", script: truncated(post("abc", "Content-Length: 10"))},
	{name: "chunks without the last", script: truncated(chunked("3\r\nabc\r\n"))},
	{name: "half a chunk", script: truncated(chunked("a\r\nabc"))},
	{name: "a last chunk without its end", script: truncated(chunked("3\r\nabc\r\n0\r\n"))},
	{name: "a body of 1 MB", send: post(strings.Repeat("0123456789abcdef", 1<<16), "Content-Length: 1048576")},
	{name: "a chunk of 1 MB", send: chunked("100000\r\n" + strings.Repeat("0123456789abcdef", 1<<16) + "\r\n0\r\n\r\n")},
	{name: "10,000 chunks of a byte", send: chunked(strings.Repeat("1\r\nx\r\n", 10_000) + "0\r\n\r\n")},
	{name: "a small body that is not read", send: post("abc", "Content-Length: 3"), serve: unread},
	{name: "chunks that are not read", send: chunked("3\r\nabc\r\n0\r\n\r\n"), serve: unread},
	{name: "malformed chunks that are not read", send: chunked("xyz\r\n0\r\n\r\n"), serve: unread},
	{name: "a body of 200 kB that is not read", send: post(strings.Repeat("a", 200_000), "Content-Length: 200000"), serve: unread},
	{name: "a body of 300 kB that is not read", send: post(strings.Repeat("a", 300_000), "Content-Length: 300000"), serve: unread},
	{name: "a body of 10 MB that is not read, and still on its way", script: func(_ *run, c *conn) {
		sent := make(chan struct{})
		go func() { defer close(sent); c.write(post(strings.Repeat("a", 10<<20), "Content-Length: 10485760")) }()
		c.rest()
		_ = c.Close()
		<-sent
	}, serve: unread, plain: true},
	{name: "a body that is read when its handler has returned is closed", script: func(x *run, c *conn) {
		c.send(post("abc", "Content-Length: 3"))
		c.response("POST")
		x.signal("returned")
		x.wait("read")
	}, serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		go func() {
			x.wait("returned")
			dumpBody(x, r)
			x.signal("read")
		}()
	}},
	{name: "a body that is read in part", send: post(strings.Repeat("a", 10_000), "Content-Length: 10000"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		n, err := io.ReadFull(r.Body, make([]byte, 10))
		x.sawf("%d %v", n, err)
		_, _ = io.WriteString(w, "part\n")
	}},
	{name: "a body that is closed is not read", send: post("abc", "Content-Length: 3"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		err := r.Body.Close()
		n, err2 := r.Body.Read(make([]byte, 10))
		x.sawf("%v %d %v", err, n, err2)
	}},
	{name: "a body is read after its end", send: post("abc", "Content-Length: 3"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		dumpBody(x, r)
		n, err := r.Body.Read(make([]byte, 10))
		x.sawf("%d %v", n, err)
	}},
	{name: "no body is NoBody", send: target("/"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.sawf("%v %v", r.Body == http.NoBody, r.GetBody == nil)
	}},
	{name: "a body is read after a response of 10 kB", send: post("abc", "Content-Length: 3"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(make([]byte, 10_000))
		dumpBody(x, r)
	}},
	{name: "Expect, and the body is read", script: expect()},
	{name: "Expect in other case", script: func(_ *run, c *conn) {
		c.send(post("", "Content-Length: 3", "Expect: 100-Continue"))
		c.until("100 Continue\r\n\r\n")
		c.send("abc")
		c.response("POST")
	}},
	{name: "Expect with chunks", script: func(_ *run, c *conn) {
		c.send(chunkedExpect)
		c.until("100 Continue\r\n\r\n")
		c.send("3\r\nabc\r\n0\r\n\r\n")
		c.response("POST")
	}},
	{name: "Expect, and the handler answers at once", script: func(_ *run, c *conn) {
		c.send(post("", "Content-Length: 3", "Expect: 100-continue"))
		c.response("POST")
		c.closeWrite()
		c.rest()
	}, serve: unread},
	{name: "Expect, and the handler refuses", script: func(_ *run, c *conn) {
		c.send(post("", "Content-Length: 3", "Expect: 100-continue"))
		c.response("POST")
		c.closeWrite()
		c.rest()
	}, serve: func(_ *run, w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "too much", http.StatusRequestEntityTooLarge)
	}},
	{name: "Expect, and the handler itself continues", script: func(_ *run, c *conn) {
		c.send(post("", "Content-Length: 3", "Expect: 100-continue"))
		c.until("100 Continue\r\n\r\n")
		c.send("abc")
		c.response("POST")
	}, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusContinue)
		dumpBody(x, r)
	}},
	{name: "Expect, and the body comes unasked", send: post("abc", "Content-Length: 3", "Expect: 100-continue")},
	{name: "Expect, and an unasked body is not read", send: post("abc", "Content-Length: 3", "Expect: 100-continue"), serve: unread},
	{name: "Expect without a body", send: header("Expect: 100-continue")},
	{name: "Expect with Content-Length: 0", send: post("", "Content-Length: 0", "Expect: 100-continue")},
	{name: "Expect in HTTP/1.0", send: request("POST / HTTP/1.0", "Host: x", "Content-Length: 3", "Expect: 100-continue", "", "abc")},
	{name: "Expect of something else", send: header("Expect: a-unicorn")},
	{name: "Expect of a list", send: post("abc", "Content-Length: 3", "Expect: 100-continue, a-unicorn")},
	{name: "an empty Expect", send: header("Expect:")},
	{name: "Expect, and the handler reads after it has answered", script: func(_ *run, c *conn) {
		c.send(post("", "Content-Length: 3", "Expect: 100-continue"))
		c.until("first\n")
		c.closeWrite()
		c.rest()
	}, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first\n")
		_ = http.NewResponseController(w).Flush()
		dumpBody(x, r)
	}},
}

const chunkedExpect = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"

func expect() func(x *run, c *conn) {
	return func(_ *run, c *conn) {
		c.send(post("", "Content-Length: 3", "Expect: 100-continue"))
		c.until("100 Continue\r\n\r\n")
		c.send("abc")
		c.response("POST")
		c.get(lastPath)
	}
}

// form notes what becomes of a form.
func form(x *run, _ http.ResponseWriter, r *http.Request) {
	x.sawf("%v", r.ParseForm())
	x.sawf("%q %q %q", r.Form, r.PostForm, r.URL.Query())
	dumpBody(x, r)
}

// parts notes what becomes of a form with parts, of which up to 1 kB may be in
// memory.
func parts(x *run, _ http.ResponseWriter, r *http.Request) {
	x.sawf("%v", r.ParseMultipartForm(1<<10))
	x.sawf("%q %q", r.Form, r.PostForm)
	if r.MultipartForm == nil {
		return
	}
	x.sawf("%q", r.MultipartForm.Value)
	for name, files := range r.MultipartForm.File {
		for _, f := range files {
			x.sawf("%q %q %q %d", name, f.Filename, f.Header, f.Size)
			file, err := f.Open()
			if err != nil {
				x.sawf("%v", err)
				continue
			}
			h := sha256.New()
			_, err = io.Copy(h, file)
			x.sawf("%x %v", h.Sum(nil), err)
			_ = file.Close()
		}
	}
	_ = r.MultipartForm.RemoveAll()
}

func urlencoded(body string) string {
	return post(body, "Content-Type: application/x-www-form-urlencoded", fmt.Sprintf("Content-Length: %d", len(body)))
}

func multiparted(body string) string {
	return post(body, "Content-Type: multipart/form-data; boundary=B", fmt.Sprintf("Content-Length: %d", len(body)))
}

const twoParts = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n" +
	"--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"../x.txt\"\r\nContent-Type: text/plain\r\n\r\nfile\r\n--B--\r\n"

var forms = []behaviour{
	{name: "of the query", send: target("/?a=1&b=2&a=3&c"), serve: form},
	{name: "of a body", send: urlencoded("a=1&b=%20+&a=3"), serve: form},
	{name: "of both, the body first", send: request("POST /?a=1&b=2 HTTP/1.1", "Host: x", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 7", "", "a=3&c=4"), serve: form},
	{name: "of a PUT", send: request("PUT / HTTP/1.1", "Host: x", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 3", "", "a=1"), serve: form},
	{name: "of a PATCH", send: request("PATCH / HTTP/1.1", "Host: x", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 3", "", "a=1"), serve: form},
	{name: "of a GET's body, which is none", send: request("GET / HTTP/1.1", "Host: x", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 3", "", "a=1"), serve: form},
	{name: "of a DELETE's body, which is none", send: request("DELETE / HTTP/1.1", "Host: x", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 3", "", "a=1"), serve: form},
	{name: "of chunks", send: post("3\r\na=1\r\n4\r\n&b=2\r\n0\r\n\r\n", "Content-Type: application/x-www-form-urlencoded", "Transfer-Encoding: chunked"), serve: form},
	{name: "with a character set", send: post("a=1", "Content-Type: application/x-www-form-urlencoded; charset=utf-8", "Content-Length: 3"), serve: form},
	{name: "with a type in upper case", send: post("a=1", "Content-Type: APPLICATION/X-WWW-FORM-URLENCODED", "Content-Length: 3"), serve: form},
	{name: "without a type", send: post("a=1", "Content-Length: 3"), serve: form},
	{name: "of another type", send: post("a=1", "Content-Type: text/plain", "Content-Length: 3"), serve: form},
	{name: "of a malformed type", send: post("a=1", "Content-Type: ;", "Content-Length: 3"), serve: form},
	{name: "with an invalid escape", send: urlencoded("a=%zz&b=1"), serve: form},
	{name: "with semicolons", send: urlencoded("a=1;b=2&c=3"), serve: form},
	{name: "with semicolons in the query", send: target("/?a=1;b=2&c=3"), serve: form, logs: true},
	{name: "with empty names and values", send: urlencoded("=&a&=b&&c="), serve: form},
	{name: "of nothing", send: urlencoded(""), serve: form},
	{name: "of UTF-8 and NUL", send: urlencoded("ä=ö&a=%00"), serve: form},
	{name: "over 10 MB", send: urlencoded("a=" + strings.Repeat("b", 10<<20)), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		x.sawf("%v", r.ParseForm())
		x.sawf("%d", len(r.Form.Get("a")))
	}},
	{name: "FormValue and PostFormValue", send: request("POST /?a=1&b=2 HTTP/1.1", "Host: x", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 3", "", "a=3"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.sawf("%q %q %q %q", r.FormValue("a"), r.FormValue("b"), r.PostFormValue("a"), r.PostFormValue("b"))
	}},
	{name: "parts: a value and a file", send: multiparted(twoParts), serve: parts},
	{name: "parts: chunked", send: post(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(twoParts), twoParts), "Content-Type: multipart/form-data; boundary=B", "Transfer-Encoding: chunked"), serve: parts},
	{name: "parts: a file beyond memory", send: multiparted("--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\n" + strings.Repeat("0123456789", 2000) + "\r\n--B--\r\n"), serve: parts},
	{name: "parts: a preamble and an epilogue", send: multiparted("preamble\r\n" + twoParts + "epilogue"), serve: parts},
	{name: "parts: none", send: multiparted("--B--\r\n"), serve: parts},
	{name: "parts: without the end", send: multiparted(twoParts[:len(twoParts)-6]), serve: parts},
	{name: "parts: nothing at all", send: multiparted(""), serve: parts},
	{name: "parts: without a boundary", send: post("abc", "Content-Type: multipart/form-data", "Content-Length: 3"), serve: parts},
	{name: "parts: multipart/mixed", send: post(twoParts, "Content-Type: multipart/mixed; boundary=B", fmt.Sprintf("Content-Length: %d", len(twoParts))), serve: parts},
	{name: "parts: another type", send: urlencoded("a=1"), serve: parts},
	{name: "parts: a malformed header", send: multiparted("--B\r\nnonsense\r\n\r\n1\r\n--B--\r\n"), serve: parts},
	{name: "parts: equal names", send: multiparted(strings.Repeat("--B\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n", 3) + "--B--\r\n"), serve: parts},
	{name: "parts: FormFile", send: multiparted(twoParts), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		_, h, err := r.FormFile("f")
		x.sawf("%v %v", h != nil && h.Filename == "x.txt", err)
		_, _, err = r.FormFile("g")
		x.sawf("%v %v", err, errors.Is(err, http.ErrMissingFile))
	}},
	{name: "parts: one by one", send: multiparted(twoParts), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		mr, err := r.MultipartReader()
		for err == nil {
			var p *multipart.Part
			if p, err = mr.NextPart(); err == nil {
				b, rerr := io.ReadAll(p)
				x.sawf("%q %q %q %v", p.FormName(), p.FileName(), b, rerr)
			}
		}
		x.sawf("%v; %v", err, r.ParseMultipartForm(1))
	}},
}
