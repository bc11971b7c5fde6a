package ct

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// row is an entry in the words of conntrack(8)'s XML.
type row struct {
	id                uint32
	family, protocol  string
	protoNum          uint8
	state             string
	orig, reply       way
	zone              uint16
	mark              uint32
	use, timeout      uint32
	assured, seen     bool
	helper            string
	age               int64 // seconds since its start, where that is kept; -1 by a clock that lags its stamp
	timestamps, timed bool

	status uint32 // ours alone, for filters
}

type way struct {
	src, dst         string
	sport, dport     uint16
	icmp             [3]uint16
	zone             uint16
	packets, bytes   uint64
	counted, hasICMP bool
}

// still tells whether an entry is as it was, but for the time that has passed.
func (r row) still(later row) bool {
	r.timeout, later.timeout, r.age, later.age, r.use, later.use = 0, 0, 0, 0, 0, 0
	return r == later
}

// settle takes over what may rightly differ between two looks: the remaining time and the age, where
// they are within what the witness said before and after, the references that a look itself holds,
// and what the witness does not tell.
func (r *row) settle(before, after row) {
	if r.timeout <= before.timeout+1 && r.timeout+1 >= after.timeout {
		r.timeout = before.timeout
	}
	if r.age+1 >= before.age && r.age <= after.age+1 {
		r.age = before.age
	}
	if r.use == after.use {
		r.use = before.use
	}
	r.status = before.status
}

type xmlFlow struct {
	Meta []struct {
		Direction string `xml:"direction,attr"`
		Layer3    struct {
			Name string `xml:"protoname,attr"`
			Src  string `xml:"src"`
			Dst  string `xml:"dst"`
		} `xml:"layer3"`
		Layer4 struct {
			Num   uint8  `xml:"protonum,attr"`
			Name  string `xml:"protoname,attr"`
			Sport uint16 `xml:"sport"`
			Dport uint16 `xml:"dport"`
		} `xml:"layer4"`
		Counters *struct {
			Packets uint64 `xml:"packets"`
			Bytes   uint64 `xml:"bytes"`
		} `xml:"counters"`
		Zone      uint16    `xml:"zone"`
		State     string    `xml:"state"`
		Timeout   *uint32   `xml:"timeout"`
		Mark      uint32    `xml:"mark"`
		Use       uint32    `xml:"use"`
		ID        uint32    `xml:"id"`
		Assured   *struct{} `xml:"assured"`
		Unreplied *struct{} `xml:"unreplied"`
		DeltaTime *uint64   `xml:"deltatime"` // below 0 as its two's complement
	} `xml:"meta"`
}

// readFlows reads conntrack(8)'s XML; of an empty table it prints nothing.
func readFlows(text string) ([]xmlFlow, error) {
	var out struct {
		Flows []xmlFlow `xml:"flow"`
	}
	if text == "" {
		return nil, nil
	}
	if err := xml.Unmarshal([]byte(text), &out); err != nil {
		return nil, fmt.Errorf("conntrack: %w in %s", err, text)
	}
	return out.Flows, nil
}

// TestFlowYoungerThanTheClock reads a flow that the kernel stamped after the second that time(2) tells,
// which follows the kernel's clock by a tick: conntrack(8) prints its age of -1 without a sign.
func TestFlowYoungerThanTheClock(t *testing.T) {
	flows, err := readFlows(`<conntrack><flow><meta direction="independent"><id>7</id><deltatime>18446744073709551615</deltatime></meta></flow></conntrack>`)
	if err != nil {
		t.Fatal(err)
	}
	if len(flows) != 1 || flows[0].row().age != -1 {
		t.Errorf("read as %+v", flows)
	}
}

// witness lists the table with conntrack(8), in the order of the ids.
func (w *network) witness() []row {
	w.t.Helper()
	flows, err := readFlows(w.a.Run("conntrack", "-L", "-o", "xml,extended,timestamp,id"))
	if err != nil {
		w.t.Fatal(err)
	}
	lines := w.lines()
	rows := make([]row, 0, len(flows))
	for _, f := range flows {
		r := f.row()
		r.addText(lines[r.id])
		rows = append(rows, r)
	}
	sortRows(rows)
	return rows
}

// The parts of a line of conntrack(8) that its XML lacks.
var (
	idOf     = regexp.MustCompile(`use=\d+ id=(\d+)`)
	helperOf = regexp.MustCompile(`helper=(\S+)`)
	icmpOf   = regexp.MustCompile(`type=(\d+) code=(\d+) id=(\d+)`)
	stateOf  = regexp.MustCompile(`^\w+ +\d+ (?:\d+ )?([A-Z][A-Z_0-9]+) src=`)
	keysOf   = regexp.MustCompile(`srckey=0x([0-9a-f]+) dstkey=0x([0-9a-f]+)`)
)

