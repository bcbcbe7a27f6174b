package e2e

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
	"github.com/lastcall-go/lastcall/toolkit/debug"
)

// phase is an expression for what the page says the server's phase is.
const phase = `document.querySelector('#phase b').textContent`

// The page shows a connection come, change its state and go.
func TestPageShowsConnections(t *testing.T) {
	s := serve(t, "127.0.0.1:0", nil)
	b := open(t, s.page())
	b.until(phase + " === 'ready'")
	for selector, want := range map[string]string{
		"#who": fmt.Sprintf("pid %d", os.Getpid()), "#settings dl": "127.0.0.1:0", "#hooks": "registry", "#checks": "not asked yet", "#timeline": "draining",
	} {
		if text := b.eval(fmt.Sprintf("document.querySelector('%s').textContent", selector)); !strings.Contains(text, want) {
			t.Errorf("%s says %q", selector, text)
		}
	}

	c := s.dial()
	b.until("%s", c.in("new", ""))
	// What a client sends is text, whatever it says.
	c.send("/slow/%3Cimg%20src=x%20onerror=%22document.title='bad'%22%3E")
	b.until("%s", c.in("active", `GET /slow/<img src=x onerror="document.title=\'bad\'">`))
	if n := b.eval("document.querySelectorAll('main img').length"); n != "0" {
		t.Errorf("%s images", n)
	}
	s.release <- struct{}{}
	c.receive()
	b.until("%s", c.in("idle", ""))
	b.until("%s", c.in("parked", ""))
	if n := b.eval(c.row("r.cells[5].textContent + r.cells[8].textContent")); n != "1parked" {
		t.Errorf("requests and parked: %q", n)
	}
	c.send("/legacy/x").receive()
	b.until("%s", c.row("r && r.cells[7].textContent === 'net/http'"))

	hijacked := s.dial().send("/ws").receive()
	b.until("%s", hijacked.in("hijacked", "GET /ws"))
	b.until("document.querySelector('#tiles .hijacked b').textContent === '1'")

	// Orders, filters and states are the server's to see to.
	b.click("th button[data-sort=id]")
	b.until("[...document.querySelectorAll('tbody tr')].every((r, i, all) => !i || +all[i - 1].cells[0].textContent < +r.cells[0].textContent) && %s", c.row("r"))
	b.click("th button[data-sort=id]")
	b.until("[...document.querySelectorAll('tbody tr')].every((r, i, all) => !i || +all[i - 1].cells[0].textContent > +r.cells[0].textContent) && %s", c.row("r"))
	b.click("#tiles .hijacked")
	b.until("document.querySelectorAll('tbody tr').length === 1 && %s", hijacked.row("r"))
	b.click("#tiles .hijacked")
	b.run(chromedp.SendKeys(chromedp.CSS("#filter"), c.LocalAddr().String()))
	b.until("document.querySelectorAll('tbody tr').length === 1 && %s", c.row("r"))

	_ = c.Close()
	b.until("document.querySelectorAll('tbody tr').length === 0 && !document.querySelector('#empty').hidden")
	_ = hijacked.Close()
	b.until("document.querySelector('#tiles .hijacked b').textContent === '0'")
	b.wantQuiet(s.page())
}

// The page begins the drain, shows what that awaits, and its end, which it does not hold up. A
// server that comes after it is shown by the same page.
func TestPageShowsTheDrain(t *testing.T) {
	s := serve(t, "127.0.0.1:0", nil)
	address := s.page()
	b := open(t, address)
	b.until(phase + " === 'ready'")
	busy := s.dial().send("/slow/report")
	b.until("%s", busy.in("active", "GET /slow/report"))
	b.click("#drain")
	if b.until("document.querySelector('#drain').textContent === 'Really drain?'"); s.Phase() != lifecycle.PhaseReady {
		t.Error("one click drains")
	}
	b.click("#drain")
	b.until(phase + " === 'draining'")
	b.until("document.querySelector('#story').textContent.includes('Still awaited: 1 request.')")
	b.until("document.querySelector('#drain').hidden")
	b.until("document.querySelector('#hooks').textContent.includes('registry')")
	s.release <- struct{}{}
	busy.receive()
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
	b.until(phase + " === 'stopped'")
	b.until("document.querySelector('#timeline [data-name=stopped]').className === 'now'")
	if story := b.eval("document.querySelector('#story').textContent"); !strings.Contains(story, "All that was awaited has been answered") || !strings.Contains(story, ", 0 were cut") {
		t.Error(story)
	}
	next := serve(t, strings.TrimSuffix(strings.TrimPrefix(address, "http://"), path), nil)
	b.until(phase + " === 'ready'")
	b.until("!document.querySelector('#drain').hidden")
	b.wantQuiet(address, "Failed to load resource: net::ERR_CONNECTION_REFUSED")
	next.Drain()
	if err := next.Wait(); err != nil {
		t.Error(err)
	}
}

