package volops

import (
	"context"
	"slices"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/hostexec"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// arraySpec is an array as the registry keeps it, under its name.
type arraySpec struct {
	UUID    string `json:"uuid"`
	Level   string `json:"level"` // raid1, …
	Devices int    `json:"devices"`
	Boot    string `json:"boot,omitempty"` // the last one in which it ran: state.Boot.Mark
}

// arrayObject is what writes of an array take turns on.
func arrayObject(name string) string { return "array/" + name }

// registeredArray is the name under which an array is registered; empty where it is not.
func (v *Vol) registeredArray(uuid string) string {
	if v.arraySpecs == nil || uuid == "" {
		return ""
	}
	for name, spec := range v.arraySpecs.All() {
		if spec.UUID == uuid {
			return name
		}
	}
	return ""
}

func (v *Vol) managesArray(uuid string) bool { return v.registeredArray(uuid) != "" }

// Why a registered array does not run.
const (
	arrayMissing  = "device_missing"
	arrayDegraded = "degraded"
	arrayFailed   = "failed"
)

var missingArrayCause = map[string]string{
	arrayMissing:  ": none of its members is there",
	arrayDegraded: ": members are missing, and it is not started without them; start it with mdadm --run, or stop it here to give it up",
	arrayFailed:   ": it could not be assembled",
}

// registeredArrays are the rows of the registry of arrays. running are all that the kernel has.
func (v *Vol) registeredArrays(running []registry.MdArray) []registry.RegisteredArray {
	rows := []registry.RegisteredArray{}
	if v.arraySpecs == nil {
		return rows
	}
	for name, spec := range v.arraySpecs.All() {
		row := registry.RegisteredArray{Name: name, UUID: spec.UUID, Reason: registry.NonZero(v.restorer.reason(arrayObject(name)))}
		for i := range running {
			if a := &running[i]; a.UUID.Or("") == spec.UUID {
				row.Path, row.Exists = registry.Some(a.Path), isStarted(a)
			}
		}
		switch {
		case row.Exists:
			row.Reason = registry.Opt[string]{}
		case row.Path.IsSet(): // put together by somebody, and short of members
			row.Path, row.Reason = registry.Opt[string]{}, registry.Some(arrayDegraded)
		}
		rows = append(rows, row)
	}
	return rows
}

func isStarted(a *registry.MdArray) bool {
	return a.ArrayState != "inactive" && a.ArrayState != "clear"
}

// assembleMissing assembles what is registered and does not run, and tells whether something still lacks. In
// the boot in which it ran already somebody has stopped it, and it stays so.
func (r *restorer) assembleMissing(ctx context.Context) (lacking bool) {
	for name, spec := range r.v.arraySpecs.All() {
		if ctx.Err() != nil {
			return false
		}
		if r.v.wasThere(spec.Boot) {
			continue
		}
		one, cancel := context.WithTimeout(ctx, restoreTime)
		reason := r.v.reassemble(one, name, spec)
		cancel()
		r.note(arrayObject(name), reason)
		lacking = lacking || reason != ""
	}
	return lacking
}

// reassemble assembles a registered array from the devices that bear its UUID. The answer is why it could not;
// empty where it runs, or is registered no longer.
func (v *Vol) reassemble(ctx context.Context, name string, spec arraySpec) string {
	members, close, err := v.arrayMembers(ctx, spec.UUID)
	defer close()
	if err != nil {
		return arrayFailed
	}
	var targets []*target
	for _, m := range members {
		targets = append(targets, m.target)
	}
	unlock, err := v.takeTurn(ctx, targets, state.Exclusive(arrayObject(name)))
	if err != nil {
		return arrayFailed
	}
	defer unlock()
	if now, ok := v.arraySpecs.Get(name); !ok || now != spec {
		return ""
	}
	switch a, err := v.arrayByUUID(ctx, spec.UUID); {
	case err != nil:
		return arrayFailed
	case a != nil && isStarted(a):
		v.ran(name, spec)
		return ""
	case a != nil:
		return arrayDegraded
	}
	paths, reason := chooseMembers(members)
	if reason != "" {
		return reason
	}
	if _, err := v.run(ctx, hostexec.Mdadm, nil, assembleArguments(name, spec.UUID, paths)...); err != nil {
		v.letGo(ctx, spec.UUID)
		return arrayFailed
	}
	if a, err := v.arrayByUUID(ctx, spec.UUID); err != nil || a == nil || !isStarted(a) {
		v.letGo(ctx, spec.UUID)
		return arrayDegraded
	}
	v.ran(name, spec)
	return ""
}

// ran notes that an array runs in this boot.
func (v *Vol) ran(name string, spec arraySpec) {
	spec.Boot = v.state.Boot().Mark()
	_ = v.state.Set(v.arraySpecs.Put(name, spec)) // what the journal does not take is told by state's own problems
}

// letGo stops an array that mdadm put together and did not start: it would keep its members from everybody.
func (v *Vol) letGo(ctx context.Context, uuid string) {
	if a, err := v.arrayByUUID(ctx, uuid); err == nil && a != nil && !isStarted(a) {
		_, _ = v.run(ctx, hostexec.Mdadm, nil, stopArguments(v.root+a.Path)...) // vol.inventory tells of it otherwise
	}
}

// arrayByUUID is the row of an array that the kernel has; nil where it has none.
func (v *Vol) arrayByUUID(ctx context.Context, uuid string) (*registry.MdArray, error) {
	list, err := v.arrayRows(ctx)
	for i := range list {
		if list[i].UUID.Or("") == uuid {
			return &list[i], nil
		}
	}
	return nil, err
}

// arrayMember is a device that bears a superblock of an array.
type arrayMember struct {
	target *target
	path   string
	events uint64
	slot   int64 // -1: none
	disks  int64 // how many members the array should have
}

// arrayMembers finds and pins the devices that bear the UUID of an array. Those that cannot be read, or not in
// time, are missing then. The caller calls close in any case.
func (v *Vol) arrayMembers(ctx context.Context, uuid string) (list []arrayMember, close func(), err error) {
	close = func() {
		for _, m := range list {
			m.target.close()
		}
	}
	allowed, cancel := newAllowance(ctx)
	defer cancel()
	d := v.devices(allowed)
	defer d.close()
	free, err := d.unclaimed()
	if err != nil {
		return nil, close, err
	}
	for name, n := range free {
		says, err := probe(d, n, name, readSuperblock)
		if err != nil || says == nil || says.UUID != uuid {
			continue
		}
		t, err := v.pinNumber(ctx, d, nodePath(name), n)
		if err != nil {
			continue
		}
		m := arrayMember{target: t, path: v.root + t.path(), events: says.MD.Events, slot: -1, disks: int64(says.MD.RaidDisks)}
		if says.MD.Placed {
			m.slot = int64(says.MD.Slot)
		}
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b arrayMember) int { return blk.Compare(a.path, b.path) })
	return list, close, nil
}

