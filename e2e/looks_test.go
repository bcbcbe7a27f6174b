package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"

	"github.com/lastcall-go/lastcall/toolkit"
)

// widths of windows: a small telephone's, and a large screen's.
var widths = []int64{380, 1600}

// looks takes screenshots of what there is, light and dark, narrow and wide, and wants all texts to
// be in the window and to be read easily.
func (b *tab) looks(name string) {
	b.t.Helper()
	for _, width := range widths {
		for _, dark := range []bool{false, true} {
			b.size(width, 900, dark)
			scene := fmt.Sprintf("%s-%d-%s", name, width, map[bool]string{false: "light", true: "dark"}[dark])
			if overflow := b.eval("document.documentElement.scrollWidth > innerWidth"); overflow == "true" {
				b.t.Errorf("%s: wider than the window", scene)
			}
			if pale := b.eval(paleTexts); pale != "" {
				b.t.Errorf("%s: hard to read: %s", scene, pale)
			}
			b.shoot(scene, true)
		}
	}
}

// paleTexts is an expression for the texts whose contrast with what is behind them is below
// that of WCAG 2.2, success criterion 1.4.3 (AA).
const paleTexts = `(() => {
	const channels = text => {
		const n = text.match(/[\d.]+(e-?\d+)?/g).map(Number);
		const rgb = text.startsWith('color(') ? n.slice(0, 3) : n.slice(0, 3).map(c => c / 255);
		return [...rgb, n.length > 3 ? n[3] : 1];
	};
	const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
	const behind = e => {
		if (!e) return [1, 1, 1, 1];
		const own = channels(getComputedStyle(e).backgroundColor);
		return own[3] === 1 ? own : over(own, behind(e.parentElement));
	};
	const light = c => [0.2126, 0.7152, 0.0722].reduce((sum, part, i) => sum + part * (c[i] <= 0.04045 ? c[i] / 12.92 : ((c[i] + 0.055) / 1.055) ** 2.4), 0);
	const found = new Set();
	document.getAnimations().forEach(a => a.finish && a.effect.getComputedTiming().iterations !== Infinity && a.finish());
	for (const e of document.querySelectorAll('body *')) {
		const says = [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim());
		if (!says || !e.checkVisibility() || ['SCRIPT', 'STYLE', 'OPTION'].includes(e.tagName)) continue;
		const below = behind(e);
		const [a, b] = [light(over(channels(getComputedStyle(e).color), below)), light(below)];
		const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (contrast < 4.5) found.add(e.textContent.slice(0, 30) + ' ' + contrast.toFixed(2));
	}
	return [...found].join('; ');
})()`

// A server that nobody uses.
func TestLooksEmpty(t *testing.T) {
	s := serve(t, "127.0.0.1:0", nil)
	b := open(t, s.page())
	b.until(phase + " === 'ready'")
	b.until("document.querySelectorAll('tbody tr').length > 0")
	b.looks("empty")
	if nameless := b.eval("[...document.querySelectorAll('button, input, select, canvas')].filter(e => !e.textContent.trim() && !e.ariaLabel).map(e => e.outerHTML)"); nameless != "" {
		t.Errorf("without a name: %s", nameless)
	}
	b.until("document.getAnimations().length > 0")
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: "reduce"}},
	})
	b.until("document.getAnimations().length === 0")
}

// Long addresses, routes, names and errors, many hooks, warnings; then their drain.
func TestLooksFull(t *testing.T) {
	long := "the ledger of everything that was ever ordered, returned and ordered again"
	s := serve(t, "127.0.0.1:0", func(b *toolkit.Builder) {
		b.ProxyProtocol("127.0.0.2").IdleTimeout(0).DrainTimeout(time.Hour)
		ok := func(context.Context) error { return nil }
		for i := range 12 {
			b.OnDrain(fmt.Sprintf("listener %d", i), ok).PreExit(fmt.Sprintf("store %d", i), ok)
		}
		b.OnDrain("mail", func(context.Context) error {
			return errors.New("dial tcp [2001:db8:ffff:ffff:ffff:ffff:ffff:1]:25: connect: network is unreachable")
		})
		b.PreExit(long, ok).ReadyCheck(strings.ReplaceAll(long, " ", "_"), ok)
	})
	s.Go(long, func(ctx context.Context) { <-ctx.Done() })
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	for i := range 30 {
		nc, err := from.Dial("tcp", s.addr())
		if err != nil {
			t.Skip(err) // not every system has that address
		}
		t.Cleanup(func() { _ = nc.Close() })
		fmt.Fprintf(nc, "PROXY TCP6 2001:db8:ffff:ffff:ffff:ffff:ffff:%x 2001:db8::1 %d 443\r\n", 0xf000+i, 60000+i)
		if i%3 > 0 {
			fmt.Fprintf(nc, "GET /slow/%s HTTP/1.1\r\nHost: t\r\n\r\n", strings.Repeat("a-long-way/", i))
		}
	}
	b := open(t, s.page())
	b.until(phase + " === 'ready'")
	b.until("document.querySelectorAll('tbody tr').length >= 31 && document.querySelector('#work').textContent.includes('ledger')")
	b.looks("full")
	s.Drain()
	b.until("document.querySelector('#hooks').textContent.includes('unreachable')")
	b.looks("full-draining")
	_ = s.Close()
	b.until(phase + " === 'stopped'")
	b.looks("full-cut")
}

// Where the connection is gone, and not by a drain, the page says so, and comes back.
func TestPageLosesItsConnection(t *testing.T) {
	s := serve(t, "127.0.0.1:0", nil)
	way := between(t, s.addr())
	b := open(t, "http://"+way.Addr().String()+path)
	b.until(phase + " === 'ready'")
	way.cut()
	b.until(phase + " === 'no connection'")
	b.until("document.querySelector('#story').textContent.startsWith('The connection to the server was lost at ')")
	b.until("document.querySelector('#drain').hidden")
	b.looks("lost")
	way.mend()
	b.until(phase + " === 'ready'")
	b.until("document.querySelector('#story').textContent.startsWith('On the first signal')")
	b.until("!document.querySelector('#drain').hidden")
}

// way is what lies between a browser and a server.
type way struct {
	net.Listener
	mu    sync.Mutex // guards what follows
	down  bool
	conns []net.Conn
}

// between is a way to an address, until the test's end.
func between(t *testing.T, addr string) *way {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &way{Listener: ln}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", addr)
			if err != nil || !w.add(near, far) {
				_ = near.Close()
				continue
			}
			for _, ends := range [][2]net.Conn{{near, far}, {far, near}} {
				all.Go(func() {
					_, _ = io.Copy(ends[0], ends[1])
					_ = ends[0].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		w.cut()
		all.Wait()
	})
	return w
}

func (w *way) add(near, far net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		_ = far.Close()
		return false
	}
	w.conns = append(w.conns, near, far)
	return true
}

// cut ends what goes this way, until it is mended.
func (w *way) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = true
	for _, nc := range w.conns {
		_ = nc.Close()
	}
	w.conns = nil
}

func (w *way) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = false
}
