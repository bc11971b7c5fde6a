package unixsock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// maxLinks is how many symbolic links a path may lead through, as in the kernel (path_resolution(7)).
const maxLinks = 40

// folders decides which folders may hold a socket of this process.
type folders struct {
	uid      int   // whose process this is
	trusted  []int // owners who could do to us whatever they like anyway: root and ourselves
	makeMode fs.FileMode
}

// ownFolders are the rules for this process. Root's are strict: every folder on the way must belong to
// root and be closed to others, or whoever may rename one of them takes the socket's place. A user's
// concern the socket's own folder only: what lies above is that user's choice.
func ownFolders() folders {
	uid := os.Geteuid()
	f := folders{uid: uid, trusted: []int{0, uid}, makeMode: 0o755}
	if uid != 0 {
		f.makeMode = 0o700
	}
	if overflow, ok := unmappedOwner(); ok {
		f.trusted = append(f.trusted, overflow)
	}
	return f
}

// unmappedOwner is the owner that files of the host's root seem to have inside a user namespace where
// that root has no number (user_namespaces(7)). Such owners stand above this process, not beside it.
// Outside, and where the number belongs to somebody, there is none.
func unmappedOwner() (uid int, ok bool) {
	const overflow = 65534 // /proc/sys/kernel/overflowuid, as it is everywhere
	uids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(uids)) {
		var inside, outside, count int64
		if n, _ := fmt.Sscan(line, &inside, &outside, &count); n != 3 || inside <= overflow && overflow < inside+count {
			return 0, false
		}
	}
	return overflow, true
}

// open walks to a folder, makes what is missing on the way, and returns its path with no symbolic link
// left in it: what was judged is what is used, even where a link is turned elsewhere later.
func (f folders) open(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	at, todo, links := "/", components(path), 0
	root, err := os.Lstat(at)
	if err != nil {
		return "", err
	}
	if err := f.judge(at, root, len(todo) == 0); err != nil {
		return "", err
	}
	for len(todo) > 0 {
		next := filepath.Join(at, todo[0])
		todo = todo[1:]
		info, err := f.stat(next)
		if err != nil {
			return "", err
		}
		if info.Mode().Type() != fs.ModeSymlink {
			at = next
			if err := f.judge(at, info, len(todo) == 0); err != nil {
				return "", err
			}
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
		}
		target, err := f.follow(next, info)
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		todo = append(components(target), todo...)
	}
	return at, nil
}

// components splits a path; ".." stays, for filepath.Join to take back a step from a path without links.
func components(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" || s == "." })
}

// stat is Lstat, of a folder that it makes where there is none.
func (f folders) stat(path string) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return info, err
	}
	err = withoutUmask(func() error { return os.Mkdir(path, f.makeMode) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.Lstat(path)
}

// judge tells whether the socket may stand in a folder (last), or somewhere below it.
func (f folders) judge(path string, info fs.FileInfo, last bool) error {
	if !info.IsDir() {
		return &fs.PathError{Op: "open", Path: path, Err: syscall.ENOTDIR}
	}
	if !last && f.uid != 0 {
		return nil
	}
	if owner := ownerOf(info); !slices.Contains(f.trusted, owner) {
		return &folderError{path, fmt.Sprintf("it belongs to user %d, who could put a socket of their own in its place; choose a folder of your own", owner)}
	}
	open, sticky := info.Mode().Perm()&0o022, info.Mode()&fs.ModeSticky != 0
	if f.uid != 0 {
		open &= 0o002 // a user's own group is often just that user
	}
	// In a sticky folder nobody can take away what is there, but anyone can be there first. Root is
	// impersonated by that; a user who chose such a folder finds the name taken, and is told by whom.
	if open == 0 || sticky && !(last && f.uid == 0) {
		return nil
	}
	return &folderError{path, fmt.Sprintf("others may write there (mode %04o) and put a socket of their own in its place; choose a folder that only its owner may write", unixMode(info))}
}

// follow reads a link that root may follow: one that only root could have made.
func (f folders) follow(path string, info fs.FileInfo) (string, error) {
	if owner := ownerOf(info); f.uid == 0 && !slices.Contains(f.trusted, owner) {
		return "", &folderError{path, fmt.Sprintf("this symbolic link belongs to user %d, who could turn it elsewhere; name the folder itself", owner)}
	}
	return os.Readlink(path)
}

func ownerOf(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

func unixMode(info fs.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Mode & 0o7777 }