// unclaimed are the partitions, and the disks without, on which the kernel has put nothing.
func (d *devices) unclaimed() (map[string]blk.Number, error) {
	s, err := d.sysfs()
	if err != nil {
		return nil, err
	}
	names, err := s.Names()
	if err != nil {
		return nil, err
	}
	free := make(map[string]blk.Number)
	for _, name := range names {
		disk, err := s.Disk(name)
		if err != nil || disk.Size == 0 || disk.Hidden {
			continue
		}
		if len(disk.Partitions) == 0 && len(disk.Holders) == 0 {
			free[name] = disk.Number
		}
		for _, p := range disk.Partitions {
			if len(p.Holders) == 0 {
				free[p.Name] = p.Number
			}
		}
	}
	return free, nil
}

// chooseMembers chooses those of which an array can be started whole, or says why there are none: those that
// were written last (an active array may be one event apart, as mdadm has it), each place filled by one of
// them or by a spare. Two devices in the same place are copies, of which nobody knows which is meant.
func chooseMembers(list []arrayMember) (paths []string, reason string) {
	if len(list) == 0 {
		return nil, arrayMissing
	}
	newest := list[0]
	for _, m := range list {
		if m.events > newest.events {
			newest = m
		}
	}
	filled, spares := map[int64]bool{}, int64(0)
	for _, m := range list {
		switch {
		case newest.events-m.events > 1:
			continue
		case m.slot < 0:
			spares++
		case filled[m.slot]:
			return nil, arrayFailed
		case m.slot < newest.disks:
			filled[m.slot] = true
		}
		paths = append(paths, m.path)
	}
	if int64(len(filled))+spares < newest.disks {
		return nil, arrayDegraded
	}
	return paths, ""
}
