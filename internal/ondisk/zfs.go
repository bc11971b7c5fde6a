package ondisk

import (
	"io"
	"strconv"
)

const (
	zfsLabel  = 256 << 10 // a label; two stand at the start of a device and two at its end
	zfsPairs  = 16 << 10  // where in it the names and values begin
	zfsLength = 112 << 10

	zfsRing  = 128 << 10  // where in it the uberblocks begin, which take the rest
	zfsSlot  = 1 << 10    // the least that one takes
	zfsMagic = 0x00bab10c // of an uberblock, in 64 bits

	zfsUint64, zfsString, zfsList = 8, 9, 19 // DATA_TYPE_* of what is looked at
)

// Uberblocks lists where on a device of size bytes uberblocks of a ZFS pool stand, each by its magic number of 8 bytes. The list of
// names and values makes a device a member; other programs (blkid(8)) know it by these alone. The errors are those of r.
func Uberblocks(r io.ReaderAt, size int64) (places []int64, err error) {
	ring := make([]byte, zfsLabel-zfsRing)
	for _, label := range zfsLabels(size) {
		at := label + zfsRing
		if label < 0 || at+int64(len(ring)) > size {
			continue
		}
		if _, err := r.ReadAt(ring, at); err != nil {
			return nil, err
		}
		for slot := 0; slot < len(ring); slot += zfsSlot {
			if b := ring[slot:]; le.Uint64(b) == zfsMagic || be.Uint64(b) == zfsMagic {
				places = append(places, at+int64(slot))
			}
		}
	}
	return places, nil
}

// zfsLabels is where the labels begin.
func zfsLabels(size int64) [4]int64 {
	end := size - size%zfsLabel - 2*zfsLabel
	return [...]int64{0, zfsLabel, end, end + zfsLabel}
}

// probeZFS reads the name-value list of a ZFS label, in XDR: the pool's name and number, and the
// device's own.
func probeZFS(d *device) *Signature {
	for _, label := range zfsLabels(d.size) {
		head := d.at(label+zfsPairs, 16)
		// The encoding is XDR, the byte order one of two, and the first pair has a size.
		if head == nil || head[0] != 1 || head[1] > 1 || be.Uint32(head[12:]) == 0 {
			continue
		}
		s := &Signature{MagicOffset: label + zfsPairs, Magic: clone(head)}
		if zfsPairsOf(d.at(label+zfsPairs+12, zfsLength-12), s) {
			return s
		}
	}
	return nil
}

// zfsPairsOf walks the pairs: each has a size, a decoded size, the length of its name, the name padded
// to four bytes, a type, a number of elements, the value. It reports whether that is what a label has.
func zfsPairsOf(b []byte, s *Signature) bool {
	depth, known := 0, false
	for len(b) >= 12 {
		size := int64(be.Uint32(b))
		if size == 0 { // the end of a list
			if depth == 0 {
				return known
			}
			depth--
			b = b[8:]
			continue
		}
		name, typ, value, ok := zfsPair(b, size)
		if !ok {
			return false
		}
		if typ == zfsList {
			// The list's own pairs follow its version and flags.
			depth++
			b = b[len(b)-len(value)+8:]
			continue
		}
		if depth == 0 {
			known = s.takeZFS(name, typ, value) || known
		} else if name == "ashift" && typ == zfsUint64 && len(value) >= 8 && be.Uint64(value) < 32 {
			s.BlockSize = 1 << be.Uint64(value)
			s.FSBlockSize = s.BlockSize
		}
		b = b[size:]
	}
	return false
}

// zfsPair cuts one pair; value reaches beyond it, to the end of b, for a list.
func zfsPair(b []byte, size int64) (name string, typ uint32, value []byte, ok bool) {
	length := int64(be.Uint32(b[8:]))
	head := 12 + (length+3)&^3 + 8
	if length > size || head > size || size > int64(len(b)) {
		return "", 0, nil, false
	}
	typ = be.Uint32(b[head-8:])
	value = b[head:size]
	if typ == zfsList {
		value = b[head:]
		if len(value) < 8 {
			return "", 0, nil, false
		}
	}
	return string(b[12 : 12+length]), typ, value, true
}

// takeZFS takes one fact of the pool over; true for the one without which a label is none.
func (s *Signature) takeZFS(name string, typ uint32, value []byte) bool {
	switch {
	case typ == zfsUint64 && len(value) >= 8:
		number := strconv.FormatUint(be.Uint64(value), 10)
		switch name {
		case "pool_guid":
			s.UUID = number
		case "guid":
			s.UUIDSub = number
			return true
		case "version":
			s.Version = number
		}
	case typ == zfsString && name == "name" && len(value) >= 4:
		if n := int64(be.Uint32(value)); n <= int64(len(value))-4 {
			s.Label = text(value[4 : 4+n])
		}
	}
	return false
}
