package main

import (
	"fmt"
	"slices"
	"time"
)

// sample is what one side took, one entry a round.
type sample []time.Duration

func (s sample) median() time.Duration {
	sorted := slices.Sorted(slices.Values(s))
	return sorted[len(sorted)/2]
}

func (s sample) spread() string {
	return fmt.Sprintf("%v..%v", round(slices.Min(s)), round(slices.Max(s)))
}

// round keeps three digits or so.
func round(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(time.Millisecond)
	case d > time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(100 * time.Nanosecond)
}

// compare runs both sides in turn, so that whatever else the machine does hits both alike, and
// prints the ratio of their medians beside the bar it should stay under.
func compare(what string, bar float64, peerName string, peer, ours func() error) error {
	var theirs, mine sample
	for range *rounds {
		for _, side := range []struct {
			run  func() error
			into *sample
		}{{peer, &theirs}, {ours, &mine}} {
			start := time.Now()
			if err := side.run(); err != nil {
				return err
			}
			*side.into = append(*side.into, time.Since(start))
		}
	}
	ratio := float64(mine.median()) / float64(theirs.median())
	fmt.Printf("  %-34s ours %9v (%s)  %s %9v (%s)  ratio %.2f  bar %.2f %s\n", what,
		round(mine.median()), mine.spread(), peerName, round(theirs.median()), theirs.spread(), ratio, bar, verdict(ratio <= bar))
	return nil
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "MISSED"
}
