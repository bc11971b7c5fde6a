package acl

import (
	"crypto"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseKey(t *testing.T) {
	tests := []struct {
		name string
		key  string
		want error
	}{
		{"RFC 8032, test 1", keyOne, nil},
		{"RFC 8032, test 2", keyTwo, nil},
		{"RFC 8032, test 3", keyThree, nil},
		{"RFC 8032, test 1024", "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e", nil},
		{"base point", "58" + strings.Repeat("66", 31), nil},
		{"empty", "", ErrKeySyntax},
		{"31 bytes", keyOne[2:], ErrKeySyntax},
		{"33 bytes", keyOne + "00", ErrKeySyntax},
		{"capitals", strings.ToUpper(keyOne), ErrKeySyntax},
		{"no hex", keyOne[:63] + "-", ErrKeySyntax},
		{"y = 2", "02" + strings.Repeat("00", 31), ErrKeyOffCurve},
		{"y = 2, x odd", "02" + strings.Repeat("00", 30) + "80", ErrKeyOffCurve},
		{"y = 3", "03" + strings.Repeat("00", 31), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			key, err := ParseKey(test.key)
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if err == nil && hex.EncodeToString(key) != test.key {
				t.Errorf("got %x", key)
			}
		})
	}
}

// The eight points of small order in all their encodings, canonical and not: the table of "Taming the many
// EdDSAs" (Chalkias, Garillot, Nikolaenko; SSR 2020), section 5.1.
func TestParseKeySmallOrder(t *testing.T) {
	canonical := []string{
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"0000000000000000000000000000000000000000000000000000000000000080",
		"0000000000000000000000000000000000000000000000000000000000000000",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		// x = 0 with its sign set is no canonical encoding either, and of small order whatever is said of it.
		"0100000000000000000000000000000000000000000000000000000000000080",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	}
	for _, key := range canonical {
		if _, err := ParseKey(key); !errors.Is(err, ErrKeySmallOrder) {
			t.Errorf("%s: got %v", key, err)
		}
	}
	for _, key := range []string{
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	} {
		if _, err := ParseKey(key); !errors.Is(err, ErrKeyCanonical) {
			t.Errorf("%s: got %v", key, err)
		}
	}
}

// Every key that crypto/ed25519 makes is one.
func TestParseKeyTakesGenerated(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.SliceOfN(rapid.Byte(), ed25519.SeedSize, ed25519.SeedSize).Draw(t, "seed")
		public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
		key, err := ParseKey(hex.EncodeToString(public))
		if err != nil || !key.Equal(public) {
			t.Fatalf("%x: %v", public, err)
		}
	})
}

// crypto/ed25519 and ParseKey agree on which encodings decode, but for those of ParseKey's own rules.
func TestParseKeyAgainstStandardLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		encoded := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key")
		_, err := ParseKey(hex.EncodeToString(encoded))
		if got, want := !errors.Is(err, ErrKeyOffCurve), decodesInStandardLibrary(encoded); got != want && !errors.Is(err, ErrKeyCanonical) {
			t.Fatalf("%x: %v, but the standard library says %v", encoded, err, want)
		}
	})
}

// decodesInStandardLibrary tells a key that crypto/ed25519 cannot decode from a signature that does not
// verify by the error's text: the package has no other way to ask.
func decodesInStandardLibrary(key []byte) bool {
	err := ed25519.VerifyWithOptions(key, nil, make([]byte, ed25519.SignatureSize), &ed25519.Options{Hash: crypto.Hash(0)})
	return err == nil || !strings.Contains(err.Error(), "bad public key")
}

// A y is accepted exactly where the curve equation has an x.
func TestOnCurveSolvesTheEquation(t *testing.T) {
	one := big.NewInt(1)
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "y")
		slices.Reverse(b)
		y := new(big.Int).Mod(new(big.Int).SetBytes(b), fieldPrime)
		y2 := new(big.Int).Mul(y, y)
		numerator := new(big.Int).Sub(y2, one)
		denominator := new(big.Int).Add(new(big.Int).Mul(curveD, y2), one)
		x2 := numerator.Mul(numerator, denominator.ModInverse(denominator.Mod(denominator, fieldPrime), fieldPrime))
		x := new(big.Int).ModSqrt(x2.Mod(x2, fieldPrime), fieldPrime)
		if onCurve(y) != (x != nil) {
			t.Fatalf("y = %x: onCurve is %v, x is %x", y, onCurve(y), x)
		}
	})
}

func BenchmarkParseKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseKey(keyOne); err != nil {
			b.Fatal(err)
		}
	}
}
