package mount

import "strings"

// Hidden tells for each of Mounts whether no path leads to it any more, because another mount covers
// it or a folder on the way to it.
func (t *Table) Hidden() []bool {
	h := newHiding(t.Mounts)
	hidden := make([]bool, len(t.Mounts))
	for i := range t.Mounts {
		hidden[i] = !h.visible(i)
	}
	return hidden
}

// hiding follows mounts up to the root, each once.
type hiding struct {
	mounts  []Mount
	byID    map[uint32]int
	covered map[place]bool
	located []verdict
}

// place is a path on one mount; a place where another mount stands is covered.
type place struct {
	mount uint32
	path  string
}

type verdict uint8

const (
	unknown verdict = iota
	yes
	no
)

func newHiding(mounts []Mount) *hiding {
	h := &hiding{
		mounts:  mounts,
		byID:    make(map[uint32]int, len(mounts)),
		covered: make(map[place]bool, len(mounts)),
		located: make([]verdict, len(mounts)),
	}
	for i := range mounts {
		m := &mounts[i]
		h.byID[m.ID] = i
		if m.Parent != m.ID {
			h.covered[place{m.Parent, m.Target}] = true
		}
	}
	return h
}

// visible tells whether the mount's own root is what its mount point leads to.
func (h *hiding) visible(i int) bool {
	m := &h.mounts[i]
	return !h.covered[place{m.ID, m.Target}] && h.isLocated(i)
}

// isLocated tells whether the mount point can be reached on the mount that it stands on. What covers
// the mount itself does not count: that stands at the same place.
func (h *hiding) isLocated(i int) bool {
	if h.located[i] == unknown {
		h.located[i] = no // for a list that runs in circles, which no kernel writes
		if h.locate(i) {
			h.located[i] = yes
		}
	}
	return h.located[i] == yes
}

func (h *hiding) locate(i int) bool {
	m := &h.mounts[i]
	p, listed := h.byID[m.Parent]
	if !listed || p == i {
		return true // the root of the process
	}
	parent := &h.mounts[p]
	if m.Target == parent.Target {
		return h.isLocated(p)
	}
	return !h.coveredOnTheWay(m, parent) && h.visible(p)
}

// coveredOnTheWay tells whether another mount on the same parent stands on a folder that leads to m.
func (h *hiding) coveredOnTheWay(m, parent *Mount) bool {
	for path := dir(m.Target); len(path) > len(parent.Target); path = dir(path) {
		if h.covered[place{parent.ID, path}] {
			return true
		}
	}
	return false
}

// dir is the folder above a mount point. Unlike filepath.Dir it makes no new string.
func dir(path string) string {
	return path[:max(strings.LastIndexByte(path, '/'), 0)]
}
