package netops

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/geomind/my_os_server/internal/dhcploop"
	"github.com/geomind/my_os_server/internal/hostexec"
	"github.com/geomind/my_os_server/internal/netconf"
	"github.com/geomind/my_os_server/pkg/netops/internal/managers"
	"github.com/geomind/my_os_server/pkg/registry"
)

// restartTime bounds a restart whose caller gives it longer: no server takes that long to answer.
const restartTime = 60 * time.Second

// LeaseRestart handles net.lease.restart.
func (n *Net) LeaseRestart(ctx context.Context, p *registry.NetLeaseRestartParams) (*registry.NetLeaseRestartResult, error) {
	began := time.Now()
	before, err := n.leaseOf(ctx, p.Interface)
	if err != nil {
		return nil, err
	}
	if err := n.restartBy(ctx, before); err != nil {
		return nil, err
	}
	after, err := n.leaseOf(ctx, p.Interface)
	if err != nil {
		return nil, err
	}
	return restarted(before, after, time.Since(began)), nil
}

// leaseOf is the row of one interface, by any of its names.
func (n *Net) leaseOf(ctx context.Context, name string) (*registry.InterfaceLease, error) {
	result, err := n.Lease(ctx, &registry.NetLeaseParams{Interface: registry.Some(name)})
	if err != nil {
		return nil, err
	}
	return &result.Interfaces[0], nil
}

// restartBy has whoever holds an interface's leases take new ones.
func (n *Net) restartBy(ctx context.Context, row *registry.InterfaceLease) error {
	ctx, cancel := context.WithTimeout(ctx, restartTime)
	defer cancel()
	switch row.Manager {
	case managers.Own:
		return n.restartOwn(ctx, row.Interface)
	case netconf.Networkd:
		return n.ask(ctx, hostexec.Networkctl, "renew", "--", row.Interface)
	case netconf.NetworkManager:
		return n.ask(ctx, hostexec.Nmcli, "device", "reapply", row.Interface)
	case managers.None:
		return &registry.NotFoundError{
			NotFoundData: registry.NotFoundData{Resource: "lease", ID: row.Interface},
			Message:      "nobody asks for leases on " + row.Interface + ": the configuration names no [[interface]] of that name with ipv4 = \"dhcp\", ipv6 = \"dhcp\" or prefix_delegation",
		}
	}
	return &registry.ConflictError{
		ConflictData: registry.ConflictData{Resource: "lease", ID: row.Interface, Managed: registry.Some(false)},
		Message:      row.Manager + " holds the leases of " + row.Interface + ", and must be told itself to take new ones",
	}
}

// ask runs a manager's own tool. What it takes over the bus is not of a network namespace.
func (n *Net) ask(ctx context.Context, p hostexec.Program, args ...string) error {
	if _, err := hostexec.Run(ctx, p, args...); err != nil {
		return toolError(err)
	}
	return nil
}

// restartOwn has our own clients take new leases, side by side. Where none is to be had, all stays as it was.
func (n *Net) restartOwn(ctx context.Context, name string) error {
	r := n.leasing.configured(name)
	if r == nil {
		return noInterface(name)
	}
	r.mu.Lock()
	four, six := r.client, r.six.client
	r.mu.Unlock()
	if four == nil && six == nil {
		return noInterface(name)
	}
	sixth := make(chan error, 1)
	go func() {
		if six == nil {
			sixth <- nil
			return
		}
		sixth <- restartError(name, "DHCPv6", six.Restart(ctx))
	}()
	var fourth error
	if four != nil {
		fourth = restartError(name, "DHCP", four.Restart(ctx))
	}
	if err := <-sixth; fourth == nil {
		return err
	}
	return fourth
}

// restartError is what became of one protocol's restart, in the table's words.
func restartError(name, protocol string, err error) error {
	conflict := func(message string) error {
		return &registry.ConflictError{
			ConflictData: registry.ConflictData{Resource: "lease", ID: name, Managed: registry.Some(true)}, Message: message,
		}
	}
	switch {
	case errors.Is(err, dhcploop.ErrNoLink):
		return conflict(name + " has no link, so no " + protocol + " server can be asked; the lease is as it was")
	case errors.Is(err, dhcploop.ErrRunning):
		return conflict("a restart of the lease of " + name + " is under way")
	case errors.Is(err, dhcploop.ErrClosed):
		return noInterface(name) // it went away meanwhile, or is no longer ours
	case errors.Is(err, context.DeadlineExceeded):
		return &registry.DeadlineExceededError{Message: "no " + protocol + " server gave a lease on " + name + " in time; the lease is as it was"}
	}
	return err
}

// restarted tells what became of the leases.
func restarted(before, after *registry.InterfaceLease, took time.Duration) *registry.NetLeaseRestartResult {
	result := &registry.NetLeaseRestartResult{
		Interface: after.Interface, Manager: after.Manager, DurationS: took.Seconds(),
		Ipv4Restarted: after.Dhcp4 != nil, Ipv6Restarted: after.Dhcp6 != nil,
		PreviousAddresses: leasedAddresses(before), Addresses: leasedAddresses(after),
	}
	result.AddressChanged = listText(result.PreviousAddresses) != listText(result.Addresses)
	if l := after.Dhcp6; l != nil {
		result.Nameservers, result.ExpiresAt = l.DNS, l.ExpiresAt
	}
	if l := after.Dhcp4; l != nil {
		result.Routers, result.Nameservers, result.ExpiresAt = l.Routers, appendNew(l.DNS, result.Nameservers), l.ExpiresAt
		if len(l.Routers) == 0 {
			result.Routers = defaultGateways(l.Routes)
		}
	}
	return result
}

func leasedAddresses(row *registry.InterfaceLease) (list []netip.Prefix) {
	if row.Dhcp4 != nil {
		if a, ok := row.Dhcp4.Address.Get(); ok {
			list = append(list, a)
		}
	}
	if row.Dhcp6 != nil {
		for _, a := range row.Dhcp6.Addresses {
			list = append(list, netip.PrefixFrom(a.Address, a.Address.BitLen()))
		}
	}
	return list
}

func defaultGateways(routes []registry.DhcpRoute) (list []netip.Addr) {
	for _, r := range routes {
		if g, ok := r.Gateway.Get(); ok && r.Dst.Bits() == 0 {
			list = append(list, g)
		}
	}
	return list
}
