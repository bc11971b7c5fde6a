package ovstext

import (
	"encoding/json"
	"errors"
	"flag"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
)

var update = flag.Bool("update", false, "write the golden files")

// readers has what reads the captured files, by how their names begin; nil for a line that is none of an entry.
var readers = map[string]func(t *testing.T, line string) any{
	"flows-": func(t *testing.T, line string) any {
		if ReplyHeader(line) {
			return nil
		}
		f := new(Flow)
		if err := f.Read(line); err != nil {
			t.Error(err)
		}
		if got := joined(f.Match); got != f.MatchText {
			t.Errorf("fields %s\nof %s", got, f.MatchText)
		}
		return f
	},
	"datapath-flows-": func(t *testing.T, line string) any {
		if _, ok := DumpTitle(line); ok {
			return nil
		}
		f := new(DatapathFlow)
		if err := f.Read(line); err != nil {
			t.Error(err)
		}
		return f
	},
	"conntrack-": func(t *testing.T, line string) any {
		c := new(Connection)
		if err := c.Read(line); err != nil {
			t.Error(err)
		}
		return c
	},
}

// joined are fields as ovs-ofctl prints them.
func joined(fields []Field) string {
	var all []string
	for _, f := range fields {
		text := f.Name
		if f.Value != "" {
			text += "=" + f.Value
		}
		if f.Mask != "" {
			text += "/" + f.Mask
		}
		all = append(all, text)
	}
	return strings.Join(all, ",")
}

// TestCaptured: the outputs of several versions, each entry as the golden file has it.
func TestCaptured(t *testing.T) {
	for prefix, read := range readers {
		files, err := filepath.Glob(filepath.Join("testdata", prefix+"*.txt"))
		if err != nil || len(files) < 2 {
			t.Fatal(files, err)
		}
		for _, file := range files {
			var got []string
			for line := range strings.Lines(contents(t, file)) {
				if entry := read(t, strings.TrimSuffix(line, "\n")); entry != nil {
					got = append(got, jsonOf(t, entry))
				}
			}
			checkGolden(t, file, got)
		}
	}
	files, _ := filepath.Glob("testdata/show-*.txt")
	for _, file := range files {
		datapaths, err := Datapaths(contents(t, file))
		if err != nil || len(datapaths) != 1 {
			t.Fatalf("%s: %+v %v", file, datapaths, err)
		}
		got := []string{}
		for _, p := range datapaths[0].Ports {
			got = append(got, jsonOf(t, p))
		}
		datapaths[0].Ports = nil
		checkGolden(t, file, append([]string{jsonOf(t, datapaths[0])}, got...))
	}
}

