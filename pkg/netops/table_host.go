package netops

import (
	"context"
	"net/netip"

	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/internal/rtnl"
)

// hostFacts are what the rules look up of the host.
type hostFacts struct {
	own     map[netip.Addr]string // addresses by which others reach the node, with the interface
	bridges []string
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
		f.own = map[netip.Addr]string{}
		return each(conn.Addresses(ctx, rtnl.AddressFilter{}), func(a *rtnl.Address) error {
			if !a.Local.IsLoopback() && !a.Local.IsLinkLocalUnicast() && f.own[a.Local] == "" && names[a.Index] != "" {
				f.own[a.Local] = names[a.Index]
			}
			return nil
		})
	})
	return f, err
}

// tellHost fills the sets that tell of the host.
func (n *Net) tellHost(ctx context.Context, t *nft.Change, sets []nft.NewSet) error {
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
	for a, name := range f.own {
		if a.Is4() == (set == setOwn4) {
			list = append(list, nft.NewElement{Key: addressBytes(a), Data: ifnameBytes(name)})
		}
	}
	return list
}

// followHost keeps the sets that tell of the host as the host is, where the table has any.
func (n *Net) followHost(ctx context.Context) error {
	return n.changeTable(ctx, func(conn *nft.Conn) error {
		n.kept.table.mu.Lock()
		shapes := inOrderOfRules(n.kept.table.shapes)
		n.kept.table.mu.Unlock()
		_, sets := tableFor(shapes)
		if len(sets) == 0 {
			return nil
		}
		t := conn.Change()
		if err := n.tellHost(ctx, t, sets); err != nil {
			return err
		}
		return t.Commit(ctx)
	})
}
