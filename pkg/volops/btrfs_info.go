package volops

import (
	"context"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/btrfs"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/internal/ondisk"
	"github.com/geomind/my_os_server/pkg/registry"
)

// fillBtrfs tells what only btrfs has: from the kernel where it is mounted and answers, else from the
// superblocks.
func (f *filesystemList) fillBtrfs(allowed allowance, row *registry.Filesystem, e *filesystem, mounts []*mount.Mount) {
	row.Btrfs = new(registry.BtrfsInfo)
	if newest := newestSuper(e); newest != nil {
		row.Btrfs = superInfo(newest)
		row.UsedBytes = registry.Some(row.UsedBytes.Or(clip(newest.Used)))
		row.DevicesTotal = registry.Some(clip(newest.Devices))
		row.DevicesMissing = int64(newest.Devices - min(newest.Devices, uint64(len(e.members))))
	}
	u, err := btrfs.ParseUUID(row.UUID.Or(""))
	if len(mounts) == 0 || err != nil {
		for range row.DevicesMissing {
			row.Devices = append(row.Devices, registry.FilesystemDevice{Missing: true})
		}
		return
	}
	fillSysfs(row.Btrfs, f.v.btrfsSysfs(), u)
	ctx, cancel := allowed.next()
	defer cancel()
	f.fillMembers(ctx, row, mounts)
}

// newestSuper is the superblock of the last commit: a device that was away has an older one. It is nil
// where no device could be read.
func newestSuper(e *filesystem) (newest *ondisk.Btrfs) {
	for _, d := range e.members {
		if d.signature == nil || d.signature.Btrfs == nil {
			continue
		}
		if b := d.signature.Btrfs; newest == nil || b.Generation > newest.Generation {
			newest = b
		}
	}
	return newest
}

func superInfo(b *ondisk.Btrfs) *registry.BtrfsInfo {
	return &registry.BtrfsInfo{
		MetadataUUID:    registry.NonZero(b.MetadataUUID),
		Generation:      registry.Some(clip(b.Generation)),
		NodeSizeBytes:   registry.Some(int64(b.NodeSize)),
		SectorSizeBytes: registry.Some(int64(b.SectorSize)),
		ChecksumType:    registry.NonZero(b.Checksum),
		Features:        b.Features,
	}
}

// fillSysfs takes over what sysfs has of a mounted filesystem.
func fillSysfs(row *registry.BtrfsInfo, s btrfs.Sysfs, u btrfs.UUID) {
	if n, ok := s.Number(u, "generation"); ok {
		row.Generation = registry.Some(clip(n))
	}
	if n, ok := s.Number(u, "clone_alignment"); ok {
		row.CloneAlignmentBytes = registry.Some(clip(n))
	}
	if id, ok := s.Text(u, "metadata_uuid"); ok && id != u.String() {
		row.MetadataUUID = registry.Some(id)
	}
	if text, ok := s.Text(u, "checksum"); ok { // crc32c (crc32c-lib)
		name, _, _ := strings.Cut(text, " ")
		row.ChecksumType = registry.NonZero(name)
	}
	if features := s.Features(u); len(features) > 0 {
		row.Features = features
	}
	mixed := s.Profiles(u, "mixed")
	row.DataProfiles = append(s.Profiles(u, "data"), mixed...)
	row.MetadataProfiles = append(s.Profiles(u, "metadata"), mixed...)
	row.SystemProfiles = s.Profiles(u, "system")
	operation, _ := s.Text(u, "exclusive_operation")
	row.ExclusiveOperation = registry.NonZero(operation)
	if q, told := s.Quotas(u); told {
		row.QuotaState = registry.Some(quotaState(q))
	}
}

// fillMembers lists the devices that a mounted filesystem has in its books, missing ones too. Where it
// does not answer the list stays that of the superblocks.
func (f *filesystemList) fillMembers(ctx context.Context, row *registry.Filesystem, mounts []*mount.Mount) {
	m := mounts[0]
	b, err := f.v.openBtrfs(ctx, m.Target, m)
	if err != nil {
		return
	}
	defer b.Close()
	if b.uuid() != row.UUID.Or("") {
		return // something else is mounted over it
	}
	members, err := b.Devices(ctx)
	if err != nil {
		return
	}
	known := row.Devices
	row.Devices = nil
	row.DevicesTotal, row.DevicesMissing = registry.Some(clip(b.info.Devices)), 0
	for i := range members {
		if b.seed(&members[i]) {
			continue
		}
		one := f.memberRow(b, &members[i], known)
		if one.Missing {
			row.DevicesMissing++
		}
		row.Devices = append(row.Devices, one)
	}
}

func (f *filesystemList) memberRow(b *openBtrfs, d *btrfs.Device, known []registry.FilesystemDevice) registry.FilesystemDevice {
	one := registry.FilesystemDevice{
		Devid: registry.Some(clip(d.ID)), UUID: optUUID(d.UUID),
		SizeBytes: registry.Some(clip(d.Size)), AllocatedBytes: registry.Some(clip(d.Allocated)),
		Missing: b.missing(d),
	}
	if state, ok := b.sysfs.Device(b.info.UUID, d.ID); ok {
		one.Writeable, one.ReplaceTarget = registry.Some(state.Writeable), registry.Some(state.ReplaceTarget)
	}
	if one.Missing {
		return one
	}
	one.Path = registry.NonZero(d.Path)
	at := slices.IndexFunc(known, func(k registry.FilesystemDevice) bool { return k.Devid.Or(-1) == clip(d.ID) })
	if at >= 0 { // the kernel's own name for it
		one.Path, one.StableIds = known[at].Path, known[at].StableIds
	}
	return one
}
