package testhost

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"unsafe"

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
func (h *Hanging) Answer() {
	h.server.Go(func() {
		for h.serve() == nil {
		}
	})
}

// FUSE's messages, as linux/fuse.h has them; numbers are in the host's byte order.
type fuseIn struct {
	Len, Opcode   uint32
	Unique, Node  uint64
	UID, GID, PID uint32
	Extensions    uint32
}

type fuseOut struct {
	Len    uint32
	Error  int32
	Unique uint64
}

type fuseInit struct {
	Major, Minor, MaxReadahead, Flags  uint32
	MaxBackground, CongestionThreshold uint16
	MaxWrite, TimeGranularity          uint32
	Unused                             [9]uint32
}

type fuseStatfs struct {
	Blocks, Bfree, Bavail, Files, Ffree uint64
	Bsize, Namelen, Frsize, Padding     uint32
	Spare                               [6]uint32
}

type fuseAttr struct {
	Valid                                uint64
	ValidNsec, Dummy                     uint32
	Ino, Size, Blocks                    uint64
	Atime, Mtime, Ctime                  uint64
	AtimeNsec, MtimeNsec, CtimeNsec      uint32
	Mode, Nlink, UID, GID, Rdev, Blksize uint32
	Flags                                uint32
}

const (
	opForget      = 2
	opGetattr     = 3
	opStatfs      = 17
	opInit        = 26
	opInterrupt   = 36
	opBatchForget = 42

	fuseBuffer = 64 << 10
)

// HangingStatfs is what a Hanging filesystem says of its space once it answers, in blocks of 4096.
const HangingStatfs = 1000

// initialise answers the one request without which the kernel does not even begin.
func (h *Hanging) initialise() error {
	in, err := h.read()
	if err != nil {
		return err
	}
	if in.Opcode != opInit {
		return fmt.Errorf("first request is %d, not INIT", in.Opcode)
	}
	return h.reply(in.Unique, 0, fuseInit{Major: 7, Minor: 31, MaxWrite: 4096, TimeGranularity: 1})
}

func (h *Hanging) serve() error {
	in, err := h.read()
	if err != nil {
		return err
	}
	switch in.Opcode {
	case opForget, opBatchForget, opInterrupt:
		return nil
	case opStatfs:
		return h.reply(in.Unique, 0, fuseStatfs{Blocks: HangingStatfs, Bfree: HangingStatfs / 2,
			Bavail: HangingStatfs / 4, Bsize: 4096, Frsize: 4096, Namelen: 255})
	case opGetattr:
		return h.reply(in.Unique, 0, fuseAttr{Ino: 1, Mode: unix.S_IFDIR | 0o755, Nlink: 2, Blksize: 4096})
	}
	return h.reply(in.Unique, -int32(unix.ENOSYS), nil)
}

func (h *Hanging) read() (in fuseIn, err error) {
	buf := make([]byte, fuseBuffer)
	for {
		n, err := unix.Read(h.fd, buf)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) { // ENOENT: the request was taken back
			continue
		}
		if err != nil {
			return in, err
		}
		return in, binary.Read(bytes.NewReader(buf[:n]), binary.NativeEndian, &in)
	}
}

func (h *Hanging) reply(unique uint64, errno int32, body any) error {
	size := int(unsafe.Sizeof(fuseOut{}))
	if body != nil {
		size += binary.Size(body)
	}
	var msg bytes.Buffer
	if err := binary.Write(&msg, binary.NativeEndian, fuseOut{uint32(size), errno, unique}); err != nil {
		return err
	}
	if body != nil {
		if err := binary.Write(&msg, binary.NativeEndian, body); err != nil {
			return err
		}
	}
	_, err := unix.Write(h.fd, msg.Bytes())
	return err
}
