package netops

import (
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/internal/sysctl"
	"github.com/geomind/my_os_server/pkg/netops/internal/owntable"
)

// forwardingNeed is what an entry needs of the kernel's settings.
type forwardingNeed struct {
	opens    []string         // interfaces that forward because of this daemon, once the settings are made
	settings []forwardingSpec // to be changed for it, in order
}

// enabled are the interfaces on which forwarding is switched on for it.
func (f *forwardingNeed) enabled() (list []string) {
	for _, s := range f.settings {
		if s.Setting == settingForwarding {
			list = append(list, s.Interface)
		}
	}
	return list
}

func lockForwarding(family uint8) state.Object {
	return state.Exclusive("forwarding/" + familyText(family))
}

func shareForwarding(family uint8) state.Object {
	return state.Shared("forwarding/" + familyText(family))
}

func familyText(nf uint8) string {
	if nf == unix.NFPROTO_IPV6 {
		return "ipv6"
	}
	return "ipv4"
}

// forwardingFor is what it takes that the interfaces forward. The kernel forwards IPv6 on all or none.
func (n *Net) forwardingFor(family uint8, interfaces []string) (*forwardingNeed, error) {
	if family == unix.NFPROTO_IPV6 {
		return n.forwarding6()
	}
	need := &forwardingNeed{}
	for _, name := range interfaces {
		if err := n.needSetting(need, forwardingSpec{Family: "ipv4", Interface: name, Setting: settingForwarding, Value: 1}); err != nil {
			return nil, err
		}
	}
	return need, nil
}

// needSetting adds a setting unless it has the value without this daemon's doing.
func (n *Net) needSetting(need *forwardingNeed, f forwardingSpec) error {
	if n.kept.forwarding.Has(f.id()) {
		need.opens = append(need.opens, f.Interface)
		return nil
	}
	values, err := n.settings([]string{f.path()})
	if err != nil {
		return err
	}
	if have, there := values[f.path()]; there && have != f.Value {
		f.Before, f.Boot = have, n.state.Boot().Mark()
		need.settings = append(need.settings, f)
		need.opens = append(need.opens, f.Interface)
	}
	return nil
}

// forwarding6 is what it takes that IPv6 is forwarded. Where an interface takes the advertisements of routers
// (accept_ra is 1), it is told to take them from hosts that forward too (2) before: else the kernel gives up
// the default route that it has from them. One that forwards takes none, and stays as it is.
func (n *Net) forwarding6() (*forwardingNeed, error) {
	need := &forwardingNeed{}
	all := forwardingSpec{Family: "ipv6", Interface: confAll, Setting: settingForwarding, Value: 1}
	if err := n.needSetting(need, all); err != nil || len(need.settings) == 0 {
		return need, err
	}
	taking, err := n.interfacesWith(settingAcceptRA, 1)
	if err != nil {
		return nil, err
	}
	forwarding, err := n.interfacesWith(settingForwarding, 1)
	if err != nil {
		return nil, err
	}
	need.settings[0].Forwarded = forwarding
	var before []forwardingSpec
	for _, name := range taking {
		if name == confDefault || name == "lo" || slices.Contains(forwarding, name) {
			continue
		}
		before = append(before, forwardingSpec{Family: "ipv6", Interface: name, Setting: settingAcceptRA, Value: 2, Before: 1, Boot: n.state.Boot().Mark()})
	}
	need.settings = append(before, need.settings...)
	return need, nil
}

// interfacesWith are the interfaces of which a setting of IPv6 has a value, with default where that has it too.
func (n *Net) interfacesWith(setting string, value int64) (names []string, err error) {
	err = n.inside(func() error {
		dir, err := sysctl.Open(n.options.Root, "net/ipv6/conf")
		if err != nil {
			return err
		}
		defer dir.Close()
		all, err := dir.Names()
		if err != nil {
			return err
		}
		for _, name := range all {
			if name == confAll {
				continue
			}
			v, err := readSetting(n.options.Root, path.Join("ipv6/conf", name, setting))
			if err == nil && v == value {
				names = append(names, name)
			}
		}
		return nil
	})
	return names, err
}

// freed are the settings that nobody needs once an entry is gone, in the order in which they were made.
func (n *Net) freed(e entry, family uint8, opens []string) (list []forwardingSpec) {
	n.kept.table.know(n.kept.tableEntries)
	n.kept.table.mu.Lock()
	defer n.kept.table.mu.Unlock()
	free := map[string]bool{}
	closed := owntable.ClosedElements(family, opens)
	for i := range closed {
		if !n.kept.table.others(holder{closed[i].Set(), string(closed[i].Key)}, e.id()) {
			free[opens[i]] = true
		}
	}
	for _, f := range n.kept.forwarding.All() {
		if f.Family == familyText(family) && (free[f.Interface] || f.Setting == settingAcceptRA && free[confAll]) {
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b forwardingSpec) int { // as they were made
		if a.Setting != b.Setting {
			return boolInt(a.Setting == settingForwarding) - boolInt(b.Setting == settingForwarding)
		}
		return 0
	})
	return list
}
