package netops

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/geomind/my_os_server/pkg/registry"
)

// volatile is what of a flow changes while one looks.
var volatile = regexp.MustCompile(`(duration|n_packets|n_bytes|idle_age|hard_age)=([0-9]+)[0-9.s]*,? ?`)

// ofctlFlows are the lines of ovs-ofctl(8) without what changes, and that by name.
func (s *switched) ofctlFlows(bridge string) (lines []string, numbers []map[string]int64) {
	s.t.Helper()
	for line := range strings.Lines(s.ovs.Run("ovs-ofctl", "-O", "OpenFlow15", "dump-flows", bridge)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "cookie=") {
			continue
		}
		head, tail, _ := strings.Cut(line, " actions=")
		if strings.HasPrefix(line[len(head):], " actions=") {
			head += " "
		}
		values := map[string]int64{}
		for _, m := range volatile.FindAllStringSubmatch(head, -1) {
			values[m[1]] = numberIn(s.t, m[2])
		}
		lines = append(lines, strings.TrimSpace(strings.TrimRight(volatile.ReplaceAllString(head, ""), ", "))+" actions="+tail)
		numbers = append(numbers, values)
	}
	return lines, numbers
}

// lineOf is the line that ovs-ofctl would print for a row, without what changes.
func (s *switched) lineOf(f *registry.OvsFlow) string {
	s.t.Helper()
	text := fmt.Sprintf("cookie=0x%s, table=%d, ", f.Cookie, f.Table)
	for name, v := range map[string]registry.Opt[int64]{"idle_timeout": f.IdleTimeoutS} {
		if v.Or(0) != 0 {
			text += fmt.Sprintf("%s=%d, ", name, v.Or(0))
		}
	}
	if v := f.HardTimeoutS.Or(0); v != 0 {
		text += fmt.Sprintf("hard_timeout=%d, ", v)
	}
	for _, flag := range f.Flags {
		text += flag + " "
	}
	if v := f.Importance.Or(0); v != 0 {
		text += fmt.Sprintf("importance=%d, ", v)
	}
	match := fieldsText(f.Match)
	if match != f.MatchText.Or("") {
		s.t.Errorf("fields %s of the match %s", match, f.MatchText.Or(""))
	}
	if f.Priority != 32768 {
		text += fmt.Sprintf("priority=%d", f.Priority)
		if match != "" {
			text += ","
		}
	}
	s.checkActions(f.Actions, f.ActionsText.Or(""))
	return strings.TrimSpace(strings.TrimRight(text+match, ", ")) + " actions=" + f.ActionsText.Or("")
}

// checkFlows compares net.flows with ovs-ofctl, which is asked before and after.
func (s *switched) checkFlows() {
	s.t.Helper()
	for _, bridge := range []string{"br0", "br1"} {
		want, before := s.ofctlFlows(bridge)
		rows := rowsOf[registry.OvsFlow](s.t, s.n, "net.flows", "flows", object{"bridge": bridge})
		_, after := s.ofctlFlows(bridge)
		var got []string
		for i := range rows {
			got = append(got, s.lineOf(&rows[i]))
		}
		s.sameLists("flows of "+bridge, want, got)
		for i := range min(len(rows), len(before), len(after)) {
			f := &rows[i]
			s.between("packets of "+got[i], before[i]["n_packets"], f.Packets, after[i]["n_packets"])
			s.between("bytes of "+got[i], before[i]["n_bytes"], f.Bytes, after[i]["n_bytes"])
			s.between("duration of "+got[i], before[i]["duration"], int64(f.DurationS), after[i]["duration"])
			if _, told := before[i]["idle_age"]; told != f.IdleAgeS.IsSet() || f.IdleAgeS.Or(0) > f.DurationS+1 {
				s.t.Errorf("idle_age %v of %s", f.IdleAgeS, got[i])
			}
		}
	}
	s.checkFlowFilters()
}

