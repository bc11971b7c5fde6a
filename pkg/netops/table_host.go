package netops

import (
	"context"
	"net/netip"
	"slices"

	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/owntable"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
)

// facts reads the addresses. A node may have hundreds of interfaces, of which few have one: the others cost nothing.
func (n *Net) facts(ctx context.Context) (f owntable.Facts, err error) {
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
	f.Addresses = map[netip.Addr]string{}
	names := map[int]string{}
	for _, p := range order {
		index := found[p]
		name, known := names[index]
		if !known {
			name, _ = conn.LinkName(index) // "": it has gone, and the address with it
			names[index] = name
		}
		if name == "" || f.Addresses[p.Addr()] != "" {
			continue
		}
		f.Addresses[p.Addr()] = name
		if !p.IsSingleIP() {
			f.Networks = append(f.Networks, owntable.HostNet{Prefix: p.Masked(), Link: name})
		}
	}
	return f, nil
}

// factsFor are the facts that some sets tell of.
func (n *Net) factsFor(ctx context.Context, sets []nft.NewSet) (f owntable.Facts, err error) {
	if f, err = n.facts(ctx); err != nil || !slices.ContainsFunc(sets, func(s nft.NewSet) bool { return s.Name == owntable.SetBridged }) {
		return f, err
	}
	conn, err := n.sockets.Get()
	if err != nil {
		return f, err
	}
	defer n.sockets.Put(conn)
	_, err = wire.Gathered(func() (bool, error) {
		f.Bridges = nil
		return wire.Each(conn.Links(ctx, rtnl.LinkFilter{Kind: kindBridge}), func(l *rtnl.Link) error {
			f.Bridges = append(f.Bridges, l.Name)
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
		t.AddElements(own, s.Name, f.Elements(s.Name))
	}
	return nil
}
