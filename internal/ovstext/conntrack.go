package ovstext

import (
	"net/netip"
	"strings"
)

// Tuple is one direction of a connection.
type Tuple struct {
	Source, Destination         netip.Addr
	SourcePort, DestinationPort uint16
	HasPorts                    bool
	ICMPID                      uint16
	ICMPType, ICMPCode          uint8
	HasICMP                     bool
	Packets, Bytes              uint64
	HasCounters                 bool
}

// Connection is an entry that a datapath tracks.
type Connection struct {
	Protocol               string // tcp, udp, icmp, icmpv6, sctp, or a number
	Original, Reply        Tuple
	Master                 Tuple // valid where its addresses are
	ID                     uint32
	Zone                   uint16
	Status                 string // SEEN_REPLY|ASSURED; "": none
	Timeout                uint32 // seconds
	HasTimeout             bool
	Mark                   uint32
	Labels                 string // hexadecimal digits, as many as it needs; "": none
	State, StateReply      string // ESTABLISHED, ...; "": none
	WScaleOrig, WScaleRepl uint8
	HasWScale              bool
	FlagsOrig, FlagsRepl   string // WINDOW_SCALE|SACK_PERM; "": none
	VTagOrig, VTagReply    uint32
	HasVTags               bool
	Helper                 string
}

// Read reads a line of dump-conntrack, with or without -m and -s, into c. The form is
//
//	tcp,orig=(src=198.51.100.1,dst=198.51.100.2,sport=36308,dport=8000,packets=2,bytes=90),reply=(...),id=7,zone=5,
//	status=SEEN_REPLY|ASSURED,timeout=29,mark=7,labels=0x123,protoinfo=(state_orig=ESTABLISHED,...),helper=ftp,
//	master=(...)
//
// in one line. Members that it does not know are passed over.
func (c *Connection) Read(line string) error {
	*c = Connection{}
	n := strings.IndexByte(line, ',')
	if n < 0 {
		n = len(line)
	}
	c.Protocol = line[:n]
	if c.Protocol == "" || strings.IndexByte(c.Protocol, '=') >= 0 || strings.IndexByte(c.Protocol, ' ') >= 0 {
		return format(line, "no protocol")
	}
	for rest := line[min(n+1, len(line)):]; rest != ""; {
		var name, value string
		name, value, rest = next(rest)
		if !c.member(name, value) {
			return format(line, "bad "+name)
		}
	}
	if !c.Original.Source.IsValid() || !c.Reply.Source.IsValid() {
		return format(line, "no addresses")
	}
	return nil
}

// next cuts name=value or name=(value) off a list of them, in which no brackets stand in others. It is what parts is
// in general, at a third of the cost: such lists come by the hundred thousand.
func next(list string) (name, value, rest string) {
	i := 0
	for i < len(list) && list[i] != '=' && list[i] != ',' {
		i++
	}
	if i == len(list) || list[i] == ',' {
		return list[:i], "", list[min(i+1, len(list)):]
	}
	name, value = list[:i], list[i+1:]
	if value != "" && value[0] == '(' {
		if end := strings.IndexByte(value, ')'); end >= 0 {
			return name, value[1:end], strings.TrimPrefix(value[end+1:], ",")
		}
	}
	if end := strings.IndexByte(value, ','); end >= 0 {
		return name, value[:end], value[end+1:]
	}
	return name, value, ""
}

func (c *Connection) member(name, value string) (fine bool) {
	switch name {
	case "orig":
		return c.Original.read(value)
	case "reply":
		return c.Reply.read(value)
	case "master", "parent":
		return c.Master.read(value)
	case "id":
		return number(value, 32, &c.ID)
	case "zone":
		return number(value, 16, &c.Zone)
	case "timeout":
		c.HasTimeout = true
		return number(value, 32, &c.Timeout)
	case "mark":
		return number(value, 32, &c.Mark)
	case "status":
		if value != "0" {
			c.Status = value
		}
	case "labels":
		c.Labels, fine = hexDigits(value)
		return fine && len(c.Labels) <= 32
	case "helper":
		c.Helper = value
	case "protoinfo":
		return c.protocol(value)
	}
	return true
}

// protocol takes state_orig=ESTABLISHED,..., or in brief state=ESTABLISHED.
func (c *Connection) protocol(list string) bool {
	for list != "" {
		var name, of string
		name, of, list = next(list)
		fine := true
		switch name {
		case "state", "state_orig":
			c.State = of
		case "state_reply":
			c.StateReply = of
		case "wscale_orig":
			c.HasWScale = true
			fine = number(of, 8, &c.WScaleOrig)
		case "wscale_reply":
			fine = number(of, 8, &c.WScaleRepl)
		case "flags_orig":
			c.FlagsOrig = of
		case "flags_reply":
			c.FlagsRepl = of
		case "vtag_orig":
			c.HasVTags = true
			fine = number(of, 32, &c.VTagOrig)
		case "vtag_reply":
			fine = number(of, 32, &c.VTagReply)
		}
		if !fine {
			return false
		}
	}
	return true
}

