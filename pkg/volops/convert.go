package volops

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/pkg/registry"
)

// maxInteger is the largest integer of the table, 2^53-1.
const maxInteger = 1<<53 - 1

// opt is a fact as the table has it: absent where nobody knows.
func opt[T any](f blk.Fact[T]) registry.Opt[T] {
	if !f.Known {
		return registry.Opt[T]{}
	}
	return registry.Some(f.Value)
}

// integer is a number that the kernel keeps in 64 bits; what the table cannot hold is clipped.
func integer(f blk.Fact[int64]) registry.Opt[int64] {
	f.Value = min(f.Value, maxInteger)
	return opt(f)
}

// clip is v, or the largest integer of the table.
func clip(v uint64) int64 { return int64(min(v, maxInteger)) }

// orEmpty is a list that is written even where there is nothing in it.
func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// hexNumber writes a number that is a name, without leading zeros.
func hexNumber(v uint64) string { return strconv.FormatUint(v, 16) }

// errnoName is the name of an error number: EIO.
func errnoName(errno unix.Errno) string {
	if name := unix.ErrnoName(errno); name != "" {
		return name
	}
	return fmt.Sprintf("errno_%d", int(errno))
}
