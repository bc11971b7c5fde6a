package dhcp

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/geomind/my_os_server/internal/dhcploop"
)

// Action is something that a machine wants done: one of [Send], [Probe], [Announce], [Bind] and [Unbind].
type Action any

// Send is a message to be sent: to all servers on the link, or to one.
type Send struct {
	Message  *dhcpv4.DHCPv4
	From, To netip.Addr // not valid: from 0.0.0.0 to 255.255.255.255
}

// Probe asks by ARP who has an address, of the client's own having none (RFC 5227 section 2.1.1).
type Probe struct{ Address netip.Addr }

// Announce says by ARP that the client has an address (RFC 5227 section 2.3).
type Announce struct{ Address netip.Addr }

// Bind says that a lease is in force: a new one in the place of another, or the same with new times.
type Bind struct{ Lease *Lease }

// Unbind says that a lease is no longer in force, and why: [Expired], [Refused] or [InUse].
type Unbind struct {
	Lease *Lease
	Why   Reason
}

// Reason is why a lease ended.
type Reason string

// The reasons.
const (
	Expired Reason = "expired"
	Refused Reason = "refused by the server" // DHCPNAK
	InUse   Reason = "in use by another host"
)

// Machine is the life of a lease of one interface. It does nothing by itself: each of Link, Receive, Heard and
// Tick tells it what happened and returns what is to be done, in order. It belongs to one goroutine.
type Machine struct {
	config Config
	state  State
	up     bool

	xid      dhcpv4.TransactionID
	began    time.Time // of the exchange
	sent     time.Time // of the request under way: what it leases counts from there
	tries    int       // messages of this kind without an answer
	failures int       // addresses that were refused or in use, one after the other
	timer    time.Time // of the state; zero: none

	offer *Lease // that was asked for, or is being probed
	lease *Lease // that is in force
	stood bool   // the interface has the address of lease

	own        netip.Addr // an address of the interface's that needs no probe
	probes     int        // sent
	announced  int
	announceAt time.Time // zero: nothing to be announced
}

// NewMachine makes a machine whose link is down. last is a lease to be asked for again, which may be nil;
// stands says that the interface still has its address. own is an address that the interface has, and that
// needs no probe where a server leases it; it may be none.
func NewMachine(c Config, last *Lease, stands bool, own netip.Addr) *Machine {
	return &Machine{config: c, state: Init, lease: last, stood: stands && last != nil, own: own}
}

// State is where the lease is in its life. While the link is down it is Bound with a lease and Init without.
func (m *Machine) State() State { return m.state }

// Lease is the lease that is in force, or is to be asked for again; nil: none. It must not be changed.
func (m *Machine) Lease() *Lease { return m.lease }

// Deadline is when Tick is to be called; the zero time for never.
func (m *Machine) Deadline() time.Time {
	next := dhcploop.Earlier(m.timer, m.announceAt)
	if m.lease != nil {
		next = dhcploop.Earlier(next, m.lease.Expires)
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
	m.up, m.offer, m.timer, m.announceAt = up, nil, time.Time{}, time.Time{}
	if !up {
		m.rest()
		return m.expire(now)
	}
	m.failures = 0
	if gone := m.expire(now); gone != nil {
		return append(gone, m.discover(now)...)
	}
	if m.lease != nil {
		return m.reboot(now)
	}
	return m.discover(now)
}

// rest is the state of a machine that asks for nothing.
func (m *Machine) rest() {
	m.state = Init
	if m.lease != nil && m.stood {
		m.state = Bound
	}
}

// expire ends the lease if its time is over.
func (m *Machine) expire(now time.Time) []Action {
	if m.lease == nil || !m.lease.ended(now) {
		return nil
	}
	return m.unbind(Expired)
}

func (m *Machine) unbind(why Reason) []Action {
	gone := m.lease
	m.lease, m.stood, m.announceAt = nil, false, time.Time{}
	if m.state == Bound || m.state == Renewing || m.state == Rebinding {
		m.state = Init
	}
	return []Action{Unbind{gone, why}}
}

// begin starts an exchange: what belongs to an earlier one is no longer heard.
func (m *Machine) begin(now time.Time, s State) {
	binary.BigEndian.PutUint32(m.xid[:], uint32(m.config.Random()))
	m.state, m.began, m.tries, m.offer = s, now, 0, nil
}

func (m *Machine) discover(now time.Time) []Action {
	m.begin(now, Selecting)
	return m.sendDiscover(now)
}

func (m *Machine) sendDiscover(now time.Time) []Action {
	m.wait(now)
	return []Action{Send{Message: m.message(now, dhcpv4.MessageTypeDiscover)}}
}

// reboot asks for the lease that the client had.
func (m *Machine) reboot(now time.Time) []Action {
	m.begin(now, Rebooting)
	return m.sendRequest(now)
}

// sendRequest asks for what was offered, or for what the client had.
func (m *Machine) sendRequest(now time.Time) []Action {
	if m.tries == 0 {
		m.sent = now
	}
	m.wait(now)
	if m.state == Rebooting {
		return []Action{Send{Message: m.request(now, m.lease.Address.Addr(), netip.Addr{})}}
	}
	return []Action{Send{Message: m.request(now, m.offer.Address.Addr(), m.offer.Server)}}
}

// wait sets the timer for an answer, longer each time (RFC 2131 section 4.1).
func (m *Machine) wait(now time.Time) {
	t := &m.config.Timing
	d := t.Most
	if m.tries < 16 {
		d = min(t.First<<m.tries, t.Most)
	}
	m.tries++
	m.timer = now.Add(min(d-t.First/4+m.upTo(t.First/2), t.Most))
}

// upTo is a random time of at most d.
func (m *Machine) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(m.config.Random() % uint64(d+1))
}

