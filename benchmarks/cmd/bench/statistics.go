package main

import (
	"math"
	"slices"
)

// spread is a sample's quartiles and ends.
type spread struct {
	N                         int
	Min, Q1, Median, Q3, Most float64
}

func spreadOf(sample []float64) spread {
	if len(sample) == 0 {
		return spread{}
	}
	s := sorted(sample)
	return spread{len(s), s[0], quantile(s, 0.25), quantile(s, 0.5), quantile(s, 0.75), s[len(s)-1]}
}

func sorted(sample []float64) []float64 { return slices.Sorted(slices.Values(sample)) }

// quantile interpolates between a sorted sample's values, as R and NumPy do unless
// told otherwise.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	low := int(math.Floor(at))
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (sorted[high]-sorted[low])*(at-float64(low))
}

// figure is what is compared of a slot.
type figure func(slot) float64

// figures are a contender's under a workload, without slots that failed.
func figures(slots []slot, workload, contender string, f figure) (byRound map[int]float64) {
	byRound = map[int]float64{}
	for _, s := range slots {
		if s.Workload == workload && s.Contender == contender && s.Error == "" {
			byRound[s.Round] = f(s)
		}
	}
	return byRound
}

// ratios compare a contender with the baseline in each round that has both. What
// changes from round to round, as a neighbour on the machine, is in neither.
func ratios(slots []slot, workload, contender string, f figure) (all []float64) {
	base := figures(slots, workload, baselineOf(workload), f)
	for round, v := range figures(slots, workload, contender, f) {
		if b, ok := base[round]; ok && b > 0 {
			all = append(all, v/b)
		}
	}
	return all
}

func values(byRound map[int]float64) (all []float64) {
	for _, v := range byRound {
		all = append(all, v)
	}
	return all
}
