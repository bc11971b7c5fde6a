// Package aclfile brings an ACL file from the disk to pkg/acl: it judges the file before it believes a
// word of it, and tells when another one has taken its place.
//
// It refuses a file that somebody other than root or the daemon's own user could have written, one that
// is still being written, and anything that is no regular file of at most MaxSize bytes. Which rules
// stay in force after such a refusal is the caller's to decide: nothing is remembered here.
package aclfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/geomind/my_os_server/pkg/acl"
	"golang.org/x/sys/unix"
)

// MaxSize is the size of the largest ACL file, in bytes.
const MaxSize = 1 << 20

// What a caller can test the errors of Load for, besides *acl.ParseError and those of open(2).
var (
	// ErrUnsafe says that the file is not one that may say who is allowed what.
	ErrUnsafe = errors.New("not safe to believe")
	// ErrUnfinished says that a process has the file open for writing: half a rule may grant more than
	// the whole of it. Watcher tells when it is closed.
	ErrUnfinished = errors.New("still being written")
)

// Source is where the rules come from.
type Source struct {
	Path      string
	DaemonUID uint32       // who may own the file besides root
	Methods   []acl.Method // all there are; see acl.Parse
}

// Load reads the file as it is now. The file is opened once, and judged and read through that
// descriptor, so that nothing can be swapped in between. Symbolic links are followed.
func (s Source) Load() (*acl.Policy, error) {
	data, err := s.read()
	if err != nil {
		return nil, err
	}
	return acl.Parse(s.Path, data, s.Methods)
}

func (s Source) read() ([]byte, error) {
	// O_NONBLOCK: opening a named pipe must not wait for a writer.
	f, err := os.OpenFile(s.Path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := s.judge(info); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Path, err)
	}
	if err := finished(f); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Path, err)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err == nil && len(data) > MaxSize {
		err = fmt.Errorf("%s: %w: it is larger than %d bytes", s.Path, ErrUnsafe, MaxSize)
	}
	return data, err
}

// judge asks who could have written the file.
func (s Source) judge(info os.FileInfo) error {
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return fmt.Errorf("%w: it is no regular file", ErrUnsafe)
	case owner != 0 && owner != s.DaemonUID:
		return fmt.Errorf("%w: it belongs to user %d; run chown root", ErrUnsafe, owner)
	case mode.Perm()&0o022 != 0:
		return fmt.Errorf("%w: others may write it (mode %04o); run chmod go-w", ErrUnsafe, mode.Perm())
	case info.Size() > MaxSize:
		return fmt.Errorf("%w: it has %d bytes, at most %d", ErrUnsafe, info.Size(), MaxSize)
	}
	return nil
}

// finished takes a read lease (F_SETLEASE, fcntl(2)), which the kernel gives only while nobody has the
// file open for writing, and which makes whoever opens it so now wait until f is closed. The lease is
// for the file's owner and for root; any other error than EAGAIN says nothing about writers, and a
// plain user's daemon, or one on a file system without leases, reads without it.
func finished(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var lease error
	if err := raw.Control(func(fd uintptr) { _, lease = unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK) }); err != nil {
		return err
	}
	if errors.Is(lease, unix.EAGAIN) {
		return ErrUnfinished
	}
	return nil
}
