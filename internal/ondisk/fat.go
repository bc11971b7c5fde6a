package ondisk

import "math/bits"

// fat is the boot sector of a FAT, in the fields that all three kinds have: bytes a sector at 11, sectors
// a cluster 13, reserved sectors 14, number of FATs 16, entries of the root folder 17, sectors 19, medium
// 21, sectors of a FAT 22, sectors again 32, and of FAT32 its sectors of a FAT 36.
type fat struct {
	b                            []byte
	sector, cluster              uint32 // bytes; sectors
	reserved, fats, root         uint32 // sectors; number; entries
	sectors, fatLength, clusters uint32
	is32                         bool
}

const (
	fat12Most = 0xff4
	fat16Most = 0xfff4
	fat32Most = 0x0ffffff6
)

// fatMarks are the marks of a FAT, best first: the words of later versions, the jump over the
// parameters, and the mark of any boot sector.
var fatMarks = []struct {
	offset int64
	mark   string
}{
	{0x52, "MSWIN"}, {0x52, "FAT32   "}, {0x36, "MSDOS"}, {0x36, "FAT16   "}, {0x36, "FAT12   "}, {0x36, "FAT     "},
	{0, "\xeb"}, {0, "\xe9"}, {0x1fe, "\x55\xaa"},
}

// probeFAT is for all three kinds; which it is the number of clusters tells.
func probeFAT(d *device) *Signature {
	var s *Signature
	for _, m := range fatMarks {
		if s = d.magic(m.offset, m.mark); s != nil {
			break
		}
	}
	if s == nil {
		return nil
	}
	f := d.fat(len(s.Magic) <= 2)
	if f == nil || f.is32 && !d.checkFSInfo(f) {
		return nil
	}
	s.BlockSize, s.FSBlockSize = int64(f.sector), int64(f.sector)*int64(f.cluster)
	s.Size = int64(f.sector) * int64(f.sectors)
	if f.is32 {
		d.nameFAT32(f, s)
	} else {
		d.nameFAT16(f, s)
	}
	return s
}

// fat reads the boot sector; nil where it is none. weak says that the mark was one of few bytes, so that
// more has to fit.
func (d *device) fat(weak bool) *fat {
	b := d.at(0, 512)
	if b == nil || weak && !bootSector(b) {
		return nil
	}
	f := &fat{b: b, sector: uint32(le.Uint16(b[11:])), cluster: uint32(b[13]), reserved: uint32(le.Uint16(b[14:])),
		fats: uint32(b[16]), root: uint32(le.Uint16(b[17:])), sectors: uint32(le.Uint16(b[19:])), fatLength: uint32(le.Uint16(b[22:]))}
	if f.sectors == 0 {
		f.sectors = le.Uint32(b[32:])
	}
	if f.fatLength == 0 {
		f.fatLength = le.Uint32(b[36:])
		f.is32 = f.fatLength != 0
	}
	if !f.plausible(b[21]) || f.tooMany() {
		return nil
	}
	return f
}

// bootSector tells whether b ends as a boot sector does, and is not one of those that other formats
// imitate.
func bootSector(b []byte) bool {
	word := string(b[0x36:0x3e])
	return b[510] == 0x55 && b[511] == 0xaa && word != "JFS     " && word != "HPFS    "
}

func (f *fat) plausible(medium byte) bool {
	return f.fats > 0 && f.reserved > 0 && (medium >= 0xf8 || medium == 0xf0) &&
		bits.OnesCount32(f.cluster) == 1 && bits.OnesCount32(f.sector) == 1 && f.sector >= 512 && f.sector <= 4096
}

// tooMany counts the clusters, and tells whether there are more than a FAT can have.
func (f *fat) tooMany() bool {
	folder := (f.root*32 + f.sector - 1) / f.sector
	overhead := uint64(f.reserved) + uint64(f.fatLength)*uint64(f.fats) + uint64(folder)
	if overhead > uint64(f.sectors) {
		return true
	}
	f.clusters = uint32((uint64(f.sectors) - overhead) / uint64(f.cluster))
	if f.is32 {
		return f.clusters > fat32Most
	}
	return f.clusters > fat16Most
}

