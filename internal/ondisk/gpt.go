package ondisk

import (
	"fmt"
	"hash/crc32"
)

const (
	gptHeader = 92 // bytes of a header at least
	gptEntry  = 128
	// gptMostEntries bounds the entries that are read, in bytes: 16 KiB is usual.
	gptMostEntries = 1 << 20
)

// gptCopy is one of the two copies of a GPT (UEFI specification, 5.3.2 and 5.3.3): at 12 the header's
// size, 16 its checksum, 24 its own sector, 32 that of the other copy, 40 and 48 first and last sector
// for partitions, 56 the disk's GUID, 72 the first sector of the entries, 80 their number, 84 their size,
// 88 their checksum.
type gptCopy struct {
	own, other  uint64
	first, last uint64
	guid        []byte
	count, size uint32
	entries     []byte
}

// gpt reads both copies; nil where neither is whole.
func (d *device) gpt(sectorSize int64) *Table {
	end := uint64(d.size/sectorSize) - 1
	primary := d.gptCopy(1, end, sectorSize)
	at := end
	if primary != nil && primary.other > 1 && primary.other <= end {
		at = primary.other
	}
	backup := d.gptCopy(at, end, sectorSize)
	h := primary
	if h == nil {
		h = backup
	}
	if h == nil {
		return nil
	}
	return &Table{Type: "gpt", UUID: guid(h.guid), SectorSize: sectorSize, FirstLBA: h.first, LastLBA: h.last, Entries: h.count,
		PrimaryValid: primary != nil, BackupValid: backup != nil, BackupAtEnd: backup != nil && at == end,
		Partitions: h.partitions(sectorSize)}
}

func (d *device) gptCopy(sector, end uint64, sectorSize int64) *gptCopy {
	b := d.at(int64(sector)*sectorSize, sectorSize)
	h := parseGPTHeader(b)
	if h == nil || h.own != sector || h.first > h.last || h.last > end {
		return nil
	}
	start, length := le.Uint64(b[72:]), uint64(h.count)*uint64(h.size)
	if start > end || h.size < gptEntry || length == 0 || length > gptMostEntries {
		return nil
	}
	h.entries = d.at(int64(start)*sectorSize, int64(length))
	if h.entries == nil || crc32.ChecksumIEEE(h.entries) != le.Uint32(b[88:]) {
		return nil
	}
	return h
}

// parseGPTHeader reads a header whose checksum, made with itself as zero, holds.
func parseGPTHeader(b []byte) *gptCopy {
	if len(b) < gptHeader || string(b[:8]) != "EFI PART" {
		return nil
	}
	length := int64(le.Uint32(b[12:]))
	if length < gptHeader || length > int64(len(b)) {
		return nil
	}
	sum := crc32.ChecksumIEEE(b[:16])
	sum = crc32.Update(sum, crc32.IEEETable, make([]byte, 4))
	if crc32.Update(sum, crc32.IEEETable, b[20:length]) != le.Uint32(b[16:]) {
		return nil
	}
	return &gptCopy{own: le.Uint64(b[24:]), other: le.Uint64(b[32:]), first: le.Uint64(b[40:]), last: le.Uint64(b[48:]),
		guid: b[56:72], count: le.Uint32(b[80:]), size: le.Uint32(b[84:])}
}

// partitions decodes the entries in use: type at 0, GUID 16, first and last sector 32 and 40, attributes
// 48, name in UTF-16 56.
func (h *gptCopy) partitions(sectorSize int64) (list []Partition) {
	for i := 0; (i+1)*int(h.size) <= len(h.entries); i++ {
		e := h.entries[i*int(h.size):]
		first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
		if isZero(e[:16]) || first > last || last > h.last {
			continue
		}
		list = append(list, Partition{
			Number:     i + 1,
			Start:      int64(first) * sectorSize,
			Size:       int64(last-first+1) * sectorSize,
			Type:       guid(e),
			UUID:       guid(e[16:]),
			Name:       utf16Raw(e[56:gptEntry]),
			Attributes: le.Uint64(e[48:]),
		})
	}
	return list
}

// guid writes a GUID in lower case; its first three groups are little-endian on the disk.
func guid(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}

// AttributeNames are the attribute bits that are set, as sfdisk names them.
func AttributeNames(attributes uint64) []string {
	names := []string{}
	for bit := range 64 {
		if attributes>>bit&1 == 0 {
			continue
		}
		switch {
		case bit == 0:
			names = append(names, "RequiredPartition")
		case bit == 1:
			names = append(names, "NoBlockIOProtocol")
		case bit == 2:
			names = append(names, "LegacyBIOSBootable")
		case bit >= 48:
			names = append(names, fmt.Sprintf("GUID:%d", bit))
		}
	}
	return names
}
