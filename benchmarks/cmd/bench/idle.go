package main

import (
	"fmt"
	"math"
	"time"
)

// idleConnections are the numbers of them that are measured.
var idleConnections = []int{10_000, 100_000}

func idleName(n int) string { return fmt.Sprintf("idle/%d", n) }

// idleResult is a contender with many idle connections.
type idleResult struct {
	Workload  string `json:"workload"`
	Contender string `json:"contender"`
	// Conns is how many there were: less than wanted where the limit of
	// descriptors is too low.
	Conns         int     `json:"connections"`
	Before        int64   `json:"rss_before_bytes"`
	After         int64   `json:"rss_after_bytes"`
	PerConn       float64 `json:"rss_per_connection_bytes"`
	AnswerMedian  float64 `json:"answer_median_us"`
	AnswerP99     float64 `json:"answer_p99_us"`
	AnswersFailed int     `json:"answers_failed"`
	Gathering     string  `json:"gathering_took"`
	Error         string  `json:"error,omitempty"`
}

// idle measures one contender after the other.
func (p *plan) idle(r *results) error {
	for _, n := range idleConnections {
		if !p.wants(idleName(n)) {
			continue
		}
		for _, c := range p.contenders {
			progress("%s, %s", idleName(n), c.name)
			got := idleResult{Workload: idleName(n), Contender: c.name, Conns: min(n, p.maxConns)}
			if err := p.idleOf(c, &got); err != nil {
				got.Error = err.Error()
				progress("%s", got.Error)
			}
			r.Idle = append(r.Idle, got)
		}
	}
	return nil
}

func (p *plan) idleOf(c contender, got *idleResult) error {
	s, err := p.start(c, false)
	if err != nil {
		return err
	}
	defer s.kill()
	warm, err := gather(s, 1)
	warm.close()
	if err != nil {
		return err
	}
	if got.Before, err = settled(s); err != nil {
		return err
	}
	began := time.Now()
	conns, err := gather(s, got.Conns)
	defer conns.close()
	if err != nil {
		return err
	}
	got.Gathering = time.Since(began).Round(time.Millisecond).String()
	if c.atRest {
		time.Sleep(parkedSettle)
	}
	if got.After, err = settled(s); err != nil {
		return err
	}
	got.PerConn = float64(got.After-got.Before) / float64(got.Conns)
	micros, failed := conns.askAll()
	if got.AnswersFailed = failed; failed < got.Conns {
		got.AnswerMedian, got.AnswerP99 = percentiles(micros)
	}
	return nil
}

func percentiles(micros []float64) (median, p99 float64) {
	s := sorted(micros)
	return quantile(s, 0.5), quantile(s, 0.99)
}

// parkedSettle is how long a server that parks takes to give memory back: fasthttp's
// workers wait 10 to 20 s for further work before they end.
const parkedSettle = 25 * time.Second

// settled is the server's resident memory once it has stayed within 1 % for a
// second, or after 15 s.
func settled(s *server) (rss int64, err error) {
	const look, enough = 250 * time.Millisecond, 4
	for same, looks := 0, 0; same < enough && looks < 60; looks++ {
		time.Sleep(look)
		now, err := residentMemory(s.pid())
		if err != nil {
			return 0, err
		}
		if math.Abs(float64(now-rss)) <= float64(rss)/100 {
			same++
		} else {
			same = 0
		}
		rss = now
	}
	return rss, nil
}
