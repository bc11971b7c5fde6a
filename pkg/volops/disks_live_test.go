package volops

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// TestDisksAgainstWitnesses makes disks at random and holds every member of their rows against lsblk,
// losetup, sfdisk and what is known of the scene.
func TestDisksAgainstWitnesses(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	for program, pkg := range map[string]string{"mkfs.ext4": "e2fsprogs", "mkfs.xfs": "xfsprogs", "mkfs.btrfs": "btrfs-progs", "losetup": "mount"} {
		testhost.Tool(t, program, pkg)
	}
	v := newVol(t, Options{})
	seed := testhost.Seed(t)
	for round := range testhost.Rounds(40) {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			s := newScene(t, rand.New(rand.NewPCG(seed, uint64(round))))
			list := byName(readDisks(t, v, `{}`))
			for _, d := range s.disks {
				row := list[d.name]
				if row == nil {
					t.Fatalf("no row for %s", d.name)
				}
				d.compare(t, row)
				s.compareNames(t, v, d, row)
			}
		})
	}
}

// readDisks lists the disks, and again where one did not answer in time.
func readDisks(t *testing.T, v *Vol, params string) (list []map[string]any) {
	t.Helper()
	inTime(t, v, func() bool {
		list = rows(t, v, "vol.list_disks", params, "disks")
		return !slices.ContainsFunc(list, func(row map[string]any) bool { return row["probe_error"] == "timeout" })
	})
	return list
}

func byName(list []map[string]any) map[string]map[string]any {
	found := make(map[string]map[string]any)
	for _, row := range list {
		found[row["name"].(string)] = row
	}
	return found
}

func (d *sceneDisk) compare(t *testing.T, row map[string]any) {
	t.Helper()
	w := lsblk(t, d.Path)[d.name]
	if len(words(w["mountpoints"])) == 0 && len(words(row["mount_points"])) == 1 {
		w["mountpoints"] = row["mount_points"] // of a btrfs with several devices lsblk knows one
	}
	compareDisk(t, row, w)
	compareNode(t, row, w)
	d.compareLoop(t, row)
	d.compareTable(t, row)
	compareSignature(t, d.Path, signatureOf(t, row))
	var holders []string
	for _, h := range orNone(row["in_use_by"]) {
		holder := h.(map[string]any)
		holders = append(holders, fmt.Sprintf("%v %v", holder["kind"], holder["name"]))
	}
	if diff := cmp.Diff(d.holders, holders); diff != "" {
		t.Errorf("%s: held by (-want +got):\n%s", d.name, diff)
	}
	if row["in_use"] != (len(d.holders) > 0) {
		t.Errorf("%s: in_use is %v", d.name, row["in_use"])
	}
	if row["kind"] != "loop" || row["transport"] != "loop" || row["probe_error"] != nil {
		t.Errorf("%s: kind %v, transport %v, probe_error %v", d.name, row["kind"], row["transport"], row["probe_error"])
	}
}

// signatureOf takes the signature out of a row; nil where it has none.
func signatureOf(t *testing.T, row map[string]any) (s *registry.Signature) {
	t.Helper()
	b, err := json.Marshal(row["signature"])
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func orNone(list any) []any {
	values, _ := list.([]any)
	return values
}

// compareLoop holds what the disk stands on against losetup.
func (d *sceneDisk) compareLoop(t *testing.T, row map[string]any) {
	t.Helper()
	var out struct{ LoopDevices []map[string]any }
	if err := json.Unmarshal([]byte(tool(t, "", "losetup", "-J", "-l", "-O", "NAME,BACK-FILE,OFFSET,SIZELIMIT,AUTOCLEAR,PARTSCAN,RO,DIO", d.Path)), &out); err != nil {
		t.Fatal(err)
	}
	w := out.LoopDevices[0]
	want := map[string]any{
		"backing_file": d.Backing, "offset_bytes": w["offset"], "size_limit_bytes": w["sizelimit"],
		"autoclear": w["autoclear"], "partscan": w["partscan"], "direct_io": w["dio"],
	}
	if diff := cmp.Diff(want, row["loop"]); diff != "" {
		t.Errorf("%s: loop (-losetup +got):\n%s", d.name, diff)
	}
	if row["read_only"] != w["ro"] {
		t.Errorf("%s: read_only is %v, losetup says %v", d.name, row["read_only"], w["ro"])
	}
}

// compareTable holds the partition table against sfdisk.
func (d *sceneDisk) compareTable(t *testing.T, row map[string]any) {
	t.Helper()
	var want map[string]any
	switch {
	case d.table == nil:
	case d.table.Label == "gpt":
		want = map[string]any{
			"type": "gpt", "uuid": strings.ToLower(d.table.ID), "sector_size_bytes": float64(d.table.SectorSize),
			"first_lba": float64(d.table.FirstLBA), "last_lba": float64(d.table.LastLBA), "entries_max": 128.0,
			"primary_valid": true, "backup_valid": true, "backup_at_end": true,
		}
	default:
		want = map[string]any{
			"type": "dos", "uuid": strings.TrimPrefix(d.table.ID, "0x"), "sector_size_bytes": float64(d.sectorSize),
		}
	}
	got, _ := row["partition_table"].(map[string]any)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: partition_table (-sfdisk +got):\n%s", d.name, diff)
	}
}

// compareNames asks for the disk by every name that it or something on it has. A btrfs on two disks
// has rows for both.
func (s *scene) compareNames(t *testing.T, v *Vol, d *sceneDisk, row map[string]any) {
	t.Helper()
	names := []string{d.Path}
	for name, device := range d.tags {
		if strings.HasPrefix(device, d.Path) {
			names = append(names, name, device)
		}
	}
	for _, name := range names {
		params, err := json.Marshal(map[string]string{"path": name})
		if err != nil {
			t.Fatal(err)
		}
		one := byName(readDisks(t, v, string(params)))
		if diff := cmp.Diff(row, one[d.name]); diff != "" {
			t.Errorf("%s: by %s (-list +one):\n%s", d.name, name, diff)
		}
	}
}
