package volops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/btrfs"
	"github.com/geomind/my_os_server/internal/fault"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// CreateSubvolume answers vol.create_subvolume.
func (v *Vol) CreateSubvolume(ctx context.Context, p *registry.VolCreateSubvolumeParams) (*registry.VolCreateSubvolumeResult, error) {
	at, err := v.placeAt(ctx, p.Path, "path")
	if err != nil {
		return nil, notApplied(err)
	}
	defer at.close()
	if err := at.outsideSystem(ctx, v); err != nil {
		return nil, err
	}
	release, err := v.state.Lock(ctx, at.object())
	if err != nil {
		return nil, err
	}
	defer release()
	s, err := at.open(ctx)
	if err != nil {
		return nil, notApplied(err)
	}
	created := s == nil
	if created {
		s, err = at.create(ctx, v, p)
	} else if err = v.finishCut(ctx, at, s); err == nil {
		err = at.compare(ctx, s, p)
	}
	if s != nil {
		defer s.root.Close()
	}
	if err != nil {
		return nil, err
	}
	v.settleSubject("vol.create_subvolume", at.subject())
	row, err := at.row(ctx, s)
	if err != nil {
		return nil, appliedAs(err, registry.AppliedYes)
	}
	return &registry.VolCreateSubvolumeResult{Created: created, Subvolume: *row}, nil
}

// object is what writes at a place take turns on.
func (p *place) object() state.Object { return state.Exclusive("btrfs/" + p.fs.uuid() + p.path) }

// subject is what the journal knows a place by: the path alone is another's where another filesystem is mounted.
func (p *place) subject() string { return p.path + subjectOn + p.fs.uuid() }

// subjectOn stands between what a write is about and the filesystem that it is on.
const subjectOn = " on "

// mode is the permission bits that are asked for.
func mode(p *registry.VolCreateSubvolumeParams) uint32 {
	bits, _ := strconv.ParseUint(p.Mode.Or("0755"), 8, 32) // held to octal digits by the table
	return uint32(bits)
}

// create makes the subvolume and gives it what was asked for. On a failure nothing is left. Making it is one
// step of the kernel, which a crash cannot cut in two; where there is more to do it is recorded, so that the
// next start finishes it.
func (p *place) create(ctx context.Context, v *Vol, want *registry.VolCreateSubvolumeParams) (*subvolume, error) {
	var w *state.Write
	if takesSteps(want) {
		var err error
		intent := state.Intent{Method: "vol.create_subvolume", Class: state.Report, Subject: p.subject(), Detail: want.AppendJSON(nil)}
		if w, err = v.state.Begin(ctx, intent); err != nil {
			return nil, notApplied(err)
		}
	}
	s, err := p.createIn(ctx, want)
	switch {
	case w == nil:
		return s, err
	case err == nil:
		return s, w.Done()
	case isUncertain(err):
		w.Left()
		return s, err
	}
	return s, errors.Join(err, w.Undone(err))
}

// takesSteps tells whether a subvolume is to be given more than the kernel gives it at once.
func takesSteps(p *registry.VolCreateSubvolumeParams) bool {
	return p.NoCow.Or(false) || p.Uid.Or(0) != 0 || p.Gid.Or(0) != 0 || p.Mode.IsSet() || p.MaxReferencedBytes.IsSet()
}

func (p *place) createIn(ctx context.Context, want *registry.VolCreateSubvolumeParams) (*subvolume, error) {
	if err := p.fs.CreateSubvolume(ctx, p.folder, p.name); err != nil {
		return nil, p.failed(err)
	}
	fault.Point("subvolume made")
	s, err := p.existing(ctx)
	if err != nil {
		return nil, appliedAs(err, registry.AppliedYes)
	}
	if err := p.configure(ctx, s, want); err != nil {
		undo := p.fs.DeleteSubvolume(context.WithoutCancel(ctx), s.ID, p.folder, p.name)
		s.root.Close()
		if undo != nil {
			return nil, errors.Join(appliedAs(err, registry.AppliedUnknown), undo)
		}
		return nil, appliedAs(err, reached(err))
	}
	fault.Point("subvolume configured")
	if want.Durable.Or(true) {
		if err := p.fs.Commit(ctx); err != nil {
			s.root.Close()
			return nil, appliedAs(err, registry.AppliedUnknown) // the next mount may know nothing of it
		}
	}
	return s, nil
}

// finishSubvolumes finishes those that a crash cut off, as far as their filesystems are mounted. The others stay
// among what vol.inventory tells of.
func (v *Vol) finishSubvolumes(ctx context.Context) {
	for _, u := range v.state.Interrupted() {
		if u.Method == "vol.create_subvolume" && ctx.Err() == nil && v.finishSubvolume(ctx, u) == nil {
			_ = v.state.Forget(u.ID) // what the journal does not take is told by state's own problems
		}
	}
}

