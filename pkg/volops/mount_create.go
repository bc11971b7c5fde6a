package volops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/fault"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// mountSpec is a mount as the registry keeps it, under its target.
type mountSpec struct {
	Type       string   `json:"type"`
	Options    []string `json:"options"`
	Subvolume  string   `json:"subvolume,omitempty"`
	UUID       string   `json:"uuid,omitempty"`     // of the filesystem
	PartUUID   string   `json:"partuuid,omitempty"` // of the partition under it
	WWN        string   `json:"wwn,omitempty"`      // of the disk, where there is no partition
	Persistent bool     `json:"persistent"`
	Folders    int      `json:"folders,omitempty"` // how many folders at the end of the target were made for it
	Boot       string   `json:"boot,omitempty"`    // the last one in which it was mounted: state.Boot.Mark
}

// registeredMount finds what the registry has of a mount on a device; false where what is mounted is another
// filesystem than what is registered there.
func (v *Vol) registeredMount(m *mount.Mount, on *device) (mountSpec, bool) {
	if v.mountSpecs == nil || on == nil {
		return mountSpec{}, false
	}
	spec, ok := v.mountSpecs.Get(m.Target)
	return spec, ok && spec.Type == m.FSType && (spec.UUID == "" || spec.UUID == on.tags.uuid)
}

// Mount answers vol.mount.
func (v *Vol) Mount(ctx context.Context, p *registry.VolMountParams) (*registry.VolMountResult, error) {
	if err := v.mayMount(); err != nil {
		return nil, err
	}
	h, err := v.mountSource(ctx, p)
	if err != nil {
		return nil, notApplied(err)
	}
	defer h.close()
	m := &mounting{v: v, source: h.targets[0], params: p}
	if err := m.prepare(ctx); err != nil {
		return nil, notApplied(err)
	}
	defer m.point.close()
	release, err := v.state.Lock(ctx, state.Exclusive("mount"+m.point.path))
	if err != nil {
		return nil, err
	}
	defer release()
	created, err := m.run(ctx)
	if err != nil {
		return nil, err
	}
	row, err := m.row(ctx, created)
	if err != nil {
		return nil, err
	}
	return &registry.VolMountResult{Created: created, Mount: *row, FolderCreated: created && m.point.made > 0}, nil
}

// mayMount refuses to mount where nobody but us would see it.
func (v *Vol) mayMount() error {
	if v.state == nil || v.mountSpecs == nil {
		return errors.New("mount: there is no state folder to record it in")
	}
	own, err := os.Readlink(v.root + "/proc/self/ns/mnt")
	if err != nil {
		return err
	}
	first, err := os.Readlink(v.root + "/proc/1/ns/mnt")
	if v.allowPrivate || err == nil && own == first {
		return nil
	}
	return &registry.UnsupportedError{
		UnsupportedData: registry.UnsupportedData{Reason: registry.UnsupportedReasonPlatform, Missing: registry.Some("the mount namespace of process 1")},
		Message:         "the daemon lives in a mount namespace of its own, where nobody would see the mount; run it with --allow-private-mounts if that is meant",
	}
}

