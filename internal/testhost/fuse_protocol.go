package testhost

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

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

type fuseEntry struct {
	Node, Generation           uint64
	EntryValid, AttrValid      uint64
	EntryValidNsec, ValidNsec2 uint32
	Attr                       [88]byte // fuseAttr behind its first two members
}

type fuseOpen struct {
	Handle       uint64
	Flags, Dummy uint32
}

// fuseTransfer is what asks for a read, and stands before the bytes of a write.
type fuseTransfer struct {
	Handle, Offset   uint64
	Size, Flags      uint32
	LockOwner        uint64
	OpenFlags, Dummy uint32
}

type fuseWritten struct{ Size, Dummy uint32 }

// directIO has the kernel pass each read and write on, past its cache (FOPEN_DIRECT_IO).
const directIO = 1

const (
	opLookup      = 1
	opForget      = 2
	opGetattr     = 3
	opOpen        = 14
	opRead        = 15
	opWrite       = 16
	opStatfs      = 17
	opRelease     = 18
	opFsync       = 20
	opFlush       = 25
	opInit        = 26
	opInterrupt   = 36
	opBatchForget = 42

	rootNode   = 1
	diskNode   = 2
	fuseBuffer = 256 << 10
	maxWrite   = 128 << 10
)

// The one file in the filesystem, whose reads hang.
const (
	diskName = "disk"
	diskSize = 16 << 20
)

// HangingStatfs is what a Hanging filesystem says of its space once it answers, in blocks of 4096.
const HangingStatfs = 1000

// initialise answers the one request without which the kernel does not even begin.
func (h *Hanging) initialise() error {
	in, _, err := h.read()
	if err != nil {
		return err
	}
	if in.Opcode != opInit {
		return fmt.Errorf("first request is %d, not INIT", in.Opcode)
	}
	return h.reply(in.Unique, 0, fuseInit{Major: 7, Minor: 31, MaxWrite: maxWrite, TimeGranularity: 1})
}

func (h *Hanging) serve() error {
	in, _, err := h.read()
	if err != nil {
		return err
	}
	switch in.Opcode {
	case opForget, opBatchForget, opInterrupt, opRead:
		return nil
	case opLookup:
		return h.replyEntry(in.Unique, diskSize)
	case opOpen:
		return h.reply(in.Unique, 0, fuseOpen{})
	case opRelease:
		return h.reply(in.Unique, 0, nil)
	case opStatfs:
		return h.reply(in.Unique, 0, fuseStatfs{Blocks: HangingStatfs, Bfree: HangingStatfs / 2,
			Bavail: HangingStatfs / 4, Bsize: 4096, Frsize: 4096, Namelen: 255})
	case opGetattr:
		return h.reply(in.Unique, 0, attributes(in.Node, diskSize))
	}
	return h.reply(in.Unique, -int32(unix.ENOSYS), nil)
}

// replyEntry says that the one file is there.
func (h *Hanging) replyEntry(unique uint64, size int64) error {
	entry := fuseEntry{Node: diskNode, EntryValid: 3600, AttrValid: 3600}
	attr, err := binary.Append(nil, binary.NativeEndian, attributes(diskNode, size))
	if err != nil {
		return err
	}
	copy(entry.Attr[:], attr[16:])
	return h.reply(unique, 0, entry)
}

// attributes are those of the root or of the one file.
func attributes(node uint64, size int64) fuseAttr {
	if node == rootNode {
		return fuseAttr{Valid: 3600, Ino: rootNode, Mode: unix.S_IFDIR | 0o755, Nlink: 2, Blksize: 4096}
	}
	return fuseAttr{Valid: 3600, Ino: diskNode, Mode: unix.S_IFREG | 0o600, Size: uint64(size), Blocks: uint64(size) / 512, Nlink: 1, Blksize: 4096}
}

// read takes the next request, in its head and what stands behind that.
func (h *Hanging) read() (in fuseIn, body []byte, err error) {
	buf := make([]byte, fuseBuffer)
	for {
		n, err := unix.Read(h.fd, buf)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) { // ENOENT: the request was taken back
			continue
		}
		if err != nil {
			return in, nil, err
		}
		return in, buf[min(n, binary.Size(in)):n], binary.Read(bytes.NewReader(buf[:n]), binary.NativeEndian, &in)
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
