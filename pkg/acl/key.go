package acl

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
)

// What ParseKey can find wrong with a key.
var (
	ErrKeySyntax     = errors.New("not 64 lower-case hex digits")
	ErrKeyCanonical  = errors.New("not the canonical encoding of a point")
	ErrKeySmallOrder = errors.New("a point of small order")
	ErrKeyOffCurve   = errors.New("not a point on the curve")
)

// ParseKey decodes an ed25519 public key from 64 lower-case hex digits. It refuses what crypto/ed25519
// lets pass or finds only when it verifies: an encoding that is not the canonical one, so that one key has
// one name; points of small order, for which anyone can make signatures that verify; and points that are
// not on the curve. The errors are ErrKeySyntax, ErrKeyCanonical, ErrKeySmallOrder and ErrKeyOffCurve.
func ParseKey(s string) (ed25519.PublicKey, error) {
	key, err := hex.DecodeString(s)
	if err != nil || len(key) != ed25519.PublicKeySize || !isLowerHex(s) {
		return nil, ErrKeySyntax
	}
	y := yCoordinate(key)
	switch {
	case y.Cmp(fieldPrime) >= 0:
		return nil, ErrKeyCanonical
	case slices.ContainsFunc(smallOrderY, func(small *big.Int) bool { return small.Cmp(y) == 0 }):
		return nil, ErrKeySmallOrder
	case !onCurve(y):
		return nil, ErrKeyOffCurve
	}
	return key, nil
}

// yCoordinate reads the encoding of RFC 8032, section 5.1.2: y in 255 bits, little-endian, with the lowest
// bit of x above it.
func yCoordinate(key []byte) *big.Int {
	b := slices.Clone(key)
	b[len(b)-1] &= 0x7f
	slices.Reverse(b)
	return new(big.Int).SetBytes(b)
}

// onCurve reports whether -x² + y² = 1 + dx²y² has a solution for x, that is, whether
// x² = (y²-1)/(dy²+1) is a square modulo p. A quotient u/v is a square exactly where u·v is, and v is
// never zero because -1/d is not a square.
func onCurve(y *big.Int) bool {
	y2 := new(big.Int).Mul(y, y)
	u := new(big.Int).Sub(y2, big.NewInt(1))
	v := new(big.Int).Mul(y2, curveD)
	v.Add(v, big.NewInt(1))
	return big.Jacobi(u.Mul(u, v).Mod(u, fieldPrime), fieldPrime) >= 0
}

// The field and the curve of RFC 8032, section 5.1, and the y coordinates of the eight points of small
// order: 1 (order 1), p-1 (order 2), 0 (order 4) and the two of order 8. The sign of x does not matter.
var (
	fieldPrime  = bigHex("7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed")
	curveD      = bigHex("52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3")
	smallOrderY = []*big.Int{
		big.NewInt(0),
		big.NewInt(1),
		new(big.Int).Sub(fieldPrime, big.NewInt(1)),
		bigHex("05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826"),
		bigHex("7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7"),
	}
)

// bigHex reads a constant of this file.
func bigHex(s string) *big.Int {
	n, ok := new(big.Int).SetString(s, 16)
	if !ok {
		panic("acl: malformed constant " + s)
	}
	return n
}

// isLowerHex reports whether s has no other characters than 0-9 and a-f.
func isLowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
