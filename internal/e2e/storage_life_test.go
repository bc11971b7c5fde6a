package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// storageLife is a server, and a caller who gets all that storage has to do done by it.
type storageLife struct {
	t  *testing.T
	hc *http.Client
	at string // a folder of the test's own
}

func newStorageLife(t *testing.T) *storageLife {
	s := startServer(t, "--allow-private-mounts")
	l := &storageLife{t: t, hc: s.client(), at: t.TempDir()}
	t.Cleanup(l.hc.CloseIdleConnections)
	return l
}

// disk attaches a blank disk, which nothing holds open.
func (l *storageLife) disk(size int64) string {
	l.t.Helper()
	path := newDiskOf(l.t, size)
	l.t.Cleanup(func() { testhost.TryCommand(l.t, "losetup", "-d", path) })
	return path
}

// once makes a call twice: the first changes something, as the member of its result that is named says, and the
// second finds it done.
func (l *storageLife) once(member, method string, pairs ...any) map[string]any {
	l.t.Helper()
	var first map[string]any
	for _, changes := range []bool{true, false} {
		result := call(l.t, l.hc, method, params(pairs...))
		testhost.ValidateResult(l.t, method, result)
		var got map[string]any
		must(l.t, json.Unmarshal(result, &got))
		if got[member] != changes {
			l.t.Fatalf("%s %s: %s %v, want %v: %s", method, params(pairs...), member, got[member], changes, result)
		}
		if changes {
			first = got
		}
	}
	return first
}

// mounted mounts a device at a folder that is made for it.
func (l *storageLife) mounted(device, name string) (at string) {
	l.t.Helper()
	at = filepath.Join(l.at, name)
	l.once("created", "vol.mount", "source", device, "target", at)
	l.t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	return at
}

func (l *storageLife) unmount(at string) {
	l.t.Helper()
	l.once("deleted", "vol.unmount", "target", at)
	if isMounted(at) {
		l.t.Errorf("%s is mounted still", at)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestStorageThroughTheSocket takes a blank disk from its first partition to the last unmount by calls alone, each
// of them twice, and looks with the tools of others.
func TestStorageThroughTheSocket(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	l := newStorageLife(t)
	disk := l.disk(1 << 30)
	types := []string{"ext4", "btrfs", "vfat", "swap"}
	nodes := map[string]string{}
	for i, typ := range types {
		uuid := fmt.Sprintf("0fc63daf-8483-4772-8e79-3d69d84780%02x", i)
		p := l.once("created", "vol.create_partition", "disk", disk, "uuid", uuid, "size_bytes", 200<<20, "label", "life-"+typ)
		nodes[typ] = p["partition"].(map[string]any)["path"].(string)
	}
	if out := testhost.Command(t, "sgdisk", "-v", disk); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk says %s", out)
	}
	for _, typ := range types {
		uuid := freshUUID()
		if typ == "vfat" {
			uuid = "80FA-7001"
		}
		l.once("created", "vol.create_filesystem", "device", nodes[typ], "type", typ, "uuid", uuid)
		out := testhost.Command(t, "blkid", "-p", "-o", "export", nodes[typ])
		if !strings.Contains(out, "\nTYPE="+typ+"\n") || !strings.Contains(out, "UUID="+uuid+"\n") {
			t.Errorf("%s: blkid says %s", typ, out)
		}
	}
	for _, typ := range []string{"ext4", "vfat"} {
		if !kernelHas(t, typ) {
			a, err := post(l.hc, nil, body("vol.mount", params("source", nodes[typ], "target", l.at+"/"+typ)))
			if must(t, err); a.Error == nil || a.Error.Data["kind"] != "unsupported" {
				t.Errorf("mount of %s: %s", typ, told(a))
			}
			continue
		}
		at := l.mounted(nodes[typ], typ)
		must(t, os.WriteFile(at+"/file", []byte(typ), 0o600))
		l.unmount(at)
		if b, err := os.ReadFile(l.mounted(nodes[typ], typ) + "/file"); err != nil || string(b) != typ {
			t.Errorf("%s: what was written is %q, %v", typ, b, err)
		}
		l.unmount(at)
	}
	l.subvolumes(nodes["btrfs"])
}

func kernelHas(t *testing.T, typ string) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/filesystems")
	must(t, err)
	return slices.Contains(strings.Fields(string(b)), typ)
}

// subvolumes goes on with what only btrfs has.
func (l *storageLife) subvolumes(device string) {
	t, at := l.t, l.mounted(device, "btrfs")
	data, copied := at+"/data", at+"/copy"
	l.once("created", "vol.create_subvolume", "path", data)
	files := fill(t, data, 4<<20)

	const limit = 16 << 20
	l.once("changed", "vol.set_quota", "path", data, "max_referenced_bytes", limit)
	if err := writeRandom(data+"/past", 64<<20); !errors.Is(err, syscall.EDQUOT) {
		t.Errorf("a write past the quota: %v", err)
	}
	l.once("changed", "vol.set_quota", "path", data, "max_referenced_bytes", 1<<20) // less than there is
	if err := writeRandom(data+"/over", 1<<20); !errors.Is(err, syscall.EDQUOT) {
		t.Errorf("a write while over the quota: %v", err)
	}
	l.once("changed", "vol.set_quota", "path", data, "max_referenced_bytes", 0)
	if err := writeRandom(data+"/over", 32<<20); err != nil {
		t.Errorf("a write after the quota was lifted: %v", err)
	}

	call(t, l.hc, "vol.snapshot_subvolume", params("source", data, "target", copied, "read_only", true)) // a second one would be of another moment
	files.same(t, copied)
	if err := os.WriteFile(copied+"/x", nil, 0o600); !errors.Is(err, syscall.EROFS) {
		t.Errorf("a write to a snapshot: %v", err)
	}
	l.once("deleted", "vol.delete_subvolume", "path", data)
	files.same(t, copied)
	l.once("deleted", "vol.delete_subvolume", "path", copied)
	l.unmount(at)
	testhost.Command(t, "btrfs", "check", device)
}

