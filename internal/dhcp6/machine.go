package dhcp6

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/geomind/my_os_server/internal/dhcploop"
)

// Action is something that a machine wants done: one of [Send], [Bind], [Unbind] and [Released].
type Action any

// Send is a message to be sent to all servers and relays on the link.
type Send struct{ Message []byte }

// Bind says that a lease is in force: a new one in the place of another, or the same with other parts or times.
type Bind struct{ Lease *Lease }

// Unbind says that a lease is no longer in force, and why.
type Unbind struct {
	Lease *Lease
	Why   Reason
}

// Released says that the server was told that the lease is no longer wanted, or that none answers.
type Released struct{}

// Reason is why a lease ended.
type Reason string

// The reasons.
const (
	Expired   Reason = "expired"
	Refused   Reason = "taken back by the server"
	NotOnLink Reason = "of another network"
	InUse     Reason = "in use by another host"
	GivenBack Reason = "released"
)

// Machine is the life of a lease of one interface. It does nothing by itself: each of Link, Receive, Duplicate,
// Release and Tick tells it what happened and returns what is to be done, in order. It belongs to one goroutine.
type Machine struct {
	config Config
	state  State
	up     bool

	exchange exchange
	server   []byte    // that the exchange is with, where it is with one
	best     *Answer   // the best advertisement so far
	due      time.Time // when a lease in force is to be renewed; zero: never, or not now
	failures int       // one after the other

	lease  *Lease // in force, or to be asked for again
	stands bool   // it is in force
	former *Lease // that a new one is to take the place of; see NewMachine

	solicitMost, informMost time.Duration // that a server asked for; 0: none did
}

// NewMachine makes a machine whose link is down. last is a lease to be asked for again. former is one that is in
// force and that this machine is to take a new one in the place of: it asks for the same, and what it does not
// get of the prefixes is deprecated. Either may be nil.
func NewMachine(c Config, last, former *Lease) *Machine {
	m := &Machine{config: c, lease: last, former: former}
	m.rest()
	return m
}

// State is where the lease is in its life. While the link is down it is Bound with a lease in force and Stopped
// without.
func (m *Machine) State() State { return m.state }

// Lease is the lease that is in force, or is to be asked for again; nil: none. It must not be changed.
func (m *Machine) Lease() *Lease { return m.lease }

// Deadline is when Tick is to be called; the zero time for never.
func (m *Machine) Deadline() time.Time {
	next := dhcploop.Earlier(m.exchange.next, m.due)
	if m.lease != nil {
		next = dhcploop.Earlier(next, m.lease.firstEnd())
	}
	return next
}

// Up is what Link told last.
func (m *Machine) Up() bool { return m.up }

// Link tells that the link went up, or down. What goes up may be another network: a lease is asked for again.
func (m *Machine) Link(now time.Time, up bool) []Action {
	if up == m.up {
		return nil
	}
	m.up = up
	out := m.expire(now)
	if !up {
		m.rest()
		return out
	}
	m.failures = 0
	delay := m.upTo(m.config.Timing.Delay)
	if m.lease == nil || m.lease.Empty() {
		return append(out, m.start(now, delay)...)
	}
	return append(out, m.confirm(now, delay)...)
}

// start asks for a lease, or for information, from the beginning. A lease that is in force stays until then.
func (m *Machine) start(now time.Time, delay time.Duration) []Action {
	t := &m.config.Timing
	if !m.config.leases() {
		retry := t.Information
		retry.Most = max(retry.Most, m.informMost)
		return m.begin(now, Information, dhcpv6.MessageTypeInformationRequest, retry, nil, delay)
	}
	hint := m.lease
	if hint == nil {
		hint = m.former
	}
	retry := t.Solicit
	retry.Most = max(retry.Most, m.solicitMost)
	return m.begin(now, Soliciting, dhcpv6.MessageTypeSolicit, retry, hint, delay)
}

// confirm asks whether a lease still holds, after the link came up (RFC 8415 section 18.2.12): of addresses any
// server on the link can tell; prefixes are rebound, with the same patience.
func (m *Machine) confirm(now time.Time, delay time.Duration) []Action {
	kind := dhcpv6.MessageTypeConfirm
	if m.config.Prefixes {
		kind = dhcpv6.MessageTypeRebind
	}
	return m.begin(now, Confirming, kind, m.config.Timing.Confirm, m.lease, delay)
}

// request asks a server for what it advertised, or what it does not know that the client has.
func (m *Machine) request(now time.Time, server []byte, about *Lease) []Action {
	m.server = server
	return m.begin(now, Requesting, dhcpv6.MessageTypeRequest, m.config.Timing.Request, about, 0)
}

func (m *Machine) renew(now time.Time) []Action {
	if !m.config.leases() {
		return m.start(now, 0)
	}
	if !m.lease.Rebind.IsZero() && !now.Before(m.lease.Rebind) {
		return m.rebind(now)
	}
	m.server = m.lease.ServerDUID
	return m.extend(now, Renewing, dhcpv6.MessageTypeRenew, m.config.Timing.Renew, m.lease.Rebind)
}

func (m *Machine) rebind(now time.Time) []Action {
	return m.extend(now, Rebinding, dhcpv6.MessageTypeRebind, m.config.Timing.Rebind, m.lease.ends())
}

// extend asks for more time, until an instant.
func (m *Machine) extend(now time.Time, s State, kind dhcpv6.MessageType, retry Retry, end time.Time) []Action {
	out := m.begin(now, s, kind, retry, m.lease, 0)
	m.exchange.end = end
	m.exchange.next = dhcploop.Earlier(m.exchange.next, end)
	return out
}

