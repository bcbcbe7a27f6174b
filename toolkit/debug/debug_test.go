package debug

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/internal/servertest"
	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
)

// Each format can be asked for, by the query or as its clients ask for it.
func TestFormats(t *testing.T) {
	r := run(t, loopback(nil).With(At("/debug")))
	for _, c := range []struct{ path, accept, want string }{
		{"/debug", "*/*", "text/plain"}, // curl
		{"/debug", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"}, // a browser
		{"/debug", "application/json", "application/json"},
		{"/debug?format=json", "*/*", "application/json"},
		{"/debug?format=text", "text/html", "text/plain"},
		{"/debug?format=html", "*/*", "text/html"},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			resp := r.Do(method, c.path, "", "Accept", c.accept)
			if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || got != c.want+"; charset=utf-8" {
				t.Errorf("%s %s, %s: %s %s", method, c.path, c.accept, resp.Status, got)
			}
			for name, want := range map[string]string{
				"Cache-Control": "no-store", "Vary": "Accept", "X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin",
			} {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("%s %s: %s: %q", method, c.path, name, got)
				}
			}
		}
	}
	if resp := r.Do("HEAD", "/debug", "", "Accept", "text/event-stream"); resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("events by HEAD: %+v", resp)
	}
	for _, query := range []string{"format=xml", "format=", "format=json&sort=x", "format=json&sort=-", "format=text&state=closed", "format=events&limit=-1", "format=json&limit=1001", "format=json&limit=x"} {
		if resp := r.Get("/debug?" + query); resp.StatusCode != 400 || !strings.Contains(resp.Text, "want") {
			t.Errorf("%s: %s %q", query, resp.Status, resp.Text)
		}
	}
}

// The page brings all that it needs, and its policy lets it have nothing else.
func TestPageNeedsNothingElse(t *testing.T) {
	r := run(t, loopback(nil).With(At("/debug")))
	resp := r.Get("/debug?format=html")
	policy := resp.Header.Get("Content-Security-Policy")
	for tag, file := range map[string][]byte{"style": pageCSS, "script": pageJS} {
		if !strings.Contains(resp.Text, "<"+tag+">"+string(file)+"</"+tag+">") || !strings.Contains(policy, tag+"-src "+hash(file)+";") {
			t.Errorf("%s is missing, or not in the policy %s", tag, policy)
		}
	}
	for _, outside := range []string{"http:", "https:", "src=", "@import", "url("} {
		text := strings.ReplaceAll(resp.Text, `xmlns="http://www.w3.org/2000/svg"`, "")
		if i := strings.Index(text, outside); i >= 0 {
			t.Errorf("%q in %q", outside, text[max(0, i-30):i+30])
		}
	}
	if !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") {
		t.Error(policy)
	}
	if len(resp.Text) > 48<<10 {
		t.Errorf("the page has %d bytes", len(resp.Text))
	}
}

// Who is not on this machine sees nothing, unless another guard is given.
func TestPageIsForThisMachine(t *testing.T) {
	r := run(t, loopback(nil).With(At("/debug"), ViewAt("/open", anyone)))
	for _, method := range []string{"GET", "POST"} {
		if resp := r.Do(method, "/debug", "", "X-Forwarded-For", "192.0.2.1"); resp.StatusCode != 403 {
			t.Errorf("%s through a proxy: %s", method, resp.Status)
		}
	}
	if r.Phase() != lifecycle.PhaseReady {
		t.Error("the drain was begun from elsewhere")
	}
	if resp := r.Get("/open", "X-Forwarded-For", "192.0.2.1"); resp.StatusCode != 200 {
		t.Errorf("with another guard: %s", resp.Status)
	}
}