// TestScrubThroughTheSocket overwrites one member behind the back of mirrored filesystems, which were made, and are
// scrubbed, by calls: what the scrub says is what btrfs(8) says, and every file is intact.
func TestScrubThroughTheSocket(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	l := newStorageLife(t)
	for level, members := range map[string]int{"raid1": 2, "raid10": 4} {
		var disks []string
		for range members {
			disks = append(disks, l.disk(320<<20))
		}
		l.once("created", "vol.create_btrfs_raid", "devices", disks, "level", level, "uuid", freshUUID())
		at := l.mounted(disks[0], level)
		files := fill(t, at, 48<<20)
		l.unmount(at)
		overwrite(t, disks[1])
		at = l.mounted(disks[0], level)
		found := l.scrub(at)
		if found == 0 {
			t.Errorf("%s: the scrub found nothing", level)
		}
		counted := l.stats(at)
		if counted[disks[1]] != found || len(counted) != members {
			t.Errorf("%s: the scrub found %v errors, device_stats say %v, and %s was overwritten", level, found, counted, disks[1])
		}
		if again := l.scrub(at); again != 0 {
			t.Errorf("%s: a second scrub found %v errors", level, again)
		}
		files.same(t, at)
		l.unmount(at)
		testhost.Command(t, "btrfs", "check", "--check-data-csum", disks[0])
	}
}

// freshUUID is one that this kernel has not seen: it remembers the members of unmounted filesystems, also of such as are
// gone, and takes them for members of the next filesystem of that UUID.
func freshUUID() string {
	return fmt.Sprintf("%08x-8483-4772-8e79-%012x", rand.Uint32(), rand.Uint64()>>16)
}

// overwrite fills a member of a filesystem with rubbish, but for its superblocks and the place before them.
func overwrite(t *testing.T, disk string) {
	t.Helper()
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	must(t, err)
	rubbish := bytes.Repeat([]byte("rubbish!"), 512)
	for at := int64(65 << 20); at < 300<<20; at += 1 << 20 { // the second superblock is at 64 MiB
		_, err := f.WriteAt(rubbish, at)
		must(t, err)
	}
	must(t, errors.Join(f.Sync(), f.Close()))
}

// scrub has a filesystem scrubbed, and returns the errors that were found.
func (l *storageLife) scrub(at string) (found float64) {
	l.t.Helper()
	call(l.t, l.hc, "vol.scrub_start", params("path", at))
	var scrub map[string]any
	testhost.Eventually(l.t, "the scrub ends", func() bool {
		var got struct{ Scrub map[string]any }
		must(l.t, json.Unmarshal(call(l.t, l.hc, "vol.scrub_status", params("path", at)), &got))
		scrub = got.Scrub
		return scrub["state"] == "finished"
	})
	progress := scrub["progress"].(map[string]any)
	if progress["uncorrectable_errors"] != 0.0 || progress["corrected_errors"] != progress["csum_errors"] {
		l.t.Errorf("%s: not all was mended: %v", at, scrub)
	}
	out := testhost.Command(l.t, "btrfs", "scrub", "status", at)
	if none := strings.Contains(out, "no errors found"); none != (scrub["errors"] == 0.0) {
		l.t.Errorf("%v, and btrfs says %s", scrub, out)
	}
	return scrub["errors"].(float64)
}

// stats is how many corrupt blocks the kernel counted, by member.
func (l *storageLife) stats(at string) map[string]float64 {
	l.t.Helper()
	var got struct {
		Devices []struct {
			Path           string  `json:"path"`
			CorruptionErrs float64 `json:"corruption_errs"`
		}
	}
	must(l.t, json.Unmarshal(call(l.t, l.hc, "vol.device_stats", params("path", at)), &got))
	counted := map[string]float64{}
	for _, d := range got.Devices {
		counted[d.Path] = d.CorruptionErrs
	}
	return counted
}

// manifest is the sum of each file, by its path within a folder.
type manifest map[string][sha256.Size]byte

// fill writes files of random sizes, of about so many bytes in all.
func fill(t *testing.T, folder string, size int) manifest {
	t.Helper()
	m, noise := manifest{}, rand.NewChaCha8([32]byte{})
	rng := rand.New(noise)
	for i := 0; size > 0; i++ {
		b := make([]byte, 1+rng.IntN(1<<20))
		_, _ = noise.Read(b)
		name := fmt.Sprintf("d%d/f%d", i%7, i)
		must(t, os.MkdirAll(filepath.Join(folder, filepath.Dir(name)), 0o755))
		must(t, os.WriteFile(filepath.Join(folder, name), b, 0o600))
		m[name], size = sha256.Sum256(b), size-len(b)
	}
	unix.Sync()
	return m
}

// same reads every file of the manifest in a folder, from the disk as far as that can be had.
func (m manifest) same(t *testing.T, folder string) {
	t.Helper()
	for name, sum := range m {
		f, err := os.Open(filepath.Join(folder, name))
		must(t, err)
		_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil || [sha256.Size]byte(h.Sum(nil)) != sum {
			t.Errorf("%s in %s: it is another, %v", name, folder, err)
		}
		f.Close()
	}
	must(t, filepath.WalkDir(folder, func(_ string, _ fs.DirEntry, err error) error { return err }))
}

// writeRandom writes and syncs a file that no file system can make smaller.
func writeRandom(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{}), size)
	return errors.Join(err, f.Sync(), f.Close())
}
