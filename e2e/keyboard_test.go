package e2e

import (
	"fmt"
	"slices"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
)

// press presses keys, one after the other, wherever the focus is.
func (b *tab) press(keys string) {
	b.t.Helper()
	b.run(chromedp.KeyEvent(keys))
}

// tabTo presses Tab until the focus is on what a selector names, and wants each stop on the way
// to be seen: in the window, with its whole outline, and with nothing over it.
func (b *tab) tabTo(selector string) {
	b.t.Helper()
	for range 100 {
		b.press("\t")
		if b.eval("document.activeElement === document.body") == "true" {
			continue // the end of the page; it goes on with the first one
		}
		if unseen := b.eval(unseenFocus); unseen != "" {
			b.t.Errorf("%s: %s", b.eval("document.activeElement.outerHTML"), unseen)
		}
		if b.eval(fmt.Sprintf("document.activeElement.matches(%q)", selector)) == "true" {
			return
		}
	}
	b.t.Fatalf("Tab does not come to %s", selector)
}

// unseenFocus is an expression for why the focus cannot be seen.
const unseenFocus = `(e => {
	const style = getComputedStyle(e), width = parseFloat(style.outlineWidth), out = width + parseFloat(style.outlineOffset);
	if (!e.matches(':focus-visible') || style.outlineStyle === 'none' || width < 2) return 'no outline';
	const box = e.getBoundingClientRect(), room = { left: 0, top: 0, right: innerWidth, bottom: innerHeight };
	for (let p = e.parentElement; p !== document.body; p = p.parentElement) {
		if (getComputedStyle(p).overflow === 'visible') continue;
		const inner = p.getBoundingClientRect();
		for (const [side, least] of [['left', Math.max], ['top', Math.max], ['right', Math.min], ['bottom', Math.min]]) room[side] = least(room[side], inner[side]);
	}
	if (box.left - out < room.left || box.top - out < room.top || box.right + out > room.right || box.bottom + out > room.bottom) return 'cut off';
	const top = document.elementFromPoint((box.left + box.right) / 2, (box.top + box.bottom) / 2);
	return e.contains(top) ? '' : 'covered';
})(document.activeElement)`

// All that a mouse does, the keyboard does as well, and the focus stays where it is meanwhile.
func TestPageByKeyboard(t *testing.T) {
	s := serve(t, "127.0.0.1:0", func(b *toolkit.Builder) { b.DrainTimeout(patience) })
	b := open(t, s.page())
	b.until(phase + " === 'ready'")
	busy := s.dial().send("/slow/report")
	hijacked := s.dial().send("/ws").receive()
	b.until("%s && %s", busy.in("active", "GET /slow/report"), hijacked.in("hijacked", "GET /ws"))

	one := "document.querySelectorAll('tbody tr').length === 1 && "
	b.tabTo("#tiles .hijacked")
	b.press(" ")
	b.until("%s document.activeElement.ariaPressed === 'true' && %s", one, hijacked.row("r"))
	b.press("\r")
	b.until("document.activeElement.ariaPressed === 'false' && %s", busy.row("r"))

	b.tabTo("#filter")
	b.press(busy.LocalAddr().String())
	b.until("%s %s", one, busy.row("r"))
	b.run(chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	b.press("\b")
	b.until("%s", hijacked.row("r"))
	b.tabTo("#limit")
	b.press("1")
	b.until("document.activeElement.value === '1000'")

	b.tabTo("th button[data-sort=id]")
	for _, order := range []struct{ name, is string }{{"ascending", "<"}, {"descending", ">"}} {
		b.press("\r")
		b.until("document.activeElement.closest('th').ariaSort === '%s' && document.querySelectorAll('th[aria-sort]').length === 1", order.name)
		b.until("[...document.querySelectorAll('tbody tr')].every((r, i, all) => !i || +all[i - 1].cells[0].textContent %s +r.cells[0].textContent) && %s", order.is, busy.row("r"))
	}
	b.tabTo("#settings summary")
	b.press("\r")
	b.until("document.activeElement.parentElement.open")

	b.tabTo("#drain")
	for s.Phase() == lifecycle.PhaseReady { // once is a slip, and forgotten after a while
		b.press("\r")
	}
	b.until("document.querySelector('#story').textContent.includes('Still awaited: 1 request, 1 hijacked connection')")
	close(s.release)
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
}

// Whoever has the page read to them is told what there is, and what it does, wide or narrow.
func TestPageIsReadAloud(t *testing.T) {
	s := serve(t, "127.0.0.1:0", nil)
	b := open(t, s.page())
	b.until(phase + " === 'ready'")
	c := s.dial().send("/ws").receive()
	for _, width := range widths {
		b.size(width, 900, false)
		b.until("%s", c.in("hijacked", "GET /ws"))
		tree := call(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
		var read []string
		for _, n := range tree.Nodes {
			if !n.Ignored && n.Role != nil && n.Name != nil {
				read = append(read, fmt.Sprintf("%s %s", n.Role.Value, n.Name.Value))
			}
		}
		for _, want := range []string{
			`"button" "Drain"`, `"status" ""`, `"region" "the life of the server"`, `"group" "show only connections that are"`, `"button" "1 hijacked"`,
			`"searchbox" "filter"`, `"combobox" "rows"`, `"table" "connections"`, `"columnheader" "State"`, `"cell" "hijacked"`, `"heading" "Hooks"`,
		} {
			if !slices.Contains(read, want) {
				t.Errorf("%d wide: no %s", width, want)
			}
		}
	}
}
