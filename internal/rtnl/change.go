package rtnl

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// change sends a request that changes something and waits until the kernel has acknowledged it. Where the
// kernel tells what it made or removed (NLM_F_ECHO), that message is returned, and is empty elsewhere.
func (c *Conn) change(ctx context.Context, req *nlsock.Request, flags uint16) (nlsock.Message, error) {
	return c.sock.Do(ctx, req, flags|unix.NLM_F_ACK)
}

// ifInfo starts a request about a link: struct ifinfomsg (family u8, pad u8, type u16, index i32, flags u32,
// change u32).
func (c *Conn) ifInfo(op string, typ uint16, family uint8, index int, flags, mask uint32) *nlsock.Request {
	req := c.sock.Request(op, typ)
	req.Raw(ifInfoMessage(family, index, flags, mask))
	return req
}

func ifInfoMessage(family uint8, index int, flags, mask uint32) []byte {
	var header [unix.SizeofIfInfomsg]byte
	header[0] = family
	native.PutUint32(header[4:], uint32(index))
	native.PutUint32(header[8:], flags)
	native.PutUint32(header[12:], mask)
	return header[:]
}

// NewBridge is a bridge to be made. Zero is left to the kernel but for the switches. (An alias cannot be given
// to a link as it is made: rtnl_create_link passes over IFLA_IFALIAS.)
type NewBridge struct {
	Name          string
	MAC           []byte // set, so that it does not follow the ports'
	MTU           uint32 // set, so that it does not follow the ports'
	STP           bool
	VLANFiltering bool
}