func TestBadPath(t *testing.T) {
	for call, e := range map[string]toolkit.Extension{"debug.At": At("debug"), "debug.ViewAt": ViewAt("")} {
		if _, err := loopback(nil).With(e).Build(); err == nil || !strings.Contains(err.Error(), call) {
			t.Errorf("%s: %v", call, err)
		}
	}
	if _, err := loopback(nil).With(At("/{a}")).Build(); err == nil {
		t.Error("a parameter in the path")
	}
}

// A POST begins the drain, unless another site's page has sent it.
func TestDrainButton(t *testing.T) {
	for _, c := range []struct {
		name    string
		headers []string
		drains  bool
	}{
		{"the page", []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://localhost:8080"}, true},
		{"curl", nil, true},
		{"a browser without Sec-Fetch-Site", []string{"Origin", "http://LOCALHOST:8080"}, true},
		{"another site", []string{"Sec-Fetch-Site", "cross-site", "Origin", "http://example.com"}, false},
		{"another port", []string{"Sec-Fetch-Site", "same-site", "Origin", "http://localhost:8081"}, false},
		{"another site, without Sec-Fetch-Site", []string{"Origin", "http://example.com"}, false},
		{"a sandbox", []string{"Origin", "null"}, false},
		{"nonsense", []string{"Origin", "http://%zz"}, false},
		{"another site that claims our origin", []string{"Sec-Fetch-Site", "cross-site", "Origin", "http://localhost:8080"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run(t, loopback(nil).With(At("/debug")))
			resp := r.Do("POST", "/debug", "", c.headers...)
			if c.drains {
				if resp.StatusCode != 202 || r.Wait() != nil || r.Report().Cause != "Drain" {
					t.Errorf("%s; %+v", resp.Status, r.Report())
				}
				return
			}
			if resp.StatusCode != 403 || r.Phase() != lifecycle.PhaseReady {
				t.Errorf("%s; %v", resp.Status, r.Phase())
			}
			if resp := r.Get("/debug?format=json", c.headers...); resp.StatusCode != 403 {
				t.Errorf("JSON: %s", resp.Status)
			}
			if resp := r.Get("/debug", append(c.headers, "Accept", "text/event-stream")...); resp.StatusCode != 403 {
				t.Errorf("events: %s", resp.Status)
			}
			link := slices.Concat(c.headers, []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"})
			if resp := r.Get("/debug?format=html", link...); resp.StatusCode != 200 {
				t.Errorf("the page: %s", resp.Status)
			}
		})
	}
	r := run(t, loopback(nil).With(ViewAt("/debug")))
	if resp := r.Do("POST", "/debug", ""); resp.StatusCode != 405 || r.Phase() != lifecycle.PhaseReady {
		t.Errorf("without a button: %s", resp.Status)
	}
	if snap := r.snapshot(""); snap.Server.Drains {
		t.Error("a view has a button")
	}
}

// The page is to be seen where the server is busy with as many requests as it may have.
func TestPageIsAProbe(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	r := run(t, loopback(release).MaxInFlight(1, 0).With(At("/debug")))
	r.Dial().Ask("GET", "/slow/1", "")
	for n, _ := r.InFlight(); n == 0; n, _ = r.InFlight() {
		time.Sleep(time.Millisecond)
	}
	if resp := r.Get("/hello"); resp.StatusCode != 503 {
		t.Error(resp.Status)
	}
	if resp := r.Get("/debug"); resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
}

// Middleware for every day may be around it.
func TestPageBehindMiddleware(t *testing.T) {
	r := run(t, loopback(nil).With(At("/debug")).Use(
		toolkit.Timeout(time.Minute, "late"), toolkit.Compress(), toolkit.SecurityHeaders(map[string]string{"Content-Security-Policy": "default-src 'self'"}), toolkit.ETag()))
	resp := r.Get("/debug?format=html", "Accept-Encoding", "gzip")
	_, policy := page()
	if resp.Header.Get("Content-Security-Policy") != policy || resp.Header.Get("Content-Encoding") != "gzip" || resp.Header.Get("X-Frame-Options") != "DENY" {
		t.Errorf("%v", resp.Header)
	}
	e := r.watch("")
	e.until("watched", func(s seen) bool { return s.Watching == 1 })
	r.Drain()
	e.until("the end", func(s seen) bool { return s.End == "drained" })
	if err := r.Wait(); err != nil {
		t.Error(err)
	}
}

func TestSnapshot(t *testing.T) {
	release := make(chan struct{})
	b := loopback(release).With(At("/debug")).IdleTimeout(0).
		ReadyCheck("good", func(context.Context) error { return nil }).
		ReadyCheck("bad", func(context.Context) error { return errors.New("no") }).
		OnStart("start", func(context.Context) error { return nil }).
		PreExit("last", func(context.Context) error { return nil })
	r := run(t, b)
	r.Get("/readyz")
	for r.Counts().Total() > 0 { // it may not be closed yet
		time.Sleep(time.Millisecond)
	}
	busy := r.Dial()
	busy.Ask("GET", "/slow/x?secret", "")
	for r.Counts().Active == 0 {
		time.Sleep(time.Millisecond)
	}
	r.Go("job", func(context.Context) { <-release })
	snap := r.snapshot("")
	if snap.Phase != "ready" || snap.Server == nil || !snap.Server.Drains || len(snap.Server.Addrs) != 1 || snap.Counts.Active != 2 {
		t.Errorf("%+v", snap)
	}
	if len(snap.Work) != 1 || snap.Work[0].Name != "job" || snap.Work[0].Age <= 0 {
		t.Errorf("work %+v", snap.Work)
	}
	if text := fmt.Sprint(snap.Checks); text != "[{good } {bad no}]" {
		t.Errorf("checks %s", text)
	}
	var hooks []string
	for _, h := range snap.Hooks {
		hooks = append(hooks, fmt.Sprint(h.Stage, " ", h.Name, " ", h.State))
	}
	if !slices.Equal(hooks, []string{"start start ok", "exit last pending"}) {
		t.Errorf("hooks %q", hooks)
	}
	var slow seenConn
	for _, c := range snap.Conns {
		if c.Remote == busy.LocalAddr().String() {
			slow = c
		}
	}
	if slow.State != "active" || slow.Route != "GET /slow/x" || slow.Requests != 1 || slow.Since <= 0 {
		t.Errorf("connections %+v", snap.Conns)
	}
	if w := snap.Server.Warnings; len(w) == 0 || w[0].Call != "IdleTimeout(0)" {
		t.Errorf("warnings %+v", w)
	}
	if !slices.Contains(snap.Server.Settings, toolkit.Setting{Call: "IdleTimeout", Value: "none"}) {
		t.Errorf("settings %+v", snap.Server.Settings)
	}
	close(release)
}

// Text is for terminals: what clients send must do nothing there.
func TestText(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	r := run(t, loopback(release).With(At("/debug")).IdleTimeout(0).ShutdownDelay(time.Minute).DrainTimeout(time.Minute).
		ReadyCheck("database", func(context.Context) error { return errors.New("a\nb") }).
		PreExit("last", func(context.Context) error { return nil }))
	busy := r.Dial()
	busy.Ask("GET", "/slow/%1b%5b2J%0aevil", "")
	for r.Counts().Active == 0 {
		time.Sleep(time.Millisecond)
	}
	wants := func(query string, wants ...string) {
		t.Helper()
		text := r.Get("/debug?" + query).Text
		for _, want := range wants {
			if !regexp.MustCompile(want).MatchString(text) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
		if strings.ContainsAny(text, "\x1b\r") {
			t.Errorf("%q", text)
		}
	}
	wants("limit=1", `is ready since`, `listens on tcp 127\.0\.0\.1:`, `2 connections: 0 new, 2 active`, `and 1 more`,
		`(?m)^database  not asked yet`, `(?m)^last +exit +pending`, `(?m)^IdleTimeout\(0\): `, `(?m)^IdleTimeout +none +set$`, `(?m)^Strict +on *$`)
	r.Get("/readyz")
	r.Drain()
	wants("sort=id", `is draining since .* \(Drain\), \S+ until the deadline`, `(?m)^database +failed +\S+ +\S+ +"a\\nb"$`,
		`(?m)^1 +active +\S+ +\S+ +1 +fasthttp +`+busy.LocalAddr().String()+` +"GET /slow/\\x1b\[2J\\nevil"$`)
	_ = r.Close()
}

// The rows are the first ones of all that match, in the order that was asked for.
func TestRows(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	b := loopback(release).With(At("/debug")).Get("/hijack", func(ctx *fasthttp.RequestCtx) { ctx.Hijack(func(net.Conn) { <-release }) })
	r := run(t, b.DrainTimeout(time.Millisecond).AbortTimeout(0))
	for i := range 60 {
		c := r.Dial()
		switch i % 4 {
		case 0:
			c.Ask("GET", fmt.Sprintf("/slow/%d", i*7%60), "")
		case 1:
			for range i%5 + 1 {
				c.Get("/hello")
			}
		case 2:
			c.Get("/hijack")
		}
	}
	want := lifecycle.Counts{New: 15, Active: 15, Idle: 15, Hijacked: 15}
	for began := time.Now(); r.Counts() != want; time.Sleep(time.Millisecond) {
		if time.Since(began) > servertest.Patience {
			t.Fatal(r.Counts())
		}
	}
	states := []string{"active", "hijacked", "new", "idle", "parked"}
	orders := map[string]func(a, b lifecycle.ConnInfo) int{
		"id":       func(a, b lifecycle.ConnInfo) int { return cmp.Compare(a.ID, b.ID) },
		"requests": func(a, b lifecycle.ConnInfo) int { return cmp.Compare(a.Requests, b.Requests) },
		"age":      func(a, b lifecycle.ConnInfo) int { return cmp.Compare(a.Age, b.Age) },
		"since":    func(a, b lifecycle.ConnInfo) int { return cmp.Compare(a.Since, b.Since) },
		"remote":   func(a, b lifecycle.ConnInfo) int { return cmp.Compare(a.Remote, b.Remote) },
		"route":    func(a, b lifecycle.ConnInfo) int { return cmp.Compare(a.Route, b.Route) },
		"parked":   func(_, _ lifecycle.ConnInfo) int { return 0 },
		"engine":   func(_, _ lifecycle.ConnInfo) int { return 0 },
		"state": func(a, b lifecycle.ConnInfo) int {
			return cmp.Or(cmp.Compare(slices.Index(states, a.State.String()), slices.Index(states, b.State.String())), cmp.Compare(b.Since, a.Since))
		},
	}
	for name, order := range orders {
		for _, desc := range []string{"", "-"} {
			for _, limit := range []int{0, 1, 7, 59, 60, 1000} {
				for _, filter := range []struct {
					query   string
					matches func(lifecycle.ConnInfo) bool
				}{
					{"", func(lifecycle.ConnInfo) bool { return true }},
					{"&q=SLOW", func(c lifecycle.ConnInfo) bool { return strings.Contains(c.Route, "/slow") }},
					{"&state=idle,hijacked", func(c lifecycle.ConnInfo) bool {
						return c.State == lifecycle.StateIdle || c.State == lifecycle.StateHijacked
					}},
				} {
					all := slices.DeleteFunc(r.Conns(), func(c lifecycle.ConnInfo) bool { return !filter.matches(c) })
					slices.SortStableFunc(all, func(a, b lifecycle.ConnInfo) int {
						if desc == "-" {
							return order(b, a)
						}
						return order(a, b)
					})
					query := fmt.Sprintf("sort=%s%s&limit=%d%s", desc, name, limit, filter.query)
					var args fasthttp.Args
					args.Parse(query)
					q, err := queryOf(&args)
					if err != nil {
						t.Fatal(err)
					}
					rows, matching := q.rows(r.EachConn)
					if matching != len(all) || len(rows) != min(limit, len(all)) {
						t.Errorf("%s: %d rows of %d", query, len(rows), matching)
					}
					for i, row := range rows {
						if row.ID != all[i].ID || row.Remote != all[i].Remote || row.Route != all[i].Route {
							t.Errorf("%s: row %d is %+v, want %+v", query, i, row, all[i])
							break
						}
					}
				}
			}
		}
	}
}

// Connections are counted while they are being parked, too.
func TestCountsWhileParking(t *testing.T) {
	const n = 300
	r := run(t, loopback(nil).With(At("/debug")).IdleTimeout(0).ParkAfter(20*time.Millisecond))
	for range n {
		r.Dial().Get("/hello")
	}
	if runtime.GOOS != "linux" {
		t.Skip("parking is for Linux")
	}
	v := &view{server: r.Server.Server}
	for parked := 0; parked < n; {
		snap := v.snapshot(query{}, time.Time{})
		if got := snap.Counts.Total(); got != n {
			t.Fatalf("%d connections of %d are counted: %v", got, n, snap.Counts)
		}
		parked = snap.Counts.Parked
	}
}

// Events show the server's life to its end, which they do not hold up.
func TestEvents(t *testing.T) {
	release := make(chan struct{})
	r := run(t, loopback(release).With(At("/debug")).DrainTimeout(0))
	busy := r.Dial()
	busy.Ask("GET", "/slow/x", "")
	first := r.watch("q=slow")
	other := r.watch("")
	snap := first.until("busy", func(s seen) bool { return s.Counts.Active == 3 })
	if snap.ConnsOf != 1 || len(snap.Conns) != 1 || snap.Conns[0].Route != "GET /slow/x" || snap.Watching != 2 {
		t.Errorf("%+v", snap)
	}
	if snap := other.until("all", func(s seen) bool { return s.ConnsOf == 3 }); !snap.Conns[0].Watches && !snap.Conns[1].Watches {
		t.Errorf("%+v", snap.Conns)
	}
	r.Drain()
	if snap := first.until("draining", func(s seen) bool { return s.Phase == "draining" }); snap.Cause != "Drain" || snap.Server != nil && snap.Server.PID == 0 {
		t.Errorf("%+v", snap)
	}
	close(release)
	busy.Reply("GET")
	for _, e := range []*events{first, other} {
		snap := e.until("the end", func(s seen) bool { return s.End != "" })
		if snap.End != "drained" || snap.Told != 1 || snap.Cut != 0 {
			t.Errorf("%+v", snap)
		}
		if snap, err := e.next(); !errors.Is(err, io.EOF) {
			t.Errorf("after the end: %+v, %v", snap, err)
		}
	}
	if err := r.Wait(); err != nil {
		t.Error(err)
	}
}

// Who watches has a moment for the last event, whatever the machine is at: one of several
// ends is seen.
func TestEventsOfAForcedEnd(t *testing.T) {
	for began := time.Now(); !seesForcedEnd(t); {
		if time.Since(began) > servertest.Patience {
			t.Fatal("no event tells of the end")
		}
	}
}

func seesForcedEnd(t *testing.T) bool {
	release := make(chan struct{})
	defer close(release)
	r := run(t, loopback(release).With(At("/debug")).DrainTimeout(50*time.Millisecond).AbortTimeout(0))
	r.Dial().Ask("GET", "/slow/x", "")
	e := r.watch("")
	e.until("busy", func(s seen) bool { return s.Counts.Active == 2 })
	r.Drain()
	var last seen
	for {
		snap, err := e.next()
		if err != nil {
			break
		}
		last = snap
	}
	if last.End != "" && (last.End != "cut" || last.Cut != 1) {
		t.Errorf("%+v", last)
	}
	if err := r.Wait(); !errors.Is(err, lifecycle.ErrDrainTimeout) {
		t.Error(err)
	}
	return last.End != ""
}

// Over HTTP/2 the connection is not the stream's alone: there the drain's begin is the last
// that is seen.
func TestEventsOverHTTP2(t *testing.T) {
	r := run(t, loopback(nil).With(At("/debug")).NetHTTP("/net", http.NotFoundHandler()))
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport, Timeout: servertest.Patience}
	resp, err := c.Get("http://" + r.Addr() + "/debug?format=events")
	if err != nil || resp.ProtoMajor != 2 {
		t.Fatal(resp, err)
	}
	defer resp.Body.Close()
	r.Drain()
	all, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(all), `"end":"unseen"`) {
		t.Errorf("%v, %.200s", err, all)
	}
	if err := r.Wait(); err != nil {
		t.Error(err)
	}
}

// A server of nothing but a net/http application stays one: its connections are net/http's from
// their first byte on, with a page too, which works there.
func TestPageOfANetHTTPServer(t *testing.T) {
	app := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "app") })
	r := run(t, servertest.Loopback().NetHTTP("/", app).With(At("/debug")))
	if r.DivertIf != nil { // see nethttp.Mount.Fresh
		t.Error("connections begin in fasthttp")
	}
	c := r.Dial()
	if resp := c.Get("/other"); resp.Text != "app" {
		t.Errorf("%s %s", resp.Status, resp.Text)
	}
	e := r.watch("sort=id")
	if snap := e.until("both", func(s seen) bool { return s.ConnsOf == 2 }); !snap.Conns[1].Watches || snap.Conns[1].State != "active" {
		t.Errorf("%+v", snap.Conns)
	}
	if resp := c.Do("POST", "/debug", ""); resp.StatusCode != 202 {
		t.Errorf("%s %s", resp.Status, resp.Text)
	}
	if snap := e.until("the end", func(s seen) bool { return s.End != "" }); snap.End != "drained" {
		t.Errorf("%+v", snap)
	}
	if err := r.Wait(); err != nil {
		t.Error(err)
	}
}

