package btrfs

import "encoding/hex"

// UUID is 16 bytes in their order on the disk. The zero UUID stands for none.
type UUID [16]byte

// String is the UUID in lower case, 8-4-4-4-12.
func (u UUID) String() string {
	var b [36]byte
	hex.Encode(b[0:8], u[0:4])
	hex.Encode(b[9:13], u[4:6])
	hex.Encode(b[14:18], u[6:8])
	hex.Encode(b[19:23], u[8:10])
	hex.Encode(b[24:36], u[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// IsZero tells whether there is no UUID.
func (u UUID) IsZero() bool { return u == UUID{} }