// AddBridge makes a bridge, down. That something has the name is EEXIST; VLAN filtering that the kernel
// was built without is EOPNOTSUPP.
func (c *Conn) AddBridge(ctx context.Context, b NewBridge) error {
	req := c.newLink("add bridge "+b.Name, b.Name, b.MAC, b.MTU)
	req.Nest(unix.IFLA_LINKINFO, func() {
		req.String(unix.IFLA_INFO_KIND, "bridge")
		req.Nest(unix.IFLA_INFO_DATA, func() {
			if b.STP {
				req.Uint32(unix.IFLA_BR_STP_STATE, 1)
			}
			if b.VLANFiltering {
				req.Uint8(unix.IFLA_BR_VLAN_FILTERING, 1)
			}
		})
	})
	_, err := c.change(ctx, req, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	return err
}

func (c *Conn) newLink(op, name string, mac []byte, mtu uint32) *nlsock.Request {
	req := c.ifInfo(op, unix.RTM_NEWLINK, unix.AF_UNSPEC, 0, 0, 0)
	linkBasics(req, name, mac, mtu)
	return req
}

func linkBasics(req *nlsock.Request, name string, mac []byte, mtu uint32) {
	req.String(unix.IFLA_IFNAME, name)
	if len(mac) > 0 {
		req.Bytes(unix.IFLA_ADDRESS, mac)
	}
	if mtu > 0 {
		req.Uint32(unix.IFLA_MTU, mtu)
	}
}

// NewVeth is one end of a pair to be made.
type NewVeth struct {
	Name string
	MTU  uint32
}

// vethInfoPeer is VETH_INFO_PEER (linux/veth.h): struct ifinfomsg and attributes of the other end.
const vethInfoPeer = 1

// AddVeth makes a pair of connected interfaces, down. That something has one of the names is EEXIST.
func (c *Conn) AddVeth(ctx context.Context, a, b NewVeth) error {
	req := c.newLink("add veth "+a.Name, a.Name, nil, a.MTU)
	req.Nest(unix.IFLA_LINKINFO, func() {
		req.String(unix.IFLA_INFO_KIND, "veth")
		req.Nest(unix.IFLA_INFO_DATA, func() {
			req.Nest(vethInfoPeer, func() {
				req.Raw(ifInfoMessage(unix.AF_UNSPEC, 0, 0, 0))
				linkBasics(req, b.Name, nil, b.MTU)
			})
		})
	})
	_, err := c.change(ctx, req, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	return err
}

// LinkChange is what of a link is to be set. Nil and absent is left as it is.
type LinkChange struct {
	Up            *bool
	MAC           []byte
	MTU           uint32
	Alias         *string // "" takes it away
	Master        *int    // index of the bridge or other master; 0: none
	STP           *bool   // of a bridge
	VLANFiltering *bool   // of a bridge
}

// ChangeLink sets properties of the link with an index. Several are set one after another by the kernel: an
// error may leave the first of them set. A link that is not there is ENODEV.
func (c *Conn) ChangeLink(ctx context.Context, index int, s LinkChange) error {
	var flags, mask uint32
	if s.Up != nil {
		mask = unix.IFF_UP
		if *s.Up {
			flags = unix.IFF_UP
		}
	}
	req := c.ifInfo("set link", unix.RTM_NEWLINK, unix.AF_UNSPEC, index, flags, mask)
	if len(s.MAC) > 0 {
		req.Bytes(unix.IFLA_ADDRESS, s.MAC)
	}
	if s.MTU > 0 {
		req.Uint32(unix.IFLA_MTU, s.MTU)
	}
	if s.Alias != nil {
		req.Bytes(unix.IFLA_IFALIAS, []byte(*s.Alias))
	}
	if s.Master != nil {
		req.Uint32(unix.IFLA_MASTER, uint32(*s.Master))
	}
	if s.STP != nil || s.VLANFiltering != nil {
		bridgeOptions(req, s)
	}
	_, err := c.change(ctx, req, 0)
	return err
}

func bridgeOptions(req *nlsock.Request, s LinkChange) {
	req.Nest(unix.IFLA_LINKINFO, func() {
		req.String(unix.IFLA_INFO_KIND, "bridge")
		req.Nest(unix.IFLA_INFO_DATA, func() {
			if s.STP != nil {
				req.Uint32(unix.IFLA_BR_STP_STATE, uint32(bit(*s.STP)))
			}
			if s.VLANFiltering != nil {
				req.Uint8(unix.IFLA_BR_VLAN_FILTERING, bit(*s.VLANFiltering))
			}
		})
	})
}

func bit(v bool) uint8 {
	if v {
		return 1
	}
	return 0
}

// DeleteLink removes the link with an index, and with one end of a veth pair the other. One that is not
// there is ENODEV; one of a kind that cannot be removed, EOPNOTSUPP.
func (c *Conn) DeleteLink(ctx context.Context, index int) error {
	req := c.ifInfo("delete link", unix.RTM_DELLINK, unix.AF_UNSPEC, index, 0, 0)
	_, err := c.change(ctx, req, 0)
	return err
}

// PortChange is what of a bridge port is to be set. Nil is left as it is.
type PortChange struct {
	Hairpin  *bool
	Isolated *bool
}

// ChangeBridgePort sets options of a port of a Linux bridge. An interface that is none is EINVAL or
// EOPNOTSUPP.
func (c *Conn) ChangeBridgePort(ctx context.Context, index int, s PortChange) error {
	req := c.ifInfo("set bridge port", unix.RTM_SETLINK, unix.AF_BRIDGE, index, 0, 0)
	req.Nest(unix.IFLA_PROTINFO, func() {
		if s.Hairpin != nil {
			req.Uint8(unix.IFLA_BRPORT_MODE, bit(*s.Hairpin))
		}
		if s.Isolated != nil {
			req.Uint8(unix.IFLA_BRPORT_ISOLATED, bit(*s.Isolated))
		}
	})
	_, err := c.change(ctx, req, 0)
	return err
}

// PortVLAN is one VLAN id of a bridge port and how its frames are treated there.
type PortVLAN struct {
	ID       uint16
	PVID     bool // untagged frames that come in belong to it
	Untagged bool // its frames leave untagged
}

// struct bridge_vlan_info of linux/if_bridge.h: flags u16, vid u16.
const (
	bridgeVLANInfo  = 2 // IFLA_BRIDGE_VLAN_INFO
	maxVLANsAtATime = 1000
)

// AddPortVLANs has a bridge port take VLANs; one that it takes already gets the flags given here. A kernel
// without VLAN filtering answers EOPNOTSUPP.
func (c *Conn) AddPortVLANs(ctx context.Context, index int, list []PortVLAN) error {
	return c.changePortVLANs(ctx, "add vlans", unix.RTM_SETLINK, index, list)
}

// DeletePortVLANs has a bridge port no longer take VLANs.
func (c *Conn) DeletePortVLANs(ctx context.Context, index int, list []PortVLAN) error {
	return c.changePortVLANs(ctx, "delete vlans", unix.RTM_DELLINK, index, list)
}

func (c *Conn) changePortVLANs(ctx context.Context, op string, typ uint16, index int, list []PortVLAN) error {
	for len(list) > 0 {
		n := min(len(list), maxVLANsAtATime)
		req := c.ifInfo(op, typ, unix.AF_BRIDGE, index, 0, 0)
		req.Nest(unix.IFLA_AF_SPEC, func() {
			for _, v := range list[:n] {
				req.Bytes(bridgeVLANInfo, vlanInfoBytes(v))
			}
		})
		if _, err := c.change(ctx, req, 0); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

func vlanInfoBytes(v PortVLAN) []byte {
	var flags uint16
	if v.PVID {
		flags |= vlanPVID
	}
	if v.Untagged {
		flags |= vlanUntagged
	}
	b := native.AppendUint16(nil, flags)
	return native.AppendUint16(b, v.ID)
}
