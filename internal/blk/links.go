package blk

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Links are the names that udev gave to block devices, by device number: absolute paths, sorted.
type Links map[Number][]string

// ReadLinks resolves every link in the folders below /dev/disk, or those of other folders, by the
// number of the node that it leads to. It reads each folder once. What leads nowhere is left out.
func ReadLinks(root string, folders ...string) Links {
	links := make(Links)
	buf := new([attrSize]byte)
	for _, folder := range folders {
		d, err := openDir(unix.AT_FDCWD, root+folder, buf)
		if err != nil {
			continue // without udev there is none of them
		}
		links.add(d, folder)
		d.close()
	}
	for _, list := range links {
		slices.Sort(list)
	}
	return links
}

// Name is what a device is called in one of the folders, as /dev/disk/by-label, with what udev writes as
// \x20 decoded; empty where it has no name there.
func (l Links) Name(n Number, folder string) string {
	for _, path := range l[n] {
		if name, ok := strings.CutPrefix(path, folder+"/"); ok {
			return decodeHex(name)
		}
	}
	return ""
}

// Find lists the devices that have the name in the folder.
func (l Links) Find(folder, name string) []Number {
	var list []Number
	for n, paths := range l {
		for _, path := range paths {
			if base, ok := strings.CutPrefix(path, folder+"/"); ok && decodeHex(base) == name {
				list = append(list, n)
			}
		}
	}
	return list
}

// DiskFolders are the folders of stable names, /dev/disk/by-id and its like.
func DiskFolders(root string) []string {
	buf := new([attrSize]byte)
	d, err := openDir(unix.AT_FDCWD, root+"/dev/disk", buf)
	if err != nil {
		return nil
	}
	defer d.close()
	names, _ := d.names()
	var folders []string
	for _, name := range names {
		if strings.HasPrefix(name, "by-") {
			folders = append(folders, "/dev/disk/"+name)
		}
	}
	return folders
}

func (l Links) add(d dir, folder string) {
	names, _ := d.names()
	for _, name := range names {
		if n, err := nodeNumber(d.fd, name, 0); err == nil {
			l[n] = append(l[n], folder+"/"+name)
		}
	}
}

// Node is what the file system tells of a device's node.
type Node struct {
	Number   Number
	UID, GID uint32
	Mode     uint32 // permission bits, with set-user-ID and its like
}

// StatNode looks at the block device that a path leads to. The path may be a link. The error is
// *NotBlockError where it leads to something else. It may wait for ever where the path crosses a
// filesystem that hangs; /dev does not.
func StatNode(path string) (Node, error) {
	return statNode(unix.AT_FDCWD, path, 0)
}

// NotBlockError is the answer for a path that leads to something else than a block device.
type NotBlockError struct{ Path string }

// Error names the path.
// Error names the path.
func (e *NotBlockError) Error() string { return fmt.Sprintf("%s: not a block device", e.Path) }

func statNode(at int, path string, flags int) (Node, error) {
	var st unix.Stat_t
	if _, err := retry(func() (int, error) { return 0, unix.Fstatat(at, path, &st, flags) }); err != nil {
		return Node{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return Node{}, &NotBlockError{path}
	}
	return nodeOf(&st), nil
}

func nodeOf(st *unix.Stat_t) Node {
	return Node{Number: rdev(st), UID: st.Uid, GID: st.Gid, Mode: st.Mode & 0o7777}
}

func nodeNumber(at int, path string, flags int) (Number, error) {
	n, err := statNode(at, path, flags)
	return n.Number, err
}
