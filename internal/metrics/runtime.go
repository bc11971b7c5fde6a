package metrics

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"time"
)

// AddRuntime adds what the Go runtime counts, by the names that Prometheus' Go client gives it.
func (s *Set) AddRuntime() {
	s.Add(func(t *Text) {
		tellCollections(t)
		t.one("go_goroutines", TypeGauge, "Goroutines that exist.", float64(runtime.NumGoroutine()))
		threads, _ := runtime.ThreadCreateProfile(nil)
		t.one("go_threads", TypeGauge, "Threads that were made.", float64(threads))
		t.Family("go_info", TypeGauge, "Which Go the program was built with.")
		t.Sample(1, "version", runtime.Version())
		tellMemory(t)
		tellSettings(t)
	})
}

// tellCollections tells how long the garbage collector stopped the program.
func tellCollections(t *Text) {
	stats := debug.GCStats{PauseQuantiles: make([]time.Duration, 5)}
	debug.ReadGCStats(&stats)
	t.Family("go_gc_duration_seconds", TypeSummary, "Pauses of the program for the garbage collector.")
	for i, pause := range stats.PauseQuantiles {
		t.Sample(pause.Seconds(), "quantile", strconv.FormatFloat(float64(i)/4, 'g', -1, 64))
	}
	t.sample("_sum", "", stats.PauseTotal.Seconds())
	t.sample("_count", "", float64(stats.NumGC))
	last := 0.0
	if stats.NumGC > 0 {
		last = float64(stats.LastGC.UnixNano()) / 1e9
	}
	t.one("go_memstats_last_gc_time_seconds", TypeGauge, "When garbage was last collected, in seconds since 1970; 0 is never.", last)
}

// memory are the members of runtime.MemStats that are told.
var memory = []struct {
	name, help string
	kind       Type
	value      func(*runtime.MemStats) uint64
}{
	{"alloc_bytes", "Heap objects, those included that are garbage not yet collected.", TypeGauge, func(m *runtime.MemStats) uint64 { return m.Alloc }},
	{"alloc_bytes_total", "All that was ever allocated for heap objects.", TypeCounter, func(m *runtime.MemStats) uint64 { return m.TotalAlloc }},
	{"sys_bytes", "All memory that the Go runtime took from the system.", TypeGauge, func(m *runtime.MemStats) uint64 { return m.Sys }},
	{"mallocs_total", "Heap objects that were ever allocated.", TypeCounter, func(m *runtime.MemStats) uint64 { return m.Mallocs }},
	{"frees_total", "Heap objects that were freed.", TypeCounter, func(m *runtime.MemStats) uint64 { return m.Frees }},
	{"heap_alloc_bytes", "The same as go_memstats_alloc_bytes.", TypeGauge, func(m *runtime.MemStats) uint64 { return m.HeapAlloc }},
	{"heap_sys_bytes", "Memory taken from the system for the heap.", TypeGauge, func(m *runtime.MemStats) uint64 { return m.HeapSys }},
	{"heap_idle_bytes", "Spans of the heap that hold nothing.", TypeGauge, func(m *runtime.MemStats) uint64 { return m.HeapIdle }},
	{"heap_inuse_bytes", "Spans of the heap that hold objects.", TypeGauge, func(m *runtime.MemStats) uint64 { return m.HeapInuse }},
	{"heap_released_bytes", "Memory of the heap given back to the system.", TypeGauge, func(m *runtime.MemStats) uint64 { return m.HeapReleased }},
	{"heap_objects", "Heap objects that exist.", TypeGauge, func(m *runtime.MemStats) uint64 { return m.HeapObjects }},
	{"stack_inuse_bytes", "Spans that hold stacks.", TypeGauge, func(m *runtime.MemStats) uint64 { return m.StackInuse }},
	{"stack_sys_bytes", "Memory taken from the system for stacks.", TypeGauge, func(m *runtime.MemStats) uint64 { return m.StackSys }},
	{"mspan_inuse_bytes", "Descriptions of spans.", TypeGauge, func(m *runtime.MemStats) uint64 { return m.MSpanInuse }},
	{"mspan_sys_bytes", "Memory taken from the system for descriptions of spans.", TypeGauge, func(m *runtime.MemStats) uint64 { return m.MSpanSys }},
	{"mcache_inuse_bytes", "Caches of the allocator.", TypeGauge, func(m *runtime.MemStats) uint64 { return m.MCacheInuse }},
	{"mcache_sys_bytes", "Memory taken from the system for caches of the allocator.", TypeGauge, func(m *runtime.MemStats) uint64 { return m.MCacheSys }},
	{"buck_hash_sys_bytes", "Tables of the profiler.", TypeGauge, func(m *runtime.MemStats) uint64 { return m.BuckHashSys }},
	{"gc_sys_bytes", "What the garbage collector notes down.", TypeGauge, func(m *runtime.MemStats) uint64 { return m.GCSys }},
	{"other_sys_bytes", "Memory that the runtime took for all else.", TypeGauge, func(m *runtime.MemStats) uint64 { return m.OtherSys }},
	{"next_gc_bytes", "How large the heap is to be when garbage is next collected.", TypeGauge, func(m *runtime.MemStats) uint64 { return m.NextGC }},
}

func tellMemory(t *Text) {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	for _, m := range memory {
		t.one("go_memstats_"+m.name, m.kind, m.help, float64(m.value(&stats)))
	}
}

// tellSettings tells what the runtime is set to.
func tellSettings(t *Text) {
	samples := []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/gomemlimit:bytes"}, {Name: "/sched/gomaxprocs:threads"}}
	metrics.Read(samples)
	gogc, limit, procs := samples[0].Value.Uint64(), samples[1].Value.Uint64(), samples[2].Value.Uint64()
	t.one("go_gc_gogc_percent", TypeGauge, "By how much the heap may grow before garbage is collected (GOGC).", percent(gogc))
	t.one("go_gc_gomemlimit_bytes", TypeGauge, "The memory limit of the runtime (GOMEMLIMIT); 2^63-1 is none.", float64(limit))
	t.one("go_sched_gomaxprocs_threads", TypeGauge, "Threads that run Go code at the same time, at most (GOMAXPROCS).", float64(procs))
}

// percent is infinite where GOGC is off.
func percent(gogc uint64) float64 {
	if gogc == math.MaxUint64 {
		return math.Inf(1)
	}
	return float64(gogc)
}
