package btrfswork

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/geomind/my_os_server/internal/btrfs"
)

// recordEvery is how often the record is written, as btrfs-progs does it.
const recordEvery = 5 * time.Second

// run scrubs all devices side by side and writes down how far it has come and how it ended.
func (s *Scrub) run(ctx context.Context, f *btrfs.Filesystem) error {
	r := &scrubbing{job: s, fs: f, records: append([]btrfs.ScrubRecord{}, s.Devices...), base: s.Devices, began: time.Now(), ended: make([]bool, len(s.Devices))}
	done := make(chan struct{})
	var ticking sync.WaitGroup
	ticking.Go(func() { r.tick(ctx, done) })
	errs := make([]error, len(s.Devices))
	var devices sync.WaitGroup
	for i := range s.Devices {
		if s.Devices[i].Finished {
			r.ended[i] = true
			continue
		}
		devices.Go(func() { errs[i] = r.device(ctx, i) })
	}
	devices.Wait()
	close(done)
	ticking.Wait()
	err := errors.Join(errs...)
	if errors.Is(err, syscall.EINPROGRESS) { // another one runs, and keeps the record
		return syscall.EINPROGRESS
	}
	return errors.Join(err, r.write())
}

// scrubbing is a scrub under way.
type scrubbing struct {
	job   *Scrub
	fs    *btrfs.Filesystem
	base  []btrfs.ScrubRecord // as it was at the start
	began time.Time

	mu      sync.Mutex // guards what follows
	records []btrfs.ScrubRecord
	ended   []bool
}

// device scrubs one device. That it was cancelled, or is gone, is written down and no error.
func (r *scrubbing) device(ctx context.Context, i int) error {
	runtime.LockOSThread() // the kernel works in this thread
	defer runtime.UnlockOSThread()
	d := &r.base[i]
	progress, err := r.fs.Scrub(ctx, d.Device, d.Progress.LastPhysical, r.job.ReadOnly)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note(i, progress)
	r.ended[i] = true
	switch {
	case err == nil:
		r.records[i].Finished = true
	case errors.Is(err, syscall.ECANCELED):
		r.records[i].Canceled = true
	case errors.Is(err, syscall.ENODEV):
	default:
		return err
	}
	return nil
}

// note takes over how far a device has come since the start. The caller holds mu.
func (r *scrubbing) note(i int, since btrfs.ScrubProgress) {
	sum := r.base[i].Progress
	sum.Add(&since)
	if since.LastPhysical == 0 {
		sum.LastPhysical = r.base[i].Progress.LastPhysical
	}
	r.records[i].Progress = sum
	r.records[i].Duration = r.base[i].Duration + time.Since(r.began)
}

// tick writes down the present state from time to time.
func (r *scrubbing) tick(ctx context.Context, done <-chan struct{}) {
	timer := time.NewTimer(settle) // not before it is known that this one runs
	defer timer.Stop()
	for {
		select {
		case <-done:
			return
		case <-timer.C:
		}
		for i := range r.base {
			progress, running, err := r.fs.ScrubProgress(ctx, r.base[i].Device)
			r.mu.Lock()
			if err == nil && running && !r.ended[i] {
				r.note(i, progress)
			}
			r.mu.Unlock()
		}
		_ = r.write() // the record is for others; the scrub does not end for it
		timer.Reset(recordEvery)
	}
}

func (r *scrubbing) write() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return btrfs.WriteScrubRecord(r.job.Records, r.records)
}
