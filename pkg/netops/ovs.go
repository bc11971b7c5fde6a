package netops

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/geomind/my_os_server/pkg/registry"
)

// ovsSocket is where the database server of Open vSwitch listens (ovsdb-server(1)).
const ovsSocket = "/run/openvswitch/db.sock"

// noOVS is the answer of the net.ovs methods on a host where no Open vSwitch runs. One that runs is not spoken to
// yet, which is said as it is.
func (n *Net) noOVS() error {
	_, err := os.Stat(filepath.Join("/", n.options.Root, ovsSocket))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &registry.UnsupportedError{
			UnsupportedData: registry.UnsupportedData{Reason: registry.UnsupportedReasonNoOvs, Missing: registry.Some(ovsSocket)},
			Message:         "no Open vSwitch runs here: there is no " + ovsSocket,
		}
	case err != nil:
		return err
	}
	return &registry.UnsupportedError{
		UnsupportedData: registry.UnsupportedData{Reason: registry.UnsupportedReasonNotBuiltYet},
		Message:         "Open vSwitch runs here, and this version does not speak to it yet",
	}
}

// ovsMethods are all that speak to Open vSwitch.
var ovsMethods = []string{"net.ovs", "net.flows", "net.datapath", "net.ovs.conntrack", "net.ovs.conntrack.stats", "net.ovs.conntrack.flush"}

// unavailableOVS is what net.status says of them.
func (n *Net) unavailableOVS() []registry.UnavailableMethod {
	var why *registry.UnsupportedError
	if !errors.As(n.noOVS(), &why) {
		return nil // nobody can tell
	}
	list := make([]registry.UnavailableMethod, 0, len(ovsMethods))
	for _, method := range ovsMethods {
		list = append(list, registry.UnavailableMethod{
			Method: method, Kind: registry.UnavailableKindUnsupported,
			Reason: registry.Some(why.Reason), Missing: why.Missing,
		})
	}
	return list
}

// Flows handles net.flows.
func (n *Net) Flows(context.Context, *registry.NetFlowsParams, *registry.Stream[registry.OvsFlow]) (*registry.NetFlowsEnd, error) {
	return nil, n.noOVS()
}

// Datapath handles net.datapath.
func (n *Net) Datapath(context.Context, *registry.NetDatapathParams, *registry.Stream[registry.DatapathItem]) (*registry.NetDatapathEnd, error) {
	return nil, n.noOVS()
}

// OVSConntrack handles net.ovs.conntrack.
func (n *Net) OVSConntrack(context.Context, *registry.NetOVSConntrackParams, *registry.Stream[registry.OvsConntrackEntry]) (*registry.NetOVSConntrackEnd, error) {
	return nil, n.noOVS()
}

// OVSConntrackStats handles net.ovs.conntrack.stats.
func (n *Net) OVSConntrackStats(context.Context, *registry.NetOVSConntrackStatsParams) (*registry.NetOvsConntrackStatsResult, error) {
	return nil, n.noOVS()
}

// OVSConntrackFlush handles net.ovs.conntrack.flush.
func (n *Net) OVSConntrackFlush(context.Context, *registry.NetOVSConntrackFlushParams) (*registry.NetOvsConntrackFlushResult, error) {
	return nil, n.noOVS()
}
