package netops

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
)

// hostFacts are what the rules look up of the host.
type hostFacts struct {
	own     map[netip.Addr]string // addresses by which others reach the node, with the interface
	nets    []hostNet             // the networks that these are in, as far as they have more than one address
	bridges []string              // where a set tells of them
}

// hostNet is a network of the node's, and the interface that leads into it.
type hostNet struct {
	netip.Prefix
	link string
}

// facts reads the addresses. A node may have hundreds of interfaces, of which few have one: the others cost nothing.
func (n *Net) facts(ctx context.Context) (f hostFacts, err error) {
	conn, err := n.sockets.Get()
	if err != nil {
		return f, err
	}
	defer n.sockets.Put(conn)
	found := map[netip.Prefix]int{}
	var order []netip.Prefix
	_, err = wire.Gathered(func() (bool, error) {
		clear(found)
		order = order[:0]
		return wire.Each(conn.Addresses(ctx, rtnl.AddressFilter{}), func(a *rtnl.Address) error {
			p := netip.PrefixFrom(a.Local, a.PrefixLen)
			if _, known := found[p]; !known && !a.Local.IsLoopback() && !a.Local.IsLinkLocalUnicast() {
				found[p], order = a.Index, append(order, p)
			}
			return nil
		})
	})
	if err != nil {
		return f, err
	}
	f.own = map[netip.Addr]string{}
	names := map[int]string{}
	for _, p := range order {
		index := found[p]
		name, known := names[index]
		if !known {
			name, _ = conn.LinkName(index) // "": it has gone, and the address with it
			names[index] = name
		}
		if name == "" || f.own[p.Addr()] != "" {
			continue
		}
		f.own[p.Addr()] = name
		if !p.IsSingleIP() {
			f.nets = append(f.nets, hostNet{p.Masked(), name})
		}
	}
	return f, nil
}

// factsFor are the facts that some sets tell of.
func (n *Net) factsFor(ctx context.Context, sets []nft.NewSet) (f hostFacts, err error) {
	if f, err = n.facts(ctx); err != nil || !slices.ContainsFunc(sets, func(s nft.NewSet) bool { return s.Name == setBridged }) {
		return f, err
	}
	conn, err := n.sockets.Get()
	if err != nil {
		return f, err
	}
	defer n.sockets.Put(conn)
	_, err = wire.Gathered(func() (bool, error) {
		f.bridges = nil
		return wire.Each(conn.Links(ctx, rtnl.LinkFilter{Kind: kindBridge}), func(l *rtnl.Link) error {
			f.bridges = append(f.bridges, l.Name)
			return nil
		})
	})
	return f, err
}

// tellHost fills the sets that tell of the host.
func (n *Net) tellHost(ctx context.Context, t *nft.Change, sets []nft.NewSet) error {
	n.follow()
	f, err := n.factsFor(ctx, sets)
	if err != nil {
		return err
	}
	for _, s := range sets {
		t.FlushSet(own, s.Name)
		t.AddElements(own, s.Name, f.elements(s.Name))
	}
	return nil
}

func (f *hostFacts) elements(set string) (list []nft.NewElement) {
	if set == setBridged {
		for _, b := range f.bridges {
			list = append(list, nft.NewElement{Key: nft.AppendKey(nft.AppendKey(nil, ifnameBytes(b)), ifnameBytes(b))})
		}
		return list
	}
	link, four := strings.CutPrefix(set, setOwn4)
	if !four {
		link = strings.TrimPrefix(set, setOwn6)
	}
	for a, name := range f.own {
		if a.Is4() == four && name == link {
			list = append(list, nft.NewElement{Key: addressBytes(a)})
		}
	}
	return list
}

// network is the smallest of the node's networks that an address is in; not valid where there is none.
func (f *hostFacts) network(a netip.Addr) (found hostNet) {
	for _, n := range f.nets {
		if n.Contains(a) && (!found.IsValid() || n.Bits() > found.Bits()) {
			found = n
		}
	}
	return found
}

// interfaces are those that have an address of a family by which others reach the node, sorted.
func (f *hostFacts) interfaces(four bool) (list []string) {
	for a, name := range f.own {
		if a.Is4() == four && name != "lo" {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
