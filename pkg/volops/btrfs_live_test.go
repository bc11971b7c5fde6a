package volops

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// answer calls a method the way the server does, holds its result against the schema, and decodes it.
func answer[T any](t testing.TB, v *Vol, method, params string) *T {
	t.Helper()
	b, err := call(t, v, method, params)
	if err != nil {
		t.Fatalf("%s %s: %v", method, params, err)
	}
	testhost.ValidateResult(t, method, b)
	result := new(T)
	if err := json.Unmarshal(b, result); err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return result
}

func call(t testing.TB, v *Vol, method, params string) ([]byte, error) {
	t.Helper()
	row, ok := registry.Lookup(method)
	if !ok {
		t.Fatalf("no method %s", method)
	}
	p, err := row.Decode([]byte(params))
	if err != nil {
		t.Fatalf("%s %s: %v", method, params, err)
	}
	out := new(registry.Out)
	err = row.Call(t.Context(), &registry.Servers{Vol: v}, p, out)
	return out.Buf, err
}

// roundsPerFilesystem is how often a filesystem is changed and looked at before there is a new one.
const roundsPerFilesystem = 8

func TestBtrfsAgainstItsTools(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	testhost.Tool(t, "btrfs", "btrfs-progs")
	r := rand.New(rand.NewPCG(testhost.Seed(t), 0))
	v := newVol(t, Options{})
	rounds := testhost.Rounds(16)
	for n := 0; n < rounds; n += roundsPerFilesystem {
		t.Run(fmt.Sprint("filesystem", n/roundsPerFilesystem), func(t *testing.T) {
			h := newBtrfsHost(t, r, v)
			for range min(roundsPerFilesystem, rounds-n) {
				h.change()
				h.compare()
			}
			h.damage()
			h.compare()
		})
	}
}

// btrfsLayouts are the shapes of filesystems: how many devices, and what mkfs.btrfs is told. Not every
// profile of data goes with every one of metadata.
var btrfsLayouts = []testhost.BtrfsOptions{
	{Devices: 1, Data: "single", Metadata: "dup"},
	{Devices: 1, Data: "single", Metadata: "single"},
	{Devices: 1, Data: "dup", Metadata: "dup"},
	{Devices: 1, Data: "single", Metadata: "single", Mkfs: []string{"--mixed"}},
	{Devices: 2, Data: "single", Metadata: "raid1"},
	{Devices: 2, Data: "raid0", Metadata: "raid1"},
	{Devices: 2, Data: "raid1", Metadata: "raid1"},
	{Devices: 3, Data: "raid1", Metadata: "raid1c3", Mkfs: []string{"--csum", "xxhash"}},
	{Devices: 3, Data: "raid5", Metadata: "raid1", Mkfs: []string{"--csum", "sha256"}},
	{Devices: 4, Data: "raid10", Metadata: "raid10"},
	{Devices: 4, Data: "raid6", Metadata: "raid1c4"},
}

// btrfsHost is one filesystem that changes at random.
type btrfsHost struct {
	*testhost.Btrfs
	t      *testing.T
	r      *rand.Rand
	v      *Vol
	layout testhost.BtrfsOptions
	names  int
	quotas bool
}

func newBtrfsHost(t *testing.T, r *rand.Rand, v *Vol) *btrfsHost {
	layout := btrfsLayouts[r.IntN(len(btrfsLayouts))]
	layout.Label = fmt.Sprint("label ", r.Uint32())
	layout.Size = 256 << 20
	t.Logf("%+v", layout)
	h := &btrfsHost{testhost.NewBtrfs(t, layout), t, r, v, layout, 0, false}
	record := scrubFolder + "/scrub.status." + h.uuid()
	t.Cleanup(func() { os.Remove(record) })
	return h
}

func (h *btrfsHost) uuid() string {
	return answer[registry.VolFSDFResult](h.t, h.v, "vol.fs_df", h.params()).FilesystemUUID
}

