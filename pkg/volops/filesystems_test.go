package volops

import (
	"slices"
	"testing"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/ondisk"
)

func TestCopiesOfAMemberAreFilesystemsOfTheirOwn(t *testing.T) {
	sign := func(uuid, member string) *ondisk.Signature {
		return &ondisk.Signature{Type: "btrfs", Usage: ondisk.Filesystem, UUID: uuid, UUIDSub: member}
	}
	f := &filesystemList{diskScan: &diskScan{diskList: &diskList{holders: &holders{}}}}
	for i, s := range []*ondisk.Signature{sign("A", "1"), sign("A", "2"), sign("B", "1"), sign("A", "2"), sign("A", "1"), {Type: "ext4", Usage: ondisk.Filesystem, UUID: "A"},
		{Type: "linux_raid_member", Usage: ondisk.RAID}, {Type: "swap", Usage: ondisk.Other}} {
		f.takeDevice(string(rune('a'+i)), blk.Number{Minor: uint32(i)}, nil, &ondisk.Contents{Signature: s}, "")
	}
	f.takeDevice("held", blk.Number{Minor: 100}, []string{"dm-0"}, &ondisk.Contents{Signature: sign("C", "1")}, "")
	f.takeDevice("both", blk.Number{Minor: 101}, nil, &ondisk.Contents{Signature: sign("D", "1"), Ambivalent: true}, "")
	f.takeDevice("closed", blk.Number{Minor: 102}, nil, nil, "EIO")
	var got []string
	for _, e := range f.found {
		names := ""
		for _, d := range e.members {
			names += d.name
		}
		got = append(got, names)
	}
	if want := []string{"ab", "c", "de", "f", "h"}; !slices.Equal(got, want) {
		t.Errorf("filesystems of %q, want %q", got, want)
	}
	if len(f.unread) != 1 || f.unread[0].Path != "/dev/closed" || f.unread[0].Reason != "EIO" {
		t.Errorf("unread %+v", f.unread)
	}
}

func TestPartitionName(t *testing.T) {
	for disk, want := range map[string]string{"sda": "sda2", "nvme0n1": "nvme0n1p2", "loop7": "loop7p2", "vdb": "vdb2"} {
		if got := partitionName(disk, 2); got != want {
			t.Errorf("the second of %s is %s, want %s", disk, got, want)
		}
	}
}
