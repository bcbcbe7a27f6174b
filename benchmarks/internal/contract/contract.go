// Package contract is what every contender answers, and what all of them have in
// common. It imports no HTTP library, so that it adds to no contender's process
// what another one needs.
package contract

import (
	"bytes"
	"context"
	"flag"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// ContentType is that of every response but the file's.
const ContentType = "text/plain; charset=utf-8"

// The time limits of every contender. A server without any may not face the
// internet, and they have a price: a deadline set a request. They are toolkit's
// defaults.
const (
	ReadTimeout  = time.Minute
	WriteTimeout = time.Minute
	IdleTimeout  = 75 * time.Second
)

// ShutdownTimeout is what a contender's graceful shutdown may take.
const ShutdownTimeout = 10 * time.Second

// SlowTime is what GET /slow waits before it answers.
const SlowTime = 300 * time.Millisecond

// Page is a path and the body that a GET of it is answered with.
type Page struct {
	Path string
	Body []byte
}

// The pages.
var (
	Plain13  = Page{"/plain/13", []byte("Hello, World!")}
	Plain1k  = Page{"/plain/1k", bytes.Repeat([]byte("0123456789abcdef"), 1<<10/16)}
	Plain16k = Page{"/plain/16k", bytes.Repeat([]byte("0123456789abcdef"), 16<<10/16)}
	Plain64k = Page{"/plain/64k", bytes.Repeat([]byte("0123456789abcdef"), 64<<10/16)}
)

// Plain are all pages, for servers that have a router.
var Plain = []Page{Plain13, Plain1k, Plain16k, Plain64k}

// The other paths.
const (
	Upload = "/upload" // POST: the body's length, in decimal
	File   = "/file"   // GET: the file of Options, through sendfile(2) where the server can
	Slow   = "/slow"   // GET: SlowBody after SlowTime
)

// The paths of the contenders that serve net/http handlers, which are such for all of them.
const (
	NetHello  = "/net/hello"  // GET: as Plain13
	NetEcho   = "/net/echo"   // POST: its body
	NetStream = "/net/stream" // GET: StreamPart for StreamParts times, each flushed
)

// StreamParts is how many parts NetStream has.
const StreamParts = 8

// StreamPart is one of them.
var StreamPart = bytes.Repeat([]byte("0123456789abcdef"), 4)

// SlowBody answers Slow.
var SlowBody = []byte("slow")

// Length answers Upload.
func Length(n int) []byte { return strconv.AppendInt(nil, int64(n), 10) }

// Options are what a contender is started with. GOMAXPROCS decides how parallel
// it is.
type Options struct {
	Addr      string
	Cert, Key string // PEM files; "" is no TLS
	File      string
	ParkAfter time.Duration // of those that can
	Hardened  bool          // all of toolkit's protections
	Native    bool          // native routes beside net/http's
}

// TLS says whether the contender is to speak TLS.
func (o Options) TLS() bool { return o.Cert != "" }

// Flags parses the command line.
func Flags() (o Options) {
	flag.StringVar(&o.Addr, "addr", "127.0.0.1:8080", "`address` to listen on")
	flag.StringVar(&o.Cert, "cert", "", "PEM `file` of a certificate chain: serve TLS")
	flag.StringVar(&o.Key, "key", "", "PEM `file` of its key")
	flag.StringVar(&o.File, "file", "", "`file` that GET /file sends")
	flag.BoolVar(&o.Hardened, "hardened", false, "all of toolkit's protections, those too that are off by default")
	flag.BoolVar(&o.Native, "native", false, "native routes beside those of net/http")
	flag.DurationVar(&o.ParkAfter, "park-after", 0, "`time` after which lifecycle and toolkit park an idle connection; 0 is never")
	flag.Parse()
	return o
}

// Terminated ends with SIGTERM.
func Terminated() context.Context {
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM) // heeded for the process's life
	return ctx
}

// Shutdown is the context of a graceful shutdown.
func Shutdown() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), ShutdownTimeout)
}