func (h *btrfsHost) params() string {
	b, err := json.Marshal(map[string]string{"path": h.Path})
	if err != nil {
		h.t.Fatal(err)
	}
	return string(b)
}

// subvolumes lists those there are, as the witness has them.
func (h *btrfsHost) subvolumes() []string {
	paths := []string{""}
	for line := range strings.Lines(h.Run("subvolume", "list", h.Path)) {
		_, path, _ := strings.Cut(strings.TrimSpace(line), " path ")
		paths = append(paths, path)
	}
	return paths
}

func (h *btrfsHost) pick() string {
	all := h.subvolumes()
	return filepath.Join(h.Path, all[h.r.IntN(len(all))])
}

func (h *btrfsHost) newName(dir string) string {
	h.names++
	return filepath.Join(dir, fmt.Sprintf("%c %d é", 'a'+h.r.IntN(26), h.names))
}

// try runs btrfs(8); what the present state does not allow, as a subvolume in a read-only one, is no
// failure.
func (h *btrfsHost) try(args ...string) { testhost.TryCommand(h.t, "btrfs", args...) }

// change does some of what people do to a btrfs.
func (h *btrfsHost) change() {
	for range 1 + h.r.IntN(6) {
		h.changeOnce()
	}
	h.Run("filesystem", "sync", h.Path)
}

func (h *btrfsHost) changeOnce() {
	switch h.r.IntN(13) {
	case 0, 1, 2:
		h.try("-q", "subvolume", "create", h.newName(h.pick()))
	case 3:
		dir := h.newName(h.pick())
		testhost.TryCommand(h.t, "mkdir", "-p", dir+"/deep/er")
		h.try("-q", "subvolume", "create", h.newName(dir+"/deep/er"))
	case 4:
		h.try("-q", "subvolume", "snapshot", h.pick(), h.newName(h.pick()))
	case 5:
		h.try("-q", "subvolume", "snapshot", "-r", h.pick(), h.newName(h.pick()))
	case 6:
		if victim := h.pick(); victim != h.Path {
			h.try("-q", "subvolume", "delete", victim)
		}
	case 7:
		testhost.TryCommand(h.t, "mv", h.pick(), h.newName(h.pick()))
	case 8, 9:
		testhost.TryCommand(h.t, "sh", "-c", `head -c "$1" /dev/urandom >"$0"`, h.newName(h.pick()), fmt.Sprint(h.r.IntN(6<<20)))
	case 10:
		h.changeQuotas()
	case 11:
		h.try("subvolume", "set-default", h.pick())
	case 12: // a copy that is received knows what it was sent from
		snapshot, into := h.newName(h.pick()), h.newName(h.pick())
		testhost.TryCommand(h.t, "sh", "-c", `btrfs -q subvolume snapshot -r "$0" "$1" && mkdir "$2" && btrfs -q send "$1" | btrfs -q receive "$2"`,
			h.pick(), snapshot, into)
	}
}

func (h *btrfsHost) changeQuotas() {
	if !h.quotas {
		h.Run("quota", "enable", h.Path)
		h.try("qgroup", "create", "1/7", h.Path)
		h.try("qgroup", "create", "2/300", h.Path)
		h.quotas = true
		return
	}
	switch h.r.IntN(6) {
	case 5: // what is copied into a group of its own leaves its figures wrong
		h.try("-q", "subvolume", "snapshot", "-i", "1/7", h.pick(), h.newName(h.pick()))
	case 0:
		h.Run("quota", "disable", h.Path)
		h.quotas = false
	case 1:
		h.try("qgroup", "limit", fmt.Sprint(h.r.IntN(1<<30)), h.pick())
	case 2:
		h.try("qgroup", "limit", "-e", fmt.Sprint(h.r.IntN(1<<30)), h.pick())
	case 3:
		h.try("qgroup", "limit", "none", h.pick())
	case 4:
		id := answer[registry.VolListSubvolumesResult](h.t, h.v, "vol.list_subvolumes", h.params()).Subvolumes
		if len(id) > 0 {
			h.try("qgroup", "assign", fmt.Sprint("0/", id[h.r.IntN(len(id))].ID), []string{"1/7", "2/300"}[h.r.IntN(2)], h.Path)
		}
	}
}

