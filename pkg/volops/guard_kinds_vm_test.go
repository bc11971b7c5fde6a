//go:build vmtest

package volops

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/internal/vmtest"
)

// refusedEverywhere holds a use against every write to its device by a name, forced and, where there is time, not.
func refusedEverywhere(t *testing.T, v *Vol, use testhost.Use, name, spare string) {
	t.Helper()
	both := []bool{true, false}
	if testhost.Rounds(1) < 100 {
		both = both[:1]
	}
	for method, pairs := range deviceWrites {
		for _, force := range both {
			if method == "vol.create_partition" && strings.HasPrefix(filepath.Base(use.Node), "dm-") { // a mapping has none
				wantKind(t, failure(t, v, method, pairs(name, spare, force)...), "unsupported", "kernel")
				continue
			}
			refusedInUse(t, v, use, name, method, pairs(name, spare, force))
		}
	}
	for _, force := range both {
		refusedInUse(t, v, use, name, "vol.create_md_array", []any{"name", "other", "devices", []string{spare, name}, "force", force})
	}
}

// TestArrayByTwoNames names an array by its link and by its node: it is one device, in use by either name.
func TestArrayByTwoNames(t *testing.T) {
	vmtest.Guest(t)
	needMkfs(t)
	testhost.Tool(t, "mdadm", "mdadm")
	t.Cleanup(func() { testhost.TryCommand(t, "mdadm", "--stop", "--scan") })
	v := writingVol(t)
	spare := loop(t, 32<<20).Path
	a := arrayOf(t, obtain(t, v, "vol.create_md_array", "name", "twice", "devices", []string{loop(t, 32<<20).Path, loop(t, 32<<20).Path}))
	node, link := "/dev/"+a.Name, "/dev/md/twice"
	for _, names := range [][]string{{node, link}, {link, node}} {
		for _, force := range []bool{false, true} {
			wantKind(t, failure(t, v, "vol.create_btrfs_raid", "devices", names, "level", "raid1", "force", force), "invalid_params", "devices")
			wantKind(t, failure(t, v, "vol.create_md_array", "name", "other", "devices", names, "force", force), "invalid_params", "devices")
		}
	}
	if !blank(t, node) {
		t.Error("the array was written to")
	}
	obtain(t, v, "vol.create_filesystem", "device", link, "type", "ext4")
	at := t.TempDir()
	must(t, unix.Mount(link, at, "ext4", unix.MS_RDONLY, ""))
	sum := testhost.Sum(t, node)
	use := testhost.Use{Name: "mounted", Kind: "mount", Holder: at, Disk: &testhost.Loop{Path: node}, Node: node}
	for _, name := range []string{node, link} {
		use.Disk.Path = name // so that it counts as the whole disk
		refusedEverywhere(t, v, use, name, spare)
		for _, zero := range []bool{false, true} {
			wantKind(t, failure(t, v, "vol.stop_md_array", "device", name, "zero_superblocks", zero), "busy", at)
		}
	}
	if testhost.Sum(t, node) != sum || !blank(t, spare) {
		t.Error("something was written")
	}
	must(t, unix.Unmount(at, 0))
	obtain(t, v, "vol.stop_md_array", "device", node, "zero_superblocks", true)
}

// lvm runs a command of LVM on one disk, without udev and without the host's configuration.
func lvm(t *testing.T, disk string, args ...string) {
	t.Helper()
	config := fmt.Sprintf(`devices { use_devicesfile=0 filter=["a|^%s$|","r|.*|"] } activation { udev_sync=0 udev_rules=0 monitoring=0 } backup { backup=0 archive=0 }`, disk)
	testhost.Command(t, "lvm", append(args, "--config", config)...)
}

// TestVolumeGroup holds a physical volume with a logical volume on it, and the logical volume, against every write; what
// nobody has activated is refused without force, by its signature.
func TestVolumeGroup(t *testing.T) {
	vmtest.Guest(t)
	needMkfs(t)
	testhost.Tool(t, "lvm", "lvm2")
	testhost.Command(t, "modprobe", "dm_mod")
	v := writingVol(t)
	disk, spare := loop(t, 24<<20).Path, loop(t, 32<<20).Path
	lvm(t, disk, "pvcreate", "-q", disk)
	lvm(t, disk, "vgcreate", "-q", "held", disk)
	lvm(t, disk, "lvcreate", "-q", "-y", "-n", "volume", "-L", "12M", "held")
	t.Cleanup(func() { testhost.TryCommand(t, "dmsetup", "remove", "--noudevsync", "held-volume") })
	mapped := holderOf(t, disk)
	sum := testhost.Sum(t, disk)
	refusedEverywhere(t, v, testhost.Use{Name: "physical volume", Kind: "device_mapper", Holder: mapped, Disk: &testhost.Loop{Path: disk}, Node: disk}, disk, spare)
	if testhost.Sum(t, disk) != sum || !blank(t, spare) {
		t.Error("something was written")
	}
	volume, at := "/dev/"+mapped, t.TempDir()
	obtain(t, v, "vol.create_filesystem", "device", volume, "type", "ext4")
	must(t, unix.Mount(volume, at, "ext4", unix.MS_RDONLY, ""))
	for _, name := range []string{volume, "/dev/mapper/held-volume"} {
		refusedEverywhere(t, v, testhost.Use{Name: "logical volume", Kind: "mount", Holder: at, Disk: &testhost.Loop{Path: name}, Node: volume}, name, spare)
	}
	must(t, unix.Unmount(at, 0))
	lvm(t, disk, "vgchange", "-q", "-an", "held")
	sum = testhost.Sum(t, disk)
	for method, pairs := range deviceWrites {
		kind := map[bool]string{true: "conflict", false: "refused"}[method == "vol.create_partition"]
		wantKind(t, failure(t, v, method, pairs(disk, spare, false)...), kind, "LVM2_member")
	}
	wantKind(t, failure(t, v, "vol.create_md_array", "name", "other", "devices", []string{spare, disk}), "refused", "LVM2_member")
	if testhost.Sum(t, disk) != sum {
		t.Error("a volume group that is not active was written to")
	}
	obtain(t, v, "vol.create_filesystem", "device", disk, "type", "ext4", "force", true)
}

