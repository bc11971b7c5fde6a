package inuse

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
)

// eachTask calls take with the folder of every thread of every process. Whatever ends meanwhile is left out.
func (f *finder) eachTask(ctx context.Context, take func(pid int, task string) error) error {
	return f.eachProcess(ctx, func(pid int, folder string) error {
		tasks, err := os.ReadDir(folder + "/task")
		if err != nil {
			return nil
		}
		for _, task := range tasks {
			if err := take(pid, folder+"/task/"+task.Name()); err != nil {
				return err
			}
		}
		return nil
	})
}

// eachProcess calls take with the folder of every process.
func (f *finder) eachProcess(ctx context.Context, take func(pid int, folder string) error) error {
	entries, err := os.ReadDir(f.root + "/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := take(pid, f.root+"/proc/"+e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// findProcesses takes those that have a node of a device open.
func (f *finder) findProcesses(ctx context.Context) error {
	return f.eachProcess(ctx, func(pid int, folder string) error {
		if pid == f.self {
			return nil
		}
		descriptors, err := os.ReadDir(folder + "/fd")
		if err != nil && !isGone(err) && !os.IsPermission(err) {
			return nil // it ends: ESRCH
		}
		if os.IsPermission(err) {
			return err
		}
		holds, writes := f.holds(folder, descriptors)
		if len(descriptors) == 0 {
			holds, writes = f.threadHolds(folder)
		}
		if holds {
			f.found = append(f.found, Holder{Kind: Process, Name: name(folder), PID: pid, ReadsOnly: !writes})
		}
		return nil
	})
}

// threadHolds looks at the threads of a process whose first one has ended: only they show what is open.
func (f *finder) threadHolds(folder string) (holds, writing bool) {
	tasks, err := os.ReadDir(folder + "/task")
	if err != nil || len(tasks) < 2 {
		return false, false
	}
	for _, task := range tasks {
		path := folder + "/task/" + task.Name()
		if descriptors, err := os.ReadDir(path + "/fd"); err == nil {
			h, w := f.holds(path, descriptors)
			holds, writing = holds || h, writing || w
		}
	}
	return holds, writing
}

// holds tells whether any of the descriptors is open on a device, and whether for writing.
func (f *finder) holds(folder string, descriptors []os.DirEntry) (holds, writing bool) {
	for _, d := range descriptors {
		n, ok := opened(folder + "/fd/" + d.Name())
		if !ok || !f.asked[n] {
			continue
		}
		at := slices.IndexFunc(f.devices, func(d Device) bool { return d.Number == n })
		if w := writes(folder + "/fdinfo/" + d.Name()); w || !f.devices[at].WritersOnly {
			holds, writing = true, writing || w
		}
	}
	return holds, writing
}

// opened is the block device that a descriptor leads to. What has no path is none; and no server is asked
// for the attributes of its file.
func opened(link string) (blk.Number, bool) {
	buf := make([]byte, 8)
	if n, err := unix.Readlink(link, buf); err != nil || n == 0 || buf[0] != '/' {
		return blk.Number{}, false
	}
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, link, unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &st)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return blk.Number{}, false
	}
	return blk.Number{Major: st.Rdev_major, Minor: st.Rdev_minor}, true
}

// writes tells from a descriptor's fdinfo (proc(5)) whether it is open for writing; yes where that cannot be
// told.
func writes(path string) bool {
	text, err := os.ReadFile(path)
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(text), "flags:\t")
	digits, _, _ := strings.Cut(rest, "\n")
	flags, err := strconv.ParseUint(digits, 8, 32)
	return err != nil || flags&unix.O_ACCMODE != unix.O_RDONLY
}

// name is what a process calls itself.
func name(folder string) string {
	text, err := os.ReadFile(folder + "/comm")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
