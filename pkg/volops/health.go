package volops

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/pkg/registry"
)

// The severities of a problem.
const (
	warning = "warning" // nothing is lost yet
	failed  = "failed"  // something is out of service or damaged
)

// problems lists what is not as it should be in an inventory.
func (i *inventory) problems(r *registry.VolInventoryResult) []registry.VolProblem {
	p := problemList{mayRead: capable(unix.CAP_DAC_READ_SEARCH)}
	for k := range r.Disks {
		p.disk(&r.Disks[k], i.errors)
	}
	p.flushDenied()
	for k := range r.Arrays {
		p.array(&r.Arrays[k])
	}
	for k := range r.Btrfs {
		p.btrfs(&r.Btrfs[k])
	}
	return append([]registry.VolProblem{}, p.list...)
}

// overall is what problems come to.
func overall(list []registry.VolProblem) registry.VolStatus {
	status := registry.VolStatusOk
	for _, p := range list {
		if p.Severity == failed {
			return registry.VolStatusFailed
		}
		status = registry.VolStatusDegraded
	}
	return status
}

// problemList gathers problems.
type problemList struct {
	list    []registry.VolProblem
	mayRead bool     // the daemon has the capability to read any file
	denied  []string // devices that the daemon may not read
}

func (p *problemList) add(severity, kind, resource, id, format string, args ...any) *registry.VolProblem {
	p.list = append(p.list, registry.VolProblem{
		Severity: severity, Kind: kind, Resource: resource, ID: registry.NonZero(id), Message: fmt.Sprintf(format, args...),
	})
	return &p.list[len(p.list)-1]
}

// disk judges a disk and its partitions.
func (p *problemList) disk(row *registry.InventoryDisk, errors map[string]blk.FilesystemErrors) {
	d := &row.Disk
	p.unread("disk", d.Path, d.ProbeError.Or(""))
	p.partitionTable(d)
	p.filesystem(row.Filesystem, row.Mounts, d.Path, errors)
	for k := range row.Partitions {
		part := &row.Partitions[k]
		if why := part.Partition.ProbeError.Or(""); why != d.ProbeError.Or("") {
			p.unread("partition", part.Partition.Path, why) // that of the disk is told already
		}
		if listed := part.Partition.InTable.Or(false); listed && !part.Partition.InKernel {
			p.add(warning, "not_in_kernel", "partition", part.Partition.Path,
				"the partition table lists %s and the kernel has no device for it; have it read the table again", part.Partition.Path)
		}
		p.filesystem(part.Filesystem, part.Mounts, part.Partition.Path, errors)
	}
}

// unread judges why a device was not read. A drive without a medium is as it should be.
func (p *problemList) unread(resource, path, why string) {
	switch why {
	case "", "no_medium":
	case "timeout", "busy":
		p.add(failed, "timeout", resource, path, "%s does not answer", path)
	case "no_privilege":
		p.denied = append(p.denied, path)
	default:
		p.add(failed, "unread", resource, path, "reading %s fails: %s", path, why)
	}
}

// flushDenied tells once of all that the daemon may not read.
func (p *problemList) flushDenied() {
	if len(p.denied) == 0 {
		return
	}
	remedy := "give it CAP_DAC_READ_SEARCH"
	if p.mayRead {
		remedy = "it has CAP_DAC_READ_SEARCH, so that a list of devices (of its cgroup, DeviceAllow= of its unit) or a security module forbids it"
	}
	p.add(warning, "unread", "disk", "", "the daemon may not read %s, so that what stands there is not known: %s", strings.Join(p.denied, ", "), remedy)
}

func (p *problemList) partitionTable(d *registry.Disk) {
	t := d.PartitionTable
	if t == nil || t.Type != "gpt" {
		return
	}
	for _, half := range []struct {
		name  string
		valid registry.Opt[bool]
	}{{"primary", t.PrimaryValid}, {"backup", t.BackupValid}} {
		if valid, told := half.valid.Get(); told && !valid {
			p.add(warning, "table_damaged", "disk", d.Path, "the %s GPT of %s is damaged; the other one is whole", half.name, d.Path)
		}
	}
	if atEnd, told := t.BackupAtEnd.Get(); told && !atEnd {
		p.add(warning, "table_damaged", "disk", d.Path, "the backup GPT of %s is not at its end: the disk has grown since", d.Path)
	}
}

// neverWritten are filesystems that are read-only by their nature.
var neverWritten = set("squashfs", "erofs", "iso9660", "udf", "cramfs", "romfs")

// filesystem judges what is mounted from a device; a btrfs is judged as a whole.
func (p *problemList) filesystem(f *registry.Filesystem, mounts []registry.Mount, path string, errors map[string]blk.FilesystemErrors) {
	if f == nil || f.Type != "btrfs" {
		id := path
		if f != nil {
			id = f.UUID.Or(path)
		}
		p.mounted(id, mounts)
		p.counted(id, path, errors[path])
	}
}

// mounted finds filesystems that do not answer, and those that turned read-only by themselves: a mount
// that was made for writing stays so, and only what all mounts of the filesystem share says otherwise.
func (p *problemList) mounted(id string, mounts []registry.Mount) {
	for i := range mounts {
		if why := mounts[i].UsageError.Or(""); why == "timeout" || why == "busy" {
			p.add(failed, "timeout", "filesystem", id, "the filesystem at %s does not answer", mounts[i].Target)
			break
		}
	}
	for i := range mounts {
		m := &mounts[i]
		// A mount that is read-only itself is so by somebody's wish.
		if m.ReadOnly && slices.Contains(m.Options, "rw") && !neverWritten[m.Fstype] {
			p.add(failed, "read_only", "filesystem", id, "the filesystem at %s is mounted for writing and has become read-only, as after an error", m.Target)
			return
		}
	}
}

