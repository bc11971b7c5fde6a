package volops

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/btrfs"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/pkg/registry"
)

// openBtrfs is a mounted btrfs that one call asks. Every system call on it is charged to the
// filesystem's device number.
type openBtrfs struct {
	*btrfs.Filesystem
	info   *btrfs.Info
	number blk.Number // of the filesystem, which all its mounts share
	sysfs  btrfs.Sysfs
	root   string // of /sys
}

// btrfsAt opens the btrfs that a path lies on. The caller closes it.
func (v *Vol) btrfsAt(ctx context.Context, path string) (*openBtrfs, error) {
	s, at, err := v.askPath(ctx, path)
	if err != nil {
		return nil, err
	}
	if s.Type != unix.BTRFS_SUPER_MAGIC {
		return nil, noBtrfs(path)
	}
	m := v.mountOf(s, at)
	if m == nil { // the list of mounts does not tell
		m = &mount.Mount{Target: path}
	}
	f, err := v.openBtrfs(ctx, at, m)
	switch {
	case errors.Is(err, btrfs.ErrNotBtrfs):
		return nil, noBtrfs(path)
	case err != nil:
		return nil, pathError(err, path)
	}
	return f, nil
}

// openBtrfs opens what is mounted as m, by a path on it.
func (v *Vol) openBtrfs(ctx context.Context, path string, m *mount.Mount) (*openBtrfs, error) {
	f, err := btrfs.Open(ctx, path, v.waiter(number(m), "the filesystem at "+m.Target))
	if err != nil {
		return nil, err
	}
	info, err := f.Info(ctx)
	if err != nil {
		f.Close()
		return nil, err
	}
	return v.openedBtrfs(f, info, m), nil
}

func (v *Vol) openedBtrfs(f *btrfs.Filesystem, info *btrfs.Info, m *mount.Mount) *openBtrfs {
	return &openBtrfs{f, info, number(m), v.btrfsSysfs(), v.root + "/sys"}
}

func (v *Vol) btrfsSysfs() btrfs.Sysfs { return btrfs.NewSysfs(v.root + "/sys") }

// waiter bounds the wait for calls on what bears a device number; what names it to people.
func (v *Vol) waiter(n blk.Number, what string) btrfs.Waiter {
	return func(ctx context.Context, call func() error) error {
		_, err := hang.Do(ctx, v.calls, n, func() (struct{}, error) { return struct{}{}, call() })
		return waiting(err, what)
	}
}

// noBtrfs is the answer about a path that lies on another filesystem.
func noBtrfs(path string) error {
	return &registry.NotFoundError{
		NotFoundData: registry.NotFoundData{Resource: "btrfs", ID: path},
		Message:      fmt.Sprintf("%s lies on no btrfs", path),
	}
}

// uuid is the filesystem's UUID as the table has it.
func (f *openBtrfs) uuid() string { return f.info.UUID.String() }

// missing tells whether a member is not there. Kernels before 5.6 show it by its empty path alone.
func (f *openBtrfs) missing(d *btrfs.Device) bool {
	state, _ := f.sysfs.Device(f.info.UUID, d.ID)
	return state.Missing || d.Path == ""
}

// seed tells whether a member belongs to the read-only filesystem underneath.
func (f *openBtrfs) seed(d *btrfs.Device) bool {
	state, known := f.sysfs.Device(f.info.UUID, d.ID)
	return known && state.Filesystem != f.info.UUID
}

// devicePath is the path of a member that is there.
func (f *openBtrfs) devicePath(d *btrfs.Device) registry.Opt[string] {
	if f.missing(d) {
		return registry.Opt[string]{}
	}
	return registry.NonZero(d.Path)
}

// deviceSize is the size of the block device that a member is on; false where that cannot be told.
func (f *openBtrfs) deviceSize(d *btrfs.Device) (uint64, bool) {
	node, err := blk.StatNode(d.Path)
	if err != nil {
		return 0, false
	}
	sectors, err := readNumber(fmt.Sprintf("%s/dev/block/%d:%d/size", f.root, node.Number.Major, node.Number.Minor))
	return sectors * 512, err == nil
}

// readNumber reads a file of sysfs that holds a number.
func readNumber(path string) (uint64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSuffix(string(b), "\n"), 10, 64)
}

// isNoDevice tells whether the error says that a member is no longer there.
func isNoDevice(err error) bool { return errors.Is(err, unix.ENODEV) }

// quotaState says in a word whether quotas can be relied upon.
func quotaState(q btrfs.QuotaStatus) string {
	switch {
	case !q.On:
		return "off"
	case q.Simple:
		return "simple"
	case q.Rescanning:
		return "rescanning"
	case q.Inconsistent:
		return "inconsistent"
	}
	return "consistent"
}

// percent is part of whole with two decimals, absent where there is no whole. Counters that are read
// while they move can leave a part larger than its whole.
func percent(part, whole uint64) registry.Opt[float64] {
	if whole == 0 {
		return registry.Opt[float64]{}
	}
	return registry.Some(min(100, math.Round(float64(part)*1e4/float64(whole))/100))
}

// instant is a time as the table has it. What lies outside the years that RFC 3339 can write, as a
// damaged tree may hold, is absent.
func instant(t time.Time) registry.Opt[time.Time] {
	if t.Year() > 9999 || t.Year() < 0 {
		return registry.Opt[time.Time]{}
	}
	return registry.NonZero(t)
}

// flagDigits writes bits as whole bytes without leading zeros: 01, 0200.
func flagDigits(flags uint64) string {
	digits := strconv.FormatUint(flags, 16)
	if len(digits)%2 != 0 {
		return "0" + digits
	}
	return digits
}
