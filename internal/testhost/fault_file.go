package testhost

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// The requests of a disk that can be made to fail.
const (
	FaultRead  = "read"
	FaultWrite = "write"
	FaultFlush = "flush"
)

// FaultFile is a file whose reads, writes or flushes fail with EIO while the test says so. A loop over it is a
// disk that fails so.
type FaultFile struct {
	Path string

	h       *Hanging // its FUSE filesystem
	backing *os.File
	size    int64

	mu      sync.Mutex
	faults  map[string]int // by request: how many come through before
	failed  int            // requests since the last Fail
	written int            // writes that succeeded since
	hangs   string         // the request at which everything stops; empty: at none
	healed  chan struct{}  // closed when it goes on
}

// NewFaultFile makes one, sparse, on which every request succeeds. It needs root, and should be called inside
// MountNS. It goes with the test, when no loop should stand on it any more: what that waits for fails then.
func NewFaultFile(t testing.TB, size int64) *FaultFile {
	t.Helper()
	backing, err := os.Create(filepath.Join(t.TempDir(), "backing"))
	if err == nil {
		err = backing.Truncate(size)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { backing.Close() }) // behind the end of the filesystem
	f := &FaultFile{h: NewHanging(t), backing: backing, size: size, faults: make(map[string]int)}
	f.Path = f.h.Path + "/" + diskName
	f.h.serveWith(f.serve)
	t.Cleanup(func() { f.Heal() })
	return f
}

// Fail has requests of one kind fail from now on, once the first so many have come through.
func (f *FaultFile) Fail(request string, after int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[request], f.failed, f.written = after, 0, 0
}

// Hang has the file answer nothing more from the next request of one kind on, until Heal.
func (f *FaultFile) Hang(request string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hangs, f.healed = request, make(chan struct{})
}

// wait waits where the file hangs at a request.
func (f *FaultFile) wait(request string) {
	f.mu.Lock()
	healed := f.healed
	hangs := f.hangs == request
	f.mu.Unlock()
	if hangs {
		<-healed
	}
}

// Heal ends all faults and tells how many requests failed since the last one began, and how many writes came
// through all the same.
func (f *FaultFile) Heal() (failed, written int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.faults)
	if f.hangs != "" {
		f.hangs = ""
		close(f.healed)
	}
	return f.failed, f.written
}

// fails tells whether a request is to fail.
func (f *FaultFile) fails(request string) bool {
	f.wait(request)
	f.mu.Lock()
	defer f.mu.Unlock()
	left, faulty := f.faults[request]
	if faulty && left == 0 {
		f.failed++
		return true
	}
	if faulty {
		f.faults[request]--
	}
	if request == FaultWrite {
		f.written++
	}
	return false
}

// serve answers one request.
func (f *FaultFile) serve() error {
	h := f.h
	in, body, err := h.read()
	if err != nil {
		return err
	}
	switch in.Opcode {
	case opForget, opBatchForget, opInterrupt:
		return nil
	case opLookup:
		return h.replyEntry(in.Unique, f.size)
	case opGetattr:
		return h.reply(in.Unique, 0, attributes(in.Node, f.size))
	case opOpen:
		return h.reply(in.Unique, 0, fuseOpen{Flags: directIO})
	case opRelease, opFlush: // FUSE's flush is a close
		return h.reply(in.Unique, 0, nil)
	case opFsync:
		if f.fails(FaultFlush) {
			return h.reply(in.Unique, -int32(unix.EIO), nil)
		}
		return h.reply(in.Unique, 0, nil)
	case opRead, opWrite:
		var at fuseTransfer
		if err := binary.Read(bytes.NewReader(body), binary.NativeEndian, &at); err != nil {
			return err
		}
		return f.transfer(in, &at, body[binary.Size(at):])
	}
	return h.reply(in.Unique, -int32(unix.ENOSYS), nil)
}

func (f *FaultFile) transfer(in fuseIn, at *fuseTransfer, body []byte) error {
	request := map[uint32]string{opRead: FaultRead, opWrite: FaultWrite}[in.Opcode]
	if f.fails(request) {
		return f.h.reply(in.Unique, -int32(unix.EIO), nil)
	}
	if in.Opcode == opWrite {
		if _, err := f.backing.WriteAt(body[:at.Size], int64(at.Offset)); err != nil {
			return f.h.reply(in.Unique, -int32(unix.EIO), nil)
		}
		return f.h.reply(in.Unique, 0, fuseWritten{Size: at.Size})
	}
	b := make([]byte, at.Size)
	n, err := f.backing.ReadAt(b, int64(at.Offset))
	if n == 0 && err != nil && int64(at.Offset) < f.size {
		return f.h.reply(in.Unique, -int32(unix.EIO), nil)
	}
	return f.h.reply(in.Unique, 0, b[:n])
}
