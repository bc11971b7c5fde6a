package volops

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/hang"
)

// Writes of which nobody knows how they ended: a crash cut them off, or the device failed under them. The state
// folder lists them until a later write to the same device has succeeded.

// is tells whether a device that the journal has is the target.
func (j *journalledDevice) is(t *target) bool {
	if j.SizeBytes != t.size {
		return false
	}
	if j.onDiskOf(t) {
		return j.suffix() == strings.TrimPrefix(t.path(), nodePath(t.whole))
	}
	if j.hasName() || j.Boot == t.v.state.Boot().Mark() {
		return false
	}
	// In another boot a disk without a name of its own is known by the GUIDs on it.
	if t.partition != nil {
		return j.PartUUID != "" && t.entry != nil && j.PartUUID == t.entry.UUID
	}
	return j.TableUUID != "" && t.contents.Table != nil && j.TableUUID == t.contents.Table.UUID
}

// onDiskOf tells whether the device is the disk that the target is or lies on, or a partition of it. A disk is known
// by its serial number and world-wide name, and one without by its number in its boot; never by its path, which the
// next disk gets.
func (j *journalledDevice) onDiskOf(t *target) bool { return j.onDisk(t.disk, t.v.state.Boot().Mark()) }

func (j *journalledDevice) onDisk(k *blk.Disk, boot string) bool {
	switch {
	case j.Serial != k.Serial || j.WWN != k.WWN:
		return false
	case j.hasName():
		return true
	case j.Boot != boot || j.Sequence != k.Sequence.Value:
		return false
	}
	return k.Sequence.Known || j.Disk == nodePath(k.Name) // before Linux 5.15 there is nothing better
}

// hasName tells whether the disk has a name of its own, which lasts beyond a boot.
func (j *journalledDevice) hasName() bool { return j.Serial != "" || j.WWN != "" }

// suffix is what the name of a partition has behind that of its disk; empty for a whole disk.
func (j *journalledDevice) suffix() string { return strings.TrimPrefix(j.Path, j.Disk) }

// identity is the device in a word that no other device has.
func (j *journalledDevice) identity() string {
	disk := fmt.Sprintf("diskseq %d of boot %s", j.Sequence, j.Boot)
	switch {
	case j.hasName():
		disk = fmt.Sprintf("serial %q wwn %q", j.Serial, j.WWN)
	case j.Sequence == 0:
		disk = j.Disk + " of boot " + j.Boot
	}
	return fmt.Sprintf("%s %s %d", disk, j.suffix(), j.SizeBytes)
}

// nowCalled finds what a device is called now; false where none is it for sure.
func (v *Vol) nowCalled(j *journalledDevice) (string, bool) {
	s, err := blk.Open(v.root)
	if err != nil {
		return "", false
	}
	defer s.Close()
	names, err := s.Names()
	if err != nil {
		return "", false
	}
	for _, name := range names {
		if k, err := s.Identity(name); err == nil && j.onDisk(k, v.state.Boot().Mark()) {
			if index := blk.PartitionIndex(j.suffix()); index > 0 {
				name = partitionName(name, index)
			}
			return nodePath(name), true
		}
	}
	return "", false
}

// cutOff are those of the writes to the target; with methods, those by them alone.
func (t *target) cutOff(methods ...string) (list []deviceDetail) {
	t.v.eachCutOff(methods, func(_ uint64, detail deviceDetail) {
		for i := range detail.Devices {
			if detail.Devices[i].is(t) {
				list = append(list, detail)
				return
			}
		}
	})
	return list
}

// settle takes off the list those writes all of whose devices are among the targets, or lie on them: one that has
// succeeded now says what is there.
func (v *Vol) settle(targets []*target, methods ...string) {
	v.eachCutOff(methods, func(id uint64, detail deviceDetail) {
		for i := range detail.Devices {
			j, covered := &detail.Devices[i], false
			for _, t := range targets {
				covered = covered || j.is(t) || t.partition == nil && len(methods) == 0 && j.onDiskOf(t)
			}
			if !covered {
				return
			}
		}
		if len(detail.Devices) > 0 {
			_ = v.state.Forget(id) // what the journal does not take is told by state's own problems
		}
	})
}

// eachCutOff calls take with each such write to devices.
func (v *Vol) eachCutOff(methods []string, take func(id uint64, detail deviceDetail)) {
	for _, u := range v.state.Interrupted() {
		chosen := len(methods) == 0
		for _, m := range methods {
			chosen = chosen || u.Method == m
		}
		var detail deviceDetail
		if chosen && json.Unmarshal(u.Detail, &detail) == nil {
			take(u.ID, detail)
		}
	}
}

// settleSubject takes off the list the writes by a method on a subject that is no device.
func (v *Vol) settleSubject(method, subject string) {
	for _, u := range v.state.Interrupted() {
		if u.Method == method && u.Subject == subject {
			_ = v.state.Forget(u.ID) // as above
		}
	}
}

// settleStops takes off the list the stops of an array of which nothing is left. uuid may be empty.
func (v *Vol) settleStops(path, uuid string) {
	v.eachCutOff([]string{"vol.stop_md_array"}, func(id uint64, detail deviceDetail) {
		if detail.Name == path && (uuid == "" || detail.UUID == uuid) {
			_ = v.state.Forget(id) // as above
		}
	})
}

// do runs a step that touches the device, and waits for it no longer than the call may. One that hangs goes on;
// until it ends the call's turn does not.
func (t *target) do(ctx context.Context, step func() error) error {
	const waits, runs, over = 0, 1, 2
	var stage atomic.Int32
	t.steps.Add(1)
	t.running.Add(1)
	ended := func() {
		t.running.Add(-1)
		t.steps.Done()
	}
	_, err := hang.Do(ctx, t.v.calls, t.number, func() (struct{}, error) {
		if !stage.CompareAndSwap(waits, runs) {
			return struct{}{}, context.Canceled // nobody waits for it any more
		}
		defer ended()
		return struct{}{}, step()
	})
	if stage.CompareAndSwap(waits, over) {
		ended()
	}
	return waiting(err, t.path())
}
