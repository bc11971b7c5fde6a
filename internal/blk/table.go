package blk

import (
	"errors"
	"fmt"
	"io"
)

// Table is a partition table as it stands on a disk.
type Table struct {
	Type       string // gpt or dos
	UUID       string // GPT: disk GUID; dos: disk signature, eight digits; empty where that is zero
	SectorSize int64  // bytes of the sectors by which the table counts
	GPT        *GPT   // nil for dos
}

// GPT is what the headers of a GUID partition table say.
type GPT struct {
	FirstLBA, LastLBA uint64 // sectors that partitions may take
	Entries           uint32 // how many the table has room for
	PrimaryValid      bool   // header and entries at the start of the disk hold their checksums
	BackupValid       bool   // the same for the copy
	BackupAtEnd       bool   // the copy stands in the last sector; it does not where the disk has grown
	Partitions        []Entry
}

// ReadTable reads the partition table of a disk of size bytes with the given logical sectors, the way
// the kernel and blkid do: a GPT counts where a protective MBR announces it, and a copy of it where the
// first one is damaged; the boot sector of a filesystem is no dos table. It returns nil where there is
// none. Errors are those of r.
func ReadTable(r io.ReaderAt, size, sectorSize int64) (*Table, error) {
	if sectorSize < 512 || sectorSize > 64<<10 || size < 2*sectorSize {
		return nil, nil
	}
	first := make([]byte, 512)
	if err := readFull(r, first, 0); err != nil {
		return nil, err
	}
	if first[510] != 0x55 || first[511] != 0xaa {
		return nil, nil
	}
	if isProtective(first) {
		return readGPT(r, size, sectorSize)
	}
	return dosTable(first, sectorSize), nil
}

// PartUUID is what PARTUUID= means for the partition with this number: the GUID of a GPT's entry, or
// the signature of a dos table with the number behind it. It is empty where there is none.
func (t *Table) PartUUID(index int) string {
	if t.GPT == nil {
		if t.UUID == "" {
			return ""
		}
		return fmt.Sprintf("%s-%02x", t.UUID, index)
	}
	if e := t.entry(index); e != nil {
		return e.GUID
	}
	return ""
}

// PartLabel is what PARTLABEL= means for it: the name in a GPT's entry.
func (t *Table) PartLabel(index int) string {
	if e := t.entry(index); e != nil {
		return e.Name
	}
	return ""
}

func (t *Table) entry(index int) *Entry {
	if t.GPT == nil {
		return nil
	}
	for i := range t.GPT.Partitions {
		if t.GPT.Partitions[i].Index == index {
			return &t.GPT.Partitions[i]
		}
	}
	return nil
}

// readFull reads all of b; the end of the disk leaves zeros.
func readFull(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if errors.Is(err, io.EOF) {
		clear(b[n:])
		return nil
	}
	return err
}
