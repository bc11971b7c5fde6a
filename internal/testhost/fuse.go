package testhost

import (
	"fmt"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// HangingFS mounts a FUSE filesystem that never answers and returns its mount point. Whoever touches
// what is in it, or asks for its space, waits for ever, until release ends the connection: then all of
// them get an error. The end of the test releases it too, and so does the death of the process.
// It should be called inside MountNS.
func HangingFS(t testing.TB) (mountpoint string, release func()) {
	t.Helper()
	h := NewHanging(t)
	return h.Path, h.Abort
}

// Hanging is a FUSE filesystem that does not answer, yet.
type Hanging struct {
	Path string // where it is mounted

	fd     int            // of /dev/fuse: this end of the connection
	server sync.WaitGroup // what Answer started
	once   sync.Once
}

// NewHanging is HangingFS for tests that let the filesystem come back.
func NewHanging(t testing.TB) *Hanging {
	t.Helper()
	Root(t)
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		Missing(t, fmt.Sprintf("/dev/fuse (%v)", err))
	}
	h := &Hanging{Path: t.TempDir(), fd: fd}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	if err := unix.Mount("hanging", h.Path, "fuse.hanging", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		unix.Close(fd)
		t.Fatalf("mount FUSE: %v", err)
	}
	t.Cleanup(h.Abort)
	if err := h.initialise(); err != nil {
		t.Fatalf("FUSE: %v", err)
	}
	return h
}

// HangingDisk makes a block device that never answers a read, until release: then reads fail with EIO.
// Its node can be opened. It should be called inside MountNS.
func HangingDisk(t testing.TB) (device string, release func()) {
	t.Helper()
	h := NewHanging(t)
	h.serveAll()
	l := NewLoop(t, LoopOptions{Device: h.Path + "/" + diskName, NoPartscan: true})
	t.Cleanup(h.Abort) // before the loop goes, whose end waits for its reads
	return l.Path, h.Abort
}

// Abort unmounts the filesystem by force: everybody who waits gets ENOTCONN or ECONNABORTED.
func (h *Hanging) Abort() {
	h.once.Do(func() {
		// By force, since closing the descriptor alone does nothing while Answer reads from it. EBUSY
		// comes where somebody still waits; the connection has ended all the same.
		if unix.Unmount(h.Path, unix.MNT_FORCE) != nil {
			unix.Unmount(h.Path, unix.MNT_DETACH)
		}
		h.server.Wait()
		unix.Close(h.fd)
	})
}

// Answer lets the filesystem come back: it serves what waits and what comes until Abort.
func (h *Hanging) Answer() { h.serveAll() }

// serveAll answers everything but reads of the file in the filesystem.
func (h *Hanging) serveAll() { h.serveWith(h.serve) }

func (h *Hanging) serveWith(one func() error) {
	h.server.Go(func() {
		for one() == nil {
		}
	})
}
