package blk

import (
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// LinkCache keeps what ReadLinks finds in the folders below /dev/disk, for questions about one device, which must
// not cost a look at every link. A folder whose times are what they were has the links that it had. What they lead
// to is looked at again for the device in question. It is safe for concurrent use.
type LinkCache struct {
	root string

	mu     sync.Mutex
	links  Links
	stamps []stamp // of /dev/disk and the folders in it; nil: nothing is kept
}

// stamp tells whether a folder is as it was.
type stamp struct {
	folder          string
	device, inode   uint64
	changed, modify unix.Timespec
}

// settled is how long ago a folder must have changed to be kept: a change within the same tick of the kernel's
// clock as the one before leaves the folder's times alone.
const settled = 100 * time.Millisecond

// NewLinkCache makes one for the host below root; it reads nothing yet.
func NewLinkCache(root string) *LinkCache { return &LinkCache{root: root} }

// Of is what ReadLinks has of one device.
func (c *LinkCache) Of(n Number) Links {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.current() || !c.leadsTo(n) {
		c.read()
	}
	return Links{n: slices.Clone(c.links[n])}
}

// current tells whether every folder is as it was.
func (c *LinkCache) current() bool {
	for i := range c.stamps {
		if now, ok := c.stamp(c.stamps[i].folder); !ok || now != c.stamps[i] {
			return false
		}
	}
	return c.stamps != nil
}

// leadsTo tells whether the links of a device still lead to it: a node may have got another device's number.
func (c *LinkCache) leadsTo(n Number) bool {
	for _, path := range c.links[n] {
		if node, err := StatNode(c.root + path); err != nil || node.Number != n {
			return false
		}
	}
	return true
}

func (c *LinkCache) read() {
	now := time.Now()
	folders := DiskFolders(c.root)
	stamps := make([]stamp, 0, 1+len(folders))
	for _, folder := range append([]string{"/dev/disk"}, folders...) {
		s, ok := c.stamp(folder)
		if !ok || now.Sub(time.Unix(s.changed.Unix())) < settled {
			stamps = nil // the links that are read now are good for this once
			break
		}
		stamps = append(stamps, s)
	}
	c.links, c.stamps = ReadLinks(c.root, folders...), stamps
}

func (c *LinkCache) stamp(folder string) (stamp, bool) {
	var st unix.Stat_t
	if _, err := retry(func() (int, error) { return 0, unix.Stat(c.root+folder, &st) }); err != nil {
		return stamp{}, false
	}
	return stamp{folder, uint64(st.Dev), st.Ino, st.Ctim, st.Mtim}, true
}
