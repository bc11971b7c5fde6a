package rtnl

import (
	"context"
	"iter"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// GlobalVLANs is what a bridge keeps by VLAN for all of its ports (BRIDGE_VLANDB_GLOBAL_OPTIONS), rising.
// Those of a bridge with many come in more than one row. VLANs hold until the next row.
type GlobalVLANs struct {
	Index int // of the bridge
	VLANs []GlobalVLAN
}

// GlobalVLAN is a range of VLAN ids whose options are alike (BRIDGE_VLANDB_GOPTS_*). The multicast
// options are there where the kernel does multicast snooping; intervals are in ticks of 1/[UserHZ] s.
type GlobalVLAN struct {
	First, Last           uint16
	Snooping              bool
	Querier               bool
	IGMPVersion           uint8
	MLDVersion            uint8
	LastMemberCount       uint32
	StartupQueryCount     uint32
	LastMemberInterval    uint64
	MembershipInterval    uint64
	QuerierInterval       uint64
	QueryInterval         uint64
	QueryResponseInterval uint64
	StartupQueryInterval  uint64
	QuerierState          Queriers
	RouterPorts           []int  // indices of ports behind which a multicast router is
	MSTI                  uint16 // spanning tree that it belongs to

	attrs attrSet
}

// The attributes of [GlobalVLAN] (BRIDGE_VLANDB_GOPTS_*).
const (
	gvlanID                    = 1
	gvlanRange                 = 2
	GlobalVLANMcastSnooping    = 3
	gvlanIGMPVersion           = 4
	gvlanMLDVersion            = 5
	gvlanLastMemberCount       = 6
	gvlanStartupQueryCount     = 7
	gvlanLastMemberInterval    = 8
	gvlanMembershipInterval    = 10
	gvlanQuerierInterval       = 11
	gvlanQueryInterval         = 12
	gvlanQueryResponseInterval = 13
	gvlanStartupQueryInterval  = 14
	gvlanQuerier               = 15
	gvlanRouterPorts           = 16
	gvlanQuerierState          = 17
	GlobalVLANMSTI             = 18 // Linux 5.18
)

// Has tells whether the kernel told of an option, GlobalVLANMcastSnooping or GlobalVLANMSTI. All that is
// multicast's comes with the former.
func (v *GlobalVLAN) Has(attr uint16) bool { return v.attrs.has(attr) }

// GlobalVLANs yields what bridges keep by VLAN: of one, or of all where index is 0. A kernel without
// VLAN filtering, or older than 5.6, is EOPNOTSUPP; one older than 5.15 yields nothing.
func (c *Conn) GlobalVLANs(ctx context.Context, index int) iter.Seq2[*GlobalVLANs, error] {
	req := c.vlanRequest("dump global bridge vlans", index, vlanDumpGlobal)
	return dump(ctx, c, req, unix.RTM_NEWVLAN, &c.globals, func(b []byte) (bool, error) {
		if err := c.globals.decode(b); err != nil {
			return false, err
		}
		return (index == 0 || c.globals.Index == index) && len(c.globals.VLANs) > 0, nil
	})
}

func (v *GlobalVLANs) decode(b []byte) error {
	index, a, err := vlanMessage(b)
	if err != nil {
		return err
	}
	v.Index, v.VLANs = index, v.VLANs[:0]
	for a.Next() {
		if a.Type() != vlanGlobalOptions {
			continue
		}
		var vlan GlobalVLAN
		if err := vlan.decode(a.Nested()); err != nil {
			return err
		}
		v.VLANs = append(v.VLANs, vlan)
	}
	return a.Err()
}

func (v *GlobalVLAN) decode(a nlsock.Attrs) error {
	for a.Next() {
		v.attrs.add(a.Type())
		if err := v.attribute(&a); err != nil {
			return err
		}
	}
	if err := a.Err(); err != nil {
		return err
	}
	v.Last = max(v.First, v.Last)
	if !v.attrs.has(gvlanID) || v.Last > MaxVLAN {
		return ErrMalformed
	}
	return nil
}

func (v *GlobalVLAN) attribute(a *nlsock.Attrs) (err error) {
	switch a.Type() {
	case gvlanID:
		v.First = a.Uint16()
	case gvlanRange:
		v.Last = a.Uint16()
	case GlobalVLANMSTI:
		v.MSTI = a.Uint16()
	case GlobalVLANMcastSnooping:
		v.Snooping = a.Uint8() != 0
	case gvlanQuerier:
		v.Querier = a.Uint8() != 0
	case gvlanIGMPVersion:
		v.IGMPVersion = a.Uint8()
	case gvlanMLDVersion:
		v.MLDVersion = a.Uint8()
	case gvlanLastMemberCount:
		v.LastMemberCount = a.Uint32()
	case gvlanStartupQueryCount:
		v.StartupQueryCount = a.Uint32()
	case gvlanRouterPorts:
		v.RouterPorts, err = routerPorts(a.Nested())
	case gvlanQuerierState:
		err = v.QuerierState.decode(a.Nested())
	default:
		v.interval(a)
	}
	return err
}

func (v *GlobalVLAN) interval(a *nlsock.Attrs) {
	switch a.Type() {
	case gvlanLastMemberInterval:
		v.LastMemberInterval = a.Uint64()
	case gvlanMembershipInterval:
		v.MembershipInterval = a.Uint64()
	case gvlanQuerierInterval:
		v.QuerierInterval = a.Uint64()
	case gvlanQueryInterval:
		v.QueryInterval = a.Uint64()
	case gvlanQueryResponseInterval:
		v.QueryResponseInterval = a.Uint64()
	case gvlanStartupQueryInterval:
		v.StartupQueryInterval = a.Uint64()
	}
}

// routerPorts reads the list of MDBA_ROUTER_PORT: the index of a port, then attributes.
func routerPorts(a nlsock.Attrs) ([]int, error) {
	var ports []int
	for a.Next() {
		if a.Type() == 1 {
			ports = append(ports, int(a.Int32()))
		}
	}
	return ports, a.Err()
}
