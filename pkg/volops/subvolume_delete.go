package volops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/fault"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/inuse"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// DeleteSubvolume answers vol.delete_subvolume. The kernel itself deletes a subvolume under open files and
// mounts in other namespaces; so it is we who look.
func (v *Vol) DeleteSubvolume(ctx context.Context, p *registry.VolDeleteSubvolumeParams) (*registry.VolDeleteSubvolumeResult, error) {
	at, err := v.placeAt(ctx, p.Path, "path")
	var none *registry.NotFoundError
	if errors.As(err, &none) && none.Resource == "path" {
		return &registry.VolDeleteSubvolumeResult{Ids: []int64{}}, nil
	}
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
	r := &registry.VolDeleteSubvolumeResult{Ids: []int64{}}
	if s == nil {
		v.settleSubject("vol.delete_subvolume", at.subject())
		return r, nil
	}
	defer s.root.Close()
	d := &deletion{place: at, subvolume: s, v: v}
	if err := d.judge(ctx, p); err != nil {
		return nil, notApplied(err)
	}
	return r, d.run(ctx, p, r)
}

// deletion deletes a subvolume with those nested in it.
type deletion struct {
	*place
	subvolume *subvolume
	v         *Vol
	ids       []uint64 // nested ones first
	paths     []string // of each, from the top level
}

// judge refuses what must not be deleted, and what is in use.
func (d *deletion) judge(ctx context.Context, p *registry.VolDeleteSubvolumeParams) error {
	if err := d.expected(p.Expect); err != nil {
		return err
	}
	nested, err := d.fs.Nested(ctx, d.subvolume.ID)
	if err != nil {
		return err
	}
	if len(nested) > 0 && !p.Recursive.Or(false) {
		return refused("nested", "recursive", fmt.Sprintf("%d subvolumes are nested in %s", len(nested), d.path))
	}
	d.ids = append(nested, d.subvolume.ID)
	def, err := d.fs.DefaultSubvolume(ctx)
	if err != nil {
		return err
	}
	for _, id := range d.ids {
		path, err := d.fs.PathOf(ctx, id)
		if err != nil {
			return err
		}
		d.paths = append(d.paths, path)
		if id == def {
			return refused("default_subvolume", "", fmt.Sprintf("%s is what a mount without a subvolume shows", path))
		}
	}
	return d.free(ctx)
}

func (d *deletion) expected(e *registry.SubvolumeExpectation) error {
	if e == nil {
		return nil
	}
	if want, given := e.UUID.Get(); given && want != d.subvolume.UUID.String() {
		return refused("expectation", "", fmt.Sprintf("%s is another subvolume than expected: its uuid is %s, not %s", d.path, d.subvolume.UUID, want))
	}
	if want, given := e.ID.Get(); given && uint64(want) != d.subvolume.ID {
		return refused("expectation", "", fmt.Sprintf("%s is another subvolume than expected: its id is %d, not %d", d.path, d.subvolume.ID, want))
	}
	return nil
}

// free refuses subvolumes that somebody uses.
func (d *deletion) free(ctx context.Context) error {
	numbers, err := d.numbers()
	if err != nil {
		return err
	}
	found, err := hang.Do(ctx, d.v.calls, scanKey(d.fs.number), func() ([]inuse.Holder, error) {
		return inuse.UsersOf(ctx, d.v.root, os.Getpid(), inuse.Subvolumes{Filesystem: d.fs.number, Numbers: numbers, Paths: d.paths})
	})
	if os.IsPermission(err) {
		err = &lacking{err, "CAP_SYS_PTRACE"}
	}
	if err != nil {
		return waiting(err, "the list of processes")
	}
	if len(found) == 0 {
		return nil
	}
	var busy *registry.BusyError
	e := (&target{}).inUse(found)
	if errors.As(e, &busy) {
		busy.Message = fmt.Sprintf("%s is in use; see holders", d.path)
	}
	return e
}

// numbers are the device numbers of the subvolumes, by which open files are known. Nested ones are reached
// by their paths below the first, past no link and no mount.
func (d *deletion) numbers() ([]blk.Number, error) {
	top := d.paths[len(d.paths)-1]
	var list []blk.Number
	for _, path := range d.paths {
		var st unix.Stat_t
		within := strings.TrimPrefix(strings.TrimPrefix(path, top), "/")
		if within == "" {
			st = d.subvolume.stat
		} else {
			fd, err := unix.Openat2(int(d.subvolume.root.Fd()), within, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
			if err != nil {
				return nil, &os.PathError{Op: "open", Path: d.path + "/" + within, Err: err}
			}
			err = unix.Fstat(fd, &st)
			unix.Close(fd)
			if err != nil {
				return nil, &os.PathError{Op: "stat", Path: d.path + "/" + within, Err: err}
			}
		}
		list = append(list, blk.Number{Major: unix.Major(st.Dev), Minor: unix.Minor(st.Dev)})
	}
	return list, nil
}

// run records the deletion and deletes, the innermost first.
func (d *deletion) run(ctx context.Context, p *registry.VolDeleteSubvolumeParams, r *registry.VolDeleteSubvolumeResult) error {
	detail, err := json.Marshal(map[string]any{"filesystem": d.fs.uuid(), "ids": d.ids, "paths": d.paths})
	if err != nil {
		return err
	}
	w, err := d.v.state.Begin(ctx, d.deletionIntent(detail))
	if err != nil {
		return notApplied(err)
	}
	quotas, _ := d.fs.quotas(ctx)
	ctx = context.WithoutCancel(ctx) // it runs to its end
	for i, id := range d.ids {
		fault.Point("delete subvolume")
		folder := d.folder
		if i < len(d.ids)-1 {
			folder = nil // nested ones by their id alone
		}
		if err := d.fs.DeleteSubvolume(ctx, id, folder, d.name); err != nil {
			return d.failed(err, r, w)
		}
		r.Deleted = true
		r.Ids = append(r.Ids, clip(id))
	}
	if p.Durable.Or(true) {
		if err := d.fs.Commit(ctx); err != nil {
			w.Left() // it is gone, and may be there again after the next mount
			return appliedAs(err, registry.AppliedUnknown)
		}
	}
	if quotas.On {
		for _, id := range d.ids {
			_ = d.fs.DeleteQgroup(ctx, id) // a kernel that is not done with it deletes it itself
		}
	}
	return w.Done()
}

// deletionIntent is what the journal keeps of a deletion.
func (p *place) deletionIntent(detail []byte) state.Intent {
	return state.Intent{Method: "vol.delete_subvolume", Class: state.Report, Subject: p.subject(), Detail: detail}
}

// failed ends a deletion that the kernel refused: whole, or from a nested one on.
func (d *deletion) failed(err error, r *registry.VolDeleteSubvolumeResult, w *state.Write) error {
	if len(r.Ids) > 0 {
		return errors.Join(appliedAs(err, registry.AppliedYes), w.Done())
	}
	return errors.Join(appliedAs(err, registry.AppliedNo), w.Undone(err))
}
