package volops

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/gpt"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// restoreTime is how long a start waits for one device.
const restoreTime = 30 * time.Second

// restorer brings the host to what is registered, and tries again what lacked its disk when one appears.
type restorer struct {
	v      *Vol
	cancel context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex
	reasons map[string]string // why a registered mount is not there, by target, or an array, by arrayObject
}

// Start brings the host to what is registered, in the background: a table that was cut off in the midst of a
// change is mended, writes that a crash cut off are brought to an end, arrays that are registered are assembled
// and mounts made. What lacks its disk is tried again when one appears, until Close. It is called at most once.
func (v *Vol) Start() {
	if v.mountSpecs == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &restorer{v: v, cancel: cancel, ended: make(chan struct{}), reasons: make(map[string]string)}
	v.restorer = r
	go func() {
		defer close(r.ended)
		r.run(ctx)
	}()
}

func (r *restorer) stop() {
	if r != nil {
		r.cancel()
		<-r.ended
	}
}

func (r *restorer) run(ctx context.Context) {
	watch, stop := context.WithCancel(ctx) // nobody is woken by events when nothing lacks
	defer stop()
	events, err := blk.Watch(watch)
	v := r.v
	v.mendTables(ctx)
	v.settleMounts()
	v.pruneMounts()
	for r.bringBack(ctx) && err == nil {
		select {
		case <-ctx.Done():
			return
		case _, open := <-events:
			if !open {
				return
			}
		}
	}
	if ctx.Err() == nil && err == nil && v.mayMount() == nil {
		_ = v.state.Restored("vol") // what the journal does not take is told by state's own problems
	}
}

// bringBack tries what is registered and not there, arrays before what may be mounted from them, and tells
// whether something still lacks.
func (r *restorer) bringBack(ctx context.Context) (lacking bool) {
	lacking = r.assembleMissing(ctx)
	if r.v.mayMount() == nil {
		lacking = r.mountMissing(ctx) || lacking
	}
	return lacking
}

// settleMounts ends the writes of mounts that were cut off. In this boot the kernel tells how they ended; in
// another one they are taken for done, and what is registered is mounted with the rest.
func (v *Vol) settleMounts() {
	for _, w := range v.state.Pending() {
		in := w.Intent()
		if in.Method != "vol.mount" && in.Method != "vol.unmount" || len(in.Changes) != 1 {
			continue
		}
		there := v.isMounted(in.Changes[0].Key)
		if !v.beganHere(in) || there == (in.Method == "vol.mount") {
			_ = w.Done() // what the journal does not take is told by state's own problems
			continue
		}
		_ = w.Undone(errors.New("cut off before it came about"))
	}
}

// wasThere tells whether something that was last there in the boot with a mark was there in this one.
func (v *Vol) wasThere(mark string) bool {
	if mark == "" { // written before there were marks
		return v.state.SameBoot("vol")
	}
	return mark == v.state.Boot().Mark()
}

// beganHere tells whether a write of a mount that was cut off began in this boot.
func (v *Vol) beganHere(in state.Intent) bool {
	spec, ok := v.mountSpecs.Get(in.Changes[0].Key)
	if value := in.Changes[0].Value; value != nil {
		ok = json.Unmarshal(value, &spec) == nil
	}
	return ok && v.wasThere(spec.Boot)
}

// pruneMounts strikes mounts off that were for this boot only and are gone.
func (v *Vol) pruneMounts() {
	for target, spec := range v.mountSpecs.All() {
		if !spec.Persistent && !v.isMounted(target) {
			_ = v.state.Set(v.mountSpecs.Remove(target))
		}
	}
}

func (v *Vol) isMounted(target string) bool {
	table, err := v.freshTable()
	return err == nil && topmost(table, target) != nil
}

// mountMissing mounts what is registered and not there, and tells whether something still lacks. In the boot
// in which it was mounted already somebody has unmounted it, and it stays so.
func (r *restorer) mountMissing(ctx context.Context) (lacking bool) {
	defer r.v.finishSubvolumes(ctx)
	for target, spec := range r.v.mountSpecs.All() {
		if ctx.Err() != nil {
			return false
		}
		if !spec.Persistent || r.v.wasThere(spec.Boot) {
			continue
		}
		one, cancel := context.WithTimeout(ctx, restoreTime)
		reason := r.v.remount(one, target, spec)
		cancel()
		r.note(target, reason)
		lacking = lacking || reason != ""
	}
	return lacking
}

func (r *restorer) note(target, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if reason == "" {
		delete(r.reasons, target)
		return
	}
	r.reasons[target] = reason
}

