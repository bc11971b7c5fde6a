package ondisk

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ErrNotFAT is a device that does not begin with the boot sector of a FAT.
var ErrNotFAT = errors.New("not a FAT")

// Patch is some bytes to be written at an offset.
type Patch struct {
	Offset int64
	Bytes  []byte
}

// FATSerial says what is to be written to a FAT, which nobody has mounted, for it to have another volume serial
// number, given in the form XXXX-XXXX that a [Signature] has. The copy of the boot sector comes first, so that the
// number that a Signature tells changes last. Errors: ErrNotFAT, those of dev.
func FATSerial(dev io.ReaderAt, serial string) ([]Patch, error) {
	number, err := strconv.ParseUint(strings.ReplaceAll(serial, "-", ""), 16, 32)
	if err != nil {
		return nil, fmt.Errorf("serial number %q: %w", serial, err)
	}
	b := make([]byte, 512)
	if _, err := dev.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("read boot sector: %w", err)
	}
	sector, reserved := int64(le.Uint16(b[11:])), int64(le.Uint16(b[14:]))
	if b[510] != 0x55 || b[511] != 0xaa || sector < 512 || sector > 4096 || reserved == 0 {
		return nil, ErrNotFAT
	}
	field, backup := int64(39), int64(0) // Microsoft's FAT specification, version 1.03, pages 11 and 12
	if le.Uint16(b[22:]) == 0 {
		field, backup = 67, int64(le.Uint16(b[50:]))
	}
	value := le.AppendUint32(nil, uint32(number))
	list := []Patch{{field, value}}
	if backup != 0 && backup < reserved {
		list = []Patch{{backup*sector + field, value}, {field, value}}
	}
	return list, nil
}
