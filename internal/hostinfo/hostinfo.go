// Package hostinfo says which machine, kernel and boot a process runs on, and what it may do there.
// Whatever the host does not tell is empty: nothing here fails for want of /proc or /etc.
package hostinfo

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Uname is what uname(2) says.
type Uname struct {
	NodeName string // host name, of the process' UTS namespace
	Release  string // 6.1.0-27-amd64
	Version  string // #1 SMP PREEMPT_DYNAMIC …
	Machine  string // x86_64
}

// ReadUname calls uname(2), which cannot fail.
func ReadUname() Uname {
	var u unix.Utsname
	_ = unix.Uname(&u)
	return Uname{
		NodeName: unix.ByteSliceToString(u.Nodename[:]),
		Release:  unix.ByteSliceToString(u.Release[:]),
		Version:  unix.ByteSliceToString(u.Version[:]),
		Machine:  unix.ByteSliceToString(u.Machine[:]),
	}
}

// Uptime is the time since the host booted, suspended time included (CLOCK_BOOTTIME). Inside a time
// namespace it is that namespace's.
func Uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// BootID is the random id of this boot (/proc/sys/kernel/random/boot_id), a lower-case UUID. root is
// what stands before /proc, "" for the host's own.
func BootID(root string) string {
	b, err := os.ReadFile(filepath.Join("/", root, "proc/sys/kernel/random/boot_id"))
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(b))
}

// OSName is PRETTY_NAME of os-release(5): the first of /etc/os-release and /usr/lib/os-release that is
// there.
func OSName(root string) string {
	for _, path := range []string{"etc/os-release", "usr/lib/os-release"} {
		if b, err := os.ReadFile(filepath.Join("/", root, path)); err == nil {
			return prettyName(string(b))
		}
	}
	return ""
}

// prettyName finds PRETTY_NAME among shell assignments, one a line; the last one counts. The value may
// stand in single or double quotes, in which a backslash takes the meaning from the next character.
func prettyName(text string) string {
	name := ""
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			name = unquote(value)
		}
	}
	return name
}

func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		s = s[1 : len(s)-1]
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

// Capabilities is a set of capabilities(7), bit N for capability N.
type Capabilities uint64

// EffectiveCapabilities is what the calling thread may do (capget(2)).
func EffectiveCapabilities() Capabilities {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0
	}
	return Capabilities(data[1].Effective)<<32 | Capabilities(data[0].Effective)
}

// Has tells whether a capability, one of unix.CAP_*, is in the set.
func (c Capabilities) Has(capability int) bool { return c&(1<<capability) != 0 }