func contents(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func checkGolden(t *testing.T, file string, got []string) {
	t.Helper()
	golden := strings.TrimSuffix(file, ".txt") + ".golden"
	text := strings.Join(got, "\n") + "\n"
	if *update {
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(contents(t, golden), text); diff != "" {
		t.Errorf("%s (-want +got):\n%s", golden, diff)
	}
}

// TestActions: the forms that actions have (ovs-actions(7)).
func TestActions(t *testing.T) {
	for text, want := range map[string][]Action{
		"drop":                         nil,
		"":                             nil,
		"NORMAL":                       {{"NORMAL", ""}},
		"output:3,LOCAL":               {{"output", "3"}, {"LOCAL", ""}},
		"output(port=1,max_len=100)":   {{"output", "port=1,max_len=100"}},
		"resubmit(,3),decap()":         {{"resubmit", ",3"}, {"decap", ""}},
		"load:0x7->NXM_NX_CT_MARK[]":   {{"load", "0x7->NXM_NX_CT_MARK[]"}},
		"check_pkt_larger(1500)->R[0]": {{"check_pkt_larger", "(1500)->R[0]"}},
		"set_field:aa:bb:cc:dd:ee:ff->eth_src,goto_table:7": {{"set_field", "aa:bb:cc:dd:ee:ff->eth_src"}, {"goto_table", "7"}},
		"ct(commit,nat(src=1.1.1.1-1.1.1.5:10-20,random),exec(set_field:7->ct_mark)),output:1": {
			{"ct", "commit,nat(src=1.1.1.1-1.1.1.5:10-20,random),exec(set_field:7->ct_mark)"}, {"output", "1"}},
		`output:"a(b",output:"c,d"`:    {{"output", `"a(b"`}, {"output", `"c,d"`}},
		"learn(table=4,load:0->A[],b)": {{"learn", "table=4,load:0->A[],b"}},
		"write_actions(set_queue:5)":   {{"write_actions", "set_queue:5"}},
		"broken(a,b":                   {{"broken", "(a,b"}},
	} {
		if diff := cmp.Diff(want, appendActions(nil, text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// TestFlowForms: what stands in no captured file.
func TestFlowForms(t *testing.T) {
	var f Flow
	for line, want := range map[string]Flow{
		" cookie=0x0, duration=1s, table=0, reset_counts actions=drop": {Cookie: "0", Duration: 1, Priority: 32768, Flags: []string{"reset_counts"}},
		" cookie=0xABC, duration=1.5s, table=254, hard_age=7, ip actions=drop": {
			Cookie: "abc", Duration: 1.5, Table: 254, Priority: 32768, HardAge: 7, Match: []Field{{Name: "ip"}}, MatchText: "ip"},
		" cookie=0x1, duration=1s, table=0, new_flag priority=3,packet_type=(1,0x800),reg0=0x5/0xff actions=drop": {
			Cookie: "1", Duration: 1, Priority: 3, Flags: []string{"new_flag"}, MatchText: "packet_type=(1,0x800),reg0=0x5/0xff",
			Match: []Field{{Name: "packet_type", Value: "(1,0x800)"}, {Name: "reg0", Value: "0x5", Mask: "0xff"}}},
	} {
		if err := f.Read(line); err != nil {
			t.Error(err)
		}
		want.ActionsText, want.IdleAge = "drop", -1
		if want.HardAge == 0 {
			want.HardAge = -1
		}
		if got, want := jsonOf(t, emptied(f)), jsonOf(t, emptied(want)); got != want {
			t.Errorf("%s:\n%s, want\n%s", line, got, want)
		}
	}
}

// emptied is f with lists that are there.
func emptied(f Flow) Flow {
	f.Flags, f.Match, f.Actions = append([]string{}, f.Flags...), append([]Field{}, f.Match...), append([]Action{}, f.Actions...)
	return f
}

// TestGarbage: what is no line of theirs is refused by every reader.
func TestGarbage(t *testing.T) {
	for line, read := range map[string]func(string) error{
		"":                          new(Flow).Read,
		"OFPT_ERROR (xid=0x4):":     new(Flow).Read,
		" cookie=0x0":               new(Flow).Read,
		" cookie=5, actions=drop":   new(Flow).Read,
		" cookie=0x0, table=256, a": new(Flow).Read,
		" cookie=0x0, duration=-1s, table=0, actions=drop":         new(Flow).Read,
		" cookie=0x0, duration=1s, priority=65536,ip actions=drop": new(Flow).Read,
		"in_port(1)": new(DatapathFlow).Read,
		"in_port(1), packets:x, bytes:0, used:never, actions:1": new(DatapathFlow).Read,
		"in_port(1), packets:1, bytes:0, used:never":            new(DatapathFlow).Read,
		"ufid:1234, in_port(1), packets:1, bytes:0, actions:1":  new(DatapathFlow).Read,
		"tcp":                                 new(Connection).Read,
		"Unsupported address family: 7. HEX:": new(Connection).Read,
		"tcp,orig=(src=1.1.1.1,dst=2.2.2.2),reply=(src=1.1.1.1)":                        new(Connection).Read,
		"tcp,orig=(src=1.1.1.1,dst=::1),reply=(src=1.1.1.1,dst=::1)":                    new(Connection).Read,
		"tcp,orig=(src=1.1.1.1,dst=1.1.1.2),reply=(src=1.1.1.2,dst=1.1.1.1),zone=70000": new(Connection).Read,
		"tcp,orig=(src=fe80::1%1,dst=fe80::1),reply=(src=fe80::1,dst=fe80::1)":          new(Connection).Read,
	} {
		if err := read(line); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", line, err)
		}
	}
	for _, text := range []string{"no colon\n", "  flows: 1\n", "x:\n  port a: b\n"} {
		if _, err := Datapaths(text); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if text, ok := DecodeError("***decode error: OFPBAC_BAD_VENDOR_TYPE***"); !ok || text != "OFPBAC_BAD_VENDOR_TYPE" {
		t.Error(text, ok)
	}
}

func TestStatistics(t *testing.T) {
	s, err := ReadStats(contents(t, "testdata/stats-3.1.0.txt"))
	want := &Stats{Count: 2, Protocols: map[string]int64{"TCP": 1, "ICMP": 1}, TCPStates: map[string]int64{"TIME_WAIT": 1}}
	if diff := cmp.Diff(want, s); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, text := range []string{"", "Connections Stats:\n", "    Total: x\n"} {
		if _, err := ReadStats(text); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", text, err)
		}
	}
	byDefault, zones, err := ReadLimits("default limit=100\nzone=5,limit=10,count=2\nzone=6,limit=0,count=0\n")
	if diff := cmp.Diff([]ZoneLimit{{5, 10, 2}, {6, 0, 0}}, zones); diff != "" || byDefault != 100 || err != nil {
		t.Errorf("%d %v (-want +got):\n%s", byDefault, err, diff)
	}
	for _, text := range []string{"default limit=x", "zone=5", "zone=70000,limit=1", "nonsense"} {
		if _, _, err := ReadLimits(text); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if core, ok := DumpTitle("flow-dump from pmd on cpu core: 3"); !ok || core != 3 {
		t.Error(core, ok)
	}
	if core, ok := DumpTitle("flow-dump from the main thread:"); !ok || core != -1 {
		t.Error(core, ok)
	}
}

// seed gives a fuzz target the lines of captured files.
func seed(f *testing.F, pattern string, whole bool) {
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		if whole {
			f.Add(string(text))
			continue
		}
		for line := range strings.Lines(string(text)) {
			f.Add(strings.TrimSuffix(line, "\n"))
		}
	}
}

func FuzzFlow(f *testing.F) {
	seed(f, "flows-*.txt", false)
	f.Fuzz(func(t *testing.T, line string) {
		var flow, again Flow
		err := flow.Read(line)
		if err != nil && !errors.Is(err, ErrFormat) {
			t.Fatal(err)
		}
		if err := again.Read(" cookie=0x1, duration=2s, table=3, priority=4,ip,tp_dst=5/6 actions=output:7"); err != nil || len(again.Match) != 2 {
			t.Fatal(err)
		}
		if errAgain := again.Read(line); (err == nil) != (errAgain == nil) || err == nil && jsonOf(t, emptied(flow)) != jsonOf(t, emptied(again)) {
			t.Fatalf("%q is read otherwise into used memory", line)
		}
	})
}

func FuzzDatapathFlow(f *testing.F) {
	seed(f, "datapath-flows-*.txt", false)
	f.Fuzz(func(t *testing.T, line string) {
		var flow DatapathFlow
		if err := flow.Read(line); err != nil && !errors.Is(err, ErrFormat) {
			t.Fatal(err)
		}
		DumpTitle(line)
	})
}

func FuzzConnection(f *testing.F) {
	seed(f, "conntrack-*.txt", false)
	f.Fuzz(func(t *testing.T, line string) {
		var c Connection
		err := c.Read(line)
		if err != nil && !errors.Is(err, ErrFormat) {
			t.Fatal(err)
		}
		if err == nil && (!c.Original.Destination.IsValid() || !c.Reply.Destination.IsValid() || len(c.Labels) > 32) {
			t.Fatalf("%q: %+v", line, c)
		}
	})
}

func FuzzShow(f *testing.F) {
	seed(f, "show-*.txt", true)
	seed(f, "stats-*.txt", true)
	f.Add("default limit=100\nzone=5,limit=10,count=2\n")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := Datapaths(text); err != nil && !errors.Is(err, ErrFormat) {
			t.Fatal(err)
		}
		if s, err := ReadStats(text); err == nil && s.Count < 0 {
			t.Fatalf("%+v", s)
		}
		if byDefault, _, err := ReadLimits(text); err == nil && (byDefault < -1 || byDefault >= 1<<32) {
			t.Fatal(byDefault)
		}
	})
}

// TestNumbersAndAddresses: the short ways of reading them take what the library takes, and nothing else.
func TestNumbersAndAddresses(t *testing.T) {
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 1))
	pieces := []string{"0", "1", "9", "25", "255", "256", "65535", "65536", "4294967296", "9999999999999999999", "18446744073709551615", "18446744073709551616", ".", ".", ".", "", "-", "+", "_", " ", "a", "::", "%"}
	for range testhost.Rounds(5) * 10_000 {
		var b strings.Builder
		for range 1 + rng.IntN(8) {
			b.WriteString(pieces[rng.IntN(len(pieces))])
		}
		for _, bits := range []int{8, 16, 32, 64} {
			v, ok := unsigned(b.String(), bits)
			if want, err := strconv.ParseUint(b.String(), 10, bits); ok != (err == nil) || ok && v != want {
				t.Fatalf("%q of %d bits: %d %v, want %d %v", b.String(), bits, v, ok, want, err)
			}
		}
		var a netip.Addr
		ok := address(b.String(), &a)
		if want, err := netip.ParseAddr(b.String()); ok != (err == nil && want.Zone() == "") || ok && a != want {
			t.Fatalf("%q: %v %v, want %v %v", b.String(), a, ok, want, err)
		}
	}
}
