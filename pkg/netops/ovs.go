package netops

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/geomind/my_os_server/internal/hostexec"
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
	switch err := n.runsOVS(); {
	case err == nil:
		return unavailableFlows()
	case !errors.As(err, &why):
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

// unavailableFlows is what net.status says of net.flows where an Open vSwitch runs.
func unavailableFlows() []registry.UnavailableMethod {
	if hostexec.OvsOfctl.Installed() == nil {
		return nil
	}
	return []registry.UnavailableMethod{{
		Method: "net.flows", Kind: registry.UnavailableKindToolMissing, Missing: registry.Some(hostexec.OvsOfctl.Name()),
	}}
}
