package rpcserver

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/geomind/my_os_server/internal/metrics"
	"github.com/geomind/my_os_server/pkg/registry"
)

// meters count what the pipeline does.
type meters struct {
	page      metrics.Set
	calls     *metrics.Vector[metrics.Counter]
	durations *metrics.Vector[metrics.Histogram]
	refusals  *metrics.Vector[metrics.Counter]

	refusedConns *metrics.Counter
	sent         *metrics.Counter
	unproven     *metrics.Counter
	handshakes   *metrics.Counter
	abandoned    atomic.Int64

	methods []methodMeters // by the method's place in the table, and one more for calls of no method
}

// MetricsTeller is a Backend that has metrics of its own to tell at GET /metrics.
type MetricsTeller interface {
	// TellMetrics appends families whose names begin with my_os_server_. It must return at once.
	TellMetrics(t *metrics.Text)
}

// methodMeters are the series of one method that most of its calls touch. They are looked up when the
// method is first called; so a method that nobody calls costs a scrape nothing.
type methodMeters struct {
	series atomic.Pointer[methodSeries]
}

type methodSeries struct {
	ok       *metrics.Counter
	duration *metrics.Histogram
}

// durationBuckets go from an answer out of memory to the longest deadline, in seconds.
var durationBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120}

func newMeters(s *Server, proc string) *meters {
	const namespace = "my_os_server_"
	m := &meters{methods: make([]methodMeters, len(registry.All())+1)}
	p := &m.page
	m.calls = p.Counters(namespace+"calls_total", "Calls by method and by how they ended: ok, or the kind of the error.", "code", "method")
	m.durations = p.Histograms(namespace+"call_duration_seconds", "How long calls took.", durationBuckets, "method")
	m.refusals = p.Counters(namespace+"http_refusals_total", "Requests refused before there was a call, by HTTP status.", "status")
	m.refusedConns = p.Counter(namespace+"connections_refused_total", "Connections closed at once because their caller had too many.")
	m.unproven = p.Counter(namespace+"credentials_refused_total", "Requests whose credentials did not hold.")
	m.handshakes = p.Counter(namespace+"tls_handshakes_failed_total", "TLS connections that did not come about.")
	m.sent = p.Counter(namespace+"answer_bytes_total", "Bytes of JSON-RPC answers.")
	gauge := func(name, help string, count func() int64) {
		p.Func(namespace+name, metrics.TypeGauge, help, func() float64 { return float64(count()) })
	}
	gauge("connections", "Connections that are open.", s.ledger.conns.taken.n.Load)
	gauge("calls_in_flight", "Calls that run, those included that nobody waits for any more.", s.ledger.calls.taken)
	gauge("streams", "Results that are being streamed.", s.ledger.streams.taken)
	gauge("calls_abandoned", "Handlers that have not come back although their call has ended.", m.abandoned.Load)
	p.Func(namespace+"log_lines_dropped_total", metrics.TypeCounter, "Lines that the log's taker was too slow for.",
		func() float64 { return float64(s.logDropped()) })
	p.AddRuntime()
	p.AddProcess(proc)
	return m
}

// refused counts a request that was refused with an HTTP status.
func (m *meters) refused(status int) { m.refusals.With(strconv.Itoa(status)).Inc() }

// noMethod stands in the label where a call named no method that there is. What it named instead is not
// used: labels must not be the callers' to invent.
const noMethod = "none"

// observe counts one call. method is nil where there was none.
func (m *meters) observe(method *registry.Method, kind string, took time.Duration) {
	place, name := len(m.methods)-1, noMethod
	if method != nil {
		place, name = method.Index, method.Name
	}
	series := m.methods[place].series.Load()
	if series == nil {
		series = &methodSeries{ok: m.calls.With(kindOK, name), duration: m.durations.With(name)}
		m.methods[place].series.Store(series)
	}
	series.duration.Observe(took.Seconds())
	if kind == kindOK {
		series.ok.Inc()
	} else {
		m.calls.With(kind, name).Inc()
	}
}
