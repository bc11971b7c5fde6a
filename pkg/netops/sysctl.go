package netops

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/sysctl"
	"github.com/geomind/my_os_server/pkg/registry"
)

// sysctlRoot is where the settings stand.
const sysctlRoot = "/proc/sys/net"

// The templates in net/ipv4/conf and net/ipv6/conf, which no interface can be called.
const (
	confAll     = "all"
	confDefault = "default"
)

// Sysctl handles net.sysctl.
func (n *Net) Sysctl(ctx context.Context, p *registry.NetSysctlParams) (*registry.NetSysctlResult, error) {
	only, err := n.kernelName(p.Interface)
	if err != nil {
		return nil, err
	}
	result := &registry.NetSysctlResult{}
	err = n.inside(func() error { return n.readSysctl(ctx, only, result) })
	if err != nil {
		return nil, err
	}
	return result, nil
}

// kernelName is the name under which an interface has its settings, where the param may give another
// of its names.
func (n *Net) kernelName(param registry.Opt[string]) (registry.Opt[string], error) {
	name, ok := param.Get()
	if !ok {
		return param, nil
	}
	conn, err := n.sockets.Get()
	if err != nil {
		return param, err
	}
	defer n.sockets.Put(conn)
	index, err := interfaceIndex(conn, name)
	if err != nil {
		return param, err
	}
	if name, err = conn.LinkName(index); err != nil {
		return param, noInterface(name)
	}
	return registry.Some(name), nil
}

func (n *Net) readSysctl(ctx context.Context, only registry.Opt[string], result *registry.NetSysctlResult) error {
	net, err := sysctl.Open(n.options.Root, "net")
	if errors.Is(err, fs.ErrNotExist) {
		return &registry.UnsupportedError{UnsupportedData: registry.UnsupportedData{
			Reason:  registry.UnsupportedReasonPlatform,
			Missing: registry.Some(sysctlRoot),
		}}
	}
	if err != nil {
		return err
	}
	defer net.Close()
	if err := readGlobals(net, result); err != nil {
		return err
	}
	conf, err := openConf(net)
	if err != nil {
		return err
	}
	defer conf.close()
	if result.All, err = conf.template(confAll); err != nil {
		return err
	}
	if result.Default, err = conf.template(confDefault); err != nil {
		return err
	}
	result.Interfaces, err = conf.interfaces(ctx, only)
	return err
}

// confDirs are net/ipv4/conf and net/ipv6/conf; nil where the kernel lacks the family.
type confDirs struct {
	ipv4, ipv6 *sysctl.Dir
}

func openConf(net *sysctl.Dir) (c confDirs, err error) {
	if c.ipv4, err = openDir(net, "ipv4/conf"); err != nil {
		return c, err
	}
	if c.ipv6, err = openDir(net, "ipv6/conf"); err != nil {
		c.close()
	}
	return c, err
}

// openDir is nil where there is no such directory, or no parent.
func openDir(parent *sysctl.Dir, name string) (*sysctl.Dir, error) {
	if parent == nil {
		return nil, nil
	}
	dir, err := parent.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return dir, err
}

func (c confDirs) close() {
	for _, dir := range []*sysctl.Dir{c.ipv4, c.ipv6} {
		if dir != nil {
			dir.Close()
		}
	}
}

func (c confDirs) template(name string) (*registry.SysctlConf, error) {
	ipv4, err := readConf[registry.SysctlIpv4Conf](c.ipv4, name)
	if err != nil {
		return nil, err
	}
	ipv6, err := readConf[registry.SysctlIpv6Conf](c.ipv6, name)
	if err != nil || ipv4 == nil && ipv6 == nil {
		return nil, err
	}
	return &registry.SysctlConf{Ipv4: ipv4, Ipv6: ipv6}, nil
}

