package btrfs

import (
	"bytes"
	"context"
	"errors"
	"syscall"
	"unsafe"
)

// Info is BTRFS_IOC_FS_INFO.
type Info struct {
	UUID           UUID
	MetadataUUID   UUID // zero where the kernel is too old to tell (before 5.9)
	Devices        uint64
	MaxDevice      uint64 // highest device number in use
	NodeSize       uint32 // bytes, as the three that follow
	SectorSize     uint32
	CloneAlignment uint32
	ChecksumType   uint16 // see ChecksumName
	ChecksumSize   uint16 // 0 where the kernel is too old to tell (before 5.9)
	Generation     uint64 // 0 where the kernel is too old to tell (before 5.9)
}

// fsInfoArgs is struct btrfs_ioctl_fs_info_args.
type fsInfoArgs struct {
	maxID, numDevices                    uint64
	fsid                                 UUID
	nodeSize, sectorSize, cloneAlignment uint32
	csumType, csumSize                   uint16
	flags, generation                    uint64
	metadataUUID                         UUID
	_                                    [944]byte
}

// Flags of fsInfoArgs: what to tell as well.
const (
	fsInfoChecksum = 1 << iota
	fsInfoGeneration
	fsInfoMetadataUUID
)

// Info asks for what holds for the filesystem as a whole.
func (f *Filesystem) Info(ctx context.Context) (*Info, error) {
	a := &fsInfoArgs{flags: fsInfoChecksum | fsInfoGeneration | fsInfoMetadataUUID}
	if err := ioctl(ctx, f, "read information of", "", iocFSInfo, a); err != nil {
		return nil, err
	}
	info := &Info{UUID: a.fsid, Devices: a.numDevices, MaxDevice: a.maxID, NodeSize: a.nodeSize,
		SectorSize: a.sectorSize, CloneAlignment: a.cloneAlignment}
	// What the kernel did fill in it leaves set.
	if a.flags&fsInfoChecksum != 0 {
		info.ChecksumType, info.ChecksumSize = a.csumType, a.csumSize
	}
	if a.flags&fsInfoGeneration != 0 {
		info.Generation = a.generation
	}
	if a.flags&fsInfoMetadataUUID != 0 {
		info.MetadataUUID = a.metadataUUID
	}
	return info, nil
}

// Device is BTRFS_IOC_DEV_INFO: one member of the filesystem.
type Device struct {
	ID        uint64
	UUID      UUID
	Size      uint64 // bytes that the filesystem takes of it
	Allocated uint64 // bytes of it that are handed out to chunks
	Path      string // of its node when it was added or scanned last; empty for a missing device
}

// deviceArgs is struct btrfs_ioctl_dev_info_args. Newer kernels tell the fsid in the first two words
// of what was unused.
type deviceArgs struct {
	id          uint64
	uuid        UUID
	used, total uint64
	_           [379]uint64
	path        [1024]byte
}

// Devices lists the members in the order of their numbers; seed devices under the filesystem and the
// target of a replacement (number 0) are among them. One that is added or removed meanwhile may or may
// not be there.
func (f *Filesystem) Devices(ctx context.Context) ([]Device, error) {
	info, err := f.Info(ctx)
	if err != nil {
		return nil, err
	}
	devices := make([]Device, 0, min(info.Devices, 64))
	for id := uint64(0); id <= info.MaxDevice; id++ {
		d, err := f.Device(ctx, id)
		if errors.Is(err, syscall.ENODEV) {
			continue
		}
		if err != nil {
			return nil, err
		}
		devices = append(devices, *d)
	}
	return devices, nil
}

// Device asks for one member; ENODEV where there is none of that number.
func (f *Filesystem) Device(ctx context.Context, id uint64) (*Device, error) {
	a := &deviceArgs{id: id}
	if err := ioctl(ctx, f, "read devices of", "", iocDevInfo, a); err != nil {
		return nil, err
	}
	return &Device{ID: a.id, UUID: a.uuid, Size: a.total, Allocated: a.used, Path: cString(a.path[:])}, nil
}

// DeviceStats are the error counters of a member since they were last reset.
type DeviceStats struct {
	WriteErrors, ReadErrors, FlushErrors uint64 // requests that the layers below failed
	CorruptionErrors                     uint64 // wrong checksum or content
	GenerationErrors                     uint64 // blocks of an old generation: writes that never arrived
}

// deviceStatsArgs is struct btrfs_ioctl_get_dev_stats; it is 1032 bytes long by an old mistake that
// the kernel keeps.
type deviceStatsArgs struct {
	id, items uint64
	_         uint64 // flags: 1 would reset the counters
	values    [5]uint64
	_         [121]uint64
}

// DeviceStats reads the counters of one member and does not reset them. ENODEV where there is none of
// that number, or where none was ever written down for a missing one.
func (f *Filesystem) DeviceStats(ctx context.Context, id uint64) (*DeviceStats, error) {
	a := &deviceStatsArgs{id: id, items: 5}
	if err := ioctl(ctx, f, "read device statistics of", "", iocGetDevStats, a); err != nil {
		return nil, err
	}
	return &DeviceStats{WriteErrors: a.values[0], ReadErrors: a.values[1], FlushErrors: a.values[2],
		CorruptionErrors: a.values[3], GenerationErrors: a.values[4]}, nil
}

// cString is b up to its first NUL.
func cString(b []byte) string {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	return string(b)
}

// The kernel refuses an argument of another size; these do not compile where one is off.
var (
	_ [1024]byte = [unsafe.Sizeof(fsInfoArgs{})]byte{}
	_ [4096]byte = [unsafe.Sizeof(deviceArgs{})]byte{}
	_ [1032]byte = [unsafe.Sizeof(deviceStatsArgs{})]byte{}
)
