package netops

import (
	"cmp"
	"slices"

	"github.com/geomind/my_os_server/internal/sysctl"
	"github.com/geomind/my_os_server/pkg/registry"
)

// unavailable lists the methods that cannot work here, by name: those that are not built, those whose
// ground the host lacks, and what the rest of the daemon adds.
func (n *Net) unavailable() []registry.UnavailableMethod {
	list := slices.Clone(n.unbuilt)
	for _, p := range probes {
		if p.works(n) {
			continue
		}
		for _, method := range p.methods {
			list = append(list, registry.UnavailableMethod{
				Method:  method,
				Kind:    registry.UnavailableKindUnsupported,
				Reason:  registry.Some(p.reason),
				Missing: registry.Some(p.missing),
			})
		}
	}
	if n.options.Unavailable != nil {
		list = append(list, n.options.Unavailable()...)
	}
	slices.SortFunc(list, func(a, b registry.UnavailableMethod) int { return cmp.Compare(a.Method, b.Method) })
	return list
}

// probe looks for the ground that some methods stand on.
type probe struct {
	methods []string
	reason  registry.UnsupportedReason
	missing string
	works   func(*Net) bool
}

var probes = []probe{
	{
		methods: []string{"net.interfaces", "net.routes"},
		reason:  registry.UnsupportedReasonKernel,
		missing: "rtnetlink with strict checking (Linux 4.20)",
		works:   (*Net).hasRtnetlink,
	},
	{
		methods: []string{"net.sysctl"},
		reason:  registry.UnsupportedReasonPlatform,
		missing: sysctlRoot,
		works:   (*Net).hasSysctl,
	},
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
	return list
}
