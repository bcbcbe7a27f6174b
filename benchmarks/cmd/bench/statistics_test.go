package main

import (
	"errors"
	"slices"
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	for _, tc := range []struct {
		sample []float64
		want   spread
	}{
		{nil, spread{}},
		{[]float64{3}, spread{1, 3, 3, 3, 3, 3}},
		{[]float64{4, 1, 3, 2}, spread{4, 1, 1.75, 2.5, 3.25, 4}},
		{[]float64{5, 1, 4, 2, 3}, spread{5, 1, 2, 3, 4, 5}},
	} {
		if got := spreadOf(tc.sample); got != tc.want {
			t.Errorf("%v: %+v, want %+v", tc.sample, got, tc.want)
		}
	}
}

func aSlot(contender string, round int, requests int64, cpu time.Duration, errs ...error) slot {
	s := slot{Workload: "plain/13B/64", Contender: contender, Round: round,
		load: load{Requests: requests, Micros: 1e6}, CPU: cpu}
	if err := errors.Join(errs...); err != nil {
		s.Error = err.Error()
	}
	return s
}

func TestFiguresOfASlot(t *testing.T) {
	s := aSlot("toolkit", 0, 2000, 10*time.Millisecond)
	if got := s.cpuPerRequest(); got != 5 {
		t.Errorf("CPU per request %v µs, want 5", got)
	}
	if got := s.perSecond(); got != 2000 {
		t.Errorf("%v requests per second, want 2000", got)
	}
	if got := s.cpusInUse(); got != 0.01 {
		t.Errorf("%v CPUs in use, want 0.01", got)
	}
}

// A ratio is of two slots of one round; rounds without both have none.
func TestRatiosArePairs(t *testing.T) {
	failed := errors.New("failed")
	slots := []slot{
		aSlot("fasthttp", 0, 100, 0), aSlot("lifecycle", 0, 200, 0),
		aSlot("lifecycle", 1, 90, 0), aSlot("fasthttp", 1, 30, 0),
		aSlot("fasthttp", 2, 50, 0, failed), aSlot("lifecycle", 2, 50, 0),
		aSlot("fasthttp", 3, 50, 0), aSlot("lifecycle", 3, 50, 0, failed),
		{Workload: "plain/1kB/64", Contender: "lifecycle", load: load{Requests: 7, Micros: 1}},
	}
	got := sorted(ratios(slots, "plain/13B/64", "lifecycle", slot.perSecond))
	if !slices.Equal(got, []float64{2, 3}) {
		t.Errorf("%v, want 2 and 3", got)
	}
}
