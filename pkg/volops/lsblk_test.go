package volops

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"os/user"
	"slices"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// lsblk asks the witness for disks; args choose which. Partitions stand below them as "children".
func lsblk(t *testing.T, args ...string) map[string]map[string]any {
	t.Helper()
	testhost.Tool(t, "lsblk", "util-linux")
	out, err := exec.Command("lsblk", append([]string{"-J", "-b", "-O"}, args...)...).Output()
	if err != nil {
		t.Fatalf("lsblk: %v", err)
	}
	var list struct {
		Blockdevices []map[string]any
	}
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatalf("lsblk: %v", err)
	}
	found := make(map[string]map[string]any)
	for _, disk := range list.Blockdevices {
		collectDisks(found, disk)
	}
	return found
}

// collectDisks takes arrays and mappings out from below what they stand on. They may stand on several.
func collectDisks(found map[string]map[string]any, disk map[string]any) {
	if disk["type"] != "part" {
		found[disk["kname"].(string)] = disk
	}
	for _, child := range children(disk) {
		collectDisks(found, child)
	}
}

func children(device map[string]any) []map[string]any {
	var list []map[string]any
	below, _ := device["children"].([]any)
	for _, c := range below {
		list = append(list, c.(map[string]any))
	}
	return list
}

// kibibytes turns lsblk's read-ahead into bytes.
func kibibytes(v any) any {
	if n, ok := v.(float64); ok {
		return n * 1024
	}
	return v
}

// trimmed takes the blanks off with which devices pad their names.
func trimmed(v any) any {
	if s, ok := v.(string); ok {
		return strings.TrimSpace(s)
	}
	return v
}

func asIs(v any) any { return v }

// lsblkMembers says which column of lsblk tells the same as which member of ours.
var lsblkMembers = []struct {
	member, column string
	convert        func(any) any
}{
	{"name", "kname", asIs}, {"device_number", "maj:min", asIs}, {"type", "type", asIs},
	{"size_bytes", "size", asIs}, {"read_only", "ro", asIs}, {"removable", "rm", asIs}, {"hotplug", "hotplug", asIs},
	{"logical_sector_bytes", "log-sec", asIs}, {"physical_sector_bytes", "phy-sec", asIs},
	{"minimum_io_bytes", "min-io", asIs}, {"optimal_io_bytes", "opt-io", asIs},
	{"alignment_offset_bytes", "alignment", asIs}, {"rotational", "rota", asIs}, {"dax", "dax", asIs},
	{"nr_requests", "rq-size", asIs}, {"read_ahead_bytes", "ra", kibibytes},
	{"adds_random", "rand", asIs}, {"discard_alignment_bytes", "disc-aln", asIs},
	{"discard_granularity_bytes", "disc-gran", asIs}, {"discard_max_bytes", "disc-max", asIs},
	{"discard_zeroes_data", "disc-zero", asIs}, {"write_same_max_bytes", "wsame", asIs}, {"zoned", "zoned", asIs},
	{"zone_size_bytes", "zone-sz", asIs}, {"zone_write_granularity_bytes", "zone-wgran", asIs},
	{"zone_append_max_bytes", "zone-app", asIs}, {"zone_count", "zone-nr", asIs},
	{"zones_open_max", "zone-omax", asIs}, {"zones_active_max", "zone-amax", asIs},
	{"subsystems", "subsystems", asIs}, {"vendor", "vendor", asIs}, {"state", "state", asIs},
}

// sometimes are those that lsblk 2.38 leaves out where we know them: it reads neither the serial number
// of virtio and SCSI without udev nor the firmware of NVMe, knows no virtio, and takes for a scheduler
// only what stands in brackets.
var sometimes = []struct{ member, column string }{
	{"model", "model"}, {"serial", "serial"}, {"wwn", "wwn"}, {"revision", "rev"}, {"transport", "tran"}, {"hctl", "hctl"},
	{"scheduler", "sched"},
}

