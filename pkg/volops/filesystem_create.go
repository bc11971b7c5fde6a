package volops

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/btrfs"
	"github.com/geomind/my_os_server/internal/fault"
	"github.com/geomind/my_os_server/internal/gpt"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/hostexec"
	"github.com/geomind/my_os_server/internal/inuse"
	"github.com/geomind/my_os_server/internal/ondisk"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// runner starts a program of the host: hostexec.RunWith.
type runner func(ctx context.Context, p hostexec.Program, files []*os.File, args ...string) ([]byte, error)

// CreateFilesystem answers vol.create_filesystem.
func (v *Vol) CreateFilesystem(ctx context.Context, p *registry.VolCreateFilesystemParams) (*registry.VolCreateFilesystemResult, error) {
	m, err := newMkfs(p.Type, p.Label, p.UUID, p.Options)
	if err != nil {
		return nil, err
	}
	h, err := v.devicesOf(ctx, "device", []string{p.Device}, expectations(p.Expect))
	if err != nil {
		return nil, notApplied(err)
	}
	defer h.close()
	w := &formatting{v: v, method: "vol.create_filesystem", targets: h.targets, mkfs: m, force: p.Force.Or(false)}
	created, err := w.run(ctx)
	if err != nil {
		return nil, err
	}
	row, err := v.filesystemRow(ctx, h.targets)
	if err != nil {
		return nil, err
	}
	return &registry.VolCreateFilesystemResult{Created: created, Filesystem: *row}, nil
}

// formatting makes one filesystem on one device or several.
type formatting struct {
	v       *Vol
	method  string
	targets []*target
	mkfs    *mkfs
	force   bool
}

// run makes the filesystem; false where it stands already.
func (w *formatting) run(ctx context.Context) (bool, error) {
	stands, err := w.standing()
	if err != nil {
		return false, err
	}
	if stands {
		return false, w.finish(ctx)
	}
	for _, t := range w.targets {
		if err := t.guard(ctx); err != nil {
			return false, notApplied(err)
		}
		if err := w.overwrites(t); err != nil {
			return false, err
		}
	}
	if err := w.elsewhere(ctx); err != nil {
		return false, err
	}
	if err := w.mkfs.program.Installed(); err != nil {
		return false, toolError(err, registry.AppliedNo)
	}
	make := w.makeDirectly
	if w.mkfs.typ == "btrfs" {
		make = w.makeBtrfs
	}
	if err := make(ctx); err != nil {
		return false, err
	}
	w.makeKnown(ctx)
	w.v.settle(w.targets)
	return true, nil
}

// finish brings to its end what stands and was cut off before it was told of: what marks it comes last, so that
// it is whole, but nobody knows whether it is on the disk, nor whether older marks are gone. Where somebody uses
// it by now there is nothing to do.
func (w *formatting) finish(ctx context.Context) error {
	for _, t := range w.targets {
		if len(t.cutOff()) == 0 {
			continue
		}
		err := t.guard(ctx)
		if err == nil {
			err = t.do(ctx, func() error { return w.cleanUnclaimed(t) })
		}
		if err != nil && !isBusy(err) {
			return notApplied(err)
		}
	}
	w.v.settle(w.targets)
	return nil
}

// randomUUID makes one up, as the type has it.
func (w *formatting) randomUUID() string {
	if w.mkfs.typ == "vfat" {
		var b [4]byte
		rand.Read(b[:]) // never fails
		return fmt.Sprintf("%02X%02X-%02X%02X", b[0], b[1], b[2], b[3])
	}
	return gpt.RandomGUID().String()
}

// standing tells whether what is asked for is there: by uuid, type and label on all the devices. The error is
// a conflict where the uuid is there with something else.
func (w *formatting) standing() (bool, error) {
	bears, half := 0, 0
	for _, t := range w.targets {
		s := t.contents.Signature
		if w.mkfs.uuid == "" || s == nil || t.contents.Ambivalent || s.UUID != w.mkfs.uuid {
			continue
		}
		bears++
		if w.halfMade(t) {
			half++
		}
		var differences []registry.Difference
		if s.Type != w.mkfs.typ {
			differences = append(differences, registry.Difference{Field: "type", Existing: s.Type, Asked: w.mkfs.typ})
		}
		if label, given := w.mkfs.label.Get(); given && s.Label != label {
			differences = append(differences, registry.Difference{Field: "label", Existing: s.Label, Asked: label})
		}
		if len(w.targets) > 1 && s.Devices != int64(len(w.targets)) {
			differences = append(differences, registry.Difference{Field: "devices", Existing: fmt.Sprint(s.Devices), Asked: fmt.Sprint(len(w.targets))})
		}
		if len(differences) > 0 {
			return false, w.conflict(t, differences)
		}
	}
	if bears == half && bears < len(w.targets) { // the others do not bear it yet: it is made anew
		return false, nil
	}
	if bears > 0 && bears < len(w.targets) {
		return false, w.conflict(w.targets[0], []registry.Difference{{Field: "devices", Existing: fmt.Sprintf("%d of these", bears), Asked: fmt.Sprint(len(w.targets))}})
	}
	return bears > 0, nil
}