// What is cut at the deadline is shown so.
func TestPageShowsAForcedEnd(t *testing.T) {
	s := serve(t, "127.0.0.1:0", func(b *toolkit.Builder) { b.DrainTimeout(time.Second).AbortTimeout(0) })
	b := open(t, s.page())
	b.until(phase + " === 'ready'")
	end := make(chan struct{})
	defer close(end)
	s.Go("job", func(context.Context) { <-end })
	s.Drain()
	b.until(phase + " === 'draining'")
	b.until("document.querySelector('#work').textContent.includes('job')")
	b.until(phase + " === 'stopped'")
	if story := b.eval("document.querySelector('#story').textContent"); !strings.Contains(story, "by force") {
		t.Error(story)
	}
	if err := s.Wait(); !errors.Is(err, lifecycle.ErrDrainTimeout) {
		t.Error(err)
	}
	b.wantQuiet(s.page(), "Failed to load resource: net::ERR_CONNECTION_REFUSED")
}

// Another site's page can neither read what the page shows nor begin the drain.
func TestPageOfAnotherSite(t *testing.T) {
	s := serve(t, "127.0.0.1:0", nil)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `<!doctype html><title>waits</title><link rel="icon" href="data:,">
<iframe name="frame"></iframe><form method="post" target="frame" action="%[1]s"></form>
<script>
document.forms[0].submit();
Promise.allSettled([
  fetch('%[1]s', { method: 'POST', mode: 'no-cors' }),
  fetch('%[1]s?format=json').then(r => r.text()),
  new Promise((yes, no) => { const e = new EventSource('%[1]s'); e.onmessage = yes; e.onerror = no; }),
]).then(all => { document.title = all.map(r => r.status).join(); });
</script>`, s.page())
	}))
	defer other.Close()
	b := open(t, strings.Replace(other.URL, "127.0.0.1", "localhost", 1))
	b.until("document.title !== 'waits'")
	if title := b.eval("document.title"); title != "fulfilled,rejected,rejected" { // the first tells it nothing
		t.Errorf("another site's page gets %s", title)
	}
	if s.Phase() != lifecycle.PhaseReady {
		t.Error("another site's page has begun the drain")
	}
	b.run(chromedp.Navigate(s.page())) // with what a browser says of a link
	b.until(phase + " === 'ready'")
}

// Without a button there is nothing to press.
func TestViewAt(t *testing.T) {
	s := serve(t, "127.0.0.1:0", func(b *toolkit.Builder) { b.With(debug.ViewAt("/view")) })
	b := open(t, "http://"+s.Addr()+"/view")
	b.until(phase + " === 'ready'")
	if hidden := b.eval("document.querySelector('#drain').hidden"); hidden != "true" {
		t.Error("there is a button")
	}
}

// sceneTime is how long clients come and go before screenshots are taken.
func sceneTime(t *testing.T) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(os.Getenv("SCENE"))
	if err != nil {
		return 3 * time.Second
	}
	return d
}

// Screenshots, light and dark, wide and narrow, while ready and while draining.
func TestScreenshots(t *testing.T) {
	args := os.Args[0]
	os.Args[0] = "shop" // what the page calls the program
	t.Cleanup(func() { os.Args[0] = args })
	s := serve(t, "127.0.0.1:0", nil)
	if _, err := http.Get("http://" + s.Addr() + "/readyz"); err != nil {
		t.Fatal(err)
	}
	b := open(t, s.page())
	b.until(phase + " === 'ready'")
	names, began := []string{"orders/2041", "report", "export/q3"}, time.Now()
	var pool []client
	for n := 0; time.Since(began) < sceneTime(t); n++ {
		switch {
		case n < len(names):
			s.dial().send("/slow/" + names[n])
		case n%9 == 0 && n < 30:
			s.dial().send("/ws").receive()
		case n%7 == 0:
			s.dial().send("/legacy/cart").receive()
		}
		// They come and go in waves.
		phase := float64(time.Since(began)) / float64(sceneTime(t))
		for target := 24 + int(14*math.Sin(9*phase)); len(pool) < target; {
			pool = append(pool, s.dial().send("/hello/ann").receive())
		}
		for i, c := range pool {
			if (i+n)%3 == 0 && i%2 == 0 {
				c.send("/hello/bob").receive()
			}
		}
		if n%2 == 0 {
			_ = pool[0].Close()
			pool = pool[1:]
		}
		time.Sleep(sceneTime(t) / 70)
	}
	b.until("document.querySelector('#totals').textContent.includes('accepted')")
	shots := func(prefix string) {
		for name, size := range map[string][2]int64{"wide": {1360, 900}, "narrow": {390, 844}, "middle": {900, 900}} {
			for _, dark := range []bool{false, true} {
				b.size(size[0], size[1], dark)
				if overflow := b.eval("document.documentElement.scrollWidth > innerWidth"); overflow == "true" {
					t.Errorf("%s: wider than the window", name)
				}
				b.shoot(fmt.Sprintf("%s-%s-%s", prefix, name, map[bool]string{false: "light", true: "dark"}[dark]), true)
			}
		}
	}
	shots("ready")
	s.Drain()
	b.until(phase + " === 'draining'")
	time.Sleep(time.Second)
	for _, theme := range []string{"light", "dark"} { // for the README
		b.size(1360, 850, theme == "dark")
		b.shoot("live-page-"+theme, false)
	}
	shots("draining")
	close(s.release)
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
	b.until(phase + " === 'stopped'")
	shots("stopped")
}
