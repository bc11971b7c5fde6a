package managers

import (
	"context"
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/netconf"
	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// None is the table's word for nobody.
const None = "none"

// fileRows are the files that a reader looked at.
func fileRows(files []netconf.File) []registry.ConfigFile {
	list := make([]registry.ConfigFile, 0, len(files))
	for _, f := range files {
		row := registry.ConfigFile{Path: f.Path, Manager: f.Manager, Line: wire.NonZero(f.Line)}
		if f.Err != nil {
			row.Error = registry.Some(f.Err.Error())
		}
		list = append(list, row)
	}
	return list
}

// ReadLinks reads the interfaces that are there, as files name them.
func ReadLinks(ctx context.Context, conn *rtnl.Conn) ([]netconf.Link, error) {
	var links []netconf.Link
	err := again(func() (bool, error) {
		links = links[:0]
		return wire.Each(conn.Links(ctx, rtnl.LinkFilter{}), func(l *rtnl.Link) error {
			links = append(links, fileLink(l))
			return nil
		})
	})
	return links, err
}

// again takes a dump again while it is interrupted, a few times; what it has then is worth more than
// nothing.
func again(dump func() (interrupted bool, err error)) error {
	for attempt := 1; ; attempt++ {
		interrupted, err := dump()
		if attempt == wire.DumpAttempts || !interrupted && !errors.Is(err, rtnl.ErrTruncated) {
			return err
		}
	}
}

func fileLink(l *rtnl.Link) netconf.Link {
	link := netconf.Link{
		Index:    l.Index,
		Name:     l.Name,
		AltNames: append([]string(nil), l.AltNames...),
		MAC:      hardwareText(l.HardwareAddr),
		PermMAC:  hardwareText(l.PermanentAddr),
		Type:     rtnl.LinkTypeName(l.Type),
		Kind:     l.Kind,
	}
	if link.PermMAC == "" {
		link.PermMAC = link.MAC
	}
	switch l.Kind { // which the kernel gives a device type of their own (DEVTYPE)
	case "bridge", "bond", "vlan", "vxlan", "geneve", "wireguard":
		link.Type = l.Kind
	}
	return link
}

func hardwareText(b []byte) string {
	if len(b) != wire.MACSize {
		return ""
	}
	return net.HardwareAddr(b).String()
}

// ReadAddresses reads every address, by interface.
func ReadAddresses(ctx context.Context, conn *rtnl.Conn) (map[int][]rtnl.Address, error) {
	addresses := map[int][]rtnl.Address{}
	err := again(func() (bool, error) {
		clear(addresses)
		return wire.Each(conn.Addresses(ctx, rtnl.AddressFilter{}), func(a *rtnl.Address) error {
			addresses[a.Index] = append(addresses[a.Index], *a)
			return nil
		})
	})
	return addresses, err
}

// instantOf is an instant to the second; absent for none.
func instantOf(t time.Time) registry.Opt[time.Time] {
	return wire.When(!t.IsZero(), t.UTC().Truncate(time.Second))
}

// managerName is the table's name of an owner.
func managerName(o netconf.Owner) string {
	if o.Manager == "" {
		return None
	}
	return o.Manager
}

// interfaceNameOpt is a name of an interface; absent where a file gives something else.
func interfaceNameOpt(name string) registry.Opt[string] {
	return wire.When(netconf.InterfaceName(name), name)
}

// isGlobalV6 tells whether an address is one of IPv6 that is not bound to its link.
func isGlobalV6(a *rtnl.Address) bool {
	return a.Family == unix.AF_INET6 && a.Scope != unix.RT_SCOPE_LINK && a.Scope != unix.RT_SCOPE_HOST
}
