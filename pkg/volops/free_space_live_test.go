package volops

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// compareFreeSpace holds the free space against sfdisk, whose ranges are not aligned at their ends.
func (d *sceneDisk) compareFreeSpace(t *testing.T, v *Vol) {
	t.Helper()
	free := answer[registry.VolListFreeSpaceResult](t, v, "vol.list_free_space", fmt.Sprintf(`{"disk":%q}`, d.Path))
	var sum, largest int64
	for _, e := range free.Extents {
		if e.StartBytes%freeAlignment != 0 || e.SizeBytes%freeAlignment != 0 || e.SizeBytes < freeAlignment {
			t.Errorf("%s: extent %+v", d.name, e)
		}
		sum += e.SizeBytes
		largest = max(largest, e.SizeBytes)
	}
	if free.FreeBytes != sum || free.LargestBytes != largest {
		t.Errorf("%s: %d free, %d the longest; want %d and %d", d.name, free.FreeBytes, free.LargestBytes, sum, largest)
	}
	if d.table == nil {
		compareSignature(t, d.Path, free.Signature)
		if free.Signature == nil && len(free.Extents) != 1 || free.Signature != nil && len(free.Extents) != 0 {
			t.Errorf("%s: %+v", d.name, free)
		}
		return
	}
	if diff := cmp.Diff(sfdiskFree(t, d.Path, d.sectorSize), free.Extents); diff != "" {
		t.Errorf("%s: free space (-sfdisk +ours)\n%s", d.name, diff)
	}
}

// sfdiskFree is what sfdisk calls free, cut to whole MiB.
func sfdiskFree(t *testing.T, disk string, sector int64) []registry.FreeExtent {
	t.Helper()
	list := []registry.FreeExtent{}
	for line := range strings.Lines(testhost.Command(t, "sfdisk", "-F", disk)) {
		var start, end, sectors int64
		if n, _ := fmt.Sscan(line, &start, &end, &sectors); n != 3 {
			continue
		}
		from, to := alignUp(start*sector), (end+1)*sector/freeAlignment*freeAlignment
		if to > from {
			list = append(list, registry.FreeExtent{StartBytes: from, SizeBytes: to - from})
		}
	}
	return list
}

func TestFreeSpaceOfAPartition(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	disk := testhost.NewLoop(t, testhost.LoopOptions{})
	node := disk.AddPartition(1, 1<<20, 8<<20)
	v := newVol(t, Options{})
	_, err := call(t, v, "vol.list_free_space", fmt.Sprintf(`{"disk":%q}`, node))
	checkKind(t, err, "not_found")
	// The kernel has it, though no table does: its room is taken.
	free := answer[registry.VolListFreeSpaceResult](t, v, "vol.list_free_space", fmt.Sprintf(`{"disk":%q}`, disk.Path))
	want := []registry.FreeExtent{{StartBytes: 9 << 20, SizeBytes: 54 << 20}}
	if diff := cmp.Diff(want, free.Extents); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	list := answer[registry.VolListPartitionsResult](t, v, "vol.list_partitions", fmt.Sprintf(`{"disk":%q}`, disk.Path)).Partitions
	if len(list) != 1 || !list[0].InKernel || list[0].InTable.Or(true) || list[0].StartBytes != 1<<20 || list[0].SizeBytes != 8<<20 {
		t.Errorf("%+v", list)
	}
}
