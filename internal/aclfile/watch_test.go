package aclfile

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/geomind/my_os_server/pkg/acl"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watching runs a watcher on path until the test ends. Each change is told on the channel.
func watching(t *testing.T, path string) <-chan struct{} {
	t.Helper()
	w, err := Watch(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	told, done := make(chan struct{}, 1024), make(chan error)
	go func() { done <- w.Run(ctx, func() { told <- struct{}{} }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return told
}

// expect waits until the file at path grants anonymous callers a right, which it must after a change that
// the watcher told of.
func expect(t *testing.T, told <-chan struct{}, path string, want acl.Right) {
	t.Helper()
	for deadline := time.After(5 * time.Second); ; {
		select {
		case <-told:
		case <-deadline:
			t.Fatalf("nobody told of a file that gives %s", want)
		}
		if p, err := source(path).Load(); err == nil && anonymous(p) == want {
			return
		}
	}
}

// expectGone waits for a change after which there is no file.
func expectGone(t *testing.T, told <-chan struct{}, path string) {
	t.Helper()
	for deadline := time.After(5 * time.Second); ; {
		select {
		case <-told:
		case <-deadline:
			t.Fatal("nobody told that the file is gone")
		}
		if _, err := source(path).Load(); os.IsNotExist(err) {
			return
		}
	}
}

// quiet fails where something is told within a moment; events come within microseconds.
func quiet(t *testing.T, told <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-told:
		t.Errorf("told of %s", what)
	case <-time.After(50 * time.Millisecond):
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func TestReplaced(t *testing.T) {
	folder := t.TempDir()
	path := write(t, filepath.Join(folder, "acl.toml"), readers)
	told := watching(t, path)
	for range 3 {
		rename(t, write(t, filepath.Join(folder, "acl.toml.new"), writers), path)
		expect(t, told, path, acl.Write)
		write(t, path, readers) // in place
		expect(t, told, path, acl.Read)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		expectGone(t, told, path)
		write(t, path, writers)
		expect(t, told, path, acl.Write)
		rename(t, path, path+"~")
		expectGone(t, told, path)
		rename(t, path+"~", path)
		expect(t, told, path, acl.Write)
	}
}

// TestOthersAreNotTold: neighbours, reads, and a file that is not closed yet.
func TestOthersAreNotTold(t *testing.T) {
	folder := t.TempDir()
	path := write(t, filepath.Join(folder, "acl.toml"), readers)
	told := watching(t, path)
	write(t, filepath.Join(folder, "other.toml"), writers)
	quiet(t, told, "a neighbour")
	if _, err := os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	quiet(t, told, "a read")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(writers[:20]); err != nil {
		t.Fatal(err)
	}
	quiet(t, told, "a file that is half written")
	if _, err := f.WriteString(writers[20:]); err != nil {
		t.Fatal(err)
	}
	f.Close()
	expect(t, told, path, acl.Write)
}

func TestLinkIsTurned(t *testing.T) {
	folder, far := t.TempDir(), t.TempDir()
	path := filepath.Join(folder, "acl.toml")
	first, second := write(t, filepath.Join(far, "first"), readers), write(t, filepath.Join(far, "second"), writers)
	symlink(t, first, path)
	told := watching(t, path)
	symlink(t, second, path+".new")
	rename(t, path+".new", path)
	expect(t, told, path, acl.Write)
	write(t, second, readers) // the file behind the link, in a folder that is watched since
	expect(t, told, path, acl.Read)
	write(t, first, writers)
	quiet(t, told, "a file that the link has left")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expectGone(t, told, path)
	symlink(t, first, path)
	expect(t, told, path, acl.Write)
}

// TestMountedByKubernetes: the kubelet's way to change all files of a volume at once (AtomicWriter):
// acl.toml -> ..data/acl.toml, ..data -> a folder named by the time, and a new ..data renamed over it.
func TestMountedByKubernetes(t *testing.T) {
	volume := t.TempDir()
	path := filepath.Join(volume, "acl.toml")
	swap := func(name, text string) {
		mkdir(t, filepath.Join(volume, name))
		write(t, filepath.Join(volume, name, "acl.toml"), text)
		symlink(t, name, filepath.Join(volume, "..data_tmp"))
		rename(t, filepath.Join(volume, "..data_tmp"), filepath.Join(volume, "..data"))
	}
	swap("..2026_01", readers)
	symlink(t, "..data/acl.toml", path)
	told := watching(t, path)
	swap("..2026_02", writers)
	expect(t, told, path, acl.Write)
	if err := os.RemoveAll(filepath.Join(volume, "..2026_01")); err != nil {
		t.Fatal(err)
	}
	swap("..2026_03", readers)
	expect(t, told, path, acl.Read)
}

// TestFolderComesAndGoes: a folder that is made later, taken away, and replaced.
func TestFolderComesAndGoes(t *testing.T) {
	base := t.TempDir()
	path := filepath.Join(base, "etc", "my", "acl.toml")
	told := watching(t, path)
	for range 3 {
		mkdir(t, filepath.Dir(path))
		write(t, path, readers)
		expect(t, told, path, acl.Read)
		if err := os.RemoveAll(filepath.Join(base, "etc")); err != nil {
			t.Fatal(err)
		}
		expectGone(t, told, path)
	}
	other := filepath.Join(base, "other")
	mkdir(t, other)
	write(t, filepath.Join(other, "acl.toml"), writers)
	mkdir(t, filepath.Join(base, "etc"))
	rename(t, other, filepath.Join(base, "etc", "my"))
	expect(t, told, path, acl.Write)
	rename(t, filepath.Join(base, "etc", "my"), other)
	expectGone(t, told, path)
}

func TestRelativePath(t *testing.T) {
	folder := t.TempDir()
	t.Chdir(folder)
	told := watching(t, "acl.toml")
	t.Chdir("/")
	path := write(t, filepath.Join(folder, "acl.toml"), readers)
	expect(t, told, path, acl.Read)
}

// TestChangedBeforeRun: what happens between Watch and Run is not lost.
func TestChangedBeforeRun(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "acl.toml"), readers)
	w, err := Watch(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, writers)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	told := 0
	if err := w.Run(ctx, func() { told++; cancel() }); err != nil || told != 1 {
		t.Errorf("told %d times, %v", told, err)
	}
}

// TestFolderReplacedByItsLike: the file is missing as before, but may have stood there before the folder was watched, and
// whoever was told of something earlier may have read it.
func TestFolderReplacedByItsLike(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "etc")
	mkdir(t, folder)
	path := filepath.Join(folder, "acl.toml")
	w, err := Watch(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := os.RemoveAll(folder); err != nil {
			t.Fatal(err)
		}
		mkdir(t, folder)
		write(t, path, readers)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	told := 0
	if err := w.Run(ctx, func() { told++; cancel() }); err != nil || told != 1 {
		t.Errorf("told %d times, %v", told, err)
	}
}

func TestRunEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "acl.toml")
	for name, end := range map[string]func(w *Watcher, cancel func()){
		"by its context": func(_ *Watcher, cancel func()) { cancel() },
		"by Close":       func(w *Watcher, _ func()) { w.Close() },
	} {
		w, err := Watch(path)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- w.Run(ctx, func() { t.Error("told of nothing") }) }()
		end(w, cancel)
		if err := <-done; err != nil {
			t.Errorf("ended %s: %v", name, err)
		}
		cancel()
	}
}

