package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// picture is what a verb draws, without the twigs: each line behind the indentation of its depth.
func (w *world) picture(t *testing.T, args ...string) string {
	t.Helper()
	return strings.NewReplacer("├─ ", "  ", "└─ ", "  ", "│  ", "  ", "   ", "  ").Replace(w.must(t, args...))
}

// hasLines looks for lines that fit expressions, each somewhere behind the one before.
func hasLines(t *testing.T, text string, want ...string) {
	t.Helper()
	rest := text
	for _, line := range want {
		at := regexp.MustCompile("(?m)^" + line + "$").FindStringIndex(rest)
		if at == nil {
			t.Errorf("%q does not come in its place in:\n%s", line, text)
			return
		}
		rest = rest[at[1]:]
	}
}

// The picture of the network shows what hangs from what, and whose tap a tap is.
func TestNetTree(t *testing.T) {
	testhost.Root(t)
	w := newWorld(t)
	w.ns.IP("link add upper type bridge", "link add v0 type veth peer name v1", "link set v0 master upper", "link add d0 type veth peer name d1", "addr add 203.0.113.7/32 dev d0")
	tap := strings.TrimSpace(w.must(t, "net", "vm", "create", "tap", "--vm-id", "vm-7", "--nic", "2", "--bridge", "br0", "-o", "name"))
	w.must(t, "net", "bridge", "add", "lab0", "--addresses", "10.9.0.1/24")
	hasLines(t, w.picture(t, "net", "tree"),
		"network",
		"  br0 bridge up 02:00:00:00:00:01 mtu 1500.*",
		"    192.0.2.1/24",
		"    "+regexp.QuoteMeta(tap)+` tun of vm-7 nic 2 down fe:.* mtu 1500.* managed`,
		"    web0 veth up peer web1 02:00:00:00:00:02 mtu 1500.*",
		`  d0 veth down \(not set up\) peer d1 .*`,
		"    203.0.113.7/32",
		"  lab0 bridge .* managed",
		"    10.9.0.1/24",
		"  lo loopback mtu 65536",
		"    127.0.0.1/8",
		`  upper bridge down \(not set up\) .*`,
		`    v0 veth down \(not set up\) peer v1 .*`,
		"  web1 veth up peer web0 .*",
	)
}

// The picture of the storage shows disks, what stands on them, how full that is and where it is mounted.
func TestVolTree(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	for program, pkg := range map[string]string{"mkfs.ext4": "e2fsprogs", "mkswap": "util-linux"} {
		testhost.Tool(t, program, pkg)
	}
	fs := testhost.NewBtrfs(t, testhost.BtrfsOptions{Devices: 2, Size: 200 << 20, Metadata: "raid1", Label: "MOSCLI"})
	fs.Run("subvolume", "create", fs.Path+"/vms")
	fs.Run("subvolume", "create", fs.Path+"/vms/one")
	plain := freeLoop(t)
	testhost.Command(t, "mkfs.ext4", "-q", "-L", "data", plain)
	target := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(target, 0o700); err != nil {
		t.Fatal(err)
	}
	testhost.Command(t, "mount", "-o", "ro", plain, target)
	t.Cleanup(func() { testhost.Command(t, "umount", target) })
	w := newWorld(t)
	picture := w.picture(t, "vol", "tree")
	bar := "[█░]{16} [0-9.]+[KMG]?i?B of [0-9.]+[MG]iB"
	hasLines(t, picture, "storage", "  "+plain+" loop 64.0MiB of /.*/disk", `    ext4 "data" `+bar, "      at "+regexp.QuoteMeta(target)+" read-only")
	for _, disk := range fs.Disks {
		hasLines(t, picture, "  "+disk.Path+" loop 200.0MiB of /.*", `    btrfs "MOSCLI" \(below\)`)
	}
	hasLines(t, picture, `  btrfs "MOSCLI" [0-9a-f-]{36} `+bar, "    on "+fs.Disks[0].Path, "    on "+fs.Disks[1].Path, "    at "+regexp.QuoteMeta(fs.Path), "    subvolume vms", "      subvolume vms/one")
}
