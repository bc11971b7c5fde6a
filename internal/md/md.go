// Package md reads what the kernel tells of its MD arrays (software RAID): each array's folder in sysfs
// with every attribute decoded (Documentation/admin-guide/md.rst), and /proc/mdstat for the little that
// sysfs does not have.
//
// Everything comes from the kernel's own files, which never wait for a device. What the superblocks on
// the members say is not read here, and needs no array; nothing is written, no array is opened.
package md

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrNotArray is the answer about a block device that is no MD array, or is none any more.
var ErrNotArray = errors.New("not an MD array")

// Fact is something that the kernel may not tell.
type Fact[T any] struct {
	Value T
	Known bool
}

func known[T any](v T) Fact[T] { return Fact[T]{v, true} }

// Array is one array. Sizes are in bytes; empty text stands for what the kernel does not tell: of an
// inactive array it knows little more than the members.
type Array struct {
	Name         string // kernel name: md127
	Major, Minor uint32

	Level     string // raid1, …; empty until it is known
	State     string // array_state
	Size      int64
	Component int64       // what it takes of each member; 0 where members differ
	RaidDisks Fact[int64] // how many members it should have
	Degraded  Fact[int64] // how many it lacks; levels that can lack none do not say
	Metadata  string      // 0.90, 1.0, 1.1, 1.2, none, external:…
	UUID      string      // lower case, 8-4-4-4-12
	Chunk     int64       // 0 for levels without
	Layout    int64       // the level's own code: see LayoutName
	Policy    string      // consistency_policy

	Bitmap      string // where it is: none, internal, or the path of a file
	BitmapChunk int64  // what one bit stands for; 0 without a bitmap

	Sync    *Sync    // nil for levels that have nothing to synchronise
	Members []Member // in the order of their names
}

// Sync is what an array does beside its work.
type Sync struct {
	Action          string // idle, resync, recover, check, repair, reshape, frozen
	Last            string // what was done before
	Waiting         string // why it does not run: delayed, pending, remote
	Done, Total     Fact[int64]
	Speed           Fact[int64] // bytes a second
	Min, Max        Fact[int64] // between where and where; no Max: to the end
	Mismatch        Fact[int64] // what the last check or repair found different
	ReshapePosition Fact[int64]
}

// Remaining estimates how many seconds it has to go, at the present speed.
func (s *Sync) Remaining() Fact[int64] {
	if !s.Done.Known || !s.Speed.Known || s.Speed.Value <= 0 {
		return Fact[int64]{}
	}
	left := max(0, s.Total.Value-s.Done.Value)
	return known((left + s.Speed.Value - 1) / s.Speed.Value)
}

// Member is one device of an array.
type Member struct {
	Name          string // kernel name; a slash stands where sysfs has an exclamation mark
	Major, Minor  uint32
	Slot          Fact[int64] // its place
	Number        Fact[int64] // in the array's books, which mdstat shows in brackets
	Flags         []string    // in_sync, faulty, spare, …
	Size, Offset  Fact[int64]
	Errors        Fact[int64] // read errors that were mended
	BadBlocks     Fact[int64] // sectors of 512 bytes
	RecoveryStart Fact[int64] // up to where it is in sync, of those that are being rebuilt
}

// List names the arrays that the kernel runs, inactive ones with them, in no particular order. root
// stands before /sys. A kernel without MD has none; the error is fs.ErrNotExist where there is no
// /sys/block at all.
func List(root string) ([]string, error) {
	entries, err := os.ReadDir(root + "/sys/block")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "md") && running(folder{root + "/sys/block/" + e.Name()}) {
			names = append(names, kernelName(e.Name()))
		}
	}
	return names, nil
}

// running tells an array from a node without one, whose state is clear.
func running(d folder) bool {
	state := d.text("md/array_state")
	return state != "" && state != "clear"
}

// Read reads one array by its kernel name. The error is ErrNotArray where there is none.
func Read(root, name string) (*Array, error) {
	d := folder{filepath.Join(root, "/sys/block", fileName(name))}
	if !running(d) {
		return nil, ErrNotArray
	}
	a := &Array{Name: name, Size: d.scaled("size", sector).Value}
	a.Major, a.Minor, _ = d.deviceNumber("dev")
	m := d.sub("md")
	a.readGeometry(m)
	a.readBitmap(m)
	a.readSync(m)
	a.readMembers(m)
	if err := a.readStatus(root); err != nil {
		return nil, err
	}
	if !running(d) { // stopped under way
		return nil, ErrNotArray
	}
	return a, nil
}

