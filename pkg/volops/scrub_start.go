package volops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/btrfs"
	"github.com/geomind/my_os_server/internal/btrfswork"
	"github.com/geomind/my_os_server/internal/hostexec"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// startTime is how long a process for a scrub or balance has to begin.
const startTime = 20 * time.Second

// ScrubStart answers vol.scrub_start.
func (v *Vol) ScrubStart(ctx context.Context, p *registry.VolScrubStartParams) (*registry.VolScrubStartResult, error) {
	action := p.Action.Or(registry.ScrubActionStart)
	if p.ReadOnly.IsSet() && action == registry.ScrubActionCancel {
		return nil, invalid("read_only", "does not belong to cancel")
	}
	s, err := v.openWork(ctx, p.Path, "scrub/")
	if err != nil {
		return nil, notApplied(err)
	}
	defer s.close()
	changed := true
	if action == registry.ScrubActionCancel {
		changed, err = s.cancelScrub(ctx)
	} else {
		err = s.startScrub(ctx, action == registry.ScrubActionResume, p.ReadOnly.Or(false))
	}
	if err != nil {
		return nil, err
	}
	row, err := v.scrubOf(ctx, s.fs)
	if err != nil {
		return nil, appliedAs(err, registry.AppliedYes)
	}
	return &registry.VolScrubStartResult{Changed: changed, Scrub: row}, nil
}

// longWork is a btrfs on which long work is started or ended, in this call's turn.
type longWork struct {
	v      *Vol
	fs     *openBtrfs
	folder *os.File
	unlock func()
}

func (w *longWork) close() {
	w.unlock()
	w.folder.Close()
	w.fs.Close()
}

// openWork opens the btrfs that a path lies on. kind tells what takes turns.
func (v *Vol) openWork(ctx context.Context, path, kind string) (*longWork, error) {
	path, err := v.checkPath(path, "path")
	if err != nil {
		return nil, err
	}
	found, err := v.btrfsAt(ctx, path) // of a file the folder that it lies in
	if err != nil {
		return nil, err
	}
	root, err := found.Folder()
	if err != nil {
		found.Close()
		return nil, err
	}
	unlock, err := v.state.Lock(ctx, state.Exclusive(kind+found.uuid()))
	if err != nil {
		root.Close()
		found.Close()
		return nil, err
	}
	return &longWork{v: v, fs: found, folder: root, unlock: unlock}, nil
}

func (w *longWork) cancelScrub(ctx context.Context) (bool, error) {
	err := w.fs.CancelScrub(ctx)
	if errors.Is(err, unix.ENOTCONN) {
		return false, nil
	}
	return true, appliedAs(err, registry.AppliedUnknown)
}

// startScrub starts a scrub of all devices that are there, from the start or from where each had come.
func (w *longWork) startScrub(ctx context.Context, resume, readOnly bool) error {
	devices, err := w.fs.scrubs(ctx)
	if err != nil {
		return notApplied(err)
	}
	records, err := btrfs.ReadScrubRecord(w.v.root+scrubFolder, w.fs.info.UUID)
	if err != nil && !errors.Is(err, btrfs.ErrScrubRecord) {
		return notApplied(unreadable(err))
	}
	job := &btrfswork.Scrub{Records: w.v.root + scrubFolder, ReadOnly: readOnly}
	left := false
	for i := range devices {
		d := &devices[i]
		if d.running {
			return w.conflict("scrub", "a scrub runs already")
		}
		if w.fs.missing(&d.Device) {
			continue
		}
		one := btrfs.ScrubRecord{UUID: w.fs.info.UUID, Device: d.ID, Started: time.Now()}
		if old := scrubRecord(records, d.ID); resume && old != nil {
			one = *old
			one.Resumed, one.Canceled = time.Now(), false
			left = left || !old.Finished
		}
		job.Devices = append(job.Devices, one)
	}
	if resume && !left {
		return &registry.NotFoundError{
			NotFoundData: registry.NotFoundData{Resource: "scrub", ID: w.fs.uuid()},
			Message:      "there is no scrub to be resumed",
		}
	}
	return w.start(ctx, "scrub", btrfswork.Job{Scrub: job})
}

func (w *longWork) conflict(resource, message string) error {
	return &registry.ConflictError{ConflictData: registry.ConflictData{Resource: resource, ID: w.fs.uuid()}, Message: message}
}

// start has a process of its own do the work, and waits until that has begun.
func (w *longWork) start(ctx context.Context, what string, job btrfswork.Job) error {
	ours, theirs, err := os.Pipe()
	if err != nil {
		return notApplied(err)
	}
	defer ours.Close()
	defer theirs.Close()
	job.Folder = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), w.folder.Fd())
	job.Report = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), theirs.Fd())
	args, err := btrfswork.Args(job)
	if err != nil {
		return err
	}
	unit := fmt.Sprintf("my_os_server-%s-%s-%d", what, w.fs.uuid(), time.Now().UnixNano())
	if err := hostexec.Detach(ctx, unit, args...); err != nil {
		return toolError(err, registry.AppliedNo)
	}
	err = btrfswork.Started(ours, startTime)
	switch {
	case errors.Is(err, unix.EINPROGRESS):
		return w.conflict(what, "a "+what+" or another exclusive operation is under way, or a balance is paused")
	case errors.Is(err, unix.ENOTCONN):
		return &registry.NotFoundError{
			NotFoundData: registry.NotFoundData{Resource: what, ID: w.fs.uuid()},
			Message:      "there is no " + what + " to be resumed",
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return appliedAs(fmt.Errorf("start %s of %s: %w", what, w.fs.uuid(), unix.ETIMEDOUT), registry.AppliedUnknown)
	case err != nil:
		return appliedAs(fmt.Errorf("start %s of %s: %w", what, w.fs.uuid(), err), registry.AppliedNo)
	}
	return nil
}
