package blk

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

// Entry is a partition as a GPT describes it.
type Entry struct {
	Index             int    // its number, from 1
	TypeGUID, GUID    string // what it is for, and which one it is (PARTUUID)
	FirstLBA, LastLBA uint64
	Attributes        uint64
	Name              string // PARTLABEL
}

// header is a GPT header (UEFI specification, 5.3.2), little-endian at these offsets:
//
//	 0 "EFI PART"      24 its own sector       56 disk GUID            84 bytes per entry
//	12 header size     32 sector of the other  72 sector of the        88 CRC of the entries
//	16 CRC of it       40 first usable sector     entries
//	                   48 last usable sector   80 number of entries
type header struct {
	own, other       uint64
	first, last      uint64
	guid             [16]byte
	entries          uint64
	count, size, crc uint32

	partitions []Entry // from the entries, once their checksum holds
}

const (
	headerMin = 92
	// entriesMax bounds what is read to check the entries: 16 KiB is usual, 32 times that is generous.
	entriesMax = 512 << 10
)

// readGPT reads both copies. Where neither holds its checksums there is no table.
func readGPT(r io.ReaderAt, size, sectorSize int64) (*Table, error) {
	end := uint64(size/sectorSize) - 1
	primary, err := readHeader(r, 1, end, sectorSize)
	if err != nil {
		return nil, err
	}
	at := end
	if primary != nil && primary.other <= end && primary.other > 1 {
		at = primary.other
	}
	backup, err := readHeader(r, at, end, sectorSize)
	if err != nil {
		return nil, err
	}
	h := primary
	if h == nil {
		h = backup
	}
	if h == nil {
		return nil, nil
	}
	return &Table{Type: "gpt", UUID: guid(h.guid), SectorSize: sectorSize, GPT: &GPT{
		FirstLBA:     h.first,
		LastLBA:      h.last,
		Entries:      h.count,
		PrimaryValid: primary != nil,
		BackupValid:  backup != nil,
		BackupAtEnd:  backup != nil && at == end,
		Partitions:   h.partitions,
	}}, nil
}

// readHeader reads the copy at a sector; nil where what stands there is none, or not whole.
func readHeader(r io.ReaderAt, at, end uint64, sectorSize int64) (*header, error) {
	b := make([]byte, sectorSize)
	if err := readFull(r, b, int64(at)*sectorSize); err != nil {
		return nil, err
	}
	h := parseHeader(b)
	if h == nil || h.own != at || h.first > h.last || h.last > end || h.entries > end {
		return nil, nil
	}
	length := uint64(h.count) * uint64(h.size)
	if h.size < 128 || length == 0 || length > entriesMax {
		return nil, nil
	}
	entries := make([]byte, length)
	if err := readFull(r, entries, int64(h.entries)*sectorSize); err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(entries) != h.crc {
		return nil, nil
	}
	h.partitions = parseEntries(entries, int(h.size))
	return h, nil
}

// parseEntries decodes those entries that are in use (UEFI specification, 5.3.3): type GUID at 0, GUID
// at 16, first and last sector at 32 and 40, attributes at 48, name in UTF-16 at 56.
func parseEntries(b []byte, size int) (list []Entry) {
	le := binary.LittleEndian
	for i := 0; (i+1)*size <= len(b); i++ {
		e := b[i*size:]
		if [16]byte(e) == ([16]byte{}) {
			continue
		}
		list = append(list, Entry{
			Index:    i + 1,
			TypeGUID: guid([16]byte(e)), GUID: guid([16]byte(e[16:])),
			FirstLBA: le.Uint64(e[32:]), LastLBA: le.Uint64(e[40:]),
			Attributes: le.Uint64(e[48:]),
			Name:       utf16Text(e[56:128]),
		})
	}
	return list
}

// utf16Text decodes little-endian UTF-16 up to the first zero.
func utf16Text(b []byte) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

// parseHeader decodes a header whose checksum holds, else it returns nil.
func parseHeader(b []byte) *header {
	le := binary.LittleEndian
	if string(b[:8]) != "EFI PART" {
		return nil
	}
	length := int64(le.Uint32(b[12:]))
	if length < headerMin || length > int64(len(b)) {
		return nil
	}
	sum := le.Uint32(b[16:])
	clear(b[16:20]) // the checksum is made with itself as zero
	if crc32.ChecksumIEEE(b[:length]) != sum {
		return nil
	}
	return &header{
		own: le.Uint64(b[24:]), other: le.Uint64(b[32:]),
		first: le.Uint64(b[40:]), last: le.Uint64(b[48:]),
		guid:    [16]byte(b[56:72]),
		entries: le.Uint64(b[72:]),
		count:   le.Uint32(b[80:]), size: le.Uint32(b[84:]), crc: le.Uint32(b[88:]),
	}
}

// guid writes a GUID the usual way: the first three groups are little-endian on the disk.
func guid(b [16]byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b[0:]), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}
