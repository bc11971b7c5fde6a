package volops

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/btrfs"
	"github.com/geomind/my_os_server/internal/mount"
)

// systemDisks are the disks that bear the running system, by kernel name, with what they bear: those under
// /, under all that is mounted at or below /boot and /usr, and under the state folder, both as we see them
// and as process 1 does; and what they stand on in turn.
func (v *Vol) systemDisks(ctx context.Context) (map[string]string, error) {
	allowed, cancel := newAllowance(ctx)
	defer cancel()
	d := v.devices(allowed)
	defer d.close()
	s, err := d.sysfs()
	if err != nil {
		return nil, err
	}
	w := &systemWalk{ctx: ctx, v: v, devices: d, sysfs: s, disks: make(map[string]string)}
	own, err := v.table()
	if err != nil {
		return nil, err
	}
	if err := w.addTable(own, true); err != nil {
		return nil, err
	}
	first, err := mount.Read(v.root + "/proc/1/mountinfo")
	if err == nil {
		return w.disks, w.addTable(first, false)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) { // it is out of our sight
		err = nil
	}
	return w.disks, err
}

// systemWalk goes from mounts down to the disks.
type systemWalk struct {
	ctx     context.Context
	v       *Vol
	devices *devices
	sysfs   *blk.Sysfs
	disks   map[string]string
	table   *mount.Table // our own, by which paths are looked up
}

func (w *systemWalk) addTable(table *mount.Table, own bool) error {
	var state *mount.Mount
	if own {
		w.table = table
		if w.v.stateDir != "" {
			state = table.Containing(w.v.stateDir)
		}
	}
	for i := range table.Mounts {
		m := &table.Mounts[i]
		bears := m.Target
		switch {
		case m.Target == "/", m.Target == "/boot", strings.HasPrefix(m.Target, "/boot/"), m.Target == "/usr", strings.HasPrefix(m.Target, "/usr/"):
		case m == state:
			bears = "the state folder"
		default:
			continue
		}
		if err := w.addMount(m, bears, own); err != nil {
			return err
		}
	}
	return nil
}

// addMount takes the disks under a mount. A btrfs is asked for its devices itself where a path leads to it:
// its source may be a name that leads nowhere, as /dev/root.
func (w *systemWalk) addMount(m *mount.Mount, bears string, own bool) error {
	under := w.devices.standsOn(m)
	if m.FSType == "btrfs" && own {
		if f, err := btrfs.Open(w.ctx, m.Target, w.v.waiter(number(m), "the filesystem at "+m.Target)); err == nil {
			info, err := f.Info(w.ctx)
			f.Close()
			if err == nil {
				under = append(under, numbers(w.sysfs, w.v.btrfsSysfs().Devices(info.UUID))...)
			}
		}
	}
	for _, n := range under {
		if err := w.addDevice(n, bears); err != nil {
			return err
		}
	}
	return nil
}

// addDevice takes the disk of a device, and what that stands on.
func (w *systemWalk) addDevice(n blk.Number, bears string) error {
	name, _, err := w.sysfs.Owner(n)
	if err != nil {
		return ignoreGone(err)
	}
	if _, known := w.disks[name]; known {
		return nil
	}
	w.disks[name] = bears
	disk, err := w.sysfs.Disk(name)
	if err != nil {
		return ignoreGone(err)
	}
	for _, slave := range disk.Slaves {
		below, err := w.sysfs.Number(slave)
		if err == nil {
			err = w.addDevice(below, bears)
		}
		if err != nil && !isGone(err) {
			return err
		}
	}
	if disk.Loop != nil {
		return w.addBacking(disk.Loop.BackingFile, bears)
	}
	return nil
}

// addBacking takes what a loop stands on: a device, or the filesystem that its file lies on.
func (w *systemWalk) addBacking(path, bears string) error {
	if n, ok := w.devices.byNode(path); ok {
		return w.addDevice(n, bears)
	}
	m := w.table.Containing(path)
	if m == nil {
		return nil
	}
	for _, n := range w.devices.standsOn(m) {
		if err := w.addDevice(n, bears); err != nil {
			return err
		}
	}
	return nil
}

func ignoreGone(err error) error {
	if isGone(err) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}
