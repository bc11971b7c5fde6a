// Package metrics counts, and tells what was counted in Prometheus' text format, version 0.0.4. Counting takes
// no lock and allocates nothing.
package metrics

import (
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// ContentType is the media type of what Set.AppendText appends.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Set is the metrics of one page. All are added before the first is told.
type Set struct {
	tellers []func(*Text)
}

// Add has tell asked for families of its own whenever the page is told, on the goroutine that tells it.
func (s *Set) Add(tell func(*Text)) { s.tellers = append(s.tellers, tell) }

// AppendText appends every family, in the order in which they were added.
func (s *Set) AppendText(b []byte) []byte {
	t := Text{b: b}
	for _, tell := range s.tellers {
		tell(&t)
	}
	return t.b
}

// Counter adds a counter without labels.
func (s *Set) Counter(name, help string) *Counter { return s.Counters(name, help).With() }

// Counters adds counters that labels tell apart.
func (s *Set) Counters(name, help string, labels ...string) *Vector[Counter] {
	v := newVector(labels, func() *Counter { return new(Counter) })
	s.Add(func(t *Text) {
		t.Family(name, TypeCounter, help)
		v.each(func(labels string, c *Counter) { t.sample("", labels, float64(c.n.Load())) })
	})
	return v
}

// Histograms adds histograms that labels tell apart. bounds are the upper ends of their buckets, which belong to
// them, in rising order; what is above the last one has a bucket of its own.
func (s *Set) Histograms(name, help string, bounds []float64, labels ...string) *Vector[Histogram] {
	v := newVector(labels, func() *Histogram { return &Histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)} })
	s.Add(func(t *Text) {
		t.Family(name, TypeHistogram, help)
		v.each(func(labels string, h *Histogram) { h.tell(t, labels) })
	})
	return v
}

// Func adds a metric without labels whose value is asked for whenever the page is told.
func (s *Set) Func(name string, kind Type, help string, value func() float64) {
	s.Add(func(t *Text) {
		t.Family(name, kind, help)
		t.Sample(value())
	})
}

// Counter is a number that only grows.
type Counter struct{ n atomic.Uint64 }

// Inc adds one.
func (c *Counter) Inc() { c.n.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) { c.n.Add(n) }

// Histogram counts values by the bucket into which they fall.
type Histogram struct {
	bounds []float64
	counts []atomic.Uint64 // of each bucket alone; the last is of what is above all bounds
	sum    atomic.Uint64   // the bits of a float64
}

// Observe counts v.
func (h *Histogram) Observe(v float64) {
	i, _ := slices.BinarySearch(h.bounds, v)
	h.counts[i].Add(1)
	for {
		old := h.sum.Load()
		if h.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

// tell takes the count from the buckets, so that the two agree while others count on.
func (h *Histogram) tell(t *Text, labels string) {
	var total uint64
	for i := range h.counts {
		total += h.counts[i].Load()
		bound := math.Inf(1)
		if i < len(h.bounds) {
			bound = h.bounds[i]
		}
		t.sample("_bucket", labels, float64(total), "le", formatFloat(bound))
	}
	t.sample("_sum", labels, math.Float64frombits(h.sum.Load()))
	t.sample("_count", labels, float64(total))
}

// Vector is metrics of one family, one for each combination of label values that was asked for.
type Vector[T any] struct {
	labels []string
	make   func() *T

	mu     sync.RWMutex
	series map[string]*T // by their labels, as they are told
}

func newVector[T any](labels []string, make func() *T) *Vector[T] {
	return &Vector[T]{labels: labels, make: make, series: map[string]*T{}}
}

// With returns the metric with these values of the labels, in the labels' order. Values are valid UTF-8, and
// never the callers' to invent: each combination stays for ever.
func (v *Vector[T]) With(values ...string) *T {
	var room [128]byte
	key := room[:0]
	for i, value := range values {
		key = appendLabel(key, v.labels[i], value)
	}
	v.mu.RLock()
	one := v.series[string(key)]
	v.mu.RUnlock()
	if one != nil {
		return one
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if one = v.series[string(key)]; one == nil {
		one = v.make()
		v.series[string(key)] = one
	}
	return one
}

// each passes on what there is, ordered by labels.
func (v *Vector[T]) each(f func(labels string, one *T)) {
	v.mu.RLock()
	series := maps.Clone(v.series)
	v.mu.RUnlock()
	for _, labels := range slices.Sorted(maps.Keys(series)) {
		f(labels, series[labels])
	}
}