// halfMade tells whether what a device bears was made by a call like this one, which was cut off.
func (w *formatting) halfMade(t *target) bool {
	s := t.contents.Signature
	if s == nil || t.contents.Table != nil {
		return false
	}
	return slices.ContainsFunc(t.cutOff(w.method), func(d deviceDetail) bool {
		return s.UUID == d.Provisional || s.UUID == d.UUID && len(d.Devices) > 1
	})
}

func (w *formatting) conflict(t *target, differences []registry.Difference) error {
	return &registry.ConflictError{
		ConflictData: registry.ConflictData{Resource: "filesystem", ID: w.mkfs.uuid, Differences: differences},
		Message:      fmt.Sprintf("%s bears that uuid already, with another %s", t.path(), differences[0].Field),
	}
}

// elsewhere refuses the uuid of a filesystem that stands on another device: nobody could tell them apart by it, and no
// mount of either could be restored. Devices that cannot be read bear nothing.
func (w *formatting) elsewhere(ctx context.Context) error {
	if w.mkfs.uuid == "" {
		return nil
	}
	allowed, cancel := newAllowance(ctx)
	defer cancel()
	d := w.v.devices(allowed)
	defer d.close()
	s, err := d.sysfs()
	if err != nil {
		return notApplied(err)
	}
	list, err := d.scan(s, "UUID", w.mkfs.uuid)
	if err != nil {
		return notApplied(err)
	}
	for _, n := range list {
		dev := d.get(n)
		if dev == nil || slices.ContainsFunc(w.targets, func(t *target) bool { return t.ends(n) }) {
			continue
		}
		return &registry.ConflictError{
			ConflictData: registry.ConflictData{Resource: "filesystem", ID: w.mkfs.uuid},
			Message:      fmt.Sprintf("%s bears that uuid already, and two filesystems with one uuid cannot be told apart", dev.path),
		}
	}
	return nil
}

// ends tells whether what stands on the device with a number ends when the target is written to as a whole.
func (t *target) ends(n blk.Number) bool {
	return n == t.number || t.partition == nil && slices.ContainsFunc(t.disk.Partitions, func(p blk.Partition) bool { return p.Number == n })
}

// overwrites refuses to end what stands on a device, unless the call forces it.
func (w *formatting) overwrites(t *target) error {
	what := ""
	switch c := t.contents; {
	case c.Table != nil:
		what = "a partition table of type " + c.Table.Type
	case c.Signature != nil:
		what = c.Signature.Type
	case t.partition == nil && len(t.disk.Partitions) > 0:
		what = "partitions"
	default:
		return nil
	}
	if w.halfMade(t) {
		return nil
	}
	if !w.force {
		return refused("signature", "force", fmt.Sprintf("%s bears %s", t.path(), what))
	}
	w.mkfs.overwrite = true
	return nil
}

// makeDirectly runs a program that opens the device exclusively from its first look to its last write: whoever
// took the device since the guard looked keeps it, and the program fails.
func (w *formatting) makeDirectly(ctx context.Context) error {
	t := w.targets[0]
	if w.mkfs.uuid == "" {
		w.mkfs.uuid = w.randomUUID()
	}
	before, err := t.edges(ctx)
	if err != nil {
		return notApplied(err)
	}
	final := w.mkfs.uuid
	detail := deviceDetail{UUID: final}
	if w.mkfs.typ == "vfat" {
		detail.Provisional = w.randomUUID()
	}
	record, err := w.v.beginAs(ctx, w.method, w.targets, detail)
	if err != nil {
		return notApplied(err)
	}
	fault.Point("run mkfs")
	w.mkfs.uuid = cmp.Or(detail.Provisional, final)
	_, err = w.v.run(ctx, w.mkfs.program, nil, w.mkfs.arguments(t.partition == nil, w.v.root+t.path())...)
	w.mkfs.uuid = final
	if err != nil {
		return w.failed(ctx, err, before, record)
	}
	fault.Point("mkfs has run")
	if err := t.do(ctx, func() error { return w.cleanUnclaimed(t) }); err != nil {
		record.Left()
		return appliedAs(err, registry.AppliedUnknown)
	}
	return appliedAs(record.Done(), registry.AppliedYes)
}

