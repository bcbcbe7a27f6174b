package debug

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// How many rows of the table are shown, unless the query says so.
const (
	defaultRows = 50
	maxRows     = 1000
)

// query says which rows of the table are to be shown, and in which order.
type query struct {
	sort   string // a key of orders
	desc   bool
	text   string // in lower case; "" for any
	states []string
	limit  int
}

// order compares connections. That of what a walk does not know is slow.
type order struct {
	compare func(a, b *lifecycle.ConnInfo) int
	slow    bool
}

// orders are by the names that the table's columns have in the query.
var orders = map[string]order{
	"id":       {compare: func(a, b *lifecycle.ConnInfo) int { return cmp.Compare(a.ID, b.ID) }},
	"state":    {compare: byState},
	"since":    {compare: func(a, b *lifecycle.ConnInfo) int { return cmp.Compare(a.Since, b.Since) }},
	"age":      {compare: func(a, b *lifecycle.ConnInfo) int { return cmp.Compare(a.Age, b.Age) }},
	"requests": {compare: func(a, b *lifecycle.ConnInfo) int { return cmp.Compare(a.Requests, b.Requests) }},
	"engine":   {compare: func(a, b *lifecycle.ConnInfo) int { return cmp.Compare(engine(a), engine(b)) }},
	"remote":   {compare: func(a, b *lifecycle.ConnInfo) int { return cmp.Compare(a.Remote, b.Remote) }, slow: true},
	"route":    {compare: func(a, b *lifecycle.ConnInfo) int { return cmp.Compare(a.Route, b.Route) }, slow: true},
}

// states are in the order in which they hold a drain up.
var states = []lifecycle.ConnState{
	lifecycle.StateActive, lifecycle.StateHijacked, lifecycle.StateNew, lifecycle.StateIdle, lifecycle.StateParked,
}

// byState puts first what holds a drain up the most.
func byState(a, b *lifecycle.ConnInfo) int {
	return cmp.Or(cmp.Compare(slices.Index(states, a.State), slices.Index(states, b.State)), cmp.Compare(b.Since, a.Since))
}

// engine is what serves a connection.
func engine(c *lifecycle.ConnInfo) string {
	switch {
	case c.Multiplexed:
		return "HTTP/2"
	case c.Adopted:
		return "net/http"
	}
	return "fasthttp"
}

// queryOf reads sort, a column's name, with a minus before it for the other way round;
// q, text to be found in a row; state, one or more with commas between them; and limit.
func queryOf(args *fasthttp.Args) (query, error) {
	q := query{sort: "state", text: strings.ToLower(string(args.Peek("q"))), limit: defaultRows}
	if arg := string(args.Peek("sort")); arg != "" {
		q.sort, q.desc = strings.CutPrefix(arg, "-")
		if _, ok := orders[q.sort]; !ok {
			return q, fmt.Errorf("sort=%q: want one of id, state, since, age, requests, engine, remote, route", arg)
		}
	}
	if arg := string(args.Peek("state")); arg != "" {
		q.states = strings.Split(arg, ",")
		for _, name := range q.states {
			if !slices.ContainsFunc(states, func(st lifecycle.ConnState) bool { return st.String() == name }) {
				return q, fmt.Errorf("state=%q: want some of active, hijacked, new, idle, parked", arg)
			}
		}
	}
	if arg := string(args.Peek("limit")); arg != "" {
		var err error
		if q.limit, err = strconv.Atoi(arg); err != nil || q.limit < 0 || q.limit > maxRows {
			return q, fmt.Errorf("limit=%q: want a number from 0 to %d", arg, maxRows)
		}
	}
	return q, nil
}

// compare puts rows in order; those that are alike by their ID.
func (q query) compare(a, b *lifecycle.ConnInfo) int {
	c := orders[q.sort].compare(a, b)
	if q.desc {
		c = -c
	}
	return cmp.Or(c, cmp.Compare(a.ID, b.ID))
}

// matches reports whether a connection is one of those to be shown.
func (q query) matches(c *lifecycle.ConnInfo) bool {
	if q.text == "" {
		return true
	}
	return strings.Contains(strings.ToLower(c.Remote+" "+c.Local+" "+c.Route+" "+engine(c)+" "+c.State.String()), q.text)
}

// row is a connection that may be shown. Its info is complete where the query has to know it.
type row struct {
	lifecycle.OpenConn
	info lifecycle.ConnInfo
}

// rows walks over the connections. It returns the first of those that match, how many
// match, and how many there are in each state.
func (q query) rows(each iter.Seq[lifecycle.OpenConn]) (infos []lifecycle.ConnInfo, matching int, counts lifecycle.Counts) {
	slow := q.text != "" || orders[q.sort].slow
	// Of twice as many as are wanted, the first ones are kept now and then: those in all[:n].
	// The next one is looked at in the place behind these.
	room, all, n := make([]row, 2*q.limit+1), make([]*row, 2*q.limit+1), 0
	for i := range room {
		all[i] = &room[i]
	}
	sort := func() { slices.SortFunc(all[:n], func(a, b *row) int { return q.compare(&a.info, &b.info) }) }
	sorted := false // the first ones are
	for c := range each {
		counts.Add(c.State)
		if q.states != nil && !slices.Contains(q.states, c.State.String()) {
			continue
		}
		r, open := all[n], true
		r.OpenConn, r.info = c, c.ConnInfo
		if slow {
			r.info, open = c.Info()
		}
		if !open || !q.matches(&r.info) {
			continue
		}
		matching++
		if q.limit == 0 || sorted && q.compare(&r.info, &all[q.limit-1].info) > 0 {
			continue
		}
		if n++; n == 2*q.limit {
			sort()
			n, sorted = q.limit, true
		}
	}
	sort()
	for _, r := range all[:min(n, q.limit)] {
		if info, open := r.Info(); open {
			infos = append(infos, info)
		} else {
			matching--
		}
	}
	return infos, matching, counts
}