// Tick tells that the Deadline has come. Called at another time, it does what is due.
func (m *Machine) Tick(now time.Time) []Action {
	var out []Action
	if gone := m.expire(now); gone != nil {
		out = gone
		if m.up && (m.offer == nil || m.offer.ended(now)) {
			return append(out, m.discover(now)...)
		}
	}
	if !m.announceAt.IsZero() && !now.Before(m.announceAt) {
		out = append(out, m.announce(now)...)
	}
	if m.timer.IsZero() || now.Before(m.timer) {
		return out
	}
	return append(out, m.due(now)...)
}

// due does what the state's timer was set for.
func (m *Machine) due(now time.Time) []Action {
	m.timer = time.Time{}
	switch m.state {
	case Init:
		return m.discover(now)
	case Selecting:
		return m.sendDiscover(now)
	case Requesting:
		if m.tries >= m.config.Timing.Tries {
			return m.discover(now)
		}
		return m.sendRequest(now)
	case Rebooting:
		if m.tries >= m.config.Timing.Tries {
			return m.believe(now)
		}
		return m.sendRequest(now)
	case Probing:
		return m.probe(now)
	default:
		return m.extend(now)
	}
}

// believe goes on with the lease that nobody confirmed and that has time left (RFC 2131 section 3.2).
func (m *Machine) believe(now time.Time) []Action {
	if m.stood {
		m.state = Bound
		m.timer = m.lease.Renew
		return nil
	}
	return m.check(now, m.lease)
}

// extend asks for more time, or starts to: of the server that leased the address from T1 on, of any from T2 on.
func (m *Machine) extend(now time.Time) []Action {
	next, to := Renewing, m.lease.Server
	end := m.lease.Rebind
	if !now.Before(m.lease.Rebind) {
		next, to, end = Rebinding, netip.Addr{}, m.lease.Expires
	}
	m.begin(now, next) // each time anew, so that it is known what an answer's time counts from
	m.sent = now
	m.timer = now.Add(m.untilNext(end.Sub(now)))
	return []Action{Send{Message: m.extension(now), From: m.lease.Address.Addr(), To: to}}
}

// untilNext is how long to wait before asking again, with so much time left: half of it, and no less than a
// minute, or an eighth of a lease that is short; or else to the end.
func (m *Machine) untilNext(left time.Duration) time.Duration {
	least := min(m.config.Timing.Renew, m.lease.Expires.Sub(m.lease.Obtained)/8)
	if left/2 < least {
		return left
	}
	return left / 2
}

// Receive tells of a message that came in. One that is of another exchange, or not waited for, does nothing.
func (m *Machine) Receive(now time.Time, d *dhcpv4.DHCPv4) []Action {
	if d.OpCode != dhcpv4.OpcodeBootReply || d.TransactionID != m.xid || !bytes.Equal(d.ClientHWAddr, m.config.MAC) {
		return nil
	}
	switch kind := d.MessageType(); {
	case kind == dhcpv4.MessageTypeOffer && m.state == Selecting:
		return m.offered(now, d)
	case kind == dhcpv4.MessageTypeAck:
		return m.acknowledged(now, d)
	case kind == dhcpv4.MessageTypeNak:
		return m.refused(now, d)
	}
	return nil
}

