package volops

import (
	"fmt"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/pkg/registry"
)

// fill makes the row of one disk.
func (l *diskList) fill(f *diskFacts) {
	k := f.disk
	l.row = registry.Disk{
		Name:                 k.Name,
		Path:                 nodePath(k.Name),
		DeviceNumber:         fmt.Sprintf("%d:%d", k.Number.Major, k.Number.Minor),
		Major:                int64(k.Number.Major),
		Minor:                int64(k.Number.Minor),
		Diskseq:              integer(k.Sequence),
		Kind:                 k.Kind,
		Type:                 registry.NonZero(k.Type),
		MapperName:           registry.NonZero(k.MapperName),
		DmUUID:               registry.NonZero(k.MapperUUID),
		Model:                registry.NonZero(k.Model),
		Vendor:               registry.NonZero(k.Vendor),
		Serial:               registry.NonZero(k.Serial),
		Wwn:                  registry.NonZero(k.WWN),
		Revision:             registry.NonZero(k.Revision),
		Transport:            registry.NonZero(k.Transport),
		Subsystems:           registry.NonZero(k.Subsystems),
		Hctl:                 registry.NonZero(k.HCTL),
		State:                registry.NonZero(k.State),
		StableIds:            orEmpty(l.links[k.Number]),
		SizeBytes:            min(k.Size, maxInteger),
		AlignmentOffsetBytes: integer(k.AlignmentOffset),
		Removable:            k.Removable,
		Hotplug:              registry.Some(k.Hotplug),
		ReadOnly:             k.ReadOnly,
		HardwareQueues:       integer(k.HardwareQueues),
		Loop:                 loopRow(k.Loop),
		PartitionTable:       tableRow(f.contents),
		Signature:            signatureRow(f.contents),
		ProbeError:           registry.NonZero(f.probeErr),
		Partitions:           partitionNames(k.Partitions),
		Holders:              orEmpty(k.HolderNames()),
		Slaves:               orEmpty(k.Slaves),
		MountPoints:          orEmpty(l.holders.points[k.Number]),
		InUseBy:              l.holders.of(k),
	}
	l.row.InUse = len(l.row.InUseBy) > 0
	l.fillQueue(&k.Queue, k.DiscardAlignment)
	if f.node != nil {
		l.row.Uid = registry.Some(int64(f.node.UID))
		l.row.Gid = registry.Some(int64(f.node.GID))
		l.row.Mode = registry.Some(fmt.Sprintf("%04o", f.node.Mode))
	}
}

func (l *diskList) fillQueue(q *blk.Queue, discardAlignment blk.Fact[int64]) {
	r := &l.row
	r.LogicalSectorBytes = integer(q.LogicalBlockSize)
	r.PhysicalSectorBytes = integer(q.PhysicalBlockSize)
	r.MinimumIoBytes = integer(q.MinimumIOSize)
	r.OptimalIoBytes = integer(q.OptimalIOSize)
	r.Rotational = opt(q.Rotational)
	r.Dax = opt(q.DAX)
	r.Scheduler = registry.NonZero(q.Scheduler)
	r.Schedulers = q.Schedulers
	r.NrRequests = integer(q.NrRequests)
	r.ReadAheadBytes = integer(q.ReadAhead)
	r.AddsRandom = opt(q.AddRandom)
	r.WriteCache = registry.NonZero(q.WriteCache)
	r.Fua = opt(q.FUA)
	r.DiscardAlignmentBytes = integer(discardAlignment)
	r.DiscardGranularityBytes = integer(q.DiscardGranularity)
	r.DiscardMaxBytes = integer(q.DiscardMax)
	r.DiscardZeroesData = opt(q.DiscardZeroesData)
	r.WriteSameMaxBytes = integer(q.WriteSameMax)
	r.WriteZeroesMaxBytes = integer(q.WriteZeroesMax)
	r.Zoned = registry.NonZero(q.Zoned)
	if z := q.Zones; z != nil {
		r.ZoneSizeBytes = integer(z.Size)
		r.ZoneWriteGranularityBytes = integer(z.WriteGranularity)
		r.ZoneAppendMaxBytes = integer(z.AppendMax)
		r.ZoneCount = integer(z.Count)
		r.ZonesOpenMax = integer(z.OpenMax)
		r.ZonesActiveMax = integer(z.ActiveMax)
	}
}

func loopRow(l *blk.Loop) *registry.LoopBacking {
	if l == nil {
		return nil
	}
	return &registry.LoopBacking{
		BackingFile:    registry.Some(l.BackingFile),
		OffsetBytes:    integer(l.Offset),
		SizeLimitBytes: integer(l.SizeLimit),
		Autoclear:      opt(l.Autoclear),
		Partscan:       opt(l.Partscan),
		DirectIo:       opt(l.DirectIO),
	}
}

func partitionNames(partitions []blk.Partition) []string {
	names := make([]string, len(partitions))
	for i := range partitions {
		names[i] = partitions[i].Name
	}
	return names
}