func (s *switched) checkFlowFilters() {
	s.t.Helper()
	all := rowsOf[registry.OvsFlow](s.t, s.n, "net.flows", "flows", object{})
	ask := func(params object) (got []string) {
		for _, f := range rowsOf[registry.OvsFlow](s.t, s.n, "net.flows", "flows", params) {
			got = append(got, f.Bridge+" "+s.lineOf(&f))
		}
		return got
	}
	want := func(fits func(*registry.OvsFlow) bool) (list []string) {
		for i := range all {
			if fits(&all[i]) {
				list = append(list, all[i].Bridge+" "+s.lineOf(&all[i]))
			}
		}
		return list
	}
	everything := want(func(*registry.OvsFlow) bool { return true })
	s.sameLists("limit 3", everything[:3], ask(object{"limit": 3}))
	s.sameLists("table 10", want(func(f *registry.OvsFlow) bool { return f.Table == 10 }), ask(object{"table": 10}))
	s.sameLists("table 1 of br0", want(func(f *registry.OvsFlow) bool { return f.Bridge == "br0" && f.Table == 1 }), ask(object{"bridge": "br0", "table": 1}))
	s.sameLists("table 255", []string(nil), ask(object{"table": 255}))
	if i := slices.IndexFunc(all, func(f registry.OvsFlow) bool { return f.Table == 254 }); i >= 0 {
		s.t.Errorf("a hidden flow: %+v", all[i])
	}
}

// dpctlFlow is a line of dpctl/dump-flows -m in its parts: ufid, match, packets, bytes, the rest, actions, extra.
var dpctlFlow = regexp.MustCompile(`^ufid:(\S+), (.*), packets:(\d+), bytes:(\d+), used:([0-9.]+s|never)(.*), actions:(.*?)(?:, dp-extra-info:(.*))?$`)

func (s *switched) dpctlFlows(datapath string) map[string][]string {
	s.t.Helper()
	flows := map[string][]string{}
	for line := range strings.Lines(s.ovs.Appctl("dpctl/dump-flows", "-m", datapath)) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "flow-dump from ") || line == "" {
			continue
		}
		m := dpctlFlow.FindStringSubmatch(line)
		if m == nil {
			s.t.Fatalf("no flow: %s", line)
		}
		flows[m[1]] = m
	}
	return flows
}

// nested are fields with dots in their names, joined as the datapath prints them.
func nested(fields []registry.OvsField) string {
	text, open := "", ""
	for _, f := range fields {
		value := f.Value.Or("")
		if m, ok := f.Mask.Get(); ok {
			value += "/" + m
		}
		group, name, inGroup := strings.Cut(f.Name, ".")
		if open != "" && (!inGroup || group != open) {
			text, open = text+")", ""
		}
		switch {
		case inGroup && open == "":
			text, open = text+","+group+"("+name+"="+value, group
		case inGroup:
			text += "," + name + "=" + value
		default:
			text += "," + f.Name + "(" + value + ")"
		}
	}
	if open != "" {
		text += ")"
	}
	return strings.TrimPrefix(text, ",")
}

// checkDatapath compares net.datapath with what ovs-appctl(8) prints before and after.
func (s *switched) checkDatapath() {
	s.t.Helper()
	names := strings.Fields(s.ovs.Appctl("dpctl/dump-dps"))
	if len(names) != 1 {
		s.t.Fatalf("datapaths %v", names)
	}
	show, before := s.ovs.Appctl("dpctl/show", "-s"), s.dpctlFlows(names[0])
	items := rowsOf[registry.DatapathItem](s.t, s.n, "net.datapath", "items", object{})
	after, showAfter := s.dpctlFlows(names[0]), s.ovs.Appctl("dpctl/show", "-s")
	if len(items) == 0 || items[0].Datapath == nil || items[0].Datapath.Datapath != names[0] {
		s.t.Fatalf("items %+v", items)
	}
	s.checkShow(items[0].Datapath, show, showAfter)
	seen := map[string]bool{}
	for _, item := range items[1:] {
		f := item.Flow
		id := f.Ufid.Or("")
		seen[id] = true
		b, a := before[id], after[id]
		if b == nil || a == nil || b[7] != a[7] || b[6] != a[6] || b[2] != a[2] {
			continue // it came, went or changed meanwhile
		}
		s.checkDatapathFlow(f, b, a)
	}
	for id := range before {
		if after[id] != nil && !seen[id] {
			s.t.Errorf("flow %s is missing", id)
		}
	}
	if limited := rowsOf[registry.DatapathItem](s.t, s.n, "net.datapath", "items", object{"limit": 1}); len(limited) > 2 {
		s.t.Errorf("limit 1 gives %d items", len(limited))
	}
}