// reason is why a registered mount is not there, as far as somebody tried.
func (r *restorer) reason(target string) string {
	if r == nil {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reasons[target]
}

// remount mounts what is registered, from the device that bears both the UUID of the filesystem and that of
// the partition, or the disk's world-wide name. The answer is why it could not; empty where it is mounted.
func (v *Vol) remount(ctx context.Context, target string, spec mountSpec) string {
	unlock, err := v.state.Lock(ctx, state.Exclusive("mount"+target))
	if err != nil {
		return "failed"
	}
	defer unlock()
	if _, still := v.mountSpecs.Get(target); !still {
		return "" // unmounted for good meanwhile
	}
	t, reason := v.registeredDevice(ctx, spec)
	if t == nil {
		return reason
	}
	defer t.close()
	ctx = registry.WithCaller(ctx, registry.Caller{Name: "restore", Right: registry.RightAdmin}) // it was allowed when it was registered
	m := &mounting{v: v, source: t, params: &registry.VolMountParams{
		Source: t.path(), Target: target, Options: spec.Options, Subvolume: registry.NonZero(spec.Subvolume), Type: registry.Some(registry.MountType(spec.Type)),
	}}
	if m.prepare(ctx) != nil {
		return "failed"
	}
	defer m.point.close()
	if stands, err := m.standing(ctx); err != nil || stands {
		m.point.unmake()
		if !stands {
			return "target_in_use"
		}
		v.mountedNow(target, spec.Folders)
		return ""
	}
	v.scanMembers(ctx, t)
	if err := m.apply(ctx); err != nil {
		m.point.unmake()
		return remountReason(err, spec)
	}
	v.mountedNow(target, cmp.Or(m.point.made, spec.Folders))
	return ""
}

// mountedNow notes that what is registered is mounted in this boot. It is the caller's turn on the target.
func (v *Vol) mountedNow(target string, folders int) {
	spec, registered := v.mountSpecs.Get(target)
	spec.Boot, spec.Folders = v.state.Boot().Mark(), folders
	if registered && spec.Boot != "" {
		_ = v.state.Set(v.mountSpecs.Put(target, spec)) // what the journal does not take is told by state's own problems
	}
}

// remountReason tells a btrfs that lacks devices from other failures.
func remountReason(err error, spec mountSpec) string {
	var e *mount.Error
	if spec.Type == "btrfs" && errors.As(err, &e) && errors.Is(e.Err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return "degraded"
	}
	return "failed"
}

// registeredDevice finds and pins the device that a registered mount is on; nil and why where there is none.
func (v *Vol) registeredDevice(ctx context.Context, spec mountSpec) (*target, string) {
	allowed, cancel := newAllowance(ctx)
	defer cancel()
	d := v.devices(allowed)
	defer d.close()
	list, err := d.byTag("UUID", spec.UUID)
	if err != nil || len(list) == 0 {
		return nil, "device_missing"
	}
	for _, n := range list {
		t, err := v.pinNumber(ctx, d, "UUID="+spec.UUID, n)
		if err != nil {
			continue
		}
		if t.look(ctx) == nil && t.is(spec) {
			return t, ""
		}
		t.close()
	}
	return nil, "device_differs"
}

// is tells whether a device is the one that was registered.
func (t *target) is(spec mountSpec) bool {
	if s := t.contents.Signature; s == nil || s.UUID != spec.UUID {
		return false
	}
	if spec.PartUUID != "" {
		return t.entry != nil && t.entry.UUID == spec.PartUUID
	}
	return t.disk.WWN == spec.WWN
}

// registeredMounts are the rows of the registry of mounts.
func (v *Vol) registeredMounts(table *mount.Table, d *devices) []registry.RegisteredMount {
	rows := []registry.RegisteredMount{}
	if v.mountSpecs == nil {
		return rows
	}
	for target, spec := range v.mountSpecs.All() {
		row := registry.RegisteredMount{
			Target: target, Type: spec.Type, Options: orEmpty(spec.Options), Subvolume: registry.NonZero(spec.Subvolume), UUID: registry.NonZero(spec.UUID),
			Partuuid: registry.NonZero(spec.PartUUID), Wwn: registry.NonZero(spec.WWN), Persistent: spec.Persistent,
		}
		if m := topmost(table, target); m != nil {
			_, row.Exists = v.registeredMount(m, d.under(m))
			if !row.Exists {
				row.Reason = registry.Some("target_in_use")
			}
		} else {
			row.Reason = registry.NonZero(v.restorer.reason(target))
		}
		rows = append(rows, row)
	}
	return rows
}

// recordedProblems are those that the state folder knows of: writes that were cut off, registered mounts that
// are not there, files that could not be read.
func (v *Vol) recordedProblems(mounts []registry.RegisteredMount, arrays []registry.RegisteredArray) []registry.VolProblem {
	p := problemList{}
	if v.state == nil {
		return nil
	}
	for _, u := range v.state.Interrupted() {
		if len(u.Method) < 4 || u.Method[:4] != "vol." {
			continue
		}
		name, known := v.interruptedSubject(u)
		row := p.add(failed, "interrupted", interruptedResource(u.Method), name, "%s was cut off on %s%s and was neither repeated nor undone: look at what is there", u.Method, name, known)
		row.Method, row.Since = registry.Some(u.Method), registry.Some(u.At)
	}
	for _, m := range mounts {
		if !m.Exists {
			p.add(failed, "mount_missing", "mount", m.Target, "what is registered at %s is not mounted", m.Target)
		}
	}
	for _, a := range arrays {
		if !a.Exists {
			p.add(failed, "array_missing", "array", a.Name, "the registered array %s (%s) does not run%s", a.Name, a.UUID, missingArrayCause[a.Reason.Or("")])
		}
	}
	for _, problem := range v.state.Problems() {
		p.add(warning, "state_damaged", "state", problem.File, "part of the state could not be read: %s", problem.Cause)
	}
	return p.list
}

// interruptedSubject is what a write was about, by the name that it has now, and by what it is known. Where that is
// not there, its name may be another's by now.
func (v *Vol) interruptedSubject(u state.Unfinished) (name, known string) {
	var detail deviceDetail
	if json.Unmarshal(u.Detail, &detail) != nil || len(detail.Devices) == 0 {
		name, on, _ := strings.Cut(u.Subject, subjectOn)
		return name, prefixed(" of filesystem ", on)
	}
	j := &detail.Devices[0]
	known = prefixed(", serial ", j.Serial) + prefixed(", wwn ", j.WWN)
	if detail.Name != j.Path { // an array, by its own name
		return detail.Name, known
	}
	if now, there := v.nowCalled(j); there {
		return now, known
	}
	return j.Path, known + ", as it was called on " + u.At.Format(time.RFC3339) + " and which is not there now,"
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// interruptedResource is what a write to a device or a deletion was about.
func interruptedResource(method string) string {
	switch method {
	case "vol.create_partition", "vol.resize_max":
		return "disk"
	case "vol.delete_subvolume":
		return "subvolume"
	case "vol.create_md_array", "vol.stop_md_array":
		return "array"
	}
	return "filesystem"
}

// mendTables mends the partition tables that a change of ours was cut off on. Which disk that was is known by
// the GUID of its table, since its name may be another's now.
func (v *Vol) mendTables(ctx context.Context) {
	for _, u := range v.state.Interrupted() {
		if u.Method != "vol.create_partition" && u.Method != "vol.resize_max" {
			continue
		}
		var detail deviceDetail
		if json.Unmarshal(u.Detail, &detail) != nil {
			continue
		}
		for _, d := range detail.Devices {
			if d.TableUUID != "" {
				_ = v.mendTable(ctx, d) // what cannot be mended is told by vol.inventory, as table_damaged
			}
		}
	}
}

// mendTable mends the table of the one disk that was meant.
func (v *Vol) mendTable(ctx context.Context, j journalledDevice) error {
	s, err := blk.Open(v.root)
	if err != nil {
		return err
	}
	defer s.Close()
	names, err := s.Names()
	if err != nil {
		return err
	}
	var fitting []*blk.Disk
	for _, name := range names {
		k, err := s.Disk(name)
		if err != nil || k.Size != j.SizeBytes || k.ReadOnly || j.Serial != k.Serial || j.WWN != k.WWN {
			continue
		}
		one, cancel := context.WithTimeout(ctx, itemTime)
		uuid, err := hang.Do(one, v.calls, k.Number, func() (string, error) { return v.tableUUID(k, j.Sector) })
		cancel()
		if err == nil && uuid == j.TableUUID {
			fitting = append(fitting, k)
		}
	}
	if len(fitting) != 1 {
		return fmt.Errorf("mend partition table %s: %d disks bear it", j.TableUUID, len(fitting))
	}
	k := fitting[0]
	unlock, err := v.state.Lock(ctx, state.Exclusive("disk/"+k.Name))
	if err != nil {
		return err
	}
	defer unlock()
	one, cancel := context.WithTimeout(ctx, restoreTime)
	defer cancel()
	_, err = hang.Do(one, v.calls, k.Number, func() (struct{}, error) { return struct{}{}, v.mendDisk(k, j.Sector) })
	return err
}

func (v *Vol) tableUUID(k *blk.Disk, sector int64) (string, error) {
	f, err := blk.OpenNode(v.root+nodePath(k.Name), k.Number, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return gpt.DiskGUID(f, k.Size, sector)
}

func (v *Vol) mendDisk(k *blk.Disk, sector int64) error {
	f, err := blk.OpenNode(v.root+nodePath(k.Name), k.Number, unix.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := blk.Lock(f); err != nil {
		return err
	}
	phases, _, err := gpt.Mend(f, k.Size, sector)
	if err != nil {
		return err
	}
	return gpt.Apply(f, phases)
}
