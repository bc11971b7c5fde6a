package netops

import (
	"context"

	"github.com/geomind/my_os_server/pkg/registry"
)

// Prefix handles net.prefix.
func (n *Net) Prefix(ctx context.Context, _ *registry.NetPrefixParams) (*registry.NetPrefixResult, error) {
	v, err := n.viewLeases(ctx)
	if err != nil {
		return nil, err
	}
	return v.Prefixes(), nil
}
