package mount

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
)

// maxLine bounds one line. An overlay of 500 layers (the kernel's most) with long paths takes about
// 130 KiB; what is longer is not mountinfo.
const maxLine = 4 << 20

// LineError is a line that is not what proc_pid_mountinfo(5) describes.
type LineError struct {
	Line int    // its number, from 1
	Text string // the line, cut at 200 bytes
	Err  error  // what is wrong with it
}

// Error names the line and what is wrong with it.
// Error has the line's number, its text and what is wrong with it.
func (e *LineError) Error() string {
	return fmt.Sprintf("mountinfo line %d %q: %v", e.Line, e.Text, e.Err)
}

// Unwrap returns what is wrong with the line.
func (e *LineError) Unwrap() error { return e.Err }

// Parse reads mountinfo line by line in constant memory. The Mount is used again for the next line;
// its strings are not. The first error, of r or a *LineError, ends the sequence.
func Parse(r io.Reader) iter.Seq2[*Mount, error] {
	return func(yield func(*Mount, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(make([]byte, 0, 8<<10), maxLine)
		lines.Split(scanLine)
		var m Mount
		for n := 1; lines.Scan(); n++ {
			if err := m.parse(string(lines.Bytes())); err != nil {
				yield(nil, &LineError{Line: n, Text: cut(lines.Text(), 200), Err: err})
				return
			}
			if !yield(&m, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(nil, fmt.Errorf("read mountinfo: %w", err))
		}
	}
}

// scanLine is bufio.ScanLines without its care for carriage returns, which are ordinary bytes of a
// path, and with the demand that the last line be whole.
func scanLine(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if end := bytes.IndexByte(data, '\n'); end >= 0 {
		return end + 1, data[:end], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return 0, nil, nil
}

var (
	errFields    = errors.New("fewer than ten fields")
	errSeparator = errors.New("no \" - \" behind the optional fields")
)

// parse takes one line, without its line feed:
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//	(1)(2)(3)   (4)   (5)      (6)      (7)   (8) (9)   (10)         (11)
//
//	 (1) mount id              (7) optional fields, none or many: tag or tag:value;
//	 (2) id of the parent          those that are not known are skipped, as the page asks
//	 (3) major:minor of st_dev (8) one hyphen
//	 (4) root                  (9) type, with a subtype behind a full stop
//	 (5) mount point          (10) source; may be empty, then two spaces meet
//	 (6) options of the mount (11) options of the superblock, to the end of the line
//
// Fields are parted by single spaces. In them the kernel writes space, tab, line feed, backslash and,
// in types and sources, number sign as a backslash with three octal digits (mangle() in fs/seq_file.c).
func (m *Mount) parse(line string) error {
	*m = Mount{}
	id, rest, _ := strings.Cut(line, " ")
	parent, rest, _ := strings.Cut(rest, " ")
	device, rest, _ := strings.Cut(rest, " ")
	root, rest, _ := strings.Cut(rest, " ")
	target, rest, _ := strings.Cut(rest, " ")
	options, rest, ok := strings.Cut(rest, " ")
	if !ok {
		return errFields
	}
	if err := m.parseNumbers(id, parent, device); err != nil {
		return err
	}
	m.Root, m.Target, m.rawOptions = unescape(root), unescape(target), options
	rest, err := m.parseOptional(rest)
	if err != nil {
		return err
	}
	return m.parseFilesystem(rest)
}

func (m *Mount) parseNumbers(id, parent, device string) (err error) {
	if m.ID, err = number(id); err != nil {
		return fmt.Errorf("mount id: %w", err)
	}
	if m.Parent, err = number(parent); err != nil {
		return fmt.Errorf("parent id: %w", err)
	}
	major, minor, _ := strings.Cut(device, ":")
	if m.Major, err = number(major); err != nil {
		return fmt.Errorf("major number: %w", err)
	}
	if m.Minor, err = number(minor); err != nil {
		return fmt.Errorf("minor number: %w", err)
	}
	return nil
}

// parseOptional takes the optional fields and the hyphen behind them, and returns what follows.
func (m *Mount) parseOptional(rest string) (string, error) {
	for {
		field, after, ok := strings.Cut(rest, " ")
		if !ok {
			return "", errSeparator
		}
		rest = after
		if field == "-" {
			return rest, nil
		}
		if err := m.parseTag(field); err != nil {
			return "", err
		}
	}
}

func (m *Mount) parseTag(field string) (err error) {
	tag, value, _ := strings.Cut(field, ":")
	switch tag {
	case "shared":
		m.Shared, err = number(value)
	case "master":
		m.Master, err = number(value)
	case "propagate_from":
		m.PropagateFrom, err = number(value)
	case "unbindable":
		m.Unbindable = true
	}
	if err != nil {
		return fmt.Errorf("optional field %s: %w", tag, err)
	}
	return nil
}

func (m *Mount) parseFilesystem(rest string) error {
	fstype, rest, _ := strings.Cut(rest, " ")
	source, options, ok := strings.Cut(rest, " ")
	if !ok {
		return errFields
	}
	m.FSType, m.Source, m.rawSuperOptions = unescape(fstype), unescape(source), options
	return nil
}

// number takes a decimal that fits 32 bits and, unlike strconv, no sign.
func number(s string) (uint32, error) {
	v, err := strconv.ParseUint(s, 10, 32)
	return uint32(v), err
}

// unescape undoes the kernel's octal escapes. A backslash that three octal digits of one byte do not
// follow stands for itself: some filesystems print their options unescaped.
func unescape(s string) string {
	next := strings.IndexByte(s, '\\')
	if next < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for ; next >= 0; next = strings.IndexByte(s, '\\') {
		b = append(b, s[:next]...)
		if v, err := strconv.ParseUint(octal(s[next+1:]), 8, 8); err == nil {
			b, s = append(b, byte(v)), s[next+4:]
		} else {
			b, s = append(b, '\\'), s[next+1:]
		}
	}
	return string(append(b, s...))
}

// octal is the first three bytes of s where they are octal digits, else nothing.
func octal(s string) string {
	if len(s) < 3 || strings.Trim(s[:3], "01234567") != "" {
		return ""
	}
	return s[:3]
}

func cut(s string, n int) string { return s[:min(len(s), n)] }
