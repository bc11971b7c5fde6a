package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The ioctls of linux/btrfs.h for long work.
const (
	iocScrub          = iocRead | iocWrite | 1024<<16 | 0x94<<8 | 27
	iocScrubCancel    = 0x94<<8 | 28
	iocBalance        = iocRead | iocWrite | 1024<<16 | 0x94<<8 | 32
	iocBalanceControl = iocWrite | 4<<16 | 0x94<<8 | 33

	scrubReadOnly = 1
	balanceResume = 1 << 4

	controlPause  = 1
	controlCancel = 2
)

// Scrub reads a device from an offset to its end and mends what is wrong, unless readOnly. It lasts for as long
// as that takes and returns what it found. Errors: ECANCELED where CancelScrub ended it, EINPROGRESS where one
// runs, ENODEV.
func (f *Filesystem) Scrub(ctx context.Context, device, from uint64, readOnly bool) (ScrubProgress, error) {
	a := &scrubRun{device: device, start: from, end: ^uint64(0)}
	if readOnly {
		a.flags = scrubReadOnly
	}
	err := ioctl(ctx, f, "scrub", sysAdmin, iocScrub, a)
	return a.progress, err
}

// scrubRun is struct btrfs_ioctl_scrub_args with what a start takes.
type scrubRun struct {
	device, start, end, flags uint64
	progress                  ScrubProgress
	_                         [109]uint64
}

// CancelScrub ends the scrubs of all devices and returns when they have ended. The error is ENOTCONN where none
// runs.
func (f *Filesystem) CancelScrub(ctx context.Context) error {
	return ioctl(ctx, f, "cancel scrub of", sysAdmin, iocScrubCancel, new(uint64))
}

// BalanceWork is a balance to be started or, with Resume, to be gone on with.
type BalanceWork struct {
	Resume                 bool         `json:"resume,omitempty"`
	Force                  bool         `json:"force,omitempty"` // it may lower redundancy, and take up system chunks
	Data, Metadata, System *BalanceArgs `json:",omitempty"`      // nil: that type is left alone
}

// BalanceProgress is how far a balance had come when it ended.
type BalanceProgress struct {
	Considered uint64 // chunks looked at
	Completed  uint64 // chunks moved
}

// DoBalance balances for as long as that takes. Errors: ECANCELED where it was paused or cancelled, EINPROGRESS
// where one runs or is paused or another exclusive operation is under way, ENOTCONN where there is none to
// resume.
func (f *Filesystem) DoBalance(ctx context.Context, w *BalanceWork) (BalanceProgress, error) {
	a := new(balanceArgs)
	if w.Resume {
		a.flags = balanceResume
	}
	if w.Force {
		a.flags |= balanceForce
	}
	for _, part := range [...]struct {
		bit  uint64
		from *BalanceArgs
		to   *BalanceArgs
	}{{balanceData, w.Data, &a.data}, {balanceMetadata, w.Metadata, &a.metadata}, {balanceSystem, w.System, &a.system}} {
		if part.from != nil {
			a.flags |= part.bit
			*part.to = *part.from
		}
	}
	err := ioctl(ctx, f, "balance", sysAdmin, iocBalance, a)
	if err != nil && !errors.Is(err, syscall.ECANCELED) {
		return BalanceProgress{}, err // the kernel tells no more
	}
	return BalanceProgress{Considered: a.considered, Completed: a.completed}, err
}

// PauseBalance has a balance stop behind the present chunk and returns when it has. The error is ENOTCONN where
// none runs.
func (f *Filesystem) PauseBalance(ctx context.Context) error {
	return f.controlBalance(ctx, controlPause)
}

// CancelBalance ends a running or paused balance behind the present chunk and returns when it has ended. The
// error is ENOTCONN where there is none.
func (f *Filesystem) CancelBalance(ctx context.Context) error {
	return f.controlBalance(ctx, controlCancel)
}

// controlBalance passes a number where other calls pass a pointer.
func (f *Filesystem) controlBalance(ctx context.Context, command uintptr) error {
	err := f.wait(ctx, func() error {
		_, err := retry(func() (int, error) {
			if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(f.fd), iocBalanceControl, command); errno != 0 {
				return 0, errno
			}
			return 0, nil
		})
		return err
	})
	return f.opError("control balance of", sysAdmin, err)
}

// WriteScrubRecord writes down what is known of a scrub, in the file and the format of btrfs-progs (see
// ParseScrubRecord), under the lock that it keeps to. All records are of one filesystem.
func WriteScrubRecord(dir string, records []ScrubRecord) error {
	if len(records) == 0 {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write scrub record: %w", err)
	}
	path := filepath.Join(dir, "scrub.status."+records[0].UUID.String())
	f, err := os.OpenFile(path+"_tmp", os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("write scrub record: %w", err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) { // the next one will do
			return nil
		}
		return fmt.Errorf("lock scrub record: %w", err)
	}
	text := "scrub status:1\n"
	for i := range records {
		text += records[i].line()
	}
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("write scrub record: %w", err)
	}
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		return fmt.Errorf("write scrub record: %w", err)
	}
	if err := errors.Join(f.Sync(), os.Rename(path+"_tmp", path)); err != nil {
		return fmt.Errorf("write scrub record: %w", err)
	}
	return nil
}

// line is a record as btrfs-progs writes it.
func (r *ScrubRecord) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d", r.UUID, r.Device)
	for _, c := range r.Progress.fields() {
		if c.name == "unverified_errors" { // btrfs-progs has no such name, and gives up on a line with one
			continue
		}
		fmt.Fprintf(&b, "|%s:%d", c.name, *c.value)
	}
	number := func(is bool) int {
		if is {
			return 1
		}
		return 0
	}
	started, resumed := int64(0), int64(0)
	if !r.Started.IsZero() {
		started = r.Started.Unix()
	}
	if !r.Resumed.IsZero() {
		resumed = r.Resumed.Unix()
	}
	fmt.Fprintf(&b, "|t_start:%d|t_resumed:%d|duration:%d|canceled:%d|finished:%d\n", started, resumed, int64(r.Duration.Seconds()), number(r.Canceled), number(r.Finished))
	return b.String()
}

// ProfileBits is the bit of a profile by its name, AvailSingle for single; 0 for none that is known.
func ProfileBits(name string) BlockGroup {
	if name == "single" {
		return AvailSingle
	}
	for i, n := range profileNames {
		if n == name {
			return RAID0 << i
		}
	}
	return 0
}

// Folder is a further descriptor of what the filesystem was opened by. The caller closes it.
func (f *Filesystem) Folder() (*os.File, error) {
	fd, err := unix.FcntlInt(uintptr(f.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, &OpError{Op: "open", Path: f.path, Err: err}
	}
	return os.NewFile(uintptr(fd), f.path), nil
}
