package hostinfo

import (
	"os"
	"path/filepath"
	"testing"
)

func TestKernelHas(t *testing.T) {
	root := t.TempDir()
	modules := "/lib/modules/" + ReadUname().Release
	for name, text := range map[string]string{
		"/proc/filesystems":             "nodev\tsysfs\n\text4\n",
		"/proc/mdstat":                  "Personalities : [raid1] [raid10] \nunused devices: <none>\n",
		"/sys/module/loaded/refcnt":     "0\n",
		modules + "/modules.builtin":    "kernel/fs/xfs/xfs.ko\n",
		modules + "/modules.dep":        "kernel/drivers/md/raid456.ko.xz: kernel/lib/raid6/raid6_pq.ko.xz\nkernel/fs/btrfs/btrfs.ko.zst:\nkernel/drivers/md/dm-mod.ko:\n",
		modules + "/modules.unexpected": "kernel/fs/bcachefs/bcachefs.ko:\n",
	} {
		if err := os.MkdirAll(filepath.Dir(root+name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{"ext4": true, "sysfs": true, "xfs": true, "btrfs": true, "bcachefs": false, "ext": false, "nodev": false} {
		if got := HasFilesystem(root, name); got != want {
			t.Errorf("filesystem %s: %v", name, got)
		}
	}
	for name, want := range map[string]bool{"raid1": true, "raid10": true, "raid456": true, "raid0": false, "aid1": false} {
		if got := HasArrayLevel(root, name); got != want {
			t.Errorf("level %s: %v", name, got)
		}
	}
	for name, want := range map[string]bool{"loaded": true, "dm_mod": true, "raid6_pq": false} {
		if got := HasModule(root, name); got != want {
			t.Errorf("module %s: %v", name, got)
		}
	}
	if HasFilesystem(t.TempDir(), "ext4") || HasArrayLevel(t.TempDir(), "raid1") {
		t.Error("a host without files has something")
	}
}

// TestKernelHere asks the host itself, whose /proc/filesystems every process can read.
func TestKernelHere(t *testing.T) {
	if !HasFilesystem("", "proc") || HasFilesystem("", "nosuchfs") {
		t.Error("proc is not there, or what does not exist is")
	}
}
