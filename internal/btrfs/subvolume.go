package btrfs

import (
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"syscall"
	"time"
)

// TopLevel is the number of the subvolume that every filesystem has, in which all others lie.
const TopLevel = topLevelTree

// Subvolume is one subvolume or snapshot: struct btrfs_root_item with the reference that names it.
type Subvolume struct {
	ID     uint64
	Parent uint64 // subvolume that it lies in
	Dir    uint64 // inode of the folder that it lies in, within Parent
	Path   string // from the top level, without a leading slash

	Generation   uint64 // of the last change of its root
	ReadOnly     bool
	UUID         UUID // zero, as all that follows, where a kernel before 3.6 wrote it last
	ParentUUID   UUID // of what it is a snapshot of
	ReceivedUUID UUID // of what it was received from

	// Generations, and when that was: last change, making, sending, receiving.
	CTransID, OTransID, STransID, RTransID uint64
	CTime, OTime, STime, RTime             time.Time
}

// The layout of struct btrfs_root_item: an inode item of 160 bytes, then
const (
	rootGeneration   = 160
	rootFlags        = 208
	rootRefs         = 216
	rootLegacySize   = 239 // where the item ends that old kernels wrote
	rootGenerationV2 = 239
	rootUUIDs        = 247 // own, parent's, received
	rootTransIDs     = 295 // c, o, s, r
	rootTimes        = 327 // the same, 12 bytes each
	rootSize         = 375

	rootReadOnly = 1 << 0
)

// parseRoot reads a root item into s; false where nothing refers to it any more, since the subvolume
// is deleted and waits for the cleaner.
func (s *Subvolume) parseRoot(b []byte) (alive bool, err error) {
	if len(b) < rootLegacySize {
		return false, errMalformed
	}
	le := binary.LittleEndian
	s.Generation = le.Uint64(b[rootGeneration:])
	s.ReadOnly = le.Uint64(b[rootFlags:])&rootReadOnly != 0
	alive = le.Uint32(b[rootRefs:]) != 0
	// An old kernel that writes the item leaves the newer fields as they were, and stale. It does not
	// write the second generation either, which tells (btrfs_read_root_item in the kernel).
	if len(b) < rootSize || le.Uint64(b[rootGenerationV2:]) != s.Generation {
		return alive, nil
	}
	uuids, ids := b[rootUUIDs:], b[rootTransIDs:]
	copy(s.UUID[:], uuids)
	copy(s.ParentUUID[:], uuids[16:])
	copy(s.ReceivedUUID[:], uuids[32:])
	s.CTransID, s.OTransID = le.Uint64(ids), le.Uint64(ids[8:])
	s.STransID, s.RTransID = le.Uint64(ids[16:]), le.Uint64(ids[24:])
	for i, t := range [...]*time.Time{&s.CTime, &s.OTime, &s.STime, &s.RTime} {
		*t = parseTime(b[rootTimes+12*i:])
	}
	return alive, nil
}

// parseTime reads struct btrfs_timespec; the epoch itself, which stands for never, is the zero Time.
func parseTime(b []byte) time.Time {
	sec, nsec := int64(binary.LittleEndian.Uint64(b)), binary.LittleEndian.Uint32(b[8:])
	if sec == 0 && nsec == 0 {
		return time.Time{}
	}
	return time.Unix(sec, int64(nsec)).UTC()
}

// parseBackref reads struct btrfs_root_ref: the folder, a sequence, the name.
func parseBackref(b []byte) (dir uint64, name string, err error) {
	if len(b) < 18 {
		return 0, "", errMalformed
	}
	end := 18 + int(binary.LittleEndian.Uint16(b[16:]))
	if end > len(b) {
		return 0, "", errMalformed
	}
	return binary.LittleEndian.Uint64(b), string(b[18:end]), nil
}

// SubvolumeWalk lists the subvolumes of a filesystem.
type SubvolumeWalk struct {
	f     *Filesystem
	paths *paths

	// Changed is true when a subvolume or a folder on the way to it went away while its path was
	// looked up, so that it is missing from the list.
	Changed bool
}

// Subvolumes prepares a list of all subvolumes but the top level.
func (f *Filesystem) Subvolumes() *SubvolumeWalk {
	return &SubvolumeWalk{f: f, paths: newPaths(f)}
}

// All walks the subvolumes in the order of their numbers, without deleted ones that are still being
// cleaned. The Subvolume is used again for the next. Errors: *OpError, and what the Filesystem's Waiter
// and ctx answer; an error is the last element.
func (w *SubvolumeWalk) All(ctx context.Context) iter.Seq2[*Subvolume, error] {
	return func(yield func(*Subvolume, error) bool) {
		c := w.f.search(ctx, "read root tree of", rootTree, key{firstFree, rootItem, 0}, key{lastFree, rootBackref, ^uint64(0)})
		defer c.close()
		var s Subvolume
		alive := false
		for c.next() {
			listed, err := w.take(ctx, &c.item, &s, &alive)
			if err != nil {
				yield(nil, err)
				return
			}
			if listed && !yield(&s, nil) {
				return
			}
		}
		if c.err != nil {
			yield(nil, c.err)
		}
	}
}

// take takes up one item of the root tree: the root item comes first, the reference behind it
// completes the subvolume.
func (w *SubvolumeWalk) take(ctx context.Context, it *item, s *Subvolume, alive *bool) (listed bool, err error) {
	switch it.typ {
	case rootItem:
		*s = Subvolume{ID: it.object}
		*alive, err = s.parseRoot(it.data)
	case rootBackref:
		if s.ID != it.object || !*alive {
			return false, nil
		}
		listed, err = w.place(ctx, it, s)
	}
	if errors.Is(err, errMalformed) {
		err = &OpError{Op: "read root tree of", Path: w.f.path, Err: err}
	}
	return listed, err
}

// place fills in where a subvolume lies.
func (w *SubvolumeWalk) place(ctx context.Context, it *item, s *Subvolume) (bool, error) {
	dir, name, err := parseBackref(it.data)
	if err != nil {
		return false, err
	}
	s.Parent, s.Dir = it.offset, dir
	s.Path, err = w.paths.join(ctx, s.Parent, dir, name)
	if errors.Is(err, syscall.ENOENT) {
		w.Changed = true
		return false, nil
	}
	if err != nil {
		return false, err
	}
	w.paths.keep(place{tree: s.ID, dir: firstFree}, s.Path+"/")
	return true, nil
}

// DefaultSubvolume is the number of the subvolume that a mount shows which names none.
func (f *Filesystem) DefaultSubvolume(ctx context.Context) (uint64, error) {
	c := f.search(ctx, "read default subvolume of", rootTree, key{rootTreeDir, dirItem, 0}, key{rootTreeDir, dirItem, ^uint64(0)})
	defer c.close()
	for c.next() {
		if id, ok := parseDefault(c.item.data); ok {
			return id, nil
		}
	}
	if c.err != nil {
		return 0, c.err
	}
	return TopLevel, nil
}

// parseDefault reads a struct btrfs_dir_item that may name the default subvolume: the key of what is
// named (17 bytes), a generation, the lengths of data and name, a type, the name.
func parseDefault(b []byte) (id uint64, ok bool) {
	if len(b) < 30 || string(b[30:]) != "default" || binary.LittleEndian.Uint16(b[27:]) != 7 {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b), true
}
