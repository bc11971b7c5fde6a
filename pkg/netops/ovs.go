package netops

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/geomind/my_os_server/pkg/registry"
)

// ovsRunDir is where the daemons of Open vSwitch have their pid files and sockets (ovs-vswitchd(8)).
const ovsRunDir = "/run/openvswitch"

// ovsDBSocket is where the database server of Open vSwitch listens, in the run dir (ovsdb-server(1)).
const ovsDBSocket = "db.sock"

// ovsRunFile is the path of a file in the run dir of Open vSwitch.
func (n *Net) ovsRunFile(name string) string {
	if n.options.OVSRunDir != "" {
		return filepath.Join(n.options.OVSRunDir, name)
	}
	return filepath.Join("/", n.options.Root, ovsRunDir, name)
}

// runsOVS is nil where an Open vSwitch runs, or did and left its traces; it may be gone or hang all the same.
func (n *Net) runsOVS() error {
	var err error
	for _, trace := range []string{ovsDBSocket, "ovs-vswitchd.pid"} {
		if _, err = os.Stat(n.ovsRunFile(trace)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return n.noOVS()
}

// noOVS is the answer of the net.ovs methods on a host where no Open vSwitch runs.
func (n *Net) noOVS() error {
	socket := filepath.Join(ovsRunDir, ovsDBSocket)
	if n.options.OVSRunDir != "" {
		socket = filepath.Join(n.options.OVSRunDir, ovsDBSocket)
	}
	return &registry.UnsupportedError{
		UnsupportedData: registry.UnsupportedData{Reason: registry.UnsupportedReasonNoOvs, Missing: registry.Some(socket)},
		Message:         "no Open vSwitch runs here: there is no " + socket,
	}
}

// ovsMethods are all that speak to Open vSwitch.
var ovsMethods = []string{"net.ovs", "net.flows", "net.datapath", "net.ovs.conntrack", "net.ovs.conntrack.stats", "net.ovs.conntrack.flush"}

// unavailableOVS is what net.status says of them.
func (n *Net) unavailableOVS() []registry.UnavailableMethod {
	var why *registry.UnsupportedError
	if !errors.As(n.runsOVS(), &why) {
		return nil // it runs, or nobody can tell
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

// notSpokenTo is the answer of what is not built yet.
func (n *Net) notSpokenTo() error {
	if err := n.runsOVS(); err != nil {
		return err
	}
	return &registry.UnsupportedError{
		UnsupportedData: registry.UnsupportedData{Reason: registry.UnsupportedReasonNotBuiltYet},
		Message:         "Open vSwitch runs here, and this version does not speak to it yet",
	}
}

// Flows handles net.flows.
func (n *Net) Flows(context.Context, *registry.NetFlowsParams, *registry.Stream[registry.OvsFlow]) (*registry.NetFlowsEnd, error) {
	return nil, n.notSpokenTo()
}

// Datapath handles net.datapath.
func (n *Net) Datapath(context.Context, *registry.NetDatapathParams, *registry.Stream[registry.DatapathItem]) (*registry.NetDatapathEnd, error) {
	return nil, n.notSpokenTo()
}

// OVSConntrack handles net.ovs.conntrack.
func (n *Net) OVSConntrack(context.Context, *registry.NetOVSConntrackParams, *registry.Stream[registry.OvsConntrackEntry]) (*registry.NetOVSConntrackEnd, error) {
	return nil, n.notSpokenTo()
}

// OVSConntrackStats handles net.ovs.conntrack.stats.
func (n *Net) OVSConntrackStats(context.Context, *registry.NetOVSConntrackStatsParams) (*registry.NetOvsConntrackStatsResult, error) {
	return nil, n.notSpokenTo()
}

// OVSConntrackFlush handles net.ovs.conntrack.flush.
func (n *Net) OVSConntrackFlush(context.Context, *registry.NetOVSConntrackFlushParams) (*registry.NetOvsConntrackFlushResult, error) {
	return nil, n.notSpokenTo()
}
