package proxy

import (
	"context"
	"time"

	"github.com/geomind/my_os_server/internal/jsonwire"
	"github.com/geomind/my_os_server/internal/metrics"
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

// TellMetrics tells the state of each upstream and what became of its calls.
func (p *Proxy) TellMetrics(t *metrics.Text) {
	const prefix = "my_os_server_upstream_"
	t.Family(prefix+"up", metrics.TypeGauge, "1 where the daemon that calls are passed on to takes connections and answers.")
	for _, u := range p.upstreams {
		up := 0.0
		if state, _, _ := u.status(); state == stateUp {
			up = 1
		}
		t.Sample(up, "upstream", u.Prefix)
	}
	t.Family(prefix+"connections", metrics.TypeGauge, "Connections to it.")
	for _, u := range p.upstreams {
		busy, idle := u.pool.count()
		t.Sample(float64(busy), "state", "busy", "upstream", u.Prefix)
		t.Sample(float64(idle), "state", "idle", "upstream", u.Prefix)
	}
	t.Family(prefix+"calls_total", metrics.TypeCounter, "Calls passed on to it, by how they ended.")
	for _, u := range p.upstreams {
		for i, outcome := range outcomes {
			t.Sample(float64(u.ended[i].Load()), "outcome", outcome, "upstream", u.Prefix)
		}
	}
	t.Family(prefix+"retries_total", metrics.TypeCounter, "Reads sent again because their connection had died.")
	for _, u := range p.upstreams {
		t.Sample(float64(u.retries.Load()), "upstream", u.Prefix)
	}
}