// read takes src=198.51.100.1,dst=198.51.100.2,...
func (t *Tuple) read(list string) bool {
	*t = Tuple{}
	for list != "" {
		var name, value string
		if name, value, list = next(list); !t.member(name, value) {
			return false
		}
	}
	return t.Source.IsValid() && t.Destination.IsValid() && t.Source.Is4() == t.Destination.Is4()
}

func (t *Tuple) member(name, value string) (fine bool) {
	switch name {
	case "src":
		return address(value, &t.Source)
	case "dst":
		return address(value, &t.Destination)
	case "sport":
		t.HasPorts = true
		return number(value, 16, &t.SourcePort)
	case "dport":
		return number(value, 16, &t.DestinationPort)
	case "id":
		t.HasICMP = true
		return number(value, 16, &t.ICMPID)
	case "type":
		return number(value, 8, &t.ICMPType)
	case "code":
		return number(value, 8, &t.ICMPCode)
	case "packets":
		t.HasCounters = true
		return number(value, 64, &t.Packets)
	case "bytes":
		return number(value, 64, &t.Bytes)
	}
	return true
}

// address reads an address that says nothing of a zone.
func address(s string, to *netip.Addr) bool {
	if a, ok := address4(s); ok {
		*to = netip.AddrFrom4(a)
		return true
	}
	a, err := netip.ParseAddr(s)
	*to = a
	return err == nil && a.Zone() == ""
}

// address4 reads an IPv4 address: what netip.ParseAddr does for most of what comes, at a third of the cost. Of anything
// unusual it says that it is none.
func address4(s string) (a [4]byte, ok bool) {
	field, digits, value := 0, 0, uint(0)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			if digits > 0 && value == 0 { // a number that begins with 0 is none
				return a, false
			}
			value = value*10 + uint(c-'0')
			if digits++; digits > 3 || value > 255 {
				return a, false
			}
			a[field] = byte(value)
		case c == '.' && digits > 0 && field < 3:
			field, digits, value = field+1, 0, 0
		default:
			return a, false
		}
	}
	return a, field == 3 && digits > 0
}

// Stats are counts of connections.
type Stats struct {
	Count     int64
	Protocols map[string]int64 // TCP, UDP, ICMP, ... -> connections
	TCPStates map[string]int64 // ESTABLISHED, ... -> connections
}

// ReadStats reads what `dpctl/ct-stats-show -m` prints:
//
//	Connections Stats:
//	    Total: 2
//	  TCP: 1
//	    Conn per TCP states:
//	      [TIME_WAIT]=1
//	  ICMP: 1
func ReadStats(text string) (*Stats, error) {
	s := &Stats{Count: -1, Protocols: map[string]int64{}, TCPStates: map[string]int64{}}
	for line := range strings.Lines(text) {
		body := strings.TrimSpace(line)
		if state, count, ok := strings.Cut(body, "]="); ok && strings.HasPrefix(state, "[") {
			s.TCPStates[state[1:]] = counted(count)
			continue
		}
		name, count, ok := strings.Cut(body, ": ")
		n := counted(count)
		switch {
		case !ok:
		case n < 0:
			return nil, format(line, "bad count")
		case name == "Total":
			s.Count = n
		default:
			s.Protocols[name] = n
		}
	}
	if s.Count < 0 {
		return nil, format(text, "no total")
	}
	return s, nil
}

// ZoneLimit is how many connections a zone may have.
type ZoneLimit struct {
	Zone         uint16
	Limit, Count uint32
}

// ReadLimits reads what `dpctl/ct-get-limits` prints: "default limit=100", and for each zone that has a limit of its
// own "zone=5,limit=10,count=0". The default is -1 where none is told.
func ReadLimits(text string) (byDefault int64, zones []ZoneLimit, err error) {
	byDefault = -1
	for line := range strings.Lines(text) {
		body := strings.TrimSpace(line)
		if value, ok := strings.CutPrefix(body, "default limit="); ok {
			if byDefault = counted(value); byDefault < 0 || byDefault >= 1<<32 {
				return -1, nil, format(line, "bad limit")
			}
			continue
		}
		if body == "" {
			continue
		}
		z, err := readLimit(line, body)
		if err != nil {
			return -1, nil, err
		}
		zones = append(zones, z)
	}
	return byDefault, zones, nil
}

// readLimit reads zone=5,limit=10,count=0, of which count may lack.
func readLimit(line, list string) (z ZoneLimit, err error) {
	given := 0
	for list != "" {
		var part string
		part, list = first(list)
		name, value, _ := strings.Cut(part, "=")
		fine := true
		switch name {
		case "zone":
			given++
			fine = number(value, 16, &z.Zone)
		case "limit":
			given++
			fine = number(value, 32, &z.Limit)
		case "count":
			fine = number(value, 32, &z.Count)
		}
		if !fine {
			return z, format(line, "bad "+name)
		}
	}
	if given < 2 {
		return z, format(line, "no limit of a zone")
	}
	return z, nil
}
