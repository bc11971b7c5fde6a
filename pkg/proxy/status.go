package proxy

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/geomind/my_os_server/internal/jsonwire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// What an upstream is known to be.
const (
	stateUp     = "up"
	stateDown   = "down"   // nobody can be reached
	stateSilent = "silent" // it takes connections, and the last calls had no answer in their time
)

// freshness is how old what is known may be before somebody who asks for it has it looked at again.
const freshness = time.Second

// probeTime bounds that look. Connecting to a Unix socket never waits: there is somebody or nobody.
const probeTime = 100 * time.Millisecond

// status finds out what state the upstream is in.
func (u *upstream) status() (state, socket, cause string) {
	asked, down := u.access.known()
	if time.Since(asked) > freshness {
		down = u.probe()
	}
	switch {
	case down != nil:
		socket, _ = down.Socket.Get()
		return stateDown, socket, down.Cause
	case u.silent.Load() > 0:
		return stateSilent, *u.found.Load(), "it takes connections, and the last calls had no answer in their time"
	}
	return stateUp, *u.found.Load(), ""
}

// probe looks whether a kept connection is still good, or else makes one, and keeps it for the next call.
func (u *upstream) probe() *registry.UpstreamUnavailableError {
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	c, down := u.connect(ctx)
	if down == nil {
		u.pool.keep(c)
	}
	return down
}

// AppendHealth appends the member upstreams of GET /health.
func (p *Proxy) AppendHealth(b []byte) []byte {
	b = append(b, `"upstreams":[`...)
	for i, u := range p.upstreams {
		if i > 0 {
			b = append(b, ',')
		}
		b = u.appendHealth(b)
	}
	return append(b, ']')
}

func (u *upstream) appendHealth(b []byte) []byte {
	state, socket, cause := u.status()
	for _, m := range []struct{ name, value string }{
		{`{"name":`, u.Prefix}, {`,"namespace":`, u.Namespace}, {`,"socket":`, socket}, {`,"state":`, state}, {`,"cause":`, cause},
	} {
		if m.value != "" {
			b = jsonwire.AppendString(append(b, m.name...), m.value)
		}
	}
	return append(b, '}')
}

const metricsPrefix = "my_os_server_upstream_"

var (
	metricUp          = prometheus.NewDesc(metricsPrefix+"up", "1 where the daemon that calls are passed on to takes connections and answers.", []string{"upstream"}, nil)
	metricConnections = prometheus.NewDesc(metricsPrefix+"connections", "Connections to it.", []string{"upstream", "state"}, nil)
	metricCalls       = prometheus.NewDesc(metricsPrefix+"calls_total", "Calls passed on to it, by how they ended.", []string{"upstream", "outcome"}, nil)
	metricRetries     = prometheus.NewDesc(metricsPrefix+"retries_total", "Reads sent again because their connection had died.", []string{"upstream"}, nil)
)

var _ prometheus.Collector = (*Proxy)(nil)

// Describe says which metrics there are.
func (p *Proxy) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{metricUp, metricConnections, metricCalls, metricRetries} {
		to <- d
	}
}

// Collect tells the state of each upstream and what became of its calls.
func (p *Proxy) Collect(to chan<- prometheus.Metric) {
	for _, u := range p.upstreams {
		u.collect(to)
	}
}

func (u *upstream) collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, append([]string{u.Prefix}, labels...)...)
	}
	counter := func(d *prometheus.Desc, value uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), append([]string{u.Prefix}, labels...)...)
	}
	up := 0.0
	if state, _, _ := u.status(); state == stateUp {
		up = 1
	}
	gauge(metricUp, up)
	busy, idle := u.pool.count()
	gauge(metricConnections, float64(busy), "busy")
	gauge(metricConnections, float64(idle), "idle")
	counter(metricRetries, u.retries.Load())
	for i, outcome := range outcomes {
		counter(metricCalls, u.ended[i].Load(), outcome)
	}
}