// failed is the answer where a program failed. All of them begin with the start of the device: where that is
// as it was, nothing was written.
func (w *formatting) failed(ctx context.Context, err error, before string, record *state.Write) error {
	t := w.targets[0]
	after, edgeErr := t.edges(ctx)
	if edgeErr != nil || after != before {
		record.Left()
		return toolError(err, registry.AppliedUnknown)
	}
	cause := toolError(err, registry.AppliedNo)
	if busy := t.free(ctx, t.claimants()); isBusy(busy) {
		cause = busy
	}
	if err := record.Undone(err); err != nil {
		return errors.Join(cause, err)
	}
	return cause
}

func isBusy(err error) bool {
	var busy *registry.BusyError
	return errors.As(err, &busy)
}

// edgeSize is how much of either end of a device is compared.
const edgeSize = 1 << 20

// edges are the bytes at both ends of the device.
func (t *target) edges(ctx context.Context) (string, error) {
	size := min(edgeSize, t.size)
	edges, err := hang.Do(ctx, t.v.calls, t.number, func() (string, error) {
		b := make([]byte, 2*size)
		if _, err := t.pin.ReadAt(b[:size], 0); err != nil {
			return "", err
		}
		_, err := t.pin.ReadAt(b[size:], t.size-size)
		return string(b), err
	})
	return edges, waiting(err, t.path())
}

// toolError turns what is wrong with a program of the host into the answer that says so.
func toolError(err error, applied registry.Applied) error {
	var missing *hostexec.ToolMissing
	if errors.As(err, &missing) {
		return &registry.ToolMissingError{
			ToolMissingData: registry.ToolMissingData{Tool: missing.Tool, Package: registry.Some(missing.Package)},
			Message:         fmt.Sprintf("%s is not installed: install the Debian package %s", missing.Tool, missing.Package),
		}
	}
	var exit *hostexec.Exit
	if errors.As(err, &exit) {
		return &registry.OSError{
			OsErrorData: registry.OsErrorData{Op: "run " + exit.Tool, Errno: fmt.Sprintf("exit_%d", exit.Code), Text: registry.NonZero(exit.Stderr), Applied: registry.Some(applied)},
			Message:     fmt.Sprintf("%s failed with exit status %d", exit.Tool, exit.Code),
		}
	}
	if errors.Is(err, hostexec.ErrLeftBehind) {
		return &registry.OSError{
			OsErrorData: registry.OsErrorData{Op: "run a program", Errno: "EIO", Text: registry.Some(err.Error()), Applied: registry.Some(registry.AppliedUnknown)},
			Message:     "the program does not end although it was killed, and was left behind: its device does not answer",
		}
	}
	return err
}

// cleanUnclaimed is clean for a device that the program has let go of. Where somebody has taken it since, with
// the new filesystem on it, there is nothing left to do but to look.
func (w *formatting) cleanUnclaimed(t *target) error {
	f, err := inuse.Claim(w.v.root+t.path(), t.number, unix.O_RDWR)
	if errors.Is(err, unix.EBUSY) {
		return w.verify(t, t.pin)
	}
	if err != nil {
		return fmt.Errorf("take %s: %w", t.path(), err)
	}
	defer f.Close()
	return w.clean(t, f)
}

// clean takes away what former times left on a device, which f holds exclusively, and the new filesystem did
// not overwrite: marks of other formats, a partition table and its partitions in the kernel. Then it checks
// that what was asked for is there.
func (w *formatting) clean(t *target, f *os.File) error {
	if err := w.wipe(t, f); err != nil {
		return err
	}
	if w.mkfs.typ == "vfat" {
		if err := w.nameFAT(t, f); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("flush %s: %w", t.path(), err)
	}
	return w.verify(t, f)
}

// nameFAT gives a new FAT, whose program writes the number at the very start, the one that it is known by: with
// that it is whole.
func (w *formatting) nameFAT(t *target, f *os.File) error {
	if err := f.Sync(); err != nil {
		return fmt.Errorf("flush %s: %w", t.path(), err)
	}
	list, err := ondisk.FATSerial(f, w.mkfs.uuid)
	for i := 0; err == nil && i < len(list); i++ {
		_, err = f.WriteAt(list[i].Bytes, list[i].Offset)
	}
	if err != nil {
		return fmt.Errorf("name the vfat on %s: %w", t.path(), err)
	}
	return nil
}

