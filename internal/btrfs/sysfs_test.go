package btrfs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree makes files below a new folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, "fs/btrfs", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestSysfs(t *testing.T) {
	const at = "70a96b4a-6c43-4bb4-8a0e-6a3c4a3cf6d9/"
	s := NewSysfs(tree(t, map[string]string{
		"features/skinny_metadata":                  "0\n",
		at + "exclusive_operation":                  "balance paused\n",
		at + "generation":                           "42\n",
		at + "label":                                "two words\n",
		at + "features/no_holes":                    "1\n",
		at + "features/big_metadata":                "1\n",
		at + "devices/loop1":                        "",
		at + "allocation/data/raid1/total_bytes":    "1\n",
		at + "allocation/data/single/total_bytes":   "1\n",
		at + "allocation/data/bytes_used":           "1\n",
		at + "qgroups/enabled":                      "1\n",
		at + "qgroups/inconsistent":                 "1\n",
		at + "qgroups/mode":                         "qgroup\n",
		at + "devinfo/1/missing":                    "0\n",
		at + "devinfo/1/writeable":                  "1\n",
		at + "devinfo/1/in_fs_metadata":             "1\n",
		at + "devinfo/2/missing":                    "1\n",
		at + "devinfo/2/fsid":                       "11111111-2222-3333-4444-555555555555\n",
		"unrelated-name-without-the-form-of-uuid/x": "1\n",
	}))
	u := recordedUUID
	all, err := s.Filesystems()
	if err != nil {
		t.Fatal(err)
	}
	operation, _ := s.Text(u, "exclusive_operation")
	label, _ := s.Text(u, "label")
	generation, _ := s.Number(u, "generation")
	first, known := s.Device(u, 1)
	second, _ := s.Device(u, 2)
	_, third := s.Device(u, 3)
	quotas, told := s.Quotas(u)
	got := []any{all, operation, label, generation, s.Features(u), s.Devices(u), s.Profiles(u, "data"), s.Profiles(u, "system"),
		first, known, second, third, quotas, told}
	other, _ := ParseUUID("11111111-2222-3333-4444-555555555555")
	want := []any{[]UUID{u}, "balance paused", "two words", uint64(42), []string{"big_metadata", "no_holes"}, []string{"loop1"},
		[]string{"raid1", "single"}, []string(nil),
		DeviceState{InMetadata: true, Writeable: true, Filesystem: u}, true, DeviceState{Missing: true, Filesystem: other}, false,
		QuotaStatus{On: true, Inconsistent: true}, true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestSysfsWithoutBtrfs(t *testing.T) {
	s := NewSysfs(t.TempDir())
	if all, err := s.Filesystems(); err != nil || len(all) != 0 {
		t.Errorf("filesystems %v, %v; want none", all, err)
	}
	if _, told := s.Quotas(recordedUUID); told {
		t.Error("quotas are told")
	}
}
