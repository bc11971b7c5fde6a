package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"unicode/utf8"
)

// A line of the journal is one JSON object whose first member is the checksum of all that follows it:
//
//	{"crc":"9a3b11c0","seq":17,"type":"done","intent":16}
//
// The checksum is CRC-32C (RFC 3720, section 12.1) over the bytes between its comma and the newline, eight
// lower-case hexadecimal digits. seq rises from line to line and across files.
const (
	crcHead  = `{"crc":"`
	crcTail  = `",`
	lineHead = len(crcHead) + 8 + len(crcTail)
)

// The types of a record.
const (
	typeJournal = "journal" // the first of a file: version, boot, and the writes that have begun and not ended
	typeBoot    = "boot"    // what a part of the daemon has registered was restored in this boot
	typeIntent  = "intent"
	typeDone    = "done"
	typeUndone  = "undone"
	typeSet     = "set"
	typeForget  = "forget" // an interrupted write is no longer listed
)

// Bounds of what a record may hold.
const (
	maxKey   = 512 // bytes
	maxCause = 512 // bytes
)

// record is a line of the journal. Which members are there depends on Type.
type record struct {
	Seq     uint64   `json:"-"` // stands in every line; it is written apart, being known last
	Type    string   `json:"type"`
	Intent  uint64   `json:"intent,omitempty"`  // done, undone, forget: of which write
	Body    *Intent  `json:"write,omitempty"`   // intent
	Changes []Change `json:"changes,omitempty"` // set; done where they are not the intent's; journal
	Cause   string   `json:"cause,omitempty"`   // undone
	Header  *header  `json:"journal,omitempty"` // journal
	Boot    *Boot    `json:"boot,omitempty"`    // boot
	Part    string   `json:"part,omitempty"`    // boot: of the daemon
}

// header is what a journal needs to be read without those before it.
type header struct {
	Version int             `json:"version"`
	Boots   map[string]Boot `json:"boots,omitempty"` // by part of the daemon
	Open    []openIntent    `json:"open,omitempty"`
}

// openIntent is a write that had begun and not ended when a journal was started.
type openIntent struct {
	ID    uint64 `json:"id"`
	Write Intent `json:"write"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// body encodes a record but for its number and checksum.
func (r *record) body() ([]byte, error) {
	for _, list := range [][]Change{r.Changes, r.intentChanges()} {
		for _, c := range list {
			if err := c.check(); err != nil {
				return nil, err
			}
		}
	}
	return json.Marshal(r)
}

func (r *record) intentChanges() []Change {
	if r.Body == nil {
		return nil
	}
	return r.Body.Changes
}

// check refuses what would not come back from the journal as it went in.
func (c *Change) check() error {
	switch {
	case !registryName(c.Registry):
		return fmt.Errorf("registry %q: a name is 1 to 32 lower-case letters, underscores and digits, a letter first", c.Registry)
	case c.Key == "" || len(c.Key) > maxKey || !utf8.ValidString(c.Key):
		return fmt.Errorf("registry %s: key %.64q: 1 to %d bytes of UTF-8", c.Registry, c.Key, maxKey)
	case c.Value != nil && !json.Valid(c.Value):
		return fmt.Errorf("registry %s: %s: the value is no JSON", c.Registry, c.Key)
	case string(c.Value) == "null":
		return fmt.Errorf("registry %s: %s: the value is null", c.Registry, c.Key)
	}
	return nil
}

// registryName tells whether a text may name a registry, and with it a file.
func registryName(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for i, c := range []byte(s) {
		if (c < 'a' || c > 'z') && c != '_' && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// appendLine appends the line of a record whose body is at hand.
func appendLine(b []byte, seq uint64, body []byte) []byte {
	start := len(b)
	b = append(b, crcHead+"00000000"+crcTail+`"seq":`...)
	b = strconv.AppendUint(b, seq, 10)
	b = append(b, ',')
	b = append(b, body[1:]...)
	sum := crc32.Checksum(b[start+lineHead:], castagnoli)
	copy(b[start+len(crcHead):], fmt.Sprintf("%08x", sum))
	return append(b, '\n')
}

// errBadLine is a line that no journal of ours wrote, or that was changed since.
var errBadLine = errors.New("the checksum does not fit")

// parseLine decodes a line, without its newline.
func parseLine(line []byte) (*record, error) {
	if len(line) < lineHead || string(line[:len(crcHead)]) != crcHead || string(line[lineHead-len(crcTail):lineHead]) != crcTail {
		return nil, errBadLine
	}
	sum := fmt.Sprintf("%08x", crc32.Checksum(line[lineHead:], castagnoli))
	if sum != string(line[len(crcHead):len(crcHead)+8]) {
		return nil, errBadLine
	}
	var r struct {
		Number uint64 `json:"seq"`
		record
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, err
	}
	r.Seq = r.Number
	return &r.record, r.record.check()
}

// check refuses a record that lacks what its type needs. The checksum has proven that we wrote it; a
// writer of a later version may have meant something else by it.
func (r *record) check() error {
	ok := false
	switch r.Type {
	case typeJournal:
		ok = r.Header != nil
	case typeBoot:
		ok = r.Boot != nil && r.Part != ""
	case typeIntent:
		ok = r.Body != nil
	case typeDone, typeUndone, typeForget:
		ok = r.Intent != 0
	case typeSet:
		ok = len(r.Changes) > 0
	default:
		return fmt.Errorf("record %d is of the unknown type %.32q", r.Seq, r.Type)
	}
	if !ok {
		return fmt.Errorf("record %d (%s) is incomplete", r.Seq, r.Type)
	}
	for _, list := range [][]Change{r.Changes, r.intentChanges()} {
		for _, c := range list {
			if err := c.check(); err != nil {
				return fmt.Errorf("record %d: %w", r.Seq, err)
			}
		}
	}
	return nil
}

// scan is what a journal file holds.
type scan struct {
	records []*record
	good    int64 // bytes up to the end of the last line that is in order
	bad     error // why the file cannot be gone on with: a line that is not in order, or errNewer
}

// scanJournal decodes a journal file. Lines stand each for itself: one that is damaged takes no other with
// it. What is after the last good line and has no newline is what a crash left of a batch.
func scanJournal(b []byte) scan {
	var s scan
	var damage error // since the last good line
	for line, offset := 1, 0; offset < len(b); line++ {
		end := bytes.IndexByte(b[offset:], '\n')
		if end < 0 {
			break
		}
		r, err := parseLine(b[offset : offset+end])
		offset += end + 1
		switch {
		case err != nil && damage == nil:
			damage = fmt.Errorf("line %d: %w", line, err)
		case err == nil && r.Type == typeJournal && r.Header.Version > Version:
			return scan{bad: fmt.Errorf("version %d: %w", r.Header.Version, errNewer)}
		case err == nil:
			s.records, s.good = append(s.records, r), int64(offset)
			if s.bad == nil {
				s.bad = damage
			}
			damage = nil
		}
	}
	if s.bad == nil {
		s.bad = damage
	}
	return s
}

// cut shortens s to at most n bytes, at the border of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
