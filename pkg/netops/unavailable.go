package netops

import (
	"cmp"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/hostinfo"
	"github.com/geomind/my_os_server/internal/sysctl"
	"github.com/geomind/my_os_server/pkg/registry"
)

// unavailable lists the methods that cannot work here, by name: those that are not built, those whose
// ground the host lacks, and what the rest of the daemon adds.
func (n *Net) unavailable() []registry.UnavailableMethod {
	var others []registry.UnavailableMethod
	if n.options.Unavailable != nil {
		others = n.options.Unavailable()
	}
	list := make([]registry.UnavailableMethod, 0, len(n.unbuilt)+len(others)+len(probes))
	list = append(append(list, n.unbuilt...), others...)
	list = append(list, n.unavailableOVS()...)
	for _, p := range probes {
		if p.works(n) {
			continue
		}
		for _, method := range p.methods {
			lacking := p.lacking
			lacking.Method = method
			list = append(list, lacking)
		}
	}
	slices.SortFunc(list, byMethod)
	return list
}

func byMethod(a, b registry.UnavailableMethod) int { return cmp.Compare(a.Method, b.Method) }

// probe looks for the ground that some methods stand on.
type probe struct {
	methods []string
	lacking registry.UnavailableMethod // what is said of each where it does not work
	works   func(*Net) bool
}

var probes = []probe{
	{
		methods: []string{"net.bridge", "net.interfaces", "net.neighbors", "net.routes", "net.vlan"},
		lacking: unsupported(registry.UnsupportedReasonKernel, "rtnetlink with strict checking (Linux 4.20)"),
		works:   (*Net).hasRtnetlink,
	},
	{
		methods: []string{"net.sysctl"},
		lacking: unsupported(registry.UnsupportedReasonPlatform, sysctlRoot),
		works:   (*Net).hasSysctl,
	},
	{
		methods: []string{
			"net.conntrack", "net.conntrack.flush", "net.firewall",
			"net.bridge.add", "net.bridge.add_port", "net.bridge.connect", "net.bridge.delete", "net.bridge.remove_port",
			"net.firewall.add_rule", "net.firewall.remove_rule",
			"net.nat.add_dnat", "net.nat.add_snat", "net.nat.remove_dnat", "net.nat.remove_snat", "net.nat.status",
			"net.routes.add", "net.routes.delete", "net.verify", "net.vm.create_tap", "net.vm.delete_tap",
		},
		lacking: noPrivilege("CAP_NET_ADMIN"),
		works:   func(*Net) bool { return hostinfo.EffectiveCapabilities().Has(unix.CAP_NET_ADMIN) },
	},
}

func unsupported(reason registry.UnsupportedReason, missing string) registry.UnavailableMethod {
	return registry.UnavailableMethod{
		Kind:    registry.UnavailableKindUnsupported,
		Reason:  registry.Some(reason),
		Missing: registry.Some(missing),
	}
}

func noPrivilege(capability string) registry.UnavailableMethod {
	return registry.UnavailableMethod{
		Kind:    registry.UnavailableKindNoPrivilege,
		Missing: registry.Some(capability),
	}
}

func (n *Net) hasRtnetlink() bool {
	conn, err := n.sockets.Get()
	if err != nil {
		return false
	}
	n.sockets.Put(conn)
	return true
}

func (n *Net) hasSysctl() bool {
	dir, err := sysctl.Open(n.options.Root, "net")
	if err != nil {
		return false
	}
	return dir.Close() == nil
}

// unbuiltMethods lists the net.* methods that Net only inherits from registry.NotBuiltNet.
func (n *Net) unbuiltMethods() []registry.UnavailableMethod {
	type inherited struct{ registry.NotBuiltNet }
	type own struct {
		*Net
		inherited
	}
	var list []registry.UnavailableMethod
	for _, method := range registry.UnbuiltNet(own{Net: n}) {
		list = append(list, registry.UnavailableMethod{
			Method: method,
			Kind:   registry.UnavailableKindUnsupported,
			Reason: registry.Some(registry.UnsupportedReasonNotBuiltYet),
		})
	}
	slices.SortFunc(list, byMethod)
	return list
}
