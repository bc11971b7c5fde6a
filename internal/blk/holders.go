package blk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Swap is one line of /proc/swaps.
type Swap struct {
	Path string // of the device or file, as it was when swapon was called; " (deleted)" behind it where it is gone
	File bool   // a file in a filesystem, not a device

	Size, Used int64 // bytes
	Priority   int64 // higher is used first
}

// ReadSwaps reads what is swapped to. A kernel without swap has none.
func ReadSwaps(root string) ([]Swap, error) {
	text, err := os.ReadFile(root + "/proc/swaps")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseSwaps(text)
}

// parseSwaps takes a line of headings, then for each swap: path (with blanks and backslashes in octal),
// type (partition or file), size and use in KiB, priority, parted by blanks and tabs.
func parseSwaps(text []byte) ([]Swap, error) {
	var list []Swap
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(line, []byte("Filename")) {
			continue
		}
		fields := bytes.Fields(line)
		if len(fields) < 5 {
			return nil, fmt.Errorf("/proc/swaps: line %q: fewer than five fields", line)
		}
		swap := Swap{Path: unescape(string(fields[0])), File: string(fields[1]) == "file"}
		for i, number := range []*int64{&swap.Size, &swap.Used, &swap.Priority} {
			n, err := strconv.ParseInt(string(fields[2+i]), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("/proc/swaps: line %q: %w", line, err)
			}
			*number = n
		}
		swap.Size, swap.Used = kibibytes(swap.Size), kibibytes(swap.Used)
		list = append(list, swap)
	}
	return list, nil
}

// kibibytes is so many of them in bytes, or the largest number there is.
func kibibytes(n int64) int64 { return min(max(n, 0), math.MaxInt64>>10) << 10 }

// unescape undoes the kernel's octal escapes.
func unescape(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, `\`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if v, err := strconv.ParseUint(after[:min(3, len(after))], 8, 8); err == nil && len(after) >= 3 {
			b.WriteByte(byte(v))
			s = after[3:]
		} else {
			b.WriteByte('\\')
			s = after
		}
	}
}

// Filesystem is a mounted filesystem that shows itself in /sys/fs, whatever mount namespace it is
// mounted in.
type Filesystem struct {
	Type    string   // btrfs, ext4, xfs, f2fs, …
	UUID    string   // btrfs only
	Label   string   // btrfs only
	Members []string // kernel names of the block devices that it stands on
}

// Filesystems lists them. Filesystems without a folder of their own there, vfat for one, are not seen.
func Filesystems(root string) []Filesystem {
	buf := new([attrSize]byte)
	top, err := openDir(unix.AT_FDCWD, root+"/sys/fs", buf)
	if err != nil {
		return nil
	}
	defer top.close()
	var list []Filesystem
	for _, fstype := range []string{"btrfs", "bcachefs", "erofs", "ext4", "f2fs", "nilfs2", "xfs"} {
		d, ok := top.sub(fstype)
		if !ok {
			continue
		}
		names, _ := d.names()
		for _, name := range names {
			if f, ok := readFilesystem(d, fstype, name); ok {
				list = append(list, f)
			}
		}
		d.close()
	}
	return list
}

// settings are the entries of /sys/fs/TYPE that are no filesystem.
var settings = []string{"features", "stats", "debug", "tuning"}

// readFilesystem takes one entry of /sys/fs/TYPE. Most types name it after their device, btrfs and
// bcachefs after their UUID.
func readFilesystem(d dir, fstype, name string) (Filesystem, bool) {
	f := Filesystem{Type: fstype}
	if slices.Contains(settings, name) {
		return f, false
	}
	switch fstype {
	case "btrfs":
		f.UUID = name
		f.Members = sortedNames(d.list(name + "/devices"))
		f.Label = d.text(name + "/label")
	case "bcachefs":
		f.UUID = name
		f.Members = bcachefsMembers(d, name)
	default:
		f.Members = []string{kernelName(name)}
	}
	return f, len(f.Members) > 0
}

// bcachefsMembers follows UUID/dev-N/block.
func bcachefsMembers(d dir, name string) []string {
	var members []string
	for _, entry := range d.list(name) {
		if member := d.base(name + "/" + entry + "/block"); member != "" {
			members = append(members, member)
		}
	}
	return sortedNames(members)
}