// readGeometry reads what the array is.
func (a *Array) readGeometry(m folder) {
	a.Level = levelName(m.text("level"))
	a.State = m.text("array_state")
	a.Metadata = m.text("metadata_version")
	a.Component = m.scaled("component_size", 1024).Value
	a.RaidDisks = m.number("raid_disks")
	a.Degraded = m.number("degraded")
	a.UUID = m.text("uuid")
	switch {
	case strings.Trim(a.UUID, "0-") == "": // the kernel has not read the superblocks yet
		a.UUID = ""
	case a.Metadata == "0.90":
		a.UUID = swapWords(a.UUID)
	}
	a.Chunk = m.number("chunk_size").Value
	a.Layout = m.number("layout").Value
	a.Policy = m.text("consistency_policy")
}

// readBitmap reads where the bitmap is: none, file, or a number of sectors from the superblock.
func (a *Array) readBitmap(m folder) {
	switch location := m.text("bitmap/location"); {
	case location == "":
	case location == "none", location == "file":
		a.Bitmap = location // of a file mdstat has the path
	default:
		a.Bitmap = "internal"
	}
	if a.Bitmap != "none" {
		a.BitmapChunk = m.number("bitmap/chunksize").Value
	}
}

func (a *Array) readSync(m folder) {
	action := m.text("sync_action")
	if action == "" {
		return
	}
	s := &Sync{Action: action}
	if s.Last = m.text("last_sync_action"); actions[s.Last] != "" { // it says recovery as mdstat does
		s.Last = actions[s.Last]
	}
	if s.Last == "none" {
		s.Last = ""
	}
	switch completed := m.text("sync_completed"); completed {
	case "delayed":
		s.Waiting = completed
	default: // "none", or sectors done / of how many
		if done, total, ok := strings.Cut(completed, " / "); ok {
			s.Done, s.Total = times(number(done), sector), times(number(total), sector)
			s.Speed = m.scaled("sync_speed", 1024)
		}
	}
	s.Min = m.scaled("sync_min", sector)
	s.Max = m.scaled("sync_max", sector) // "max" is no number
	s.Mismatch = m.scaled("mismatch_cnt", sector)
	s.ReshapePosition = m.scaled("reshape_position", sector)
	a.Sync = s
}

// readMembers reads the folders dev-NAME.
func (a *Array) readMembers(m folder) {
	entries, err := os.ReadDir(m.path)
	if err != nil {
		return
	}
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), "dev-")
		if !ok {
			continue
		}
		if member, ok := readMember(m.sub(e.Name())); ok {
			member.Name = kernelName(name)
			a.Members = append(a.Members, member)
		}
	}
}

// readMember is false for one that is gone.
func readMember(d folder) (Member, bool) {
	var m Member
	state, ok := d.read("state")
	if !ok {
		return m, false
	}
	m.Flags = strings.FieldsFunc(state, func(r rune) bool { return r == ',' || r == '\n' || r == ' ' })
	m.Major, m.Minor, _ = d.deviceNumber("block/dev")
	m.Slot = d.number("slot") // "none" and "journal" are no numbers
	m.Size = d.scaled("size", 1024)
	m.Offset = d.scaled("offset", sector)
	m.Errors = d.number("errors")
	if list, ok := d.read("bad_blocks"); ok {
		m.BadBlocks = known(sumBadBlocks(list))
	}
	m.RecoveryStart = d.scaled("recovery_start", sector)
	return m, true
}

// sumBadBlocks takes lines of a first sector and how many there are.
func sumBadBlocks(list string) (sectors int64) {
	for line := range strings.Lines(list) {
		if fields := strings.Fields(line); len(fields) == 2 {
			sectors += number(fields[1]).Value
		}
	}
	return sectors
}

// readStatus takes from mdstat what sysfs lacks.
func (a *Array) readStatus(root string) error {
	text, err := os.ReadFile(root + "/proc/mdstat")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, s := range ParseStatus(string(text)) {
		if s.Name == a.Name {
			a.addStatus(&s)
		}
	}
	return nil
}

func (a *Array) addStatus(s *Status) {
	for i := range a.Members {
		for _, member := range s.Members {
			if member.Name == a.Members[i].Name {
				a.Members[i].Number = known(member.Number)
			}
		}
	}
	if a.Bitmap == "file" && s.BitmapFile != "" {
		a.Bitmap = s.BitmapFile
	}
	if a.Sync != nil && s.Waiting != "" {
		a.Sync.Waiting = s.Waiting
		if a.Sync.Action == "idle" { // as a resync that begins with the first write
			a.Sync.Action = s.Action
		}
	}
}