// So many may look at a time, and each makes room when it goes.
func TestTooManyLook(t *testing.T) {
	r := run(t, loopback(nil).With(At("/debug")))
	all := make([]*events, maxStreams)
	for i := range all {
		all[i] = r.watch("limit=0")
	}
	if resp := r.Get("/debug?format=events"); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Error(resp.Status)
	}
	_ = all[0].Close()
	for began := time.Now(); r.Get("/debug?format=json").StatusCode == 200 && r.snapshot("").Watching == maxStreams; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > servertest.Patience {
			t.Fatal("one that has gone is still counted")
		}
	}
	r.watch("limit=0")
}

// The past begins with the first look, and is kept up until for long nobody has looked.
func TestHistory(t *testing.T) {
	servertest.Bubble(t, toolkit.New().Logger(zerolog.Nop()).LastCall(0).IdleTimeout(0).With(At("/debug", anyone)), func(t *testing.T, s *servertest.Server) {
		r := running{s}
		time.Sleep(time.Hour)
		c := r.Dial()
		past := func() int {
			t.Helper()
			var snap seen
			snap.parse(t, c.Get("/debug?format=json").Text)
			for i, p := range snap.History {
				if snap.At.Sub(p.At) > kept+interval || p.Total() != 1 || i > 0 && p.At.Sub(snap.History[i-1].At) != interval {
					t.Errorf("point %d: %+v", i, p)
				}
			}
			return len(snap.History)
		}
		if n := past(); n > 1 { // of this moment
			t.Errorf("%d points at the first look", n)
		}
		time.Sleep(time.Minute + interval/2)
		if n := past(); n != 61 {
			t.Errorf("%d points after a minute", n)
		}
		time.Sleep(keepLooking - time.Second)
		if n := past(); n != int(kept/interval)+1 {
			t.Errorf("%d points just before it is given up", n)
		}
		time.Sleep(keepLooking + 2*time.Second)
		if n := past(); n > 1 {
			t.Errorf("%d points when it has been given up", n)
		}
		time.Sleep(time.Second + interval/2)
		if n := past(); n != 2 {
			t.Errorf("%d points when it has begun anew", n)
		}
	})
}

