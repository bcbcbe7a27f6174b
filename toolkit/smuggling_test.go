package toolkit

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/valyala/fasthttp"
)

// message is what a client, or somebody who poses as one, sends on a connection.
type message struct {
	name string
	raw  string
	// What is read of it, each as "METHOD target host body", and what comes then.
	want []string
	then outcome
}

type outcome int

const (
	goesOn   outcome = iota
	ends             // after the last response, with strict alone
	fast             // fasthttp refuses the rest, with a 4xx, and the connection ends
	byStrict         // strict does, and fasthttp alone would not
)

// head is a request's first lines, without the empty one; lines are joined by CRLF.
func head(first string, lines ...string) string {
	return first + "\r\n" + strings.Join(append([]string{"Host: t"}, lines...), "\r\n") + "\r\n"
}

func get(lines ...string) string { return head("GET /a HTTP/1.1", lines...) + "\r\n" }

// bare is a request without a Host of ours.
func bare(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

func post(body string, lines ...string) string {
	return head("POST /a HTTP/1.1", lines...) + "\r\n" + body
}

func chunks(body string) string { return post(body, "Transfer-Encoding: chunked") }

const (
	smuggled = "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"
	abcChunk = "3\r\nabc\r\n0\r\n\r\n"
)

var (
	readGet   = []string{"GET /a t "}
	readEmpty = []string{"POST /a t "}
	readABC   = []string{"POST /a t abc"}
)

// corpus was written for this project from the rules of RFC 9112 and the classes of
// attacks that are public knowledge: no request of it is another project's.
var corpus = []message{
	// What real clients send.
	{"get", get(), readGet, goesOn},
	{"get, browser", get("Connection: keep-alive", "sec-ch-ua: \"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\"", "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "Accept: text/html,*/*;q=0.8", "Accept-Language: en-US,en;q=0.5", "Cookie: a=b; c=\"d e\"; f=g=h=="), readGet, goesOn},
	{"head", bare("HEAD /a HTTP/1.1", "Host: t"), []string{"HEAD /a t "}, goesOn},
	{"options, asterisk", bare("OPTIONS * HTTP/1.1", "Host: t"), []string{"OPTIONS * t "}, goesOn},
	{"method that nobody knows", bare("BREW /a HTTP/1.1", "Host: t"), []string{"BREW /a t "}, goesOn},
	{"query", bare("GET /a?b=c&d=%20%00+e HTTP/1.1", "Host: t"), []string{"GET /a?b=c&d=%20%00+e t "}, goesOn},
	{"query with a URL", bare("GET /a?u=http://b/c HTTP/1.1", "Host: t"), []string{"GET /a?u=http://b/c t "}, goesOn},
	{"path that holds a URL", bare("GET /http://b/c HTTP/1.1", "Host: t"), []string{"GET /http://b/c t "}, goesOn},
	{"path with two slashes", bare("GET //a//b HTTP/1.1", "Host: t"), []string{"GET //a//b t "}, goesOn},
	{"path in UTF-8, raw", bare("GET /\xc3\xa9 HTTP/1.1", "Host: t"), []string{"GET /\xc3\xa9 t "}, goesOn},
	{"value in UTF-8", get("X: \xc3\xa9"), readGet, goesOn},
	{"value in Latin-1", get("X: \xe9"), readGet, goesOn},
	{"value that is empty", get("X:"), readGet, goesOn},
	{"value with tabs and no space before", get("X:\ta\tb\t"), readGet, goesOn},
	{"value with colons and commas", get("X: a:b, c : d ,, e"), readGet, goesOn},
	{"name of all kinds of bytes", get("!#$%&'*+-.^_`|~09azAZ: x"), readGet, goesOn},
	{"names in lower case", bare("GET /a HTTP/1.1", "host: t", "accept: */*"), readGet, goesOn},
	{"host with port", bare("GET /a HTTP/1.1", "Host: t:80"), []string{"GET /a t:80 "}, goesOn},
	{"host IPv4", bare("GET /a HTTP/1.1", "Host: 127.0.0.1:8080"), []string{"GET /a 127.0.0.1:8080 "}, goesOn},
	{"host IPv6", bare("GET /a HTTP/1.1", "Host: [::1]:8080"), []string{"GET /a [::1]:8080 "}, goesOn},
	{"host with underscore", bare("GET /a HTTP/1.1", "Host: my_app.local"), []string{"GET /a my_app.local "}, goesOn},
	{"host in upper case", bare("GET /a HTTP/1.1", "Host: T"), []string{"GET /a T "}, goesOn},
	{"absolute-form", bare("GET http://t/a HTTP/1.1", "Host: t"), []string{"GET http://t/a t "}, goesOn},
	{"absolute-form, other case", bare("GET HTTP://T/a HTTP/1.1", "Host: t"), []string{"GET HTTP://T/a t "}, goesOn},
	{"absolute-form, no path", bare("GET http://t?a HTTP/1.1", "Host: t"), []string{"GET http://t?a t "}, goesOn},
	{"authority-form", bare("CONNECT t:443 HTTP/1.1", "Host: t:443"), []string{"CONNECT t:443 t:443 "}, ends},
	{"authority-form, host without port", bare("CONNECT t:443 HTTP/1.1", "Host: t"), []string{"CONNECT t:443 t "}, ends},
	{"post", post("abc", "Content-Length: 3"), readABC, goesOn},
	{"post without a body", post(""), readEmpty, goesOn},
	{"post of nothing", post("", "Content-Length: 0"), readEmpty, goesOn},
	{"length with zeros in front", post("abc", "Content-Length: 003"), readABC, goesOn},
	{"length with white space around", post("abc", "Content-Length: \t3 \t"), readABC, goesOn},
	{"body that looks like a request", post(smuggled, fmt.Sprint("Content-Length: ", len(smuggled))), []string{"POST /a t " + smuggled}, goesOn},
	{"get with a body", head("GET /a HTTP/1.1", "Content-Length: 3") + "\r\nabc", []string{"GET /a t abc"}, goesOn},
	{"get with chunks", head("GET /a HTTP/1.1", "Transfer-Encoding: chunked") + "\r\n" + abcChunk, []string{"GET /a t abc"}, goesOn},
	{"chunks", chunks(abcChunk), readABC, goesOn},
	{"chunks, coding in upper case", post(abcChunk, "Transfer-Encoding: CHUNKED"), readABC, goesOn},
	{"chunks, name in lower case", post(abcChunk, "transfer-encoding:chunked"), readABC, goesOn},
	{"chunks, none", chunks("0\r\n\r\n"), readEmpty, goesOn},
	{"chunks, two", chunks("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"), readABC, goesOn},
	{"chunks, zeros in front", chunks("0003\r\nabc\r\n000\r\n\r\n"), readABC, goesOn},
	{"chunks, size in capitals", chunks("A\r\n0123456789\r\n0\r\n\r\n"), []string{"POST /a t 0123456789"}, goesOn},
	{"chunks with an extension", chunks("3;a=b;c=\"d e\"\r\nabc\r\n0;e\r\n\r\n"), readABC, goesOn},
	{"chunks that hold a request", chunks(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled)), []string{"POST /a t " + smuggled}, goesOn},
	{"chunks, trailer announced and not sent", post(abcChunk, "Transfer-Encoding: chunked", "Trailer: X"), readABC, goesOn},
	{"expect", post("abc", "Expect: 100-continue", "Content-Length: 3"), readABC, goesOn},
	{"1.0", bare("GET /a HTTP/1.0", "Host: t", "Connection: keep-alive"), readGet, goesOn},
	{"1.0 without Host", bare("GET /a HTTP/1.0", "Connection: keep-alive"), []string{"GET /a  "}, goesOn},
	{"1.0 with a length", bare("POST /a HTTP/1.0", "Host: t", "Connection: keep-alive", "Content-Length: 3") + "abc", readABC, goesOn},
	{"pipeline", get() + post("abc", "Content-Length: 3") + chunks(abcChunk), []string{"GET /a t ", "POST /a t abc", "POST /a t abc"}, goesOn},
	{"empty line before", "\r\n" + get(), readGet, goesOn},

	// CL.TE, TE.CL.
	{"both, length first", post(abcChunk, "Content-Length: 13", "Transfer-Encoding: chunked"), nil, byStrict},
	{"both, chunks first", post(abcChunk, "Transfer-Encoding: chunked", "Content-Length: 13"), nil, byStrict},
	{"CL.TE", post("0\r\n\r\n"+smuggled, fmt.Sprint("Content-Length: ", 5+len(smuggled)), "Transfer-Encoding: chunked"), nil, byStrict},
	{"CL.TE, length of one", post("0\r\n\r\nG", "Content-Length: 6", "Transfer-Encoding: chunked"), nil, byStrict},
	{"TE.CL", post("5c\r\n"+smuggled+"\r\n0\r\n\r\n", "Content-Length: 4", "Transfer-Encoding: chunked"), nil, fast},
	{"both, length of nothing", post(abcChunk, "Content-Length: 0", "Transfer-Encoding: chunked"), nil, byStrict},
	{"both, get", head("GET /a HTTP/1.1", "Content-Length: 5", "Transfer-Encoding: chunked") + "\r\n0\r\n\r\n", nil, byStrict},
	{"both, expecting", post("0\r\n\r\n", "Expect: 100-continue", "Content-Length: 5", "Transfer-Encoding: chunked"), nil, byStrict},
	{"both, length in lower case", post(abcChunk, "content-length: 13", "TRANSFER-ENCODING: chunked"), nil, byStrict},
	{"both, length is wrong", post(abcChunk, "Content-Length: x", "Transfer-Encoding: chunked"), nil, fast},
	{"both, 1.0", bare("POST /a HTTP/1.0", "Host: t", "Connection: keep-alive", "Content-Length: 3", "Transfer-Encoding: chunked") + "abc", nil, fast},
	{"1.0 with chunks", bare("POST /a HTTP/1.0", "Host: t", "Connection: keep-alive", "Transfer-Encoding: chunked") + abcChunk, nil, fast},
	{"0.9 body", "GET /a\r\n", nil, fast},

	// TE.TE.
	{"coding twice", post(abcChunk, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), nil, fast},
	{"coding twice in a line", post(abcChunk, "Transfer-Encoding: chunked, chunked"), nil, fast},
	{"coding, then another", post(abcChunk, "Transfer-Encoding: chunked", "Transfer-Encoding: x"), nil, fast},
	{"another coding, then chunked", post(abcChunk, "Transfer-Encoding: x", "Transfer-Encoding: chunked"), nil, fast},
	{"coding identity", post("", "Transfer-Encoding: identity"), nil, byStrict},
	{"coding identity beside length", post("abc", "Transfer-Encoding: identity", "Content-Length: 3"), nil, byStrict},
	{"coding identity, chunked", post(abcChunk, "Transfer-Encoding: identity, chunked"), nil, fast},
	{"coding chunked, identity", post(abcChunk, "Transfer-Encoding: chunked, identity"), nil, fast},
	{"coding gzip, chunked", post(abcChunk, "Transfer-Encoding: gzip, chunked"), nil, fast},
	{"coding xchunked", post(abcChunk, "Transfer-Encoding: xchunked"), nil, fast},
	{"coding with a parameter", post(abcChunk, "Transfer-Encoding: chunked;a=b"), nil, fast},
	{"coding in quotes", post(abcChunk, "Transfer-Encoding: \"chunked\""), nil, fast},
	{"coding with a comma behind", post(abcChunk, "Transfer-Encoding: chunked,"), nil, fast},
	{"coding with a comma before", post(abcChunk, "Transfer-Encoding: ,chunked"), nil, fast},
	{"coding of nothing", post(abcChunk, "Transfer-Encoding:"), nil, fast},
	{"coding behind a vertical tab", post(abcChunk, "Transfer-Encoding: \vchunked"), nil, fast},
	{"coding before a form feed", post(abcChunk, "Transfer-Encoding: chunked\f"), nil, fast},
	{"coding before a NUL", post(abcChunk, "Transfer-Encoding: chunked\x00"), nil, fast},
	{"coding behind a no-break space", post(abcChunk, "Transfer-Encoding: \xa0chunked"), nil, fast},
	{"coding before CR", post(abcChunk, "Transfer-Encoding: chunked\r"), nil, fast},
	{"coding on the next line", post(abcChunk, "Transfer-Encoding:\r\n chunked"), nil, byStrict},
	{"coding folded", post(abcChunk, "Transfer-Encoding: chunked\r\n , identity"), nil, fast},
	{"coding in a folded line", post("", "X: y\r\n Transfer-Encoding: chunked"), nil, byStrict},
	{"coding behind a bare LF", post(abcChunk, "X: y\nTransfer-Encoding: chunked"), nil, byStrict},
	{"coding behind a bare CR", post("", "X: y\rTransfer-Encoding: chunked"), nil, fast},
	{"space before the coding's colon", post(abcChunk, "Transfer-Encoding : chunked"), nil, fast},
	{"tab before the coding's colon", post(abcChunk, "Transfer-Encoding\t: chunked"), nil, fast},
	{"space before the coding's name", post("", "X: y", " Transfer-Encoding: chunked"), nil, byStrict},
	{"space in the coding's name", post("", "Transfer Encoding: chunked"), nil, byStrict},
	{"NUL in the coding's name", post("", "Transfer-\x00Encoding: chunked"), nil, fast},
	{"coding without a colon", post("", "Transfer-Encoding chunked"), nil, fast},
	{"coding with an underscore", post("", "Transfer_Encoding: chunked"), readEmpty, goesOn},

	// Lengths.
	{"length twice", post("abc", "Content-Length: 3", "Content-Length: 3"), nil, fast},
	{"length twice, different", post("abc", "Content-Length: 3", "Content-Length: 0"), nil, fast},
	{"length twice, in other case", post("abc", "Content-Length: 0", "content-length: 3"), nil, fast},
	{"length listed", post("abc", "Content-Length: 3, 3"), nil, fast},
	{"length listed, different", post("abc", "Content-Length: 0,3"), nil, fast},
	{"length with a plus", post("abc", "Content-Length: +3"), nil, fast},
	{"length with a minus", post("abc", "Content-Length: -3"), nil, fast},
	{"length of minus nothing", post("", "Content-Length: -0"), nil, fast},
	{"length in hexadecimal", post("abc", "Content-Length: 0x3"), nil, fast},
	{"length with a point", post("abc", "Content-Length: 3.0"), nil, fast},
	{"length with an exponent", post("abc", "Content-Length: 3e0"), nil, fast},
	{"length with an underscore", post("0123456789", "Content-Length: 1_0"), nil, fast},
	{"length with a space inside", post("0123456789", "Content-Length: 1 0"), nil, fast},
	{"length in quotes", post("abc", "Content-Length: \"3\""), nil, fast},
	{"length of nothing at all", post("abc", "Content-Length:"), nil, fast},
	{"length of 2^64", post("", "Content-Length: 18446744073709551616"), nil, fast},
	{"length of 2^64 and 3", post("abc", "Content-Length: 18446744073709551619"), nil, fast},
	{"length of 2^32 and 3", post("abc", "Content-Length: 4294967299"), nil, fast},
	{"length before a NUL", post("abc", "Content-Length: 3\x00"), nil, fast},
	{"length behind a vertical tab", post("abc", "Content-Length: \v3"), nil, fast},
	{"length folded", post("abc", "Content-Length:\r\n 3"), nil, byStrict},
	{"length folded in the middle", post("0123456789", "Content-Length: 1\r\n 0"), nil, fast},
	{"length in a folded line", post("", "X: y\r\n\tContent-Length: 3"), nil, byStrict},
	{"length behind a bare LF", post("abc", "X: y\nContent-Length: 3"), nil, byStrict},
	{"space before the length's colon", post("abc", "Content-Length : 3"), nil, fast},
	{"space in the length's name", post("", "Content Length: 3"), nil, byStrict},
	{"length in Arabic digits", post("abc", "Content-Length: \xd9\xa3"), nil, fast},

	// Chunks.
	{"chunk, size of 2^64", chunks("10000000000000000\r\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, size of 2^64 and 3", chunks("10000000000000003\r\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, size of 2^63", chunks("8000000000000000\r\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, size of 2^32 and 3", chunks("100000003\r\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, size of -1", chunks("ffffffffffffffff\r\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, size with 0x", chunks("0x3\r\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, size with a plus", chunks("+3\r\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, size with a minus", chunks("-3\r\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, size behind a space", chunks(" 3\r\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, size before a space", chunks("3 \r\nabc\r\n0\r\n\r\n"), readABC, goesOn},
	{"chunk, size with a space inside", chunks("0 3\r\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, size with an underscore", chunks("0_3\r\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, no size", chunks("\r\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, size is no number", chunks("g\r\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, size before a bare LF", chunks("3\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, size before a bare CR", chunks("3\rabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, size before CR CR LF", chunks("3\r\r\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, bare LF in the extension", chunks("3;a\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, bare LF in a quoted extension", chunks("3;a=\"\nabc\"\r\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, bare CR in the extension", chunks("3;a\rb\r\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, space before the extension", chunks("3 ;a\r\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, NUL in the extension", chunks("3;a\x00\r\nabc\r\n0\r\n\r\n"), readABC, goesOn},
	{"chunk, longer than its size", chunks("2\r\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, shorter than its size", chunks("4\r\nabc\r\n0\r\n\r\n"), nil, fast},
	{"chunk, data before a bare LF", chunks("3\r\nabc\n0\r\n\r\n"), nil, fast},
	{"chunk, data before a bare CR", chunks("3\r\nabc\r0\r\n\r\n"), nil, fast},
	{"chunk, data before LF CR", chunks("3\r\nabc\n\r0\r\n\r\n"), nil, fast},
	{"chunk, data before nothing", chunks("3\r\nabc0\r\n\r\n"), nil, fast},
	{"chunk, the last before a bare LF", chunks("3\r\nabc\r\n0\n\r\n"), nil, fast},
	{"chunk, the last with an extension and a bare LF", chunks("3\r\nabc\r\n0;a\n\r\n"), nil, fast},
	{"chunk, a second last one", chunks("0\r\n\r\n0\r\n\r\n"), readEmpty, fast},
	{"trailer", chunks("3\r\nabc\r\n0\r\nX: y\r\n\r\n"), nil, byStrict},
	{"trailer, announced", post("3\r\nabc\r\n0\r\nX: y\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: X"), nil, byStrict},
	{"trailer, of no chunks", chunks("0\r\nX: y\r\n\r\n"), nil, byStrict},
	{"trailer with a length", chunks("0\r\nContent-Length: 3\r\n\r\n"), nil, fast},
	{"trailer with a coding", chunks("0\r\nTransfer-Encoding: chunked\r\n\r\n"), nil, fast},
	{"trailer with a host", chunks("0\r\nHost: other\r\n\r\n"), nil, fast},
	{"trailer with a bare LF", chunks("0\r\nX: y\nZ: z\r\n\r\n"), nil, byStrict},
	{"trailer that ends with bare LFs", chunks("0\r\nX: y\n\n" + smuggled), nil, byStrict},
	{"trailer, folded", chunks("0\r\nX: y\r\n z\r\n\r\n"), nil, byStrict},
	{"trailer, space before the colon", chunks("0\r\nX : y\r\n\r\n"), nil, byStrict},
	{"trailer without a colon", chunks("0\r\nXy\r\n\r\n"), nil, fast},
	{"trailer that is a request", chunks("0\r\n" + smuggled), nil, fast},
	// RFC 9112, section 2.2 lets a recipient take a bare LF for the end of a line.
	{"chunk, the last and a bare LF", chunks("0\r\n\n"), readEmpty, goesOn},

	// Lines.
	{"bare LF behind the request line", "GET /a HTTP/1.1\nHost: t\r\n\r\n", readGet, goesOn}, // as above
	{"bare LF behind a field", "GET /a HTTP/1.1\r\nHost: t\nX: y\r\n\r\n", nil, byStrict},
	{"bare LF as the empty line", "GET /a HTTP/1.1\r\nHost: t\r\n\n", nil, byStrict},
	{"bare LFs alone", "GET /a HTTP/1.1\nHost: t\n\n", nil, byStrict},
	{"bare LFs, then a request", "GET /a HTTP/1.1\r\nHost: t\n\n" + smuggled, nil, byStrict},
	{"bare CR behind a field", "GET /a HTTP/1.1\r\nHost: t\rX: y\r\n\r\n", nil, fast},
	{"bare CR in a value", get("X: a\rb"), nil, fast},
	{"CR CR LF behind a field", get("X: y\r"), nil, fast},
	{"CR CR LF as the empty line", "GET /a HTTP/1.1\r\nHost: t\r\n\r\r\n", nil, fast},
	{"CR behind the request line", "GET /a HTTP/1.1\r\r\nHost: t\r\n\r\n", nil, fast},
	{"folded line", get("X: y\r\n z"), nil, byStrict},
	{"folded line with a tab", get("X: y\r\n\tz"), nil, byStrict},
	{"folded empty line", get("X: y\r\n \r\nZ: z"), nil, byStrict},
	{"folded host", bare("GET /a HTTP/1.1", "Host:\r\n t"), nil, byStrict},
	{"first line folded", bare("GET /a HTTP/1.1", " Host: t"), nil, fast},
	{"line of spaces only", get("X: y", "  "), nil, byStrict},
	{"space before the colon", get("X : y"), nil, fast},
	{"tab before the colon", get("X\t: y"), nil, fast},
	{"space in a name", get("X Y: z"), nil, byStrict},
	{"no colon", get("X"), nil, fast},
	{"no name", get(": x"), nil, fast},
	{"name with a control byte", get("X\x01: y"), nil, fast},
	{"name with a NUL", get("X\x00: y"), nil, fast},
	{"name that is not ASCII", get("X\xc3\xa9: y"), nil, fast},
	{"name in quotes", get("\"X\": y"), nil, fast},
	{"value with a NUL", get("X: a\x00b"), nil, fast},
	{"value with an escape", get("X: a\x1b[0m"), nil, fast},
	{"value with DEL", get("X: a\x7fb"), nil, fast},
	{"value with a backspace", get("X: a\bb"), nil, fast},

	// The request line.
	{"no version", bare("GET /a", "Host: t"), nil, fast},
	{"version 0.9", bare("GET /a HTTP/0.9", "Host: t", "Connection: keep-alive"), nil, byStrict},
	{"version 1.2", bare("GET /a HTTP/1.2", "Host: t", "Connection: keep-alive"), nil, byStrict},
	{"version 2.0", bare("GET /a HTTP/2.0", "Host: t", "Connection: keep-alive"), nil, byStrict},
	{"version 1.10", bare("GET /a HTTP/1.10", "Host: t"), nil, fast},
	{"version 01.1", bare("GET /a HTTP/01.1", "Host: t"), nil, fast},
	{"version in lower case", bare("GET /a http/1.1", "Host: t"), nil, fast},
	{"version of something else", bare("GET /a HTTQ/1.1", "Host: t"), nil, fast},
	{"version with a space behind", bare("GET /a HTTP/1.1 ", "Host: t"), nil, fast},
	{"two spaces before the target", bare("GET  /a HTTP/1.1", "Host: t"), nil, fast},
	{"two spaces behind the target", bare("GET /a  HTTP/1.1", "Host: t"), nil, fast},
	{"tab before the target", bare("GET\t/a HTTP/1.1", "Host: t"), nil, fast},
	{"tab behind the target", bare("GET /a\tHTTP/1.1", "Host: t"), nil, fast},
	{"space before the method", bare(" GET /a HTTP/1.1", "Host: t"), nil, fast},
	{"method with a colon", bare("GET: /a HTTP/1.1", "Host: t"), nil, fast},
	{"method with a control byte", bare("G\x01T /a HTTP/1.1", "Host: t"), nil, fast},
	{"target with a space", bare("GET /a b HTTP/1.1", "Host: t"), nil, fast},
	{"target with a NUL", bare("GET /a\x00b HTTP/1.1", "Host: t"), nil, fast},
	{"target with CR", bare("GET /a\rb HTTP/1.1", "Host: t"), nil, fast},
	{"target with DEL", bare("GET /a\x7fb HTTP/1.1", "Host: t"), nil, fast},
	{"target with a fragment", bare("GET /a#b HTTP/1.1", "Host: t"), nil, byStrict},
	{"target without a slash", bare("GET a HTTP/1.1", "Host: t"), nil, fast},
	{"target that is an asterisk", bare("GET * HTTP/1.1", "Host: t"), nil, fast},
	{"target of nothing", bare("GET HTTP/1.1", "Host: t"), nil, fast},
	{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", nil, fast},
	{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", nil, fast},

	// Host, and an authority beside it.
	{"no host", bare("GET /a HTTP/1.1", "X: y"), nil, fast},
	{"host of nothing", bare("GET /a HTTP/1.1", "Host:"), nil, fast},
	{"host twice", bare("GET /a HTTP/1.1", "Host: t", "Host: other"), nil, fast},
	{"host twice, the same", bare("GET /a HTTP/1.1", "Host: t", "host: t"), nil, fast},
	{"host and a space in its name", bare("GET /a HTTP/1.1", "Host: t", "Ho st: other"), nil, byStrict},
	{"host listed", bare("GET /a HTTP/1.1", "Host: t, other"), nil, fast},
	{"host with userinfo", bare("GET /a HTTP/1.1", "Host: other@t"), nil, byStrict},
	{"host with a path", bare("GET /a HTTP/1.1", "Host: t/b"), nil, fast},
	{"host with a query", bare("GET /a HTTP/1.1", "Host: t?b"), nil, fast},
	{"host with a fragment", bare("GET /a HTTP/1.1", "Host: t#b"), nil, fast},
	{"host with a scheme", bare("GET /a HTTP/1.1", "Host: http://t"), nil, fast},
	{"host with a space", bare("GET /a HTTP/1.1", "Host: t u"), nil, fast},
	{"host with a backslash", bare("GET /a HTTP/1.1", "Host: t\\u"), nil, fast},
	{"host with percent-encoding", bare("GET /a HTTP/1.1", "Host: %74"), nil, fast},
	{"host in UTF-8", bare("GET /a HTTP/1.1", "Host: \xc3\xa9"), nil, byStrict},
	{"host with two ports", bare("GET /a HTTP/1.1", "Host: t:80:81"), nil, fast},
	{"host with a port that is none", bare("GET /a HTTP/1.1", "Host: t:x"), nil, fast},
	{"host with half a bracket", bare("GET /a HTTP/1.1", "Host: [::1"), nil, fast},
	{"absolute-form, other authority", bare("GET http://other/a HTTP/1.1", "Host: t"), nil, byStrict},
	{"absolute-form, other port", bare("GET http://t:81/a HTTP/1.1", "Host: t"), nil, byStrict},
	{"absolute-form with userinfo", bare("GET http://u:p@t/a HTTP/1.1", "Host: t"), nil, byStrict},
	{"absolute-form with Host's name as userinfo", bare("GET http://t@other/a HTTP/1.1", "Host: t"), nil, byStrict},
	{"absolute-form without authority", bare("GET http:///a HTTP/1.1", "Host: t"), nil, byStrict},
	{"absolute-form without Host", bare("GET http://t/a HTTP/1.1", "X: y"), nil, fast},
	{"absolute-form, backslash", bare("GET http://t\\@other/a HTTP/1.1", "Host: t"), nil, fast},
	{"path that fasthttp takes for an authority", bare("GET //other/a?u=b://c HTTP/1.1", "Host: t"), nil, byStrict},
	{"1.0 without Host, path that fasthttp takes for an authority", bare("GET //other/a HTTP/1.0", "Connection: keep-alive"), nil, byStrict},
	{"authority-form, other host", bare("CONNECT other:443 HTTP/1.1", "Host: t"), nil, byStrict},
	{"authority-form, other port", bare("CONNECT t:443 HTTP/1.1", "Host: t:80"), nil, byStrict},
}

// canary is sent behind each message: read if that was, else never.
const canary = "GET /canary HTTP/1.1\r\nHost: canary\r\n\r\n"

// recorder is a handler that keeps what it is called with.
type recorder struct {
	mu   sync.Mutex // guards seen
	seen []string
}

func (r *recorder) record(ctx *fasthttp.RequestCtx) {
	body := ctx.PostBody()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, fmt.Sprintf("%s %s %s %s", ctx.Method(), ctx.RequestURI(), ctx.Request.Header.Host(), body))
}

func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	r.seen = nil
	return seen
}

// around records each request that a handler would be called with.
func (r *recorder) around(fasthttp.RequestHandler) fasthttp.RequestHandler { return r.record }

// converse sends a message and a canary and no more, and returns the codes of all
// responses.
func converse(t *testing.T, addr net.Addr, m message) (codes []int, last *http.Response) {
	t.Helper()
	c := dialAddr(t, addr)
	c.send(m.raw + canary)
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := c.r.Peek(1); err != nil {
			if err != io.EOF {
				t.Fatalf("after %v: %v", codes, err)
			}
			return codes, last
		}
		method := "GET"
		if len(codes) < len(m.want) {
			method, _, _ = strings.Cut(m.want[len(codes)], " ")
		}
		resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("after %v: %v", codes, err)
		}
		if _, err := io.ReadAll(resp.Body); err != nil {
			t.Fatalf("after %v: %v", codes, err)
		}
		if resp.StatusCode != http.StatusContinue {
			codes, last = append(codes, resp.StatusCode), resp
		}
	}
}

func TestSmuggling(t *testing.T) {
	if len(corpus) < 100 {
		t.Fatalf("%d messages", len(corpus))
	}
	var seen recorder
	r := run(t, loopback().Use(seen.around))
	for _, m := range corpus {
		t.Run(m.name, func(t *testing.T) {
			codes, last := converse(t, r.ListenAddrs()[0], m)
			want, answers, code := slices.Clone(m.want), len(m.want)+1, 2
			switch m.then {
			case goesOn:
				want = append(want, "GET /canary canary ")
			case ends:
				answers--
			default:
				code = 4
			}
			if last == nil || last.StatusCode/100 != code || last.Close != (m.then != goesOn) {
				t.Errorf("answered %v", codes)
			}
			if got := seen.take(); !slices.Equal(got, want) {
				t.Errorf("read %q, want %q", got, want)
			}
			if len(codes) != answers {
				t.Errorf("%d responses (%v), want %d", len(codes), codes, answers)
			}
		})
	}
	r.finish()
}

// Without Strict fasthttp reads what only Strict refuses: the protection is needed.
func TestSmugglingNotStrict(t *testing.T) {
	var seen recorder
	r := run(t, loopback().Use(seen.around).Strict(false))
	for _, m := range corpus {
		t.Run(m.name, func(t *testing.T) {
			_, _ = converse(t, r.ListenAddrs()[0], m)
			got := seen.take()
			if isRead := len(got) > len(m.want); isRead != (m.then != fast) {
				t.Errorf("read %q", got)
			}
		})
	}
	r.finish()
}

// A body that the handler is to read itself is not read, and its rest is no request.
func TestSmugglingStreamed(t *testing.T) {
	var seen recorder
	r := run(t, loopback().Use(seen.around).Configure(func(h *fasthttp.Server) { h.StreamRequestBody = true }))
	for _, m := range corpus {
		t.Run(m.name, func(t *testing.T) {
			codes, last := converse(t, r.ListenAddrs()[0], m)
			got := seen.take()
			for _, request := range got {
				if strings.HasPrefix(request, "GET /smuggled ") {
					t.Errorf("read %q", got)
				}
			}
			if m.then != goesOn && slices.Contains(got, "GET /canary canary ") {
				t.Errorf("read %q, answered %v", got, codes)
			}
			if last == nil {
				t.Error("no answer")
			}
		})
	}
	r.finish()
}

func TestRefusedIsLogged(t *testing.T) {
	var log logs
	r := run(t, loopback().Logger(log.logger()).Get("/a", hello))
	c := r.dial()
	c.send(post(abcChunk, "Content-Length: 3", "Transfer-Encoding: chunked") + smuggled)
	resp := c.reply("POST")
	if resp.StatusCode != 400 || !resp.Close || resp.Header.Get(HeaderRequestID) == "" {
		t.Errorf("%v, header %v", resp, resp.Header)
	}
	c.wantEOF()
	r.finish()
	line := log.line(t, "request")
	if line["status"] != 400.0 || line["path"] != "/a" || line["refused"] != "Transfer-Encoding and Content-Length" {
		t.Errorf("logged %v", line)
	}
}
