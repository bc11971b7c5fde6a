package blk

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// udev reads the records that udev keeps of devices, /run/udev/data/bMAJOR:MINOR. A nil udev has none.
type udev struct {
	fd      int
	buffers sync.Pool
}

func openUdev(root string) *udev {
	d, err := openDir(unix.AT_FDCWD, root+"/run/udev/data", nil)
	if err != nil {
		return nil
	}
	u := &udev{fd: d.fd}
	u.buffers.New = func() any { return new([recordSize]byte) }
	return u
}

func (u *udev) close() {
	if u != nil {
		unix.Close(u.fd)
	}
}

// record is what udev found out about one device, its lines E:KEY=value.
type record map[string]string

// recordSize bounds a record; those of disks have about 3 KiB, most of it links.
const recordSize = 64 << 10

func (u *udev) record(n Number) record {
	if u == nil {
		return nil
	}
	fd, err := unix.Openat(u.fd, fmt.Sprintf("b%d:%d", n.Major, n.Minor), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	text := u.buffers.Get().(*[recordSize]byte)
	defer u.buffers.Put(text)
	size, err := retry(func() (int, error) { return unix.Read(fd, text[:]) })
	if err != nil {
		return nil
	}
	return parseRecord(text[:size])
}

func parseRecord(text []byte) record {
	r := make(record)
	for line := range bytes.Lines(text) {
		property, ok := bytes.CutPrefix(line, []byte("E:"))
		if !ok {
			continue
		}
		key, value, ok := strings.Cut(strings.TrimSuffix(string(property), "\n"), "=")
		if ok {
			r[key] = value
		}
	}
	return r
}

// first is the first of the properties that has a value.
func (r record) first(keys ...string) string {
	for _, key := range keys {
		if v := r[key]; v != "" {
			return v
		}
	}
	return ""
}

// model is the whole model. The _ENC form keeps what the plain one replaces by underscores.
func (r record) model() string {
	if encoded := r["ID_MODEL_ENC"]; encoded != "" {
		return strings.Join(strings.Fields(decodeHex(encoded)), " ")
	}
	return r["ID_MODEL"]
}

// serial prefers the number on the disk's label to the one that an adapter makes up.
func (r record) serial() string {
	return r.first("ID_SCSI_SERIAL", "SCSI_IDENT_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL")
}

func (r record) wwn() string { return r.first("ID_WWN_WITH_EXTENSION", "ID_WWN") }

// decodeHex undoes udev's \x20 for bytes that it does not want to see in a name.
func decodeHex(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, `\x`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if v, err := strconv.ParseUint(after[:min(2, len(after))], 16, 8); err == nil && len(after) >= 2 {
			b.WriteByte(byte(v))
			s = after[2:]
		} else {
			b.WriteString(`\x`)
			s = after
		}
	}
}
