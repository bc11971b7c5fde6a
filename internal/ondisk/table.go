package ondisk

import "fmt"

// Table is a partition table.
type Table struct {
	Type       string // gpt or dos
	UUID       string // GPT: the disk's GUID; dos: the disk signature, eight digits, empty where it is zero
	SectorSize int64  // bytes of the sectors by which it counts
	Partitions []Partition

	// Of a GPT.
	FirstLBA, LastLBA uint64 // sectors that partitions may take
	Entries           uint32 // how many it has room for
	PrimaryValid      bool   // header and entries at the start hold their checksums
	BackupValid       bool   // the same for the copy
	BackupAtEnd       bool   // the copy stands in the last sector; it does not where the disk has grown
}

// Partition is an entry of a table. Start and Size are in bytes.
type Partition struct {
	Number      int // as the kernel counts, from 1; logical ones from 5
	Start, Size int64

	Type string // GPT: GUID in lower case; dos: 0x and the type byte
	UUID string // PARTUUID: GPT's GUID; dos: the disk signature, a hyphen and the number
	Name string // GPT

	Attributes uint64 // GPT
	Bootable   bool   // dos: the active flag
	Extended   bool   // dos: holds the logical ones
	Logical    bool   // dos: lies in an extended one
}

// Entry is the entry with a number; nil where t is nil or has none.
func (t *Table) Entry(number int) *Partition {
	if t == nil {
		return nil
	}
	for i := range t.Partitions {
		if t.Partitions[i].Number == number {
			return &t.Partitions[i]
		}
	}
	return nil
}

// End is where the partition ends, in bytes.
func (p *Partition) End() int64 { return p.Start + p.Size }

const (
	maxSector = 64 << 10 // no disk has larger ones

	dosFirst     = 446 // the first of four entries of 16 bytes
	dosSignature = 440
	dosAIX       = "\xc9\xc2\xd4\xc1"
	dosGPT       = 0xee // type of the entry that protects a GPT
	// dosMostLinks bounds how many logical partitions are followed: so many have a number that the
	// kernel can give.
	dosMostLinks = 256
)

// table reads the partition table: the GPT that a protective entry announces, else a dos table.
func (d *device) table(sectorSize int64) *Table {
	if sectorSize < 512 || sectorSize > maxSector || d.size < 2*sectorSize {
		return nil
	}
	b := d.at(0, 512)
	if b == nil || b[510] != 0x55 || b[511] != 0xaa {
		return nil
	}
	for i := range 4 {
		if b[dosFirst+16*i+4] == dosGPT {
			return d.gpt(sectorSize)
		}
	}
	return d.dos(b, sectorSize)
}

// dosEntry is an entry of a dos table: the active flag, three bytes, the type, three bytes, start and
// length in sectors.
type dosEntry struct {
	active, typ  byte
	start, count int64
}

func parseDOSEntry(b []byte) dosEntry {
	return dosEntry{b[0], b[4], int64(le.Uint32(b[8:])), int64(le.Uint32(b[12:]))}
}

func dosEntries(sector []byte) (list [4]dosEntry) {
	for i := range list {
		list[i] = parseDOSEntry(sector[dosFirst+16*i:])
	}
	return list
}

// extended tells whether the entry holds logical partitions.
func (e dosEntry) extended() bool {
	return e.typ == 0x05 || e.typ == 0x0f || e.typ == 0x85
}

// dos reads the four primary entries and the chains of logical ones. A boot sector whose flags are
// neither set nor clear holds no table, nor does one that AIX has marked as its own.
func (d *device) dos(b []byte, sectorSize int64) *Table {
	if string(b[:4]) == dosAIX {
		return nil
	}
	t := &Table{Type: "dos", SectorSize: sectorSize}
	if id := le.Uint32(b[dosSignature:]); id != 0 {
		t.UUID = fmt.Sprintf("%08x", id)
	}
	entries := dosEntries(b)
	for i, e := range entries {
		if e.active&0x7f != 0 {
			return nil
		}
		if e.count > 0 {
			t.addDOS(i+1, e.start, e)
		}
	}
	for _, e := range entries {
		if e.count > 0 && e.extended() {
			d.logical(t, e.start, e.count)
		}
	}
	return t
}

func (t *Table) addDOS(number int, start int64, e dosEntry) {
	p := Partition{Number: number, Start: start * t.SectorSize, Size: e.count * t.SectorSize, Type: fmt.Sprintf("0x%x", e.typ),
		Bootable: e.active == 0x80, Extended: e.extended() && number < 5, Logical: number > 4}
	if t.UUID != "" {
		p.UUID = fmt.Sprintf("%s-%02x", t.UUID, number)
	}
	t.Partitions = append(t.Partitions, p)
}

// logical follows the chain of an extended partition: each link is a sector with a table, whose data
// entries count from that sector, and whose link counts from the start of the extended partition. The
// third and fourth entry are often rubbish, and count only where they lie inside the link's own stretch.
func (d *device) logical(t *Table, first, length int64) {
	at, span := first, length
	for range dosMostLinks {
		b := d.at(at*t.SectorSize, 512)
		if first == 0 || b == nil || b[510] != 0x55 || b[511] != 0xaa {
			return
		}
		entries := dosEntries(b)
		for i, e := range entries {
			start := at + e.start
			outside := start < first || start+e.count > first+length || i >= 2 && e.start+e.count > span
			if e.count == 0 || e.extended() || outside || t.begins(start) {
				continue
			}
			t.addDOS(t.nextLogical(), start, e)
		}
		next, ok := dosLink(entries)
		if !ok || first+next.start <= at || next.start+next.count > length {
			return
		}
		at, span = first+next.start, next.count
	}
}

// begins tells whether a logical partition begins at a sector, which ends a chain that runs in circles.
func (t *Table) begins(sector int64) bool {
	for _, p := range t.Partitions {
		if p.Logical && p.Start == sector*t.SectorSize {
			return true
		}
	}
	return false
}

func (t *Table) nextLogical() int {
	next := 5
	for _, p := range t.Partitions {
		next = max(next, p.Number+1)
	}
	return next
}

// dosLink is the entry that leads to the next logical partition.
func dosLink(entries [4]dosEntry) (dosEntry, bool) {
	for _, e := range entries {
		if e.count > 0 && e.extended() && e.start != 0 {
			return e, true
		}
	}
	return dosEntry{}, false
}