func (s *switched) checkDatapathFlow(f *registry.DatapathFlow, b, a []string) {
	s.t.Helper()
	if f.MatchText != b[2] || nested(f.Match) != b[2] {
		s.t.Errorf("match\n%s\nof the fields\n%s\nwant\n%s", f.MatchText, nested(f.Match), b[2])
	}
	if f.ActionsText != b[7] || f.ExtraInfo.Or("") != b[8] {
		s.t.Errorf("actions %s, %v, want %s, %s", f.ActionsText, f.ExtraInfo, b[7], b[8])
	}
	s.checkActions(f.Actions, b[7])
	s.between("packets", numberIn(s.t, b[3]), f.Packets, numberIn(s.t, a[3]))
	s.between("bytes", numberIn(s.t, b[4]), f.Bytes, numberIn(s.t, a[4]))
	if b[5] == a[5] && f.UsedS.IsSet() == (b[5] == "never") {
		s.t.Errorf("used %v, want %s", f.UsedS, b[5])
	}
	rest := ""
	if flags, ok := f.TcpFlags.Get(); ok {
		rest += ", flags:" + flags
	}
	if o, ok := f.Offloaded.Get(); ok {
		rest += ", offloaded:" + o
	}
	if l, ok := f.Layer.Get(); ok {
		rest += ", dp:" + l
	}
	if rest != b[6] {
		s.t.Errorf("rest %q, want %q", rest, b[6])
	}
}

// showPort is a port in dpctl/show -s with its counters.
var showPort = regexp.MustCompile(`port (\d+): (\S+)(?: \((.*)\))?\n +RX packets:(\S+) errors:(\S+) dropped:(\S+) overruns:(\S+) frame:(\S+)\n +TX packets:(\S+) errors:(\S+) dropped:(\S+) aborted:(\S+) carrier:(\S+)\n +collisions:(\S+)\n +RX bytes:(\S+).*  TX bytes:(\S+)`)

// showCounters are the counters of a port in the order in which showPort has them.
var showCounters = []string{"rx_packets", "rx_errors", "rx_dropped", "rx_over_err", "rx_frame_err", "tx_packets", "tx_errors", "tx_dropped", "tx_aborted_err",
	"tx_carrier_err", "collisions", "rx_bytes", "tx_bytes"}

func (s *switched) checkShow(d *registry.Datapath, before, after string) {
	s.t.Helper()
	for name, got := range map[string]registry.Opt[int64]{"hit": d.Hits, "missed": d.Misses, "lost": d.Lost} {
		at := regexp.MustCompile(`lookups:.* ` + name + `:(\d+)`)
		s.between(name, numberIn(s.t, at.FindStringSubmatch(before)[1]), got.Or(-1), numberIn(s.t, at.FindStringSubmatch(after)[1]))
	}
	want, later := showPort.FindAllStringSubmatch(before, -1), showPort.FindAllStringSubmatch(after, -1)
	if len(want) != len(d.Ports) || len(later) != len(want) || len(want) < 4 {
		s.t.Fatalf("%d ports, want %d of\n%s", len(d.Ports), len(want), before)
	}
	for i, p := range d.Ports {
		kind := p.Type.Or("")
		if o, ok := p.Options.Get(); ok {
			kind += ": " + o
		}
		if fmt.Sprint(p.Number) != want[i][1] || p.Name != want[i][2] || kind != want[i][3] {
			s.t.Errorf("port %+v, want %v", p, want[i][1:4])
		}
		for j, name := range showCounters {
			got, told := p.Statistics[name]
			if was := want[i][4+j]; was == "?" == told {
				s.t.Errorf("port %s: %s is %d, want %s", p.Name, name, got, was)
			} else if told {
				s.between(p.Name+" "+name, numberIn(s.t, was), got, numberIn(s.t, later[i][4+j]))
			}
		}
	}
}

// timeoutIn is what of a tracked connection changes while one looks.
var timeoutIn = regexp.MustCompile(`,timeout=(\d+)`)

// tracked are the lines of dpctl/dump-conntrack without their timeouts, and those.
func (s *switched) tracked(args ...string) map[string]int64 {
	s.t.Helper()
	lines := map[string]int64{}
	for line := range strings.Lines(s.ovs.Appctl(append([]string{"dpctl/dump-conntrack", "-m", "-s"}, args...)...)) {
		line = strings.TrimSuffix(line, "\n")
		m := timeoutIn.FindStringSubmatch(line)
		if m == nil {
			s.t.Fatalf("no timeout: %s", line)
		}
		lines[timeoutIn.ReplaceAllString(line, "")] = numberIn(s.t, m[1])
	}
	return lines
}

