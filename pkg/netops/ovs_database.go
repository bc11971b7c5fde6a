package netops

import (
	"context"

	"github.com/geomind/my_os_server/pkg/registry"
)

// OVS handles net.ovs.
func (n *Net) OVS(context.Context, *registry.NetOVSParams) (*registry.NetOvsResult, error) {
	return nil, n.noOVS()
}
