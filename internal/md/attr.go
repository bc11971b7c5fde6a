package md

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// sector is the unit in which the kernel counts sizes, whatever the devices' own sectors are.
const sector = 512

// folder is one of sysfs.
type folder struct{ path string }

func (d folder) sub(name string) folder { return folder{filepath.Join(d.path, name)} }

// read returns an attribute as it stands; false where it is not there, or has no value for this array.
func (d folder) read(name string) (string, bool) {
	b, err := os.ReadFile(filepath.Join(d.path, name))
	return string(b), err == nil
}

func (d folder) text(name string) string {
	s, _ := d.read(name)
	return strings.TrimSpace(s)
}

// number is the first number of an attribute: behind it there may be a former value, or that it is
// the system's.
func (d folder) number(name string) Fact[int64] {
	first, _, _ := strings.Cut(d.text(name), " ")
	return number(first)
}

// scaled is a number in units of several bytes.
func (d folder) scaled(name string, unit int64) Fact[int64] { return times(d.number(name), unit) }

// deviceNumber reads an attribute of the form major:minor.
func (d folder) deviceNumber(name string) (major, minor uint32, ok bool) {
	left, right, _ := strings.Cut(d.text(name), ":")
	a, err1 := strconv.ParseUint(left, 10, 32)
	b, err2 := strconv.ParseUint(right, 10, 32)
	return uint32(a), uint32(b), err1 == nil && err2 == nil
}

// number is unknown where s is none, or is negative, or more than 63 bits hold.
func number(s string) Fact[int64] {
	v, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || v < 0 {
		return Fact[int64]{}
	}
	return known(v)
}

// times is a number in bytes that f counts in units of several.
func times(f Fact[int64], unit int64) Fact[int64] {
	f.Value = min(f.Value, math.MaxInt64/unit) * unit
	return f
}

// swapWords turns a UUID that the kernel shows as four words of the machine lie in its memory into what
// the words are: of version 0.90 it keeps it so. What is no UUID is none.
func swapWords(uuid string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(uuid, "-", ""))
	if err != nil || len(b) != 16 {
		return ""
	}
	for i := 0; i < 16; i += 4 {
		binary.BigEndian.PutUint32(b[i:], binary.NativeEndian.Uint32(b[i:]))
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// kernelName undoes what sysfs does to the slash in names such as cciss/c0d0.
func kernelName(file string) string { return strings.ReplaceAll(file, "!", "/") }

func fileName(kernel string) string { return strings.ReplaceAll(kernel, "/", "!") }