// lines lists the table as text, by the entries' ids.
func (w *network) lines() map[uint32]string {
	found := map[uint32]string{}
	for line := range strings.Lines(w.a.Run("conntrack", "-L", "-o", "id")) {
		m := idOf.FindStringSubmatch(line)
		if m == nil {
			w.t.Fatalf("conntrack: no id in %q", line)
		}
		found[number(m[1], 10)] = line
	}
	return found
}

func number(s string, base int) uint32 {
	n, err := strconv.ParseUint(s, base, 32)
	if err != nil {
		panic(err) // the expressions above let digits pass only
	}
	return uint32(n)
}

// addText adds what only the text has, or, as SCTP's states, has right.
func (r *row) addText(line string) {
	if m := stateOf.FindStringSubmatch(line); m != nil {
		r.state = strings.ToLower(m[1])
	}
	if m := helperOf.FindStringSubmatch(line); m != nil {
		r.helper = m[1]
	}
	ways := []*way{&r.orig, &r.reply}
	for i, m := range icmpOf.FindAllStringSubmatch(line, 2) {
		ways[i].hasICMP = true
		for j := range ways[i].icmp {
			ways[i].icmp[j] = uint16(number(m[1+j], 10))
		}
	}
	for i, m := range keysOf.FindAllStringSubmatch(line, 2) {
		ways[i].sport, ways[i].dport = uint16(number(m[1], 16)), uint16(number(m[2], 16))
	}
}

func (f xmlFlow) row() row {
	var r row
	for _, m := range f.Meta {
		way := way{src: m.Layer3.Src, dst: m.Layer3.Dst, sport: m.Layer4.Sport, dport: m.Layer4.Dport, zone: m.Zone}
		if m.Counters != nil {
			way.counted, way.packets, way.bytes = true, m.Counters.Packets, m.Counters.Bytes
		}
		switch m.Direction {
		case "original":
			r.orig, r.family, r.protoNum, r.protocol = way, m.Layer3.Name, m.Layer4.Num, m.Layer4.Name
		case "reply":
			r.reply = way
		case "independent":
			r.id, r.mark, r.use, r.zone, r.state = m.ID, m.Mark, m.Use, m.Zone, strings.ToLower(m.State)
			r.assured, r.seen = m.Assured != nil, m.Unreplied == nil
			if m.Timeout != nil {
				r.timed, r.timeout = true, *m.Timeout
			}
			if m.DeltaTime != nil {
				r.timestamps, r.age = true, int64(*m.DeltaTime)
			}
		}
	}
	return r
}

// asRow says one of our entries in the witness' words.
func asRow(e *Entry) row {
	r := row{
		id: e.ID, family: map[uint8]string{unix.AF_INET: "ipv4", unix.AF_INET6: "ipv6"}[e.Family],
		protocol: witnessName(e.Original.Proto), protoNum: e.Original.Proto, state: e.Info.StateName(),
		orig: asWay(e, &e.Original, AttrCountersOrig, e.CountersOrig), reply: asWay(e, &e.Reply, AttrCountersReply, e.CountersReply),
		zone: e.Zone, mark: e.Mark, use: e.Use, timeout: e.Timeout, timed: e.Has(AttrTimeout),
		assured: e.Status&(1<<2) != 0, seen: e.Status&(1<<1) != 0, helper: e.Helper, status: e.Status,
	}
	if e.Has(AttrTimestamp) && e.Start != 0 {
		r.timestamps, r.age = true, time.Now().Unix()-time.Unix(0, int64(e.Start)).Unix()
	}
	return r
}

// witnessName is the protocol as conntrack(8) names it: those that it has no name for are "unknown".
func witnessName(proto uint8) string {
	switch name := ProtocolName(proto); name {
	case "tcp", "udp", "udplite", "icmp", "icmpv6", "sctp", "dccp", "gre":
		return name
	}
	return "unknown"
}

func asWay(e *Entry, t *Tuple, attr uint16, c Counters) way {
	w := way{src: t.Src.String(), dst: t.Dst.String(), zone: t.Zone, packets: c.Packets, bytes: c.Bytes, counted: e.Has(attr)}
	if t.HasPorts {
		w.sport, w.dport = t.SrcPort, t.DstPort
	}
	if t.HasICMP {
		w.hasICMP, w.icmp = true, [3]uint16{uint16(t.ICMPType), uint16(t.ICMPCode), t.ICMPID}
	}
	return w
}

func collect(t *testing.T, conn *Conn, f Filter) []row {
	t.Helper()
	rows := []row{}
	for e, err := range conn.Entries(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, asRow(e))
	}
	sortRows(rows)
	return rows
}

func collectEntries(t *testing.T, conn *Conn, f Filter) []Entry {
	t.Helper()
	var all []Entry
	for e, err := range conn.Entries(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, *e)
	}
	return all
}

func sortRows(rows []row) {
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.id, b.id) })
}

func crc32c(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
