package state

import (
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
)

// simDisk is a folder in memory that logs what is done to it, so that a test can cut the power after any
// step. It is as unkind as POSIX lets a file system be: what a file holds is lost unless that file was
// synced, a name unless the folder was; after an fsync that failed, what it should have written is lost
// even though a later fsync succeeds.
type simDisk struct {
	mu    sync.Mutex
	names map[string]*simFile
	log   []simOp
	fail  func(op string) error // asked before each step; nil: none fails
	free  int64                 // bytes that may still be taken; below 0: no limit
}

type simFile struct {
	id       int
	data     []byte
	reserved int64
}

// simOp is a step: the file's contents, or the folder's names.
type simOp struct {
	kind     string // write, truncate, sync, lost, create, rename, remove, syncdir
	file     int
	name, to string
	offset   int64
	data     []byte
}

func newSimDisk() *simDisk { return &simDisk{names: map[string]*simFile{}, free: -1} }

// failBy has every step from now on asked whether it fails.
func (d *simDisk) failBy(fail func(op string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = fail
}

func (d *simDisk) step(op simOp) error {
	if d.fail != nil {
		if err := d.fail(op.kind); err != nil {
			if op.kind == "sync" {
				d.log = append(d.log, simOp{kind: "lost", file: op.file})
			}
			return err
		}
	}
	d.log = append(d.log, op)
	return nil
}

func (d *simDisk) steps() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.log)
}

func (d *simDisk) List() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.names)), nil
}

func (d *simDisk) Read(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.names[name]; f != nil {
		return slices.Clone(f.data), nil
	}
	return nil, fs.ErrNotExist
}

func (d *simDisk) Open(name string) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.names[name]; f != nil {
		return &simHandle{d, f}, nil
	}
	f := &simFile{id: len(d.log) + 1}
	if err := d.step(simOp{kind: "create", file: f.id, name: name}); err != nil {
		return nil, err
	}
	d.names[name] = f
	return &simHandle{d, f}, nil
}

func (d *simDisk) Rename(old, new string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(simOp{kind: "rename", name: old, to: new}); err != nil {
		return err
	}
	d.names[new] = d.names[old]
	delete(d.names, old)
	return nil
}

func (d *simDisk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[name] == nil {
		return fs.ErrNotExist
	}
	if err := d.step(simOp{kind: "remove", name: name}); err != nil {
		return err
	}
	if f := d.names[name]; d.free >= 0 {
		d.free += max(int64(len(f.data)), f.reserved)
	}
	delete(d.names, name)
	return nil
}

func (d *simDisk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.step(simOp{kind: "syncdir"})
}

func (d *simDisk) Close() error { return nil }

type simHandle struct {
	disk *simDisk
	file *simFile
}

func (h *simHandle) WriteAt(b []byte, offset int64) (int, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if err := h.disk.take(h.file, offset+int64(len(b))); err != nil {
		return 0, err
	}
	if err := h.disk.step(simOp{kind: "write", file: h.file.id, offset: offset, data: slices.Clone(b)}); err != nil {
		return 0, err
	}
	h.file.data = writeAt(h.file.data, offset, b)
	return len(b), nil
}

func writeAt(data []byte, offset int64, b []byte) []byte {
	if end := offset + int64(len(b)); int64(len(data)) < end {
		data = append(data, make([]byte, end-int64(len(data)))...)
	}
	copy(data[offset:], b)
	return data
}

// take accounts for the room that a file needs up to size.
func (d *simDisk) take(f *simFile, size int64) error {
	have := max(int64(len(f.data)), f.reserved)
	if d.free < 0 || size <= have {
		return nil
	}
	if size-have > d.free {
		return syscall.ENOSPC
	}
	d.free -= size - have
	f.reserved = size
	return nil
}

func (h *simHandle) Truncate(size int64) error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if int64(len(h.file.data)) == size {
		return nil
	}
	if err := h.disk.step(simOp{kind: "truncate", file: h.file.id, offset: size}); err != nil {
		return err
	}
	h.file.data = slices.Clone(h.file.data[:size])
	return nil
}

func (h *simHandle) Reserve(size int64) error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	return h.disk.take(h.file, size)
}

func (h *simHandle) Sync() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	return h.disk.step(simOp{kind: "sync", file: h.file.id})
}

func (h *simHandle) Close() error { return nil }

// What of that which was not synced a power cut leaves.
const (
	keepNone = "none"
	keepAll  = "all" // as kill -9 does
	keepSome = "some"
)

// cutPower is the disk as it is after the first n steps. Of what was not synced it keeps nothing, all, or
// of each file and of the folder some steps up to one, of which part of the bytes.
func (d *simDisk) cutPower(n int, keep string, rng *rand.Rand) *simDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	files := map[int][]simOp{} // what is not synced yet
	solid := map[int][]byte{}  // what is
	var folder []simOp
	names := map[string]int{}
	for _, op := range d.log[:n] {
		switch op.kind {
		case "write", "truncate":
			files[op.file] = append(files[op.file], op)
		case "sync":
			solid[op.file] = replayFile(solid[op.file], files[op.file], -1)
			delete(files, op.file)
		case "lost":
			if keep != keepAll { // it stays in the page cache all the same
				delete(files, op.file)
			}
		case "create", "rename", "remove":
			folder = append(folder, op)
		case "syncdir":
			replayNames(names, folder)
			folder = nil
		}
	}
	if keep == keepAll {
		replayNames(names, folder)
	} else if keep == keepSome {
		replayNames(names, folder[:rng.IntN(len(folder)+1)])
	}
	after := newSimDisk()
	for name, id := range names {
		data := slices.Clone(solid[id])
		switch rest := files[id]; keep {
		case keepAll:
			data = replayFile(data, rest, -1)
		case keepSome:
			upto := rng.IntN(len(rest) + 1)
			torn := -1
			if upto > 0 {
				torn = rng.IntN(len(rest[upto-1].data) + 1)
			}
			data = replayFile(data, rest[:upto], torn)
		}
		after.names[name] = &simFile{id: id, data: data}
		after.log = append(after.log, simOp{kind: "create", file: id, name: name},
			simOp{kind: "write", file: id, data: slices.Clone(data)}, simOp{kind: "sync", file: id})
	}
	after.log = append(after.log, simOp{kind: "syncdir"})
	return after
}

// replayFile applies steps; of the last, where torn is at least 0, only so many bytes.
func replayFile(data []byte, ops []simOp, torn int) []byte {
	data = slices.Clone(data)
	for i, op := range ops {
		if op.kind == "truncate" {
			if int(op.offset) < len(data) {
				data = data[:op.offset]
			}
			continue
		}
		b := op.data
		if i == len(ops)-1 && torn >= 0 {
			b = b[:torn]
		}
		data = writeAt(data, op.offset, b)
	}
	return data
}

func replayNames(names map[string]int, ops []simOp) {
	for _, op := range ops {
		switch op.kind {
		case "create":
			names[op.name] = op.file
		case "rename":
			names[op.to] = names[op.name]
			delete(names, op.name)
		case "remove":
			delete(names, op.name)
		}
	}
}

var errDisk = errors.New("simulated input/output error")
