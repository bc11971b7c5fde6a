package rtnl

import (
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Metrics is RTA_METRICS: what TCP and IP take for paths over a route, by unix.RTAX_*.
type Metrics struct {
	CongestionControl string // RTAX_CC_ALGO

	values [unix.RTAX_MAX + 1]uint32
	set    uint32 // one bit for each RTAX_*
}

// Get returns a metric, one of unix.RTAX_*, and whether the route has it. Values are the kernel's:
// RTAX_RTT in eighths and RTAX_RTTVAR in quarters of a millisecond, RTAX_RTO_MIN in milliseconds.
func (m *Metrics) Get(rtax int) (uint32, bool) {
	if rtax < 0 || rtax >= len(m.values) {
		return 0, false
	}
	return m.values[rtax], m.set&(1<<rtax) != 0
}

// Locked tells whether path discovery may not change a metric (RTAX_LOCK).
func (m *Metrics) Locked(rtax int) bool { return m.values[unix.RTAX_LOCK]&(1<<rtax) != 0 }

// IsZero tells whether the route has no metrics.
func (m *Metrics) IsZero() bool { return m.set == 0 }

func (m *Metrics) decode(b []byte) error {
	a := nlsock.Attributes(b)
	for a.Next() {
		switch typ := int(a.Type()); {
		case typ == unix.RTAX_CC_ALGO:
			m.CongestionControl = a.String()
			m.set |= 1 << typ
		case typ < len(m.values):
			m.values[typ] = a.Uint32()
			m.set |= 1 << typ
		}
	}
	return a.Err()
}