// damage loses or corrupts a member, where there is another copy of all that it holds, and looks for
// the consequences with a scrub.
func (h *btrfsHost) damage() {
	if !slices.Contains([]string{"raid1", "raid10"}, h.layout.Data) {
		h.Run("scrub", "start", "-B", h.Path)
		return
	}
	victim := h.r.IntN(len(h.Disks))
	if h.r.IntN(2) == 0 {
		h.Lose(victim)
		if !h.stats()[victim].Missing {
			h.t.Error("the loss is not noticed")
		}
		return
	}
	h.Write("to be damaged", 8<<20)
	h.Unmount()
	h.corrupt(h.Disks[victim])
	h.Mount("")
	testhost.TryCommand(h.t, "btrfs", "scrub", "start", "-B", h.Path) // fails where it finds errors
	everywhere := h.layout.Data == "raid10" || len(h.Disks) == 2      // else the file need not lie on the victim
	if everywhere && h.stats()[victim].CorruptionErrs == 0 {
		h.t.Error("the damage is not found")
	}
}

func (h *btrfsHost) stats() []registry.BtrfsDeviceStats {
	h.t.Helper()
	return answer[registry.VolDeviceStatsResult](h.t, h.v, "vol.device_stats", h.params()).Devices
}

// corrupt overwrites a part of every MiB of one device behind the filesystem's back, but not the
// superblocks at 64 KiB and 64 MiB.
func (h *btrfsHost) corrupt(disk *testhost.Loop) {
	f, err := os.OpenFile(disk.Path, os.O_RDWR, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	defer f.Close()
	junk := make([]byte, 64<<10)
	for at := int64(3 << 19); at < h.layout.Size; at += 1 << 20 {
		if _, err := f.WriteAt(junk, at); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		h.t.Fatal(err)
	}
}

// steady asks the witness, us, and the witness again, until the witness says the same twice: the
// cleaner works on its own time.
func steady[W, O any](t testing.TB, witness func() W, ours func() O) (W, O) {
	t.Helper()
	for range 50 {
		before := witness()
		got := ours()
		if cmp.Equal(before, witness()) {
			return before, got
		}
	}
	t.Fatal("the filesystem does not come to rest")
	panic("unreachable")
}

func (h *btrfsHost) compare() {
	h.t.Helper()
	h.compareSubvolumes()
	h.compareStats()
	h.compareDF()
	h.compareUsage()
	h.compareScrub()
	h.compareBalance()
}

func (h *btrfsHost) differ(what string, want, got any) {
	h.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		h.t.Errorf("%s (-btrfs +ours)\n%s", what, diff)
	}
}

// TestListSubvolumesOfMOSDATA: none, one and two filesystems of that label, beside one that is mounted in another mount
// namespace only.
func TestListSubvolumesOfMOSDATA(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	v := newVol(t, Options{})
	disk := loop(t, 200<<20)
	tool(t, "", "mkfs.btrfs", "-q", "-L", "MOSDATA", disk.Path)
	testhost.Stand(t, "unshare", "--mount", "--propagation", "private", "sh", "-ec", `mount "$0" "$1"; echo ready; read -r _`, disk.Path, t.TempDir())
	_, err := call(t, v, "vol.list_subvolumes", `{}`)
	checkKind(t, err, "not_found")
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{Label: "MOSDATA"})
	b.Run("subvolume", "create", filepath.Join(b.Path, "vms"))
	got := answer[registry.VolListSubvolumesResult](t, v, "vol.list_subvolumes", `{}`)
	if len(got.Subvolumes) != 1 || got.Subvolumes[0].Path.Or("") != filepath.Join(b.Path, "vms") {
		t.Errorf("%+v, want %s/vms", got.Subvolumes, b.Path)
	}
	testhost.NewBtrfs(t, testhost.BtrfsOptions{Label: "MOSDATA"})
	_, err = call(t, v, "vol.list_subvolumes", `{}`)
	checkKind(t, err, "conflict")
}