// mountSource pins the device that is to be mounted, one of several where the name fits a btrfs.
func (v *Vol) mountSource(ctx context.Context, p *registry.VolMountParams) (*held, error) {
	allowed, cancel := newAllowance(ctx)
	defer cancel()
	d := v.devices(allowed)
	defer d.close()
	list, err := d.resolveOne(p.Source)
	if err != nil {
		return nil, err
	}
	t, err := v.pinNumber(ctx, d, p.Source, list[0])
	if err != nil {
		return nil, err
	}
	h := &held{targets: []*target{t}}
	s, err := d.sysfs()
	if err == nil {
		err = t.lookBy(ctx, s.Identity)
	}
	if err == nil {
		err = t.expected(p.Expect)
	}
	if err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// mounting mounts one filesystem.
type mounting struct {
	v       *Vol
	source  *target
	params  *registry.VolMountParams
	fstype  string
	options *mountOptions
	point   *mountPoint
	id      uint32 // of the mount, once it is there
	unique  uint64 // of one that was made: the id that is never used again; 0 where the kernel has none
}

// prepare checks what is asked for against what stands on the device, and opens the mount point.
func (m *mounting) prepare(ctx context.Context) (err error) {
	if m.fstype, err = m.chooseType(); err != nil {
		return err
	}
	if m.options, err = parseMountOptions(ctx, m.fstype, m.params.Options); err != nil {
		return err
	}
	if m.options.namesOwners() && registry.CallerFrom(ctx).Right < registry.RightAdmin { // the system's files are root's
		if err := m.source.systemDisk(ctx); err != nil {
			return err
		}
	}
	if subvolume, given := m.params.Subvolume.Get(); given {
		option, err := parseSubvolume(m.fstype, subvolume)
		if err != nil {
			return err
		}
		m.options.super = append(m.options.super, option)
	}
	on, err := m.v.containing(m.params.Target)
	if err != nil {
		return err
	}
	right := registry.CallerFrom(ctx).Right
	m.point, err = hang.Do(ctx, m.v.calls, number(on), func() (*mountPoint, error) { return m.v.openMountPoint(m.params.Target, right) })
	return waiting(err, "the filesystem at "+on.Target)
}

// chooseType is the driver for what the superblock says. ext4's mounts its forerunners.
func (m *mounting) chooseType() (string, error) {
	s := m.source.contents.Signature
	if s == nil {
		return "", &registry.NotFoundError{
			NotFoundData: registry.NotFoundData{Resource: "filesystem", ID: m.source.path()},
			Message:      fmt.Sprintf("there is no filesystem on %s", m.source.path()),
		}
	}
	found := s.Type
	if found == "ext2" || found == "ext3" {
		found = "ext4"
	}
	asked, given := m.params.Type.Get()
	if given && string(asked) != found || typeOptions[found] == nil {
		return "", refused("type", "", fmt.Sprintf("%s bears %s, which is not mounted as %s", m.source.path(), s.Type, orElse(string(asked), "a filesystem")))
	}
	if m.source.contents.Ambivalent {
		return "", refused("type", "", m.source.path()+" bears the marks of several formats, so that it is uncertain what it holds")
	}
	return found, nil
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// run mounts; false where it is mounted already.
func (m *mounting) run(ctx context.Context) (bool, error) {
	stands, err := m.standing(ctx)
	if err != nil || stands {
		m.point.unmake()
		return false, err
	}
	m.v.scanMembers(ctx, m.source)
	spec := m.spec()
	w, err := m.v.state.Begin(ctx, state.Intent{Method: "vol.mount", Changes: []state.Change{m.v.mountSpecs.Put(m.point.path, spec)}})
	if err != nil {
		m.point.unmake()
		return false, notApplied(err)
	}
	fault.Point("mount")
	if err := m.apply(ctx); err != nil {
		m.point.unmake()
		return false, errors.Join(mountError(err, m.fstype), w.Undone(err))
	}
	fault.Point("mounted")
	m.v.made.Store(m.point.path, m.unique)
	return true, w.Done()
}

// spec is what the registry is to keep.
func (m *mounting) spec() mountSpec {
	s := mountSpec{
		Type: m.fstype, Options: m.params.Options, Subvolume: m.params.Subvolume.Or(""), UUID: m.source.contents.Signature.UUID,
		Persistent: m.params.Persistent.Or(true), Folders: m.point.made,
		Boot: m.v.state.Boot().Mark(),
	}
	if s.Options == nil {
		s.Options = []string{}
	}
	if m.source.entry != nil {
		s.PartUUID = m.source.entry.UUID
	} else {
		s.WWN = m.source.disk.WWN
	}
	return s
}

// apply makes the mount and puts it in its place. It waits for the device no longer than the call may; a mount
// that comes about after that is never attached, and gone.
func (m *mounting) apply(ctx context.Context) error {
	made, err := hang.Do(ctx, m.v.calls, m.source.number, func() (*os.File, error) {
		return mount.New(m.fstype, m.v.root+m.source.path(), m.options.super, m.options.attributes)
	})
	if err != nil {
		return waiting(err, m.source.path())
	}
	defer made.Close()
	if err := mount.Attach(made, m.point.folder); err != nil {
		return err
	}
	return m.attached(made)
}

// attached takes a mount away again whose mount point was renamed since it was opened: it would be registered
// under a path where it is not.
func (m *mounting) attached(made *os.File) error {
	var st unix.Statx_t
	if err := unix.Statx(int(made.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return fmt.Errorf("ask for the mount at %s: %w", m.point.path, err)
	}
	m.id = uint32(st.Mnt_id)
	m.unique, _ = mount.UniqueIDOf(made) // none before Linux 6.8
	link := fmt.Sprintf("/proc/self/fd/%d", made.Fd())
	if path, err := os.Readlink(link); err != nil || path == m.point.path {
		return err
	}
	if err := unix.Unmount(link, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("take the mount off a folder that was renamed: %w", err)
	}
	return &registry.ConflictError{
		ConflictData: registry.ConflictData{Resource: "path", ID: m.point.path},
		Message:      fmt.Sprintf("%s was renamed meanwhile; nothing is mounted", m.point.path),
	}
}

// bare tells whether surely nothing is mounted on the mount point: neither by the folder that is held nor by what
// the kernel counts of mounts since.
func (m *mounting) bare() bool {
	is, known := mount.IsRoot(m.point.folder)
	table, err := m.v.table()
	return known && !is && err == nil && topmost(table, m.point.path) == nil
}

// standing tells whether the same is mounted there already. Anything else there is a conflict.
func (m *mounting) standing(ctx context.Context) (bool, error) {
	if m.bare() {
		return false, nil
	}
	table, err := m.v.freshTable()
	if err != nil {
		return false, err
	}
	there := topmost(table, m.point.path)
	if there == nil {
		return false, nil
	}
	allowed, cancel := newAllowance(ctx)
	defer cancel()
	d := m.v.devices(allowed)
	defer d.close()
	var differences []registry.Difference
	differ := func(field, existing, asked string) {
		differences = append(differences, registry.Difference{Field: field, Existing: existing, Asked: asked})
	}
	if !slices.Contains(d.standsOn(there), m.source.number) {
		differ("source", there.Source, m.source.path())
	}
	if subvolume, given := m.params.Subvolume.Get(); given && !showsSubvolume(there, subvolume) {
		differ("subvolume", there.Root, subvolume)
	}
	if m.params.Options != nil && !m.sameOptions(there) {
		differ("options", strings.Join(slices.Collect(there.Options()), ",")+","+strings.Join(slices.Collect(there.SuperOptions()), ","), strings.Join(m.params.Options, ","))
	}
	if len(differences) == 0 {
		m.id = there.ID
		return true, nil
	}
	return false, &registry.ConflictError{
		ConflictData: registry.ConflictData{Resource: "mount", ID: m.point.path, Differences: differences, Managed: registry.Some(m.v.mountSpecs.Has(m.point.path))},
		Message:      fmt.Sprintf("something else is mounted at %s", m.point.path),
	}
}

// topmost is the mount at a target that a path to it leads to.
func topmost(table *mount.Table, target string) *mount.Mount {
	if m := table.Containing(target); m != nil && m.Target == target {
		return m
	}
	return nil
}

func showsSubvolume(m *mount.Mount, subvolume string) bool {
	if strings.HasPrefix(subvolume, "subvolid=") {
		return slices.Contains(slices.Collect(m.SuperOptions()), subvolume)
	}
	return m.Root == "/"+strings.Trim(subvolume, "/")
}

// sameOptions tells whether a mount has the options that were asked for: those that it was made with, or those
// that it shows.
func (m *mounting) sameOptions(there *mount.Mount) bool {
	if spec, ok := m.v.mountSpecs.Get(m.point.path); ok {
		asked, kept := slices.Clone(m.params.Options), slices.Clone(spec.Options)
		slices.Sort(asked)
		slices.Sort(kept)
		return slices.Equal(slices.Compact(asked), slices.Compact(kept))
	}
	shown := slices.Concat(slices.Collect(there.Options()), slices.Collect(there.SuperOptions()))
	return !slices.ContainsFunc(m.params.Options, func(o string) bool { return !slices.Contains(shown, o) })
}

// mountError turns what the kernel has against a mount into the answer.
func mountError(err error, fstype string) error {
	var e *mount.Error
	if !errors.As(err, &e) {
		return appliedAs(err, registry.AppliedNo)
	}
	switch {
	case e.Op == "fsopen" && errors.Is(e.Err, unix.ENODEV):
		return &registry.UnsupportedError{
			UnsupportedData: registry.UnsupportedData{Reason: registry.UnsupportedReasonKernel, Missing: registry.Some(fstype)},
			Message:         fmt.Sprintf("this kernel has no %s", fstype),
		}
	case errors.Is(e.Err, unix.EPERM) && !capable(unix.CAP_SYS_ADMIN):
		return &lacking{err, "CAP_SYS_ADMIN"}
	}
	var errno unix.Errno
	errors.As(e.Err, &errno)
	message := e.Error()
	if fstype == "btrfs" && errno == unix.EEXIST {
		message += knownTwice
	}
	return &registry.OSError{
		OsErrorData: registry.OsErrorData{Op: e.Op + " " + fstype, Errno: errnoName(errno), Text: registry.NonZero(strings.Join(e.Log, "\n")), Applied: registry.Some(registry.AppliedNo)},
		Message:     message,
	}
}

// row is the row of the mount. What the device bears was read before.
func (m *mounting) row(ctx context.Context, created bool) (*registry.Mount, error) {
	read := m.v.freshTable
	if created {
		read = m.v.table // which is read again because of the mount
	}
	table, err := read()
	if err != nil {
		return nil, appliedAs(err, registry.AppliedYes)
	}
	there := table.ByID(m.id)
	if there == nil {
		return nil, appliedAs(fmt.Errorf("read back the mount: %w", unix.ENOENT), registry.AppliedYes)
	}
	allowed, cancel := newAllowance(ctx)
	defer cancel()
	l := m.v.mountOnly(ctx, table, allowed, there, m.unique)
	defer l.devices.close()
	l.devices.knows(m.source)
	l.fill(slices.IndexFunc(table.Mounts, func(o mount.Mount) bool { return o.ID == m.id }))
	row := l.row
	return &row, nil
}
