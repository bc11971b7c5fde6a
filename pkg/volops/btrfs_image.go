package volops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/fault"
	"github.com/geomind/my_os_server/internal/inuse"
	"github.com/geomind/my_os_server/internal/ondisk"
	"github.com/geomind/my_os_server/pkg/registry"
)

// mkfs.btrfs looks whether a device is in use, lets go of it, and opens it once more to write. Whoever mounts
// the device in between loses what is on it. So it never gets the device: it writes to sparse files in memory
// that are as large as the devices, and we copy the few megabytes that it wrote while we hold the devices
// exclusively.

const (
	// superblockAt and superblockSize are the place of the first superblock (fs/btrfs/fs.h of the kernel): as
	// long as that is not there, there is no filesystem.
	superblockAt   = 64 << 10
	superblockSize = 4 << 10
)

// makeBtrfs makes a btrfs over the devices.
func (w *formatting) makeBtrfs(ctx context.Context) error {
	for _, t := range w.targets {
		if zoned := t.disk.Queue.Zoned; zoned != "" && zoned != "none" {
			return &registry.UnsupportedError{
				UnsupportedData: registry.UnsupportedData{Reason: registry.UnsupportedReasonPlatform, Missing: registry.Some("zoned devices")},
				Message:         fmt.Sprintf("%s is a zoned device (%s)", t.path(), zoned),
			}
		}
	}
	if err := w.forgetHalf(ctx); err != nil {
		return err
	}
	images, err := w.images(ctx)
	defer closeAll(images)
	if err != nil {
		return err
	}
	devices, err := w.claim()
	defer closeAll(devices)
	if err != nil {
		return err
	}
	record, err := w.v.begin(ctx, w.method, w.targets, w.mkfs.uuid)
	if err != nil {
		return notApplied(err)
	}
	fault.Point("copy filesystem")
	if err := w.copyImages(ctx, images, devices); err != nil {
		record.Left()
		return appliedAs(err, registry.AppliedUnknown)
	}
	fault.Point("filesystem copied")
	for i, t := range w.targets {
		if err := t.do(ctx, func() error { return w.clean(t, devices[i]) }); err != nil {
			record.Left()
			return appliedAs(err, registry.AppliedUnknown)
		}
	}
	return appliedAs(record.Done(), registry.AppliedYes)
}

// forgetHalf ends what a call that was cut off left on some of the devices: mkfs.btrfs makes no second filesystem
// of a UUID.
func (w *formatting) forgetHalf(ctx context.Context) error {
	if !slices.ContainsFunc(w.targets, w.halfMade) {
		return nil
	}
	devices, err := w.claim()
	defer closeAll(devices)
	for i, t := range w.targets {
		if err != nil {
			return err
		}
		if w.halfMade(t) {
			err = notApplied(t.do(ctx, func() error { return errors.Join(w.endOld(t, devices[i]), devices[i].Sync()) }))
		}
	}
	return err
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// images has mkfs.btrfs write the filesystem to files in memory.
func (w *formatting) images(ctx context.Context) (files []*os.File, err error) {
	var paths []string
	for i, t := range w.targets {
		fd, err := unix.MemfdCreate("mkfs", unix.MFD_CLOEXEC)
		if err != nil {
			return files, notApplied(os.NewSyscallError("memfd_create", err))
		}
		f := os.NewFile(uintptr(fd), "image of "+t.path())
		files = append(files, f)
		if err := f.Truncate(t.size); err != nil {
			return files, notApplied(err)
		}
		paths = append(paths, fmt.Sprintf("/proc/self/fd/%d", 3+i))
	}
	if _, err := w.v.run(ctx, w.mkfs.program, files, w.mkfs.arguments(false, paths...)...); err != nil {
		return files, toolError(err, registry.AppliedNo)
	}
	if w.mkfs.uuid == "" {
		c, err := ondisk.Read(files[0], w.targets[0].size, w.targets[0].sector)
		if err != nil || c.Signature == nil {
			return files, errors.Join(err, errors.New("read back the image of a btrfs: there is none"))
		}
		w.mkfs.uuid = c.Signature.UUID
	}
	return files, nil
}

// claim takes all devices exclusively. Who came since the guard looked keeps them.
func (w *formatting) claim() (files []*os.File, err error) {
	for _, t := range w.targets {
		f, err := inuse.Claim(w.v.root+t.path(), t.number, unix.O_RDWR)
		if errors.Is(err, unix.EBUSY) {
			return files, t.inUse([]inuse.Holder{{Kind: inuse.Kernel}})
		}
		if err != nil {
			return files, notApplied(err)
		}
		files = append(files, f)
	}
	return files, nil
}

// copyImages ends what stood on the devices, copies what was written, and the superblocks last. No device is
// ahead of another.
func (w *formatting) copyImages(ctx context.Context, images, devices []*os.File) error {
	for _, stage := range []struct {
		what string
		copy func(t *target, to, from *os.File) error
	}{
		{"end what is on", func(t *target, to, _ *os.File) error { return w.endOld(t, to) }},
		{"write filesystem to", func(_ *target, to, from *os.File) error { return copyData(to, from) }},
		{"write superblock to", func(_ *target, to, from *os.File) error {
			return copyRange(to, from, superblockAt, superblockAt+superblockSize)
		}},
	} {
		for i, t := range w.targets {
			err := t.do(ctx, func() error {
				if err := stage.copy(t, devices[i], images[i]); err != nil {
					return fmt.Errorf("%s %s: %w", stage.what, t.path(), err)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		for i, t := range w.targets {
			err := t.do(ctx, func() error {
				if err := devices[i].Sync(); err != nil {
					return fmt.Errorf("flush %s: %w", t.path(), err)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// endOld ends what stood on a device.
func (w *formatting) endOld(t *target, f *os.File) error {
	if w.mkfs.options.Discard.Or(true) {
		discard(f, t.size)
	}
	_, err := f.WriteAt(make([]byte, superblockSize), superblockAt)
	return err
}

// copyData copies what is no hole of a sparse file, but for the first superblock.
func copyData(to, from *os.File) error {
	for at := int64(0); ; {
		start, err := from.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // nothing but holes
			return nil
		}
		if err != nil {
			return err
		}
		end, err := from.Seek(start, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if err := copyRange(to, from, start, min(end, max(start, superblockAt))); err != nil {
			return err
		}
		if err := copyRange(to, from, max(start, superblockAt+superblockSize), end); err != nil {
			return err
		}
		at = end
	}
}

// copyRange copies the bytes from start to end, of which there may be none, to the same place.
func copyRange(to, from *os.File, start, end int64) error {
	if start >= end {
		return nil
	}
	_, err := io.Copy(io.NewOffsetWriter(to, start), io.NewSectionReader(from, start, end-start))
	return err
}

// discard tells a device that nothing on it counts any more. Many take no such hint, and it is none but that.
func discard(f *os.File, size int64) {
	const most = 1 << 30 // bytes at a time, so that the device can be waited for
	for at := int64(0); at < size; at += most {
		if err := blk.Discard(f, at, min(most, size-at)); err != nil {
			return
		}
	}
}
