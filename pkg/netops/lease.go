package netops

import (
	"context"
	"time"

	"github.com/geomind/my_os_server/internal/netconf"
	"github.com/geomind/my_os_server/pkg/netops/internal/managers"
	"github.com/geomind/my_os_server/pkg/registry"
)

// viewLeases reads the files first: an address that the kernel has by then is in one of them.
func (n *Net) viewLeases(ctx context.Context) (*managers.View, error) {
	v, err := n.viewHolders(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := n.sockets.Get()
	if err != nil {
		return nil, err
	}
	defer n.sockets.Put(conn)
	if v.Links, err = managers.ReadLinks(ctx, conn); err != nil {
		return nil, err
	}
	if v.Routes, err = managers.ReadPrefixRoutes(ctx, conn); err != nil {
		return nil, err
	}
	v.Now = time.Now()
	return v, nil
}

// viewHolders is viewLeases without links and routes.
func (n *Net) viewHolders(ctx context.Context) (*managers.View, error) {
	files, err := readFiles(ctx, n, managers.ReadLeases)
	if err != nil {
		return nil, err
	}
	conn, err := n.sockets.Get()
	if err != nil {
		return nil, err
	}
	defer n.sockets.Put(conn)
	v := managers.NewView(files, n.leasing.source())
	if v.Addresses, err = managers.ReadAddresses(ctx, conn); err != nil {
		return nil, err
	}
	v.Now = time.Now()
	return v, nil
}

// leaseHolder is who has leases of an interface, or runs to get some; "": nobody. None is to be had while it is
// down, so that new ports cost no look at files.
func (n *Net) leaseHolder(ctx context.Context, l *heldLink) (string, error) {
	if r := n.leasing.configured(l.Name); r != nil && (r.DHCP4 || r.asks6()) {
		return managers.Own, nil
	}
	if !l.Up {
		return "", nil
	}
	v, err := n.viewHolders(ctx)
	if err != nil {
		return "", err
	}
	return v.Holding(&netconf.Link{Name: l.Name, Index: l.Index}), nil
}

// Lease handles net.lease.
func (n *Net) Lease(ctx context.Context, p *registry.NetLeaseParams) (*registry.NetLeaseResult, error) {
	v, err := n.viewLeases(ctx)
	if err != nil {
		return nil, err
	}
	result, found := v.Leases(p.Interface)
	if !found {
		return nil, noInterface(p.Interface.Or(""))
	}
	return result, nil
}