// compareDisk holds one row against lsblk's.
func compareDisk(t *testing.T, row, witness map[string]any) {
	t.Helper()
	for _, m := range lsblkMembers {
		got, want := row[m.member], m.convert(trimmed(witness[m.column]))
		if strings.HasPrefix(m.member, "zone") && got == nil && want == 0.0 {
			continue // lsblk has zeros for disks without zones
		}
		if got != want {
			t.Errorf("%v: %s is %v, lsblk says %v", row["name"], m.member, got, want)
		}
	}
	for _, m := range sometimes {
		got, want := row[m.member], trimmed(witness[m.column])
		if want != nil && got != want {
			t.Errorf("%v: %s is %v, lsblk says %v", row["name"], m.member, got, want)
		}
	}
	points := words(witness["mountpoints"])
	if ours := words(row["mount_points"]); strings.Join(points, "\n") == strings.Join(ours, "\n") {
		points = ours // lsblk takes a line feed in a mount point for the end of it
	}
	compareSets(t, row, "mount_points", points)
	var partitions []string
	for _, c := range children(witness) {
		if c["type"] == "part" {
			partitions = append(partitions, c["kname"].(string))
		}
	}
	compareSets(t, row, "partitions", partitions)
}

// compareNode holds owner and mode of the node against lsblk's, which tells them by name.
func compareNode(t *testing.T, row, witness map[string]any) {
	t.Helper()
	if row["path"] != "/dev/"+witness["kname"].(string) {
		t.Errorf("path is %v", row["path"])
	}
	owner, err := user.LookupId(fmt.Sprint(row["uid"]))
	if err != nil || owner.Username != witness["owner"] {
		t.Errorf("%v: uid is %v, lsblk says %v", row["name"], row["uid"], witness["owner"])
	}
	var bits uint32
	fmt.Sscanf(fmt.Sprint(row["mode"]), "%o", &bits)
	letters := "b"
	for i, l := range "rwxrwxrwx" {
		if bits&(0o400>>i) == 0 {
			l = '-'
		}
		letters += string(l)
	}
	if letters != witness["mode"] {
		t.Errorf("%v: mode is %v, lsblk says %v", row["name"], row["mode"], witness["mode"])
	}
}

// compareSets holds a list of ours against one in any order.
func compareSets(t *testing.T, row map[string]any, member string, want []string) {
	t.Helper()
	got := words(row[member])
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%v: %s is %q, the witness says %q", row["name"], member, got, want)
	}
}

// words are the strings of a JSON list; lsblk has null for none.
func words(list any) []string {
	var all []string
	values, _ := list.([]any)
	for _, v := range values {
		if s, ok := v.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

// TestCapturedDisksAgainstLsblk has lsblk read the same captured trees.
func TestCapturedDisksAgainstLsblk(t *testing.T) {
	for _, host := range []string{"virtio", "server", "desktop"} {
		t.Run(host, func(t *testing.T) {
			root := testhost.Tree(t, host)
			ours := rows(t, newVol(t, Options{Root: root}), "vol.list_disks", `{}`, "disks")
			witness := lsblk(t, "--sysroot", root)
			delete(witness, "loop1") // attached to nothing, for which lsblk looks at the host's own
			for _, row := range ours {
				w, ok := witness[row["name"].(string)]
				if !ok {
					t.Errorf("lsblk has no %v", row["name"])
					continue
				}
				if row["model"] != w["model"] && strings.HasPrefix(fmt.Sprint(row["model"]), fmt.Sprint(w["model"])) {
					w["model"] = row["model"] // udev's, which lsblk does not look for here
				}
				if row["name"] == "cciss/c0d0" || row["name"] == "sda" {
					w["mountpoints"] = row["mount_points"] // lsblk knows one device of a btrfs only
				}
				compareDisk(t, row, w)
			}
			if len(ours) != len(witness) {
				t.Errorf("%d disks, lsblk has %d", len(ours), len(witness))
			}
		})
	}
}
