package volops

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/md"
	"github.com/geomind/my_os_server/internal/ondisk"
	"github.com/geomind/my_os_server/pkg/registry"
)

// mostMembers bounds what a superblock may say of an array's size: the kernel has fewer (the roles of a
// superblock's 4 KiB).
const mostMembers = 4096

// arrayFacts is one array on its way to its row.
type arrayFacts struct {
	*md.Array
	supers []superblock      // of the members, in their order
	super  *ondisk.Signature // the one that counts; nil where there is none
	bits   *ondisk.MD        // what it says
	slots  []bool            // which places members in sync fill; nil where that is not known
}

// takeNewest chooses the superblock that was written last, as the kernel does when it assembles an array,
// and takes from it what the kernel does not tell of an inactive one.
func (f *arrayFacts) takeNewest() {
	for i := range f.supers {
		s := f.supers[i].Signature
		if s == nil || f.Members[i].Role() == "faulty" {
			continue
		}
		if f.super == nil || s.MD.Events > f.super.MD.Events {
			f.super, f.bits = s, s.MD
		}
	}
	if f.super != nil && !f.started() {
		f.Level = cmp.Or(f.Level, md.LevelName(f.bits.Level))
		f.Layout, f.Chunk, f.Component = int64(f.bits.Layout), f.bits.Chunk, f.bits.Component
		f.RaidDisks = md.Fact[int64]{Value: int64(f.bits.RaidDisks), Known: true}
		if f.bits.Bitmap {
			f.Bitmap = "internal"
		}
	}
	if f.RaidDisks.Value <= mostMembers {
		f.slots = f.Present(f.RaidDisks.Value)
	}
}

// started tells an array that runs from one that is only put together.
func (f *arrayFacts) started() bool { return f.State != "inactive" && f.State != "clear" }

func (f *arrayFacts) row(links blk.Links) *registry.MdArray {
	row := &registry.MdArray{
		Name:               f.Name,
		Path:               nodePath(f.Name),
		DeviceNumber:       registry.Some(fmt.Sprintf("%d:%d", f.Major, f.Minor)),
		Level:              cmp.Or(f.Level, "inactive"),
		ArrayState:         f.State,
		SizeBytes:          min(f.Size, maxInteger),
		ComponentSizeBytes: registry.NonZero(min(f.Component, maxInteger)),
		Metadata:           registry.NonZero(f.Metadata),
		UUID:               registry.NonZero(f.UUID),
		ChunkBytes:         registry.NonZero(f.Chunk),
		Layout:             registry.NonZero(md.LayoutName(f.Level, f.Layout)),
		ConsistencyPolicy:  registry.NonZero(f.Policy),
		Bitmap:             registry.NonZero(f.Bitmap),
		BitmapChunkBytes:   registry.NonZero(f.BitmapChunk),
		Sync:               syncRow(f.Sync),
		Members:            []registry.MdMember{},
	}
	f.fillSuper(row)
	f.fillMembers(row, links)
	f.countMembers(row)
	f.fillHealth(row)
	return row
}

// fillSuper adds what only the superblocks say.
func (f *arrayFacts) fillSuper(row *registry.MdArray) {
	for _, s := range f.supers {
		if s.err != "" && f.super == nil {
			row.ProbeError = registry.Some(s.err)
		}
	}
	if f.super == nil {
		return
	}
	row.UUID = registry.NonZero(cmp.Or(f.UUID, f.super.UUID))
	row.MDName = registry.NonZero(f.super.Label)
	row.Events = registry.Some(clip(f.bits.Events))
	row.CreatedAt, row.UpdatedAt = instant(f.bits.Created), instant(f.bits.Updated)
}

// fillMembers lists those with a place in the order of their places, then the others.
func (f *arrayFacts) fillMembers(row *registry.MdArray, links blk.Links) {
	for i := range f.Members {
		row.Members = append(row.Members, f.memberRow(i, links))
	}
	slices.SortStableFunc(row.Members, func(a, b registry.MdMember) int {
		return cmp.Or(cmp.Compare(a.Slot.Or(maxInteger), b.Slot.Or(maxInteger)),
			cmp.Compare(a.Number.Or(maxInteger), b.Number.Or(maxInteger)), blk.Compare(a.Path, b.Path))
	})
}

