package vars_test

import (
	"encoding/json"
	"expvar"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/toolkit"
	"github.com/lastcall-go/lastcall/toolkit/vars"
)

var jobs = expvar.NewInt("jobs")

// get makes a request of what b builds, from this machine, with headers.
func get(b *toolkit.Builder, headers ...string) (*fasthttp.Response, error) {
	srv, err := b.Addr("127.0.0.1:0").Logger(zerolog.Nop()).Build()
	if err != nil {
		return nil, err
	}
	var req fasthttp.Request
	req.SetRequestURI("/debug/vars")
	req.Header.SetHost("localhost")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	var ctx fasthttp.RequestCtx
	ctx.Init(&req, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, nil)
	srv.Handler()(&ctx)
	return &ctx.Response, nil
}

func Example() {
	jobs.Set(3)
	resp, err := get(toolkit.New().With(vars.At("/debug/vars")))
	if err != nil {
		fmt.Println(err)
		return
	}
	var all map[string]any
	fmt.Println(json.Unmarshal(resp.Body(), &all))
	fmt.Println(all["jobs"], all["memstats"] != nil)
	// Output:
	// <nil>
	// 3 true
}

func TestGuards(t *testing.T) {
	everybody := func(next fasthttp.RequestHandler) fasthttp.RequestHandler { return next }
	for _, tt := range []struct {
		at      toolkit.Extension
		headers []string
		want    int
	}{
		{vars.At("/debug/vars"), nil, 200},
		{vars.At("/debug/vars"), []string{"X-Forwarded-For", "192.0.2.1"}, 403},
		{vars.At("/debug/vars"), []string{"Host", "rebound.example"}, 403},
		{vars.At("/debug/vars", everybody), []string{"X-Forwarded-For", "192.0.2.1"}, 200},
		{vars.At("/debug/vars", everybody, toolkit.LocalOnly), []string{"X-Forwarded-For", "192.0.2.1"}, 403},
	} {
		resp, err := get(toolkit.New().With(tt.at), tt.headers...)
		if err != nil || resp.StatusCode() != tt.want {
			t.Errorf("%q: %v %v, want %d", tt.headers, resp, err, tt.want)
		}
	}
	if _, err := get(toolkit.New().With(vars.At("debug"))); err == nil || !strings.Contains(err.Error(), `vars.At("debug")`) {
		t.Error(err)
	}
}
