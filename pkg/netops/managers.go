package netops

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/netconf"
	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// noManager is the table's word for nobody.
const noManager = "none"

// hostFiles is the one key of the files that other network managers keep: they are on one file system or a
// few, and a call reads all of them.
type hostFiles struct{}

// newFilesGroup bounds how many calls may hang in reading those files.
func newFilesGroup() *hang.Group[hostFiles] { return hang.New[hostFiles](hang.DefaultLimits()) }

// readFiles runs f with a reader of the host's files. f goes on by itself where ctx ends, so it must not
// touch what its caller still uses.
func readFiles[T any](ctx context.Context, n *Net, f func(*netconf.Reader) T) (T, error) {
	inode := n.netnsInode()
	result, err := hang.Do(ctx, n.files, hostFiles{}, func() (T, error) {
		r := netconf.NewReader(n.options.Root)
		r.NetNS = inode
		return f(r), nil
	})
	var busy *hang.BusyError
	if errors.As(err, &busy) || errors.Is(err, hang.ErrExhausted) {
		err = &registry.ResourceExhaustedError{
			ResourceExhaustedData: registry.ResourceExhaustedData{Limit: "hung_calls"},
			Message:               "files of the network managers do not answer: " + err.Error(),
		}
	}
	return result, err
}

// netnsInode is what /proc/PID/ns/net of a process in the Net's namespace names; 0 where that is not
// known.
func (n *Net) netnsInode() uint64 {
	var info os.FileInfo
	var err error
	if n.netns != nil {
		info, err = n.netns.Stat()
	} else {
		info, err = os.Stat("/proc/self/ns/net")
	}
	if err != nil {
		return 0
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}

// configFiles are the files that a reader looked at.
func configFiles(files []netconf.File) []registry.ConfigFile {
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

// liveLinks reads the interfaces that are there, as files name them.
func liveLinks(ctx context.Context, conn *rtnl.Conn) ([]netconf.Link, error) {
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

// hostAddresses reads every address, by interface.
func hostAddresses(ctx context.Context, conn *rtnl.Conn) (map[int][]rtnl.Address, error) {
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
		return noManager
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
