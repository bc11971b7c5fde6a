package netops

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/internal/rtnl"
)

// hostFacts are what the rules look up of the host.
type hostFacts struct {
	own     map[netip.Addr]string // addresses by which others reach the node, with the interface
	nets    []hostNet             // the networks that these are in, as far as they have more than one address
	bridges []string
}

// hostNet is a network of the node's, and the interface that leads into it.
type hostNet struct {
	netip.Prefix
	link string
}

// facts reads them.
func (n *Net) facts(ctx context.Context) (f hostFacts, err error) {
	conn, err := n.sockets.Get()
	if err != nil {
		return f, err
	}
	defer n.sockets.Put(conn)
	names := map[int]string{}
	_, err = consistentlyGathered(func() (bool, error) {
		clear(names)
		f.bridges = nil
		return each(conn.Links(ctx, rtnl.LinkFilter{}), func(l *rtnl.Link) error {
			names[l.Index] = l.Name
			if l.Kind == kindBridge {
				f.bridges = append(f.bridges, l.Name)
			}
			return nil
		})
	})
	if err != nil {
		return f, err
	}
	_, err = consistentlyGathered(func() (bool, error) {
		f.own, f.nets = map[netip.Addr]string{}, nil
		return each(conn.Addresses(ctx, rtnl.AddressFilter{}), func(a *rtnl.Address) error {
			if !a.Local.IsLoopback() && !a.Local.IsLinkLocalUnicast() && f.own[a.Local] == "" && names[a.Index] != "" {
				f.own[a.Local] = names[a.Index]
				if net := netip.PrefixFrom(a.Local, a.PrefixLen); !net.IsSingleIP() {
					f.nets = append(f.nets, hostNet{net.Masked(), names[a.Index]})
				}
			}
			return nil
		})
	})
	return f, err
}

// tellHost fills the sets that tell of the host.
func (n *Net) tellHost(ctx context.Context, t *nft.Change, sets []nft.NewSet) error {
	n.follow()
	f, err := n.facts(ctx)
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
