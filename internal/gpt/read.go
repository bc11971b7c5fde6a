package gpt

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
)

// half is one copy as it was found.
type half struct {
	header          []byte
	own, other      uint64
	first, last     uint64
	entriesLBA      uint64
	count, size     uint32
	sum             uint32
	entries         []byte
	whole, readable bool // header and entries; the header alone
}

// read reads both copies and lays out the table by the one that counts: the primary where that is whole.
func read(r io.ReaderAt, size, sector int64) (*Table, error) {
	if sector < 512 || sector > 64<<10 || sector&(sector-1) != 0 || size < 8*sector {
		return nil, ErrNone
	}
	end := uint64(size/sector) - 1
	primary, err := readHalf(r, 1, end, sector)
	if err != nil {
		return nil, err
	}
	at := end
	if primary.readable && primary.other > 1 && primary.other <= end {
		at = primary.other
	}
	backup, err := readHalf(r, at, end, sector)
	if err != nil {
		return nil, err
	}
	if backup.readable && backup.other != 1 { // of another table
		backup.whole, backup.readable = false, false
	}
	h := primary
	if !h.whole {
		h = backup
	}
	if !h.whole {
		return nil, ErrNone
	}
	t := &Table{sector: sector, sectors: end + 1, header: bytes.Clone(h.header), entries: bytes.Clone(h.entries), entry: int(h.size),
		first: h.first, last: h.last, backup: at, primary: primary.whole, copy: backup.whole}
	t.identical = primary.whole && backup.whole && primary.agrees(&backup)
	return t, t.layOut(&primary, &backup)
}

// layOut finds where the entries of each copy lie; those of a broken one go to where they usually do.
func (t *Table) layOut(primary, backup *half) error {
	taken := (uint64(len(t.entries)) + uint64(t.sector) - 1) / uint64(t.sector)
	t.primaryLBA, t.backupLBA = 2, t.backup-taken
	if primary.whole {
		t.primaryLBA = primary.entriesLBA
	}
	if backup.whole {
		t.backupLBA = backup.entriesLBA
	}
	if t.primaryLBA < 2 || t.primaryLBA+taken > t.first || t.backupLBA <= t.last || t.backupLBA+taken > t.backup {
		return ErrLayout
	}
	return nil
}

// agrees tells whether two copies say the same.
func (h *half) agrees(o *half) bool {
	return h.first == o.first && h.last == o.last && h.other == o.own && bytes.Equal(h.header[56:72], o.header[56:72]) && bytes.Equal(h.entries, o.entries)
}

// readHalf reads the copy whose header is in a sector. What is no header is not an error.
func readHalf(r io.ReaderAt, lba, end uint64, sector int64) (h half, err error) {
	b := make([]byte, sector)
	if err := readFull(r, b, int64(lba)*sector); err != nil {
		return h, err
	}
	if string(b[:8]) != signature {
		return h, nil
	}
	length := le.Uint32(b[12:])
	if length < headerSize || int64(length) > sector || !checkHeader(b[:length]) || le.Uint64(b[24:]) != lba {
		return h, nil
	}
	h = half{header: b[:length], own: lba, other: le.Uint64(b[32:]), first: le.Uint64(b[40:]), last: le.Uint64(b[48:]),
		entriesLBA: le.Uint64(b[72:]), count: le.Uint32(b[80:]), size: le.Uint32(b[84:]), sum: le.Uint32(b[88:])}
	all := uint64(h.count) * uint64(h.size)
	if h.first > h.last || h.last > end || h.entriesLBA > end || h.size < entrySize || h.size%8 != 0 || all == 0 || all > mostEntries {
		return h, nil
	}
	h.readable = true
	if h.entriesLBA*uint64(sector)+all > (end+1)*uint64(sector) {
		return h, nil
	}
	h.entries = make([]byte, all)
	if err := readFull(r, h.entries, int64(h.entriesLBA)*sector); err != nil {
		return h, err
	}
	h.whole = crc32.ChecksumIEEE(h.entries) == h.sum
	return h, nil
}

// checkHeader sums up a header with its checksum as zero.
func checkHeader(b []byte) bool {
	sum := crc32.ChecksumIEEE(b[:16])
	sum = crc32.Update(sum, crc32.IEEETable, make([]byte, 4))
	return crc32.Update(sum, crc32.IEEETable, b[20:]) == le.Uint32(b[16:])
}

func readFull(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) || errors.Is(err, io.EOF) {
		return nil // what lies past the end is zeros
	}
	return err
}
