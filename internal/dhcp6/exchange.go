package dhcp6

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/geomind/my_os_server/internal/dhcploop"
)

// exchange is a message that is sent until it is answered.
type exchange struct {
	kind        dhcpv6.MessageType
	transaction dhcpv6.TransactionID
	server      []byte // that it goes to; nil: any
	addresses   []netip.Prefix
	prefixes    []netip.Prefix

	retry Retry
	began time.Time     // with the first message
	end   time.Time     // when it is given up; zero: never
	tries int           // messages
	wait  time.Duration // after the last of them
	next  time.Time     // when the next is due; zero: no exchange is under way
}

// begin starts an exchange for what parts the client has or wants: what belongs to an earlier one is no longer
// heard.
func (m *Machine) begin(now time.Time, s State, kind dhcpv6.MessageType, retry Retry, about *Lease, delay time.Duration) []Action {
	e := exchange{kind: kind, retry: retry, next: now.Add(delay)}
	var id [4]byte
	binary.BigEndian.PutUint32(id[:], uint32(m.config.Random()))
	copy(e.transaction[:], id[1:])
	if about != nil {
		e.addresses, e.prefixes = prefixesOf(about.Addresses), prefixesOf(about.Prefixes)
	}
	switch kind {
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeDecline, dhcpv6.MessageTypeRelease:
		e.server = m.server
	}
	m.state, m.exchange, m.best, m.due = s, e, nil, time.Time{}
	if delay > 0 {
		return nil
	}
	return m.fire(now)
}

// fire sends the message of the exchange, or gives it up where it has been sent for long enough.
func (m *Machine) fire(now time.Time) []Action {
	e := &m.exchange
	if e.tries == 0 {
		e.began = now
		if e.retry.Whole > 0 {
			e.end = dhcploop.Earlier(e.end, now.Add(e.retry.Whole))
		}
	}
	if e.retry.Tries > 0 && e.tries >= e.retry.Tries || e.tries > 0 && !e.end.IsZero() && !now.Before(e.end) {
		return m.gaveUp(now)
	}
	e.wait = m.nextWait()
	e.tries++
	e.next = dhcploop.Earlier(now.Add(e.wait), e.end)
	return []Action{Send{m.message(now)}}
}

// nextWait is RT of RFC 8415 section 15. The first wait for advertisements is never shorter than it says
// (section 18.2.1), so that all of them come in time.
func (m *Machine) nextWait() time.Duration {
	e := &m.exchange
	if e.tries == 0 {
		j := m.jitter(e.retry.First)
		if e.kind == dhcpv6.MessageTypeSolicit && j < 0 {
			j = -j
		}
		return e.retry.First + j
	}
	d := 2*e.wait + m.jitter(e.wait)
	if e.retry.Most > 0 && d > e.retry.Most {
		d = e.retry.Most + m.jitter(e.retry.Most)
	}
	return d
}

// jitter is at most a tenth of d, more or less.
func (m *Machine) jitter(d time.Duration) time.Duration {
	return m.upTo(d/5) - d/10
}

// upTo is a random time of at most d.
func (m *Machine) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(m.config.Random() % uint64(d+1))
}

// rest ends the exchange under way.
func (m *Machine) rest() {
	m.exchange, m.best, m.due = exchange{}, nil, time.Time{}
	m.state = Stopped
	if m.lease != nil && m.stands {
		m.state = Bound
	}
}

// gaveUp goes on where an exchange had no answer.
func (m *Machine) gaveUp(now time.Time) []Action {
	switch m.state {
	case Renewing:
		return m.rebind(now)
	case Confirming: // RFC 8415 section 18.2.3: what the client has is good as long as nobody denies it
		return m.bind(now, m.lease)
	case Declining:
		return m.start(now, m.pause(m.config.Timing.Declined))
	case Releasing:
		m.rest()
		return []Action{Released{}}
	}
	return m.start(now, 0) // Requesting, Rebinding
}

// pause is how long to wait after a failure, longer each time.
func (m *Machine) pause(least time.Duration) time.Duration {
	t := &m.config.Timing
	d := max(min(t.Failed<<min(m.failures, 16), t.FailedMost), least)
	m.failures++
	return d
}