// counted judges the damage that an ext4 has met.
func (p *problemList) counted(id, path string, e blk.FilesystemErrors) {
	if e.Count == 0 {
		return
	}
	one := p.add(warning, "corruption", "filesystem", id, "the kernel has met damage in the filesystem on %s; check it with e2fsck when it is not mounted", path)
	one.Since = registry.NonZero(e.First)
	one.Counters = map[string]int64{"errors_count": e.Count}
}

// btrfs judges a btrfs.
func (p *problemList) btrfs(row *registry.InventoryBtrfs) {
	f := &row.Filesystem
	id := f.UUID.Or("")
	p.missing(f, id)
	p.deviceStats(row.DeviceStats, id)
	p.mounted(id, row.Mounts)
	if row.Scrub != nil && row.Scrub.State == scrubInterrupted {
		one := p.add(warning, "scrub_interrupted", "filesystem", id, "a scrub was cut off; resume it")
		one.Since = row.Scrub.StartedAt
	}
	if row.Balance != nil && row.Balance.State == "paused" {
		p.add(warning, "balance_paused", "filesystem", id, "a balance is paused; resume or cancel it")
	}
	if b := f.Btrfs; b != nil && row.Filesystem.Mounted {
		for _, chunks := range []struct {
			what     string
			profiles []string
		}{{"data", b.DataProfiles}, {"metadata", b.MetadataProfiles}, {"system", b.SystemProfiles}} {
			if len(chunks.profiles) > 1 {
				p.add(warning, "multiple_profiles", "filesystem", id, "%s is in %s: a conversion is unfinished",
					chunks.what, strings.Join(chunks.profiles, " and "))
			}
		}
	}
}

// spared is how many devices may fail for certain with a profile.
var spared = map[string]int64{"raid1": 1, "raid10": 1, "raid5": 1, "raid6": 2, "raid1c3": 2, "raid1c4": 3}

// missing judges a btrfs without some of its devices. Which profiles an unmounted one has is not known.
func (p *problemList) missing(f *registry.Filesystem, id string) {
	if f.DevicesMissing == 0 {
		return
	}
	severity := warning
	if b := f.Btrfs; b != nil {
		for _, profile := range slices.Concat(b.DataProfiles, b.MetadataProfiles, b.SystemProfiles) {
			if f.DevicesMissing > spared[profile] {
				severity = failed
			}
		}
	}
	p.add(severity, "missing_device", "filesystem", id, "%d of the %d devices of the btrfs are missing", f.DevicesMissing, f.DevicesTotal.Or(0)).
		Counters = map[string]int64{"devices_missing": f.DevicesMissing}
}

// deviceStats judges the error counters of the members: requests that failed, and what was read and is
// wrong.
func (p *problemList) deviceStats(stats []registry.BtrfsDeviceStats, id string) {
	for i := range stats {
		s := &stats[i]
		name := s.Path.Or(fmt.Sprintf("device %d", s.Devid))
		for _, kind := range []struct {
			name     string
			counters map[string]int64
		}{
			{"io_errors", map[string]int64{"write_io_errs": s.WriteIoErrs, "read_io_errs": s.ReadIoErrs, "flush_io_errs": s.FlushIoErrs}},
			{"corruption", map[string]int64{"corruption_errs": s.CorruptionErrs, "generation_errs": s.GenerationErrs}},
		} {
			for counter, n := range kind.counters {
				if n == 0 {
					delete(kind.counters, counter)
				}
			}
			if len(kind.counters) > 0 {
				p.add(warning, kind.name, "filesystem", id, "the error counters of %s are not zero", name).Counters = kind.counters
			}
		}
	}
}

// array judges an MD array: what it lacks, and how far its rebuilding is.
func (p *problemList) array(a *registry.MdArray) {
	broken := a.ArrayState == "broken" || slices.Contains(a.States, "FAILED")
	switch {
	case broken:
		p.add(failed, "degraded", "array", a.Path, "%s has lost more members than it can do without", a.Path)
	case a.Degraded.Or(0) > 0:
		p.add(warning, "degraded", "array", a.Path, "%s lacks %d of its %d members", a.Path, a.Degraded.Or(0), a.RaidDisks.Or(0))
	}
	s := a.Sync
	if s == nil || !slices.Contains([]string{"resync", "recover", "reshape"}, s.Action) {
		return
	}
	message := fmt.Sprintf("%s is rebuilt (%s)", a.Path, s.Action)
	if percent, told := s.Percent.Get(); told {
		message += fmt.Sprintf(": %g %% done", percent)
	}
	counters := make(map[string]int64)
	for name, value := range map[string]registry.Opt[int64]{
		"done_bytes": s.DoneBytes, "total_bytes": s.TotalBytes, "speed_bps": s.SpeedBps, "remaining_s": s.RemainingS,
	} {
		if n, told := value.Get(); told {
			counters[name] = n
		}
	}
	p.add(warning, "rebuilding", "array", a.Path, "%s", message).Counters = counters
}
