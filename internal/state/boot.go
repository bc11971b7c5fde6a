package state

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Boot identifies one run of a kernel, of the container in it, and of the namespaces in which the daemon's
// objects live. What was given to the kernel under one identity is gone under another. Its zero value is
// unknown, and the same as nothing.
type Boot struct {
	ID        string `json:"boot_id"`         // /proc/sys/kernel/random/boot_id (random(4))
	InitStart uint64 `json:"init_start"`      // start of process 1 in clock ticks after the boot: field 22 of /proc/1/stat (proc_pid_stat(5))
	MountNS   string `json:"mount_namespace"` // as in mnt:[4026531841] (namespaces(7))
	NetNS     string `json:"net_namespace"`   // as in net:[4026531840]
}

// ReadBoot reads the identity under a /proc. The namespaces are those of the calling process.
func ReadBoot(proc string) (Boot, error) {
	id, err := os.ReadFile(filepath.Join(proc, "sys/kernel/random/boot_id"))
	if err != nil {
		return Boot{}, fmt.Errorf("boot identity: %w", err)
	}
	b := Boot{ID: strings.TrimSpace(string(id))}
	stat, err := os.ReadFile(filepath.Join(proc, "1/stat"))
	if err != nil {
		return Boot{}, fmt.Errorf("boot identity: %w", err)
	}
	if b.InitStart, err = startTime(string(stat)); err != nil {
		return Boot{}, fmt.Errorf("boot identity: %w", err)
	}
	if b.MountNS, err = os.Readlink(filepath.Join(proc, "self/ns/mnt")); err != nil {
		return Boot{}, fmt.Errorf("boot identity: %w", err)
	}
	if b.NetNS, err = os.Readlink(filepath.Join(proc, "self/ns/net")); err != nil {
		return Boot{}, fmt.Errorf("boot identity: %w", err)
	}
	return b, nil
}

// startTime is field 22 of a process's stat line. The second field, a name in parentheses, may hold
// blanks and parentheses itself: the fields are counted from its end.
func startTime(stat string) (uint64, error) {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, errors.New("no process name in 1/stat")
	}
	fields := strings.Fields(stat[end+1:])
	if len(fields) < 20 {
		return 0, errors.New("1/stat is too short")
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// Mark is a short name of the identity, for entries that are to say in which boot something was so; empty where
// it is unknown.
func (b Boot) Mark() string {
	if !b.known() {
		return ""
	}
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%q %d %q %q", b.ID, b.InitStart, b.MountNS, b.NetNS)))[:16]
}

// known tells whether the identity says anything.
func (b Boot) known() bool { return b.ID != "" }
