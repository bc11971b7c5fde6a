package netops

import (
	"context"

	"github.com/geomind/my_os_server/pkg/netops/internal/managers"
	"github.com/geomind/my_os_server/pkg/registry"
)

// DNS handles net.dns.
func (n *Net) DNS(ctx context.Context, _ *registry.NetDNSParams) (*registry.NetDnsResult, error) {
	links, err := n.namedLinks(ctx)
	if err != nil {
		return nil, err
	}
	h, err := readFiles(ctx, n, managers.ReadDNS)
	if err != nil {
		return nil, err
	}
	return h.Result(links), nil
}
