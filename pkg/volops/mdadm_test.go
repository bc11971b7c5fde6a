package volops

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

func TestWantArray(t *testing.T) {
	two := []string{"/dev/a", "/dev/b"}
	for _, c := range []struct {
		name   string
		level  int64
		of     int
		expect int
		fields string
	}{
		{name: "data", level: 1, of: 2},
		{name: "0", level: 10, of: 2, expect: 2},
		{name: strings.Repeat("x", 32), level: 6, of: 4},
		{name: strings.Repeat("x", 33), level: 1, of: 2, fields: "name"},
		{name: "", level: 1, of: 2, fields: "name"},
		{name: "-f", level: 1, of: 2, fields: "name"},
		{name: "--force", level: 1, of: 2, fields: "name"},
		{name: ".", level: 1, of: 2, fields: "name"},
		{name: "..", level: 1, of: 2, fields: "name"},
		{name: "../sda", level: 1, of: 2, fields: "name"},
		{name: "a/b", level: 1, of: 2, fields: "name"},
		{name: "a\nb", level: 1, of: 2, fields: "name"},
		{name: "a\n", level: 1, of: 2, fields: "name"},
		{name: "a\x00b", level: 1, of: 2, fields: "name"},
		{name: "a b", level: 1, of: 2, fields: "name"},
		{name: "a,b", level: 1, of: 2, fields: "name"},
		{name: "a;$(id)", level: 1, of: 2, fields: "name"},
		{name: "host:a", level: 1, of: 2, fields: "name"},
		{name: "é", level: 1, of: 2, fields: "name"},
		{name: "a\xff", level: 1, of: 2, fields: "name"},
		{name: "data", level: 2, of: 2, fields: "level"},
		{name: "data", level: 1, of: 1, fields: "devices"},
		{name: "data", level: 5, of: 2, fields: "devices"},
		{name: "data", level: 6, of: 3, expect: 2, fields: "devices expect"},
	} {
		p := &registry.VolCreateMDArrayParams{Name: c.name, Level: registry.Some(c.level), Devices: slices.Repeat(two, 2)[:c.of]}
		if c.expect > 0 {
			p.Expect = make([]registry.DeviceExpectation, c.expect)
		}
		_, err := parseWantArray(p)
		var got []string
		var refused *registry.ParamsError
		if errors.As(err, &refused) {
			for _, f := range refused.Faults {
				got = append(got, f.Path)
			}
		} else if err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		if strings.Join(got, " ") != c.fields {
			t.Errorf("%+v: faults in %v", c, got)
		}
		row, _ := registry.Lookup("vol.create_md_array")
		if _, err := row.Decode([]byte(params("name", c.name, "devices", two))); (err != nil) != strings.Contains(c.fields, "name") {
			t.Errorf("name %q: the table says %v", c.name, err)
		}
	}
	if w, err := parseWantArray(&registry.VolCreateMDArrayParams{Name: "data", Devices: two}); err != nil || w.level != 1 || w.metadata != "1.2" {
		t.Errorf("by default: %+v, %v", w, err)
	}
}

func TestMdadmArguments(t *testing.T) {
	const uuid, groups = "7b1e0c44-93d2-4f6a-b5c8-1d2e3f405162", "7b1e0c44:93d24f6a:b5c81d2e:3f405162"
	w := &wantArray{name: "data", level: 1, metadata: "1.2", uuid: uuid}
	want := "--create /dev/md/data --config=none --run --quiet --level=1 --metadata=1.2 --raid-devices=2 --name=data --uuid=" + groups + " /dev/vdc /dev/vdd"
	if got := strings.Join(w.createArguments([]string{"/dev/vdc", "/dev/vdd"}, false), " "); got != want {
		t.Errorf("create: %s, want %s", got, want)
	}
	if got := w.createArguments([]string{"/dev/vdc", "/dev/vdd"}, true); !slices.Contains(got, "--bitmap=internal") || got[len(got)-1] != "/dev/vdd" {
		t.Errorf("of large devices: %q", got)
	}
	w.level = 0
	if got := w.createArguments([]string{"/dev/vdc", "/dev/vdd"}, true); slices.Contains(got, "--bitmap=internal") {
		t.Errorf("of level 0: %q", got)
	}
	want = "--assemble /dev/md/data --config=none --quiet --uuid=" + groups + " /dev/vdc /dev/vdd"
	if got := strings.Join(assembleArguments("data", uuid, []string{"/dev/vdc", "/dev/vdd"}), " "); got != want {
		t.Errorf("assemble: %s, want %s", got, want)
	}
	if got := strings.Join(stopArguments("/dev/md127"), " "); got != "--stop --quiet /dev/md127" {
		t.Errorf("stop: %s", got)
	}
}

