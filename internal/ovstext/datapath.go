package ovstext

import "strings"

// DatapathFlow is a flow of a datapath.
type DatapathFlow struct {
	UFID        string // as a UUID is written; "": not told
	Match       []Field
	MatchText   string
	Actions     []Action
	ActionsText string
	Packets     uint64
	Bytes       uint64
	Used        float64 // seconds since its last packet; -1: never
	TCPFlags    string  // as printed; "": none seen
	Offloaded   string  // yes, partial; "": not told
	Layer       string  // ovs, tc, dpdk; "": not told
	Extra       string  // what the datapath says besides
}

// DumpTitle tells whether a line of dump-flows is a title, which says whose flows come: of a PMD thread on a core,
// or (-1) of anything else.
func DumpTitle(line string) (core int, ok bool) {
	rest, ok := strings.CutPrefix(line, "flow-dump from ")
	if !ok {
		return 0, false
	}
	if text, ok := strings.CutPrefix(rest, "pmd on cpu core: "); ok {
		if core, ok := unsigned(text, 31); ok {
			return int(core), true
		}
	}
	return -1, true
}

// Read reads a line of dump-flows into f, whose memory it uses again. The form is
//
//	ufid:..., ct_state(0x2a/0x23),in_port(v2),eth(src=...,dst=...),ipv4(...), packets:7, bytes:149, used:0.1s,
//	flags:SFP., offloaded:yes, dp:ovs, actions:ct(zone=5),recirc(0x2), dp-extra-info:miniflow_bits(5,1)
//
// in one line, of which much may be missing.
func (f *DatapathFlow) Read(line string) error {
	*f = DatapathFlow{Used: -1, Match: f.Match[:0], Actions: f.Actions[:0]}
	rest := line
	if text, ok := strings.CutPrefix(rest, "ufid:"); ok {
		f.UFID, rest, _ = strings.Cut(text, ", ")
		if !isUUID(f.UFID) {
			return format(line, "bad ufid")
		}
	}
	match, rest, ok := strings.Cut(rest, ", packets:")
	if !ok {
		return format(line, "no packets")
	}
	f.MatchText = match
	f.Match = appendKeys(f.Match, "", match)
	rest = "packets:" + rest
	for {
		var member string
		if actions, ok := strings.CutPrefix(rest, "actions:"); ok {
			f.actions(actions)
			return nil
		}
		if member, rest, ok = strings.Cut(rest, ", "); !ok {
			return format(line, "no actions")
		}
		if !f.member(member) {
			return format(line, "bad "+member)
		}
	}
}

func (f *DatapathFlow) actions(text string) {
	if n := strings.LastIndex(text, ", dp-extra-info:"); n >= 0 {
		f.Extra = text[n+len(", dp-extra-info:"):]
		text = text[:n]
	}
	f.ActionsText = text
	if text == "drop" {
		return
	}
	for text != "" {
		var part string
		part, text = first(text)
		a := action(part)
		if a.Arguments == "" && !bare[a.Name] && !strings.HasSuffix(part, ")") {
			a = Action{Name: "output", Arguments: part} // a port has nothing but its name
		}
		f.Actions = append(f.Actions, a)
	}
}

// bare are the actions of a datapath that have no arguments (odp-util).
var bare = map[string]bool{"drop": true, "pop_vlan": true, "pop_eth": true, "ct_clear": true, "pop_nsh": true}

// member takes a member between match and actions.
func (f *DatapathFlow) member(text string) (fine bool) {
	name, value, _ := strings.Cut(text, ":")
	switch name {
	case "packets":
		return number(value, 64, &f.Packets)
	case "bytes":
		return number(value, 64, &f.Bytes)
	case "used":
		if value == "never" {
			return true
		}
		f.Used, fine = seconds(value)
		return fine
	case "flags":
		f.TCPFlags = value
	case "offloaded":
		f.Offloaded = value
	case "dp":
		f.Layer = value
	}
	return true
}

// appendKeys appends the fields of a list of keys, the nested ones with the name of what they stand in before them:
// in_port(2), ct_state(0x2/0x3), ipv4(src=10.0.0.1/255.0.0.0,frag=no), tunnel(tun_id=0x1,flags(df|key)).
func appendKeys(list []Field, prefix, text string) []Field {
	for text != "" {
		var part string
		part, text = first(text)
		if eq := span(part, '='); eq < len(part) {
			list = append(list, valued(prefix+part[:eq], part[eq+1:]))
			continue
		}
		name, in, ok := inside(part)
		switch {
		case !ok || name == "":
			list = append(list, Field{Name: prefix + part})
		case isList(in) && strings.Count(prefix, ".") < nesting:
			list = appendKeys(list, prefix+name+".", in)
		default:
			list = append(list, valued(prefix+name, in))
		}
	}
	return list
}

// nesting is how many names may stand before a field's; a key in a key in a key is the most there is.
const nesting = 4

// isList tells whether what stands in brackets is a list of fields, and not a value.
func isList(s string) bool {
	head, _ := first(s)
	if strings.HasPrefix(head, "{") {
		return false // options of a tunnel
	}
	if span(head, '=') < len(head) {
		return true
	}
	name, _, ok := inside(head)
	return ok && name != ""
}

// isUUID tells whether text has the form of a UUID.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (s[i] == '-') || !dash && strings.IndexByte("0123456789abcdef", s[i]) < 0 {
			return false
		}
	}
	return true
}
