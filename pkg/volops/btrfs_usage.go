package volops

import (
	"cmp"
	"context"
	"slices"

	"github.com/geomind/my_os_server/internal/btrfs"
	"github.com/geomind/my_os_server/pkg/registry"
)

// FSUsage answers vol.fs_usage, computed as btrfs-progs does (cmds/filesystem-usage.c).
func (v *Vol) FSUsage(ctx context.Context, p *registry.VolFSUsageParams) (*registry.VolFSUsageResult, error) {
	f, err := v.btrfsAt(ctx, p.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	u, err := f.usage(ctx)
	if err != nil {
		return nil, err
	}
	r := u.result()
	r.FilesystemUUID = f.uuid()
	if unusable, zoned := f.zoneUnusable(); zoned {
		r.DeviceZoneUnusableBytes = registry.Some(clip(unusable))
	}
	return r, nil
}

// btrfsUsage is what the figures are computed from.
type btrfsUsage struct {
	spaces  []btrfs.Space
	stripes map[stripeGroup]uint64 // raw bytes
	members []memberSize
	statfs  uint64 // bytes that statfs says are available
}

// stripeGroup are the stripes on one device of all chunks that are laid out alike.
type stripeGroup struct {
	flags   btrfs.BlockGroup
	device  uint64
	stripes int // of each chunk
}

// memberSize is a member with the size of what it stands on.
type memberSize struct {
	btrfs.Device
	missing bool
	real    uint64 // size of the block device
	known   bool   // whether that could be told
}

func (f *openBtrfs) usage(ctx context.Context) (*btrfsUsage, error) {
	u := &btrfsUsage{stripes: make(map[stripeGroup]uint64)}
	for c, err := range f.Chunks(ctx) {
		if err != nil {
			return nil, err
		}
		for _, s := range c.Stripes {
			u.stripes[stripeGroup{c.Flags, s.Device, len(c.Stripes)}] += c.StripeSize()
		}
	}
	devices, err := f.Devices(ctx)
	if err != nil {
		return nil, err
	}
	for i := range devices {
		if f.seed(&devices[i]) {
			continue
		}
		m := memberSize{Device: devices[i], missing: f.missing(&devices[i])}
		if !m.missing {
			m.real, m.known = f.deviceSize(&m.Device)
		}
		u.members = append(u.members, m)
	}
	if u.spaces, err = f.Spaces(ctx); err != nil {
		return nil, err
	}
	st, err := f.Statfs(ctx)
	if err != nil {
		return nil, err
	}
	u.statfs = st.Bavail * uint64(st.Bsize)
	return u, nil
}

// zoneUnusable is what only a reset of zones can make use of again, of a zoned filesystem.
func (f *openBtrfs) zoneUnusable() (bytes uint64, zoned bool) {
	if !slices.Contains(f.sysfs.Features(f.info.UUID), "zoned") {
		return 0, false
	}
	for _, typ := range []string{"data", "metadata", "system"} {
		n, _ := f.sysfs.Number(f.info.UUID, "allocation/"+typ+"/bytes_zone_unusable")
		bytes += n
	}
	return bytes, true
}

func (u *btrfsUsage) result() *registry.VolFSUsageResult {
	r := &registry.VolFSUsageResult{FreeStatfsBytes: clip(u.statfs)}
	var size, missing, slack uint64
	for _, m := range u.members {
		size += m.Size
		slack += m.slack()
		if m.missing {
			missing += m.Size
		}
		r.Devices = append(r.Devices, u.deviceRow(&m))
	}
	t := u.totals()
	unallocated := size - min(t.chunks(), size)
	r.DeviceSizeBytes = clip(size)
	r.DeviceMissingBytes = clip(missing)
	r.DeviceSlackBytes = registry.Some(clip(slack))
	r.DeviceAllocatedBytes = clip(t.chunks())
	r.DeviceUnallocatedBytes = clip(unallocated)
	r.UsedBytes = clip(t.used())
	estimated, minimum := t.free(unallocated)
	r.FreeEstimatedBytes, r.FreeMinimumBytes = clip(estimated), clip(minimum)
	r.DataRatio, r.MetadataRatio = t.dataRatio(), t.metadataRatio()
	r.GlobalReserveBytes, r.GlobalReserveUsedBytes = clip(t.reserve), clip(t.reserveUsed)
	r.MultipleProfiles = multipleProfiles(u.spaces)
	r.Chunks = u.chunkRows()
	if r.Devices == nil {
		r.Devices = []registry.BtrfsDeviceUsage{}
	}
	return r
}

// slack is what the filesystem leaves of the device at its end.
func (m *memberSize) slack() uint64 { return m.real - min(m.Size, m.real) }

func (u *btrfsUsage) deviceRow(m *memberSize) registry.BtrfsDeviceUsage {
	var allocated uint64
	for g, n := range u.stripes {
		if g.device == m.ID {
			allocated += n
		}
	}
	row := registry.BtrfsDeviceUsage{
		Devid:            clip(m.ID),
		Path:             registry.NonZero(m.Path),
		Missing:          m.missing,
		SizeBytes:        clip(m.Size),
		AllocatedBytes:   clip(allocated),
		UnallocatedBytes: clip(m.Size - min(allocated, m.Size)),
	}
	if m.missing {
		row.Path = registry.Opt[string]{}
	}
	if m.known {
		row.SlackBytes = registry.Some(clip(m.slack()))
	}
	return row
}

// chunkRows lists the chunks by type and profile: data, metadata, system.
func (u *btrfsUsage) chunkRows() []registry.BtrfsChunkUsage {
	rows := []registry.BtrfsChunkUsage{}
	for _, s := range sortedSpaces(u.spaces) {
		if s.Flags&btrfs.GlobalReserve != 0 {
			continue
		}
		rows = append(rows, registry.BtrfsChunkUsage{
			Type:       s.Flags.Type(),
			Profile:    s.Flags.Profile(),
			TotalBytes: clip(s.Total),
			UsedBytes:  clip(s.Used),
			Percent:    percent(s.Used, s.Total),
			Devices:    u.chunkDevices(s.Flags),
		})
	}
	return rows
}

func (u *btrfsUsage) chunkDevices(flags btrfs.BlockGroup) []registry.BtrfsDeviceSpace {
	list := []registry.BtrfsDeviceSpace{}
	for i := range u.members {
		m := &u.members[i]
		var bytes uint64
		for g, n := range u.stripes {
			if g.device == m.ID && g.flags == flags {
				bytes += n
			}
		}
		if bytes == 0 {
			continue
		}
		row := registry.BtrfsDeviceSpace{Devid: clip(m.ID), Bytes: clip(bytes)}
		if !m.missing {
			row.Path = registry.NonZero(m.Path)
		}
		list = append(list, row)
	}
	return list
}

// sortedSpaces are the spaces with system behind all else, then by type, then by profile.
func sortedSpaces(spaces []btrfs.Space) []btrfs.Space {
	const types = btrfs.Data | btrfs.Metadata
	return slices.SortedStableFunc(slices.Values(spaces), func(a, b btrfs.Space) int {
		return cmp.Or(
			cmp.Compare(a.Flags&btrfs.System, b.Flags&btrfs.System),
			cmp.Compare(a.Flags&types, b.Flags&types),
			cmp.Compare(a.Flags, b.Flags))
	})
}

// multipleProfiles tells whether a type of chunk has more than one.
func multipleProfiles(spaces []btrfs.Space) bool {
	profile := make(map[string]string)
	for _, s := range spaces {
		typ := s.Flags.Type()
		if s.Flags&btrfs.GlobalReserve != 0 {
			continue
		}
		if known, ok := profile[typ]; ok && known != s.Flags.Profile() {
			return true
		}
		profile[typ] = s.Flags.Profile()
	}
	return false
}