func tupleText(t *registry.ConntrackTuple) string {
	text := fmt.Sprintf("(src=%s,dst=%s", t.Source, t.Destination)
	if id, ok := t.IcmpID.Get(); ok {
		text += fmt.Sprintf(",id=%d,type=%d,code=%d", id, t.IcmpType.Or(-1), t.IcmpCode.Or(-1))
	} else {
		text += fmt.Sprintf(",sport=%d,dport=%d", t.SourcePort.Or(-1), t.DestinationPort.Or(-1))
	}
	if packets, ok := t.Packets.Get(); ok {
		text += fmt.Sprintf(",packets=%d,bytes=%d", packets, t.Bytes.Or(-1))
	}
	return text + ")"
}

// trackedText is the line that dpctl/dump-conntrack would print for a row.
func trackedText(e *registry.OvsConntrackEntry) string {
	text := e.Protocol + ",orig=" + tupleText(&e.Original) + ",reply=" + tupleText(&e.Reply) + fmt.Sprint(",id=", fromHex(e.ID.Or("0")))
	if e.Zone != 0 {
		text += fmt.Sprintf(",zone=%d", e.Zone)
	}
	text += ",status=" + strings.ToUpper(strings.Join(append([]string{}, e.Status...), "|"))
	if e.Status == nil {
		text += "0"
	}
	if mark, ok := e.Mark.Get(); ok {
		text += fmt.Sprint(",mark=", fromHex(mark))
	}
	if labels, ok := e.Labels.Get(); ok {
		text += ",labels=0x" + strings.TrimLeft(labels, "0")
	}
	if state, ok := e.State.Get(); ok {
		text += ",protoinfo=(state_orig=" + strings.ToUpper(state) + ",state_reply=" + strings.ToUpper(e.StateReply.Or(state)) // the kernel keeps one
		if w, ok := e.TcpWindowScaleOriginal.Get(); ok {
			text += fmt.Sprintf(",wscale_orig=%d,wscale_reply=%d", w, e.TcpWindowScaleReply.Or(-1))
		}
		text += ",flags_orig=" + e.TcpFlagsOriginal.Or("") + ",flags_reply=" + e.TcpFlagsReply.Or("") + ")"
	}
	return text
}

func fromHex(digits string) uint64 {
	v, _ := strconv.ParseUint(digits, 16, 64)
	return v
}

// checkConntrack compares net.ovs.conntrack with what ovs-appctl(8) prints before and after.
func (s *switched) checkConntrack() {
	s.t.Helper()
	before := s.tracked()
	rows := rowsOf[registry.OvsConntrackEntry](s.t, s.n, "net.ovs.conntrack", "entries", object{})
	after := s.tracked()
	got := map[string]bool{}
	protocols := map[string]bool{}
	for i := range rows {
		text := trackedText(&rows[i])
		got[text], protocols[rows[i].Protocol] = true, true
		_, was := before[text]
		_, is := after[text]
		if !was && !is {
			s.t.Errorf("no such connection: %s", text)
		}
		if was && is {
			s.between("timeout of "+text, after[text], rows[i].TimeoutS.Or(-1), before[text])
		}
	}
	for text := range before {
		if _, is := after[text]; is && !got[text] {
			s.t.Errorf("missing: %s", text)
		}
	}
	if want := []string{"icmp", "icmpv6", "tcp", "udp"}; !slices.Equal(slices.Sorted(maps.Keys(protocols)), want) {
		s.t.Errorf("protocols %v, want %v", protocols, want)
	}
	for _, zone := range []int{s.zone4, s.zone6, 999} {
		for _, e := range rowsOf[registry.OvsConntrackEntry](s.t, s.n, "net.ovs.conntrack", "entries", object{"zone": zone}) {
			if e.Zone != int64(zone) {
				s.t.Errorf("in zone %d: %+v", zone, e)
			}
		}
	}
	if got := len(rowsOf[registry.OvsConntrackEntry](s.t, s.n, "net.ovs.conntrack", "entries", object{"limit": 2})); got != 2 {
		s.t.Errorf("limit 2 gives %d", got)
	}
}

