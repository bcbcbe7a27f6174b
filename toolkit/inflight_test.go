package toolkit

import (
	"errors"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// slow is a handler that takes d.
func slow(d time.Duration) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		time.Sleep(d)
		ctx.SetBodyString("late")
	}
}

const slowRequest = "GET /slow HTTP/1.1\r\nHost: t\r\n\r\n"

// More requests than MaxInFlight wait, those that wait in vain are told when to come
// back and keep their connection, and health has no part in it.
func TestMaxInFlight(t *testing.T) {
	var log logs
	b := quiet().Logger(log.logger()).MaxInFlight(2, 1500*time.Millisecond).Get("/slow", slow(10*time.Second)).Get("/", hello)
	bubble(t, b, func(t *testing.T, r *running) {
		first, second := r.dial(), r.dial()
		began := time.Now()
		first.send(slowRequest)
		second.send(slowRequest)
		synctest.Wait()
		if now, refused := r.InFlight(); now != 2 || refused != 0 {
			t.Errorf("%d in flight, %d refused", now, refused)
		}

		late := r.dial()
		resp := late.get("/", HeaderRequestID, "x")
		at(t, began, 1500*time.Millisecond)
		if resp.StatusCode != 503 || resp.Close || resp.Header.Get("Retry-After") != "2" || resp.Header.Get(HeaderRequestID) != "x" {
			t.Errorf("refused with %v, close %v, %v", resp, resp.Close, resp.Header)
		}
		if now, refused := r.InFlight(); now != 2 || refused != 1 {
			t.Errorf("%d in flight, %d refused", now, refused)
		}
		if line := log.line(t, "request"); line["status"] != 503.0 || line["request_id"] != "x" {
			t.Errorf("logged %v", line)
		}
		for _, path := range []string{"/livez", "/readyz"} {
			if resp := late.get(path); resp.StatusCode != 200 {
				t.Errorf("%s: %v", path, resp)
			}
			at(t, began, 1500*time.Millisecond)
		}

		time.Sleep(7500 * time.Millisecond)
		if resp := late.get("/"); resp.String() != "200 hello" {
			t.Errorf("who waited got %v", resp)
		}
		at(t, began, 10*time.Second) // as soon as there was room
		first.reply("GET")
		second.reply("GET")
		synctest.Wait()
		if now, refused := r.InFlight(); now != 0 || refused != 1 {
			t.Errorf("%d in flight, %d refused", now, refused)
		}
	})
}

func TestWhoWaitsIsServedInOrder(t *testing.T) {
	const n = 20
	var mu sync.Mutex
	var order []string
	b := quiet().MaxInFlight(1, time.Hour).Get("/slow", slow(time.Minute)).
		Get("/{n}", func(ctx *fasthttp.RequestCtx) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, ctx.UserValue("n").(string))
		})
	bubble(t, b, func(t *testing.T, r *running) {
		r.dial().send(slowRequest)
		synctest.Wait()
		var want []string
		for i := range n {
			want = append(want, strconv.Itoa(i))
			r.dial().send("GET /" + want[i] + " HTTP/1.1\r\nHost: t\r\n\r\n")
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(order, want) {
			t.Errorf("served in the order %v", order)
		}
	})
}

// A handler that panics gives its place back, whatever its request becomes.
func TestPanicsGiveTheirPlaceBack(t *testing.T) {
	r := run(t, loopback().MaxInFlight(1, 0).Get("/", hello).Get("/panic", boomHandler).
		Get("/timeout", fasthttp.TimeoutHandler(Recover(boomHandler), patience, "")))
	c := r.dial()
	for range 3 {
		for path, status := range map[string]int{"/panic": 500, "/timeout": 500, "/": 200, "/none": 404} {
			if resp := c.get(path); resp.StatusCode != status {
				t.Errorf("%s: %v", path, resp)
			}
		}
	}
	if now, refused := r.InFlight(); now != 0 || refused != 0 {
		t.Errorf("%d in flight, %d refused", now, refused)
	}
}

// Without a wait one request too many is refused at once.
func TestMaxInFlightWithoutAWait(t *testing.T) {
	g := newGate()
	r := run(t, loopback().MaxInFlight(1, 0).Get("/", g.handle))
	first := r.dial()
	first.send(getRequest)
	<-g.entered
	if resp := r.dial().get("/"); resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("%v, %v", resp, resp.Header)
	}
	close(g.release)
	if resp := first.reply("GET"); resp.String() != "200 late" {
		t.Error(resp)
	}
	r.finish()
}

// Who waits does not hold up the drain's end, and has an answer.
func TestTheDeadlineEndsTheWait(t *testing.T) {
	b := quiet().MaxInFlight(1, time.Hour).DrainTimeout(5*time.Second).AbortTimeout(time.Second).
		Get("/slow", slow(time.Hour)).Get("/", hello)
	bubble(t, b, func(t *testing.T, r *running) {
		first, waiting := r.dial(), r.dial()
		first.send(slowRequest)
		synctest.Wait()
		waiting.send(getRequest)
		synctest.Wait()
		began := time.Now()
		r.Drain()
		if resp := waiting.reply("GET"); resp.StatusCode != 503 || !resp.Close {
			t.Errorf("%v, close %v", resp, resp.Close)
		}
		at(t, began, 5*time.Second)
		if err := r.wait(); !errors.Is(err, lifecycle.ErrDrainTimeout) || len(r.Report().Cut) != 1 {
			t.Errorf("%v, cut %v", err, r.Report().Cut)
		}
	})
}

