package ondisk

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
)

const (
	mdMagic    = 0xa92b4efc
	mdReserved = 64 << 10 // what version 0.90 keeps of a device at its end
)

// probeMD reads a superblock of Linux software RAID. Where it stands tells its version: 0.90 in the last
// whole 64 KiB but one, 1.0 8 KiB before the end, 1.1 at the start, 1.2 at 4 KiB.
func probeMD(d *device) *Signature {
	if d.size > mdReserved {
		if s := d.probeMD0(d.size&^(mdReserved-1) - mdReserved); s != nil {
			return s
		}
		if s := d.probeMD1(d.size&^0xfff-0x2000, "1.0"); s != nil {
			return s
		}
	}
	if s := d.probeMD1(0, "1.1"); s != nil {
		return s
	}
	return d.probeMD1(0x1000, "1.2")
}

// probeMD0 reads version 0.90: words in the byte order of the machine that made it, of which 1 to 3 are
// the version, 8 the size in KiB and 5, 13, 14 and 15 the UUID.
func (d *device) probeMD0(offset int64) *Signature {
	b := d.at(offset, 64)
	if b == nil {
		return nil
	}
	order := binary.ByteOrder(le)
	if le.Uint32(b) != mdMagic {
		order = be
	}
	word := func(i int) uint32 { return order.Uint32(b[4*i:]) }
	size := int64(word(8)) << 10
	if word(0) != mdMagic || d.size < size+mdReserved || offset < size {
		return nil
	}
	id := be.AppendUint32(nil, word(5))
	for _, i := range [...]int{13, 14, 15} {
		if word(2) < 90 {
			id = append(id, 0, 0, 0, 0)
			continue
		}
		id = be.AppendUint32(id, word(i))
	}
	return &Signature{Version: fmt.Sprintf("%d.%d.%d", word(1), word(2), word(3)), UUID: uuid(id),
		MagicOffset: offset, Magic: clone(b[:4]), MD: parseMD0(d.at(offset, 4096), order)}
}

// probeMD1 reads version 1, little-endian: major version at 4, UUID 16, name 32, the place of the
// superblock in sectors 144, the device's UUID 168, checksum 216, number of roles 220; the roles behind
// 256.
func (d *device) probeMD1(offset int64, version string) *Signature {
	b := d.at(offset, 256)
	if b == nil || le.Uint32(b) != mdMagic || le.Uint32(b[4:]) != 1 || le.Uint64(b[144:]) != uint64(offset>>9) {
		return nil
	}
	roles := int64(le.Uint32(b[220:]))
	if roles > 4096 {
		return nil
	}
	whole := d.at(offset, 256+2*roles)
	if !checkMD1(whole) {
		return nil
	}
	says := parseMD1(whole)
	says.place(whole[256:])
	return &Signature{Version: version, UUID: uuid(b[16:]), UUIDSub: uuid(b[168:]), Label: text(b[32:64]),
		MagicOffset: offset, Magic: clone(b[:4]), MD: says}
}

// checkMD1 sums up words, the checksum's own as zero and an odd half word at the end, and folds the sum.
func checkMD1(b []byte) bool {
	if b == nil {
		return false
	}
	want := le.Uint32(b[216:])
	sum := -uint64(want)
	for ; len(b) >= 4; b = b[4:] {
		sum += uint64(le.Uint32(b))
	}
	if len(b) == 2 {
		sum += uint64(le.Uint16(b))
	}
	return uint32(sum>>32)+uint32(sum) == want
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }

// lvmSeed is what LVM's checksum begins with, in place of all ones.
const lvmSeed = 0xf597a6cf

// probeLVM2 reads the label of a physical volume, in any of the first four sectors: its own sector at 8,
// a checksum of what follows 16, a type 24, the volume's id 32.
func probeLVM2(d *device) *Signature {
	for sector := range int64(4) {
		b := d.at(sector*512, 512)
		if b == nil || string(b[:8]) != "LABELONE" || string(b[24:32]) != "LVM2 001" || le.Uint64(b[8:]) != uint64(sector) {
			continue
		}
		if ^crc32.Update(^uint32(lvmSeed), crc32.IEEETable, b[20:]) != le.Uint32(b[16:]) {
			continue
		}
		return &Signature{Version: "LVM2 001", UUID: lvmID(b[32:64]), MagicOffset: sector*512 + 24, Magic: []byte("LVM2 001")}
	}
	return nil
}

// lvmID groups 32 letters as LVM prints them: 6-4-4-4-4-4-6.
func lvmID(b []byte) string {
	var s strings.Builder
	at := 0
	for i, n := range [...]int{6, 4, 4, 4, 4, 4, 6} {
		if i > 0 {
			s.WriteByte('-')
		}
		s.Write(b[at : at+n])
		at += n
	}
	return s.String()
}

// secondLUKSHeaders are the places of the second header of LUKS 2: it follows the first, whose size is one
// of these (cryptsetup's on-disk format, section 2.2).
var secondLUKSHeaders = [...]int64{0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000, 0x200000, 0x400000}

// probeLUKS reads the header of LUKS; where the first one is gone, the second, by which cryptsetup repairs it.
func probeLUKS(d *device) *Signature {
	if s := d.luksHeader(0, "LUKS\xba\xbe"); s != nil {
		return s
	}
	for _, offset := range secondLUKSHeaders {
		if s := d.luksHeader(offset, "SKUL\xba\xbe"); s != nil {
			return s
		}
	}
	return nil
}

// luksHeader reads one header, big-endian: version at 6, UUID as text 168; of version 2 the label 24, the
// subsystem 208, the header's own place 256.
func (d *device) luksHeader(offset int64, magic string) *Signature {
	s := d.magic(offset, magic)
	if s == nil {
		return nil
	}
	b := d.at(offset, 264)
	if b == nil {
		return nil
	}
	version := be.Uint16(b[6:])
	s.Version = fmt.Sprint(version)
	switch version {
	case 1:
		s.UUID = text(b[168:208])
	case 2:
		if be.Uint64(b[256:]) != uint64(offset) {
			return nil
		}
		s.UUID, s.Label = text(b[168:208]), text(b[24:72])
		if subsystem := text(b[208:256]); subsystem != "" {
			s.Further = map[string]string{"subsystem": subsystem}
		}
	}
	return s
}

func probeSnapshotCOW(d *device) *Signature { return d.magic(0, "SnAp") }

// probeVerity reads a dm-verity superblock: version at 8, UUID 16.
func probeVerity(d *device) *Signature {
	s, b := d.magic(0, "verity\x00\x00"), d.at(0, 512)
	if s == nil || b == nil || le.Uint32(b[8:]) != 1 {
		return nil
	}
	s.Version, s.UUID = "1", uuid(b[16:])
	return s
}

// probeIntegrity reads a dm-integrity superblock, whose version stands at 8.
func probeIntegrity(d *device) *Signature {
	s, b := d.magic(0, "integrt\x00"), d.at(0, 512)
	if s == nil || b == nil || b[8] == 0 {
		return nil
	}
	s.Version = fmt.Sprint(b[8])
	return s
}
