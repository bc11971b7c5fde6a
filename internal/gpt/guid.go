package gpt

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
)

// GUID is a GUID as it stands on the disk: its first three groups are little-endian.
type GUID [16]byte

// ParseGUID reads the usual form, 8-4-4-4-12 hexadecimal digits.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return g, fmt.Errorf("GUID %q: not of the form 8-4-4-4-12", s)
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 {
		return g, fmt.Errorf("GUID %q: not hexadecimal", s)
	}
	copy(g[:], b)
	return g.swapped(), nil
}

// RandomGUID makes one of version 4 (RFC 9562).
func RandomGUID() GUID {
	var g GUID
	rand.Read(g[:]) // never fails
	g[6], g[8] = g[6]&0x0f|0x40, g[8]&0x3f|0x80
	return g.swapped()
}

// String is the usual form in lower case.
func (g GUID) String() string {
	s := g.swapped()
	return fmt.Sprintf("%x-%x-%x-%x-%x", s[0:4], s[4:6], s[6:8], s[8:10], s[10:16])
}

// swapped turns the first three groups round.
func (g GUID) swapped() GUID {
	g[0], g[1], g[2], g[3] = g[3], g[2], g[1], g[0]
	g[4], g[5] = g[5], g[4]
	g[6], g[7] = g[7], g[6]
	return g
}
