package owntable

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/nft"
)

// Facts are what the rules look up of the host.
type Facts struct {
	Addresses map[netip.Addr]string // addresses by which others reach the node, with the interface
	Networks  []HostNet             // the networks that these are in, as far as they have more than one address
	Bridges   []string              // where a set tells of them
}

// HostNet is a network of the node's, and the interface that leads into it.
type HostNet struct {
	netip.Prefix
	Link string
}

// Elements are those of one of the sets that tell of the host.
func (f *Facts) Elements(set string) (list []nft.NewElement) {
	if set == SetBridged {
		for _, b := range f.Bridges {
			list = append(list, nft.NewElement{Key: nft.AppendKey(nft.AppendKey(nil, ifnameBytes(b)), ifnameBytes(b))})
		}
		return list
	}
	link, four := strings.CutPrefix(set, setOwn4)
	if !four {
		link = strings.TrimPrefix(set, setOwn6)
	}
	for a, name := range f.Addresses {
		if a.Is4() == four && name == link {
			list = append(list, nft.NewElement{Key: addressBytes(a)})
		}
	}
	return list
}

// Network is the smallest of the node's networks that an address is in; not valid where there is none.
func (f *Facts) Network(a netip.Addr) (found HostNet) {
	for _, n := range f.Networks {
		if n.Contains(a) && (!found.IsValid() || n.Bits() > found.Bits()) {
			found = n
		}
	}
	return found
}

// Interfaces are those that have an address of a family by which others reach the node, sorted.
func (f *Facts) Interfaces(four bool) (list []string) {
	for a, name := range f.Addresses {
		if a.Is4() == four && name != "lo" {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// IsOwn tells whether an address is the node's.
func (f *Facts) IsOwn(a netip.Addr) bool {
	_, mine := f.Addresses[a]
	return mine || a.IsLoopback()
}
