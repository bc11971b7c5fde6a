package volops

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/geomind/my_os_server/internal/btrfs"
	"github.com/geomind/my_os_server/pkg/registry"
)

// scrubFolder is where btrfs-progs keeps its records.
const scrubFolder = "/var/lib/btrfs"

// The states of a scrub.
const (
	scrubNever       = "never"
	scrubRunning     = "running"
	scrubFinished    = "finished"
	scrubCanceled    = "canceled"
	scrubInterrupted = "interrupted"
)

// ScrubStatus answers vol.scrub_status: what the kernel says of a scrub that runs, and what is written
// down of when it began and of the last one.
func (v *Vol) ScrubStatus(ctx context.Context, p *registry.VolScrubStatusParams) (*registry.VolScrubStatusResult, error) {
	f, err := v.btrfsAt(ctx, p.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	scrub, err := v.scrubOf(ctx, f)
	if err != nil {
		return nil, err
	}
	return &registry.VolScrubStatusResult{Scrub: scrub}, nil
}

// scrubOf is the running or the last scrub of a filesystem.
func (v *Vol) scrubOf(ctx context.Context, f *openBtrfs) (scrub registry.BtrfsScrub, err error) {
	devices, err := f.scrubs(ctx)
	if err != nil {
		return scrub, err
	}
	spaces, err := f.Spaces(ctx)
	if err != nil {
		return scrub, err
	}
	// The record comes last: while a scrub runs it is the newest that way.
	records, err := btrfs.ReadScrubRecord(v.root+scrubFolder, f.info.UUID)
	if err != nil && !errors.Is(err, btrfs.ErrScrubRecord) { // a damaged record is none, as it is to btrfs-progs
		return scrub, unreadable(err)
	}
	for i := range devices {
		devices[i].record = scrubRecord(records, devices[i].ID)
	}
	return scrubStatus(f.uuid(), devices, spaces, time.Now()), nil
}

// deviceScrub is what is known of the scrub of one device.
type deviceScrub struct {
	btrfs.Device
	path    registry.Opt[string]
	running bool
	live    btrfs.ScrubProgress // of a running one, since it was last resumed
	record  *btrfs.ScrubRecord  // nil: none
}

func (f *openBtrfs) scrubs(ctx context.Context) ([]deviceScrub, error) {
	members, err := f.Devices(ctx)
	if err != nil {
		return nil, err
	}
	devices := make([]deviceScrub, 0, len(members))
	for i := range members {
		d := deviceScrub{Device: members[i], path: f.devicePath(&members[i])}
		if d.live, d.running, err = f.ScrubProgress(ctx, d.ID); err != nil && !isNoDevice(err) {
			return nil, err
		}
		devices = append(devices, d)
	}
	return devices, nil
}

func scrubRecord(records []btrfs.ScrubRecord, device uint64) *btrfs.ScrubRecord {
	i := slices.IndexFunc(records, func(r btrfs.ScrubRecord) bool { return r.Device == device })
	if i < 0 {
		return nil
	}
	return &records[i]
}

// scrubStatus puts together what is known, as of now.
func scrubStatus(uuid string, devices []deviceScrub, spaces []btrfs.Space, now time.Time) registry.BtrfsScrub {
	s := registry.BtrfsScrub{FilesystemUUID: uuid, State: scrubNever, Devices: []registry.BtrfsScrubDevice{}}
	var sum btrfs.ScrubProgress
	for i := range devices {
		row, progress := devices[i].row()
		s.Devices = append(s.Devices, row)
		sum.Add(&progress)
		s.State = joinStates(s.State, row.State)
		s.StartedAt = earlier(s.StartedAt, row.StartedAt)
		s.ResumedAt = later(s.ResumedAt, row.ResumedAt)
		if d, ok := row.DurationS.Get(); ok {
			s.DurationS = registry.Some(max(d, s.DurationS.Or(0)))
		}
	}
	if s.State == scrubNever {
		s.Devices = s.Devices[:0]
		return s
	}
	progress := scrubCounters(&sum)
	s.Progress = &progress
	s.Errors = registry.Some(clip(sum.Errors()))
	rateScrub(&s, scrubbedBytes(&sum), toScrub(spaces), now)
	return s
}

// toScrub is how much there is to read: all that is in use, in each of its copies. Of RAID5 and RAID6
// the parity is left out, as btrfs-progs does.
func toScrub(spaces []btrfs.Space) (total uint64) {
	for _, s := range spaces {
		total += s.Used * s.Flags.Copies()
	}
	return total
}

// rateScrub fills in how far the scrub is and how fast.
func rateScrub(s *registry.BtrfsScrub, scrubbed, total uint64, now time.Time) {
	s.TotalBytes = registry.Some(clip(total))
	s.ScrubbedBytes = registry.Some(clip(scrubbed))
	s.Percent = percent(scrubbed, total)
	seconds, known := s.DurationS.Get()
	if !known {
		return
	}
	rate := scrubbed / uint64(max(seconds, 1))
	s.RateBps = registry.Some(clip(rate * 8))
	if s.State == scrubRunning && rate > 0 {
		left := int64((total - min(scrubbed, total)) / rate)
		s.RemainingS = registry.Some(left)
		s.EndsAt = instant(now.Add(time.Duration(min(left, maxWait)) * time.Second).UTC().Truncate(time.Second))
	}
}

// maxWait bounds an estimate: a hundred years.
const maxWait = 100 * 365 * 24 * 3600

// row is the device's row, and its counters.
func (d *deviceScrub) row() (registry.BtrfsScrubDevice, btrfs.ScrubProgress) {
	row := registry.BtrfsScrubDevice{Devid: clip(d.ID), Path: d.path, State: scrubNever, TotalBytes: registry.Some(clip(d.Allocated))}
	r := d.record
	if r != nil && (r.Started.IsZero() || d.running && (r.Finished || r.Canceled)) {
		r = nil // not begun yet; or of the last scrub, and who runs the present one writes nothing down
	}
	var progress btrfs.ScrubProgress
	if r != nil {
		progress = r.Progress
		row.StartedAt, row.ResumedAt = instant(r.Started), instant(r.Resumed)
		row.DurationS = registry.Some(int64(r.Duration / time.Second))
		row.State = recordedState(r)
	}
	if d.running {
		row.State = scrubRunning
		// The kernel counts from the last resumption; the record, a few seconds old, from the start.
		if scrubbedBytes(&d.live) >= scrubbedBytes(&progress) {
			progress = d.live
		}
	}
	row.Progress = scrubCounters(&progress)
	return row, progress
}

func scrubbedBytes(p *btrfs.ScrubProgress) uint64 { return p.DataBytesScrubbed + p.TreeBytesScrubbed }

func recordedState(r *btrfs.ScrubRecord) string {
	switch {
	case r.Canceled:
		return scrubCanceled
	case r.Finished:
		return scrubFinished
	}
	return scrubInterrupted
}

// stateRank orders states by what the whole is where its devices differ: the higher one counts.
var stateRank = []string{scrubNever, scrubFinished, scrubInterrupted, scrubCanceled, scrubRunning}

func joinStates(a, b string) string {
	return stateRank[max(slices.Index(stateRank, a), slices.Index(stateRank, b))]
}

func earlier(a, b registry.Opt[time.Time]) registry.Opt[time.Time] {
	x, ok := a.Get()
	if y, other := b.Get(); !ok || other && y.Before(x) {
		return b
	}
	return a
}

func later(a, b registry.Opt[time.Time]) registry.Opt[time.Time] {
	x, ok := a.Get()
	if y, other := b.Get(); !ok || other && y.After(x) {
		return b
	}
	return a
}

func scrubCounters(p *btrfs.ScrubProgress) registry.BtrfsScrubProgress {
	return registry.BtrfsScrubProgress{
		DataExtentsScrubbed: clip(p.DataExtentsScrubbed),
		TreeExtentsScrubbed: clip(p.TreeExtentsScrubbed),
		DataBytesScrubbed:   clip(p.DataBytesScrubbed),
		TreeBytesScrubbed:   clip(p.TreeBytesScrubbed),
		ReadErrors:          clip(p.ReadErrors),
		CsumErrors:          clip(p.CsumErrors),
		VerifyErrors:        clip(p.VerifyErrors),
		NoCsum:              clip(p.NoCsum),
		CsumDiscards:        clip(p.CsumDiscards),
		SuperErrors:         clip(p.SuperErrors),
		MallocErrors:        clip(p.MallocErrors),
		UncorrectableErrors: clip(p.UncorrectableErrors),
		CorrectedErrors:     clip(p.CorrectedErrors),
		LastPhysical:        clip(p.LastPhysical),
		UnverifiedErrors:    clip(p.UnverifiedErrors),
	}
}