// TestUnreadableFolder: where nothing can be watched the caller learns so.
func TestUnreadableFolder(t *testing.T) {
	if os.Geteuid() == 0 {
		dropPrivileges(t)
	}
	folder := filepath.Join(t.TempDir(), "closed")
	mkdir(t, folder)
	if err := os.Chmod(folder, 0o100); err != nil {
		t.Fatal(err)
	}
	if w, err := Watch(filepath.Join(folder, "acl.toml")); err == nil || !strings.Contains(err.Error(), folder) {
		t.Errorf("%v: want an error that names %s", err, folder)
		w.Close()
	}
}

// dropPrivileges makes this thread's file accesses those of another user until the test ends.
func dropPrivileges(t *testing.T) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	for dir := os.Getenv("TMPDIR"); dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread()
	if err := unix.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Setfsuid(0); runtime.UnlockOSThread() })
}

func TestTrail(t *testing.T) {
	base := t.TempDir()
	mkdir(t, base+"/real/deep")
	write(t, base+"/real/deep/acl.toml", readers)
	symlink(t, "real/./deep", base+"/rel")
	symlink(t, base+"/rel/../deep", base+"/abs")
	symlink(t, "loop", base+"/loop")
	for path, want := range map[string][]step{
		"/real/deep/acl.toml": {{base + "/real/deep", "acl.toml", ""}},
		"/real/deep/none":     {{base + "/real/deep", "none", ""}},
		"/real/none/acl.toml": {{base + "/real", "none", ""}},
		"/rel/acl.toml":       {{base, "rel", "real/./deep"}, {base + "/real/deep", "acl.toml", ""}},
		"/abs/acl.toml": {
			{base, "abs", base + "/rel/../deep"}, {base, "rel", "real/./deep"}, {base + "/real/deep", "acl.toml", ""},
		},
		"/real/deep/acl.toml/x": {{base + "/real/deep/acl.toml", "x", ""}},
	} {
		if diff := cmp.Diff(want, trail(base+path), cmp.AllowUnexported(step{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	if steps := trail(base + "/loop/x"); len(steps) > 2*maxLinks {
		t.Errorf("%d steps in a circle", len(steps))
	}
}

// pack writes an event as the kernel does, its name padded to a multiple of the header's size.
func pack(e event) []byte {
	name := []byte(e.name)
	if len(name) > 0 {
		name = append(name, make([]byte, 16-len(name)%16)...)
	}
	b := binary.NativeEndian.AppendUint32(nil, uint32(e.wd))
	b = binary.NativeEndian.AppendUint32(b, e.mask)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(name)))
	return append(b, name...)
}

func TestEvents(t *testing.T) {
	want := []event{{1, unix.IN_CLOSE_WRITE, "acl.toml"}, {2, unix.IN_DELETE_SELF, ""}, {-1, unix.IN_Q_OVERFLOW, ""}, {3, unix.IN_CREATE, strings.Repeat("x", 255)}}
	var buf []byte
	for _, e := range want {
		buf = append(buf, pack(e)...)
	}
	for cut := range 16 { // a last event that is cut is left out
		got := slices.Collect(events(append(slices.Clone(buf), pack(event{9, 9, "cut"})[:cut]...)))
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(event{})); diff != "" {
			t.Fatalf("cut after %d bytes (-want +got):\n%s", cut, diff)
		}
	}
	for range events(buf) {
		break // a consumer may stop
	}
}

// TestLostEvents: where the kernel's queue ran over, the file is looked at.
func TestLostEvents(t *testing.T) {
	w, err := Watch(write(t, filepath.Join(t.TempDir(), "acl.toml"), readers))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if news, err := w.take(pack(event{wd: -1, mask: unix.IN_Q_OVERFLOW})); !news || err != nil {
		t.Errorf("%v, %v", news, err)
	}
}

func FuzzEvents(f *testing.F) {
	f.Add(pack(event{1, unix.IN_MOVED_TO, "acl.toml"}))
	f.Add(append(pack(event{1, unix.IN_CREATE, "..data"}), pack(event{-1, unix.IN_Q_OVERFLOW, ""})...))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, buf []byte) {
		used := 0
		for e := range events(buf) {
			used += unix.SizeofInotifyEvent + len(e.name)
		}
		if used > len(buf) {
			t.Errorf("%d bytes of events from %d", used, len(buf))
		}
	})
}