// interfaces reads a row an interface, by name. One that goes meanwhile is left out.
func (c confDirs) interfaces(ctx context.Context, only registry.Opt[string]) ([]registry.SysctlInterface, error) {
	names, err := c.names()
	if err != nil {
		return nil, err
	}
	if name, ok := only.Get(); ok {
		names = []string{name}
	}
	var rows []registry.SysctlInterface
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		row := registry.SysctlInterface{Interface: name}
		if row.Ipv4, err = readConf[registry.SysctlIpv4Conf](c.ipv4, name); err != nil {
			return nil, err
		}
		if row.Ipv6, err = readConf[registry.SysctlIpv6Conf](c.ipv6, name); err != nil {
			return nil, err
		}
		if row.Ipv4 != nil || row.Ipv6 != nil || only.IsSet() {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// names lists the interfaces that have settings of either family, sorted.
func (c confDirs) names() ([]string, error) {
	var names []string
	for _, dir := range []*sysctl.Dir{c.ipv4, c.ipv6} {
		if dir == nil {
			continue
		}
		list, err := dir.Names()
		if err != nil {
			return nil, err
		}
		names = append(names, list...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return slices.DeleteFunc(names, func(name string) bool { return name == confAll || name == confDefault }), nil
}

// readConf reads the settings of one interface or template; nil where it has none of the family.
func readConf[Conf any](conf *sysctl.Dir, name string) (*Conf, error) {
	dir, err := openDir(conf, name)
	if dir == nil {
		return nil, err
	}
	defer dir.Close()
	values := new(Conf)
	complete, err := readSettings(dir, values, sameName)
	if err != nil || !complete {
		return nil, err
	}
	return values, nil
}

// readGlobals reads what is not of one interface.
func readGlobals(net *sysctl.Dir, result *registry.NetSysctlResult) (err error) {
	if result.Ipv4, err = readGroup[registry.SysctlIpv4](net, "ipv4", ipv4File); err != nil {
		return err
	}
	if result.Ipv6, err = readGroup[registry.SysctlIpv6](net, "ipv6", ipv6File); err != nil {
		return err
	}
	if result.Bridge, err = readGroup[registry.SysctlBridge](net, "bridge", bridgeFile); err != nil {
		return err
	}
	if result.Ipv4 != nil {
		if err := readPortRange(net, result.Ipv4); err != nil {
			return err
		}
	}
	return readConntrack(net, result)
}

// readGroup reads one directory; nil where it is not there.
func readGroup[Group any](net *sysctl.Dir, name string, file func(string) string) (*Group, error) {
	dir, err := openDir(net, name)
	if dir == nil {
		return nil, err
	}
	defer dir.Close()
	values := new(Group)
	complete, err := readSettings(dir, values, file)
	if err != nil || !complete {
		return nil, err
	}
	return values, nil
}

// readPortRange reads the one setting that is two members.
func readPortRange(net *sysctl.Dir, values *registry.SysctlIpv4) error {
	ports, err := net.Ints("ipv4/ip_local_port_range")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(ports) == 2 {
		values.IPLocalPortFirst, values.IPLocalPortLast = registry.Some(ports[0]), registry.Some(ports[1])
	}
	return err
}

// readConntrack reads net/netfilter/nf_conntrack_*. The directory is there without connection tracking
// too.
func readConntrack(net *sysctl.Dir, result *registry.NetSysctlResult) error {
	dir, err := openDir(net, "netfilter")
	if dir == nil {
		return err
	}
	defer dir.Close()
	values := &registry.SysctlConntrack{}
	if _, err := readSettings(dir, values, conntrackFile); err != nil {
		return err
	}
	if values.TimeoutsS, err = readTimeouts(dir); err != nil {
		return err
	}
	if values.Max.IsSet() || values.TimeoutsS != nil {
		result.Conntrack = values
	}
	return nil
}

// readTimeouts reads every timeout that the kernel's protocol trackers have.
func readTimeouts(dir *sysctl.Dir) (map[string]int64, error) {
	names, err := dir.Names()
	if err != nil {
		return nil, err
	}
	var timeouts map[string]int64
	for _, name := range names {
		short, ok := strings.CutPrefix(name, conntrackPrefix)
		if !ok || !strings.Contains(short, "timeout") {
			continue
		}
		v, err := dir.Int(name)
		if isGone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if timeouts == nil {
			timeouts = map[string]int64{}
		}
		timeouts[short] = v
	}
	return timeouts, nil
}
