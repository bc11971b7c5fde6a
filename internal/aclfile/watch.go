package aclfile

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// What inotify(7) is asked to tell of a folder. A name that is created is of interest only where it
// changes the trail: a new file is finished when it is closed, and then told of again.
const (
	replaced = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE
	lost     = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_UNMOUNT | unix.IN_IGNORED
	watched  = replaced | unix.IN_CREATE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
)

// Watcher tells when another finished file stands at a path. It waits in the kernel: nothing runs while
// nothing happens.
type Watcher struct {
	path    string
	inotify *os.File
	steps   []step
	folders map[int32]string // by watch descriptor
}

// Watch begins to watch path, absolute or relative to the working directory of now; there need not be a
// file yet. Changes from here on are told by Run, so that a file which is loaded after Watch and replaced
// before Run is not missed. It fails where the user's inotify instances are used up, or a folder on the
// way may not be read.
func Watch(path string) (*Watcher, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	w := &Watcher{path: path, inotify: os.NewFile(uintptr(fd), "inotify"), folders: map[int32]string{}}
	if _, err := w.follow(); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// Close ends Run, if it runs, and the watching.
func (w *Watcher) Close() error { return w.inotify.Close() }

// Run calls changed after each change, one call for changes that come together, until ctx ends or the
// watcher is closed; then it returns nil. Another error means that no further change will be told.
// changed is called for a file that has gone, too.
func (w *Watcher) Run(ctx context.Context, changed func()) error {
	defer context.AfterFunc(ctx, func() { w.Close() })()
	defer w.Close()
	buf := make([]byte, 4096) // the kernel gives whole events only; one is at most 272 bytes
	for {
		n, err := w.inotify.Read(buf)
		if errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("watch %s: %w", w.path, err)
		}
		news, err := w.take(buf[:n])
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("watch %s: %w", w.path, err)
		}
		if news && ctx.Err() == nil {
			changed()
		}
	}
}

// take reads events and says whether the file is another one now, or may be.
func (w *Watcher) take(buf []byte) (news bool, err error) {
	turned := false
	for e := range events(buf) {
		switch {
		case e.mask&unix.IN_Q_OVERFLOW != 0: // events were lost: look for oneself
			news, turned = true, true
		case e.mask&lost != 0:
			w.forget(e)
			turned = true
		default:
			at := w.place(e)
			turned = turned || at >= 0
			news = news || at == len(w.steps)-1 && e.mask&replaced != 0
		}
	}
	if !turned {
		return news, nil
	}
	moved, err := w.follow()
	return news || moved, err
}

// place is the number of the step that an event is about, or -1.
func (w *Watcher) place(e event) int {
	folder, ok := w.folders[e.wd]
	if !ok {
		return -1
	}
	return slices.IndexFunc(w.steps, func(s step) bool { return s.folder == folder && s.name == e.name })
}

// forget drops the watch of a folder that has gone or has another path now.
func (w *Watcher) forget(e event) {
	if e.mask&unix.IN_MOVE_SELF != 0 {
		w.remove(e.wd)
	}
	delete(w.folders, e.wd)
}

// follow brings the watches to where the path leads now, and says whether that is elsewhere than before, or may
// have been since: what happened in a folder before it was watched nobody tells. A step that changed before its
// folder was watched is found by looking again afterwards.
func (w *Watcher) follow() (moved bool, err error) {
	steps := trail(w.path)
	for {
		fresh, err := w.add(steps)
		if err != nil {
			return false, err
		}
		moved = moved || fresh
		again := trail(w.path)
		if slices.Equal(steps, again) {
			break
		}
		steps = again
	}
	moved = moved || !slices.Equal(w.steps, steps)
	w.steps = steps
	for wd, folder := range w.folders {
		if !leadsThrough(steps, folder) {
			w.remove(wd)
			delete(w.folders, wd)
		}
	}
	return moved, nil
}

// add watches the folder of each step, and says whether any was not watched before. One that has gone since is for
// the next look.
func (w *Watcher) add(steps []step) (fresh bool, err error) {
	for _, s := range steps {
		wd, err := w.addOne(s.folder)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			return fresh, nil
		}
		if err != nil {
			return fresh, fmt.Errorf("inotify_add_watch %s: %w", s.folder, err)
		}
		_, known := w.folders[int32(wd)]
		fresh = fresh || !known
		w.folders[int32(wd)] = s.folder
	}
	return fresh, nil
}

func (w *Watcher) addOne(folder string) (wd int, err error) {
	err = w.control(func(fd int) error {
		wd, err = unix.InotifyAddWatch(fd, folder, watched|unix.IN_ONLYDIR)
		return err
	})
	return wd, err
}

// remove may fail only where the kernel has dropped the watch already.
func (w *Watcher) remove(wd int32) {
	w.control(func(fd int) error {
		_, err := unix.InotifyRmWatch(fd, uint32(wd))
		return err
	})
}

// control runs f on the descriptor, which Close does not take away meanwhile.
func (w *Watcher) control(f func(fd int) error) error {
	raw, err := w.inotify.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

func leadsThrough(steps []step, folder string) bool {
	return slices.ContainsFunc(steps, func(s step) bool { return s.folder == folder })
}

// event is one struct inotify_event of inotify(7):
//
//	int      wd;      watch descriptor
//	uint32_t mask;    what happened
//	uint32_t cookie;  pairs the two halves of a rename
//	uint32_t len;     size of name, with padding
//	char     name[];  in the watched folder, padded with NULs
type event struct {
	wd   int32
	mask uint32
	name string
}

// events walks the events in buf and ends before one that is cut.
func events(buf []byte) iter.Seq[event] {
	return func(yield func(event) bool) {
		for len(buf) >= unix.SizeofInotifyEvent {
			size := binary.NativeEndian.Uint32(buf[12:])
			rest := buf[unix.SizeofInotifyEvent:]
			if uint64(size) > uint64(len(rest)) {
				return
			}
			name, _, _ := bytes.Cut(rest[:size], []byte{0})
			e := event{
				wd:   int32(binary.NativeEndian.Uint32(buf)),
				mask: binary.NativeEndian.Uint32(buf[4:]),
				name: string(name),
			}
			if !yield(e) {
				return
			}
			buf = rest[size:]
		}
	}
}
