package dhcp6

import (
	"bytes"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/iana"

	"github.com/geomind/my_os_server/internal/dhcploop"
)

// replied takes a Reply to what was asked (RFC 8415 section 18.2.10).
func (m *Machine) replied(now time.Time, a *Answer) []Action {
	switch m.state {
	case Soliciting:
		if m.config.RapidCommit && a.rapid && a.status == iana.StatusSuccess && m.worth(a) > 0 {
			return m.leased(now, a, true)
		}
	case Requesting:
		if bytes.Equal(a.server, m.server) {
			return m.granted(now, a)
		}
	case Renewing:
		if bytes.Equal(a.server, m.server) {
			return m.extended(now, a)
		}
	case Rebinding:
		return m.extended(now, a)
	case Confirming:
		return m.confirmed(now, a)
	case Information:
		return m.informed(now, a)
	case Declining, Releasing:
		return m.gaveUp(now) // as it goes on where nobody answers
	}
	return nil
}

// granted takes the answer to a Request. UnspecFail and UseMulticast change nothing: the message is sent again
// in its time, and always by multicast.
func (m *Machine) granted(now time.Time, a *Answer) []Action {
	switch {
	case a.status == iana.StatusUnspecFail, a.status == iana.StatusUseMulticast:
		return nil
	case a.status != iana.StatusSuccess, m.worth(a) == 0:
		return m.start(now, m.pause(0))
	}
	return m.leased(now, a, true)
}

// confirmed takes the answer to a Confirm, or to the Rebind in its place.
func (m *Machine) confirmed(now time.Time, a *Answer) []Action {
	switch {
	case a.status == iana.StatusNotOnLink:
		return m.end(now, NotOnLink)
	case m.config.Prefixes:
		return m.extended(now, a)
	case a.status != iana.StatusSuccess:
		return nil
	}
	return m.bind(now, m.lease)
}

// extended takes the answer to a Renew or Rebind. Where the server does not know the lease it is asked for it.
func (m *Machine) extended(now time.Time, a *Answer) []Action {
	if a.status != iana.StatusSuccess {
		return nil // it is asked again
	}
	id := m.config.IAID
	var told []*association
	if of := a.addresses[id]; of != nil && m.config.Addresses {
		told = append(told, of)
	}
	if of := a.prefixes[id]; of != nil && m.config.Prefixes {
		told = append(told, of)
	}
	if slices.ContainsFunc(told, func(of *association) bool { return of.status == iana.StatusNoBinding }) {
		return m.request(now, a.server, m.lease)
	}
	if !slices.ContainsFunc(told, func(of *association) bool { return len(of.parts) > 0 }) {
		return nil // no more time for anything: it is asked again
	}
	return m.leased(now, a, false)
}

// leased puts in force what an answer leases. fresh says that it is a new lease, in which the addresses of an
// earlier one have no part.
func (m *Machine) leased(now time.Time, a *Answer, fresh bool) []Action {
	old := m.lease
	if old == nil {
		old = m.former
	}
	if old == nil {
		old = &Lease{}
	}
	id := m.config.IAID
	l := &Lease{IAID: id, ServerDUID: a.server, Server: a.from, DNS: a.dns, Search: a.search, NTP: a.ntp, Obtained: now}
	times := timer{now: now}
	if m.config.Addresses {
		of := m.usedOf(a.addresses[id])
		was := old.Addresses
		if fresh && of != nil {
			was = nil
		}
		l.Addresses = merge(was, of, fresh, now)
		times.add(of)
	}
	if m.config.Prefixes {
		of := m.usedOf(a.prefixes[id])
		l.Prefixes = merge(old.Prefixes, of, fresh, now)
		times.add(of)
	}
	if l.Empty() {
		if m.lease != nil {
			return m.end(now, Refused)
		}
		return m.start(now, m.pause(0))
	}
	l.Renew, l.Rebind = times.renew, times.rebind
	if times.counted == 0 { // some was taken back, and nothing extended: others may know better
		l.Renew = now.Add(m.config.Timing.FailedMost)
		l.Rebind = l.Renew
	}
	return m.bind(now, l)
}

// usedOf is an association as far as it leases anything or takes it back; nil: it does not.
func (m *Machine) usedOf(a *association) *association {
	if a == nil || a.status != iana.StatusSuccess && !a.usable() || len(a.parts) == 0 {
		return nil
	}
	return a
}

// informed takes what a server tells where it leases nothing.
func (m *Machine) informed(now time.Time, a *Answer) []Action {
	if a.status != iana.StatusSuccess {
		return nil
	}
	refresh := a.refresh
	if refresh == 0 {
		refresh = 24 * time.Hour // IRT_DEFAULT of RFC 8415 section 7.6
	}
	refresh = max(refresh, m.config.Timing.LeastUpdate)
	l := &Lease{IAID: m.config.IAID, ServerDUID: a.server, Server: a.from, DNS: a.dns, Search: a.search, NTP: a.ntp, Obtained: now}
	if a.refresh < Forever*time.Second {
		l.Renew = now.Add(refresh)
	}
	return m.bind(now, l)
}

// bind puts a lease in force.
func (m *Machine) bind(now time.Time, l *Lease) []Action {
	m.lease, m.stands, m.former, m.failures = l, true, nil, 0
	m.rest()
	m.due = l.Renew
	return []Action{Bind{l}}
}

// timer finds T1 and T2 of several associations, which are renewed together: the earliest of each (RFC 8415
// section 18.2.4).
type timer struct {
	now           time.Time
	renew, rebind time.Time
	counted       int
}

// add takes the times of one association: those of the server, or where it leaves them to the client half and
// four fifths of the shortest preferred lifetime (section 21.4), and neither later than its end.
func (t *timer) add(a *association) {
	if !a.usable() {
		return
	}
	t.counted++
	shortest, longest := uint32(Forever), uint32(0)
	for _, g := range a.parts {
		if g.valid == 0 {
			continue
		}
		base := g.preferred
		if base == 0 {
			base = g.valid
		}
		shortest, longest = min(shortest, base), max(longest, g.valid)
	}
	renew, rebind := t.at(a.t1, shortest, 5), t.at(a.t2, shortest, 8)
	end := after(t.now, longest)
	rebind = dhcploop.Earlier(rebind, end)
	t.renew, t.rebind = dhcploop.Earlier(t.renew, dhcploop.Earlier(renew, rebind)), dhcploop.Earlier(t.rebind, rebind)
}

// at is when a time of the server's has come, or so many tenths of a lifetime where it gives none; zero: never.
func (t *timer) at(seconds, lifetime uint32, tenths time.Duration) time.Time {
	switch {
	case seconds != 0:
		return after(t.now, seconds)
	case lifetime == Forever:
		return time.Time{}
	}
	return t.now.Add(time.Duration(lifetime) * time.Second * tenths / 10)
}
