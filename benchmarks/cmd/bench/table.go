package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// markdown is results.md: where and how, then the tables.
func (r *results) markdown() string {
	var b strings.Builder
	r.writeHead(&b)
	for _, group := range r.groups() {
		fmt.Fprintf(&b, "\n## %s\n", group)
		r.writeTable(&b, group, "Server CPU per request, µs", slot.cpuPerRequest, "%.4g")
		r.writeTable(&b, group, "Requests per second", slot.perSecond, "%.0f")
		r.writeTable(&b, group, "CPUs that the server kept busy", slot.cpusInUse, "%.2f")
	}
	r.writeFailures(&b)
	r.writeIdle(&b)
	r.writeExits(&b)
	r.writeInProcess(&b)
	return b.String()
}

func (r *results) writeHead(b *strings.Builder) {
	m := r.Machine
	fmt.Fprintf(b, "# Results\n\n- %s, %d CPUs, %s, %s\n", m.CPU, m.CPUs, m.Kernel, m.OS)
	if m.Pinned {
		fmt.Fprintf(b, "- Servers on CPUs %v with GOMAXPROCS=%d, load on CPUs %v\n", m.Server, len(m.Server), m.Load)
	} else {
		b.WriteString("- Servers and load share all CPUs: not pinned\n")
	}
	fmt.Fprintf(b, "- Load: %s\n- CPU time: %s\n- %d rounds, slots of %s\n", r.Load, r.CPUClock, r.Rounds, r.SlotTime)
	fmt.Fprintf(b, "- %s", r.Go)
	for _, path := range slices.Sorted(maps.Keys(r.Modules)) {
		fmt.Fprintf(b, ", %s %s", path, r.Modules[path])
	}
	fmt.Fprintf(b, "\n- Revision %s, %s, took %s\n- `%s`\n",
		r.Revision, r.Began.UTC().Format(time.DateTime+" UTC"), r.Took, strings.Join(r.Command, " "))
	if len(r.Slots) > 0 {
		fmt.Fprintf(b, "\nCells are the median (quartiles) and, after ×, the median (quartiles) of the ratios to %s in the same round, or to %s under %s.\n", baseline, netBaseline, strings.TrimSuffix(netGroup, "/"))
	}
}

// groups are the first parts of the workloads' names.
func (r *results) groups() (all []string) {
	for _, s := range r.Slots {
		group, _, _ := strings.Cut(s.Workload, "/")
		if !slices.Contains(all, group) {
			all = append(all, group)
		}
	}
	return all
}

// workloadsOf are those of a group.
func (r *results) workloadsOf(group string) (all []string) {
	for _, s := range r.Slots {
		if strings.HasPrefix(s.Workload, group+"/") && !slices.Contains(all, s.Workload) {
			all = append(all, s.Workload)
		}
	}
	return all
}

// contendersOf are those who were measured, in the order of contenders.
func (r *results) contendersOf() (all []string) {
	for _, name := range contenderNames() {
		if slices.ContainsFunc(r.Slots, func(s slot) bool { return s.Contender == name }) {
			all = append(all, name)
		}
	}
	return all
}

// has reports whether a contender was measured in a group.
func (r *results) has(group, contender string) bool {
	return slices.ContainsFunc(r.Slots, func(s slot) bool { return s.Contender == contender && strings.HasPrefix(s.Workload, group+"/") })
}

func (r *results) writeTable(b *strings.Builder, group, title string, f figure, format string) {
	names := slices.DeleteFunc(r.contendersOf(), func(name string) bool { return !r.has(group, name) })
	header(b, append([]string{title}, names...))
	for _, w := range r.workloadsOf(group) {
		fmt.Fprintf(b, "| %s |", strings.TrimPrefix(w, group+"/"))
		for _, name := range names {
			fmt.Fprintf(b, " %s |", r.cell(w, name, f, format))
		}
		b.WriteString("\n")
	}
}

func (r *results) cell(workload, contender string, f figure, format string) string {
	own := spreadOf(values(figures(r.Slots, workload, contender, f)))
	if own.N == 0 {
		return "failed"
	}
	cell := fmt.Sprintf(strings.ReplaceAll("_ (_–_)", "_", format), own.Median, own.Q1, own.Q3)
	if ratio := spreadOf(ratios(r.Slots, workload, contender, f)); contender != baselineOf(workload) && ratio.N > 0 {
		cell += fmt.Sprintf(" **×%.3f** (%.3f–%.3f)", ratio.Median, ratio.Q1, ratio.Q3)
	}
	return cell
}

