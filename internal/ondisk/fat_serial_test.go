package ondisk

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// TestFATSerial changes the number of FATs of all kinds; blkid reads it, and fsck.vfat finds nothing amiss.
func TestFATSerial(t *testing.T) {
	for _, tool := range [][2]string{{"mkfs.vfat", "dosfstools"}, {"blkid", "util-linux"}} {
		testhost.Tool(t, tool[0], tool[1])
	}
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 83))
	for _, kind := range []string{"12", "16", "32"} {
		for _, sector := range []string{"512", "2048"} {
			path := filepath.Join(t.TempDir(), "disk")
			if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, map[string]int64{"12": 4 << 20, "16": 64 << 20, "32": 300 << 20}[kind])); err != nil {
				t.Fatal(err)
			}
			testhost.Command(t, "mkfs.vfat", "-F", kind, "-S", sector, "-i", "01020304", path)
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			serial := fmt.Sprintf("%04X-%04X", rng.IntN(1<<16), 1+rng.IntN(1<<16-1))
			list, err := FATSerial(f, serial)
			if want := map[bool]int{false: 1, true: 2}[kind == "32"]; err != nil || len(list) != want {
				t.Fatalf("FAT%s: %v, %v", kind, list, err)
			}
			for _, p := range list {
				if _, err := f.WriteAt(p.Bytes, p.Offset); err != nil {
					t.Fatal(err)
				}
			}
			if out := testhost.Command(t, "blkid", "-p", "-o", "value", "-s", "UUID", path); strings.TrimSpace(out) != serial {
				t.Errorf("FAT%s: blkid reads %s, want %s", kind, out, serial)
			}
			if out, err := exec.Command("fsck.vfat", "-n", path).CombinedOutput(); err != nil {
				t.Errorf("FAT%s: %v: %s", kind, err, out)
			}
		}
	}
	if _, err := FATSerial(bytes.NewReader(make([]byte, 512)), "0102-0304"); !errors.Is(err, ErrNotFAT) {
		t.Errorf("of zeros: %v", err)
	}
}

// FuzzFATSerial: whatever the boot sector says, only sectors in front of the FATs are to be written.
func FuzzFATSerial(f *testing.F) {
	b := make([]byte, 512)
	b[510], b[511], b[12], b[14], b[50] = 0x55, 0xaa, 2, 32, 6
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := FATSerial(bytes.NewReader(b), "A1B2-C3D4")
		if err != nil {
			return
		}
		reserved := int64(le.Uint16(b[11:])) * int64(le.Uint16(b[14:]))
		for _, p := range list {
			if p.Offset < 0 || p.Offset+int64(len(p.Bytes)) > reserved || !bytes.Equal(p.Bytes, []byte{0xd4, 0xc3, 0xb2, 0xa1}) {
				t.Errorf("%+v", p)
			}
		}
	})
}