// TestNetworkBlockDevice mounts a disk that is served over a socket, and writes to it once it is free.
func TestNetworkBlockDevice(t *testing.T) {
	vmtest.Guest(t)
	needMkfs(t)
	testhost.Command(t, "modprobe", "nbd", "nbds_max=2")
	v := writingVol(t)
	const path = "/dev/nbd0"
	spare := loop(t, 32<<20).Path
	serveNBD(t, path, 16<<20)
	obtain(t, v, "vol.create_filesystem", "device", path, "type", "ext4")
	at := t.TempDir()
	must(t, unix.Mount(path, at, "ext4", unix.MS_RDONLY, ""))
	sum := testhost.Sum(t, path)
	refusedEverywhere(t, v, testhost.Use{Name: "nbd", Kind: "mount", Holder: at, Disk: &testhost.Loop{Path: path}, Node: path}, path, spare)
	if testhost.Sum(t, path) != sum || !blank(t, spare) {
		t.Error("something was written")
	}
	must(t, unix.Unmount(at, 0))
	obtain(t, v, "vol.create_filesystem", "device", path, "type", "vfat", "force", true)
	wantKind(t, failure(t, v, "vol.create_filesystem", "device", "/dev/nbd1", "type", "ext4"), "refused", "no_medium") // served by nobody
}

// What nbd(4) has of linux/nbd.h.
const (
	nbdSetSocket, nbdSetBlockSize, nbdDoIt, nbdClearSocket, nbdSetBlocks, nbdDisconnect = 0xab00, 0xab01, 0xab03, 0xab04, 0xab07, 0xab08

	nbdRequest, nbdReply                            = 0x25609513, 0x67446698
	nbdRead, nbdWrite, nbdEnd, nbdFlush, nbdDiscard = 0, 1, 2, 3, 4
)

// serveNBD makes a disk in memory, of which the kernel asks this process over a socket.
func serveNBD(t *testing.T, path string, size int64) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(t, err)
	must(t, unix.IoctlSetInt(fd, nbdSetBlockSize, 4096))
	must(t, unix.IoctlSetInt(fd, nbdSetBlocks, int(size/4096)))
	must(t, unix.IoctlSetInt(fd, nbdSetSocket, pair[0]))
	server := os.NewFile(uintptr(pair[1]), "nbd")
	go func() {
		answerNBD(server, make([]byte, size))
		server.Close() // which ends what the kernel does
	}()
	ended := make(chan struct{})
	go func() {
		unix.IoctlSetInt(fd, nbdDoIt, 0)
		close(ended)
	}()
	t.Cleanup(func() {
		unix.IoctlSetInt(fd, nbdDisconnect, 0)
		unix.Shutdown(pair[0], unix.SHUT_RDWR)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Error("the kernel does not let go of the socket")
		}
		unix.IoctlSetInt(fd, nbdClearSocket, 0)
		unix.Close(fd)
		unix.Close(pair[0])
	})
	comesTrue(t, "a disk of its size", func() bool {
		text, err := os.ReadFile("/sys/block/" + filepath.Base(path) + "/size")
		return err == nil && string(text) == fmt.Sprintf("%d\n", size/512)
	})
}

// answerNBD answers requests (doc/proto.md of nbd, transmission phase) until it is told to end.
func answerNBD(socket io.ReadWriter, disk []byte) {
	be := binary.BigEndian
	head := make([]byte, 28)
	for {
		if _, err := io.ReadFull(socket, head); err != nil || be.Uint32(head) != nbdRequest {
			return
		}
		kind, from, length := be.Uint16(head[6:]), be.Uint64(head[16:]), uint64(be.Uint32(head[24:]))
		if kind == nbdEnd {
			return
		}
		reply := make([]byte, 16, 16+length)
		be.PutUint32(reply, nbdReply)
		copy(reply[8:], head[8:16])
		switch kind {
		case nbdRead:
			reply = append(reply, disk[from:from+length]...)
		case nbdWrite:
			if _, err := io.ReadFull(socket, disk[from:from+length]); err != nil {
				return
			}
		case nbdFlush, nbdDiscard:
		}
		if _, err := socket.Write(reply); err != nil {
			return
		}
	}
}
