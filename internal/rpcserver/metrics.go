package rpcserver

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/geomind/my_os_server/pkg/registry"
)

// metrics counts what the pipeline does, in a registry of its own.
type metrics struct {
	gatherer  *prometheus.Registry
	calls     *prometheus.CounterVec
	durations *prometheus.HistogramVec
	refusals  *prometheus.CounterVec

	refusedConns prometheus.Counter
	sent         prometheus.Counter
	unproven     prometheus.Counter
	handshakes   prometheus.Counter
	abandoned    atomic.Int64

	methods []methodMetrics // by the method's place in the table, and one more for calls of no method
}

// methodMetrics are the series of one method that most of its calls touch. They are looked up when the
// method is first called; so a method that nobody calls costs a scrape nothing.
type methodMetrics struct {
	series atomic.Pointer[methodSeries]
}

type methodSeries struct {
	ok       prometheus.Counter
	duration prometheus.Observer
}

// durationBuckets go from an answer out of memory to the longest deadline, in seconds.
var durationBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120}

func newMetrics(s *Server) *metrics {
	const namespace = "my_os_server"
	m := &metrics{
		gatherer: prometheus.NewRegistry(),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: "calls_total",
			Help: "Calls by method and by how they ended: ok, or the kind of the error."}, []string{"method", "code"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: "call_duration_seconds",
			Help: "How long calls took.", Buckets: durationBuckets}, []string{"method"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: "http_refusals_total",
			Help: "Requests refused before there was a call, by HTTP status."}, []string{"status"}),
		refusedConns: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "connections_refused_total",
			Help: "Connections closed at once because their caller had too many."}),
		unproven: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "credentials_refused_total",
			Help: "Requests whose credentials did not hold."}),
		handshakes: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "tls_handshakes_failed_total",
			Help: "TLS connections that did not come about."}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "answer_bytes_total",
			Help: "Bytes of JSON-RPC answers."}),
		methods: make([]methodMetrics, len(registry.All())+1),
	}
	m.gatherer.MustRegister(m.calls, m.durations, m.refusals, m.refusedConns, m.sent, m.unproven, m.handshakes,
		taken(namespace, "connections", "Connections that are open.", s.ledger.conns.taken.n.Load),
		taken(namespace, "calls_in_flight", "Calls that run, those included that nobody waits for any more.", s.ledger.calls.taken),
		taken(namespace, "streams", "Results that are being streamed.", s.ledger.streams.taken),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: "calls_abandoned",
			Help: "Handlers that have not come back although their call has ended."}, func() float64 { return float64(m.abandoned.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: namespace, Name: "log_lines_dropped_total",
			Help: "Lines that the log's taker was too slow for."}, func() float64 { return float64(s.logDropped()) }),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// taken is the gauge for what is taken of a resource.
func taken(namespace, name, help string, count func() int64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help},
		func() float64 { return float64(count()) })
}

// refused counts a request that was refused with an HTTP status.
func (m *metrics) refused(status int) { m.refusals.WithLabelValues(strconv.Itoa(status)).Inc() }

// noMethod stands in the label where a call named no method that there is. What it named instead is not
// used: labels must not be the callers' to invent.
const noMethod = "none"

// observe counts one call. method is nil where there was none.
func (m *metrics) observe(method *registry.Method, kind string, took time.Duration) {
	place, name := len(m.methods)-1, noMethod
	if method != nil {
		place, name = method.Index, method.Name
	}
	series := m.methods[place].series.Load()
	if series == nil {
		series = &methodSeries{ok: m.calls.WithLabelValues(name, kindOK), duration: m.durations.WithLabelValues(name)}
		m.methods[place].series.Store(series)
	}
	series.duration.Observe(took.Seconds())
	if kind == kindOK {
		series.ok.Inc()
	} else {
		m.calls.WithLabelValues(name, kind).Inc()
	}
}
