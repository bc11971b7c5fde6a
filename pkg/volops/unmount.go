package volops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/fault"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/inuse"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// keptMounts are the mount points from which nothing is unmounted.
var keptMounts = []string{"/", "/usr", "/boot", "/proc", "/sys", "/dev", "/run"}

// Unmount answers vol.unmount.
func (v *Vol) Unmount(ctx context.Context, p *registry.VolUnmountParams) (*registry.VolUnmountResult, error) {
	if v.mountSpecs == nil {
		return nil, errors.New("unmount: there is no state folder to record it in")
	}
	target, err := v.unmountTarget(ctx, p.Target)
	if err != nil {
		return nil, err
	}
	release, err := v.state.Lock(ctx, state.Exclusive("mount"+target))
	if err != nil {
		return nil, err
	}
	defer release()
	u := &unmounting{v: v, target: target, lazy: p.Lazy.Or(false), force: p.Force.Or(false)}
	u.spec, u.registered = v.mountSpecs.Get(target)
	return u.run(ctx)
}

// unmountTarget finds the mount point that a path means: by its text where something is mounted or registered
// there, so that a mount that hangs is not touched, else by where it leads.
func (v *Vol) unmountTarget(ctx context.Context, path string) (string, error) {
	target := filepath.Clean(path)
	table, err := v.table()
	if err != nil {
		return "", err
	}
	if topmost(table, target) != nil || v.mountSpecs.Has(target) {
		return target, nil
	}
	on, err := v.containing(target)
	if err != nil {
		return "", err
	}
	leads, err := hang.Do(ctx, v.calls, number(on), func() (string, error) { return filepath.EvalSymlinks(target) })
	switch {
	case isGone(err), errors.Is(err, unix.ENOTDIR):
		return target, nil
	case err != nil:
		return "", pathError(waiting(err, "the filesystem at "+on.Target), path)
	}
	return leads, nil
}

// unmounting unmounts what is uppermost at a target.
type unmounting struct {
	v           *Vol
	target      string
	lazy, force bool
	spec        mountSpec
	registered  bool
	mount       *mount.Mount // nil: nothing is mounted there
	table       *mount.Table
	device      *device // under the mount; nil where there is none, and where nobody needs to know
	made        bool    // by vol.mount, since the daemon started
}

func (u *unmounting) run(ctx context.Context) (*registry.VolUnmountResult, error) {
	r := &registry.VolUnmountResult{}
	if err := u.look(ctx); err != nil {
		return nil, notApplied(err)
	}
	if u.mount == nil && !u.registered {
		return r, nil
	}
	if u.mount != nil {
		if err := u.check(); err != nil {
			return nil, err
		}
	}
	w, err := u.v.state.Begin(ctx, state.Intent{Method: "vol.unmount", Changes: []state.Change{u.v.mountSpecs.Remove(u.target)}})
	if err != nil {
		return nil, notApplied(err)
	}
	fault.Point("unmount")
	if err := u.apply(ctx); err != nil {
		return nil, errors.Join(err, w.Undone(err))
	}
	fault.Point("unmounted")
	u.v.made.Delete(u.target)
	r.Deleted = true
	if u.lazy && u.stillHeld(ctx) {
		r.Detached = registry.Some(true)
	}
	if u.registered && u.spec.Folders > 0 {
		r.FolderRemoved = removeFolders(u.target, u.spec.Folders) > 0
	}
	return r, w.Done()
}

func (u *unmounting) look(ctx context.Context) (err error) {
	if u.table, err = u.v.freshTable(); err != nil {
		return err
	}
	if u.mount = topmost(u.table, u.target); u.mount == nil {
		return nil
	}
	if u.made = u.v.hasMade(u.mount); u.made && !u.lazy {
		return nil
	}
	allowed, cancel := newAllowance(ctx)
	defer cancel()
	d := u.v.devices(allowed)
	defer d.close()
	d.links = sync.OnceValue(func() blk.Links { return blk.ReadLinks(u.v.root, "/dev/disk/by-uuid", "/dev/disk/by-label") })
	u.device = d.under(u.mount)
	return nil
}

