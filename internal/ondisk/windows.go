package ondisk

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
	"unicode/utf16"
)

// exfat is the boot sector of exFAT: sectors at 72, FAT's place 80 and length 84, place of the clusters
// 88, their number 92, root folder 96, serial number 100, version 104, logarithms of sector and cluster
// 108 and 109, number of FATs 110.
type exfat struct {
	b                    []byte
	sector, cluster      int64 // bytes; bytes
	fat, heap            int64 // bytes from the start
	firstCluster, number uint32
}

func probeExFAT(d *device) *Signature {
	s, b := d.magic(3, "EXFAT   "), d.at(0, 512)
	if s == nil || b == nil || !plausibleExFAT(b) || !d.checkExFAT(int64(1)<<b[108]) {
		return nil
	}
	f := &exfat{b: b, sector: 1 << b[108], number: le.Uint32(b[92:]), firstCluster: le.Uint32(b[96:])}
	f.cluster = f.sector << b[109]
	f.fat, f.heap = int64(le.Uint32(b[80:]))*f.sector, int64(le.Uint32(b[88:]))*f.sector
	s.UUID, s.Label = serial(b[100:]), d.exfatLabel(f)
	s.Version = fmt.Sprintf("%d.%d", b[105], b[104])
	s.BlockSize, s.FSBlockSize = f.sector, f.sector
	s.Size = scaled(le.Uint64(b[72:]), uint64(f.sector))
	return s
}

func plausibleExFAT(b []byte) bool {
	sector, cluster, fats := b[108], b[109], b[110]
	if string(b[:3]) != "\xeb\x76\x90" || !isZero(b[11:64]) || b[510] != 0x55 || b[511] != 0xaa ||
		sector < 9 || sector > 12 || cluster > 25-sector || fats < 1 || fats > 2 {
		return false
	}
	fat, length, heap := uint64(le.Uint32(b[80:])), uint64(le.Uint32(b[84:])), uint64(le.Uint32(b[88:]))
	root, clusters := uint64(le.Uint32(b[96:])), uint64(le.Uint32(b[92:]))
	return fat >= 24 && fat+length*uint64(fats) <= heap && heap <= 1<<31 && root >= 2 && root <= clusters+1
}

// checkExFAT verifies the checksum of the first eleven sectors, which fills the twelfth.
func (d *device) checkExFAT(sector int64) bool {
	b := d.at(0, 12*sector)
	if b == nil {
		return false
	}
	var sum uint32
	for i, c := range b[:11*sector] {
		if i == 106 || i == 107 || i == 112 { // these change while it is mounted
			continue
		}
		sum = bits.RotateLeft32(sum, -1) + uint32(c)
	}
	for b = b[11*sector:]; len(b) > 0; b = b[4:] {
		if le.Uint32(b) != sum {
			return false
		}
	}
	return true
}

// exfatLabel looks for the label among the entries of the root folder, which is a chain of clusters.
func (d *device) exfatLabel(f *exfat) string {
	const end, label = 0, 0x83
	at := f.firstCluster
	for range maxFolder {
		if at < 2 || at > f.number+1 {
			return ""
		}
		start := f.heap + int64(at-2)*f.cluster
		for offset := start; offset < start+min(f.cluster, maxEntries*32); offset += 32 {
			e := d.at(offset, 32)
			if e == nil || e[0] == end {
				return ""
			}
			if e[0] == label {
				return utf16Text(e[2:2+2*min(int(e[1]), 11)], le)
			}
		}
		link := d.at(f.fat+4*int64(at), 4)
		if link == nil {
			return ""
		}
		at = le.Uint32(link)
	}
	return ""
}

// utf16Text is utf16Raw without blanks at its end.
func utf16Text(b []byte, order binary.ByteOrder) string {
	return strings.TrimRight(utf16In(b, order), " \t\n\v\f\r")
}

