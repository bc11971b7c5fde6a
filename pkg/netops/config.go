package netops

import (
	"context"

	"github.com/geomind/my_os_server/internal/netconf"
	"github.com/geomind/my_os_server/pkg/netops/internal/managers"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Config handles net.config.
func (n *Net) Config(ctx context.Context, _ *registry.NetConfigParams) (*registry.NetConfigResult, error) {
	links, err := n.namedLinks(ctx)
	if err != nil {
		return nil, err
	}
	h, err := readFiles(ctx, n, func(r *netconf.Reader) managers.Config {
		if n.netns == nil { // sysfs shows the interfaces of the process' own namespace
			for i := range links {
				r.Describe(&links[i])
			}
		}
		return managers.ReadConfig(r)
	})
	if err != nil {
		return nil, err
	}
	return h.Result(links, n.leasing.settings()), nil
}

// namedLinks are the interfaces that are there.
func (n *Net) namedLinks(ctx context.Context) ([]netconf.Link, error) {
	conn, err := n.sockets.Get()
	if err != nil {
		return nil, err
	}
	defer n.sockets.Put(conn)
	return managers.ReadLinks(ctx, conn)
}