func header(b *strings.Builder, columns []string) {
	fmt.Fprintf(b, "\n| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
}

// writeFailures tells of slots that are in no table.
func (r *results) writeFailures(b *strings.Builder) {
	failures := map[string]int{}
	for _, s := range r.Slots {
		if s.Error != "" {
			failures[fmt.Sprintf("%s, %s: %s", s.Workload, s.Contender, s.Error)]++
		}
	}
	if len(failures) == 0 {
		return
	}
	b.WriteString("\n## Slots that failed\n\n")
	for _, what := range slices.Sorted(maps.Keys(failures)) {
		fmt.Fprintf(b, "- %d: %s\n", failures[what], what)
	}
}

func (r *results) writeIdle(b *strings.Builder) {
	if len(r.Idle) == 0 {
		return
	}
	b.WriteString("\n## Idle connections\n")
	header(b, []string{"workload", "contender", "connections", "resident bytes each", "answer, median µs", "answer, p99 µs", "failed"})
	for _, i := range r.Idle {
		if i.Error != "" {
			fmt.Fprintf(b, "| %s | %s | %d | %s | | | |\n", i.Workload, i.Contender, i.Conns, i.Error)
			continue
		}
		fmt.Fprintf(b, "| %s | %s | %d | %.0f | %.0f | %.0f | %d |\n",
			i.Workload, i.Contender, i.Conns, i.PerConn, i.AnswerMedian, i.AnswerP99, i.AnswersFailed)
	}
	for _, n := range idleConnections {
		if slices.ContainsFunc(r.Idle, func(i idleResult) bool { return i.Workload == idleName(n) && i.Conns < n }) {
			fmt.Fprintf(b, "\n%s has fewer connections, as %d descriptors are all that the limit allows.\n",
				idleName(n), r.Machine.Descriptors)
		}
	}
}

func (r *results) writeExits(b *strings.Builder) {
	if len(r.Exits) == 0 {
		return
	}
	b.WriteString("\n## Exit\n")
	header(b, []string{"workload", "contender", "exits", "connections", "median ms", "min–max ms", "clients saw EOF", "reset", "other", "requests lost, mean", "failed"})
	for _, w := range exitWorkloads {
		for _, name := range append([]string{closer.name}, contenderNames()...) {
			exits := slices.DeleteFunc(slices.Clone(r.Exits), func(e exitResult) bool { return e.Workload != w.name || e.Contender != name })
			if len(exits) == 0 {
				continue
			}
			var ms []float64
			var seen ends
			lost := 0
			var failures []string
			for _, e := range exits {
				seen.EOF, seen.Reset, seen.Other = seen.EOF+e.Ends.EOF, seen.Reset+e.Ends.Reset, seen.Other+e.Ends.Other
				if e.Error != "" {
					failures = append(failures, e.Error)
					continue
				}
				ms = append(ms, float64(e.Took.Nanoseconds())/1e6)
				lost += e.Lost
			}
			took := "– | –"
			if t := spreadOf(ms); t.N > 0 {
				took = fmt.Sprintf("%.2f | %.2f–%.2f", t.Median, t.Min, t.Most)
			}
			fmt.Fprintf(b, "| %s | %s | %d | %d | %s | %d | %d | %d | %.4g | %s |\n", w.name, name, len(exits), exits[0].Conns,
				took, seen.EOF, seen.Reset, seen.Other, float64(lost)/float64(max(len(ms), 1)), strings.Join(failures, "; "))
		}
	}
}

func (r *results) writeInProcess(b *strings.Builder) {
	if len(r.InProcess) == 0 {
		return
	}
	b.WriteString("\n## In process\n\nOne request over a connection in memory, server and client together; in-process.txt is for benchstat.\n")
	header(b, []string{"variant", "ns/op", "B/op", "allocs/op"})
	for _, v := range r.InProcess {
		ns := spreadOf(v.Nanos)
		fmt.Fprintf(b, "| %s | %.0f (%.0f–%.0f) | %.0f | %.0f |\n",
			v.Name, ns.Median, ns.Q1, ns.Q3, spreadOf(v.Bytes).Median, spreadOf(v.Allocs).Median)
	}
}