// Tick tells that the Deadline has come. Called at another time, it does what is due.
func (m *Machine) Tick(now time.Time) []Action {
	out := m.expire(now)
	if !m.due.IsZero() && !now.Before(m.due) {
		m.due = time.Time{}
		return append(out, m.renew(now)...)
	}
	if m.exchange.next.IsZero() || now.Before(m.exchange.next) {
		return out
	}
	if m.best != nil { // the time for advertisements is over
		return append(out, m.take(now, m.best)...)
	}
	return append(out, m.fire(now)...)
}

// expire ends the parts of the lease whose time is over, and with the last of them the lease.
func (m *Machine) expire(now time.Time) []Action {
	if m.lease == nil || m.lease.Empty() {
		return nil
	}
	left := m.lease.At(now)
	switch {
	case left.Empty():
		return m.end(now, Expired)
	case len(left.Addresses)+len(left.Prefixes) < len(m.lease.Addresses)+len(m.lease.Prefixes):
		m.lease = left
		return []Action{Bind{left}}
	}
	return nil
}

// end ends the lease, and asks for another unless that is under way.
func (m *Machine) end(now time.Time, why Reason) []Action {
	gone := m.lease
	m.lease, m.stands, m.due = nil, false, time.Time{}
	out := []Action{Unbind{gone, why}}
	switch m.state {
	case Soliciting, Requesting, Declining, Releasing:
		return out
	}
	m.state = Stopped
	if !m.up {
		return out
	}
	return append(out, m.start(now, 0)...)
}

// Receive tells of a message that came in. One that is for another client or of another exchange, or not waited
// for, does nothing.
func (m *Machine) Receive(now time.Time, a *Answer) []Action {
	e := &m.exchange
	if e.next.IsZero() || e.tries == 0 || a.transaction != e.transaction || !bytes.Equal(a.client, m.config.DUID) {
		return nil
	}
	if a.solicitMost > 0 {
		m.solicitMost = a.solicitMost
		if e.kind == dhcpv6.MessageTypeSolicit {
			e.retry.Most = a.solicitMost
		}
	}
	if a.informMost > 0 {
		m.informMost = a.informMost
	}
	switch {
	case a.kind == dhcpv6.MessageTypeAdvertise && m.state == Soliciting:
		return m.advertised(now, a)
	case a.kind == dhcpv6.MessageTypeReply:
		return m.replied(now, a)
	}
	return nil
}

// worth is how much of what the client wants an answer has.
func (m *Machine) worth(a *Answer) (n int) {
	if m.config.Addresses && a.addresses[m.config.IAID].usable() {
		n++
	}
	if m.config.Prefixes && a.prefixes[m.config.IAID].usable() {
		n++
	}
	return n
}

// advertised keeps the best advertisement until the first wait is over, and takes the first one later (RFC 8415
// sections 18.2.1 and 18.2.9): that which has most of what is wanted, then that of the greatest preference.
func (m *Machine) advertised(now time.Time, a *Answer) []Action {
	worth := m.worth(a)
	if worth == 0 || a.status != iana.StatusSuccess {
		return nil
	}
	all := worth == flag(m.config.Addresses)+flag(m.config.Prefixes)
	if m.exchange.tries > 1 || all && a.preference == 255 {
		return m.take(now, a)
	}
	if m.best == nil || worth > m.worth(m.best) || worth == m.worth(m.best) && a.preference > m.best.preference {
		m.best = a
	}
	return nil
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// take asks for what was advertised.
func (m *Machine) take(now time.Time, a *Answer) []Action {
	about := &Lease{}
	if m.config.Addresses && a.addresses[m.config.IAID] != nil {
		about.Addresses = a.addresses[m.config.IAID].partsFrom(now)
	}
	if m.config.Prefixes && a.prefixes[m.config.IAID] != nil {
		about.Prefixes = a.prefixes[m.config.IAID].partsFrom(now)
	}
	return m.request(now, a.server, about)
}

// Duplicate tells that another host has an address of the lease, which the interface has not got then (RFC 8415
// section 18.2.8). The rest of the lease stays.
func (m *Machine) Duplicate(now time.Time, addr netip.Addr) []Action {
	if m.lease == nil || !m.up {
		return nil
	}
	is := func(p Part) bool { return p.Prefix.Addr() == addr }
	if !slices.ContainsFunc(m.lease.Addresses, is) {
		return nil
	}
	about := &Lease{Addresses: []Part{{Prefix: netip.PrefixFrom(addr, addr.BitLen())}}}
	if m.state == Declining {
		for _, p := range m.exchange.addresses {
			about.Addresses = append(about.Addresses, Part{Prefix: p})
		}
	}
	left := *m.lease
	left.Addresses = slices.DeleteFunc(slices.Clone(left.Addresses), is)
	m.server = m.lease.ServerDUID
	m.state = Declining
	var out []Action
	if left.Empty() {
		out = m.end(now, InUse)
	} else {
		m.lease = &left
		out = []Action{Bind{&left}}
	}
	return append(out, m.begin(now, Declining, dhcpv6.MessageTypeDecline, m.config.Timing.Decline, about, 0)...)
}

// Release gives the lease back (RFC 8415 section 18.2.7). The machine rests then until its link comes up anew.
func (m *Machine) Release(now time.Time) []Action {
	gone := m.lease
	if gone == nil || gone.Empty() || !m.up {
		m.rest()
		return []Action{Released{}}
	}
	m.server, m.state = gone.ServerDUID, Releasing
	out := m.end(now, GivenBack)
	return append(out, m.begin(now, Releasing, dhcpv6.MessageTypeRelease, m.config.Timing.Release, gone, 0)...)
}