// finishSubvolume gives a subvolume what a crash kept it from getting. Where there is none, or one that was
// there before, nothing was made, and there is nothing to do.
func (v *Vol) finishSubvolume(ctx context.Context, u state.Unfinished) error {
	row, _ := registry.Lookup("vol.create_subvolume")
	decoded, err := row.Decode(u.Detail)
	if err != nil {
		return err
	}
	want := decoded.(*registry.VolCreateSubvolumeParams)
	at, err := v.placeAt(ctx, want.Path, "path")
	if err != nil {
		return err // its filesystem is not mounted yet: the next start tries again
	}
	defer at.close()
	release, err := v.state.Lock(ctx, at.object())
	if err != nil {
		return err
	}
	defer release()
	if u.Subject != at.subject() {
		return errors.New("another filesystem is mounted there")
	}
	s, err := at.open(ctx)
	if err != nil || s == nil {
		return err
	}
	defer s.root.Close()
	return at.finish(ctx, s, u.At, want)
}

// finish gives a subvolume what was asked for by a call of that time, if it is the one that the call made.
func (p *place) finish(ctx context.Context, s *subvolume, at time.Time, want *registry.VolCreateSubvolumeParams) error {
	if s.OTime.Before(at.Add(-time.Second)) {
		return nil
	}
	if err := p.configure(ctx, s, want); err != nil {
		return err
	}
	if err := unix.Fstat(int(s.root.Fd()), &s.stat); err != nil {
		return err
	}
	return p.fs.Commit(ctx)
}

// finishCut finishes the subvolume at a place where an earlier call was cut off over it.
func (v *Vol) finishCut(ctx context.Context, at *place, s *subvolume) error {
	row, _ := registry.Lookup("vol.create_subvolume")
	for _, u := range v.state.Interrupted() {
		if u.Method != row.Name || u.Subject != at.subject() {
			continue
		}
		decoded, err := row.Decode(u.Detail)
		if err != nil {
			return err
		}
		if err := at.finish(ctx, s, u.At, decoded.(*registry.VolCreateSubvolumeParams)); err != nil {
			return appliedAs(err, registry.AppliedUnknown)
		}
	}
	return nil
}

// isUncertain tells whether a write that failed may have left something.
func isUncertain(err error) bool {
	var e *registry.OSError
	return errors.As(err, &e) && e.Applied.Or(registry.AppliedNo) != registry.AppliedNo
}

// reached is what became of a change that the kernel makes all or nothing of: where the device failed, some of it
// may have come there before.
func reached(err error) registry.Applied {
	if errors.Is(err, unix.EIO) {
		return registry.AppliedUnknown
	}
	return registry.AppliedNo
}

// failed says why nothing was made.
func (p *place) failed(err error) error {
	if errors.Is(err, unix.EEXIST) {
		return p.occupied("there already")
	}
	return appliedAs(err, reached(err))
}

func (p *place) configure(ctx context.Context, s *subvolume, want *registry.VolCreateSubvolumeParams) error {
	if want.NoCow.Or(false) {
		if err := btrfs.SetNoCOW(s.root); err != nil {
			return err
		}
	}
	uid, gid := int(want.Uid.Or(0)), int(want.Gid.Or(0))
	if int(s.stat.Uid) != uid || int(s.stat.Gid) != gid {
		if err := s.root.Chown(uid, gid); err != nil {
			return err
		}
	}
	if bits := mode(want); s.stat.Mode&0o7777 != bits {
		if err := unix.Fchmod(int(s.root.Fd()), bits); err != nil {
			return &os.PathError{Op: "chmod", Path: p.path, Err: err}
		}
	}
	if limit, given := want.MaxReferencedBytes.Get(); given {
		bytes := uint64(limit)
		if _, err := p.fs.enableQuotas(ctx); err != nil {
			return err
		}
		return p.fs.SetLimits(ctx, s.ID, &bytes, nil)
	}
	return nil
}

// enableQuotas turns quotas on where they are off, and tells whether they were. Where the filesystem counts
// the simple way, limits of what is referred to cannot be kept: that is a conflict.
func (f *openBtrfs) enableQuotas(ctx context.Context) (bool, error) {
	q, err := f.quotas(ctx)
	if err != nil || q.On {
		if q.Simple {
			err = &registry.ConflictError{
				ConflictData: registry.ConflictData{Resource: "quota", ID: f.uuid()},
				Message:      "the filesystem has simple quotas, which do not tell what a subvolume refers to",
			}
		}
		return false, err
	}
	if err := f.EnableQuotas(ctx); err != nil && !errors.Is(err, unix.EEXIST) {
		return false, err
	}
	return true, nil
}

