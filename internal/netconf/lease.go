package netconf

import (
	"net/netip"
	"time"
)

// Forever is a lifetime without end, in seconds (RFC 2131 section 3.3, RFC 8415 section 7.7).
const Forever = 0xffffffff

// Holder says who keeps a lease and where it is kept.
type Holder struct {
	Manager   string
	Interface string // name; "" where only the index is known
	Index     int    // 0 where only the name is known
	File      string
}

// Times are the instants of a lease; the zero time is not known or never comes.
type Times struct {
	Obtained, Renew, Rebind, Expires time.Time
}

// Lease4 is a DHCPv4 lease as its holder keeps it. Zero values are not kept.
type Lease4 struct {
	Holder
	Times
	Address     netip.Prefix // of full length where no netmask is kept
	Server      netip.Addr   // option 54
	NextServer  netip.Addr   // siaddr
	Relay       netip.Addr   // giaddr
	Routers     []netip.Addr
	Routes      []Route4
	DNS, NTP    []netip.Addr
	Domain      string
	Search      []string
	Hostname    string
	MTU         uint16
	Broadcast   netip.Addr
	ClientID    []byte
	Lifetime    uint32 // seconds, Forever
	HasLifetime bool
	T1, T2      uint32 // seconds from Obtained; 0: not kept
}

// Route4 is a route that came with a lease.
type Route4 struct {
	Dst     netip.Prefix
	Gateway netip.Addr // not valid: on the link
}

// settle works out the instants from the ones that are known: an obtained one and the server's seconds,
// or an end and the server's seconds. Nothing that the holder said itself is changed.
func (l *Lease4) settle() {
	if l.Obtained.IsZero() && !l.Expires.IsZero() && l.HasLifetime && l.Lifetime != Forever {
		l.Obtained = instant(l.Expires.Unix() - int64(l.Lifetime))
	}
	if l.Expires.IsZero() && l.HasLifetime {
		l.Expires = later(l.Obtained, l.Lifetime)
	}
	if l.Renew.IsZero() && l.T1 > 0 {
		l.Renew = later(l.Obtained, l.T1)
	}
	if l.Rebind.IsZero() && l.T2 > 0 {
		l.Rebind = later(l.Obtained, l.T2)
	}
}

// SetExpiry tells the lease when its address ends, as the kernel was told. It counts where the file has no
// instants, or has older ones because it was not written when the lease was last extended; the others
// follow from it.
func (l *Lease4) SetExpiry(t time.Time) {
	const rounding = 2 * time.Second
	if l.Expires.IsZero() || t.After(l.Expires.Add(rounding)) {
		l.Times = Times{Expires: t}
		l.settle()
	}
}

// Lease6 is a DHCPv6 lease as its holder keeps it.
type Lease6 struct {
	Holder
	Obtained   time.Time // of the last answer; zero: not kept
	ClientDUID []byte
	ServerDUID []byte
	Server     netip.Addr // address of the server
	DNS, NTP   []netip.Addr
	Search     []string
	Addresses  []IAAddress // IA_NA and IA_TA
	Prefixes   []IAPrefix  // IA_PD
}

// IA is the identity association that an address or prefix belongs to.
type IA struct {
	IAID   uint32
	HasID  bool
	Starts time.Time // zero: not kept
	T1, T2 uint32    // seconds from Starts; 0: not kept
}

// Lifetimes are seconds from the start of what they belong to.
type Lifetimes struct {
	Known            bool
	Preferred, Valid uint32 // Forever: without end
}

// IAAddress is an address that a server leased.
type IAAddress struct {
	IA
	Lifetimes
	Address netip.Addr
}

// IAPrefix is a prefix that a server delegated.
type IAPrefix struct {
	IA
	Lifetimes
	Prefix netip.Prefix
}

// Times are the instants of the association and of one lifetime of it.
func (ia *IA) Times(l Lifetimes) Times {
	t := Times{Obtained: ia.Starts}
	if ia.T1 > 0 {
		t.Renew = later(ia.Starts, ia.T1)
	}
	if ia.T2 > 0 {
		t.Rebind = later(ia.Starts, ia.T2)
	}
	if l.Known {
		t.Expires = later(ia.Starts, l.Valid)
	}
	return t
}

// Leases are what the files of a host's managers hold.
type Leases struct {
	V4 []Lease4
	V6 []Lease6
}
