package ondisk

import "strings"

const (
	isoStart  = 32 << 10 // the first descriptor
	isoSector = 2 << 10
	isoMost   = 16 // descriptors that are looked at

	isoBoot, isoPrimary, isoSupplementary, isoEnd = 0, 1, 2, 255
)

// descriptors are the volume descriptors of a disc that count; nil is none.
type descriptors struct{ boot, primary, joliet []byte }

// probeISO9660 reads the volume descriptors of ISO 9660: system at 8, volume 40, size 80, block size 128,
// volume set 190, publisher 318, preparer 446, application 574, instants of making and of the last change
// 813 and 830. Joliet repeats the names in UTF-16.
func probeISO9660(d *device) *Signature {
	s := d.magic(isoStart+1, "CD001")
	if s == nil {
		return nil
	}
	v := d.descriptors()
	if v.primary == nil || le.Uint16(v.primary[128:]) == 0 {
		return nil
	}
	s.BlockSize = int64(le.Uint16(v.primary[128:]))
	s.FSBlockSize = s.BlockSize
	s.Size = scaled(uint64(le.Uint32(v.primary[80:])), uint64(s.BlockSize))
	if s.UUID = isoInstant(v.primary[830:847]); s.UUID == "" {
		s.UUID = isoInstant(v.primary[813:830])
	}
	s.Label = v.name(40, 32)
	if v.joliet != nil {
		s.Version = "Joliet Extension"
	}
	s.Further = v.further()
	return s
}

func (d *device) descriptors() (v descriptors) {
	for i := range int64(isoMost) {
		b := d.at(isoStart+i*isoSector, isoSector)
		if b == nil || b[0] == isoEnd {
			break
		}
		switch {
		case b[0] == isoBoot && v.boot == nil:
			v.boot = b
		case b[0] == isoPrimary && v.primary == nil:
			v.primary = b
		case b[0] == isoSupplementary && v.joliet == nil && isJoliet(b[88:91]):
			v.joliet = b
		}
	}
	return v
}

// isJoliet tells by its escape sequences that a descriptor is in UTF-16.
func isJoliet(b []byte) bool {
	escape := string(b)
	return escape == "%/@" || escape == "%/C" || escape == "%/E"
}

// name is a field of the volume. Joliet has room for half as many letters, and the primary descriptor no
// letters but those of ASCII, in whose place it has "_": where one is the beginning of the other, the
// letters of the first and the rest of the second are the name.
func (v descriptors) name(at, size int) string {
	plain := text(v.primary[at : at+size])
	if v.joliet == nil {
		return plain
	}
	wide := []rune(utf16Text(v.joliet[at:at+size], be))
	letters := []rune(plain)
	if len(letters) <= len(wide) {
		return string(wide)
	}
	for i, r := range wide {
		if letters[i] != r && letters[i] != '_' {
			return string(wide)
		}
	}
	return strings.TrimRight(string(wide)+string(letters[len(wide):]), " ")
}

func (v descriptors) further() map[string]string {
	facts := make(map[string]string)
	for _, f := range []struct {
		name     string
		at, size int
	}{{"system_id", 8, 32}, {"volume_set_id", 190, 128}, {"publisher_id", 318, 128}, {"data_preparer_id", 446, 128}, {"application_id", 574, 128}} {
		if text := v.name(f.at, f.size); text != "" && text[0] != '_' {
			facts[f.name] = text
		}
	}
	if v.boot != nil {
		facts["boot_system_id"] = text(v.boot[7:39])
	}
	if len(facts) == 0 {
		return nil
	}
	return facts
}

// isoInstant is what serves as a disc's UUID: the digits of an instant, to hundredths of a second.
func isoInstant(b []byte) string {
	digits := string(b[:16])
	if strings.Trim(digits, "0") == "" || isZero(b[:16]) {
		return ""
	}
	var s strings.Builder
	for i, n := range [...]int{4, 2, 2, 2, 2, 2, 2} {
		if i > 0 {
			s.WriteByte('-')
		}
		s.WriteString(digits[:n])
		digits = digits[n:]
	}
	return s.String()
}