// The limits of zones: zoneLimit is that of any, set before anything is tracked (set later it makes Open vSwitch count
// below 0); limitedZone is one that is not used.
const (
	zoneLimit   = 200000
	limitedZone = 77
)

// checkStats compares net.ovs.conntrack.stats with a count of the list.
func (s *switched) checkStats() {
	s.t.Helper()
	limit := 5000 + s.rng.IntN(1000)
	s.ovs.Appctl("dpctl/ct-set-limits", fmt.Sprintf("zone=%d,limit=%d", limitedZone, limit))
	for _, params := range []object{{}, {"zone": s.zone4}, {"zone": s.zone6}} {
		var args []string
		if zone, ok := params["zone"]; ok {
			args = []string{fmt.Sprint("zone=", zone)}
		}
		before := s.tracked(args...)
		stats := objects(mustCall(s.t, s.n, "net.ovs.conntrack.stats", params)["datapaths"])
		if after := s.tracked(args...); !maps.Equal(keysOf(before), keysOf(after)) {
			continue // something came, went or changed meanwhile
		}
		if len(stats) != 1 {
			s.t.Fatalf("%v", stats)
		}
		protocols := map[string]any{}
		for text := range before {
			name, _, _ := strings.Cut(text, ",")
			name = strings.ReplaceAll(name, "icmpv6", "other") // which Open vSwitch does not count
			count, _ := protocols[name].(float64)
			protocols[name] = count + 1
		}
		s.sameLists("protocols", protocols, map[string]any(stats[0]["protocols"].(object)))
		if stats[0]["count"] != float64(len(before)) || stats[0]["default_limit"] != float64(zoneLimit) || stats[0]["max"] != float64(3000000) ||
			stats[0]["tcp_sequence_check"] != true {
			s.t.Errorf("%v, want %d entries", stats[0], len(before))
		}
		limits := objects(stats[0]["zone_limits"])
		if _, one := params["zone"]; one {
			continue
		}
		if !slices.ContainsFunc(limits, func(l object) bool {
			return l["zone"] == float64(limitedZone) && l["limit"] == float64(limit) && l["count"] == float64(0)
		}) {
			s.t.Errorf("limits %v", limits)
		}
	}
}

func keysOf(m map[string]int64) map[string]bool {
	keys := map[string]bool{}
	for k := range m {
		keys[k] = true
	}
	return keys
}

// trackedID is what makes a tracked connection this one, whatever its state.
func trackedID(line string) string {
	zone := regexp.MustCompile(`,zone=\d+`).FindString(line)
	head, _, _ := strings.Cut(line, ",id=")
	return head + zone
}

// checkFlush empties a zone, and sometimes all of them.
func (s *switched) checkFlush() {
	s.t.Helper()
	zone := s.zone4
	if s.rng.IntN(2) == 0 {
		zone = s.zone6
	}
	in := fmt.Sprintf(",zone=%d", zone)
	belongs := func(id string) bool { return strings.HasSuffix(id, in) || zone == 0 && !strings.Contains(id, ",zone=") }
	before := s.tracked()
	if got := mustCall(s.t, s.n, "net.ovs.conntrack.flush", object{"zone": zone}); got["flushed"] != true {
		s.t.Errorf("%v", got)
	}
	left := map[string]bool{}
	for line := range s.tracked() {
		left[trackedID(line)] = true
	}
	gone := 0
	for line, timeout := range before {
		id := trackedID(line)
		switch {
		case belongs(id):
			gone++
			if left[id] && !strings.HasPrefix(id, "tcp") { // an open connection may have come anew
				s.t.Errorf("after a flush of zone %d: %s", zone, id)
			}
		case !left[id] && timeout > 5:
			s.t.Errorf("a flush of zone %d took %s", zone, id)
		}
	}
	if gone == 0 {
		s.t.Errorf("nothing was in zone %d", zone)
	}
	if s.rng.IntN(4) == 0 {
		s.hangUp()
		mustCall(s.t, s.n, "net.ovs.conntrack.flush", object{})
		for line := range s.tracked() {
			if !strings.HasPrefix(line, "tcp") {
				s.t.Errorf("after a flush of all: %s", line)
			}
		}
	}
}
