// Command my-os-server-mos serves the method table on a MOS node, by passing each call on to the daemon
// that owns it: net.* to mosnetd, vol.* to mos_volmgrd. See --help and docs/configuration.md.
package main

import (
	"os"

	"github.com/geomind/my_os_server/internal/daemon"
	"github.com/geomind/my_os_server/internal/rpcserver"
	"github.com/geomind/my_os_server/pkg/proxy"
)

func main() {
	os.Exit(daemon.Program{Name: "my-os-server-mos", Upstreams: proxy.MOS, Open: open}.Main())
}

// open makes the proxy to this node's daemons.
func open(s daemon.Setup) (rpcserver.Backend, func() error, error) {
	p, err := proxy.New(proxy.Options{Upstreams: s.Upstreams, UIDs: s.UpstreamUIDs, Log: s.Log})
	if err != nil {
		return nil, nil, err
	}
	return p, p.Close, nil
}
