package blk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// Tags are the names that a filesystem or swap space gives itself: what UUID= and LABEL= mean.
type Tags struct {
	UUID, Label string
	Member      string // UUID of this one device, for formats that may have several
}

// tagged is where a format keeps its tags, from the start of the device. A member of 0 is none.
type tagged struct {
	magic               string
	magicAt             int64
	uuid, label, member int64
	labelSize           int
}

// formats are those with a UUID of 16 bytes and a label of fixed size. Swap space has its mark at the
// end of the first page, whose size is that of the machine that made it.
var formats = []tagged{
	{"_BHRfS_M", 0x10040, 0x10020, 0x1012b, 0x1010b, 256}, // btrfs: superblock at 64 KiB
	{"XFSB", 0, 32, 108, 0, 12},
	{"\x53\xef", 0x438, 0x468, 0x478, 0, 16}, // ext2, ext3, ext4: superblock at 1 KiB
	{"SWAPSPACE2", 4096 - 10, 1036, 1052, 0, 16},
	{"SWAPSPACE2", 16384 - 10, 1036, 1052, 0, 16},
	{"SWAPSPACE2", 65536 - 10, 1036, 1052, 0, 16},
}

// ReadTags reads the tags of btrfs, xfs, ext, vfat and swap space; it returns none for anything else.
// Errors are those of r.
func ReadTags(r io.ReaderAt) (Tags, error) {
	for _, f := range formats {
		mark := make([]byte, len(f.magic))
		if err := readFull(r, mark, f.magicAt); err != nil {
			return Tags{}, err
		}
		if string(mark) == f.magic {
			return f.read(r)
		}
	}
	sector := make([]byte, 512)
	if err := readFull(r, sector, 0); err != nil {
		return Tags{}, err
	}
	return fatTags(sector), nil
}

func (f tagged) read(r io.ReaderAt) (Tags, error) {
	uuid, label := make([]byte, 16), make([]byte, f.labelSize)
	if err := readFull(r, uuid, f.uuid); err != nil {
		return Tags{}, err
	}
	if err := readFull(r, label, f.label); err != nil {
		return Tags{}, err
	}
	label, _, _ = bytes.Cut(label, []byte{0})
	tags := Tags{UUID: uuidText(uuid), Label: string(label)}
	if f.member != 0 {
		if err := readFull(r, uuid, f.member); err != nil {
			return Tags{}, err
		}
		tags.Member = uuidText(uuid)
	}
	return tags, nil
}

// uuidText writes a UUID; one that is all zeros is none.
func uuidText(b []byte) string {
	if bytes.Count(b, []byte{0}) == len(b) {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// fatTags reads a FAT boot sector: volume id and label stand behind a mark of 0x29 or 0x28, for FAT32
// further down than for its elders. FAT writes "NO NAME" for none.
func fatTags(sector []byte) Tags {
	if sector[510] != 0x55 || sector[511] != 0xaa || !isFAT(sector) {
		return Tags{}
	}
	at := 38
	if binary.LittleEndian.Uint16(sector[22:]) == 0 { // no size of a FAT in 16 bits: FAT32
		at = 66
	}
	if sector[at]&^1 != 0x28 {
		return Tags{}
	}
	id := binary.LittleEndian.Uint32(sector[at+1:])
	label := strings.TrimRight(string(sector[at+5:at+16]), " ")
	if label == "NO NAME" {
		label = ""
	}
	return Tags{UUID: fmt.Sprintf("%04X-%04X", id>>16, id&0xffff), Label: label}
}
