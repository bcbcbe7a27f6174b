package toolkit

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// What the defaults' time limits would let through for a minute, or for ever.
func TestMinRates(t *testing.T) {
	var log logs
	large := strings.NewReader(strings.Repeat("x", 32<<20))
	r := run(t, loopback().Logger(log.logger()).AccessLog(false).
		MinReadRate(2000, 100*time.Millisecond).
		MinWriteRate(2000, 100*time.Millisecond).
		Post("/", length).
		Get("/large", func(ctx *fasthttp.RequestCtx) { ctx.SetBodyStream(large, large.Len()) }))

	sender := r.dial()
	sender.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n0")
	if resp := sender.reply("POST"); resp.StatusCode != fasthttp.StatusRequestTimeout {
		t.Error(resp)
	}
	sender.wantEOF()
	if line := log.line(t, "too slow"); line["name"] != "request" || line["addr"] != sender.LocalAddr().String() {
		t.Error(line)
	}

	reader := r.dial()
	reader.send("GET /large HTTP/1.1\r\nHost: t\r\n\r\n")
	for began := time.Now(); len(log.lines(t, "too slow")) < 2; time.Sleep(time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatal("who does not read is not ended")
		}
	}
	if _, err := io.Copy(io.Discard, reader.r); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client sees %v; want a reset", err)
	}
	r.finish()
}
