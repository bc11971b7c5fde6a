package md

import (
	"strconv"
	"strings"
)

// Status is what /proc/mdstat says of one array, as far as sysfs does not say it better.
type Status struct {
	Name       string
	Active     bool
	Level      string // empty for inactive arrays
	Members    []StatusMember
	BitmapFile string // where the bitmap is a file

	Action    string  // resync, recover, check, reshape; empty where nothing runs or waits
	Waiting   string  // delayed, pending, remote: it does not run
	Percent   float64 // of what runs
	FinishMin float64 // the kernel's estimate, in minutes
}

// StatusMember is a member as the line of its array has it: loop1[2](F).
type StatusMember struct {
	Name   string
	Number int64
	Flags  string // of F, S, W, J, R: as they stand
}

// ParseStatus reads /proc/mdstat (md_seq_show of drivers/md/md.c):
//
//	Personalities : [raid1]
//	md0 : active (auto-read-only) raid1 loop1[2](F) loop0[0]
//	      64512 blocks super 1.2 [2/1] [U_]
//	      [=>...................]  recovery =  6.2% (4032/64512) finish=0.9min speed=1008K/sec
//	      bitmap: 1/1 pages [4KB], 65536KB chunk, file: /bitmap
//
//	unused devices: <none>
//
// Lines that it does not know it passes over: what they say is no part of a Status.
func ParseStatus(text string) (list []Status) {
	var s *Status
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if name, rest, ok := strings.Cut(line, " : "); ok && isArray(line) {
			list = append(list, Status{Name: name})
			s = &list[len(list)-1]
			s.readHead(rest)
			continue
		}
		if s == nil || !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") {
			s = nil // the heading, an empty line or the end
			continue
		}
		s.readLine(strings.TrimSpace(line))
	}
	return list
}

// isArray tells an array's first line from the others with a colon in them.
func isArray(line string) bool {
	return strings.HasPrefix(line, "md")
}

// readHead reads what follows the colon: whether it is active, words in round brackets, the level of
// an active one, the members.
func (s *Status) readHead(rest string) {
	for i, word := range strings.Fields(rest) {
		member, isMember := parseMember(word)
		switch {
		case i == 0:
			s.Active = word == "active"
		case isMember:
			s.Members = append(s.Members, member)
		case !strings.HasPrefix(word, "(") && s.Level == "" && len(s.Members) == 0:
			s.Level = word
		}
	}
}

// parseMember takes NAME[NUMBER] with flags such as (F)(W) behind it.
func parseMember(word string) (m StatusMember, ok bool) {
	end := strings.LastIndexByte(word, ']')
	start := strings.LastIndexByte(word, '[')
	if start < 1 || end < start {
		return m, false
	}
	n, err := strconv.ParseInt(word[start+1:end], 10, 64)
	if err != nil || n < 0 {
		return m, false
	}
	flags := strings.NewReplacer("(", "", ")", "").Replace(word[end+1:])
	return StatusMember{Name: kernelName(word[:start]), Number: n, Flags: flags}, true
}

// readLine reads one of the indented lines below.
func (s *Status) readLine(line string) {
	if strings.HasPrefix(line, "bitmap:") {
		if _, file, ok := strings.Cut(line, ", file: "); ok {
			s.BitmapFile = file
		}
		return
	}
	if _, behind, ok := strings.Cut(line, "]  "); ok && strings.HasPrefix(line, "[") {
		line = behind // the bar
	}
	left, right, ok := strings.Cut(line, "=")
	action, isAction := actions[strings.TrimSpace(left)]
	if !ok || !isAction {
		return
	}
	s.Action = action
	switch right = strings.TrimSpace(right); right {
	case "DELAYED", "PENDING", "REMOTE":
		s.Waiting = strings.ToLower(right)
		return
	}
	percent, right, _ := strings.Cut(right, "%")
	s.Percent, _ = strconv.ParseFloat(percent, 64)
	_, right, _ = strings.Cut(right, "finish=")
	finish, _, _ := strings.Cut(right, "min")
	s.FinishMin, _ = strconv.ParseFloat(finish, 64)
}

// actions are mdstat's words for what sync_action says. A repair it calls a resync.
var actions = map[string]string{"resync": "resync", "recovery": "recover", "check": "check", "reshape": "reshape"}
