// Package gpt changes GUID partition tables (UEFI specification, 5.3): it adds an entry, lets one grow,
// makes an empty table, and mends one copy from the other. internal/ondisk is what reads tables to tell of
// them.
//
// The functions are pure: they read from an io.ReaderAt and say what is to be written, in phases between
// which the disk must be flushed. Each prefix of them, with any part of the last phase missing, leaves a
// whole copy of either the old table or the new one: the backup goes first and the primary only once that
// is on the disk. What a table holds that is not known here, entries and reserved bytes, stays as it is.
package gpt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"unicode/utf16"
)

var (
	// ErrNone is a disk on which neither copy of a table is whole.
	ErrNone = errors.New("no GUID partition table")
	// ErrDamaged is a table of which one copy is missing or broken.
	ErrDamaged = errors.New("one copy of the partition table is damaged")
	// ErrLayout is a table whose parts lie where this package does not write.
	ErrLayout = errors.New("the partition table is laid out in an unusual way")
	// ErrFull is a table with no free entry.
	ErrFull = errors.New("the partition table has no free entry")
	// ErrOverlap is a partition that would share sectors with another, or lie outside of what the table
	// leaves to partitions.
	ErrOverlap = errors.New("the sectors are not free")
)

const (
	headerSize   = 92
	usualEntries = 128
	entrySize    = 128
	mostEntries  = 1 << 20 // bytes of entries that are read
	signature    = "EFI PART"
	revision     = 0x00010000
	nameUnits    = 36
)

var le = binary.LittleEndian

// Table is a table as it is to stand on the disk. Sectors are the disk's logical ones.
type Table struct {
	sector  int64  // bytes of a sector
	sectors uint64 // of the disk

	header        []byte // of the primary copy; its size, without checksums
	entries       []byte
	entry         int    // bytes of one
	primaryLBA    uint64 // of the primary's entries
	backupLBA     uint64 // of the backup's entries
	backup        uint64 // the backup's own sector
	first, last   uint64
	blank         bool // there was no table
	identical     bool // the copies agree
	primary, copy bool // which of them are whole
}

// Entry is a partition as Add takes it.
type Entry struct {
	Type, UUID GUID
	First      uint64 // sector
	Last       uint64 // sector, inclusive
	Attributes uint64
	Name       string // at most 36 units of UTF-16
}

// New makes an empty table of 128 entries for a disk of size bytes. The error is ErrLayout where the disk
// is too small or its sectors are odd.
func New(size, sector int64, disk GUID) (*Table, error) {
	if sector < 512 || sector > 64<<10 || sector&(sector-1) != 0 {
		return nil, ErrLayout
	}
	taken := uint64((usualEntries*entrySize + sector - 1) / sector)
	sectors := uint64(size / sector)
	if sectors < 2*taken+4 {
		return nil, ErrLayout
	}
	t := &Table{sector: sector, sectors: sectors, header: make([]byte, headerSize), entries: make([]byte, usualEntries*entrySize),
		entry: entrySize, primaryLBA: 2, backup: sectors - 1, backupLBA: sectors - 1 - taken,
		first: 2 + taken, last: sectors - 2 - taken, blank: true}
	copy(t.header, signature)
	le.PutUint32(t.header[8:], revision)
	le.PutUint32(t.header[12:], headerSize)
	copy(t.header[56:], disk[:])
	le.PutUint32(t.header[80:], usualEntries)
	le.PutUint32(t.header[84:], entrySize)
	return t, nil
}

// Read reads the table of a disk for a change. The primary copy is what counts. Errors: ErrNone; ErrDamaged
// where either copy is not whole; ErrLayout; those of r.
func Read(r io.ReaderAt, size, sector int64) (*Table, error) {
	t, err := read(r, size, sector)
	switch {
	case err != nil:
		return nil, err
	case !t.primary || !t.copy:
		return nil, ErrDamaged
	}
	return t, nil
}

// Usable is what the table leaves to partitions: the first sector and the last.
func (t *Table) Usable() (first, last uint64) { return t.first, t.last }

// Used tells whether the entry with a number, from 1, is in use.
func (t *Table) Used(number int) bool {
	return number >= 1 && number <= t.count() && !isZero(t.at(number)[:16])
}

// Entries is how many partitions the table has room for.
func (t *Table) Entries() int { return t.count() }

func (t *Table) count() int { return len(t.entries) / t.entry }

func (t *Table) at(number int) []byte { return t.entries[(number-1)*t.entry:][:t.entry] }

// Add enters a partition under the lowest number that is free and that taken does not claim, and returns
// the number. Errors: ErrFull, ErrOverlap.
func (t *Table) Add(e Entry, taken ...int) (int, error) {
	if len(utf16.Encode([]rune(e.Name))) > nameUnits {
		return 0, fmt.Errorf("name %q: longer than %d units of UTF-16", e.Name, nameUnits)
	}
	if !t.free(e.First, e.Last, 0) {
		return 0, ErrOverlap
	}
	for number := 1; number <= t.count(); number++ {
		if !t.Used(number) && !slices.Contains(taken, number) {
			e.encode(t.at(number))
			return number, nil
		}
	}
	return 0, ErrFull
}

// Grow lets the partition with a number end in another, later sector. Errors: ErrOverlap.
func (t *Table) Grow(number int, last uint64) error {
	if !t.Used(number) {
		return ErrNone
	}
	b := t.at(number)
	if last < le.Uint64(b[40:]) || !t.free(le.Uint64(b[32:]), last, number) {
		return ErrOverlap
	}
	le.PutUint64(b[40:], last)
	return nil
}

// free tells whether sectors lie inside of what partitions may take and in none but the one excepted.
func (t *Table) free(first, last uint64, except int) bool {
	if first > last || first < t.first || last > t.last {
		return false
	}
	for number := 1; number <= t.count(); number++ {
		if number == except || !t.Used(number) {
			continue
		}
		b := t.at(number)
		if first <= le.Uint64(b[40:]) && le.Uint64(b[32:]) <= last {
			return false
		}
	}
	return true
}

// ToEnd moves the backup to the last sector of a disk that has grown, so that partitions may take what
// came. It tells whether there was anything to move.
func (t *Table) ToEnd() bool {
	taken := (uint64(len(t.entries)) + uint64(t.sector) - 1) / uint64(t.sector)
	if t.backup >= t.sectors-1 {
		return false
	}
	t.backup = t.sectors - 1
	t.backupLBA = t.backup - taken
	t.last = t.backupLBA - 1
	return true
}

func (e *Entry) encode(b []byte) {
	clear(b)
	copy(b, e.Type[:])
	copy(b[16:], e.UUID[:])
	le.PutUint64(b[32:], e.First)
	le.PutUint64(b[40:], e.Last)
	le.PutUint64(b[48:], e.Attributes)
	for i, unit := range utf16.Encode([]rune(e.Name)) {
		le.PutUint16(b[56+2*i:], unit)
	}
}

// encodeHeader makes the header of one copy: its own sector, the other's, and where its entries begin.
func (t *Table) encodeHeader(own, other, entries uint64) []byte {
	b := make([]byte, t.sector)
	copy(b, t.header)
	le.PutUint32(b[16:], 0)
	le.PutUint64(b[24:], own)
	le.PutUint64(b[32:], other)
	le.PutUint64(b[40:], t.first)
	le.PutUint64(b[48:], t.last)
	le.PutUint64(b[72:], entries)
	le.PutUint32(b[88:], crc32.ChecksumIEEE(t.entries))
	le.PutUint32(b[16:], crc32.ChecksumIEEE(b[:len(t.header)]))
	return b
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
