package rtnl

import (
	"context"
	"iter"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Link is one network interface (RTM_NEWLINK). Fields without an attribute in the message are zero;
// [Link.Has] tells where zero is a value. Slices hold until the next row.
type Link struct {
	Index    int
	Type     uint16 // ARPHRD_*, unix.ARPHRD_ETHER for one
	Flags    uint32 // unix.IFF_*
	Name     string
	Alias    string
	AltNames []string

	HardwareAddr  []byte // IFLA_ADDRESS; the local end of a tunnel
	BroadcastAddr []byte // IFLA_BROADCAST; the far end of a tunnel
	PermanentAddr []byte // IFLA_PERM_ADDRESS

	MTU, MinMTU, MaxMTU uint32
	TxQueueLen          uint32
	Qdisc               string
	Group               uint32
	NumTxQueues         uint32
	NumRxQueues         uint32
	Promiscuity         uint32
	AllMulti            uint32
	GSOMaxSegs          uint32
	GSOMaxSize          uint32
	GSOIPv4MaxSize      uint32
	GROMaxSize          uint32
	GROIPv4MaxSize      uint32
	TSOMaxSegs          uint32
	TSOMaxSize          uint32
	NumVF               uint32
	VFs                 []VF

	OperState        uint8 // IF_OPER_*, as in linux/if.h
	LinkMode         uint8 // IF_LINK_MODE_*
	Carrier          bool
	CarrierChanges   uint32
	CarrierUpCount   uint32
	CarrierDownCount uint32
	ProtoDown        bool
	NetNSImmutable   bool   // it cannot be moved to another network namespace
	Headroom         uint16 // bytes that it wants before each packet
	Tailroom         uint16 // and behind
	ProtoDownReason  uint32

	Master      int // index of the interface that it is a port of; 0: none
	Link        int // index of what it stands on or is paired with; 0: none, or itself where tunnels say so
	LinkNetNSID int // of the namespace that Link counts in, where Has(IFLA_LINK_NETNSID)

	Kind      string // IFLA_INFO_KIND: bridge, veth, vlan …; "" for a plain device
	Data      []byte // IFLA_INFO_DATA: attributes of that kind
	PortKind  string // IFLA_INFO_SLAVE_KIND
	PortData  []byte // IFLA_INFO_SLAVE_DATA
	ParentBus string
	ParentDev string

	PhysPortID   []byte
	PhysPortName string
	PhysSwitchID []byte

	XDPAttached uint8 // XDP_ATTACHED_*; 0: none
	XDPProgID   uint32

	AddrGenMode uint8  // IN6_ADDR_GEN_MODE_*, where HasInet6
	Token       []byte // IFLA_INET6_TOKEN
	Managed     bool   // the last router that advertised has addresses to be had by DHCPv6 (RFC 4861 section 4.2: M)
	OtherConfig bool   // the same of other information (O)
	HasInet6    bool   // IPv6 told of the interface

	Stats    Stats
	NumStats int // how many of Stats this kernel has

	attrs attrSet
	dump  *nlsock.Conn // that it came by, or nil
	walk  nlsock.Attrs // kept here because what linkFields calls would make it garbage for each row
	last  linkTexts
}

// linkTexts are texts of the row before, which are likely to come again and then need no memory.
type linkTexts struct{ qdisc, kind, portKind, parentBus string }

// Has tells whether the message had an attribute, one of unix.IFLA_*.
func (l *Link) Has(attr uint16) bool { return l.attrs.has(attr) }

// LinkFilter says which interfaces a dump yields.
type LinkFilter struct {
	Master int    // 0: any or none
	Kind   string // "": any or none
}

// extMask is IFLA_EXT_MASK (RTEXT_FILTER_*, linux/rtnetlink.h): virtual functions are wanted, but not
// statistics by protocol and function, which are a third of a message and take half of the time. The
// interface's own counters come all the same.
const extMask = 1<<0 | 1<<3 // RTEXT_FILTER_VF, RTEXT_FILTER_SKIP_STATS

// Links yields interfaces by rising index.
func (c *Conn) Links(ctx context.Context, f LinkFilter) iter.Seq2[*Link, error] {
	req := c.sock.Request("dump links", unix.RTM_GETLINK)
	req.Raw(make([]byte, unix.SizeofIfInfomsg))
	req.Uint32(unix.IFLA_EXT_MASK, extMask)
	if f.Master != 0 {
		req.Uint32(unix.IFLA_MASTER, uint32(f.Master))
	}
	if f.Kind != "" {
		req.Nest(unix.IFLA_LINKINFO, func() { req.String(unix.IFLA_INFO_KIND, f.Kind) })
	}
	return dump(ctx, c, req, unix.RTM_NEWLINK, &c.link, func(b []byte) (bool, error) {
		if err := c.link.decode(b); err != nil {
			return false, err
		}
		c.link.dump = c.sock
		return f.Wants(&c.link), nil
	})
}

// Later is the name of another interface of the dump, where the kernel has told it already, behind this one. That
// holds for most of those that were made together, as the two ends of a veth are.
func (l *Link) Later(index int) (name string, ok bool) {
	if l.dump == nil {
		return "", false
	}
	for m := range l.dump.Ahead() {
		if m.Type == unix.RTM_NEWLINK && len(m.Data) >= unix.SizeofIfInfomsg && linkIndex(m.Data) == index {
			return linkName(m.Data)
		}
	}
	return "", false
}

func linkName(b []byte) (name string, ok bool) {
	for a := nlsock.Attributes(b[unix.SizeofIfInfomsg:]); a.Next(); {
		if a.Type() == unix.IFLA_IFNAME {
			return a.String(), true
		}
	}
	return "", false
}

// linkIndex is the index in a struct ifinfomsg.
func linkIndex(b []byte) int { return int(int32(native.Uint32(b[4:]))) }

// Wants tells whether a link fits the filter. Dumps are checked with it again, because a kernel that
// does not know a kind answers a dump of that kind with all interfaces.
func (f *LinkFilter) Wants(l *Link) bool {
	return (f.Master == 0 || l.Master == f.Master) && (f.Kind == "" || l.Kind == f.Kind)
}

// LinkByName gets one interface, by its name or one of its alternative names. That there is none is
// ENODEV. The link holds until the next one is read.
func (c *Conn) LinkByName(ctx context.Context, name string) (*Link, error) {
	attr := uint16(unix.IFLA_IFNAME)
	if len(name) >= unix.IFNAMSIZ {
		attr = unix.IFLA_ALT_IFNAME
	}
	req := c.sock.Request("get link "+name, unix.RTM_GETLINK)
	req.Raw(make([]byte, unix.SizeofIfInfomsg))
	req.Uint32(unix.IFLA_EXT_MASK, extMask)
	req.String(attr, name)
	m, err := c.sock.Do(ctx, req, 0)
	if err != nil {
		return nil, err
	}
	if err := c.link.decode(m.Data); err != nil {
		return nil, req.Fail(err)
	}
	return &c.link, nil
}

// decode reads struct ifinfomsg (family u8, pad u8, type u16, index i32, flags u32, change u32) and
// the attributes behind it.
func (l *Link) decode(b []byte) error {
	if len(b) < unix.SizeofIfInfomsg {
		return ErrMalformed
	}
	*l = Link{
		Type:     native.Uint16(b[2:]),
		Index:    linkIndex(b),
		Flags:    native.Uint32(b[8:]),
		AltNames: l.AltNames[:0],
		VFs:      l.VFs[:0],
		last:     l.last,
	}
	l.walk = nlsock.Attributes(b[unix.SizeofIfInfomsg:])
	for a := &l.walk; a.Next(); {
		l.attrs.add(a.Type())
		if typ := int(a.Type()); typ < len(linkFields) && linkFields[typ] != nil {
			linkFields[typ](l, a)
		} else if err := l.nested(a); err != nil {
			return err
		}
	}
	return l.walk.Err()
}
