package netops

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"

	"github.com/geomind/my_os_server/internal/ovstext"
	"github.com/geomind/my_os_server/internal/unixctl"
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
		return nil, garbled("ovs-vswitchd tells of a datapath", err.Error())
	}
	slices.SortFunc(datapaths, func(a, b ovstext.Datapath) int { return cmp.Compare(a.Name, b.Name) })
	for i := range datapaths {
		if err := rows.Send(&registry.DatapathItem{Datapath: datapathRow(&datapaths[i])}); err != nil {
			return nil, err
		}
		if err := n.datapathFlows(ctx, d, datapaths[i].Name, p.Limit.Or(math.MaxInt64), rows); err != nil {
			return nil, n.switchError(err)
		}
	}
	return &registry.NetDatapathEnd{}, nil
}

// datapathRow is a datapath as it is answered.
func datapathRow(d *ovstext.Datapath) *registry.Datapath {
	row := &registry.Datapath{
		Datapath: d.Name, Hits: counted(d.Hits), Misses: counted(d.Misses), Lost: counted(d.Lost), Flows: counted(d.Flows),
		Masks: counted(d.Masks), MaskHits: counted(d.MaskHits), MaskHitsPerPacket: wire.When(d.MaskHitsPerPacket >= 0, d.MaskHitsPerPacket),
		CacheHits: counted(d.CacheHits), CacheHitRate: wire.When(d.CacheHitRate >= 0, d.CacheHitRate),
		Ports: make([]registry.DatapathPort, 0, len(d.Ports)),
	}
	if len(d.Caches) > 0 {
		row.Caches = cappedCounters(d.Caches)
	}
	for _, p := range d.Ports {
		row.Ports = append(row.Ports, registry.DatapathPort{
			Number: int64(p.Number), Name: p.Name, Type: registry.NonZero(p.Type), Options: registry.NonZero(p.Options),
			Statistics: cappedCounters(p.Statistics),
		})
	}
	slices.SortFunc(row.Ports, func(a, b registry.DatapathPort) int { return cmp.Compare(a.Number, b.Number) })
	return row
}

// counted is a counter, absent where it is -1.
func counted(v int64) registry.Opt[int64] { return wire.When(v >= 0, min(v, wire.MaxInteger)) }

// cappedCounters are counters that fit the table's integers.
func cappedCounters(m map[string]int64) map[string]int64 {
	for name, v := range m {
		m[name] = min(v, wire.MaxInteger)
	}
	return m
}

// datapathFlows sends the flows of one datapath, at most so many.
func (n *Net) datapathFlows(ctx context.Context, d *unixctl.Daemon, datapath string, limit int64, rows *registry.Stream[registry.DatapathItem]) error {
	row, core, sent := datapathFlowRow{}, -1, int64(0)
	err := d.Lines(ctx, func(text string) error {
		if c, ok := ovstext.DumpTitle(text); ok {
			core = c
			return nil
		}
		if err := row.read(text, datapath, core); err != nil {
			return err
		}
		if err := rows.Send(&row.item); err != nil {
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

// datapathFlowRow makes rows of net.datapath out of lines, in memory that each next row uses again.
type datapathFlowRow struct {
	item registry.DatapathItem
	row  registry.DatapathFlow
	flow ovstext.DatapathFlow
}

// read takes a line. The row holds until the next one.
func (b *datapathFlowRow) read(line, datapath string, core int) error {
	f := &b.flow
	if err := f.Read(line); err != nil {
		return garbled("ovs-vswitchd prints what is no flow", err.Error())
	}
	b.row = registry.DatapathFlow{
		Datapath: datapath, Ufid: registry.NonZero(f.UFID),
		Match: appendFields(b.row.Match[:0], f.Match), MatchText: f.MatchText,
		Actions: appendActions(b.row.Actions[:0], f.Actions), ActionsText: f.ActionsText,
		Packets: wire.Counter(f.Packets), Bytes: wire.Counter(f.Bytes), UsedS: wire.When(f.Used >= 0, f.Used),
		TcpFlags: registry.NonZero(f.TCPFlags), Offloaded: registry.NonZero(f.Offloaded), Layer: registry.NonZero(f.Layer),
		PmdCore: wire.When(core >= 0, int64(core)), ExtraInfo: registry.NonZero(f.Extra),
	}
	b.item.Flow = &b.row
	return nil
}
