package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// slack is what a call of ours may cost beyond the bare system calls and the syncs that it promises.
const slack = 500 * time.Microsecond

// benchVolumes makes subvolumes and snapshots and mounts filesystems, one call each, beside the command lines of
// btrfs and mount, and beside the bare system calls. Where something is promised to be on the disk, the peers sync
// it too.
func benchVolumes() error {
	v, err := newVolumes()
	if err != nil {
		return err
	}
	defer v.close()
	for _, durable := range []bool{false, true} {
		if err := v.subvolumes(durable); err != nil {
			return err
		}
	}
	if err := v.snapshots(); err != nil {
		return err
	}
	return v.mounts()
}

// volumes is a daemon and a btrfs for it.
type volumes struct {
	d    *daemon
	conn *rawConn
	dir  string
	top  *os.File // of the btrfs, mounted
}

func newVolumes() (*volumes, error) {
	dir, err := os.MkdirTemp("", "bench-volumes")
	if err != nil {
		return nil, err
	}
	v := &volumes{dir: dir}
	if err := sh(fmt.Sprintf("cd %s; truncate -s 3G disk; truncate -s 64M small; mkfs.btrfs -q disk; mkfs.ext4 -q small; mkdir btrfs; mount -o loop disk btrfs; losetup -f --show small >loop", dir)); err != nil {
		return nil, err
	}
	if v.top, err = os.Open(dir + "/btrfs"); err != nil {
		return nil, err
	}
	if v.d, err = startWith("--allow-private-mounts"); err != nil {
		return nil, err
	}
	v.conn, err = dialRaw(v.d.socket)
	return v, err
}

func (v *volumes) close() {
	v.conn.Close()
	v.d.stop()
	v.top.Close()
	unix.Unmount(v.dir+"/btrfs", unix.MNT_DETACH)
	_ = sh("losetup -d $(cat " + v.dir + "/loop)")
	os.RemoveAll(v.dir)
}

// do makes a call that must change something.
func (v *volumes) do(method, word, format string, args ...any) error {
	return v.conn.must(method, fmt.Sprintf(format, args...), word)
}

// volArgs is struct btrfs_ioctl_vol_args, volArgs2 struct btrfs_ioctl_vol_args_v2 (linux/btrfs.h).
type volArgs struct {
	fd   int64
	name [4088]byte
}

type volArgs2 struct {
	fd             int64
	transid, flags uint64
	_              [4]uint64
	name           [4040]byte
}

const (
	subvolumeCreate = 1<<30 | 4096<<16 | 0x94<<8 | 14
	snapshotCreate  = 1<<30 | 4096<<16 | 0x94<<8 | 23
	startSync       = 2<<30 | 8<<16 | 0x94<<8 | 24
	waitSync        = 1<<30 | 8<<16 | 0x94<<8 | 22
)

