package btrfs

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ScrubRecord is what is written down of the scrub of one device.
type ScrubRecord struct {
	UUID     UUID // of the filesystem
	Device   uint64
	Progress ScrubProgress // over all its resumptions
	Started  time.Time
	Resumed  time.Time // zero: it never was
	Duration time.Duration
	Canceled bool
	Finished bool
}

// maxScrubRecord bounds a line of the record, and maxScrubRecords their number: a filesystem with more
// devices is not known to exist.
const (
	maxScrubRecord  = 16 << 10
	maxScrubRecords = 4096
)

// scrubPatience bounds the wait for a scrub's own process to answer.
const scrubPatience = time.Second

// ErrScrubRecord is a record that is not what btrfs-progs writes.
var ErrScrubRecord = errors.New("not a scrub record")

// ReadScrubRecord reads what is known of the running or the last scrub of a filesystem: from the
// process that runs it, where that is btrfs-progs (a socket scrub.progress.UUID in dir, where it writes
// the present state), else from the file scrub.status.UUID in dir, which is at most five seconds old
// while a scrub runs. dir is /var/lib/btrfs on every distribution. Where there is no record the list is
// empty. Errors: ErrScrubRecord, those of opening and reading.
func ReadScrubRecord(dir string, filesystem UUID) ([]ScrubRecord, error) {
	if records, err := scrubSocket(filepath.Join(dir, "scrub.progress."+filesystem.String())); err == nil {
		return records, nil
	}
	f, err := os.Open(filepath.Join(dir, "scrub.status."+filesystem.String()))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ParseScrubRecord(f)
}

func scrubSocket(path string) ([]ScrubRecord, error) {
	conn, err := net.DialTimeout("unix", path, scrubPatience)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(scrubPatience)); err != nil {
		return nil, err
	}
	return ParseScrubRecord(conn)
}

// ParseScrubRecord reads the format of btrfs-progs (cmds/scrub.c): a line "scrub status:1", then one
// line a device:
//
//	UUID:DEVICE|data_extents_scrubbed:N|…|t_start:N|t_resumed:N|duration:N|canceled:N|finished:N
//
// The instants are seconds since 1970. Unknown names are skipped; of several lines for a device the
// last counts.
func ParseScrubRecord(r io.Reader) ([]ScrubRecord, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 2048), maxScrubRecord)
	if !lines.Scan() {
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("read scrub record: %w", err)
		}
		return nil, fmt.Errorf("%w: empty", ErrScrubRecord)
	}
	if version := lines.Text(); version != "scrub status:1" {
		return nil, fmt.Errorf("%w: begins with %.40q", ErrScrubRecord, version)
	}
	var records []ScrubRecord
	for n := 2; lines.Scan(); n++ {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		var rec ScrubRecord
		if err := rec.parse(lines.Text()); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrScrubRecord, n, err)
		}
		if records = add(records, rec); len(records) > maxScrubRecords {
			return nil, fmt.Errorf("%w: more than %d devices", ErrScrubRecord, maxScrubRecords)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read scrub record: %w", err)
	}
	return records, nil
}

func add(records []ScrubRecord, rec ScrubRecord) []ScrubRecord {
	for i := range records {
		if records[i].UUID == rec.UUID && records[i].Device == rec.Device {
			records[i] = rec
			return records
		}
	}
	return append(records, rec)
}

func (r *ScrubRecord) parse(line string) error {
	head, rest, _ := strings.Cut(line, "|")
	uuid, device, _ := strings.Cut(head, ":")
	var err error
	if r.UUID, err = ParseUUID(uuid); err != nil {
		return err
	}
	if r.Device, err = strconv.ParseUint(device, 10, 64); err != nil {
		return err
	}
	values := make(map[string]uint64, 20)
	for rest != "" {
		var pair string
		pair, rest, _ = strings.Cut(rest, "|")
		name, value, _ := strings.Cut(pair, ":")
		if values[name], err = strconv.ParseUint(value, 10, 64); err != nil {
			return fmt.Errorf("%.40q: %w", name, err)
		}
	}
	r.set(values)
	return nil
}

// set takes over the named values. A time beyond what 64 bits of nanoseconds or a year of four digits
// can hold stands for none.
func (r *ScrubRecord) set(values map[string]uint64) {
	for _, c := range r.Progress.fields() {
		*c.value = values[c.name]
	}
	r.Started, r.Resumed = instant(values["t_start"]), instant(values["t_resumed"])
	if d := values["duration"]; d <= uint64(maxDuration/time.Second) {
		r.Duration = time.Duration(d) * time.Second
	}
	r.Canceled, r.Finished = values["canceled"] != 0, values["finished"] != 0
}

const (
	maxDuration = 1<<63 - 1
	year10000   = 253402300800 // the first second of it
)

func instant(sec uint64) time.Time {
	if sec == 0 || sec >= year10000 {
		return time.Time{}
	}
	return time.Unix(int64(sec), 0).UTC()
}

// ParseUUID reads the form that UUID.String writes; upper case will do.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, fmt.Errorf("%.40q is no UUID", s)
	}
	digits := s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36]
	if _, err := hex.Decode(u[:], []byte(digits)); err != nil {
		return UUID{}, fmt.Errorf("%.40q is no UUID", s)
	}
	return u, nil
}
