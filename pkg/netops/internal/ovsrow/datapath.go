package ovsrow

import (
	"cmp"
	"slices"

	"github.com/geomind/my_os_server/internal/ovstext"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Datapath is a datapath as it is answered.
func Datapath(d *ovstext.Datapath) *registry.Datapath {
	row := &registry.Datapath{
		Datapath: d.Name, Hits: Counted(d.Hits), Misses: Counted(d.Misses), Lost: Counted(d.Lost), Flows: Counted(d.Flows),
		Masks: Counted(d.Masks), MaskHits: Counted(d.MaskHits), MaskHitsPerPacket: wire.When(d.MaskHitsPerPacket >= 0, d.MaskHitsPerPacket),
		CacheHits: Counted(d.CacheHits), CacheHitRate: wire.When(d.CacheHitRate >= 0, d.CacheHitRate),
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

// Counted is a counter, absent where it is -1.
func Counted(v int64) registry.Opt[int64] { return wire.When(v >= 0, min(v, wire.MaxInteger)) }

// cappedCounters are counters that fit the table's integers.
func cappedCounters(m map[string]int64) map[string]int64 {
	for name, v := range m {
		m[name] = min(v, wire.MaxInteger)
	}
	return m
}

// DatapathFlow makes rows of net.datapath out of lines, in memory that each next row uses again.
type DatapathFlow struct {
	Item registry.DatapathItem
	row  registry.DatapathFlow
	flow ovstext.DatapathFlow
}

// Read takes a line. The row holds until the next one.
func (b *DatapathFlow) Read(line, datapath string, core int) error {
	f := &b.flow
	if err := f.Read(line); err != nil {
		return Garbled("ovs-vswitchd prints what is no flow", err.Error())
	}
	b.row = registry.DatapathFlow{
		Datapath: datapath, Ufid: registry.NonZero(f.UFID),
		Match: appendFields(b.row.Match[:0], f.Match), MatchText: f.MatchText,
		Actions: appendActions(b.row.Actions[:0], f.Actions), ActionsText: f.ActionsText,
		Packets: wire.Counter(f.Packets), Bytes: wire.Counter(f.Bytes), UsedS: wire.When(f.Used >= 0, f.Used),
		TcpFlags: registry.NonZero(f.TCPFlags), Offloaded: registry.NonZero(f.Offloaded), Layer: registry.NonZero(f.Layer),
		PmdCore: wire.When(core >= 0, int64(core)), ExtraInfo: registry.NonZero(f.Extra),
	}
	b.Item.Flow = &b.row
	return nil
}