// verify checks that a device bears what was asked for, and nothing else.
func (w *formatting) verify(t *target, f *os.File) error {
	c, err := ondisk.Read(f, t.size, t.sector)
	if err != nil {
		return fmt.Errorf("read %s: %w", t.path(), err)
	}
	s := c.Signature
	if s == nil || c.Ambivalent || c.Table != nil || s.Type != w.mkfs.typ || !strings.EqualFold(s.UUID, w.mkfs.uuid) {
		return fmt.Errorf("read back %s: it does not bear the %s that was made: %w", t.path(), w.mkfs.typ, unix.EIO)
	}
	return nil
}

// mostMarks is how often a format's mark is looked for again: ZFS has four, two of them at the end.
const mostMarks = 16

// wipe overwrites the marks of other formats than the new one, each as often as it is found.
func (w *formatting) wipe(t *target, f *os.File) error {
	for range mostMarks {
		list, err := ondisk.Signatures(f, t.size)
		if err != nil {
			return fmt.Errorf("read %s: %w", t.path(), err)
		}
		list = slices.DeleteFunc(list, func(s ondisk.Signature) bool { return s.Type == w.mkfs.typ })
		if len(list) == 0 {
			break
		}
		for _, s := range list {
			if err := wipeMark(f, t.size, s); err != nil {
				return fmt.Errorf("wipe %s off %s: %w", s.Type, t.path(), err)
			}
		}
	}
	if t.partition != nil {
		return nil
	}
	for _, p := range t.disk.Partitions {
		_ = btrfs.ForgetDevice(w.v.root+"/dev/btrfs-control", w.v.root+nodePath(p.Name)) // by its node, as long as that is there
		if err := forget(f, p.Index); err != nil {
			return err
		}
	}
	return w.wipeTable(t, f)
}

// wipeMark overwrites the mark of a format, and of ZFS the others that it is known by.
func wipeMark(f *os.File, size int64, s ondisk.Signature) error {
	if s.Type == "zfs_member" {
		places, err := ondisk.Uberblocks(f, size)
		for i := 0; err == nil && i < len(places); i++ {
			_, err = f.WriteAt(make([]byte, 8), places[i])
		}
		if err != nil {
			return err
		}
	}
	_, err := f.WriteAt(make([]byte, len(s.Magic)), s.MagicOffset)
	return err
}

// forget has the kernel forget a partition. Whoever only looks at it at this moment is waited for.
func forget(f *os.File, number int) error {
	for end := time.Now().Add(settleTime); ; time.Sleep(settleStep) {
		err := blk.RemovePartition(f, number)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return err
		}
	}
}

// wipeTable overwrites a partition table: the headers of a GPT, and the mark of the first sector unless it
// belongs to the new filesystem.
func (w *formatting) wipeTable(t *target, f *os.File) error {
	mark := make([]byte, 8)
	for _, at := range []int64{t.sector, t.size/t.sector*t.sector - t.sector} {
		if _, err := f.ReadAt(mark, at); err != nil {
			return fmt.Errorf("read %s: %w", t.path(), err)
		}
		if string(mark) == "EFI PART" {
			if _, err := f.WriteAt(make([]byte, 8), at); err != nil {
				return fmt.Errorf("wipe the partition table off %s: %w", t.path(), err)
			}
		}
	}
	if w.mkfs.typ == "vfat" {
		return nil
	}
	boot := make([]byte, 512) // no other format has anything of its own there
	if _, err := f.ReadAt(boot, 0); err != nil {
		return fmt.Errorf("read %s: %w", t.path(), err)
	}
	if boot[510] != 0x55 || boot[511] != 0xaa {
		return nil
	}
	if _, err := f.WriteAt(make([]byte, 512-446), 446); err != nil {
		return fmt.Errorf("wipe the partition table off %s: %w", t.path(), err)
	}
	return nil
}

// filesystemRow is the row of the filesystem that stands on the devices.
func (v *Vol) filesystemRow(ctx context.Context, targets []*target) (*registry.Filesystem, error) {
	l, err := v.scanDisks(ctx, targets[0].path())
	if err != nil {
		return nil, err
	}
	defer l.close()
	for _, t := range targets[1:] {
		if !slices.Contains(l.names, t.whole) {
			l.names = append(l.names, t.whole)
		}
	}
	f := &filesystemList{diskScan: l, unread: []registry.UnreadDevice{}}
	if err := l.each(ctx, f.takeDisk); err != nil {
		return nil, err
	}
	f.joinUnread()
	if err := f.findMounts(); err != nil {
		return nil, err
	}
	allowed, cancel := newAllowance(ctx)
	defer cancel()
	for _, e := range f.found {
		if slices.ContainsFunc(e.members, func(d filesystemDevice) bool { return d.number == targets[0].number }) {
			row := f.row(allowed, e)
			return &row, nil
		}
	}
	return nil, fmt.Errorf("read back the filesystem on %s: %w", targets[0].path(), unix.ENOENT)
}
