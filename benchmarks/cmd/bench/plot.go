package main

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// plot draws what was measured.
func (r *results) plot(dir string) error {
	if err := r.plotCPU(filepath.Join(dir, "cpu.svg")); err != nil {
		return err
	}
	return r.plotMemory(filepath.Join(dir, "memory.svg"))
}

// series are bars of one colour, one in each group.
type series struct {
	name   string
	values plotter.Values
}

// plotCPU draws CPU time per request relative to the baseline, a group of bars a
// workload.
func (r *results) plotCPU(file string) error {
	var groups []string
	for _, g := range r.groups() {
		if g+"/" != netGroup { // which has another baseline
			groups = append(groups, r.workloadsOf(g)...)
		}
	}
	var all []series
	for _, name := range r.contendersOf() {
		if name == baseline {
			continue
		}
		s := series{name: name}
		for _, w := range groups {
			s.values = append(s.values, spreadOf(ratios(r.Slots, w, name, slot.cpuPerRequest)).Median)
		}
		all = append(all, s)
	}
	if len(all) == 0 || len(groups) == 0 || !slices.Contains(r.contendersOf(), baseline) {
		return nil
	}
	p := plot.New()
	p.Title.Text = "Server CPU time per request, " + baseline + " = 1 (less is better)"
	if err := bars(p, groups, all, mostTimes); err != nil {
		return err
	}
	one, err := plotter.NewLine(plotter.XYs{{X: 1, Y: -0.5}, {X: 1, Y: float64(len(groups)) - 0.5}})
	if err != nil {
		return err
	}
	p.Add(one)
	return save(p, file, groups, all)
}

// plotMemory draws resident memory per idle connection.
func (r *results) plotMemory(file string) error {
	var groups []string
	var all []series
	for _, i := range r.Idle {
		if i.Error == "" && !slices.Contains(groups, i.Workload) {
			groups = append(groups, i.Workload)
		}
	}
	for _, name := range contenderNames() {
		s := series{name: name, values: make(plotter.Values, len(groups))}
		for _, i := range r.Idle {
			if at := slices.Index(groups, i.Workload); i.Contender == name && at >= 0 {
				s.values[at] = i.PerConn / 1000
			}
		}
		if slices.ContainsFunc(s.values, func(v float64) bool { return v > 0 }) {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return nil
	}
	p := plot.New()
	p.Title.Text = "Resident memory per idle connection, kB (less is better)"
	if err := bars(p, groups, all, math.Inf(1)); err != nil {
		return err
	}
	return save(p, file, groups, all)
}

const (
	barWidth = vg.Length(6)
	// mostTimes is where longer bars end, with their figure at the end: one that
	// is ten times as long as all others would leave nothing to see of those.
	mostTimes = 2.5
)

// wider is room for fonts that are wider than the one which texts are laid out for: an
// SVG file names it, and who looks at it may have another.
const wider = "      "

// bars adds them side by side, lying, so that the groups' names can be read. The
// first group and the first series are on top. Those longer than most are cut.
func bars(p *plot.Plot, groups []string, all []series, most float64) error {
	for i, s := range all {
		offset := barWidth * vg.Length(float64(len(all)-1)/2-float64(i))
		values := make(plotter.Values, len(groups))
		var cut plotter.XYLabels
		for g, v := range s.values {
			at := len(groups) - 1 - g
			values[at] = min(v, most)
			if v > most {
				cut.XYs = append(cut.XYs, plotter.XY{X: most, Y: float64(at)})
				cut.Labels = append(cut.Labels, fmt.Sprintf(" %.1f", v))
			}
		}
		b, err := plotter.NewBarChart(values, barWidth)
		if err != nil {
			return err
		}
		b.Horizontal = true
		b.LineStyle.Width = 0
		b.Color = plotutil.Color(i)
		b.Offset = offset
		p.Add(b)
		labels, err := plotter.NewLabels(cut)
		if err != nil {
			return err
		}
		for l := range labels.TextStyle {
			labels.TextStyle[l].Font.Size = barWidth + 2
			labels.TextStyle[l].YAlign = draw.YCenter
		}
		labels.Offset.Y = offset
		p.Add(labels)
		p.Legend.Add(s.name+wider, b)
	}
	names := slices.Clone(groups)
	slices.Reverse(names)
	for i := range names {
		names[i] += wider
	}
	p.NominalY(names...)
	p.Y.Label.Text = " " // room for them
	p.Title.Padding = 8
	p.X.Min = 0
	p.Legend.Top, p.Legend.Left = true, false
	p.Legend.YPosition = draw.PosTop
	grid := plotter.NewGrid()
	grid.Horizontal.Width = 0
	p.Add(grid)
	return nil
}

func save(p *plot.Plot, file string, groups []string, all []series) error {
	p.X.Max *= 1.45 // room for the legend
	height := vg.Length(len(groups))*(vg.Length(len(all))*barWidth+8) + 80
	return p.Save(18*vg.Centimeter, height, file)
}
