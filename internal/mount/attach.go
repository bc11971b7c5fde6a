package mount

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Option is a setting of a filesystem: a word, or a name with a value.
type Option struct {
	Key, Value string
	HasValue   bool
}

// Error is a step of mounting that failed, with what the filesystem itself had to say.
type Error struct {
	Op  string // fsopen, fsconfig NAME, mount, fsmount, move_mount
	FS  string // type of the filesystem
	Err error  // syscall.Errno
	Log []string
}

// Error is "op type: cause: the kernel's words".
func (e *Error) Error() string {
	text := fmt.Sprintf("%s %s: %v", e.Op, e.FS, e.Err)
	if len(e.Log) > 0 {
		text += ": " + strings.Join(e.Log, "; ")
	}
	return text
}

// Unwrap returns the kernel's errno.
func (e *Error) Unwrap() error { return e.Err }

// New makes a mount of the filesystem on a device that stands nowhere yet, by the interface of fsopen(2):
// options one by one and never as one text, attributes as in mount_setattr(2). Attach puts it in its place;
// closed before, it is gone. It may wait for the device. Errors: *Error.
func New(fstype, source string, options []Option, attributes int) (*os.File, error) {
	fs, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, &Error{Op: "fsopen", FS: fstype, Err: err}
	}
	defer unix.Close(fs)
	options = append([]Option{{Key: "source", Value: source, HasValue: true}}, options...)
	for _, o := range options {
		set := func() error { return unix.FsconfigSetFlag(fs, o.Key) }
		if o.HasValue {
			set = func() error { return unix.FsconfigSetString(fs, o.Key, o.Value) }
		}
		if err := again(set); err != nil {
			return nil, &Error{Op: "fsconfig " + o.Key, FS: fstype, Err: err, Log: readLog(fs)}
		}
	}
	if err := again(func() error { return unix.FsconfigCreate(fs) }); err != nil {
		return nil, &Error{Op: "mount", FS: fstype, Err: err, Log: readLog(fs)}
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return nil, &Error{Op: "fsmount", FS: fstype, Err: err, Log: readLog(fs)}
	}
	return os.NewFile(uintptr(fd), source), nil
}

// Attach puts a mount that New made on the folder that is open as at, with whatever is mounted there already
// underneath.
func Attach(m, at *os.File) error {
	err := unix.MoveMount(int(m.Fd()), "", int(at.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return &os.PathError{Op: "move_mount", Path: at.Name(), Err: err}
	}
	return nil
}

// readLog takes the messages that a filesystem left on its context: each read(2) returns one, "e " and its
// like before it, and ENODATA when there is none.
func readLog(fs int) (log []string) {
	buf := make([]byte, 8192)
	for range 32 {
		n, err := unix.Read(fs, buf)
		if err != nil || n <= 0 {
			return log
		}
		text := strings.TrimSpace(string(buf[:n]))
		if len(text) > 2 && text[1] == ' ' {
			text = text[2:]
		}
		log = append(log, text)
	}
	return log
}

// again repeats a call that a signal interrupted.
func again(call func() error) error {
	for range 10 {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return unix.EINTR
}