// utf16Raw decodes little-endian UTF-16 up to the first zero.
func utf16Raw(b []byte) string { return utf16In(b, le) }

func utf16In(b []byte, order binary.ByteOrder) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		unit := order.Uint16(b)
		if unit == 0 {
			break
		}
		units = append(units, unit)
	}
	return string(utf16.Decode(units))
}

const ntfsMaxCluster = 2 << 20

// ntfs is the boot sector of NTFS: bytes a sector at 11, sectors a cluster 13, sectors 40, clusters of the
// master file table and its mirror 48 and 56, clusters a record 64, serial number 72.
type ntfs struct {
	b               []byte
	sector, cluster int64 // bytes
	record          int64 // bytes
	table           int64 // bytes from the start
}

func probeNTFS(d *device) *Signature {
	s, b := d.magic(3, "NTFS    "), d.at(0, 512)
	if s == nil || b == nil {
		return nil
	}
	n := parseNTFS(b)
	if n == nil {
		return nil
	}
	// The fourth record describes the volume. The first must be there too.
	const volume = 3
	first, record := d.at(n.table, n.record), d.at(n.table+volume*n.record, n.record)
	if first == nil || record == nil || string(first[:4]) != "FILE" || string(record[:4]) != "FILE" {
		return nil
	}
	s.UUID, s.Label = fmt.Sprintf("%016X", le.Uint64(b[72:])), ntfsLabel(record)
	s.BlockSize, s.FSBlockSize = n.sector, n.cluster
	s.Size = scaled(le.Uint64(b[40:]), uint64(n.sector))
	return s
}

func parseNTFS(b []byte) *ntfs {
	n := &ntfs{b: b, sector: int64(le.Uint16(b[11:]))}
	if n.sector < 256 || n.sector > 4096 || bits.OnesCount64(uint64(n.sector)) != 1 {
		return nil
	}
	// What NTFS does not use of a FAT's parameters is zero.
	if !isZero(b[14:21]) || !isZero(b[22:24]) || !isZero(b[32:36]) {
		return nil
	}
	n.cluster = n.sector * logOrCount(b[13], 240)
	n.record = logOrCount(b[64], 0xe1)
	if b[64] < 0x80 {
		n.record *= n.cluster
	}
	if n.cluster == 0 || n.cluster > ntfsMaxCluster || n.record < 512 || n.record > ntfsMaxCluster {
		return nil
	}
	clusters := le.Uint64(b[40:]) / uint64(n.cluster/n.sector)
	table, mirror := le.Uint64(b[48:]), le.Uint64(b[56:])
	if table > clusters || mirror > clusters {
		return nil
	}
	n.table = scaled(table, uint64(n.cluster))
	return n
}

// logOrCount reads a byte that is a count, a power of two, or from least on the negative of a logarithm;
// 0 where it is neither.
func logOrCount(v, least byte) int64 {
	switch {
	case v >= least && v != 0:
		if log := -int(int8(v)); log < 31 {
			return 1 << log
		}
	case v < 0x80 && bits.OnesCount8(v) == 1, v == 128:
		return int64(v)
	}
	return 0
}

// ntfsLabel looks for the volume's name among the attributes of its record: each has a type, a length,
// and of resident ones the length and place of the value at 16 and 20.
func ntfsLabel(record []byte) string {
	const name, end = 0x60, 0xffffffff
	for at := int(le.Uint16(record[20:])); at+24 <= len(record); {
		attribute := record[at:]
		length := int64(le.Uint32(attribute[4:]))
		switch {
		case length < 24 || length > int64(len(attribute)) || le.Uint32(attribute) == end:
			return ""
		case le.Uint32(attribute) == name:
			from, size := int64(le.Uint16(attribute[20:])), int64(le.Uint32(attribute[16:]))
			if from+size > length {
				return ""
			}
			return utf16Text(attribute[from:from+size], le)
		}
		at += int(length)
	}
	return ""
}
