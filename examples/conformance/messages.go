package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// closing is a GET that says Connection: close.
func closing() string { return header("Connection: close") }

// sized is a header whose lines, with those of target, are of n bytes.
func sized(n int) string {
	const without = "GET / HTTP/1.1\r\nHost: x\r\nA: \r\n\r\n"
	return request("GET / HTTP/1.1", "Host: x", "A: "+strings.Repeat("b", n-len(without)))
}

func atMost(n int) func(*run, *http.Server) {
	return func(_ *run, s *http.Server) { s.MaxHeaderBytes = n }
}

// refused is what a server that refuses a header answers, which is read before more is sent.
func refused(text string) func(x *run, c *conn) {
	return func(_ *run, c *conn) {
		c.send(text)
		c.rest()
	}
}

// readPart reads n bytes of a body, and leaves the rest.
func readPart(n int) func(x *run, w http.ResponseWriter, r *http.Request) {
	return func(x *run, w http.ResponseWriter, r *http.Request) {
		b := make([]byte, n)
		got, err := io.ReadFull(r.Body, b)
		x.sawf("%d %v", got, err)
		_, _ = io.WriteString(w, "read\n")
	}
}

// messages are further requests and responses.
var messages = []behaviour{
	{name: "a header of MaxHeaderBytes", send: sized(2000), server: atMost(2000)},
	{name: "a header of MaxHeaderBytes and the slack", send: sized(2000 + 4096 - 1), server: atMost(2000)},
	{name: "a header of MaxHeaderBytes and all the slack", send: sized(2000 + 4096), server: atMost(2000)},
	{name: "a header of three bytes more", script: refused(sized(2000 + 4096 + 3)), server: atMost(2000)},
	{name: "a header that is larger than a buffer of 4 kB, at its end", send: sized(4096) + sized(4097) + sized(4095)},
	{name: "MaxHeaderBytes: 1", send: target("/"), server: atMost(1)},
	{name: "MaxHeaderBytes below zero", send: sized(5000), server: atMost(-1)},
	{name: "a header over MaxHeaderBytes after one within it", server: atMost(1000), script: func(_ *run, c *conn) {
		c.get("/a")
		c.send(sized(20_000))
		c.rest()
	}},
	{name: "a header over MaxHeaderBytes on a later request's pipeline", server: atMost(1000), script: refused(target("/a") + target("/b") + sized(20_000))},
	{name: "2,000 names", send: header(func() (lines []string) {
		for i := range 2000 {
			lines = append(lines, fmt.Sprintf("N%d: v", i))
		}
		return lines
	}()...)},
	{name: "Content-Length of 2^63-1", script: refused(post("", "Content-Length: 9223372036854775807", "Connection: close")), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		x.sawf("%d", r.ContentLength)
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}},
	{name: "Content-Length of 2^63", script: refused(post("", "Content-Length: 9223372036854775808"))},
	{name: "Content-Length in two lines, one empty", send: post("abc", "Content-Length: 3", "Content-Length:")},
	{name: "Content-Length with a comma at its end", send: post("abc", "Content-Length: 3,")},
	{name: "Content-Length with a NUL", send: post("abc", "Content-Length: 3\x00")},
	{name: "Content-Length after a blank", send: post("abc", "Content-Length:\x0b3")},
	{name: "Content-Length of full-width digits", send: post("abc", "Content-Length: ３")},
	{name: "GET with Content-Length: 0", send: header("Content-Length: 0")},
	{name: "GET with a body that is not read", send: request("GET / HTTP/1.1", "Host: x", "Content-Length: 3", "", "abc"), serve: unread},
	{name: "PUT without a body", send: line("PUT / HTTP/1.1")},
	{name: "OPTIONS with a body", send: request("OPTIONS /a HTTP/1.1", "Host: x", "Content-Length: 3", "", "abc")},
	{name: "TRACE with a body", send: request("TRACE /a HTTP/1.1", "Host: x", "Content-Length: 3", "", "abc")},
	{name: "a body in HTTP/1.0 without a length", script: func(_ *run, c *conn) {
		c.send(request("POST / HTTP/1.0", "Host: x", "", "abc"))
		c.closeWrite()
		c.rest()
	}},
	{name: "a body in HTTP/1.0, kept alive", send: request("POST / HTTP/1.0", "Host: x", "Connection: keep-alive", "Content-Length: 3", "", "abc") + target("/after")},
	{name: "a chunk size of 16 digits", send: chunked("0000000000000003\r\nabc\r\n0\r\n\r\n")},
	{name: "a chunk size of 17 digits", send: chunked("00000000000000003\r\nabc\r\n0\r\n\r\n")},
	{name: "a chunk size with a plus", send: chunked("+3\r\nabc\r\n0\r\n\r\n")},
	{name: "a chunk size with an underscore", send: chunked("1_0\r\n0123456789abcdef\r\n0\r\n\r\n")},
	{name: "a chunk extension in quotes with a line break", send: chunked("3;a=\"b\r\n\"\r\nabc\r\n0\r\n\r\n")},
	{name: "a chunk extension after space", send: chunked("3 ; a=b\r\nabc\r\n0\r\n\r\n")},
	{name: "a chunk size with a CR after it", send: chunked("3\r\r\nabc\r\n0\r\n\r\n")},
	{name: "a chunk size line of 5 kB", send: chunked("3;" + strings.Repeat("x", 5000) + "\r\nabc\r\n0\r\n\r\n")},
	{name: "a last chunk of many zeros", send: chunked("3\r\nabc\r\n00000\r\n\r\n")},
	{name: "a last chunk with an extension", send: chunked("3\r\nabc\r\n0;a=b\r\nT: 1\r\n\r\n")},
	{name: "a trailer with a folded line", send: post("0\r\nA: 1\r\n 2\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: A")},
	{name: "a trailer with a space before the colon", send: post("0\r\nA : 1\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: A")},
	{name: "a trailer of 100 kB", send: post("0\r\nA: "+strings.Repeat("b", 100<<10)+"\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: A")},
	{name: "Trailer of chunks: Transfer-Encoding", send: post("0\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: Transfer-Encoding")},
	{name: "Trailer of chunks: Trailer", send: post("0\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: Trailer")},
	{name: "Trailer of chunks: names that are none", send: post("0\r\nA: 1\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: A B, , c")},
	{name: "a trailer is there when the body is at its end, not before", send: post("3\r\nabc\r\n0\r\nA: 1\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: A"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.sawf("%q", r.Trailer)
		b := make([]byte, 1)
		_, err := io.ReadFull(r.Body, b)
		x.sawf("%v %q", err, r.Trailer)
		_, err = io.ReadAll(r.Body)
		x.sawf("%v %q", err, r.Trailer)
	}},
	{name: "a trailer of a body that is closed is not read", send: post("3\r\nabc\r\n0\r\nA: 1\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: A"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.sawf("%v %q", r.Body.Close(), r.Trailer)
		_, err := r.Body.Read(make([]byte, 1))
		x.sawf("%v %v %q", err, errors.Is(err, http.ErrBodyReadAfterClose), r.Trailer)
	}},
	{name: "a trailer that was not declared, of a body that is closed", send: post("3\r\nabc\r\n0\r\nA: 1\r\n\r\n", "Transfer-Encoding: chunked"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.sawf("%v %q", r.Body.Close(), r.Trailer)
	}},
	{name: "a trailer that was not declared, of a body that is behind a hijack", send: post("3\r\nabc\r\n0\r\nA: 1\r\n\r\n", "Transfer-Encoding: chunked"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "ok")
		nc, _, err := http.NewResponseController(w).Hijack() // which sends that, for which the body is read
		x.sawf("%v %q", err, r.Trailer)
		if err == nil {
			_ = nc.Close()
		}
	}},
	{name: "a body that is closed twice", send: post("abc", "Content-Length: 3") + target("/after"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.sawf("%v %v", r.Body.Close(), r.Body.Close())
	}},
	{name: "a body of which a part is read, then closed", send: post(strings.Repeat("a", 9000), "Content-Length: 9000") + target("/after"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		n, err := r.Body.Read(make([]byte, 1))
		x.sawf("%d %v, %v", n, err, r.Body.Close())
	}},
	{name: "a body of 256 kB that is not read", send: post(strings.Repeat("a", 256<<10), fmt.Sprintf("Content-Length: %d", 256<<10)), serve: unread},
	{name: "a body of 256 kB and a byte that is not read", send: post(strings.Repeat("a", 256<<10+1), fmt.Sprintf("Content-Length: %d", 256<<10+1)), serve: unread},
	{name: "a body of 256 kB and a byte of which one is read", send: post(strings.Repeat("a", 256<<10+1), fmt.Sprintf("Content-Length: %d", 256<<10+1)), serve: readPart(1)},
	{name: "a body of 256 kB and a byte of which two are read", send: post(strings.Repeat("a", 256<<10+1), fmt.Sprintf("Content-Length: %d", 256<<10+1)), serve: readPart(2)},
	{name: "chunks of 300 kB that are not read", send: chunked(strings.Repeat("2710\r\n"+strings.Repeat("a", 10_000)+"\r\n", 30) + "0\r\n\r\n"), serve: unread},
	{name: "chunks of which a part is read", send: chunked(strings.Repeat("3\r\nabc\r\n", 100) + "0\r\nT: u\r\n\r\n"), serve: readPart(4)},
	{name: "a read of nothing", send: post("abc", "Content-Length: 3"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		n, err := r.Body.Read(nil)
		x.sawf("%d %v", n, err)
		dumpBody(x, r)
	}},
	{name: "the last read brings the end", send: post("abc", "Content-Length: 3"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		n, err := io.ReadAtLeast(r.Body, make([]byte, 10), 3)
		x.sawf("%d %v", n, err)
		n, err = r.Body.Read(make([]byte, 10))
		x.sawf("%d %v", n, err)
	}},
	{name: "Expect, and a version that is not the connection's", send: request("PRI * HTTP/2.0", "Host: x", "Expect: 100-continue", "Content-Length: 1", "", "a")},
	{name: "a body is a WriterTo or not", send: post("abc", "Content-Length: 3"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		_, is := r.Body.(io.WriterTo)
		x.sawf("%v", is)
		var b bytes.Buffer
		n, err := io.Copy(&b, r.Body)
		x.sawf("%d %v %q", n, err, b.String())
	}},
	{name: "GetBody is nil, and Response too", send: post("abc", "Content-Length: 3"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.sawf("%v %v %v %v %q", r.GetBody == nil, r.Response == nil, r.Cancel == nil, r.Form == nil, r.Pattern) //nolint:staticcheck // as a server leaves it
	}},
	{name: "a body that is replaced is not the server's to close", send: post("abc", "Content-Length: 3") + target("/after"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		r.Body = io.NopCloser(strings.NewReader("another"))
		dumpBody(x, r)
	}},
	{name: "a request's fields may be changed", send: post("abc", "Content-Length: 3", "Connection: close"), serve: func(_ *run, _ http.ResponseWriter, r *http.Request) {
		r.Header = nil
		r.URL = nil
		r.Method = ""
		r.Close = false
		r.ContentLength = -1
		r.ProtoMinor = 0
	}},
	{name: "Expect, which the handler removes", send: post("abc", "Content-Length: 3", "Expect: 100-continue"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		r.Header.Del("Expect")
		dumpBody(x, r)
	}},
	{name: "Expect, and a flush before the body is read", script: func(_ *run, c *conn) {
		c.send(post("", "Content-Length: 3", "Expect: 100-continue"))
		c.until("first\n\r\n")
		c.send("abc")
		c.rest()
	}, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first\n")
		flush(x, w)
		dumpBody(x, r)
	}},
	{name: "Expect, and a read of nothing", script: func(_ *run, c *conn) {
		c.send(post("", "Content-Length: 3", "Expect: 100-continue"))
		c.until("100 Continue\r\n\r\n")
		c.send("abc")
		c.response("POST")
	}, serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		n, err := r.Body.Read(nil)
		x.sawf("%d %v", n, err)
		dumpBody(x, r)
	}},
	{name: "Expect twice", send: post("abc", "Content-Length: 3", "Expect: 100-continue", "Expect: 100-continue")},
	{name: "Expect, closed and not read", send: post("abc", "Content-Length: 3", "Expect: 100-continue"), serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.sawf("%v", r.Body.Close())
	}},
	{name: "Expect, and the handler hijacks", script: func(_ *run, c *conn) {
		c.send(post("", "Content-Length: 3", "Expect: 100-continue"))
		c.rest()
	}, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			x.sawf("%v", err)
			return
		}
		_, _ = io.WriteString(c, "mine")
		_ = c.Close()
	}},
	{name: "Expect, and a panic", send: post("", "Content-Length: 3", "Expect: 100-continue"), logs: true, serve: func(*run, http.ResponseWriter, *http.Request) { panic("boom") }},
	{name: "Expect, and 100 twice", script: func(_ *run, c *conn) {
		c.send(post("", "Content-Length: 3", "Expect: 100-continue"))
		c.until("100 Continue\r\n\r\n")
		c.send("abc")
		c.response("POST")
	}, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusContinue)
		w.WriteHeader(http.StatusContinue)
		dumpBody(x, r)
	}},
	{name: "Expect, and 103 before the body is read", script: func(_ *run, c *conn) {
		c.send(post("", "Content-Length: 3", "Expect: 100-continue"))
		c.until("100 Continue\r\n\r\n")
		c.send("abc")
		c.response("POST")
	}, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		dumpBody(x, r)
	}},
	{name: "Expect, and 304", send: post("", "Content-Length: 3", "Expect: 100-continue"), serve: func(_ *run, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }},
	{name: "Expect, and a client that goes", serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		x.sawf("%v", err)
	}, script: func(_ *run, c *conn) {
		c.send(post("", "Content-Length: 3", "Expect: 100-continue"))
		c.until("100 Continue\r\n\r\n")
		c.closeWrite()
		c.rest()
	}},

	{name: "Connection: close, keep-alive", send: header("Connection: close, keep-alive") + target("/after")},
	{name: "Connection in two lines", send: header("Connection: foo", "Connection: close") + target("/after")},
	{name: "Connection: closed", send: header("Connection: closed") + target("/after")},
	{name: "Connection: close;q=1", send: header("Connection: close;q=1") + target("/after")},
	{name: "Connection with empty tokens", send: header("Connection: ,, close ,") + target("/after")},
	{name: "Connection: keep-alive of HTTP/1.1", send: header("Connection: keep-alive") + target("/after")},
	{name: "an upgrade to h2c that is not taken", send: header("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__") + target("/after")},
	{name: "an upgrade with a body", send: post("abc", "Content-Length: 3", "Connection: Upgrade", "Upgrade: x") + target("/after"), serve: dumpFraming},
	{name: "Host in upper case and a dot at its end", send: request("GET / HTTP/1.1", "Host: EXAMPLE.com.:80")},
	{name: "Host with user and password", send: request("GET / HTTP/1.1", "Host: u:p@x")},
	{name: "Host with a query", send: request("GET / HTTP/1.1", "Host: x?a")},
	{name: "Host of quotes", send: request("GET / HTTP/1.1", `Host: "x"`)},
	{name: "Host: a port alone", send: request("GET / HTTP/1.1", "Host: :80")},
	{name: "Host of an unfinished bracket", send: request("GET / HTTP/1.1", "Host: [::1")},
	{name: "Host of 5 kB", send: request("GET / HTTP/1.1", "Host: "+strings.Repeat("x", 5000))},
	{name: "a second Host, empty", send: header("Host:")},
	{name: "an absolute form and another Host", send: request("GET http://a/b HTTP/1.1", "Host: c"), serve: dumpTarget},
	{name: "an absolute form and an empty Host", send: request("GET http://a/b HTTP/1.1", "Host:"), serve: dumpTarget},
	{name: "an absolute form with a fragment", send: target("http://a/b#c"), serve: dumpTarget},
	{name: "an absolute form of OPTIONS", send: line("OPTIONS http://a HTTP/1.1"), serve: dumpTarget},
	{name: "an absolute form with a port of many digits", send: target("http://a:999999/b"), serve: dumpTarget},
	{name: "an absolute form with a zone", send: target("http://[fe80::1%25en0]/b"), serve: dumpTarget},
	{name: "an absolute form with an escaped host", send: target("http://a%20b/"), serve: dumpTarget},
	{name: "a path with an escape in its scheme", send: target("ht%74p://a/b"), serve: dumpTarget},
	{name: "a target with a colon at its begin", send: target(":a"), serve: dumpTarget},
	{name: "a target of a fragment alone", send: target("#a"), serve: dumpTarget},
	{name: "a query with a space", send: target("/a?b c"), serve: dumpTarget},
	{name: "a query with a slash, a colon and an at sign", send: target("/a?b/c:d@e"), serve: dumpTarget},
	{name: "a path with all sub-delimiters escaped", send: target("/%21%24%26%27%28%29%2A%2B%2C%3B%3D%3A%40"), serve: dumpTarget},
	{name: "CONNECT with a path in the authority", send: request("CONNECT a:1/b HTTP/1.1", "Host: a"), serve: dumpTarget},
	{name: "CONNECT and a body of chunks", send: request("CONNECT a:1 HTTP/1.1", "Host: a:1", "Transfer-Encoding: chunked", "", "3\r\nabc\r\n0\r\n\r\n"), serve: dumpFraming},
	{name: "OPTIONS * with another method", send: line("GET * HTTP/1.1"), serve: dumpTarget},
	{name: "HEAD of an asterisk", send: line("HEAD * HTTP/1.1"), serve: dumpTarget},
	{name: "a header with a colon in its name's place", send: header("::b")},
	{name: "a header name of all token characters", send: header("!#$%&'*+-.^_`|~09Az: b")},
	{name: "a header name with a slash", send: header("A/B: c")},
	{name: "a header name with an equals sign", send: header("A=B: c")},
	{name: "a value with a form feed", send: header("A: b\x0cc")},
	{name: "a value with a vertical tab at its end", send: header("A: b\x0b")},
	{name: "a value with an escape", send: header("A: \x1b[31m")},
	{name: "a value with a tab within", send: header("A: b\tc")},
	{name: "a CR before the end of a line", send: header("A: b\r")},
	{name: "a folded line that is empty", send: header("A: b", "  ", "C: d")},
	{name: "a folded line after a name of length", send: post("abc", "Content-Length:", " 3"), serve: dumpFraming},
	{name: "only a space for a header", send: "GET / HTTP/1.1\r\nHost: x\r\n \r\n\r\n"},
	{name: "an empty line of LF alone", send: "GET / HTTP/1.1\r\nHost: x\r\n\n"},
	{name: "mixed ends of lines", send: "POST / HTTP/1.1\nHost: x\r\nContent-Length: 3\n\r\nabc" + target("/after"), serve: dumpFraming},

	answer("two names that differ in case", func(w http.ResponseWriter) {
		w.Header()["x-a"] = []string{"1"}
		w.Header()["X-A"] = []string{"2"}
	}),
	answer("content-length in lower case", func(w http.ResponseWriter) {
		w.Header()["content-length"] = []string{"3"}
		_, _ = io.WriteString(w, "abc")
	}),
	answer("content-type in lower case", func(w http.ResponseWriter) {
		w.Header()["content-type"] = []string{"a/b"}
		_, _ = io.WriteString(w, "abc")
	}),
	answer("an empty name", func(w http.ResponseWriter) { w.Header()[""] = []string{"1"}; w.Header()["B"] = []string{"1"} }),
	answer("a name with a line break", func(w http.ResponseWriter) {
		w.Header()["A\r\nB"] = []string{"1"}
		w.Header()["C"] = []string{"1"}
	}),
	answer("a value of a NUL", func(w http.ResponseWriter) { w.Header().Set("A", "b\x00c") }),
	answer("a value that begins with a line break", func(w http.ResponseWriter) { w.Header().Set("A", "\r\n\r\nHTTP/1.1 200 OK") }),
	answer("Content-Length nil", func(w http.ResponseWriter) {
		w.Header()["Content-Length"] = nil
		_, _ = io.WriteString(w, "a")
	}),
	answer("Content-Length empty", func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "")
		_, _ = io.WriteString(w, "a")
	}),
	answer("Content-Length with a plus", func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "+1")
		_, _ = io.WriteString(w, "a")
	}),
	answer("Content-Length with zeros before", func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "0001")
		_, _ = io.WriteString(w, "a")
	}),
	answer("Transfer-Encoding nil", func(w http.ResponseWriter) {
		w.Header()["Transfer-Encoding"] = nil
		_, _ = io.WriteString(w, strings.Repeat("a", 5000))
	}),
	answer("Transfer-Encoding: chunked, set and flushed", func(w http.ResponseWriter) {
		w.Header().Set("Transfer-Encoding", "chunked")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "a")
	}),
	answer("Transfer-Encoding: gzip, and a large body", func(w http.ResponseWriter) {
		w.Header().Set("Transfer-Encoding", "gzip")
		_, _ = io.WriteString(w, strings.Repeat("a", 5000))
	}),
	answer("Connection in two lines of the handler", func(w http.ResponseWriter) { w.Header()["Connection"] = []string{"foo", "close"} }),
	answer("Connection: nil", func(w http.ResponseWriter) { w.Header()["Connection"] = nil }),
	answerTo("Connection: nil to a client that closes", closing(), func(_ *run, w http.ResponseWriter, _ *http.Request) { w.Header()["Connection"] = nil }),
	answerTo("Connection: keep-alive to a client that closes", closing(), func(_ *run, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "keep-alive")
	}),
	answerTo("Connection: foo to a client that closes", closing(), func(_ *run, w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "foo") }),
	answerTo("Connection: close to HTTP/1.0, kept alive", request("GET / HTTP/1.0", "Connection: keep-alive"), func(_ *run, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
	}),
	answer("Connection: close set after the status", func(w http.ResponseWriter) {
		w.WriteHeader(200)
		w.Header().Set("Connection", "close")
	}),
	answer("Date of two values", func(w http.ResponseWriter) { w.Header()["Date"] = []string{"a", "b"} }),
	answer("an empty Date", func(w http.ResponseWriter) { w.Header().Set("Date", "") }),
	answer("date in lower case", func(w http.ResponseWriter) { w.Header()["date"] = []string{"x"} }),
	answer("X-Content-Type-Options leaves sniffing", func(w http.ResponseWriter) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = io.WriteString(w, "<html>")
	}),
	answer("an empty Content-Encoding leaves sniffing", func(w http.ResponseWriter) {
		w.Header().Set("Content-Encoding", "")
		_, _ = io.WriteString(w, "<html>")
	}),
	answer("an empty write, then one", func(w http.ResponseWriter) {
		_, _ = w.Write(nil)
		_, _ = io.WriteString(w, "<html>")
	}),
	answer("a flush, then a write of HTML", func(w http.ResponseWriter) {
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "<html>")
	}),
	answer("sniffing of a body that came by ReadFrom", func(w http.ResponseWriter) {
		_, _ = io.Copy(w, struct{ io.Reader }{strings.NewReader("<html>" + strings.Repeat("a", 1000))})
	}),
	answer("sniffing of gzip, GIF and PDF: GIF", func(w http.ResponseWriter) { _, _ = io.WriteString(w, "GIF89a...") }),
	answer("sniffing of gzip, GIF and PDF: gzip", func(w http.ResponseWriter) { _, _ = io.WriteString(w, "\x1f\x8b\x08...") }),
	answer("sniffing of gzip, GIF and PDF: PDF", func(w http.ResponseWriter) { _, _ = io.WriteString(w, "%PDF-...") }),
	answer("sniffing of UTF-16", func(w http.ResponseWriter) { _, _ = io.WriteString(w, "\xff\xfea\x00") }),
	answer("no sniffing with 404 and a type", func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "a/b; c=d")
		w.WriteHeader(404)
		_, _ = io.WriteString(w, "<html>")
	}),
	code("HEAD with a body over the buffer and no length", "HEAD", 200, strings.Repeat("<html>", 1000)),
	code("HEAD with a wrong Content-Length", "HEAD", 200, "abc", "Content-Length", "100"),
	code("HEAD with Content-Length: 0", "HEAD", 200, "", "Content-Length", "0"),
	code("HEAD with 1 byte and Content-Type", "HEAD", 200, "a", "Content-Type", "x/y"),
	code("HEAD with 206", "HEAD", 206, "abc", "Content-Range", "bytes 0-2/10"),
	code("304 with Transfer-Encoding", "GET", 304, "", "Transfer-Encoding", "chunked"),
	code("204 with Transfer-Encoding", "GET", 204, "", "Transfer-Encoding", "chunked"),
	code("205 with Content-Length", "GET", 205, "", "Content-Length", "0"),
	code("100 and no more", "GET", 100, ""),
	code("199 and a body", "GET", 199, "a"),
	code("a status of 600", "GET", 600, "a"),
	code("a status of 226", "GET", 226, "a"),
	code("418", "GET", 418, ""),
	code("411 with Connection: keep-alive", "POST", 411, "a", "Connection", "keep-alive"),
	code("500 of a POST without a body", "POST", 500, "a"),
	{name: "103 with Content-Length and Transfer-Encoding", send: get11, serve: func(_ *run, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1")
		w.Header().Set("Transfer-Encoding", "chunked")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Transfer-Encoding")
		_, _ = io.WriteString(w, "a")
	}},
	{name: "103 ten times", send: get11, serve: func(_ *run, w http.ResponseWriter, _ *http.Request) {
		for i := range 10 {
			w.Header().Set("Link", fmt.Sprintf("</%d>", i))
			w.WriteHeader(http.StatusEarlyHints)
		}
	}},
	{name: "103 to HEAD, then a panic", send: line("HEAD / HTTP/1.1"), serve: func(_ *run, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		panic(http.ErrAbortHandler)
	}},
	{name: "103 in a pipeline", send: target("/a") + target("/b"), serve: func(_ *run, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", r.URL.Path)
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "a")
	}},
	{name: "103 after a flush", send: get11, logs: true, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		flush(x, w)
		defer func() { x.sawf("%v", recover()) }()
		w.WriteHeader(http.StatusEarlyHints)
	}},
	{name: "a status of 0 panics", send: get11, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		defer func() { x.sawf("%v", recover()) }()
		w.WriteHeader(0)
	}},
	{name: "a status below zero panics", send: get11, logs: true, serve: func(_ *run, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(-1) }},
	trailed("a trailer of the prefix with Content-Length", get11, func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "1")
		_, _ = io.WriteString(w, "a")
		w.Header().Set(http.TrailerPrefix+"A", "1")
	}),
	trailed("a trailer of the prefix set before the header", get11, func(w http.ResponseWriter) {
		w.Header().Set(http.TrailerPrefix+"A", "1")
		_, _ = io.WriteString(w, strings.Repeat("a", 5000))
	}),
	trailed("a trailer of the prefix to 204", get11, func(w http.ResponseWriter) {
		w.WriteHeader(204)
		w.Header().Set(http.TrailerPrefix+"A", "1")
	}),
	trailed("a trailer of the prefix to HEAD", line("HEAD / HTTP/1.1"), func(w http.ResponseWriter) {
		_ = http.NewResponseController(w).Flush()
		w.Header().Set(http.TrailerPrefix+"A", "1")
	}),
	trailed("a trailer of the prefix that may not be one", get11, func(w http.ResponseWriter) {
		_ = http.NewResponseController(w).Flush()
		w.Header().Set(http.TrailerPrefix+"Content-Length", "1")
		w.Header().Set(http.TrailerPrefix+"B", "1")
	}),
	trailed("trailers declared in lower case and in one line", get11, func(w http.ResponseWriter) {
		w.Header().Set("Trailer", "a ,b,, c")
		_, _ = io.WriteString(w, "x")
		w.Header().Set("A", "1")
		w.Header().Set("B", "2")
	}),
	trailed("a trailer declared after the header", get11, func(w http.ResponseWriter) {
		_ = http.NewResponseController(w).Flush()
		w.Header().Set("Trailer", "A")
		w.Header().Set("A", "1")
	}),
	{name: "a trailer and a panic", send: get11, serve: func(_ *run, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "A")
		_, _ = io.WriteString(w, "x")
		_ = http.NewResponseController(w).Flush()
		w.Header().Set("A", "1")
		panic(http.ErrAbortHandler)
	}},
	{name: "the writer is a ReaderFrom, and what it reads is flushed", script: func(x *run, c *conn) {
		c.send(get11)
		c.until("second\r\n")
		x.signal("seen")
		c.until("0\r\n\r\n")
	}, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.Copy(w, strings.NewReader("first"))
		flush(x, w)
		_, _ = io.Copy(w, strings.NewReader("second"))
		flush(x, w)
		x.wait("seen")
	}},
	{name: "ReadFrom of nothing", send: get11, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		n, err := io.Copy(w, strings.NewReader(""))
		x.sawf("%d %v", n, err)
	}},
	{name: "ReadFrom to HEAD", send: line("HEAD / HTTP/1.1"), serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		n, err := io.Copy(w, struct{ io.Reader }{strings.NewReader(strings.Repeat("a", 10_000))})
		x.sawf("%d %v", n, err)
	}},
	{name: "ReadFrom of the request's body", send: post("abc", "Content-Length: 3"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(w, r.Body)
		x.sawf("%d %v", n, err)
	}},
	{name: "ReadFrom of the request's chunks, of 1 MB", send: chunked(strings.Repeat("10000\r\n"+strings.Repeat("x", 1<<16)+"\r\n", 16) + "0\r\n\r\n"), serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1048576")
		n, err := io.Copy(w, r.Body)
		x.sawf("%d %v", n, err)
	}},
	{name: "ReadFrom after a Write and a WriteString after it", send: get11, serve: func(_ *run, w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("1"))
		_, _ = io.Copy(w, struct{ io.Reader }{strings.NewReader(strings.Repeat("2", 3000))})
		_, _ = io.WriteString(w, "3")
	}},
	{name: "ReadFrom with too little of Content-Length", send: get11, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10000")
		n, err := io.Copy(w, struct{ io.Reader }{strings.NewReader(strings.Repeat("2", 3000))})
		x.sawf("%d %v", n, err)
	}},
	{name: "a write when the handler has returned", send: get11, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			return
		}
		go func() {
			<-r.Context().Done()
			x.sawf("%v", r.Context().Err())
			x.signal("ended")
		}()
	}, script: func(x *run, c *conn) {
		c.get("/")
		x.wait("ended")
	}},
	{name: "a writer is another value for each request", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		x.mu.Lock()
		kept := x.kept
		x.kept = r
		x.mu.Unlock()
		x.sawf("%v", kept == r)
		x.sawf("%v", kept != nil && kept.Context() == r.Context())
	}, script: func(_ *run, c *conn) {
		c.get("/a")
		c.get("/b")
	}},
	{name: "a bufio.Writer around the writer", send: get11, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		b := bufio.NewWriterSize(w, 1<<16)
		for range 1000 {
			_, _ = b.WriteString(strings.Repeat("a", 100))
		}
		x.sawf("%v", b.Flush())
	}},
}
