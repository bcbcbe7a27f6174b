package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// answer is a behaviour of a handler that is asked with a GET.
func answer(name string, h func(w http.ResponseWriter)) behaviour {
	return answerTo(name, target("/"), func(_ *run, w http.ResponseWriter, _ *http.Request) { h(w) })
}

func answerTo(name, send string, h func(x *run, w http.ResponseWriter, r *http.Request)) behaviour {
	return behaviour{name: name, send: send, serve: h}
}

// code is an answer with a status, a body and further headers.
func code(name, method string, status int, body string, headers ...string) behaviour {
	return answerTo(name, line(method+" / HTTP/1.1"), func(x *run, w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Add(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		if body != "" {
			n, err := io.WriteString(w, body)
			x.sawf("%d %v", n, err)
		}
	})
}

var responseHeader = []behaviour{
	answer("nothing written", func(http.ResponseWriter) {}),
	answer("an implicit status", func(w http.ResponseWriter) { _, _ = io.WriteString(w, "a") }),
	answer("an implicit status with an empty write", func(w http.ResponseWriter) { _, _ = w.Write(nil) }),
	code("201", "GET", 201, "made"),
	code("404 without a body", "GET", 404, ""),
	code("a status that nobody knows", "GET", 599, "a"),
	code("a status of three nines", "GET", 999, "a"),
	answerTo("a status of two digits panics", target("/"), func(x *run, w http.ResponseWriter, _ *http.Request) {
		defer func() { x.sawf("%v", recover()) }()
		w.WriteHeader(99)
	}),
	answerTo("a status of four digits panics", target("/"), func(x *run, w http.ResponseWriter, _ *http.Request) {
		defer func() { x.sawf("%v", recover()) }()
		w.WriteHeader(1000)
	}),
	{name: "a second status is logged and ignored", send: target("/"), logs: true, serve: func(_ *run, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(201)
		w.WriteHeader(500)
	}},
	{name: "a status after a write is logged and ignored", send: target("/"), logs: true, serve: func(_ *run, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "a")
		w.WriteHeader(500)
	}},
	answer("headers after the status do not count", func(w http.ResponseWriter) {
		w.Header().Set("A", "1")
		w.WriteHeader(200)
		w.Header().Set("A", "2")
		w.Header().Set("B", "2")
	}),
	answer("headers after a write do not count", func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, "a")
		w.Header().Set("A", "2")
	}),
	answer("headers removed after the status are sent", func(w http.ResponseWriter) {
		w.Header().Set("A", "1")
		w.WriteHeader(200)
		w.Header().Del("A")
	}),
	answer("values in their order", func(w http.ResponseWriter) {
		w.Header()["A"] = []string{"1", "3", "2"}
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2; Path=/")
	}),
	answer("names as they are in the map", func(w http.ResponseWriter) { w.Header()["x-lower_Case"] = []string{"1"} }),
	answer("an empty value", func(w http.ResponseWriter) { w.Header().Set("A", "") }),
	answer("a name without values", func(w http.ResponseWriter) { w.Header()["A"] = nil }),
	answer("a name that is none is left out", func(w http.ResponseWriter) { w.Header()["A B"] = []string{"1"}; w.Header()["C:"] = []string{"1"} }),
	answer("line breaks in a value become spaces", func(w http.ResponseWriter) { w.Header().Set("A", "1\r\nB: 2\n3") }),
	answer("space around a value is left out", func(w http.ResponseWriter) { w.Header().Set("A", " \t1 2\t ") }),
	answer("a value of UTF-8 and control characters", func(w http.ResponseWriter) { w.Header().Set("A", "ä\x01\x7f") }),
	answer("a value of 100 kB", func(w http.ResponseWriter) { w.Header().Set("A", strings.Repeat("b", 100_000)) }),
	answer("no Date where it is nil", func(w http.ResponseWriter) { w.Header()["Date"] = nil }),
	answer("a Date of the handler", func(w http.ResponseWriter) { w.Header().Set("Date", "yesterday") }),
	answer("a Server of the handler", func(w http.ResponseWriter) { w.Header().Set("Server", "me") }),
	answer("no Content-Type where it is nil", func(w http.ResponseWriter) {
		w.Header()["Content-Type"] = nil
		_, _ = io.WriteString(w, "<html>")
	}),
	answer("an empty Content-Type", func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "")
		_, _ = io.WriteString(w, "<html>")
	}),
	answer("Content-Type twice", func(w http.ResponseWriter) {
		w.Header()["Content-Type"] = []string{"a/b", "c/d"}
		_, _ = io.WriteString(w, "<html>")
	}),
	answer("no Content-Type is found under a Content-Encoding", func(w http.ResponseWriter) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = io.WriteString(w, "<html>")
	}),
	answer("no Content-Type is found under an unknown Transfer-Encoding", func(w http.ResponseWriter) {
		w.Header().Set("Transfer-Encoding", "gzip")
		_, _ = io.WriteString(w, "<html>")
	}),
	answer("Content-Type of HTML", func(w http.ResponseWriter) { _, _ = io.WriteString(w, "  <!DOCTYPE HTML><p>") }),
	answer("Content-Type of text", func(w http.ResponseWriter) { _, _ = io.WriteString(w, "text ä") }),
	answer("Content-Type of PNG", func(w http.ResponseWriter) { _, _ = io.WriteString(w, "\x89PNG\x0D\x0A\x1A\x0A") }),
	answer("Content-Type of JSON, which is text", func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"a":1}`) }),
	answer("Content-Type of bytes", func(w http.ResponseWriter) { _, _ = w.Write([]byte{0, 1, 2}) }),
	answer("Content-Type by the first write alone", func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, "<")
		_, _ = io.WriteString(w, "html>")
	}),
	answer("Content-Type by the first 512 bytes", func(w http.ResponseWriter) { _, _ = io.WriteString(w, strings.Repeat(" ", 512)+"<html>") }),
	code("no Content-Type of nothing", "GET", 200, ""),
	code("Connection: close", "GET", 200, "a", "Connection", "close"),
	code("Connection: close in other case", "GET", 200, "a", "Connection", "Close"),
	code("Connection: close within a list", "GET", 200, "a", "Connection", "foo, close"),
	code("Connection: keep-alive", "GET", 200, "a", "Connection", "keep-alive"),
	code("Connection: upgrade", "GET", 426, "a", "Connection", "Upgrade", "Upgrade", "TLS/1.3"),
	code("Trailer of the handler without chunks", "GET", 200, "", "Trailer", "A"),
	code("204", "GET", 204, ""),
	code("204 with a body", "GET", 204, "a"),
	code("204 with Content-Length", "GET", 204, "", "Content-Length", "0"),
	code("204 with Content-Type", "GET", 204, "", "Content-Type", "a/b"),
	code("304", "GET", 304, ""),
	code("304 with a body", "GET", 304, "a"),
	code("304 with Content-Length and Content-Type", "GET", 304, "", "Content-Length", "5", "Content-Type", "a/b", "Etag", `"x"`),
	code("205", "GET", 205, ""),
	code("205 with a body", "GET", 205, "a"),
	code("401 with a challenge", "GET", 401, "a", "WWW-Authenticate", "Basic"),
	code("HEAD", "HEAD", 200, ""),
	code("HEAD with a body", "HEAD", 200, "abc"),
	code("HEAD with Content-Length", "HEAD", 200, "", "Content-Length", "5"),
	code("HEAD with a body of 10 kB", "HEAD", 200, strings.Repeat("a", 10_000)),
	code("HEAD with Transfer-Encoding", "HEAD", 200, "abc", "Transfer-Encoding", "chunked"),
	code("HEAD with 204", "HEAD", 204, ""),
	code("HEAD with 304", "HEAD", 304, ""),
	code("HEAD with 404", "HEAD", 404, "abc"),
	answerTo("HEAD, flushed", line("HEAD / HTTP/1.1"), func(_ *run, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "abc")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "def")
	}),
	code("101 without a hijack", "GET", 101, "", "Connection", "Upgrade", "Upgrade", "x"),
	code("100", "GET", 100, "a"),
	answer("103 twice, then 200", func(w http.ResponseWriter) {
		w.Header().Add("Link", "</a>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Add("Link", "</b>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "a")
	}),
	answer("102, then 500", func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusProcessing)
		w.WriteHeader(500)
	}),
	answer("199, then nothing", func(w http.ResponseWriter) { w.WriteHeader(199) }),
	answer("103 after 200 is ignored", func(w http.ResponseWriter) {
		w.WriteHeader(200)
		w.WriteHeader(http.StatusEarlyHints)
	}),
	answerTo("103 to HTTP/1.0", line("GET / HTTP/1.0"), func(_ *run, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "a")
	}),
	{name: "103 is sent at once", serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		x.wait("seen")
		_, _ = io.WriteString(w, "a")
	}, script: func(x *run, c *conn) {
		c.send(target("/"))
		c.until("\r\n\r\n")
		x.signal("seen")
		c.response("GET")
	}},
}

// write is an answer of several writes, whose results are noted.
func write(name, send string, headers []string, parts ...string) behaviour {
	return answerTo(name, send, func(x *run, w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Add(headers[i], headers[i+1])
		}
		for _, p := range parts {
			n, err := io.WriteString(w, p)
			x.sawf("%d %v %v", n, err, errors.Is(err, http.ErrContentLength))
		}
	})
}

// trailed is an answer that ends with trailers.
func trailed(name, send string, h func(w http.ResponseWriter)) behaviour {
	return answerTo(name, send, func(_ *run, w http.ResponseWriter, _ *http.Request) { h(w) })
}

var get11, get10 = target("/"), line("GET / HTTP/1.0")

var responseBody = []behaviour{
	write("a small one has a Content-Length", get11, nil, "a", "b", "c"),
	write("2048 bytes have a Content-Length", get11, nil, strings.Repeat("a", 2048)),
	write("2049 bytes have chunks", get11, nil, strings.Repeat("a", 2048), "b"),
	write("100 kB have chunks", get11, nil, strings.Repeat("a", 100_000)),
	write("1000 writes", get11, nil, func() []string { return strings.SplitAfter(strings.Repeat("line of the body\n", 1000), "\n") }()...),
	write("Content-Length", get11, []string{"Content-Length", "3"}, "abc"),
	write("Content-Length and 100 kB", get11, []string{"Content-Length", "100000"}, strings.Repeat("a", 100_000)),
	write("Content-Length, and too little", get11, []string{"Content-Length", "10"}, "abc"),
	write("Content-Length, and nothing", get11, []string{"Content-Length", "10"}),
	write("Content-Length, and too much at once", get11, []string{"Content-Length", "3"}, "abcdef"),
	write("Content-Length, and too much in two writes", get11, []string{"Content-Length", "3"}, "abc", "def"),
	write("Content-Length: 0, and something", get11, []string{"Content-Length", "0"}, "abc"),
	{name: "Content-Length that is no number", send: get11, logs: true, serve: func(_ *run, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "three")
		_, _ = io.WriteString(w, "abc")
	}},
	{name: "Content-Length below zero", send: get11, logs: true, serve: func(_ *run, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "-3")
		_, _ = io.WriteString(w, "abc")
	}},
	write("Content-Length with a space", get11, []string{"Content-Length", " 3 "}, "abc"),
	write("Content-Length twice", get11, []string{"Content-Length", "3", "Content-Length", "4"}, "abc"),
	write("Content-Length and too little to HTTP/1.0", get10, []string{"Content-Length", "10"}, "abc"),
	write("Transfer-Encoding: chunked", get11, []string{"Transfer-Encoding", "chunked"}, "abc"),
	write("Transfer-Encoding: identity", get11, []string{"Transfer-Encoding", "identity"}, "abc"),
	write("Transfer-Encoding: identity and Content-Length", get11, []string{"Transfer-Encoding", "identity", "Content-Length", "3"}, "abc"),
	write("Transfer-Encoding: chunked and Content-Length", get11, []string{"Transfer-Encoding", "chunked", "Content-Length", "3"}, "abc"),
	write("Transfer-Encoding: chunked to HTTP/1.0", get10, []string{"Transfer-Encoding", "chunked"}, "abc"),
	write("HTTP/1.0: a small one", get10, nil, "abc"),
	write("HTTP/1.0: a large one ends with the connection", get10, nil, strings.Repeat("a", 10_000)),
	write("HTTP/1.0: nothing", get10, nil),
	write("HTTP/1.0: a small one, kept alive", request("GET / HTTP/1.0", "Connection: keep-alive"), nil, "abc"),
	write("HTTP/1.0: a large one is not kept alive", request("GET / HTTP/1.0", "Connection: keep-alive"), nil, strings.Repeat("a", 10_000)),
	write("HTTP/1.0: a large one with Content-Length, kept alive", request("GET / HTTP/1.0", "Connection: keep-alive"), []string{"Content-Length", "10000"}, strings.Repeat("a", 10_000)),
	write("HTTP/1.0: HEAD, kept alive", request("HEAD / HTTP/1.0", "Connection: keep-alive"), nil, "abc"),
	write("HTTP/1.0: the handler keeps alive", request("GET / HTTP/1.0", "Connection: keep-alive"), []string{"Connection", "keep-alive"}, "abc"),
	write("HTTP/1.0: Connection: close", request("GET / HTTP/1.0", "Connection: close"), nil, "abc"),
	{name: "HTTP/1.0: 204 is not kept alive", send: request("GET / HTTP/1.0", "Connection: keep-alive"), serve: func(_ *run, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }},
	{name: "HTTP/1.0: flushed", send: request("GET / HTTP/1.0", "Connection: keep-alive"), serve: func(_ *run, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "abc")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "def")
	}},
	write("a body with 204 in two writes", get11, nil, "", ""),
	answerTo("a write after 304 is refused", get11, func(x *run, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(304)
		n, err := w.Write([]byte("a"))
		x.sawf("%d %v %v", n, err, errors.Is(err, http.ErrBodyNotAllowed))
	}),
	answerTo("a write to HEAD is taken", line("HEAD / HTTP/1.1"), func(x *run, w http.ResponseWriter, _ *http.Request) {
		n, err := w.Write([]byte("abc"))
		x.sawf("%d %v %v", n, err, errors.Is(err, http.ErrBodyNotAllowed))
	}),
	answerTo("a write of zero bytes after the end of Content-Length", get11, func(x *run, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1")
		_, _ = w.Write([]byte("a"))
		n, err := w.Write(nil)
		x.sawf("%d %v", n, err)
	}),
	answerTo("ReadFrom a reader", get11, func(x *run, w http.ResponseWriter, _ *http.Request) {
		n, err := io.Copy(w, io.LimitReader(strings.NewReader(strings.Repeat("abc", 10_000)), 20_000))
		x.sawf("%d %v", n, err)
	}),
	answerTo("ReadFrom a small reader", get11, func(x *run, w http.ResponseWriter, _ *http.Request) {
		n, err := w.(io.ReaderFrom).ReadFrom(struct{ io.Reader }{strings.NewReader("<html>")})
		x.sawf("%d %v", n, err)
	}),
	answerTo("ReadFrom with Content-Length", get11, func(x *run, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "30000")
		n, err := io.Copy(w, io.LimitReader(strings.NewReader(strings.Repeat("abc", 10_001)), 30_000))
		x.sawf("%d %v", n, err)
	}),
	answerTo("ReadFrom with Content-Length and too much", get11, func(x *run, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "3")
		n, err := w.(io.ReaderFrom).ReadFrom(struct{ io.Reader }{strings.NewReader("abcdef")})
		x.sawf("%d %v", n, err)
	}),
	answerTo("ReadFrom a reader that fails", get11, func(x *run, w http.ResponseWriter, _ *http.Request) {
		n, err := io.Copy(w, io.MultiReader(strings.NewReader("abc"), errReader{}))
		x.sawf("%d %v", n, err)
	}),
	answerTo("WriteString and Write in turn", get11, func(_ *run, w http.ResponseWriter, _ *http.Request) {
		for i := range 10 {
			fmt.Fprintf(w, "%d,", i)
			_, _ = w.(io.StringWriter).WriteString("x")
		}
	}),
	answerTo("a buffer that is used again after Write", get11, func(_ *run, w http.ResponseWriter, _ *http.Request) {
		b := []byte("first.")
		_, _ = w.Write(b)
		copy(b, "second")
		_, _ = w.Write(b)
		copy(b, "XXXXXX")
	}),
	trailed("declared trailers", get11, func(w http.ResponseWriter) {
		w.Header().Set("Trailer", "A, B")
		w.Header().Add("Trailer", "C")
		_, _ = io.WriteString(w, "abc")
		w.Header().Set("A", "1")
		w.Header().Set("C", "3")
		w.Header().Set("D", "4")
	}),
	trailed("a declared trailer and nothing written", get11, func(w http.ResponseWriter) {
		w.Header().Set("Trailer", "A")
		w.WriteHeader(200)
		w.Header().Set("A", "1")
	}),
	trailed("trailers that were not declared", get11, func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, strings.Repeat("a", 5000))
		w.Header().Set(http.TrailerPrefix+"A", "1")
		w.Header().Add(http.TrailerPrefix+"b", "2")
	}),
	trailed("trailers that were not declared after a flush", get11, func(w http.ResponseWriter) {
		_ = http.NewResponseController(w).Flush()
		w.Header().Set(http.TrailerPrefix+"A", "1")
	}),
	trailed("trailers that were not declared and a small body", get11, func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, "a")
		w.Header().Set(http.TrailerPrefix+"A", "1")
	}),
	trailed("a declared trailer and Content-Length", get11, func(w http.ResponseWriter) {
		w.Header().Set("Trailer", "A")
		w.Header().Set("Content-Length", "3")
		_, _ = io.WriteString(w, "abc")
		w.Header().Set("A", "1")
	}),
	trailed("a declared trailer to HTTP/1.0", get10, func(w http.ResponseWriter) {
		w.Header().Set("Trailer", "A")
		_, _ = io.WriteString(w, "abc")
		w.Header().Set("A", "1")
	}),
	trailed("a declared trailer to HEAD", line("HEAD / HTTP/1.1"), func(w http.ResponseWriter) {
		w.Header().Set("Trailer", "A")
		_, _ = io.WriteString(w, "abc")
		w.Header().Set("A", "1")
	}),
	trailed("a declared trailer that may not be one", get11, func(w http.ResponseWriter) {
		w.Header().Set("Trailer", "Content-Length, A")
		_, _ = io.WriteString(w, "abc")
		w.Header().Set("Content-Length", "3")
		w.Header().Set("A", "1")
	}),
	trailed("a declared trailer that was set before", get11, func(w http.ResponseWriter) {
		w.Header().Set("Trailer", "A")
		w.Header().Set("A", "early")
		_, _ = io.WriteString(w, "abc")
		w.Header().Set("A", "late")
	}),
	trailed("a trailer with two values and a line break", get11, func(w http.ResponseWriter) {
		w.Header().Set("Trailer", "A")
		_, _ = io.WriteString(w, "abc")
		w.Header()["A"] = []string{"1", "2\r\nB: 3"}
	}),
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("a reader's error") }

func flush(x *run, w http.ResponseWriter) {
	if err := http.NewResponseController(w).Flush(); err != nil {
		x.sawf("flush: %v", err)
	}
}

// total is what the behaviours of memory send, in each direction.
const total = 100 << 20

var block = bytes.Repeat([]byte("0123456789abcdef"), 4096)

var streams = []behaviour{
	{name: "a flush sends the header", serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(200)
		flush(x, w)
		x.wait("seen")
	}, script: func(x *run, c *conn) {
		c.send(get11)
		c.until("\r\n\r\n")
		x.signal("seen")
		c.until("0\r\n\r\n")
	}},
	{name: "a flush before all else sends the header", serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		flush(x, w)
		x.wait("seen")
		w.WriteHeader(500)
		_, _ = io.WriteString(w, "late")
	}, script: func(x *run, c *conn) {
		c.send(get11)
		c.until("\r\n\r\n")
		x.signal("seen")
		c.until("0\r\n\r\n")
	}},
	{name: "nothing is sent before a flush", serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "a")
		x.signal("written")
		x.wait("seen")
		flush(x, w)
		x.wait("seen")
	}, script: func(x *run, c *conn) {
		c.send(get11)
		x.wait("written")
		c.quiet()
		x.signal("seen")
		c.until("a\r\n")
		x.signal("seen")
		c.until("0\r\n\r\n")
	}},
	{name: "each flush arrives by itself", serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 5 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			flush(x, w)
			x.wait("seen")
		}
	}, script: func(x *run, c *conn) {
		c.send(get11)
		for i := range 5 {
			c.until(fmt.Sprintf("data: %d\n\n", i))
			x.signal("seen")
		}
		c.until("0\r\n\r\n")
		c.get(lastPath)
	}},
	{name: "flushes of a body with Content-Length", serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "6")
		_, _ = io.WriteString(w, "abc")
		flush(x, w)
		x.wait("seen")
		_, _ = io.WriteString(w, "def")
	}, script: func(x *run, c *conn) {
		c.send(get11)
		c.until("abc")
		x.signal("seen")
		c.until("def")
		c.get(lastPath)
	}},
	{name: "a flush to HTTP/1.0 arrives", serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "abc")
		flush(x, w)
		x.wait("seen")
		_, _ = io.WriteString(w, "def")
	}, script: func(x *run, c *conn) {
		c.send(get10)
		c.until("abc")
		x.signal("seen")
		c.rest()
	}},
	{name: "what is more than the buffers is sent without a flush", serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(block)
		x.wait("seen")
	}, script: func(x *run, c *conn) {
		c.send(get11)
		c.until("abcdef")
		x.signal("seen")
		c.until("\r\n0\r\n\r\n")
	}},
	{name: "the end is sent when the handler returns, with no further write", serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "a")
		flush(x, w)
	}, script: func(_ *run, c *conn) {
		c.send(get11)
		c.until("a\r\n0\r\n\r\n")
		c.get(lastPath)
	}},
	{name: "two flushes of nothing send nothing", send: get11, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		flush(x, w)
		flush(x, w)
		_, _ = io.WriteString(w, "a")
		flush(x, w)
		flush(x, w)
	}},
	{name: "a flush of 204", send: get11, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(204)
		flush(x, w)
	}},
	{name: "http.Flusher", serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "a")
		w.(http.Flusher).Flush()
		x.wait("seen")
	}, script: func(x *run, c *conn) {
		c.send(get11)
		c.until("a\r\n")
		x.signal("seen")
		c.until("0\r\n\r\n")
	}},
	{name: "the handler runs before the body has come", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		x.signal("running")
		dumpBody(x, r)
	}, script: func(x *run, c *conn) {
		c.send(post("", "Content-Length: 3"))
		x.wait("running")
		c.send("abc")
		c.response("POST")
	}},
	{name: "the handler reads what has come of a body", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		for range 3 {
			b := make([]byte, 100)
			n, err := r.Body.Read(b)
			x.sawf("%q %v", b[:n], err)
			x.signal("read")
		}
	}, script: func(x *run, c *conn) {
		c.send(post("", "Content-Length: 6"))
		for _, s := range []string{"a", "b", "c"} {
			c.write(s)
			x.wait("read")
		}
		c.send("def")
		c.response("POST")
	}},
	{name: "the handler reads what has come of chunks", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		for range 3 {
			b := make([]byte, 1)
			n, err := io.ReadFull(r.Body, b)
			x.sawf("%q %v", b[:n], err)
			x.signal("read")
		}
		dumpBody(x, r)
	}, script: func(x *run, c *conn) {
		c.send(post("", "Transfer-Encoding: chunked"))
		for _, s := range []string{"a", "b", "c"} {
			c.write("1\r\n" + s + "\r\n")
			x.wait("read")
		}
		c.send("3\r\ndef\r\n0\r\n\r\n")
		c.response("POST")
	}},
	{name: "full duplex: a response before the body has come", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.WriteString(w, "early")
		flush(x, w)
	}, script: func(_ *run, c *conn) {
		c.send(post("", "Content-Length: 3"))
		c.until("early")
		c.send("abc")
		c.until("0\r\n\r\n")
	}},
	{name: "full duplex: an echo of chunks", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		x.sawf("%v", http.NewResponseController(w).EnableFullDuplex())
		flush(x, w)
		for {
			b := make([]byte, 4)
			n, err := io.ReadFull(r.Body, b)
			x.sawf("%q %v", b[:n], err)
			if err != nil {
				return
			}
			_, _ = w.Write(b)
			flush(x, w)
		}
	}, script: func(_ *run, c *conn) {
		c.send(post("", "Transfer-Encoding: chunked"))
		c.until("\r\n\r\n")
		for i := range 5 {
			c.write(fmt.Sprintf("4\r\nno %d\r\n", i))
			c.until(fmt.Sprintf("no %d\r\n", i))
		}
		c.send("0\r\n\r\n")
		c.until("0\r\n\r\n")
		c.get(lastPath)
	}},
	{name: "half duplex: a body is read before the response", serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "a")
		x.signal("written")
		flush(x, w)
		dumpBody(x, r)
	}, script: func(x *run, c *conn) {
		c.send(post("", "Content-Length: 3"))
		x.wait("written")
		c.quiet()
		c.send("abc")
		c.until("0\r\n\r\n")
	}},
	{name: "a client that goes while it sends", serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.signal("running")
		n, err := io.Copy(io.Discard, r.Body)
		x.sawf("%d %v", n, errors.Is(err, io.ErrUnexpectedEOF))
	}, script: func(x *run, c *conn) {
		c.send(post("abc", "Content-Length: 1000"))
		x.wait("running")
		c.closeWrite()
		c.rest()
	}},
	{name: "a client that goes while it receives", serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		for range 10_000 {
			if _, err := w.Write(block); err != nil {
				x.sawf("a write fails")
				return
			}
		}
		x.sawf("no write fails")
	}, script: func(_ *run, c *conn) {
		c.send(get11)
		c.until("\r\n\r\n")
		_ = c.Close()
		c.over = "left"
		c.mu.Lock()
		c.raw = nil // how much has come is chance
		c.mu.Unlock()
	}},
	{name: "a client that does not receive holds up the handler", serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		for range 1024 {
			_, _ = w.Write(block)
		}
		x.signal("written")
	}, script: func(x *run, c *conn) {
		c.send(get11)
		c.until("\r\n\r\n")
		x.never("written")
		c.discard(64 << 20)
		x.wait("written")
	}},
	{name: "a handler that does not read holds up the client", serve: func(x *run, _ http.ResponseWriter, r *http.Request) {
		x.wait("blocked")
		n, err := io.Copy(io.Discard, r.Body)
		x.sawf("%d %v", n, err)
	}, script: func(x *run, c *conn) {
		c.send(post("", "Content-Length: 67108864"))
		_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		n := 0
		for n < 64<<20 {
			k, err := c.Write(block)
			n += k
			if err != nil {
				break
			}
		}
		if n == 64<<20 {
			x.notef("the server takes all")
		}
		x.signal("blocked")
		_ = c.SetWriteDeadline(time.Now().Add(limit))
		for n < 64<<20 {
			k, err := c.Write(block[n%len(block) : min(len(block), n%len(block)+64<<20-n)])
			n += k
			if err != nil {
				break
			}
		}
		c.response("POST")
	}},
	{name: "100 MB up in bounded memory", alone: true, plain: true, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		m := watchMemory()
		n, err := io.Copy(io.Discard, r.Body)
		x.sawf("%d %v, %s", n, err, m.grown())
	}, script: func(_ *run, c *conn) {
		c.send(post("", fmt.Sprintf("Content-Length: %d", total)))
		c.pump()
		c.response("POST")
	}},
	{name: "100 MB of chunks up in bounded memory", alone: true, plain: true, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		m := watchMemory()
		n, err := io.Copy(io.Discard, r.Body)
		x.sawf("%d %v, %s", n, err, m.grown())
	}, script: func(_ *run, c *conn) {
		c.send(post("", "Transfer-Encoding: chunked"))
		c.write(fmt.Sprintf("%x\r\n", total))
		c.pump()
		c.write("\r\n0\r\n\r\n")
		c.response("POST")
	}},
	{name: "100 MB down in bounded memory", alone: true, plain: true, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		m := watchMemory()
		w.Header().Set("Content-Length", fmt.Sprint(total))
		for range total / len(block) {
			_, _ = w.Write(block)
		}
		x.sawf("%s", m.grown())
	}, script: func(_ *run, c *conn) {
		c.send(get11)
		c.until("\r\n\r\n")
		c.discard(total)
	}},
	{name: "100 MB of chunks down in bounded memory", alone: true, plain: true, serve: func(x *run, w http.ResponseWriter, _ *http.Request) {
		m := watchMemory()
		for range total / len(block) {
			_, _ = w.Write(block)
		}
		x.sawf("%s", m.grown())
	}, script: func(_ *run, c *conn) {
		c.send(get11)
		c.until("\r\n\r\n")
		c.discard(total)
	}},
	{name: "100 MB in both directions at once in bounded memory", alone: true, plain: true, serve: func(x *run, w http.ResponseWriter, r *http.Request) {
		m := watchMemory()
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Content-Length", fmt.Sprint(total))
		n, err := io.Copy(w, r.Body)
		x.sawf("%d %v, %s", n, err, m.grown())
	}, script: func(_ *run, c *conn) {
		c.send(post("", fmt.Sprintf("Content-Length: %d", total)))
		done := make(chan struct{})
		go func() { defer close(done); c.pump() }()
		c.until("\r\n\r\n")
		c.discard(total)
		<-done
	}},
}