func (f *arrayFacts) memberRow(i int, links blk.Links) registry.MdMember {
	m, s := &f.Members[i], f.supers[i].Signature
	row := registry.MdMember{
		Path:         nodePath(m.Name),
		DeviceNumber: registry.Some(fmt.Sprintf("%d:%d", m.Major, m.Minor)),
		Role:         m.Role(),
		Slot:         arrayInteger(m.Slot),
		Number:       arrayInteger(m.Number),
		Flags:        orEmpty(m.Flags),
		SizeBytes:    arrayInteger(m.Size),
		OffsetBytes:  arrayInteger(m.Offset),
		Errors:       arrayInteger(m.Errors),
		BadBlocks:    arrayInteger(m.BadBlocks),
		StableIds:    links[blk.Number{Major: m.Major, Minor: m.Minor}],
	}
	if row.Role == "rebuilding" {
		row.RecoveryStartBytes = arrayInteger(m.RecoveryStart)
	}
	if s != nil {
		row.Events = registry.Some(clip(s.MD.Events))
		row.DeviceUUID = registry.NonZero(s.UUIDSub)
	}
	return row
}

// countMembers counts them as GET_ARRAY_INFO does.
func (f *arrayFacts) countMembers(row *registry.MdArray) {
	var active, failed, spare int64
	for i := range f.Members {
		switch f.Members[i].Role() {
		case "faulty":
			failed++
		case "active":
			active++
		case "replacement":
			if slices.Contains(f.Members[i].Flags, "in_sync") {
				active++
			} else {
				spare++
			}
		case "journal":
		default:
			spare++
		}
	}
	total := int64(len(f.Members))
	row.TotalDevices, row.WorkingDevices = registry.Some(total), registry.Some(total-failed)
	row.ActiveDevices, row.FailedDevices, row.SpareDevices = registry.Some(active), registry.Some(failed), registry.Some(spare)
}

// fillHealth says what lacks, and what the array bears yet.
func (f *arrayFacts) fillHealth(row *registry.MdArray) {
	if len(f.slots) == 0 {
		row.States = f.states(0)[:1]
		return
	}
	missing := int64(0)
	for _, ok := range f.slots {
		if !ok {
			missing++
		}
	}
	if f.Degraded.Known {
		missing = f.Degraded.Value
	}
	row.RaidDisks, row.Degraded, row.RemovedSlots = arrayInteger(f.RaidDisks), registry.Some(missing), f.removedSlots()
	survives := md.Survives(f.Level, f.Layout, f.slots)
	if f.started() {
		row.FailuresSurvived = registry.Some(max(0, survives))
	}
	row.States = f.states(survives)
}

// removedSlots lists the places that nothing fills, nor is about to.
func (f *arrayFacts) removedSlots() []int64 {
	list := []int64{}
	for slot := range int64(len(f.slots)) {
		has := func(m md.Member) bool { return m.Slot.Known && m.Slot.Value == slot && m.Role() != "replacement" }
		if !slices.ContainsFunc(f.Members, has) {
			list = append(list, slot)
		}
	}
	return list
}

// states says it as mdadm --detail does, but that it says read-only too. What a state means is told in
// Documentation/admin-guide/md.rst.
func (f *arrayFacts) states(survives int64) []string {
	list := []string{f.State}
	switch f.State {
	case "readonly", "read-auto":
		list[0] = "read-only"
	case "write-pending": // clean, and about to become active
		list[0] = "clean"
	case "active-idle":
		list[0] = "active"
	case "inactive":
		return list
	}
	switch {
	case survives < 0:
		list = append(list, "FAILED")
	case slices.Contains(f.slots, false):
		list = append(list, "degraded")
	}
	words := map[string]string{"recover": "recovering", "resync": "resyncing", "repair": "resyncing", "reshape": "reshaping", "check": "checking"}
	if f.Sync != nil && words[f.Sync.Action] != "" {
		list = append(list, words[f.Sync.Action])
	}
	if f.Size == 0 {
		list = append(list, "Not Started")
	}
	return list
}

// syncRow is nil where there is nothing to synchronise.
func syncRow(s *md.Sync) *registry.MdSync {
	if s == nil {
		return nil
	}
	row := &registry.MdSync{
		Action:               s.Action,
		DoneBytes:            arrayInteger(s.Done),
		TotalBytes:           arrayInteger(s.Total),
		RemainingS:           arrayInteger(s.Remaining()),
		Waiting:              registry.NonZero(s.Waiting),
		MinBytes:             arrayInteger(s.Min),
		MaxBytes:             arrayInteger(s.Max),
		MismatchBytes:        arrayInteger(s.Mismatch),
		ReshapePositionBytes: arrayInteger(s.ReshapePosition),
		LastAction:           registry.NonZero(s.Last),
	}
	if s.Done.Known {
		row.Percent = percent(uint64(s.Done.Value), uint64(s.Total.Value))
	}
	if s.Speed.Known {
		row.SpeedBps = registry.Some(min(s.Speed.Value, maxInteger/8) * 8)
	}
	return row
}

// arrayInteger is a fact as the table has it.
func arrayInteger(f md.Fact[int64]) registry.Opt[int64] {
	return integer(blk.Fact[int64](f))
}