// compare holds a subvolume that stands against what is asked for. Only what is given is compared.
func (p *place) compare(ctx context.Context, s *subvolume, want *registry.VolCreateSubvolumeParams) error {
	var differences []registry.Difference
	differ := func(field string, existing, asked any) {
		if existing != asked {
			differences = append(differences, registry.Difference{Field: field, Existing: fmt.Sprint(existing), Asked: fmt.Sprint(asked)})
		}
	}
	if noCOW, given := want.NoCow.Get(); given {
		is, err := btrfs.NoCOW(s.root)
		if err != nil {
			return notApplied(err)
		}
		differ("no_cow", is, noCOW)
	}
	if uid, given := want.Uid.Get(); given {
		differ("uid", int64(s.stat.Uid), uid)
	}
	if gid, given := want.Gid.Get(); given {
		differ("gid", int64(s.stat.Gid), gid)
	}
	if want.Mode.IsSet() {
		differ("mode", fmt.Sprintf("%04o", s.stat.Mode&0o7777), fmt.Sprintf("%04o", mode(want)))
	}
	if limit, given := want.MaxReferencedBytes.Get(); given {
		has := "none"
		q, found, err := p.fs.Qgroup(ctx, s.ID)
		if err != nil {
			return notApplied(err)
		}
		if found && q.MaxReferenced.Set {
			has = fmt.Sprint(q.MaxReferenced.Bytes)
		}
		differ("max_referenced_bytes", has, fmt.Sprint(limit))
	}
	if len(differences) == 0 {
		return nil
	}
	return &registry.ConflictError{
		ConflictData: registry.ConflictData{Resource: "subvolume", ID: p.path, Differences: differences},
		Message:      fmt.Sprintf("%s stands with another %s", p.path, differences[0].Field),
	}
}

// SnapshotSubvolume answers vol.snapshot_subvolume. The kernel commits a snapshot as it makes it, so that
// every one is durable.
func (v *Vol) SnapshotSubvolume(ctx context.Context, p *registry.VolSnapshotSubvolumeParams) (*registry.VolSnapshotSubvolumeResult, error) {
	from, source, err := v.subvolumeAt(ctx, p.Source, "source")
	if err != nil {
		return nil, notApplied(err)
	}
	defer from.Close()
	defer source.root.Close()
	at, err := v.placeAt(ctx, p.Target, "target")
	if err != nil {
		return nil, notApplied(err)
	}
	defer at.close()
	if err := at.outsideSystem(ctx, v); err != nil {
		return nil, err
	}
	if from.uuid() != at.fs.uuid() {
		return nil, refused("other_filesystem", "", fmt.Sprintf("%s and %s lie on different filesystems", p.Source, at.path))
	}
	release, err := v.state.Lock(ctx, at.object())
	if err != nil {
		return nil, err
	}
	defer release()
	return at.snapshot(ctx, source, p.ReadOnly.Or(false))
}

func (p *place) snapshot(ctx context.Context, source *subvolume, readOnly bool) (*registry.VolSnapshotSubvolumeResult, error) {
	if err := p.fs.Snapshot(ctx, source.root, p.folder, p.name, readOnly); err != nil {
		if errors.Is(err, unix.EEXIST) {
			return nil, p.snapshotExists(ctx)
		}
		return nil, p.failed(err)
	}
	s, err := p.existing(ctx)
	if err != nil {
		return nil, appliedAs(err, registry.AppliedYes)
	}
	defer s.root.Close()
	row, err := p.row(ctx, s)
	if err != nil {
		return nil, appliedAs(err, registry.AppliedYes)
	}
	return &registry.VolSnapshotSubvolumeResult{Created: true, Subvolume: *row}, nil
}

// snapshotExists says what stands where a snapshot was to be, and of what it is one.
func (p *place) snapshotExists(ctx context.Context) error {
	s, err := p.open(ctx)
	if err != nil || s == nil {
		return errors.Join(err, p.occupied("there already"))
	}
	defer s.root.Close()
	e := &registry.ConflictError{
		ConflictData: registry.ConflictData{Resource: "subvolume", ID: p.path},
		Message:      p.path + " is a subvolume already",
	}
	if !s.ParentUUID.IsZero() {
		e.Differences = []registry.Difference{{Field: "parent_uuid", Existing: s.ParentUUID.String(), Asked: "a new snapshot"}}
	}
	return e
}
