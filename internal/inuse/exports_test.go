package inuse

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/testhost"
)

// TestFindExports lays out configfs as targets have it that export a device, another one, or nothing yet.
func TestFindExports(t *testing.T) {
	disk, other := testhost.NewLoop(t, testhost.LoopOptions{Size: 1 << 20}), testhost.NewLoop(t, testhost.LoopOptions{Size: 1 << 20})
	info := func(path string) string {
		return "Status: ACTIVATED  Max Queue Depth: 128  SectorSize: 512  HwMaxSectors: 16384\n        TCM FILEIO ID: 0        File: " + path + "  Size: 1048576  Mode: O_DSYNC Async: 0\n"
	}
	const namespace, fileio, gadget = "nvmet/subsystems/nqn.x/namespaces/1/", "target/core/fileio_0/disk/", "usb_gadget/g/functions/mass_storage.0/lun.0/"
	for name, c := range map[string]struct {
		files map[string]string
		want  []Holder
	}{
		"nothing":                {nil, nil},
		"NVMe":                   {map[string]string{namespace + "device_path": "/dev/disk\n", namespace + "enable": "1\n"}, []Holder{{Kind: Kernel, Name: "nvmet nvmet/subsystems/nqn.x/namespaces/1"}}},
		"NVMe by a link":         {map[string]string{namespace + "device_path": "/dev/link\n", namespace + "enable": "1\n"}, []Holder{{Kind: Kernel, Name: "nvmet nvmet/subsystems/nqn.x/namespaces/1"}}},
		"NVMe, not on":           {map[string]string{namespace + "device_path": "/dev/disk\n", namespace + "enable": "0\n"}, nil},
		"NVMe, another":          {map[string]string{namespace + "device_path": "/dev/other\n", namespace + "enable": "1\n"}, nil},
		"NVMe, no name":          {map[string]string{namespace + "device_path": "(null)\n", namespace + "enable": "1\n"}, nil},
		"SCSI":                   {map[string]string{fileio + "info": info("/dev/disk"), fileio + "enable": "1\n"}, []Holder{{Kind: Kernel, Name: "target target/core/fileio_0/disk"}}},
		"SCSI, another":          {map[string]string{fileio + "info": info("/dev/other"), fileio + "enable": "1\n"}, nil},
		"SCSI, a file":           {map[string]string{fileio + "info": info("/etc/hostname"), fileio + "enable": "1\n"}, nil},
		"USB":                    {map[string]string{gadget + "file": "/dev/disk\n"}, []Holder{{Kind: Kernel, Name: "usb_gadget usb_gadget/g/functions/mass_storage.0/lun.0"}}},
		"USB without a medium":   {map[string]string{gadget + "file": "\n"}, nil},
		"a device that is gone":  {map[string]string{gadget + "file": "/dev/gone\n"}, nil},
		"a name that is no path": {map[string]string{gadget + "file": "disk\n"}, nil},
	} {
		root := t.TempDir()
		for _, folder := range []string{"/sys/block", "/dev"} {
			check(t, os.MkdirAll(root+folder, 0o755))
		}
		check(t, os.Symlink(disk.Path, root+"/dev/disk"))
		check(t, os.Symlink(root+"/dev/disk", root+"/dev/link"))
		check(t, os.Symlink(other.Path, root+"/dev/other"))
		for file, text := range c.files {
			path := filepath.Join(root, "sys/kernel/config", file)
			check(t, os.MkdirAll(filepath.Dir(path), 0o755))
			check(t, os.WriteFile(path, []byte(text), 0o600))
		}
		s, err := blk.Open(root)
		check(t, err)
		f := &finder{root: root, sysfs: s, asked: map[blk.Number]bool{device(t, disk.Path)[0].Number: true}}
		check(t, f.findExports(t.Context()))
		s.Close()
		if !slices.Equal(f.found, c.want) {
			t.Errorf("%s: %+v, want %+v", name, f.found, c.want)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
