package debug

import (
	"bytes"
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
	order  order
	desc   bool
	text   []byte // in lower case; empty for any
	states []lifecycle.ConnState
	limit  int
}

// row is a connection that may be shown. What a walk leaves out is in it where the query has
// to know it.
type row struct {
	lifecycle.OpenConn
	remote, route, text []byte // which are used again for the next one
}

// order compares connections, by what a walk leaves out in some cases.
type order struct {
	compare       func(a, b *row) int
	remote, route bool
}

// orders are by the names that the table's columns have in the query.
var orders = map[string]order{
	"id":       {compare: func(a, b *row) int { return cmp.Compare(a.ID, b.ID) }},
	"state":    {compare: byState},
	"since":    {compare: func(a, b *row) int { return cmp.Compare(a.Since, b.Since) }},
	"age":      {compare: func(a, b *row) int { return cmp.Compare(a.Age, b.Age) }},
	"requests": {compare: func(a, b *row) int { return cmp.Compare(a.Requests, b.Requests) }},
	"engine":   {compare: func(a, b *row) int { return cmp.Compare(engine(&a.ConnInfo), engine(&b.ConnInfo)) }},
	"parked":   {compare: byParked},
	"remote":   {compare: func(a, b *row) int { return bytes.Compare(a.remote, b.remote) }, remote: true},
	"route":    {compare: func(a, b *row) int { return bytes.Compare(a.route, b.route) }, route: true},
}

// states are in the order in which they hold a drain up.
var states = []lifecycle.ConnState{
	lifecycle.StateActive, lifecycle.StateHijacked, lifecycle.StateNew, lifecycle.StateIdle, lifecycle.StateParked,
}

// byState puts first what holds a drain up the most.
func byState(a, b *row) int {
	if a.State != b.State {
		return cmp.Compare(slices.Index(states, a.State), slices.Index(states, b.State))
	}
	return cmp.Compare(b.Since, a.Since)
}

// byParked puts first what is parked.
func byParked(a, b *row) int {
	switch parked := a.State == lifecycle.StateParked; {
	case parked == (b.State == lifecycle.StateParked):
		return 0
	case parked:
		return -1
	}
	return 1
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
	q := query{order: orders["state"], text: lower(bytes.Clone(args.Peek("q"))), limit: defaultRows}
	if arg := string(args.Peek("sort")); arg != "" {
		name, desc := strings.CutPrefix(arg, "-")
		var ok bool
		if q.order, ok = orders[name]; !ok {
			return q, fmt.Errorf("sort=%q: want one of id, state, since, age, requests, engine, parked, remote, route", arg)
		}
		q.desc = desc
	}
	if arg := string(args.Peek("state")); arg != "" {
		for name := range strings.SplitSeq(arg, ",") {
			i := slices.IndexFunc(states, func(st lifecycle.ConnState) bool { return st.String() == name })
			if i < 0 {
				return q, fmt.Errorf("state=%q: want some of active, hijacked, new, idle, parked", arg)
			}
			q.states = append(q.states, states[i])
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
func (q query) compare(a, b *row) int {
	c := q.order.compare(a, b)
	if q.desc {
		c = -c
	}
	return cmp.Or(c, cmp.Compare(a.ID, b.ID))
}

// read makes a row a connection's, and reports whether it is one of those to be shown.
func (q query) read(r *row, c *lifecycle.OpenConn) bool {
	r.OpenConn = *c
	if q.order.remote || len(q.text) > 0 {
		r.remote = c.AppendRemote(r.remote[:0])
	}
	if q.order.route || len(q.text) > 0 {
		r.route = c.AppendRoute(r.route[:0])
	}
	if len(q.text) == 0 {
		return true
	}
	r.text = append(append(r.text[:0], r.remote...), ' ')
	r.text = append(append(r.text, r.route...), ' ')
	r.text = append(append(r.text, engine(&r.ConnInfo)...), ' ')
	r.text = append(r.text, r.State.String()...)
	return bytes.Contains(lower(r.text), q.text)
}

// lower has the ASCII letters of a text in lower case.
func lower(text []byte) []byte {
	for i, c := range text {
		if 'A' <= c && c <= 'Z' {
			text[i] = c + 'a' - 'A'
		}
	}
	return text
}

// rows walks over the connections. It returns the first of those that match, and how many
// match. No more are held, or put in order, than are returned.
func (q query) rows(each iter.Seq[lifecycle.OpenConn]) (infos []lifecycle.ConnInfo, matching int) {
	first, spare := make([]*row, 0, q.limit+1), new(row)
	for c := range each {
		if q.states != nil && !slices.Contains(q.states, c.State) || !q.read(spare, &c) {
			continue
		}
		matching++
		if n := len(first); n == q.limit && (n == 0 || q.compare(spare, first[n-1]) > 0) {
			continue
		}
		i, _ := slices.BinarySearchFunc(first, spare, q.compare)
		first = slices.Insert(first, i, spare)
		if len(first) > q.limit {
			spare, first = first[q.limit], first[:q.limit]
		} else {
			spare = new(row)
		}
	}
	for _, r := range first {
		if info, open := r.Info(); open {
			infos = append(infos, info)
		} else {
			matching--
		}
	}
	return infos, matching
}
