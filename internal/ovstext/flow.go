package ovstext

import "strings"

// Flow is an OpenFlow flow.
type Flow struct {
	Cookie      string // hexadecimal digits, as many as it needs
	Duration    float64
	Table       uint8
	Priority    uint16
	Packets     uint64
	Bytes       uint64
	IdleTimeout uint16 // seconds; 0: none
	HardTimeout uint16
	IdleAge     int64 // seconds; -1: not told
	HardAge     int64 // seconds; -1: not told, or the same as Duration
	Importance  uint16
	Flags       []string // send_flow_rem, check_overlap, reset_counts, no_packet_counts, no_byte_counts, ...
	Match       []Field
	MatchText   string // without the priority
	Actions     []Action
	ActionsText string // "drop" where there are none
}

// defaultPriority is the priority that is not printed (OFP_DEFAULT_PRIORITY of openflow.h).
const defaultPriority = 32768

// DecodeError tells whether a line is what ovs-ofctl prints in place of flows that it cannot read, and what it says.
func DecodeError(line string) (string, bool) {
	text, ok := strings.CutPrefix(line, "***decode error: ")
	return strings.TrimSuffix(text, "***"), ok
}

// ReplyHeader tells whether a line is the head of an answer, behind which flows come.
func ReplyHeader(line string) bool {
	return strings.HasPrefix(line, "NXST_FLOW reply ") || strings.HasPrefix(line, "OFPST_FLOW reply ")
}

// Read reads a line of dump-flows into f, whose memory it uses again. The form is
//
//	cookie=0x1, duration=2.248s, table=0, n_packets=4, n_bytes=392, idle_timeout=60, hard_timeout=90, send_flow_rem
//	importance=3, idle_age=2, hard_age=2, priority=100,ct_state=-trk,ip actions=ct(table=1,zone=5)
//
// in one line, of which much may be missing.
func (f *Flow) Read(line string) error {
	*f = Flow{IdleAge: -1, HardAge: -1, Priority: defaultPriority, Flags: f.Flags[:0], Match: f.Match[:0], Actions: f.Actions[:0]}
	rest := strings.TrimLeft(line, " ")
	if !strings.HasPrefix(rest, "cookie=") {
		return format(line, "no cookie")
	}
	for {
		next, what := f.head(rest)
		if what != "" {
			return format(line, what)
		}
		if len(next) == len(rest) {
			break
		}
		rest = next
	}
	match, actions, ok := "", "", false
	if actions, ok = strings.CutPrefix(rest, "actions="); !ok {
		match, actions, ok = strings.Cut(rest, " actions=")
	}
	if !ok || strings.IndexByte(match, ' ') >= 0 {
		return format(line, "no actions")
	}
	f.ActionsText, f.Actions = actions, appendActions(f.Actions, actions)
	return f.match(line, match)
}

// head takes what stands at the beginning of rest, where that is one of the members in front of the match, and
// returns what is left. What is wrong with it comes second.
func (f *Flow) head(rest string) (left, wrong string) {
	end := strings.IndexByte(rest, ' ')
	if end < 0 {
		return rest, ""
	}
	word := strings.TrimSuffix(rest[:end], ",")
	left = strings.TrimLeft(rest[end:], " ")
	name, value, valued := strings.Cut(word, "=")
	if !valued {
		if isFlag(name, left) {
			f.Flags = append(f.Flags, name)
			return left, ""
		}
		return rest, ""
	}
	known, fine := f.member(name, value)
	switch {
	case !known:
		return rest, ""
	case !fine:
		return rest, "bad " + name
	}
	return left, ""
}

// isFlag tells whether a word without a value is a flag: a match is a word too, and stands right before the actions.
func isFlag(word, left string) bool {
	switch word {
	case "send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts", "no_byte_counts":
		return true
	}
	return !strings.HasPrefix(left, "actions=")
}

// member takes a member in front of the match by its name.
func (f *Flow) member(name, value string) (known, fine bool) {
	switch name {
	case "cookie":
		f.Cookie, fine = hexDigits(value)
	case "duration":
		f.Duration, fine = seconds(value)
	case "table":
		fine = number(value, 8, &f.Table)
	case "n_packets":
		fine = number(value, 64, &f.Packets)
	case "n_bytes":
		fine = number(value, 64, &f.Bytes)
	case "idle_timeout":
		fine = number(value, 16, &f.IdleTimeout)
	case "hard_timeout":
		fine = number(value, 16, &f.HardTimeout)
	case "importance":
		fine = number(value, 16, &f.Importance)
	case "idle_age":
		fine = number(value, 32, &f.IdleAge)
	case "hard_age":
		fine = number(value, 32, &f.HardAge)
	default:
		return false, false
	}
	return true, fine
}

// number reads a decimal number of so many bits.
func number[T uint8 | uint16 | uint32 | uint64 | int64](s string, bits int, to *T) bool {
	v, ok := unsigned(s, bits)
	*to = T(v)
	return ok
}

// match takes the priority and the fields.
func (f *Flow) match(line, text string) error {
	if rest, ok := strings.CutPrefix(text, "priority="); ok {
		n := span(rest, ',')
		if !number(rest[:n], 16, &f.Priority) {
			return format(line, "bad priority")
		}
		text = rest[min(n+1, len(rest)):]
	}
	f.MatchText = text
	for text != "" {
		var part string
		part, text = first(text)
		f.Match = append(f.Match, field(part))
	}
	return nil
}