// check refuses what is kept and what is not ours, and names the mounts below.
func (u *unmounting) check() error {
	state := u.v.stateDir != "" && u.table.Containing(u.v.stateDir) == u.mount
	if slices.Contains(keptMounts, u.target) || state {
		return refused("protected_target", "", u.target+" belongs to the system or bears the state folder: it is not unmounted")
	}
	if !u.ours() && !u.force {
		return refused("foreign_mount", "force", u.target+" was not mounted by this daemon")
	}
	if u.lazy {
		return nil
	}
	var found []inuse.Holder
	for i := range u.table.Mounts {
		if m := &u.table.Mounts[i]; m.Parent == u.mount.ID && m.ID != m.Parent {
			found = append(found, inuse.Holder{Kind: inuse.Mount, Name: m.Target})
		}
	}
	if len(found) > 0 {
		return u.busy(found)
	}
	return nil
}

// ours tells whether what is mounted is what is registered.
func (u *unmounting) ours() bool {
	if u.made && u.registered {
		return true
	}
	_, ours := u.v.registeredMount(u.mount, u.device)
	return ours
}

// hasMade tells whether a mount is the very one that vol.mount made at its target since the daemon started, by the
// id that the kernel uses once; false where it has none.
func (v *Vol) hasMade(m *mount.Mount) bool {
	unique, _ := v.made.Load(m.Target)
	id, ok := unique.(uint64)
	if !ok || id == 0 || v.root != "" {
		return false
	}
	key, there := mount.KeyOf(id)
	return there && key == mount.Key{ID: m.ID, Parent: m.Parent}
}

func (u *unmounting) busy(found []inuse.Holder) error {
	e := (&target{v: u.v, name: ""}).inUse(found)
	var busy *registry.BusyError
	if errors.As(e, &busy) {
		busy.Message = fmt.Sprintf("%s is in use; see holders", u.target)
	}
	return e
}

// apply unmounts. Where that is refused it finds out for whose sake.
func (u *unmounting) apply(ctx context.Context) error {
	if u.mount == nil {
		return nil
	}
	flags := unix.UMOUNT_NOFOLLOW
	if u.lazy {
		flags |= unix.MNT_DETACH
	}
	if u.force {
		flags |= unix.MNT_FORCE
	}
	_, err := hang.Do(ctx, u.v.calls, number(u.mount), func() (struct{}, error) { return struct{}{}, unix.Unmount(u.target, flags) })
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM) && !capable(unix.CAP_SYS_ADMIN):
		return &lacking{fmt.Errorf("unmount %s: %w", u.target, err), "CAP_SYS_ADMIN"}
	case !errors.Is(err, unix.EBUSY):
		return appliedAs(fmt.Errorf("unmount %s: %w", u.target, waiting(err, "the filesystem at "+u.target)), registry.AppliedNo)
	}
	found, err := hang.Do(ctx, u.v.calls, scanKey(number(u.mount)), func() ([]inuse.Holder, error) {
		return inuse.Users(ctx, u.v.root, os.Getpid(), u.mount.ID, u.target)
	})
	if err != nil {
		return waiting(err, "the list of processes")
	}
	if len(found) == 0 {
		found = []inuse.Holder{{Kind: inuse.Kernel}}
	}
	return u.busy(found)
}

// stillHeld tells whether a filesystem lives on behind its unmount.
func (u *unmounting) stillHeld(ctx context.Context) bool {
	if u.device == nil {
		return false
	}
	allowed, cancel := newAllowance(ctx)
	defer cancel()
	d := u.v.devices(allowed)
	defer d.close()
	n, ok := d.byNode(u.device.path)
	if !ok {
		return false
	}
	claimed, err := hang.Do(ctx, u.v.calls, n, func() (bool, error) { return inuse.Claimed(u.v.root+u.device.path, n) })
	return err == nil && claimed
}