func checkKind(t *testing.T, err error, kind string) {
	t.Helper()
	wire, ok := err.(registry.WireError)
	if !ok || wire.ErrorKind() != kind {
		t.Errorf("error %v, want %s", err, kind)
	}
}

// btrfsMethods are those that a path of a btrfs is named to.
var btrfsMethods = []string{"vol.list_subvolumes", "vol.device_stats", "vol.scrub_status", "vol.fs_usage", "vol.fs_df", "vol.balance_status"}

func TestBtrfsMethodsElsewhere(t *testing.T) {
	v := newVol(t, Options{})
	for _, method := range btrfsMethods {
		_, err := call(t, v, method, `{"path":"/proc"}`)
		checkKind(t, err, "not_found")
		_, err = call(t, v, method, `{"path":"/no/such/path"}`)
		checkKind(t, err, "not_found")
	}
}

func TestSubvolumeLimit(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
	for _, name := range []string{"a", "b", "c"} {
		b.Run("subvolume", "create", filepath.Join(b.Path, name))
	}
	got := answer[registry.VolListSubvolumesResult](t, newVol(t, Options{}), "vol.list_subvolumes", fmt.Sprintf(`{"path":%q,"limit":2}`, b.Path))
	if len(got.Subvolumes) != 2 || got.Subvolumes[1].FSPath != "b" {
		t.Errorf("%+v, want a and b", got.Subvolumes)
	}
}

func TestSubvolumePathsThroughMounts(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
	for _, name := range []string{"a", "a/in", "b", "c"} {
		b.Run("subvolume", "create", filepath.Join(b.Path, name))
	}
	other := t.TempDir()
	if err := unix.Mount(filepath.Join(b.Path, "a"), other, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(other, unix.MNT_DETACH) })
	for _, covered := range []string{"a", "c"} {
		if err := unix.Mount("tmpfs", filepath.Join(b.Path, covered), "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(filepath.Join(b.Path, covered), unix.MNT_DETACH) })
	}
	v := newVol(t, Options{})
	want := map[string]string{"a": other, "a/in": other + "/in", "b": b.Path + "/b", "c": ""}
	for _, path := range []string{b.Path, other} {
		got := make(map[string]string)
		for _, s := range answer[registry.VolListSubvolumesResult](t, v, "vol.list_subvolumes", fmt.Sprintf(`{"path":%q}`, path)).Subvolumes {
			got[s.FSPath] = s.Path.Or("")
			if p := s.Path.Or(""); p != "" {
				var st unix.Stat_t
				if err := unix.Stat(p, &st); err != nil || st.Ino != 256 {
					t.Errorf("%s: inode %d, %v; want a subvolume", p, st.Ino, err)
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("asked of %s (-want +got)\n%s", path, diff)
		}
	}
}

func TestBtrfsWithoutPrivilege(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	const variable = "TEST_BTRFS"
	path := os.Getenv(variable)
	if path == "" {
		b := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
		if err := os.Chmod(filepath.Dir(filepath.Dir(b.Path)), 0o755); err != nil { // a test's own folder is closed to others
			t.Fatal(err)
		}
		t.Setenv(variable, b.Path)
		testhost.AsNobody(t)
		return
	}
	v := newVol(t, Options{})
	for _, method := range btrfsMethods {
		got, err := call(t, v, method, fmt.Sprintf(`{"path":%q}`, path))
		switch method {
		case "vol.device_stats", "vol.fs_df":
			if err != nil {
				t.Errorf("%s: %v", method, err)
				continue
			}
			testhost.ValidateResult(t, method, got)
		default:
			var lacks interface{ Capability() string }
			if !errors.As(err, &lacks) || lacks.Capability() != "CAP_SYS_ADMIN" {
				t.Errorf("%s: %v, want a lack of CAP_SYS_ADMIN", method, err)
			}
		}
	}
}