// An event a second, and five while draining; of the past each has what is new.
func TestRates(t *testing.T) {
	var release chan struct{}
	b := toolkit.New().Logger(zerolog.Nop()).LastCall(0).With(At("/debug", anyone)).
		Get("/slow", func(*fasthttp.RequestCtx) { <-release })
	servertest.Bubble(t, b, func(t *testing.T, s *servertest.Server) {
		r := running{s}
		release = make(chan struct{})
		e := r.watch("")
		r.Dial().Ask("GET", "/slow", "")
		began, points := time.Now(), 0
		for i := range 10 {
			snap, err := e.next()
			if err != nil || (snap.Server != nil) != (i == 0) {
				t.Fatal(err, snap)
			}
			if at := snap.At.Sub(began); at != time.Duration(i)*interval {
				t.Errorf("event %d comes after %v", i, at)
			}
			points += len(snap.History)
		}
		if points < 9 || points > 10 {
			t.Errorf("%d points in ten events", points)
		}
		r.Drain()
		began = time.Now()
		for i := range 10 {
			snap, err := e.next()
			if err != nil || snap.At.Sub(began) != time.Duration(i)*drainInterval {
				t.Errorf("event %d of the drain comes after %v, %v", i, snap.At.Sub(began), err)
			}
		}
		close(release)
		ended := time.Now()
		if err := r.Wait(); err != nil || time.Since(ended) != 0 {
			t.Errorf("%v, after %v", err, time.Since(ended))
		}
	})
}

