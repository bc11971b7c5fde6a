package volops

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/inuse"
	"github.com/geomind/my_os_server/pkg/registry"
)

// The guard: what every write to a device passes before the device is touched, whatever the call's own
// overrides are. See docs/operations.md, "What is never written to".

const (
	// settleTime is how long a device that somebody only reads is waited for.
	settleTime = 2 * time.Second
	settleStep = 20 * time.Millisecond
)

// guard refuses a device that is read-only, one of the system's own disks, or in use.
func (t *target) guard(ctx context.Context) error {
	if err := t.closed(ctx); err != nil {
		return err
	}
	return t.free(ctx, t.claimants())
}

// closed refuses what is never written to.
func (t *target) closed(ctx context.Context) error {
	if t.size == 0 {
		return refused("no_medium", "", t.path()+" has no bytes to write to: there is no medium in the drive, or nothing is attached to the device")
	}
	if t.disk.ReadOnly {
		return refused("read_only", "", t.path()+" takes no writes: it is read-only")
	}
	return t.systemDisk(ctx)
}

// systemDisk refuses the system's own disks.
func (t *target) systemDisk(ctx context.Context) error {
	system, err := t.v.systemDisks(ctx)
	if err != nil {
		return err
	}
	if under, closed := system[t.whole]; closed {
		return refused("system_disk", "", fmt.Sprintf("%s lies on %s, which bears %s: the system's own disks are not written to", t.path(), nodePath(t.whole), under))
	}
	return nil
}

// claimants are the devices whose users are users of the target: itself; of a disk its partitions; of a
// partition those that share bytes with it, and the disk.
func (t *target) claimants() []inuse.Device {
	list := []inuse.Device{{Name: t.name, Number: t.number}}
	if t.partition == nil {
		for _, p := range t.disk.Partitions {
			list = append(list, inuse.Device{Name: p.Name, Number: p.Number})
		}
		return list
	}
	own := t.extent(t.partition)
	for i := range t.disk.Partitions {
		p := &t.disk.Partitions[i]
		if e := t.extent(p); p.Number != t.number && e.start < own.end && own.start < e.end {
			list = append(list, inuse.Device{Name: p.Name, Number: p.Number})
		}
	}
	return append(list, inuse.Device{Name: t.whole, Number: t.disk.Number, WritersOnly: true})
}

// extent is where the kernel has a partition; everywhere where it does not say.
func (t *target) extent(p *blk.Partition) stretch {
	l := &diskScan{diskList: &diskList{v: t.v}}
	start, errStart := l.partitionNumber(p.Name, "start")
	size, errSize := l.partitionNumber(p.Name, "size")
	if errStart != nil || errSize != nil {
		return stretch{0, t.disk.Size}
	}
	return stretch{start * 512, (start + size) * 512}
}

// unheld refuses devices that somebody holds, as far as that is told, and names who. Whoever only reads them is
// waited for.
func (t *target) unheld(ctx context.Context, devices []inuse.Device) error {
	for end := time.Now().Add(settleTime); ; time.Sleep(settleStep) {
		found, err := t.v.holdersOf(ctx, devices)
		switch {
		case err != nil:
			return err
		case len(found) == 0:
			return nil
		case !onlyLooks(found) || time.Now().After(end):
			return t.inUse(found)
		}
	}
}

// free refuses a device that somebody holds.
func (t *target) free(ctx context.Context, devices []inuse.Device) error {
	if err := t.unheld(ctx, devices); err != nil {
		return err
	}
	claimed, err := t.claimed(ctx)
	if err != nil || !claimed {
		return err
	}
	found, err := t.v.holdersOf(ctx, devices) // it may have come in between
	if err != nil {
		return err
	}
	if len(found) == 0 {
		found = []inuse.Holder{{Kind: inuse.Kernel}}
	}
	return t.inUse(found)
}

// claimed tells whether somebody holds the device exclusively.
func (t *target) claimed(ctx context.Context) (bool, error) {
	claimed, err := hang.Do(ctx, t.v.calls, t.number, func() (bool, error) {
		return inuse.Claimed(t.v.root+t.path(), t.number)
	})
	return claimed, unreadable(waiting(err, t.path()))
}

// scanKey is the key of a look at all processes for the sake of a device or filesystem, which may hang because
// some process has a file of a hung server open. No device has it, and each device has its own: looks for many
// devices at once are no sign that one hangs.
func scanKey(n blk.Number) blk.Number { return blk.Number{Major: n.Major | 1<<31, Minor: n.Minor} }

// holdersOf asks who holds any of the devices.
func (v *Vol) holdersOf(ctx context.Context, devices []inuse.Device) ([]inuse.Holder, error) {
	found, err := hang.Do(ctx, v.calls, scanKey(devices[0].Number), func() ([]inuse.Holder, error) {
		return inuse.Find(ctx, v.root, os.Getpid(), devices...)
	})
	if os.IsPermission(err) {
		err = &lacking{err, "CAP_SYS_PTRACE"}
	}
	return found, waiting(err, "the list of processes")
}

// onlyLooks tells whether nobody holds a device but processes that read it, as udev does with what is new and
// lists of devices do: they let go of it in a moment.
func onlyLooks(found []inuse.Holder) bool {
	return !slices.ContainsFunc(found, func(h inuse.Holder) bool { return h.Kind != inuse.Process || !h.ReadsOnly })
}

// inUse is the refusal of a device that somebody holds.
func (t *target) inUse(found []inuse.Holder) error {
	e := &registry.BusyError{BusyData: registry.BusyData{Holders: []registry.Holder{}}}
	var names []string
	for _, h := range found {
		e.Holders = append(e.Holders, registry.Holder{
			Kind: registry.HolderKind(h.Kind), Name: registry.NonZero(h.Name), Pid: registry.NonZero(int64(h.PID)),
		})
		names = append(names, holderText(h))
	}
	e.Message = fmt.Sprintf("%s is in use: %s", t.path(), strings.Join(names, ", "))
	return e
}

func holderText(h inuse.Holder) string {
	text := strings.TrimSpace(strings.ReplaceAll(string(h.Kind), "_", " ") + " " + h.Name)
	if h.PID != 0 {
		text += fmt.Sprintf(" (process %d)", h.PID)
	}
	return text
}

// refused is the answer where a safety rule forbids a call; override is the param that lifts it, or empty.
func refused(rule, override, message string) error {
	if override != "" {
		message += "; set " + override + " to do it all the same"
	}
	return &registry.RefusedError{RefusedData: registry.RefusedData{Rule: rule, Override: registry.NonZero(override)}, Message: message}
}
