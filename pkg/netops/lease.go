package netops

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/geomind/my_os_server/internal/netconf"
	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// leaseSource knows leases and who holds them: the files of other managers, or a client of our own.
type leaseSource interface {
	// leases are all that are kept, of interfaces that are there or not.
	leases() *netconf.Leases
	// holder is who holds an interface's leases of DHCPv4, or of DHCPv6; the zero Owner: nobody that is
	// known here.
	holder(l *netconf.Link, v4 bool) netconf.Owner
}

// fileLeases are what the files of other managers tell.
type fileLeases struct {
	kept   *netconf.Leases
	owners *netconf.Owners
	config *netconf.Config
	files  []netconf.File
}

func readLeases(r *netconf.Reader) *fileLeases {
	f := &fileLeases{owners: r.Owners(), kept: r.Leases(), config: r.Config()}
	f.files = r.Files
	return f
}

func (f *fileLeases) leases() *netconf.Leases { return f.kept }

func (f *fileLeases) holder(l *netconf.Link, v4 bool) netconf.Owner {
	return f.owners.Holder(l.Index, l.Name, v4)
}

// leaseView is what net.lease and net.prefix are made of, at one instant.
type leaseView struct {
	now       time.Time
	links     []netconf.Link
	addresses map[int][]rtnl.Address
	routes    []prefixRoute
	sources   []leaseSource
	files     *fileLeases
}

