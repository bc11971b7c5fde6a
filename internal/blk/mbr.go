package blk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// The master boot record: 440 bytes of code, the disk signature at 440, four entries of 16 bytes at
// 446, each with a boot mark at 0 and a type at 4, and 55 AA at 510.
const (
	mbrSignature  = 440
	mbrEntries    = 446
	mbrEntrySize  = 16
	mbrEntryCount = 4
	typeGPT       = 0xee // the entry that protects a GPT from tools which do not know it
)

// isProtective tells whether a boot record announces a GPT.
func isProtective(sector []byte) bool {
	for i := range mbrEntryCount {
		if sector[mbrEntries+i*mbrEntrySize+4] == typeGPT {
			return true
		}
	}
	return false
}

// dosTable is the table in a boot record that has its mark; nil where that mark is another's, as of a
// filesystem that takes the whole disk.
func dosTable(sector []byte, sectorSize int64) *Table {
	if isBootSector(sector) || bytes.HasPrefix(sector, []byte("\xc9\xc2\xd4\xc1")) { // the latter: AIX
		return nil
	}
	for i := range mbrEntryCount {
		if mark := sector[mbrEntries+i*mbrEntrySize]; mark != 0 && mark != 0x80 {
			return nil
		}
	}
	t := &Table{Type: "dos", SectorSize: sectorSize}
	if id := binary.LittleEndian.Uint32(sector[mbrSignature:]); id != 0 {
		t.UUID = fmt.Sprintf("%08x", id)
	}
	return t
}

// isBootSector tells whether the first sector is that of FAT, exFAT or NTFS, which ends in 55 AA too.
func isBootSector(sector []byte) bool {
	for _, name := range []string{"NTFS    ", "EXFAT   "} {
		if string(sector[3:11]) == name {
			return true
		}
	}
	return isFAT(sector)
}

// isFAT checks the parameter block that every FAT has behind its jump, and nothing else has.
func isFAT(sector []byte) bool {
	sectorSize := binary.LittleEndian.Uint16(sector[11:])
	clusterSize := sector[13]
	reserved := binary.LittleEndian.Uint16(sector[14:])
	fats, media := sector[16], sector[21]
	if other := string(sector[54:58]); other == "JFS " || other == "HPFS" { // OS/2 puts a false block there
		return false
	}
	return slices.Contains([]uint16{512, 1024, 2048, 4096}, sectorSize) &&
		clusterSize != 0 && clusterSize&(clusterSize-1) == 0 &&
		reserved != 0 && fats != 0 && (media == 0xf0 || media >= 0xf8)
}
