// Package volops answers the vol.* methods of the table for the host that it runs on: what each of
// them means, on top of small libraries that speak to the kernel.
//
// It knows no byte of a kernel's message and no text of a tool, decides nothing about who may call, and
// keeps nothing between calls but what the kernel says is unchanged. Every write to a device passes one
// guard (guard.go); every write is known to the state folder before the kernel is touched. Where
// nobody has the answer a member is absent; nothing is guessed. Whatever may wait for a device or a
// file server goes through one bounded group of calls, so that what hangs holds up nothing else.
//
// One file, or a few of one prefix, holds one object:
//
//	disk disks partitions free filesystems      what block devices are and carry; devices.go, contents.go, holders.go and
//	                                            names.go know the host's devices for one call
//	mounts usage ways                           mounts and their space, asked within bounds
//	arrays mdadm                                MD arrays, read, made, stopped, assembled at a start
//	btrfs subvolume subvolumes scrub balance    what a mounted btrfs says and lets be changed
//	defrag
//	topologies topology inventory health        all of it at once: layouts that are possible, the tree, what is wrong
//	guard target writes system cutoff           what every write passes: in use? the system's? the device that is meant? and
//	                                            what a crash or a failing device cut off
//	partition filesystem mkfs mount unmount     the methods that write
//	resize
//	restore                                     the start: what is registered stands again
//	vol unavailable errors rows convert         the Vol itself, and what all files use
package volops

import (
	"fmt"
	"path/filepath"
	"sync"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/hostexec"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Options says which host a Vol answers for.
type Options struct {
	// Root stands before /proc, /sys, /dev and /run; "" for the host's own. Paths that callers name and
	// mount points are those of the process.
	Root string

	// State is where writes are recorded; without it they are refused. The caller closes it behind the Vol.
	State *state.Store
	// StateDir is the folder of State: the disks under it are not written to.
	StateDir string
	// AllowPrivateMounts lets vol.mount mount in a mount namespace other than that of process 1.
	AllowPrivateMounts bool
}

// Vol implements the vol.* methods. It is safe for concurrent use.
type Vol struct {
	registry.NotBuiltVol

	root     string
	calls    *hang.Group[blk.Number] // by the device number of a filesystem or of a disk
	mounts   *mount.Cache
	links    *blk.LinkCache
	made     sync.Map     // target -> the unique id of what vol.mount mounted there
	state    *state.Store // nil: writes are refused
	stateDir string
	turns    turns
	run      runner

	mountSpecs   *state.Registry[mountSpec] // the registry of mounts, by target; nil without state
	arraySpecs   *state.Registry[arraySpec] // that of arrays, by name; likewise
	allowPrivate bool
	restorer     *restorer // nil until Start
}

var _ registry.VolServer = (*Vol)(nil)

// New makes a Vol for the host that o names. The caller closes it.
func New(o Options) (*Vol, error) {
	if o.Root != "" && !filepath.IsAbs(o.Root) {
		return nil, fmt.Errorf("root %q: not an absolute path", o.Root)
	}
	v := &Vol{root: filepath.Clean("/" + o.Root), calls: hang.New[blk.Number](hang.DefaultLimits()), state: o.State, stateDir: o.StateDir, run: hostexec.RunWith, allowPrivate: o.AllowPrivateMounts}
	if v.root == "/" {
		v.root = ""
	}
	v.mounts, v.links = mount.NewCache(v.mountinfo()), blk.NewLinkCache(v.root)
	if o.State != nil {
		v.mountSpecs = state.Register[mountSpec](o.State, "mounts")
		v.arraySpecs = state.Register[arraySpec](o.State, "arrays")
	}
	return v, nil
}

// Close gives up what the Vol keeps open. Calls that hang are left to end by themselves.
func (v *Vol) Close() error {
	v.restorer.stop()
	return v.mounts.Close()
}

// Blocked is how many calls into the kernel hang although nobody waits for them any more: each holds a
// goroutine and a thread until its device or file server answers or is given up.
func (v *Vol) Blocked() int { return v.calls.Blocked() }

// mountinfo is the kernel's list of the daemon's own mounts.
func (v *Vol) mountinfo() string { return v.root + "/proc/self/mountinfo" }
