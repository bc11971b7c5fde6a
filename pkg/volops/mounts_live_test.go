package volops

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// findmntColumns is what the witness is asked for.
const findmntColumns = "ID,PARENT,MAJ:MIN,FSROOT,TARGET,SOURCE,FSTYPE,VFS-OPTIONS,FS-OPTIONS,PROPAGATION,OPT-FIELDS," +
	"SIZE,USED,AVAIL,UUID,LABEL,PARTUUID,PARTLABEL"

func findmnt(t *testing.T) map[float64]map[string]any {
	t.Helper()
	testhost.Tool(t, "findmnt", "util-linux")
	var list struct{ Filesystems []map[string]any }
	if err := json.Unmarshal([]byte(tool(t, "", "findmnt", "-J", "-l", "-b", "-v", "-o", findmntColumns)), &list); err != nil {
		t.Fatalf("findmnt: %v", err)
	}
	found := make(map[float64]map[string]any)
	for _, m := range list.Filesystems {
		found[m["id"].(float64)] = m
	}
	return found
}

// TestMountsAgainstWitnesses makes mounts at random and holds every member of their rows against
// findmnt and stat.
func TestMountsAgainstWitnesses(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	v := newVol(t, Options{})
	seed := testhost.Seed(t)
	for round := range testhost.Rounds(40) {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			m := newMountScene(t, rand.New(rand.NewPCG(seed, uint64(round))))
			list := rows(t, v, "vol.list_mounts", `{}`, "mounts")
			witness := findmnt(t)
			if len(list) != len(witness) {
				t.Errorf("%d mounts, findmnt has %d", len(list), len(witness))
			}
			for _, row := range list {
				compareMount(t, row, witness[row["mount_id"].(float64)], m.mine(row))
			}
			m.compareFilters(t, v, list)
			m.compareTags(t, v, list)
		})
	}
}

// mountScene is a tree of mounts below a folder of its own.
type mountScene struct {
	t     *testing.T
	rng   *rand.Rand
	dir   string
	disks *scene
}

func newMountScene(t *testing.T, rng *rand.Rand) *mountScene {
	m := &mountScene{t: t, rng: rng, dir: t.TempDir(), disks: &scene{t: t, rng: rng}}
	m.mount("tmpfs", m.dir, "tmpfs", 0, "mode=755")
	t.Cleanup(func() {
		for unix.Unmount(m.dir, unix.MNT_DETACH) == nil { // what is stacked there too
		}
	})
	m.disks.addDisk()
	for range 6 + rng.IntN(6) {
		m.add()
	}
	return m
}

func (m *mountScene) mount(source, target, fstype string, flags uintptr, options string) {
	m.t.Helper()
	if err := unix.Mount(source, target, fstype, flags, options); err != nil {
		m.t.Fatalf("mount %s on %q: %v", fstype, target, err)
	}
}

// folder makes a folder somewhere in the tree, as deep as chance has it. Where that cannot be, as in a
// read-only place, it tries elsewhere.
func (m *mountScene) folder() string {
	for {
		path := m.dir
		for range 1 + m.rng.IntN(3) {
			path = filepath.Join(path, pick(m.rng, oddNames...))
		}
		if os.MkdirAll(path, 0o755) == nil {
			return path
		}
	}
}

// add makes a mount, or a few that belong together.
func (m *mountScene) add() {
	target := m.folder()
	switch pick(m.rng, "tmpfs", "tmpfs", "bind", "file", "overlay", "proc", "peers", "unbindable", "readonly") {
	case "tmpfs":
		flags := pick[uintptr](m.rng, 0, unix.MS_NOSUID, unix.MS_NODEV|unix.MS_NOEXEC, unix.MS_NOATIME, unix.MS_STRICTATIME,
			unix.MS_NODIRATIME, unix.MS_SYNCHRONOUS, unix.MS_NOSYMFOLLOW, unix.MS_RELATIME|unix.MS_NOSUID)
		m.mount(pick(m.rng, oddNames...), target, "tmpfs", flags, pick(m.rng, "", "size=64k", "size=1m,nr_inodes=100", "mode=755,uid=5,gid=7", "size=50%"))
	case "bind":
		m.bind(m.folder(), target)
	case "file":
		m.file(target)
	case "overlay":
		m.overlay(target)
	case "proc":
		m.mount("proc", target, "proc", 0, pick(m.rng, "", "hidepid=2"))
	case "peers":
		m.peers(target)
	case "unbindable":
		m.mount("", target, "tmpfs", 0, "")
		m.mount("", target, "", unix.MS_UNBINDABLE, "")
	case "readonly":
		m.mount("ro", target, "tmpfs", 0, "")
		m.mount("", target, "", unix.MS_REMOUNT|pick[uintptr](m.rng, unix.MS_RDONLY, unix.MS_BIND|unix.MS_RDONLY), "")
	}
}

// bind mounts a folder a second time; one that cannot be bound stays as it is.
func (m *mountScene) bind(source, target string) {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil && err != unix.EINVAL {
		m.t.Fatalf("bind %q on %q: %v", source, target, err)
	}
}