// offered takes the first offer that can be used.
func (m *Machine) offered(now time.Time, d *dhcpv4.DHCPv4) []Action {
	l, err := leaseOf(d, now)
	if err != nil {
		return nil
	}
	m.offer, m.state, m.tries = l, Requesting, 0
	return m.sendRequest(now)
}

func (m *Machine) acknowledged(now time.Time, d *dhcpv4.DHCPv4) []Action {
	l, err := leaseOf(d, m.sent)
	if err != nil || l.ended(now) {
		return nil
	}
	switch m.state {
	case Requesting:
		if l.Address.Addr() != m.offer.Address.Addr() || l.Server != m.offer.Server {
			return nil
		}
		return m.check(now, l)
	case Rebooting:
		if l.Address.Addr() != m.lease.Address.Addr() {
			return nil
		}
		if m.stood {
			return m.bind(now, l)
		}
		return m.check(now, l)
	case Renewing, Rebinding:
		if l.Address.Addr() != m.lease.Address.Addr() {
			return nil
		}
		return m.bind(now, l)
	}
	return nil
}

// refused takes a NAK: the lease is over at once, and the client starts anew, later each time.
func (m *Machine) refused(now time.Time, d *dhcpv4.DHCPv4) (out []Action) {
	server := addrOption(d, dhcpv4.OptionServerIdentifier)
	switch m.state {
	case Requesting:
		if server != m.offer.Server {
			return nil
		}
	case Rebooting, Rebinding:
	case Renewing:
		if server != m.lease.Server {
			return nil
		}
	default:
		return nil
	}
	if m.lease != nil {
		out = m.unbind(Refused)
	}
	if m.failures == 0 {
		m.failures++
		return append(out, m.discover(now)...)
	}
	m.pause(now, m.config.Timing.First)
	return out
}

// pause waits before the next try, longer each time.
func (m *Machine) pause(now time.Time, least time.Duration) {
	m.state, m.offer = Init, nil
	d := min(m.config.Timing.First<<min(m.failures, 16), m.config.Timing.Most)
	m.failures++
	m.timer = now.Add(max(d, least))
}

// check probes for an address that the interface does not have, and then binds it.
func (m *Machine) check(now time.Time, l *Lease) []Action {
	if m.config.Timing.Probes == 0 || l.Address.Addr() == m.own {
		return m.bind(now, l)
	}
	m.state, m.offer, m.probes = Probing, l, 0
	m.timer = now.Add(m.upTo(m.config.Timing.ProbeWait))
	return nil
}

func (m *Machine) probe(now time.Time) []Action {
	t := &m.config.Timing
	if m.probes == t.Probes {
		return m.bind(now, m.offer)
	}
	m.probes++
	m.timer = now.Add(t.AnnounceWait)
	if m.probes < t.Probes {
		m.timer = now.Add(t.ProbeLeast + m.upTo(t.ProbeMost-t.ProbeLeast))
	}
	return []Action{Probe{m.offer.Address.Addr()}}
}

// Heard tells of an ARP message that another host sent. One that says that this host has the address that is
// being probed, or that it wants it too, has it declined.
func (m *Machine) Heard(now time.Time, a ARP) []Action {
	if m.state != Probing || bytes.Equal(a.SenderMAC, m.config.MAC) {
		return nil
	}
	wanted := m.offer.Address.Addr()
	alsoProbes := a.Request && !a.Sender.IsValid() && a.Target == wanted
	if a.Sender != wanted && !alsoProbes {
		return nil
	}
	out := []Action{Send{Message: m.decline(now, m.offer)}}
	if m.lease != nil { // it was to be had again
		out = append(out, m.unbind(InUse)...)
	}
	m.pause(now, m.config.Timing.Declined)
	return out
}

// bind puts a lease in force.
func (m *Machine) bind(now time.Time, l *Lease) []Action {
	fresh := !m.stood || m.lease == nil || m.lease.Address != l.Address
	m.state, m.lease, m.offer, m.stood, m.failures = Bound, l, nil, true, 0
	m.timer = l.Renew
	out := []Action{Bind{l}}
	if fresh && m.config.Timing.Announcements > 0 {
		m.announced = 0
		return append(out, m.announce(now)...)
	}
	return out
}

func (m *Machine) announce(now time.Time) []Action {
	m.announced++
	m.announceAt = time.Time{}
	if m.announced < m.config.Timing.Announcements {
		m.announceAt = now.Add(m.config.Timing.AnnounceSpread)
	}
	return []Action{Announce{m.lease.Address.Addr()}}
}