// Where events are rare, something is sent in between, so that a client that has gone is noticed; what
// is to be seen at once ends the wait.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent bytes.Buffer
		w := bufio.NewWriter(&sent)
		began := time.Now()
		if ended, err := rest(w, 2500*time.Millisecond, nil, nil); ended || err != nil || time.Since(began) != 2500*time.Millisecond || sent.String() != ":\n\n:\n\n" {
			t.Errorf("%v, %v after %v: %q", ended, err, time.Since(began), sent.String())
		}
		began = time.Now()
		if _, err := rest(bufio.NewWriter(gone{}), time.Hour, nil, nil); !errors.Is(err, io.ErrClosedPipe) || time.Since(began) != interval {
			t.Errorf("to one that has gone: %v after %v", err, time.Since(began))
		}
		began = time.Now()
		closed := make(chan struct{})
		close(closed)
		if ended, err := rest(w, time.Hour, closed, nil); ended || err != nil {
			t.Errorf("when the drain begins: %v, %v", ended, err)
		}
		if ended, err := rest(w, time.Hour, nil, closed); !ended || err != nil || time.Since(began) != 0 {
			t.Errorf("at the end: %v, %v after %v", ended, err, time.Since(began))
		}
	})
}

// gone is a client that has.
type gone struct{}

func (gone) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// What costs more comes less often, and so does what more ask for.
func TestPause(t *testing.T) {
	s, err := loopback(nil).Build()
	if err != nil {
		t.Fatal(err)
	}
	if d := pause(s, time.Millisecond, 1); d != interval {
		t.Error(d)
	}
	if d := pause(s, 200*time.Millisecond, 1); d != 4*time.Second {
		t.Error(d)
	}
	if d := pause(s, 20*time.Millisecond, 16); d != 6400*time.Millisecond {
		t.Error(d)
	}
	s.Drain()
	if d := pause(s, time.Millisecond, 1); d != drainInterval {
		t.Error(d)
	}
}