// viewLeases reads the files first: an address that the kernel has by then is in one of them.
func (n *Net) viewLeases(ctx context.Context) (*leaseView, error) {
	v, err := n.viewHolders(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := n.sockets.Get()
	if err != nil {
		return nil, err
	}
	defer n.sockets.Put(conn)
	if v.links, err = liveLinks(ctx, conn); err != nil {
		return nil, err
	}
	if v.routes, err = prefixRoutes(ctx, conn); err != nil {
		return nil, err
	}
	v.now = time.Now()
	return v, nil
}

// viewHolders is viewLeases without links and routes.
func (n *Net) viewHolders(ctx context.Context) (*leaseView, error) {
	files, err := readFiles(ctx, n, readLeases)
	if err != nil {
		return nil, err
	}
	conn, err := n.sockets.Get()
	if err != nil {
		return nil, err
	}
	defer n.sockets.Put(conn)
	v := &leaseView{files: files, sources: []leaseSource{n.leasing.source(), files}}
	if v.addresses, err = hostAddresses(ctx, conn); err != nil {
		return nil, err
	}
	v.now = time.Now()
	return v, nil
}

// leaseHolder is who has leases of an interface, or runs to get some; "": nobody. None is to be had while it is
// down, so that new ports cost no look at files.
func (n *Net) leaseHolder(ctx context.Context, l *heldLink) (string, error) {
	if r := n.leasing.configured(l.Name); r != nil && (r.DHCP4 || r.asks6()) {
		return ownManager, nil
	}
	if !l.Up {
		return "", nil
	}
	v, err := n.viewHolders(ctx)
	if err != nil {
		return "", err
	}
	link := &netconf.Link{Name: l.Name, Index: l.Index}
	for _, v4 := range []bool{true, false} {
		if o := v.files.owners.Holder(l.Index, l.Name, v4); o.Manager == netconf.Dhclient || o.Manager == netconf.Dhcpcd {
			return o.Manager, nil
		}
	}
	if row := v.dhcp4(link); row != nil && row.State == leaseBound {
		return v.holder(link, true).Manager, nil
	}
	if row := v.dhcp6(link, v.lease6(link)); row != nil && row.State == leaseBound {
		return v.holder(link, false).Manager, nil
	}
	return "", nil
}

// Lease handles net.lease.
func (n *Net) Lease(ctx context.Context, p *registry.NetLeaseParams) (*registry.NetLeaseResult, error) {
	v, err := n.viewLeases(ctx)
	if err != nil {
		return nil, err
	}
	result := &registry.NetLeaseResult{Interfaces: []registry.InterfaceLease{}, Files: configFiles(v.files.files)}
	name, asked := p.Interface.Get()
	found := false
	for i := range v.links {
		l := &v.links[i]
		if asked && l.Name != name && !slices.Contains(l.AltNames, name) {
			continue
		}
		found = true
		if row := v.row(l); asked || v.worthARow(l, &row) {
			result.Interfaces = append(result.Interfaces, row)
		}
	}
	if asked && !found {
		return nil, noInterface(name)
	}
	slices.SortFunc(result.Interfaces, func(a, b registry.InterfaceLease) int { return cmp.Compare(a.Index, b.Index) })
	return result, nil
}

// worthARow tells whether an interface has anything, or somebody asks for it.
func (v *leaseView) worthARow(l *netconf.Link, row *registry.InterfaceLease) bool {
	if row.Dhcp4 != nil || row.Dhcp6 != nil || len(row.Slaac)+len(row.Prefixes) > 0 {
		return true
	}
	switch row.Manager {
	case ownManager:
		return true
	case netconf.Dhclient, netconf.Dhcpcd:
		return true
	case netconf.Networkd, netconf.NetworkManager, netconf.Ifupdown:
		s, _ := v.files.config.Resolve(l, v.files.owners.Of(l.Index, l.Name))
		return s.Method4 == "dhcp" || s.Method6 == "dhcp" || s.Method6 == "slaac"
	}
	return false
}

func (v *leaseView) row(l *netconf.Link) registry.InterfaceLease {
	owner := v.keeper(l)
	row := registry.InterfaceLease{
		Interface:     l.Name,
		Index:         int64(l.Index),
		Manager:       managerName(owner),
		ManagerPid:    wire.NonZero(owner.PID),
		ManagerSource: registry.NonZero(owner.Source),
		Managed:       wire.True(owner.Manager == ownManager),
		Dhcp4:         v.dhcp4(l),
		Slaac:         []registry.SlaacAddress{},
		Prefixes:      v.prefixesOf(l),
	}
	six := v.lease6(l)
	row.Dhcp6 = v.dhcp6(l, six)
	for i := range v.addresses[l.Index] {
		if a := &v.addresses[l.Index][i]; v.isSlaac(l, a, six) {
			row.Slaac = append(row.Slaac, slaacRow(a))
		}
	}
	return row
}

// keeper is who holds the leases of an interface, of IPv4 before IPv6, or else who configures it.
func (v *leaseView) keeper(l *netconf.Link) netconf.Owner {
	for _, v4 := range []bool{true, false} {
		if o := v.holder(l, v4); o.Manager != "" {
			return o
		}
	}
	return v.files.owners.Of(l.Index, l.Name)
}

func (v *leaseView) holder(l *netconf.Link, v4 bool) netconf.Owner {
	for _, s := range v.sources {
		if o := s.holder(l, v4); o.Manager != "" {
			return o
		}
	}
	return netconf.Owner{}
}

// isOf tells whether a lease is of an interface.
func isOf(h *netconf.Holder, l *netconf.Link) bool {
	if h.Index != 0 {
		return h.Index == l.Index
	}
	return h.Interface == l.Name
}

// The states of leases that others hold.
const (
	leaseBound   = "bound"
	leaseExpired = "expired"
	leaseStopped = "stopped"
)

// stateOf judges a lease by its end and by whether its address is there. One whose address is gone is
// history unless its holder still runs: then it is "".
func (v *leaseView) stateOf(there, held bool, expires time.Time) string {
	expired := !expires.IsZero() && !expires.After(v.now)
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
func (v *leaseView) endOf(seconds uint32) time.Time {
	if seconds == rtnl.Forever {
		return time.Time{}
	}
	return v.now.Add(time.Duration(seconds) * time.Second)
}

// remaining is how many seconds are left of a lifetime that began at an instant; absent for ever, or where
// the beginning is not known.
func (v *leaseView) remaining(starts time.Time, seconds uint32) registry.Opt[int64] {
	if starts.IsZero() || seconds == netconf.Forever {
		return registry.Opt[int64]{}
	}
	left := starts.Unix() + int64(seconds) - v.now.Unix()
	return registry.Some(min(max(left, 0), netconf.Forever))
}
