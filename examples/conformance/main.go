// Compares what servers of net/http handlers show on the wire and to handlers with
// what net/http's own server shows, behaviour by behaviour, and prints where they
// differ. make conformance runs it.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
)

func main() {
	only := flag.String("run", "", "`regexp` of behaviours, as \"group: name\"; empty for all")
	differences := flag.Bool("diff", true, "print how they differ")
	transcripts := flag.Bool("v", false, "print what net/http shows")
	flag.Parse()
	wanted, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(2)
	}
	list := choose(wanted)
	var columns []column
	for _, v := range variants {
		var want []string
		for _, c := range contenders {
			if v != variants[0] && !c.native {
				continue
			}
			if want == nil {
				want = show(reference, v, list)
			}
			columns = append(columns, column{c, v, want, show(c, v, list)})
		}
	}
	plain := slices.IndexFunc(columns, func(c column) bool { return c.variant != variants[0] })
	if plain < 0 {
		plain = len(columns)
	}
	table(list, columns[:plain])
	for _, c := range columns[plain:] {
		equal, total := count(list, c, "")
		described := c.described()
		fmt.Printf("%s: %d of %d", c, equal+described, total)
		if described > 0 {
			fmt.Printf(", %d of them but for a refusal's Date and Content-Length", described)
		}
		fmt.Println()
	}
	reasons(list, columns)
	if *transcripts {
		for i, b := range list {
			fmt.Printf("\n%s\n%s", b, columns[0].want[i])
		}
	}
	if !*differences {
		return
	}
	for _, c := range columns {
		fmt.Printf("\nWhere %s differs from net/http (-):\n", c)
		for i, b := range list {
			if c.want[i] != c.got[i] {
				fmt.Printf("\n%s\n%s", b, diff(c.want[i], c.got[i]))
			}
		}
	}
}

// column is what a contender and the reference have shown in a variant.
type column struct {
	contender *contender
	variant   variant
	want, got []string
}

func (c column) String() string {
	if c.variant == variants[0] {
		return c.contender.name
	}
	return c.contender.name + ", " + c.variant.name
}

// described counts the behaviours that differ in no more than what describes a refusal.
func (c column) described() (n int) {
	for i := range c.want {
		if c.want[i] != c.got[i] && outcome(c.want[i]) == outcome(c.got[i]) {
			n++
		}
	}
	return n
}

// A refusal by net/http has neither a Date nor a Content-Length: its end is its
// connection's.
var (
	response    = regexp.MustCompile(`^wire \d+: HTTP/`)
	refusal     = regexp.MustCompile(`^wire \d+: HTTP/1\.1 (4\d\d|501)`)
	description = regexp.MustCompile(`^wire \d+: (Content-Length|Date): `)
)

// outcome is a transcript without what describes refusals.
func outcome(transcript string) string {
	var kept []string
	refused := false
	for line := range strings.Lines(transcript) {
		if response.MatchString(line) {
			refused = refusal.MatchString(line)
		}
		if !refused || !description.MatchString(line) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// reasons prints where the contenders that say so differ, and why.
func reasons(list []*behaviour, columns []column) {
	said := map[string]bool{}
	for _, c := range columns {
		for i, b := range list {
			reason := c.contender.reason(b, c.variant)
			if line := fmt.Sprintf("  %s: %s\n", b, reason); c.want[i] != c.got[i] && reason != "" && !said[line] {
				if len(said) == 0 {
					fmt.Println("\nWhy lastcall differs:")
				}
				said[line] = true
				fmt.Print(line)
			}
		}
	}
}

func (b *behaviour) String() string { return b.group + ": " + b.name }

// choose returns the wanted behaviours.
func choose(wanted *regexp.Regexp) (list []*behaviour) {
	for _, g := range suite {
		for i := range g.behaviours {
			b := &g.behaviours[i]
			b.group = g.name
			b.plain = b.plain || g.plain
			if b.serve == nil {
				b.serve = g.serve
			}
			if wanted.MatchString(b.String()) {
				list = append(list, b)
			}
		}
	}
	return list
}

var (
	free    = make(chan struct{}, 32) // a place for each script that runs: most wait for one another, few compute
	company sync.RWMutex              // held by each script: those that are to be alone hold it alone
)

// show returns the transcripts of a contender, "" where a behaviour has nothing to
// do with the variant. Several shows at once have their scripts wait for one another.
func show(c *contender, v variant, list []*behaviour) []string {
	shown := make([]string, len(list))
	var wg sync.WaitGroup
	for i, b := range list {
		if b.alone || b.plain && v != variants[0] {
			continue
		}
		free <- struct{}{}
		wg.Go(func() {
			company.RLock()
			shown[i] = b.transcript(c, v)
			company.RUnlock()
			<-free
		})
	}
	wg.Wait()
	company.Lock()
	defer company.Unlock()
	for i, b := range list {
		if b.alone && v == variants[0] {
			shown[i] = b.transcript(c, v)
		}
	}
	return shown
}

// table prints how many behaviours of each group are equal to the reference's.
func table(list []*behaviour, columns []column) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprint(w, "| equal to net/http\t")
	for _, c := range columns {
		fmt.Fprintf(w, "| %s\t", c)
	}
	fmt.Fprint(w, "|\n|---\t"+strings.Repeat("|---:\t", len(columns))+"|\n")
	for _, g := range append(slices.Clone(suite), group{}) {
		fmt.Fprintf(w, "| %s\t", cmp.Or(g.name, "all"))
		for _, c := range columns {
			equal, total := count(list, c, g.name)
			fmt.Fprintf(w, "| %d of %d\t", equal, total)
		}
		fmt.Fprintln(w, "|")
	}
	_ = w.Flush()
}

// count counts the behaviours of a group, "" for all, that take part in a variant.
func count(list []*behaviour, c column, group string) (equal, total int) {
	for i, b := range list {
		if (group == "" || b.group == group) && c.want[i] != "" {
			total++
			if c.want[i] == c.got[i] {
				equal++
			}
		}
	}
	return equal, total
}

// diff returns the lines of want and got that do not follow one another in both.
func diff(want, got string) string {
	a, b := strings.Split(strings.TrimSuffix(want, "\n"), "\n"), strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	// common[i][j] is how many lines a[i:] and b[j:] have in common, in order.
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := range slices.Backward(a) {
		for j := range slices.Backward(b) {
			if common[i][j] = max(common[i+1][j], common[i][j+1]); a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			}
		}
	}
	var s strings.Builder
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			fmt.Fprintf(&s, "  - %s\n", short(a[i]))
			i++
		default:
			fmt.Fprintf(&s, "  + %s\n", short(b[j]))
			j++
		}
	}
	return s.String()
}

func short(s string) string {
	if len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}
