package netops

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/kernelrow"
	"github.com/geomind/my_os_server/pkg/netops/internal/owntable"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
)

// held is what the kernel has of the objects that plans look at.
type held struct {
	now    time.Time            // when it was read
	links  map[string]*heldLink // by name
	names  map[int]string       // of links by index
	routes map[ownKey][]heldRoute

	table    *heldTable // nil: there is none, or it was not looked at
	elements map[owntable.Ref]heldElement
	settings map[string]int64        // by path below /proc/sys/net
	hairpins map[string]*heldHairpin // by bridge; nil: nothing was looked at
	ovs      *heldOVS                // nil: nothing of it was looked at

	// cutOff is true while a write that was cut off, or has just failed, is looked at. A link that has the
	// right name and kind and no alias is then what that write had made before it came to mark it: before the
	// write began nothing had the name. And the first steps of what puts settings back may have been taken.
	cutOff bool
}

func newHeld() *held {
	return &held{now: time.Now(), links: map[string]*heldLink{}, names: map[int]string{}, routes: map[ownKey][]heldRoute{}}
}

// heldLink is a network interface.
type heldLink struct {
	Index   int
	Name    string
	Kind    string
	Alias   string
	MAC     string
	MTU     int
	Up      bool
	Carrier bool
	Master  int // index
	Peer    int // index of what it is paired with

	OtherConfig bool // a router advertised that DHCPv6 has information

	Bridge rtnl.Bridge     // where Kind is bridge
	Port   rtnl.BridgePort // where it is the port of a bridge
	IsPort bool
	Tun    rtnl.Tun // where Kind is tun

	Addresses []heldAddress
	VLANs     []rtnl.PortVLAN // where it is the port of a bridge
}

type heldAddress struct {
	Prefix   netip.Prefix
	Protocol uint8
	Flags    uint32

	Preferred, Valid uint32 // seconds; rtnl.Forever
}

// has tells whether the link has an address with exactly this prefix.
func (l *heldLink) has(p netip.Prefix) bool {
	return slices.ContainsFunc(l.Addresses, func(a heldAddress) bool { return a.Prefix == p })
}

// The marks of ours: the alias of links that we made. (ip-link(8): alias; at most 255 bytes.)
const (
	markBridge     = "my_os_server:bridge"
	markTap        = "my_os_server:tap"
	markConnection = "my_os_server:connection"
)

// ours tells whether a link of that kind bears our mark.
func (h *held) ours(l *heldLink, kind, mark string) bool {
	return l.Kind == kind && (l.Alias == mark || h.cutOff && l.Alias == "")
}

// needs says what is to be read.
type needs struct {
	links     []string // by name
	addresses []string // of links, by name
	vlans     []string // of bridge ports, by name
	routes    []ownKey
	table     bool           // chains, rules and sets of the own table
	elements  []owntable.Ref // of its sets
	sets      []string       // of the own table, whole; goes with table
	settings  []string       // by path below /proc/sys/net
	switched  []string       // bridges and ports of Open vSwitch, by name
	hairpins  []string       // bridges whose ports may get hairpin
	allPorts  []string       // of these, those of which all ports of ours are looked at
}

func (n *needs) add(other needs) {
	n.links = append(n.links, other.links...)
	n.addresses = append(n.addresses, other.addresses...)
	n.vlans = append(n.vlans, other.vlans...)
	n.routes = append(n.routes, other.routes...)
	n.table = n.table || other.table
	n.elements = append(n.elements, other.elements...)
	n.sets = append(n.sets, other.sets...)
	n.settings = append(n.settings, other.settings...)
	n.switched = append(n.switched, other.switched...)
	n.hairpins = append(n.hairpins, other.hairpins...)
	n.allPorts = append(n.allPorts, other.allPorts...)
}

// reader reads what the kernel has.
type reader struct {
	net  *Net
	conn *rtnl.Conn
	held *held
}

// look reads what is needed. What is not there is not in the result, and no error.
func (n *Net) look(ctx context.Context, want needs) (*held, error) {
	return n.lookFurther(ctx, newHeld(), want)
}

// lookFurther is look where a part was read a moment ago, under the locks that still hold: links are not read again.
func (n *Net) lookFurther(ctx context.Context, read *held, want needs) (*held, error) {
	conn, err := n.sockets.Get()
	if err != nil {
		return nil, err
	}
	defer n.sockets.Put(conn)
	r := reader{n, conn, read}
	return r.held, r.read(ctx, want)
}

// wholesale is how many links are dearer to ask for one by one than all at once.
const wholesale = 64

