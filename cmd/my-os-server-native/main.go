// Command my-os-server-native serves the method table on any Linux host, from the host's own kernel.
// See --help and docs/configuration.md.
package main

import (
	"errors"
	"os"

	"github.com/geomind/my_os_server/internal/daemon"
	"github.com/geomind/my_os_server/internal/rpcserver"
	"github.com/geomind/my_os_server/pkg/netops"
	"github.com/geomind/my_os_server/pkg/registry"
	"github.com/geomind/my_os_server/pkg/volops"
)

func main() {
	os.Exit(daemon.Program{Name: "my-os-server-native", Open: open}.Main())
}

// open wires the handlers of this host to the table.
func open(s daemon.Setup) (rpcserver.Backend, func() error, error) {
	vol, err := volops.New(volops.Options{})
	if err != nil {
		return nil, nil, err
	}
	lacking := vol.Unavailable() // once: it reads every mount, and net.status is asked often
	net, err := netops.New(netops.Options{
		Mode:        registry.NodeModeNative,
		Version:     s.Version,
		StartedAt:   s.StartedAt,
		Unavailable: func() []registry.UnavailableMethod { return lacking },
	})
	if err != nil {
		return nil, nil, errors.Join(err, vol.Close())
	}
	closeAll := func() error { return errors.Join(net.Close(), vol.Close()) }
	return rpcserver.Native(registry.Servers{Net: net, Vol: vol}), closeAll, nil
}
