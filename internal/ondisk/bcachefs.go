package ondisk

import (
	"fmt"
	"hash/crc32"
)

const (
	bcacheOffset   = 4096
	bcacheMagic    = bcacheOffset + 24
	bcachefsFields = 752 // where the fields of variable length begin
	bcachefsMost   = 512 << 16

	bcacheMark   = "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"
	bcachefsMark = "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"
)

// probeBcache reads a superblock of bcache: its own place in sectors at 8, version 16, UUID 40, label 72.
func probeBcache(d *device) *Signature {
	s, b := d.magic(bcacheMagic, bcacheMark), d.at(bcacheOffset, 208)
	if s == nil || b == nil || le.Uint64(b[8:]) != bcacheOffset/512 {
		return nil
	}
	s.Version, s.UUID, s.Label = fmt.Sprint(le.Uint64(b[16:])), uuid(b[40:]), text(b[72:104])
	return s
}

// probeBcachefs reads a superblock of bcachefs: checksum at 0, version 16, UUID 56, label 72, its own
// place 104, block size 120, number of this device 122 and of all 123, length of the fields 124, flags
// 144, largest size 257; the fields from 752.
func probeBcachefs(d *device) *Signature {
	s, b := d.magic(bcacheMagic, bcachefsMark), d.at(bcacheOffset, bcachefsFields)
	if s == nil || b == nil || le.Uint64(b[104:]) != bcacheOffset/512 || b[123] == 0 || b[122] >= b[123] {
		return nil
	}
	length := bcachefsFields + 8*int64(le.Uint32(b[124:]))
	if length > bcachefsMost {
		return nil
	}
	whole := d.at(bcacheOffset, length)
	if whole == nil || !checkBcachefs(whole) {
		return nil
	}
	version := le.Uint16(b[16:])
	s.Version = fmt.Sprintf("%d.%d", version>>10, version&0x3ff)
	s.UUID, s.Label, s.Devices = uuid(b[56:]), text(b[72:104]), int64(b[123])
	s.BlockSize = int64(le.Uint16(b[120:])) * 512
	s.FSBlockSize = s.BlockSize
	bcachefsMembers(whole[bcachefsFields:], int(b[122]), int(b[123]), s)
	return s
}

// checkBcachefs verifies a checksum of the usual kind, crc32c; of the others the mark has to do.
func checkBcachefs(b []byte) bool {
	const kindCRC32C = 1
	if le.Uint64(b[144:])>>2&0x3f != kindCRC32C {
		return true
	}
	return crc32.Checksum(b[16:], castagnoli) == le.Uint32(b)
}

// bcachefsMembers looks for the field of the members, in either version: an element each, with a UUID
// and at 16 and 26 the number and size of the buckets.
func bcachefsMembers(fields []byte, own, number int, s *Signature) {
	for len(fields) >= 8 {
		length, kind := 8*int64(le.Uint32(fields)), le.Uint32(fields[4:])
		if length < 8 || length > int64(len(fields)) || kind == 0 {
			return
		}
		field := fields[:length]
		fields = fields[length:]
		const membersV1, membersV2 = 1, 11
		switch {
		case kind == membersV1:
			bcachefsSizes(field[8:], 56, own, number, s)
		case kind == membersV2 && length >= 16:
			bcachefsSizes(field[16:], int(le.Uint16(field[8:])), own, number, s)
		}
	}
}

func bcachefsSizes(members []byte, size, own, number int, s *Signature) {
	if size < 28 || len(members) < size*number {
		return
	}
	s.UUIDSub = uuid(members[size*own:])
	var sectors uint64
	for i := range number {
		m := members[size*i:]
		sectors += uint64(scaled(le.Uint64(m[16:]), uint64(le.Uint16(m[26:]))))
	}
	s.Size = scaled(sectors, 512)
}
