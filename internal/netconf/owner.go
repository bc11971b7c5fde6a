package netconf

import (
	"path"
	"slices"
	"strings"
)

// Owner is the manager that has an interface; the zero Owner is nobody.
type Owner struct {
	Manager string
	PID     int    // 0: it does not run all the time (ifupdown), or is not known
	Source  string // the file that says so
	Config  string // networkd's .network file, NetworkManager's connection uuid; "" not said
}

// Owners knows the managers that run and what each of them says that it has.
type Owners struct {
	Networkd map[int]NetworkdLink // by index of the interface
	Devices  map[int]NMDevice     // by index of the interface

	networkd, manager *Process
	up                map[string]string // ifupdown's
	clients           []Process         // dhclient and dhcpcd
	leased            map[string]string // interfaces of which dhcpcd keeps a lease, and its file
	booted            map[string]bool   // interfaces that ip= names
}

// Owners reads the managers' run-time state.
func (r *Reader) Owners() *Owners {
	o := &Owners{Networkd: map[int]NetworkdLink{}, Devices: map[int]NMDevice{}, booted: map[string]bool{}}
	for _, l := range r.NetworkdLinks() {
		o.Networkd[l.Index] = l
	}
	devices, _ := r.nmDevices()
	for _, d := range devices {
		o.Devices[d.Index] = d
	}
	o.up = r.IfupdownUp()
	o.networkd, o.manager = r.Running(Networkd), r.Running(NetworkManager)
	for _, p := range r.Processes() {
		if p.Name == Dhclient || p.Name == Dhcpcd {
			o.clients = append(o.clients, p)
		}
	}
	o.leased = r.dhcpcdLeased()
	if c := r.CommandLine(); c != nil {
		for _, ip := range c.IP {
			o.booted[ip.Device] = true
		}
	}
	return o
}

// dhcpcdLeased lists the interfaces that have a lease file of dhcpcd's.
func (r *Reader) dhcpcdLeased() map[string]string {
	leased := map[string]string{}
	for _, folder := range dhcpcdFolders {
		list, _ := r.list(folder)
		for _, name := range list {
			if strings.HasSuffix(name, ".lease") || strings.HasSuffix(name, ".lease6") {
				leased[dhcpcdInterface(name)] = path.Join(folder, name)
			}
		}
	}
	return leased
}

// Of tells which manager configures an interface: systemd-networkd and NetworkManager where they run and
// say so in their state, ifupdown where it has brought the interface up, a DHCP client that runs for it,
// the kernel where its command line names it.
func (o *Owners) Of(index int, name string) Owner {
	if held := o.daemon(index); held.Manager != "" {
		return held
	}
	if _, ok := o.up[name]; ok {
		return Owner{Manager: Ifupdown, Source: ifupdownState}
	}
	if c := o.client(name, true, true); c.Manager != "" {
		return c
	}
	if o.booted[name] {
		return Owner{Manager: Kernel, Source: commandLinePath}
	}
	return Owner{}
}

// Holder tells which process keeps an interface's leases of DHCPv4 or DHCPv6. It differs from [Owners.Of]
// where ifupdown started a client.
func (o *Owners) Holder(index int, name string, v4 bool) Owner {
	if held := o.daemon(index); held.Manager != "" {
		return held
	}
	return o.client(name, v4, !v4)
}

func (o *Owners) daemon(index int) Owner {
	if l, ok := o.Networkd[index]; ok && o.networkd != nil && l.Managed() {
		return Owner{Manager: Networkd, PID: o.networkd.PID, Source: l.File, Config: l.NetworkFile}
	}
	if d, ok := o.Devices[index]; ok && o.manager != nil && d.Managed {
		return Owner{Manager: NetworkManager, PID: o.manager.PID, Source: d.File, Config: d.Connection}
	}
	return Owner{}
}

// client finds a DHCP client that runs for an interface, and speaks one of the protocols that are asked for.
func (o *Owners) client(name string, v4, v6 bool) Owner {
	for _, p := range o.clients {
		if !(p.V4 && v4 || p.V6 && v6) {
			continue
		}
		if slices.Contains(p.Interfaces, name) {
			return Owner{Manager: p.Name, PID: p.PID, Source: p.Source}
		}
		if file := o.leased[name]; file != "" && p.Name == Dhcpcd && len(p.Interfaces) == 0 {
			return Owner{Manager: Dhcpcd, PID: p.PID, Source: file}
		}
	}
	return Owner{}
}

// Leases reads every lease file of every manager, the weightier source of the same lease first.
func (r *Reader) Leases() *Leases {
	leases := &Leases{}
	r.networkdLeases(leases)
	_, kept := r.nmDevices()
	leases.V4, leases.V6 = append(leases.V4, kept.V4...), append(leases.V6, kept.V6...)
	r.nmLeases(leases)
	r.dhclientLeases(leases)
	r.dhcpcdLeases(leases)
	return leases
}
