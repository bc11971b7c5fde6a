package volops

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// devicesOf resolves, pins and takes turns on the devices of a write and on what else it is about, and reads
// what they are. expect may be shorter than names. The caller closes what comes back.
func (v *Vol) devicesOf(ctx context.Context, param string, names []string, expect []registry.DeviceExpectation, also ...state.Object) (_ *held, err error) {
	if v.state == nil {
		return nil, errors.New("write to a device: there is no state folder to record it in")
	}
	h := &held{}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	allowed, cancel := newAllowance(ctx)
	defer cancel()
	d := v.devices(allowed)
	defer d.close()
	for i, name := range names {
		t, err := v.pin(ctx, d, name)
		if err != nil {
			return nil, err
		}
		h.targets = append(h.targets, t)
		for j, other := range h.targets[:i] {
			if other.number == t.number {
				return nil, invalid(fmt.Sprintf("%s[%d]", param, i), fmt.Sprintf("names the same device as %s[%d]", param, j))
			}
		}
	}
	if h.unlock, err = v.takeTurn(ctx, h.targets, also...); err != nil {
		return nil, err
	}
	for i, t := range h.targets {
		if err := t.look(ctx); err != nil {
			return nil, err
		}
		if i < len(expect) {
			if err := t.expected(&expect[i]); err != nil {
				return nil, err
			}
		}
	}
	return h, nil
}

// held are the devices of one write, in this call's turn.
type held struct {
	targets []*target
	unlock  func()
}

// close lets go of the devices and ends the turn: where a step on one of them hangs on, as soon as that ends.
func (h *held) close() {
	for _, t := range h.targets {
		if t.running.Load() > 0 {
			go func() {
				for _, t := range h.targets {
					t.steps.Wait()
				}
				h.letGo()
			}()
			return
		}
	}
	h.letGo()
}

func (h *held) letGo() {
	if h.unlock != nil {
		h.unlock()
	}
	for _, t := range h.targets {
		t.close()
	}
}

// takeTurn waits until no other call writes to the disks, nor to what else is named. Where as many calls wait as
// may hang on one device, it is busy.
func (v *Vol) takeTurn(ctx context.Context, targets []*target, also ...state.Object) (unlock func(), err error) {
	most := hang.DefaultLimits().PerKey
	objects := slices.Clone(also)
	var leave []func()
	gone := func() {
		for _, f := range leave {
			f()
		}
	}
	joined := make(map[string]bool)
	for _, t := range targets {
		if joined[t.object()] {
			continue
		}
		joined[t.object()] = true
		f, ok := v.turns.join(t.object(), most)
		if !ok {
			gone()
			return nil, waiting(&hang.BusyError{Calls: most}, nodePath(t.whole))
		}
		leave = append(leave, f)
		objects = append(objects, state.Exclusive(t.object()))
	}
	release, err := v.state.Lock(ctx, objects...)
	if err != nil {
		gone()
		return nil, err
	}
	return func() { release(); gone() }, nil
}

// turns counts the calls that write to an object or wait to.
type turns struct {
	mu    sync.Mutex
	calls map[string]int
}

func (s *turns) join(object string, most int) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = make(map[string]int)
	}
	if s.calls[object] == most {
		return nil, false
	}
	s.calls[object]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.calls[object]--; s.calls[object] == 0 {
			delete(s.calls, object)
		}
	}, true
}

// deviceDetail is what the journal keeps of a write to a device: enough to know the device again after a
// boot, where its name may be another's.
type deviceDetail struct {
	Name        string             `json:"name,omitempty"` // of what it is about, as people had it then
	Devices     []journalledDevice `json:"devices"`
	UUID        string             `json:"uuid,omitempty"`        // of what was to be made
	Provisional string             `json:"provisional,omitempty"` // what it bears until it is whole
}

type journalledDevice struct {
	Path      string `json:"path"`
	Disk      string `json:"disk"`
	Boot      string `json:"boot,omitempty"`    // in which it was so: state.Boot.Mark
	Sequence  int64  `json:"diskseq,omitempty"` // of the disk, in that boot
	Serial    string `json:"serial,omitempty"`
	WWN       string `json:"wwn,omitempty"`
	SizeBytes int64  `json:"size_bytes"`
	Sector    int64  `json:"sector_bytes"`
	TableUUID string `json:"table_uuid,omitempty"`
	PartUUID  string `json:"partuuid,omitempty"`
}

// begin records that a write to the devices is about to begin. From here on it runs to its end whatever
// becomes of the caller.
func (v *Vol) begin(ctx context.Context, method string, targets []*target, uuid string) (*state.Write, error) {
	return v.beginAs(ctx, method, targets, deviceDetail{UUID: uuid})
}

// beginAs is begin with what is to be known beyond. Where the detail names nothing, it is about the first of the
// devices. A later write that is done strikes it off where that is about the same name and devices: the devices as
// they are known, since a path may lead to another by then.
func (v *Vol) beginAs(ctx context.Context, method string, targets []*target, detail deviceDetail) (*state.Write, error) {
	subject := detail.Name
	for _, t := range targets {
		j := v.journalled(t)
		detail.Devices = append(detail.Devices, j)
		subject += "[" + j.identity() + "]"
	}
	detail.Name = cmp.Or(detail.Name, targets[0].path())
	raw, err := json.Marshal(detail)
	if err != nil {
		return nil, err
	}
	return v.state.Begin(ctx, state.Intent{Method: method, Class: state.Report, Subject: subject, Detail: raw})
}

// journalled is what the journal keeps of a device.
func (v *Vol) journalled(t *target) journalledDevice {
	j := journalledDevice{
		Path: t.path(), Disk: nodePath(t.whole), Boot: v.state.Boot().Mark(), Sequence: t.disk.Sequence.Value,
		Serial: t.disk.Serial, WWN: t.disk.WWN, SizeBytes: t.size, Sector: t.sector,
	}
	if t.contents.Table != nil {
		j.TableUUID = t.contents.Table.UUID
	}
	if t.entry != nil {
		j.PartUUID = t.entry.UUID
	}
	return j
}

// notApplied says that a write failed before the host was touched.
func notApplied(err error) error { return appliedAs(err, registry.AppliedNo) }

// appliedAs says of an error whether the write reached the host. Errors of the table that have no place for
// that stay as they are.
func appliedAs(err error, applied registry.Applied) error {
	var (
		typed registry.WireError
		own   *registry.OSError
		needs interface{ Capability() string }
		errno unix.Errno
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		c := *own
		c.Applied = registry.Some(applied)
		return &c
	case errors.As(err, &typed), errors.As(err, &needs) && needs.Capability() != "", !errors.As(err, &errno):
		return err
	}
	return &registry.OSError{
		OsErrorData: registry.OsErrorData{Op: strings.TrimSuffix(err.Error(), ": "+errno.Error()), Errno: errnoName(errno), Applied: registry.Some(applied)},
		Message:     err.Error(),
	}
}

// invalid is the answer where params do not fit each other, or the host.
func invalid(path, message string) error {
	return &registry.ParamsError{Faults: []registry.Fault{{Path: path, Message: message}}}
}