func (r *reader) read(ctx context.Context, want needs) error {
	var err error
	if len(want.links) > wholesale {
		err = r.allLinks(ctx)
	} else {
		for _, name := range want.links {
			err = errors.Join(err, r.link(ctx, name))
		}
	}
	if err != nil {
		return err
	}
	for _, name := range want.addresses {
		if err := r.addresses(ctx, name); err != nil {
			return err
		}
	}
	for _, name := range want.vlans {
		if err := r.vlans(ctx, name); err != nil {
			return err
		}
	}
	if err := r.routes(ctx, want.routes); err != nil {
		return err
	}
	if r.held.settings, err = r.net.settings(want.settings); err != nil {
		return err
	}
	if err := r.hairpins(ctx, want.hairpins, want.allPorts); err != nil {
		return err
	}
	r.ovs(ctx, want)
	return r.table(ctx, want)
}

func (r *reader) link(ctx context.Context, name string) error {
	if r.held.links[name] != nil {
		return nil
	}
	l, err := r.conn.LinkByName(ctx, name)
	if errors.Is(err, syscall.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	// An alternative name finds the link too; what is made has the name itself.
	if err := r.keep(l); err != nil || l.Name == name {
		return err
	}
	r.held.links[name] = r.held.links[l.Name]
	return nil
}

func (r *reader) allLinks(ctx context.Context) error {
	_, err := wire.Gathered(func() (bool, error) {
		clear(r.held.links)
		return wire.Each(r.conn.Links(ctx, rtnl.LinkFilter{}), r.keep)
	})
	return err
}

// keep copies a link out of the dump.
func (r *reader) keep(l *rtnl.Link) (err error) {
	k := &heldLink{
		Index: l.Index, Name: l.Name, Kind: l.Kind, Alias: l.Alias, MAC: wire.MAC(l.HardwareAddr).Or(""),
		MTU: int(l.MTU), Up: kernelrow.AdminUp(l), Carrier: l.Carrier, Master: l.Master, Peer: l.Link, OtherConfig: l.OtherConfig,
	}
	switch l.Kind {
	case kindBridge:
		k.Bridge, err = rtnl.DecodeBridge(l.Data)
	case kindTun:
		k.Tun, err = rtnl.DecodeTun(l.Data)
	}
	if err == nil && l.PortKind == kindBridge {
		k.IsPort = true
		k.Port, err = rtnl.DecodeBridgePort(l.PortData)
	}
	r.held.links[k.Name] = k
	r.held.names[k.Index] = k.Name
	return err
}

// nameOf is the name of a link by its index, "" where there is none.
func (h *held) nameOf(index int) string { return h.names[index] }

func (r *reader) addresses(ctx context.Context, name string) error {
	l := r.held.links[name]
	if l == nil {
		return nil
	}
	_, err := wire.Gathered(func() (bool, error) {
		l.Addresses = nil
		return wire.Each(r.conn.Addresses(ctx, rtnl.AddressFilter{Index: l.Index}), func(a *rtnl.Address) error {
			l.Addresses = append(l.Addresses, heldAddress{netip.PrefixFrom(a.Local, a.PrefixLen), a.Protocol, a.Flags, a.Preferred, a.Valid})
			return nil
		})
	})
	if errors.Is(err, syscall.ENODEV) { // it has gone
		delete(r.held.links, name)
		return nil
	}
	return err
}

// vlans reads the VLANs of a port. A kernel without VLAN filtering has none.
func (r *reader) vlans(ctx context.Context, name string) error {
	l := r.held.links[name]
	if l == nil || !l.IsPort {
		return nil
	}
	_, err := wire.Gathered(func() (bool, error) {
		l.VLANs = nil
		return wire.Each(r.conn.BridgeVLANs(ctx, rtnl.VLANFilter{Index: l.Index}), func(v *rtnl.InterfaceVLANs) error {
			for _, v := range v.VLANs {
				for id := v.First; id <= v.Last; id++ {
					l.VLANs = append(l.VLANs, rtnl.PortVLAN{ID: id, PVID: v.PVID, Untagged: v.Untagged})
				}
			}
			return nil
		})
	})
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	return err
}

// routes reads the routes with the keys that are wanted, whoever made them.
func (r *reader) routes(ctx context.Context, keys []ownKey) error {
	type dump struct {
		family uint8
		table  uint32
	}
	wanted := map[ownKey]bool{}
	dumps := map[dump]netip.Prefix{}
	for _, k := range keys {
		wanted[k] = true
		d := dump{familyOf(k.Dst), k.Table}
		if _, ok := dumps[d]; ok {
			dumps[d] = netip.Prefix{} // several destinations
		} else {
			dumps[d] = k.Dst
		}
	}
	for d, dst := range dumps {
		filter := rtnl.RouteFilter{Family: d.family, Table: d.table, Dst: dst}
		var found []heldRoute
		_, err := wire.Gathered(func() (bool, error) {
			found = nil
			return wire.Each(r.conn.Routes(ctx, filter), func(route *rtnl.Route) error {
				if wanted[keyOf(route)] {
					found = append(found, r.route(route))
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
		for _, route := range found {
			r.held.routes[route.Key] = append(r.held.routes[route.Key], route)
		}
	}
	return nil
}

func familyOf(p netip.Prefix) uint8 {
	if p.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