func TestChooseMembers(t *testing.T) {
	m := func(path string, events uint64, slot, disks int64) arrayMember {
		return arrayMember{path: path, events: events, slot: slot, disks: disks}
	}
	for _, c := range []struct {
		name, paths, reason string
		list                []arrayMember
	}{
		{name: "none", reason: "device_missing"},
		{name: "whole", list: []arrayMember{m("a", 7, 0, 2), m("b", 7, 1, 2)}, paths: "a b"},
		{name: "one event apart", list: []arrayMember{m("a", 8, 0, 2), m("b", 7, 1, 2)}, paths: "a b"},
		{name: "one is stale", list: []arrayMember{m("a", 9, 0, 2), m("b", 7, 1, 2)}, reason: "degraded"},
		{name: "one is missing", list: []arrayMember{m("b", 7, 1, 2)}, reason: "degraded"},
		{name: "a spare", list: []arrayMember{m("a", 7, 0, 2), m("b", 7, 1, 2), m("c", 7, -1, 2)}, paths: "a b c"},
		{name: "a spare takes the place", list: []arrayMember{m("a", 7, 0, 2), m("c", 7, -1, 2)}, paths: "a c"},
		{name: "a copy", list: []arrayMember{m("a", 7, 0, 2), m("b", 7, 0, 2), m("c", 7, 1, 2)}, reason: "failed"},
		{name: "a stale copy", list: []arrayMember{m("a", 9, 0, 2), m("b", 5, 0, 2), m("c", 9, 1, 2)}, paths: "a c"},
		{name: "a forged size", list: []arrayMember{m("a", 9, 0, 2), m("b", 9, 1, 2), m("c", 3, 2, 1<<32-1)}, paths: "a b"},
		{name: "a place beyond all", list: []arrayMember{m("a", 9, 0, 2), m("b", 9, 77, 2)}, reason: "degraded"},
		{name: "the last events there are", list: []arrayMember{m("a", 1<<64-1, 0, 2), m("b", 0, 1, 2)}, reason: "degraded"},
	} {
		paths, reason := chooseMembers(c.list)
		if strings.Join(paths, " ") != c.paths && reason == "" || reason != c.reason {
			t.Errorf("%s: %v, %q", c.name, paths, reason)
		}
	}
}

// TestChooseMembersAnyOrder: whichever disk comes first, the answer is the same, and an array of which a
// member in sync is taken away is never started.
func TestChooseMembersAnyOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 41))
	for range testhost.Rounds(200) {
		disks := 2 + rng.IntN(6)
		var list []arrayMember
		for slot := range disks {
			list = append(list, arrayMember{path: string(rune('a' + slot)), events: 100 + uint64(rng.IntN(2)), slot: int64(slot), disks: int64(disks)})
		}
		rng.Shuffle(disks, func(i, j int) { list[i], list[j] = list[j], list[i] })
		if paths, reason := chooseMembers(list); reason != "" || len(paths) != disks {
			t.Fatalf("%+v: %v, %s", list, paths, reason)
		}
		list[rng.IntN(disks)].events = uint64(rng.IntN(99))
		if paths, reason := chooseMembers(list); reason != arrayDegraded {
			t.Fatalf("%+v: %v, %s", list, paths, reason)
		}
		if _, reason := chooseMembers(list[1:]); reason != arrayDegraded {
			t.Fatalf("%+v: %s", list[1:], reason)
		}
	}
}

// rootWithLevels is a host whose kernel has MD with some levels, or no MD at all.
func rootWithLevels(t *testing.T, levels string) string {
	t.Helper()
	root := t.TempDir()
	must(t, os.Mkdir(filepath.Join(root, "proc"), 0o755))
	if levels != "" {
		must(t, os.WriteFile(filepath.Join(root, "proc/mdstat"), []byte("Personalities : "+levels+" \nunused devices: <none>\n"), 0o644))
	}
	return root
}

// TestArraysWithoutMD: a kernel without MD, or without the level, is unsupported; no device is looked for.
func TestArraysWithoutMD(t *testing.T) {
	create := []any{"name", "data", "devices", []string{"/dev/no-such", "/dev/no-such-2"}}
	v := newVol(t, Options{Root: rootWithLevels(t, ""), State: openState(t, t.TempDir())})
	wantKind(t, failure(t, v, "vol.create_md_array", create...), "unsupported", `"reason":"kernel"`, `"missing":"md_mod"`)
	wantKind(t, failure(t, v, "vol.stop_md_array", "device", "/dev/md/data"), "unsupported", `"reason":"kernel"`, `"missing":"md_mod"`)
	wantUnavailable(t, v, registry.UnavailableKindUnsupported, "md_mod")
	v = newVol(t, Options{Root: rootWithLevels(t, "[raid1] [raid10]"), State: openState(t, t.TempDir())})
	wantKind(t, failure(t, v, "vol.create_md_array", append(create, "level", 0)...), "unsupported", `"reason":"kernel"`, `"missing":"raid0"`)
	if list := v.state.Interrupted(); len(list) > 0 {
		t.Errorf("interrupted: %v", list)
	}
}

// wantUnavailable asks that both writes of arrays are told as unavailable.
func wantUnavailable(t *testing.T, v *Vol, kind registry.UnavailableKind, missing string) {
	t.Helper()
	found := 0
	for _, m := range v.Unavailable() {
		if m.Method == "vol.create_md_array" || m.Method == "vol.stop_md_array" {
			found++
			if m.Kind != kind || m.Missing.Or("") != missing {
				t.Errorf("%+v", m)
			}
		}
	}
	if found != 2 {
		t.Errorf("%d of 2 are told", found)
	}
}

// TestArraysWithoutMdadm hides mdadm, and asks for arrays of a kernel that has them.
func TestArraysWithoutMdadm(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	for _, folder := range []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if path := folder + "/mdadm"; exists(path) {
			must(t, unix.Mount("/dev/null", path, "", unix.MS_BIND, ""))
		}
	}
	v := newVol(t, Options{Root: rootWithLevels(t, "[raid1]"), State: openState(t, t.TempDir())})
	wantKind(t, failure(t, v, "vol.create_md_array", "name", "data", "devices", []string{"/dev/no-such", "/dev/no-such-2"}), "tool_missing", `"package":"mdadm"`)
	wantKind(t, failure(t, v, "vol.stop_md_array", "device", "/dev/md/data"), "tool_missing", `"package":"mdadm"`)
	wantUnavailable(t, v, registry.UnavailableKindToolMissing, "mdadm")
}