// nameFAT16 reads the names of FAT12 and FAT16: a mark at 38, behind it the serial number and the label;
// the other label is an entry of the root folder, which follows the FATs.
func (d *device) nameFAT16(f *fat, s *Signature) {
	s.SecType, s.Version = "msdos", "FAT16"
	if f.clusters < fat12Most {
		s.Version = "FAT12"
	}
	if f.b[38] == 0x29 {
		s.LabelFATBoot = fatLabel(f.b[43:54])
	}
	if f.b[38] == 0x28 || f.b[38] == 0x29 {
		s.UUID = serial(f.b[39:])
	}
	start := (int64(f.reserved) + int64(f.fatLength)*int64(f.fats)) * int64(f.sector)
	s.Label, _ = d.folderLabel(start, int64(f.root))
}

const (
	// maxFolder bounds how many clusters of a root folder are looked through for its label, and
	// maxEntries how many entries of each: the label is one of the first.
	maxFolder  = 100
	maxEntries = 4096
)

// nameFAT32 reads the names of FAT32, whose root folder is a chain of clusters from that at 44 on.
func (d *device) nameFAT32(f *fat, s *Signature) {
	s.Version, s.UUID = "FAT32", serial(f.b[67:])
	if f.b[66] == 0x29 {
		s.LabelFATBoot = fatLabel(f.b[71:82])
	}
	data := int64(f.reserved) + int64(f.fatLength)*int64(f.fats)
	entries := uint64(f.fatLength) * uint64(f.sector) / 4
	next := le.Uint32(f.b[44:])
	for range maxFolder {
		if next < 2 || uint64(next) >= entries {
			return
		}
		at := (data + int64(next-2)*int64(f.cluster)) * int64(f.sector)
		label, found := d.folderLabel(at, int64(f.sector)*int64(f.cluster)/32)
		if found {
			s.Label = label
			return
		}
		link := d.at(int64(f.reserved)*int64(f.sector)+int64(next)*4, 4)
		if link == nil {
			return
		}
		next = le.Uint32(link) & 0x0fffffff
	}
}

// folderLabel looks for the entry of a folder that is the volume's label. Entries have 32 bytes: a name
// of 11, attributes, and the number of a cluster at 20 and 26, which a label does not have.
func (d *device) folderLabel(at, entries int64) (label string, found bool) {
	for i := range min(entries, maxEntries) {
		e := d.at(at+32*i, 32)
		if e == nil || e[0] == 0 {
			return "", false
		}
		const deleted, long, volume, folder = 0xe5, 0x0f, 0x08, 0x10
		if e[0] == deleted || e[11]&0x3f == long || le.Uint16(e[20:]) != 0 || le.Uint16(e[26:]) != 0 {
			continue
		}
		if e[11]&(volume|folder) == volume {
			name := clone(e[:11])
			if name[0] == 5 { // stands for 0xe5, which would be deleted
				name[0] = 0xe5
			}
			return fatLabel(name), true
		}
	}
	return "", false
}

// fatLabel is a label; "NO NAME" stands for none.
func fatLabel(b []byte) string {
	if string(b) == "NO NAME    " {
		return ""
	}
	return text(b)
}

// checkFSInfo looks at the second sector of FAT32, which some leave empty.
func (d *device) checkFSInfo(f *fat) bool {
	sector := int64(le.Uint16(f.b[48:]))
	if sector == 0 {
		return true
	}
	b := d.at(sector*int64(f.sector), 512)
	if b == nil {
		return false
	}
	first, second := string(b[:4]), string(b[484:488])
	return (first == "RRaA" || first == "RRdA" || first == "\x00\x00\x00\x00") && (second == "rrAa" || second == "\x00\x00\x00\x00")
}
