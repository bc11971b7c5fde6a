package dhcp6

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"time"

	"github.com/geomind/my_os_server/internal/dhcploop"
)

// Lease is what a server leased, or told. Zero values were not given.
type Lease struct {
	IAID       uint32       `json:"iaid"`
	ServerDUID Hex          `json:"server_duid,omitempty"`
	Server     netip.Addr   `json:"server,omitzero"`     // where its answer came from
	Addresses  []Part       `json:"addresses,omitempty"` // each of full length
	Prefixes   []Part       `json:"prefixes,omitempty"`
	DNS        []netip.Addr `json:"dns,omitempty"`    // option 23
	Search     []string     `json:"search,omitempty"` // option 24
	NTP        []netip.Addr `json:"ntp,omitempty"`    // option 56
	Obtained   time.Time    `json:"obtained"`
	Renew      time.Time    `json:"renew,omitzero"`  // T1, or when to ask for information again; zero: never
	Rebind     time.Time    `json:"rebind,omitzero"` // T2; zero: never
}

// Part is an address or a prefix of a lease.
type Part struct {
	Prefix    netip.Prefix `json:"prefix"`
	Preferred time.Time    `json:"preferred,omitzero"` // until when; zero: for ever
	Valid     time.Time    `json:"valid,omitzero"`     // until when; zero: for ever
}

// Hex are bytes that are written as hex digits.
type Hex []byte

// MarshalText writes the digits.
func (h Hex) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

// UnmarshalText reads them.
func (h *Hex) UnmarshalText(text []byte) (err error) {
	*h, err = hex.AppendDecode(nil, text)
	return err
}

// Expires is when the last part of the lease ends; zero: never. It is zero too where there is no part.
func (l *Lease) Expires() (last time.Time) {
	for _, p := range slices.Concat(l.Addresses, l.Prefixes) {
		if p.Valid.IsZero() {
			return time.Time{}
		}
		if p.Valid.After(last) {
			last = p.Valid
		}
	}
	return last
}

// ends is when the last part that is not deprecated ends; zero: never.
func (l *Lease) ends() time.Time {
	current := *l
	deprecated := func(p Part) bool { return !p.Preferred.IsZero() && !p.Preferred.After(l.Obtained) }
	current.Addresses = slices.DeleteFunc(slices.Clone(l.Addresses), deprecated)
	current.Prefixes = slices.DeleteFunc(slices.Clone(l.Prefixes), deprecated)
	if current.Empty() {
		return l.Expires()
	}
	return current.Expires()
}

// Empty tells whether the lease is of nothing.
func (l *Lease) Empty() bool { return len(l.Addresses)+len(l.Prefixes) == 0 }

// At is the lease without the parts that have ended by then.
func (l *Lease) At(now time.Time) *Lease {
	left := *l
	left.Addresses, left.Prefixes = valid(l.Addresses, now), valid(l.Prefixes, now)
	return &left
}

// Of is the lease without what is not asked for.
func (l *Lease) Of(addresses, prefixes bool) *Lease {
	of := *l
	if !addresses {
		of.Addresses = nil
	}
	if !prefixes {
		of.Prefixes = nil
	}
	return &of
}

func valid(parts []Part, now time.Time) (left []Part) {
	for _, p := range parts {
		if p.Valid.IsZero() || now.Before(p.Valid) {
			left = append(left, p)
		}
	}
	return left
}

// firstEnd is when the first part ends; zero: never.
func (l *Lease) firstEnd() (first time.Time) {
	for _, p := range slices.Concat(l.Addresses, l.Prefixes) {
		first = dhcploop.Earlier(first, p.Valid)
	}
	return first
}

// remnant is how long at most a prefix that another has replaced stays valid (RFC 7084 section 4.3, L-13).
const remnant = 2 * time.Hour

// deprecate ends the use of parts for new connections at once, and altogether after a while.
func deprecate(parts []Part, now time.Time) (old []Part) {
	for _, p := range parts {
		if p.Preferred.IsZero() || p.Preferred.After(now) {
			p.Preferred = now
		}
		p.Valid = dhcploop.Earlier(p.Valid, now.Add(remnant))
		old = append(old, p)
	}
	return old
}

// merge is what remains of parts after an answer: those that it names with their new times, in its order, and
// of the others (RFC 8415 section 18.2.10.1) those that are not over. Where it names a part that is new, the
// others have been replaced, and are deprecated; fresh says that they came by an exchange that this one takes
// the place of.
func merge(old []Part, a *association, fresh bool, now time.Time) []Part {
	if a == nil {
		return valid(old, now)
	}
	merged := a.partsFrom(now)
	replaced := fresh
	var rest []Part
	for _, p := range valid(old, now) {
		if !a.names(p.Prefix) {
			rest = append(rest, p)
		}
	}
	for _, p := range merged {
		replaced = replaced || !slices.ContainsFunc(old, func(o Part) bool { return o.Prefix == p.Prefix })
	}
	if replaced && len(merged) > 0 {
		rest = deprecate(rest, now)
	}
	return append(merged, rest...)
}
