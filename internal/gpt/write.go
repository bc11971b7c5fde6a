package gpt

import (
	"errors"
	"fmt"
	"io"
)

// Write is bytes for a place on the disk.
type Write struct {
	Offset int64
	Bytes  []byte
}

// Phase is a number of writes that may reach the disk in any order; after the last of them the disk is
// flushed.
type Phase []Write

// Phases says what is to be written for the table. The protective MBR of a blank disk comes last: until then
// it is blank.
func (t *Table) Phases() []Phase {
	phases := []Phase{t.backupPhase(), t.primaryPhase()}
	if t.blank {
		phases = append(phases, Phase{{0, t.protective()}})
	}
	return phases
}

func (t *Table) backupPhase() Phase {
	return Phase{
		{int64(t.backupLBA) * t.sector, t.entries},
		{int64(t.backup) * t.sector, t.encodeHeader(t.backup, 1, t.backupLBA)},
	}
}

func (t *Table) primaryPhase() Phase {
	return Phase{
		{int64(t.primaryLBA) * t.sector, t.entries},
		{t.sector, t.encodeHeader(1, t.backup, t.primaryLBA)},
	}
}

// protective is the sector that keeps tools which know no GPT from taking the disk for empty (UEFI
// specification, 5.2.3). It takes the whole sector: a blank disk has nothing in it.
func (t *Table) protective() []byte {
	b := make([]byte, t.sector)
	copy(b[446:], []byte{0x00, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff})
	le.PutUint32(b[454:], 1)
	le.PutUint32(b[458:], uint32(min(t.sectors-1, 0xffffffff)))
	b[510], b[511] = 0x55, 0xaa
	return b
}

// Mended says what Mend does to a table.
type Mended string

// What is done: nothing; the primary copy is written from the backup; the backup from the primary.
const (
	Whole   Mended = ""
	Primary Mended = "primary"
	Backup  Mended = "backup"
)

// Mend says what is to be written so that both copies of a disk's table are whole and say the same, after a
// change that was cut off: the primary, which is in force, is taken for right where it is whole. Errors:
// ErrNone, ErrLayout, those of r.
func Mend(r io.ReaderAt, size, sector int64) ([]Phase, Mended, error) {
	t, err := read(r, size, sector)
	switch {
	case err != nil:
		return nil, Whole, err
	case t.identical:
		return nil, Whole, nil
	case t.primary:
		return []Phase{t.backupPhase()}, Backup, nil
	}
	return []Phase{t.primaryPhase()}, Primary, nil
}

// Disk is what a table is written to.
type Disk interface {
	io.WriterAt
	Sync() error // returns when all that was written is on the disk
}

// Apply writes the phases, each flushed before the next begins. The first error ends it.
func Apply(d Disk, phases []Phase) error {
	for _, phase := range phases {
		for _, w := range phase {
			if _, err := d.WriteAt(w.Bytes, w.Offset); err != nil {
				return errors.Join(fmt.Errorf("write partition table: %w", err), d.Sync())
			}
		}
		if err := d.Sync(); err != nil {
			return fmt.Errorf("flush partition table: %w", err)
		}
	}
	return nil
}

// DiskGUID is the GUID of a disk by its table, of which one copy must be whole. Errors: ErrNone, ErrLayout,
// those of r.
func DiskGUID(r io.ReaderAt, size, sector int64) (string, error) {
	t, err := read(r, size, sector)
	if err != nil {
		return "", err
	}
	return GUID(t.header[56:72]).String(), nil
}
