package volops

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"

	"github.com/geomind/my_os_server/internal/hang"
)

// Writes of which nobody knows how they ended: a crash cut them off, or the device failed under them. The state
// folder lists them until a later write to the same device has succeeded.

// is tells whether a device that the journal has is the target. A disk is known by its serial number and
// world-wide name, and one without by its number in this boot.
func (j *journalledDevice) is(t *target) bool {
	return j.SizeBytes == t.size && j.onDiskOf(t) && strings.TrimPrefix(j.Path, j.Disk) == strings.TrimPrefix(t.path(), nodePath(t.whole))
}

// onDiskOf tells whether the device is the disk that the target is or lies on, or a partition of it.
func (j *journalledDevice) onDiskOf(t *target) bool {
	if j.Serial != t.disk.Serial || j.WWN != t.disk.WWN {
		return false
	}
	return j.Serial != "" || j.WWN != "" || j.Disk == nodePath(t.whole) && j.Sequence == t.disk.Sequence.Value
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