// file mounts a file on a file.
func (m *mountScene) file(dir string) {
	source := filepath.Join(m.tmpfs("files"), pick(m.rng, oddNames...))
	target := filepath.Join(dir, "file")
	if err := os.WriteFile(source, nil, 0o600); err != nil {
		m.t.Fatal(err)
	}
	if os.WriteFile(target, nil, 0o600) == nil { // else a read-only place
		m.bind(source, target)
	}
}

// tmpfs is a place outside the tree where nobody else writes.
func (m *mountScene) tmpfs(source string) string {
	dir := m.t.TempDir()
	m.mount(source, dir, "tmpfs", 0, "")
	m.t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// overlay lays a folder over another, with what its options escape in their names.
func (m *mountScene) overlay(target string) {
	layers := m.tmpfs("layers")
	for _, name := range []string{"low er,1", "lower2", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(layers, name), 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
	options := "lowerdir=" + layers + `/low er\,1:` + layers + "/lower2"
	if m.rng.IntN(2) == 0 {
		options += ",upperdir=" + layers + "/upper,workdir=" + layers + "/work"
	}
	m.mount("over lay", target, "overlay", 0, options)
}

// peers makes a shared mount, and another that receives from it and may be shared in turn.
func (m *mountScene) peers(target string) {
	m.mount("peer", target, "tmpfs", 0, "")
	m.mount("", target, "", unix.MS_SHARED, "")
	other := m.folder()
	m.bind(target, other)
	m.mount("", other, "", pick[uintptr](m.rng, unix.MS_SLAVE, unix.MS_PRIVATE, unix.MS_SHARED), "")
	if m.rng.IntN(2) == 0 {
		m.mount("", other, "", unix.MS_SHARED, "")
	}
}

// mine tells whether a row is of this scene, where nobody else writes.
func (m *mountScene) mine(row map[string]any) bool {
	return strings.HasPrefix(row["target"].(string), m.dir)
}

// compareMount holds one row against findmnt's.
func compareMount(t *testing.T, row, witness map[string]any, mine bool) {
	t.Helper()
	if witness == nil {
		t.Errorf("findmnt has no mount %v at %q", row["mount_id"], row["target"])
		return
	}
	got := map[string]any{
		"id": row["mount_id"], "parent": row["parent_id"], "maj:min": fmt.Sprintf("%v:%v", row["major"], row["minor"]),
		"fsroot": row["root"], "target": row["target"], "source": row["source"], "fstype": row["fstype"],
		"vfs-options": strings.Join(words(row["options"]), ","), "fs-options": strings.Join(words(row["super_options"]), ","),
		"opt-fields": optionalFields(row["propagation"].(map[string]any)),
	}
	for column := range got {
		if got[column] != orNull(witness[column]) {
			t.Errorf("%q: %s is %q, findmnt says %q", row["target"], column, got[column], witness[column])
		}
	}
	if types := propagationTypes[witness["propagation"].(string)]; row["propagation"].(map[string]any)["type"] != types {
		t.Errorf("%q: propagation %v, findmnt says %v", row["target"], row["propagation"], witness["propagation"])
	}
	for member, column := range map[string]string{"uuid": "uuid", "label": "label", "partuuid": "partuuid", "partlabel": "partlabel"} {
		if w := witness[column]; w != nil && row[member] != w {
			t.Errorf("%q: %s is %v, findmnt says %v", row["target"], member, row[member], w)
		}
	}
	if row["hidden"] == true {
		if row["usage_error"] != "hidden" || row["usage"] != nil {
			t.Errorf("%q is hidden: usage_error %v, usage %v", row["target"], row["usage_error"], row["usage"])
		}
		return
	}
	if mine {
		compareSpace(t, row, witness)
	}
}

// orNull is what findmnt prints; it has null for an empty source.
func orNull(v any) any {
	if v == "" {
		return nil
	}
	return v
}

// propagationTypes maps findmnt's words.
var propagationTypes = map[string]string{
	"private": "private", "shared": "shared", "private,slave": "slave", "shared,slave": "slave,shared", "private,unbindable": "unbindable",
}

// optionalFields writes propagation as mountinfo does.
func optionalFields(p map[string]any) any {
	var fields []string
	for _, f := range []struct{ member, tag string }{{"shared", "shared"}, {"master", "master"}, {"propagate_from", "propagate_from"}} {
		if id, ok := p[f.member]; ok {
			fields = append(fields, fmt.Sprintf("%s:%v", f.tag, id))
		}
	}
	if p["unbindable"] == true {
		fields = append(fields, "unbindable")
	}
	return orNull(strings.Join(fields, " "))
}

// compareSpace holds the usage of a visible mount against findmnt and stat.
func compareSpace(t *testing.T, row, witness map[string]any) {
	t.Helper()
	u, ok := row["usage"].(map[string]any)
	if !ok {
		t.Errorf("%q: no usage, but %v", row["target"], row["usage_error"])
		return
	}
	for member, column := range map[string]string{"total_bytes": "size", "used_bytes": "used", "available_bytes": "avail"} {
		if w := witness[column]; w != nil && u[member] != w {
			t.Errorf("%q: %s is %v, findmnt says %v", row["target"], member, u[member], w)
		}
	}
	if want := statUsage(t, row["target"].(string)); want != describeUsage(u) {
		t.Errorf("%q: usage is %s, stat says %s", row["target"], describeUsage(u), want)
	}
	if want, got := flagsOf(row), words(u["flags"]); strings.Join(want, ",") != strings.Join(got, ",") {
		t.Errorf("%q: flags are %q, the options say %q", row["target"], got, want)
	}
}

// statUsage is what stat(1) says of a filesystem, in the form of describeUsage.
func statUsage(t *testing.T, path string) string {
	t.Helper()
	var id, magic string
	var nameMax, fragment, block, blocks, free, available, files, filesFree int64
	line := tool(t, "", "stat", "-f", "-c", "%i %t %l %S %s %b %f %a %c %d", "--", path)
	if _, err := fmt.Sscan(line, &id, &magic, &nameMax, &fragment, &block, &blocks, &free, &available, &files, &filesFree); err != nil {
		t.Fatalf("stat -f: %q: %v", line, err)
	}
	return fmt.Sprint(id, " ", magic, nameMax, fragment, block, blocks*fragment, free*fragment, available*fragment, files, filesFree)
}

func describeUsage(u map[string]any) string {
	number := func(member string) int64 {
		f, _ := u[member].(float64)
		return int64(f)
	}
	id, ok := u["fsid"].(string)
	if !ok {
		id = "0"
	}
	return fmt.Sprint(id, " ", u["magic"].(string), number("name_max"), number("fragment_size_bytes"), number("block_size_bytes"),
		number("total_bytes"), number("free_bytes"), number("available_bytes"), number("inodes_total"), number("inodes_free"))
}

// flagsOf derives what statfs(2) must say of a mount's flags from its options.
func flagsOf(row map[string]any) []string {
	has := make(map[string]bool)
	for _, o := range append(words(row["options"]), words(row["super_options"])...) {
		has[o] = true
	}
	var flags []string
	for _, f := range []struct{ option, flag string }{
		{"ro", "rdonly"}, {"nosuid", "nosuid"}, {"nodev", "nodev"}, {"noexec", "noexec"}, {"sync", "synchronous"}, {"mand", "mandlock"},
		{"noatime", "noatime"}, {"nodiratime", "nodiratime"}, {"relatime", "relatime"}, {"nosymfollow", "nosymfollow"},
	} {
		if has[f.option] {
			flags = append(flags, f.flag)
		}
	}
	return flags
}

// compareFilters asks with filters for what the whole list has.
func (m *mountScene) compareFilters(t *testing.T, v *Vol, list []map[string]any) {
	t.Helper()
	row := list[m.rng.IntN(len(list))]
	for param, member := range map[string]string{"target": "target", "fstype": "fstype", "source": "source"} {
		if row[member] == nil {
			continue
		}
		var want []any
		for _, other := range list {
			if other[member] == row[member] {
				want = append(want, other["mount_id"])
			}
		}
		params, err := json.Marshal(map[string]any{param: row[member], "usage": false, "limit": 1000})
		if err != nil {
			t.Fatal(err)
		}
		var got []any
		for _, r := range rows(t, v, "vol.list_mounts", string(params), "mounts") {
			got = append(got, r["mount_id"])
			if r["usage"] != nil || r["usage_error"] != nil {
				t.Errorf("usage was asked for: %v", r)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: mounts %v, want %v", params, got, want)
		}
	}
	if got := rows(t, v, "vol.list_mounts", `{"limit":3}`, "mounts"); len(got) != 3 {
		t.Errorf("limit 3: %d mounts", len(got))
	}
}

// compareTags holds what is said of the devices of the scene's mounts against what was made, and asks
// for those mounts by their names.
func (m *mountScene) compareTags(t *testing.T, v *Vol, list []map[string]any) {
	t.Helper()
	for _, d := range m.disks.disks {
		for name, device := range d.tags {
			tag, value, _ := strings.Cut(name, "=")
			var want []any
			for _, row := range list {
				if row["source"] != device && row["device"] != device {
					continue
				}
				want = append(want, row["mount_id"])
				if got := row[strings.ToLower(tag)]; got != value || row["device"] != device {
					t.Errorf("%q: %s is %v, want %s; device is %v, want %s", row["target"], tag, got, value, row["device"], device)
				}
			}
			params, err := json.Marshal(map[string]any{"source": name, "usage": false})
			if err != nil {
				t.Fatal(err)
			}
			var got []any
			for _, row := range rows(t, v, "vol.list_mounts", string(params), "mounts") {
				got = append(got, row["mount_id"])
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: mounts %v, want %v", params, got, want)
			}
		}
	}
}
