package netops

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"

	"github.com/geomind/my_os_server/internal/ovstext"
	"github.com/geomind/my_os_server/internal/unixctl"
	"github.com/geomind/my_os_server/pkg/netops/internal/ovsrow"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Datapath handles net.datapath: what is told of each datapath, and then its flows as they come.
func (n *Net) Datapath(ctx context.Context, p *registry.NetDatapathParams, rows *registry.Stream[registry.DatapathItem]) (*registry.NetDatapathEnd, error) {
	d, ctx, cancel, err := n.vswitchd(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	text, err := d.Text(ctx, "dpctl/show", "-s")
	if err = n.switchError(err); err != nil && !refusedSilently(err) {
		return nil, err
	}
	datapaths, err := ovstext.Datapaths(text)
	if err != nil {
		return nil, ovsrow.Garbled("ovs-vswitchd tells of a datapath", err.Error())
	}
	slices.SortFunc(datapaths, func(a, b ovstext.Datapath) int { return cmp.Compare(a.Name, b.Name) })
	for i := range datapaths {
		if err := rows.Send(&registry.DatapathItem{Datapath: ovsrow.Datapath(&datapaths[i])}); err != nil {
			return nil, err
		}
		if err := n.datapathFlows(ctx, d, datapaths[i].Name, p.Limit.Or(math.MaxInt64), rows); err != nil {
			return nil, n.switchError(err)
		}
	}
	return &registry.NetDatapathEnd{}, nil
}

// datapathFlows sends the flows of one datapath, at most so many.
func (n *Net) datapathFlows(ctx context.Context, d *unixctl.Daemon, datapath string, limit int64, rows *registry.Stream[registry.DatapathItem]) error {
	row, core, sent := ovsrow.DatapathFlow{}, -1, int64(0)
	err := d.Lines(ctx, func(text string) error {
		if c, ok := ovstext.DumpTitle(text); ok {
			core = c
			return nil
		}
		if err := row.Read(text, datapath, core); err != nil {
			return err
		}
		if err := rows.Send(&row.Item); err != nil {
			return err
		}
		if sent++; sent >= limit {
			return wire.ErrEnough
		}
		return nil
	}, "dpctl/dump-flows", "-m", datapath)
	if errors.Is(err, wire.ErrEnough) {
		return nil
	}
	return err
}