func ioctl(fd uintptr, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// commit has the filesystem write what it has, and waits for it.
func commit(f *os.File) error {
	var id uint64
	if err := ioctl(f.Fd(), startSync, unsafe.Pointer(&id)); err != nil {
		return err
	}
	return ioctl(f.Fd(), waitSync, unsafe.Pointer(&id))
}

func (v *volumes) subvolumes(durable bool) error {
	path := func(side string, i int) string { return fmt.Sprintf("%s/btrfs/%s%v/%d", v.dir, side, durable, i) }
	for _, side := range []string{"ours", "tool", "bare"} {
		if err := os.Mkdir(filepath.Dir(path(side, 0)), 0o755); err != nil {
			return err
		}
	}
	folder, err := os.Open(filepath.Dir(path("bare", 0)))
	if err != nil {
		return err
	}
	defer folder.Close()
	what, bar := "subvolumes, not durable", 0.2
	if durable {
		what, bar = "subvolumes, durable", 1.0
	}
	return sides{
		what: what, n: 1000, bar: bar,
		ours: func(i int) error {
			return v.do("vol.create_subvolume", "created", `{"path":%q,"durable":%v}`, path("ours", i), durable)
		},
		tool: func(i int) error {
			if durable {
				return exec.Command("sh", "-c", "btrfs -q subvolume create $0 && btrfs filesystem sync $0", path("tool", i)).Run()
			}
			return exec.Command("btrfs", "-q", "subvolume", "create", path("tool", i)).Run()
		},
		bare: func(i int) error {
			a := new(volArgs)
			copy(a.name[:], fmt.Sprint(i))
			if err := ioctl(folder.Fd(), subvolumeCreate, unsafe.Pointer(a)); err != nil || !durable {
				return err
			}
			return commit(folder)
		},
	}.run()
}

// snapshots are committed by the kernel as it makes them.
func (v *volumes) snapshots() error {
	source := v.dir + "/btrfs/source"
	if err := sh("btrfs -q subvolume create " + source); err != nil {
		return err
	}
	from, err := os.Open(source)
	if err != nil {
		return err
	}
	defer from.Close()
	return sides{
		what: "snapshots", n: 200, bar: 1.0,
		ours: func(i int) error {
			return v.do("vol.snapshot_subvolume", "created", `{"source":%q,"target":%q}`, source, fmt.Sprintf("%s/btrfs/ours%d", v.dir, i))
		},
		tool: func(i int) error {
			return exec.Command("btrfs", "-q", "subvolume", "snapshot", source, fmt.Sprintf("%s/btrfs/tool%d", v.dir, i)).Run()
		},
		bare: func(i int) error {
			a := &volArgs2{fd: int64(from.Fd())}
			copy(a.name[:], fmt.Sprint("bare", i))
			return ioctl(v.top.Fd(), snapshotCreate, unsafe.Pointer(a))
		},
	}.run()
}

// mounts mounts and unmounts a filesystem. Ours writes down both and syncs that; so does the bare side.
func (v *volumes) mounts() error {
	text, err := os.ReadFile(v.dir + "/loop")
	if err != nil {
		return err
	}
	disk, at := string(bytes.TrimSpace(text)), v.dir+"/mnt"
	if err := os.Mkdir(at, 0o755); err != nil {
		return err
	}
	journal, err := os.Create(v.d.dir + "/journal")
	if err != nil {
		return err
	}
	defer journal.Close()
	note := func(i int) error {
		if _, err := journal.WriteAt(make([]byte, 300), int64(i)*300); err != nil {
			return err
		}
		return journal.Sync()
	}
	return sides{
		what: "mounts and unmounts", n: 500, bar: 1.0, calls: 2,
		ours: func(int) error {
			if err := v.do("vol.mount", "created", `{"source":%q,"target":%q}`, disk, at); err != nil {
				return err
			}
			return v.do("vol.unmount", "deleted", `{"target":%q}`, at)
		},
		tool: func(int) error { return sh(fmt.Sprintf("mount %s %s && umount %s", disk, at, at)) },
		bare: func(i int) error {
			if err := note(2 * i); err != nil {
				return err
			}
			if err := unix.Mount(disk, at, "ext4", unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
				return err
			}
			if err := note(2*i + 1); err != nil {
				return err
			}
			return unix.Unmount(at, 0)
		},
	}.run()
}

// sides are the three ways to do one thing many times.
type sides struct {
	what             string
	n, calls         int // how many times, with how many calls each; 0: one
	bar              float64
	ours, tool, bare func(i int) error
}

// run takes them in turn, some at a time, so that what else the machine does hits all alike.
func (s sides) run() error {
	times := map[string]sample{}
	for from := 0; from < s.n; from += s.n / 20 {
		for name, do := range map[string]func(int) error{"ours": s.ours, "tool": s.tool, "bare": s.bare} {
			for i := range s.n / 20 {
				begin := time.Now()
				if err := do(from + i); err != nil {
					return fmt.Errorf("%s: %s: %w", s.what, name, err)
				}
				times[name] = append(times[name], time.Since(begin))
			}
		}
	}
	ours, tool, bare := times["ours"], times["tool"], times["bare"]
	ratio, most := float64(ours.median())/float64(tool.median()), bare.median()+time.Duration(max(s.calls, 1))*slack
	fmt.Printf("  %-34s ours %9v  tool %9v  ratio %.2f  bar %.2f %s\n", fmt.Sprintf("%d %s", s.n, s.what), round(ours.median()), round(tool.median()), ratio, s.bar, verdict(ratio <= s.bar))
	fmt.Printf("  %-34s ours %9v  bare %9v  bar %9v %s\n", "  beside the bare calls", round(ours.median()), round(bare.median()), round(most), verdict(ours.median() <= most))
	tenth := s.n / 10
	first, last := ours[1:tenth+1].median(), ours[s.n-tenth:].median()
	bareFirst, bareLast := bare[1:tenth+1].median(), bare[s.n-tenth:].median()
	growth := (float64(last) / float64(first)) / (float64(bareLast) / float64(bareFirst))
	fmt.Printf("  %-34s %9v, then %9v (bare %v, then %v): ratio %.2f  bar 1.20 %s\n", "  first and last tenth", round(first), round(last), round(bareFirst), round(bareLast), growth, verdict(growth <= 1.2))
	return nil
}
