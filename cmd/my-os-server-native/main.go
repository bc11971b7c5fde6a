// Command my-os-server-native serves the method table on any Linux host, from the host's own kernel.
// See --help and docs/configuration.md.
package main

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"time"

	"github.com/geomind/my_os_server/internal/btrfswork"
	"github.com/geomind/my_os_server/internal/config"
	"github.com/geomind/my_os_server/internal/daemon"
	"github.com/geomind/my_os_server/internal/rpcserver"
	"github.com/geomind/my_os_server/pkg/netops"
	"github.com/geomind/my_os_server/pkg/proxy"
	"github.com/geomind/my_os_server/pkg/registry"
	"github.com/geomind/my_os_server/pkg/volops"
)

func main() {
	if status, ours := btrfswork.Main(os.Args[1:]); ours { // a scrub or balance, started by a daemon
		os.Exit(status)
	}
	os.Exit(daemon.Program{Name: "my-os-server-native", ServesAs: proxy.MOS, Open: open}.Main())
}

// open wires the handlers of this host to the table. A server in the place of one daemon of a MOS node opens
// that one's half, and touches nothing of the other.
func open(s daemon.Setup) (rpcserver.Backend, func() error, error) {
	var servers registry.Servers
	var lacking []registry.UnavailableMethod
	var closers []func() error
	closeAll := func() error {
		var errs []error
		for i := len(closers) - 1; i >= 0; i-- {
			errs = append(errs, closers[i]())
		}
		return errors.Join(errs...)
	}
	if s.ServeAs != "net" {
		vol, err := volops.New(volops.Options{State: s.State, StateDir: s.StateDir, AllowPrivateMounts: s.AllowPrivateMounts})
		if err != nil {
			return nil, nil, err
		}
		vol.Start()
		servers.Vol, closers = vol, append(closers, vol.Close)
		lacking = vol.Unavailable() // once: it reads every mount, and net.status is asked often
	}
	if s.ServeAs != "vol" {
		net, err := netops.New(netops.Options{
			Mode:       mode(s),
			Version:    s.Version,
			StartedAt:  s.StartedAt,
			State:      s.State,
			Alone:      true,
			Log:        s.Log,
			Interfaces: interfaces(s), StateDir: s.StateDir, EtcResolvConf: s.EtcResolvConf,
			BridgeBackend: registry.BridgeBackend(s.Bridge.Backend), OVSDatapathType: registry.OvsDatapathType(s.Bridge.OVSDatapathType),
			Reconcile: netops.ReconcileMode(s.Reconcile.Mode), InputPolicy: inputPolicy(s.Firewall, s.Listen),
			OVSRunDir:   s.OVSRunDir,
			Unavailable: func() []registry.UnavailableMethod { return lacking },
		})
		if err != nil {
			return nil, nil, errors.Join(err, closeAll())
		}
		servers.Net, closers = net, append(closers, net.Close)
		net.Start()
		s.OnReload(func(c config.Config) {
			net.SetReconcile(netops.ReconcileMode(c.Reconcile.Mode))
			_ = net.SetInputPolicy(context.Background(), inputPolicy(c.Firewall, s.Listen)) // the log and net.health tell
		})
	}
	return rpcserver.Native(servers), closeAll, nil
}

// inputPolicy is what the configuration asks for. Where callers from elsewhere are listened for stays open.
func inputPolicy(f config.Firewall, listen []string) netops.InputPolicy {
	p := netops.InputPolicy{Drop: f.InputPolicy == "drop", KeepOpen: slices.Clone(f.KeepOpen), Confirm: time.Duration(f.Confirm) * time.Second}
	for _, address := range listen {
		if _, port, err := net.SplitHostPort(address); err == nil {
			p.KeepOpen = append(p.KeepOpen, "tcp/"+port)
		}
	}
	return p
}

// interfaces are those whose addresses the configuration gives to the daemon.
func interfaces(s daemon.Setup) (list []netops.Interface) {
	for _, i := range s.Interfaces {
		list = append(list, netops.Interface{Name: i.Name, DHCP4: i.IPv4 == "dhcp", IPv6: i.IPv6, Metric: uint32(i.Metric),
			PrefixDelegation: i.PrefixDelegation, AssignTo: i.AssignTo})
	}
	return list
}

// mode is what net.status says of the node: on a MOS node it is this daemon's answer that callers see.
func mode(s daemon.Setup) registry.NodeMode {
	if s.ServeAs != "" {
		return registry.NodeModeMos
	}
	return registry.NodeModeNative
}
