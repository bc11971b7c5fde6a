package metrics

import (
	"bytes"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// read has Prometheus' own parser read a page.
func read(t *testing.T, page []byte) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		t.Fatalf("%v in\n%s", err, page)
	}
	return families
}

// TestWords: what other programs look for in a page, to the byte.
func TestWords(t *testing.T) {
	var s Set
	calls := s.Counters("calls_total", `How they "ended": \`+"\nno more.", "code", "method")
	calls.With("ok", "b").Add(2)
	calls.With("ok", "a").Inc()
	calls.With("ok", "b").Inc()
	calls.With(`q"\`+"\n", "").Inc()
	s.Counter("none_total", "Nothing.")
	s.Histograms("seconds", "How long.", []float64{.5, 10}, "method").With("a").Observe(.5)
	s.Func("far", TypeGauge, "Far.", func() float64 { return math.Inf(1) })
	want := `# HELP calls_total How they "ended": \\\nno more.
# TYPE calls_total counter
calls_total{code="ok",method="a"} 1
calls_total{code="ok",method="b"} 3
calls_total{code="q\"\\\n",method=""} 1
# HELP none_total Nothing.
# TYPE none_total counter
none_total 0
# HELP seconds How long.
# TYPE seconds histogram
seconds_bucket{method="a",le="0.5"} 1
seconds_bucket{method="a",le="10"} 1
seconds_bucket{method="a",le="+Inf"} 1
seconds_sum{method="a"} 0.5
seconds_count{method="a"} 1
# HELP far Far.
# TYPE far gauge
far +Inf
`
	got := s.AppendText([]byte("kept"))
	if diff := cmp.Diff("kept"+want, string(got)); diff != "" {
		t.Error(diff)
	}
	labels := read(t, got[len("kept"):])["calls_total"].Metric
	if !slices.ContainsFunc(labels, func(m *dto.Metric) bool { return m.Label[0].GetValue() == `q"\`+"\n" }) {
		t.Errorf("the label with signs of the format in it comes back as something else: %v", labels)
	}
}

// TestPrometheusReadsTheSame: random values, counted by Prometheus' client beside, read the same.
func TestPrometheusReadsTheSame(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	bounds := []float64{.001, .01, .1, 1, 10}
	var s Set
	ours := s.Histograms("took_seconds", "Took.", bounds, "method")
	theirs := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "took_seconds", Help: "Took.", Buckets: bounds}, []string{"method"})
	for range 2000 {
		method, value := string('a'+random.Int32N(4)), math.Exp(random.NormFloat64()*4)
		if random.IntN(10) == 0 {
			value = bounds[random.IntN(len(bounds))] // a bound belongs to the bucket below
		}
		ours.With(method).Observe(value)
		theirs.WithLabelValues(method).Observe(value)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(theirs)
	gathered, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if _, err := expfmt.MetricFamilyToText(&text, gathered[0]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text.String(), string(s.AppendText(nil))); diff != "" {
		t.Errorf("seed %d (-Prometheus' client +ours):\n%s", seed, diff)
	}
}

// TestSameNames: Prometheus' client tells of a process and of the Go runtime by the same names and types, and
// what does not move between two looks has the same value.
func TestSameNames(t *testing.T) {
	var s Set
	s.AddRuntime()
	s.AddProcess("/proc")
	ours := read(t, s.AppendText(nil))
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	theirs, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	still := []string{"go_info", "go_gc_gogc_percent", "go_gc_gomemlimit_bytes", "go_sched_gomaxprocs_threads", "process_max_fds", "process_virtual_memory_max_bytes", "process_start_time_seconds"}
	for _, family := range theirs {
		name := family.GetName()
		mine := ours[name]
		delete(ours, name)
		if mine == nil || mine.GetType() != family.GetType() || len(mine.Metric) != len(family.Metric) {
			t.Errorf("%s: %v, want as in %v", name, mine, family)
			continue
		}
		if a, b := mine.Metric[0], family.Metric[0]; slices.Contains(still, name) && (a.Gauge.GetValue() != b.Gauge.GetValue() || len(a.Label) != len(b.Label)) {
			t.Errorf("%s: %v, want %v", name, a, b)
		}
		if size := mine.Metric[0].Gauge.GetValue(); name == "process_resident_memory_bytes" && size < 1<<20 {
			t.Errorf("%s: %v", name, size)
		}
	}
	for name := range ours {
		t.Errorf("%s: Prometheus' client knows no such name", name)
	}
}

// TestOpenFiles: as many as there are.
func TestOpenFiles(t *testing.T) {
	before, err := countEntries("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	if after, err := countEntries("/proc/self/fd"); err != nil || after != before+5 {
		t.Errorf("%d, %v, before 5 more were opened %d", after, err, before)
	}
}

// TestStrangeProcfs: what is not there, cut short or not understood is left out, and the rest is told.
func TestStrangeProcfs(t *testing.T) {
	for _, files := range []map[string]string{
		{},
		{"self/stat": ""},
		{"self/stat": "1 (a) b) S 1"},
		{"self/stat": "1 (x) S" + strings.Repeat(" 1", 30), "stat": "cpu 1\n"},
		{"self/net/netstat": "IpExt: InOctets\nIpExt:\n"},
		{"self/net/netstat": "IpExt: InOctets OutOctets\nIpExt: 1 x\n"},
		{"self/net/netstat": "\nTcpExt: InOctets OutOctets\n"},
	} {
		proc := t.TempDir()
		for name, text := range files {
			path := filepath.Join(proc, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var s Set
		s.AddProcess(proc)
		families := read(t, s.AppendText(nil))
		for _, name := range []string{"process_open_fds", "process_network_receive_bytes_total", "process_start_time_seconds"} {
			if families[name] != nil {
				t.Errorf("%v: %v", files, families[name])
			}
		}
		if families["process_max_fds"] == nil {
			t.Errorf("%v: the rest is gone too", files)
		}
	}
}

// TestSideBySide: while some count, others read, and each page is whole.
func TestSideBySide(t *testing.T) {
	const each, counters = 500, 8
	var s Set
	calls := s.Counters("calls_total", "Calls.", "by")
	took := s.Histograms("took", "Took.", []float64{1, 2, 3}, "by")
	var all sync.WaitGroup
	for range counters {
		all.Go(func() {
			for i := range each {
				by := string(rune('a' + i%5))
				calls.With(by).Inc()
				took.With(by).Observe(float64(i % 5))
			}
		})
	}
	for range 20 {
		for _, m := range read(t, s.AppendText(nil))["took"].GetMetric() {
			if b := m.Histogram.Bucket; b[len(b)-1].GetCumulativeCount() != m.Histogram.GetSampleCount() {
				t.Errorf("the buckets and the count disagree: %v", m)
			}
		}
	}
	all.Wait()
	families := read(t, s.AppendText(nil))
	var sum, seconds float64
	for i, m := range families["calls_total"].Metric {
		sum += m.Counter.GetValue()
		seconds += families["took"].Metric[i].Histogram.GetSampleSum()
	}
	if sum != each*counters || seconds != 2*each*counters {
		t.Errorf("%v calls that took %v, want %v and %v", sum, seconds, each*counters, 2*each*counters)
	}
}

// TestCountingAllocatesNothing: neither with a metric in hand nor by its labels.
func TestCountingAllocatesNothing(t *testing.T) {
	var s Set
	calls := s.Counters("calls_total", "Calls.", "code", "method")
	took := s.Histograms("took", "Took.", []float64{1, 2, 3}, "method").With("a")
	if n := testing.AllocsPerRun(100, func() {
		calls.With("ok", "net.status").Inc()
		took.Observe(2)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzOctets: no netstat makes a page that Prometheus cannot read.
func FuzzOctets(f *testing.F) {
	f.Add("TcpExt: A B\nTcpExt: 1 2\nIpExt: InNoRoutes InOctets OutOctets\nIpExt: 0 123 456\n")
	f.Add("IpExt: InOctets OutOctets\nIpExt: 1e400 -1\n")
	f.Fuzz(func(t *testing.T, file string) {
		in, out := ipOctets(file)
		var text Text
		text.one("in", TypeCounter, file, in)
		text.Family("out", TypeCounter, "")
		text.Sample(out, "file", strings.ToValidUTF8(file, "?"))
		if strings.ContainsAny(file, "\r\x00") || !strings.EqualFold(file, strings.ToValidUTF8(file, "?")) {
			return // the kernel writes none, and help is ours
		}
		families := read(t, text.b)
		if got := families["out"].Metric[0].Label[0].GetValue(); got != file {
			t.Errorf("%q comes back as %q", file, got)
		}
	})
}