// The routes of a group share a limit, others have none; who waits is served in order, and
// refused when its time is over.
func TestLimitInFlight(t *testing.T) {
	l := &logs{}
	b := quiet().Logger(l.logger()).
		Get("/free", hello).
		Group("/reports", func(g *Group) {
			g.Use(LimitInFlight(2, 1500*time.Millisecond))
			g.Get("/a", slow(time.Second)).Get("/b", slow(time.Second))
		})
	bubble(t, b, func(t *testing.T, r *running) {
		began := time.Now()
		type answer struct {
			reply string
			after time.Duration
			retry string
		}
		replies := make(chan answer, 7)
		for i := range 7 {
			path := "/reports/a"
			if i%2 == 1 {
				path = "/reports/b"
			}
			c := r.dial()
			go func() {
				got := c.get(path)
				replies <- answer{got.String(), time.Since(began), got.Header.Get("Retry-After")}
			}()
		}
		if got := r.dial().get("/free"); got.String() != "200 hello" || time.Since(began) != 0 {
			t.Errorf("%v after %v", got, time.Since(began))
		}
		counts := map[answer]int{}
		for range 7 {
			counts[<-replies]++
		}
		for want, n := range map[answer]int{
			{"200 late", time.Second, ""}: 2, {"200 late", 2 * time.Second, ""}: 2,
			{"503 too many requests at a time", 1500 * time.Millisecond, "2"}: 3,
		} {
			if counts[want] != n {
				t.Errorf("%v", counts)
			}
		}
	})
	refused := 0
	for _, line := range l.lines(t, "request") {
		if line["status"] == 503.0 && line["refused"] == tooManyRequests && line["level"] == "warn" {
			refused++
		}
	}
	if refused != 3 {
		t.Errorf("%d refusals in the log", refused)
	}
}

// Inside of a Timeout a handler that was given up on counts until it returns; a panic
// gives its place back.
func TestLimitInFlightCountsTheAbandoned(t *testing.T) {
	b := quiet().
		Use(Timeout(time.Second, "too slow"), LimitInFlight(1, 0)).
		Get("/", slow(time.Minute)).
		Get("/panic", func(*fasthttp.RequestCtx) { panic("boo") })
	bubble(t, b, func(t *testing.T, r *running) {
		c := r.dial()
		for range 3 {
			if got := c.get("/panic"); got.StatusCode != 500 {
				t.Error(got)
			}
		}
		if got := c.get("/"); got.String() != "503 too slow" {
			t.Error(got)
		}
		began := time.Now()
		if got := c.get("/"); got.String() != "503 "+tooManyRequests || time.Since(began) != 0 {
			t.Error(got)
		}
		time.Sleep(time.Minute)
		if got := c.get("/panic"); got.StatusCode != 500 {
			t.Error(got)
		}
	})
}

// The drain's deadline ends the wait.
func TestLimitInFlightEndsWithTheDrain(t *testing.T) {
	b := quiet().DrainTimeout(time.Second).AbortTimeout(time.Minute).Use(LimitInFlight(1, time.Hour)).Get("/", slow(10*time.Second))
	bubble(t, b, func(t *testing.T, r *running) {
		first, second := r.dial(), r.dial()
		first.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
		time.Sleep(time.Millisecond)
		second.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
		time.Sleep(time.Millisecond)
		began := time.Now()
		r.Drain()
		if got := second.reply("GET"); got.StatusCode != 503 || time.Since(began) != time.Second {
			t.Errorf("%v after %v", got, time.Since(began))
		}
		if got := first.reply("GET"); got.StatusCode != 200 {
			t.Error(got)
		}
		if err := r.wait(); !errors.Is(err, lifecycle.ErrDrainTimeout) {
			t.Error(err)
		}
	})
}

// Under any mix of those who enter, leave, wait and give up, no place is lost and none
// is given twice.
func TestPlacesAreNeitherLostNorMade(t *testing.T) {
	const limit = 3
	s := build(t, loopback().MaxInFlight(limit, 0).Get("/", hello))
	var inside, entered atomic.Int64
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for n := range 1000 {
				if !s.inFlight.enter(s, time.Duration((i+n)%4)*10*time.Microsecond) {
					continue
				}
				entered.Add(1)
				if now := inside.Add(1); now > limit {
					t.Errorf("%d are inside", now)
				}
				runtime.Gosched()
				inside.Add(-1)
				s.inFlight.leave()
			}
		})
	}
	all.Wait()
	now, refused := s.InFlight()
	if n := entered.Load() + int64(refused); n != 16*1000 || now != 0 || len(s.inFlight.handed) != 0 {
		t.Errorf("%d entered, %d refused; %d in flight, %d places on their way", entered.Load(), refused, now, len(s.inFlight.handed))
	}
	if entered.Load() == 0 || refused == 0 {
		t.Errorf("%d entered, %d refused: that tells nothing", entered.Load(), refused)
	}
}

// That a server is at its limit is something to know, but no error of the server.
func TestRequestsBeyondMaxInFlightAreLoggedAsRefused(t *testing.T) {
	var log logs
	g := newGate()
	r := run(t, loopback().Logger(log.logger()).MaxInFlight(1, 0).Get("/", g.handle).
		NetHTTP("/net", http.NotFoundHandler()))
	first, late := r.dial(), r.dial()
	first.send(getRequest)
	<-g.entered
	for _, path := range []string{"/", "/net"} {
		if resp := late.get(path); resp.StatusCode != 503 {
			t.Error(resp)
		}
	}
	close(g.release)
	first.reply("GET")
	r.finish()
	levels := map[any]int{}
	for _, line := range log.lines(t, "request") {
		levels[line["level"]]++
		if line["status"] == 503.0 && (line["level"] != "warn" || line["refused"] != tooManyRequests) {
			t.Errorf("logged %v", line)
		}
	}
	if levels["warn"] != 2 || levels["info"] != 1 || len(levels) != 2 {
		t.Errorf("lines by level: %v", levels)
	}
}
