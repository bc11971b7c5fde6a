//go:build vmtest

package volops

import (
	"slices"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/internal/vmtest"
	"github.com/geomind/my_os_server/pkg/registry"
)

// TestInventoryOfArrays: arrays stand in the tree, with what they lack and how far they are rebuilt under
// health.
func TestInventoryOfArrays(t *testing.T) {
	vmtest.Guest(t)
	testhost.Tool(t, "mdadm", "mdadm")
	testhost.Command(t, "modprobe", "md_mod")
	var disks []string
	for range 4 {
		disks = append(disks, testhost.NewLoop(t, testhost.LoopOptions{Size: 32 << 20}).Path)
	}
	v := newVol(t, Options{})
	for name, want := range map[string]string{
		"raid1":                  "",
		"raid1, rebuilding":      "degraded rebuilding",
		"raid5, one has failed":  "degraded",
		"raid5, two have failed": "unread degraded",
	} {
		t.Run(name, func(t *testing.T) {
			s := arrayScenes[slices.IndexFunc(arrayScenes, func(s arrayScene) bool { return s.name == name })]
			s.prepare(t, "/dev/md/inventory", disks)
			r := takeInventory(t, v)
			if len(r.Arrays) != 1 {
				t.Fatalf("%d arrays", len(r.Arrays))
			}
			path := r.Arrays[0].Path
			if got := strings.Join(problemsOf(r, path), " "); got != want {
				t.Errorf("%s: %q, want %q", path, got, want)
			}
			if broken := strings.Contains(name, "two"); broken != (r.Status == registry.VolStatusFailed) {
				t.Errorf("status %s: %+v", r.Status, r.Health)
			}
			for _, p := range r.Health {
				if p.Kind == "rebuilding" && (p.Counters["total_bytes"] == 0 || p.Counters["speed_bps"] == 0 || !strings.Contains(p.Message, "%")) {
					t.Errorf("%+v", p)
				}
			}
			if row := inventoryDisk(r, path); row == nil || len(row.Disk.Slaves) == 0 {
				t.Errorf("in the tree: %+v", row)
			}
		})
	}
}
