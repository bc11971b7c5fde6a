package btrfs

import (
	"context"
	"syscall"
)

// place is a folder of the filesystem: its inode within a subvolume.
type place struct{ tree, dir uint64 }

// paths finds the paths of folders from the top level, and keeps those it found: subvolumes tend to
// lie in few folders.
type paths struct {
	f     *Filesystem
	known map[place]string
	size  int // of what is known, in bytes, roughly
}

const (
	// pathsSize bounds what is kept. Past it all is forgotten: constant memory, at the price of some
	// questions asked twice.
	pathsSize = 1 << 20
	// maxDepth bounds how deep subvolumes lie in each other. The kernel has no bound, but INO_LOOKUP
	// and every path have: 4096 bytes, two for each level.
	maxDepth = 2048
)

func newPaths(f *Filesystem) *paths {
	return &paths{f: f, known: make(map[place]string)}
}

func (p *paths) keep(at place, path string) {
	if p.size > pathsSize {
		clear(p.known)
		p.size = 0
	}
	p.known[at] = path
	p.size += len(path) + 64
}

// join is the path of what is called name in a folder.
func (p *paths) join(ctx context.Context, tree, dir uint64, name string) (string, error) {
	prefix, err := p.folder(ctx, place{tree, dir}, 0)
	return prefix + name, err
}

// folder is the path of a folder, with a slash behind it; that of the top level is empty.
// Errors: ENOENT where it went away meanwhile.
func (p *paths) folder(ctx context.Context, at place, depth int) (string, error) {
	if at == (place{topLevelTree, firstFree}) {
		return "", nil
	}
	if path, ok := p.known[at]; ok {
		return path, nil
	}
	if depth > maxDepth {
		return "", &OpError{Op: "follow subvolumes of", Path: p.f.path, Err: syscall.ELOOP}
	}
	path, err := p.find(ctx, at, depth)
	if err == nil {
		p.keep(at, path)
	}
	return path, err
}

// find is folder without what is known: a subvolume's own root by the reference that names it, another
// folder by its path within the subvolume.
func (p *paths) find(ctx context.Context, at place, depth int) (string, error) {
	if at.dir == firstFree {
		parent, name, err := p.backref(ctx, at.tree)
		if err != nil {
			return "", err
		}
		prefix, err := p.folder(ctx, parent, depth+1)
		return prefix + name + "/", err
	}
	within, err := p.lookup(ctx, at)
	if err != nil {
		return "", err
	}
	root, err := p.folder(ctx, place{at.tree, firstFree}, depth+1)
	return root + within, err
}

// backref finds where a subvolume lies and what it is called there.
func (p *paths) backref(ctx context.Context, tree uint64) (place, string, error) {
	c := p.f.search(ctx, "find subvolume of", rootTree, key{tree, rootBackref, 0}, key{tree, rootBackref, ^uint64(0)})
	defer c.close()
	if !c.next() {
		err := c.err
		if err == nil {
			err = &OpError{Op: "find subvolume of", Path: p.f.path, Err: syscall.ENOENT}
		}
		return place{}, "", err
	}
	dir, name, err := parseBackref(c.item.data)
	if err != nil {
		return place{}, "", c.wrap(err)
	}
	return place{c.item.offset, dir}, name, nil
}

// lookupArgs is struct btrfs_ioctl_ino_lookup_args.
type lookupArgs struct {
	tree, object uint64
	name         [4080]byte
}

// lookup finds the path of a folder within its subvolume, with a slash behind it.
func (p *paths) lookup(ctx context.Context, at place) (string, error) {
	a := &lookupArgs{tree: at.tree, object: at.dir}
	if err := ioctl(ctx, p.f, "find folder of", sysAdmin, iocInoLookup, a); err != nil {
		return "", err
	}
	return cString(a.name[:]), nil
}
