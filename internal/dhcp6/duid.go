package dhcp6

import (
	"encoding/binary"
	"hash/fnv"
)

// typeUUID is the type of a DUID that is a UUID (RFC 6355).
const typeUUID = 4

// NewDUID makes a DUID out of 16 random bytes: a UUID of version 4, which says nothing of the host.
func NewDUID(random [16]byte) []byte {
	random[6] = random[6]&0x0f | 0x40
	random[8] = random[8]&0x3f | 0x80
	return append(binary.BigEndian.AppendUint16(nil, typeUUID), random[:]...)
}

// IAID is the identifier of the associations of an interface: always the same for a name, also where the
// interface's index or hardware address is another (RFC 8415 section 12).
func IAID(name string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return h.Sum32()
}
