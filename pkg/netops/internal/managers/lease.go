package managers

import (
	"cmp"
	"slices"
	"time"

	"github.com/geomind/my_os_server/internal/netconf"
	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// source knows leases and who holds them: the files of other managers, or a client of our own.
type source interface {
	// leases are all that are kept, of interfaces that are there or not.
	leases() *netconf.Leases
	// holder is who holds an interface's leases of DHCPv4, or of DHCPv6; the zero Owner: nobody that is
	// known here.
	holder(l *netconf.Link, v4 bool) netconf.Owner
}

// Files are what the files of other managers tell.
type Files struct {
	kept   *netconf.Leases
	owners *netconf.Owners
	config *netconf.Config
	files  []netconf.File
}

// ReadLeases reads what leases the files of managers and their clients tell of, and who has them.
func ReadLeases(r *netconf.Reader) *Files {
	f := &Files{owners: r.Owners(), kept: r.Leases(), config: r.Config()}
	f.files = r.Files
	return f
}

func (f *Files) leases() *netconf.Leases { return f.kept }

// View is what net.lease and net.prefix are made of, at one instant.
type View struct {
	Now       time.Time
	Links     []netconf.Link
	Addresses map[int][]rtnl.Address
	Routes    []PrefixRoute
	sources   []source
	files     *Files
}

// worthARow tells whether an interface has anything, or somebody asks for it.
func (v *View) worthARow(l *netconf.Link, row *registry.InterfaceLease) bool {
	if row.Dhcp4 != nil || row.Dhcp6 != nil || len(row.Slaac)+len(row.Prefixes) > 0 {
		return true
	}
	switch row.Manager {
	case Own:
		return true
	case netconf.Dhclient, netconf.Dhcpcd:
		return true
	case netconf.Networkd, netconf.NetworkManager, netconf.Ifupdown:
		s, _ := v.files.config.Resolve(l, v.files.owners.Of(l.Index, l.Name))
		return s.Method4 == "dhcp" || s.Method6 == "dhcp" || s.Method6 == "slaac"
	}
	return false
}

func (v *View) row(l *netconf.Link) registry.InterfaceLease {
	owner := v.keeper(l)
	row := registry.InterfaceLease{
		Interface:     l.Name,
		Index:         int64(l.Index),
		Manager:       managerName(owner),
		ManagerPid:    wire.NonZero(owner.PID),
		ManagerSource: registry.NonZero(owner.Source),
		Managed:       wire.True(owner.Manager == Own),
		Dhcp4:         v.dhcp4(l),
		Slaac:         []registry.SlaacAddress{},
		Prefixes:      v.prefixesOf(l),
	}
	six := v.lease6(l)
	row.Dhcp6 = v.dhcp6(l, six)
	for i := range v.Addresses[l.Index] {
		if a := &v.Addresses[l.Index][i]; v.isSlaac(l, a, six) {
			row.Slaac = append(row.Slaac, slaacRow(a))
		}
	}
	return row
}

// keeper is who holds the leases of an interface, of IPv4 before IPv6, or else who configures it.
func (v *View) keeper(l *netconf.Link) netconf.Owner {
	for _, v4 := range []bool{true, false} {
		if o := v.holder(l, v4); o.Manager != "" {
			return o
		}
	}
	return v.files.owners.Of(l.Index, l.Name)
}

// isOf tells whether a lease is of an interface.
func isOf(h *netconf.Holder, l *netconf.Link) bool {
	if h.Index != 0 {
		return h.Index == l.Index
	}
	return h.Interface == l.Name
}

// stateOf judges a lease by its end and by whether its address is there. One whose address is gone is
// history unless its holder still runs: then it is "".
func (v *View) stateOf(there, held bool, expires time.Time) string {
	expired := !expires.IsZero() && !expires.After(v.Now)
	switch {
	case !there && !held:
		return ""
	case expired:
		return leaseExpired
	case there:
		return leaseBound
	}
	return leaseStopped
}

// endOf is when a lifetime that the kernel runs down ends; the zero time for never.
func (v *View) endOf(seconds uint32) time.Time {
	if seconds == rtnl.Forever {
		return time.Time{}
	}
	return v.Now.Add(time.Duration(seconds) * time.Second)
}

// remaining is how many seconds are left of a lifetime that began at an instant; absent for ever, or where
// the beginning is not known.
func (v *View) remaining(starts time.Time, seconds uint32) registry.Opt[int64] {
	if starts.IsZero() || seconds == netconf.Forever {
		return registry.Opt[int64]{}
	}
	left := starts.Unix() + int64(seconds) - v.Now.Unix()
	return registry.Some(min(max(left, 0), netconf.Forever))
}

func (f *Files) holder(l *netconf.Link, v4 bool) netconf.Owner {
	return f.owners.Holder(l.Index, l.Name, v4)
}

func (v *View) holder(l *netconf.Link, v4 bool) netconf.Owner {
	for _, s := range v.sources {
		if o := s.holder(l, v4); o.Manager != "" {
			return o
		}
	}
	return netconf.Owner{}
}

// The states of leases that others hold.
const (
	leaseBound   = "bound"
	leaseExpired = "expired"
	leaseStopped = "stopped"
)

// NewView is a view of what files and our own clients tell. What the kernel has the caller adds.
func NewView(files *Files, own *OwnLeases) *View {
	return &View{files: files, sources: []source{own, files}}
}

// Leases is the answer of net.lease, of one interface or of all; found is false where that one is not there.
func (v *View) Leases(only registry.Opt[string]) (_ *registry.NetLeaseResult, found bool) {
	result := &registry.NetLeaseResult{Interfaces: []registry.InterfaceLease{}, Files: fileRows(v.files.files)}
	name, asked := only.Get()
	for i := range v.Links {
		l := &v.Links[i]
		if asked && l.Name != name && !slices.Contains(l.AltNames, name) {
			continue
		}
		found = true
		if row := v.row(l); asked || v.worthARow(l, &row) {
			result.Interfaces = append(result.Interfaces, row)
		}
	}
	if asked && !found {
		return nil, false
	}
	slices.SortFunc(result.Interfaces, func(a, b registry.InterfaceLease) int { return cmp.Compare(a.Index, b.Index) })
	return result, true
}

// Holding is who has leases of an interface, or runs to get some; "": nobody.
func (v *View) Holding(l *netconf.Link) string {
	for _, v4 := range []bool{true, false} {
		if o := v.files.owners.Holder(l.Index, l.Name, v4); o.Manager == netconf.Dhclient || o.Manager == netconf.Dhcpcd {
			return o.Manager
		}
	}
	if row := v.dhcp4(l); row != nil && row.State == leaseBound {
		return v.holder(l, true).Manager
	}
	if row := v.dhcp6(l, v.lease6(l)); row != nil && row.State == leaseBound {
		return v.holder(l, false).Manager
	}
	return ""
}
