package ct

import (
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// statNames are the counters as conntrack(8) -S names them.
var statNames = map[string]int{
	"found": StatFound, "invalid": StatInvalid, "insert": StatInsert, "insert_failed": StatInsertFailed,
	"drop": StatDrop, "early_drop": StatEarlyDrop, "error": StatError, "search_restart": StatSearchRestart,
	"clash_resolve": StatClashResolve, "chaintoolong": StatChainTooLong,
}

func TestStatsAgainstConntrackTool(t *testing.T) {
	w := newNetwork(t, 1)
	w.a.Run("sysctl", "-qw", "net.netfilter.nf_conntrack_acct=1")
	if _, err := w.a.Try("table inet t { chain c { type filter hook output priority 0; ct state new accept; }; }\n", "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		w.dial("udp", "10.9.0.2", echoPort, "x")
		w.raw(unix.AF_INET, "10.9.0.2", unix.IPPROTO_ICMP, []byte{0, 0, 0xff, 0xff, 0, 0, 0, 0}) // a reply to nothing is invalid
	}
	conn := dial(t, w.a)
	stats, err := conn.StatsByCPU(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(w.statsWitness(), statsWords(stats)); diff != "" {
		t.Errorf("conntrack -S (-) and ours (+):\n%s", diff)
	}
	var invalid uint32
	for i := range stats {
		invalid += stats[i].Count[StatInvalid] + stats[i].Count[StatError]
		if !stats[i].Has(StatExpectNew) || stats[i].Has(StatSearched) {
			t.Errorf("CPU %d: tells %b", stats[i].CPU, stats[i].has)
		}
	}
	if invalid == 0 {
		t.Error("nothing was counted, so nothing was compared")
	}
	checkGlobal(t, w, conn)
}

func checkGlobal(t *testing.T, w *network, conn *Conn) {
	t.Helper()
	g, err := conn.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%d\n%d\n", g.Entries, g.MaxEntries)
	if got := w.a.Run("cat", "/proc/sys/net/netfilter/nf_conntrack_count", "/proc/sys/net/netfilter/nf_conntrack_max"); got != want || g.Entries == 0 {
		t.Errorf("count and max: ours %q, procfs %q", want, got)
	}
}

func dial(t *testing.T, ns *testhost.NetNS) *Conn {
	t.Helper()
	conn, err := Dial(ns.FD())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

var statPair = regexp.MustCompile(`(\w+)=(\d+)`)

// statsWitness reads conntrack -S: a line for each CPU.
func (w *network) statsWitness() []map[string]string {
	var cpus []map[string]string
	for line := range strings.Lines(w.a.Run("conntrack", "-S")) {
		words := map[string]string{}
		for _, m := range statPair.FindAllStringSubmatch(line, -1) {
			words[m[1]] = m[2]
		}
		cpus = append(cpus, words)
	}
	return cpus
}

func statsWords(stats []CPUStats) []map[string]string {
	var cpus []map[string]string
	for i := range stats {
		words := map[string]string{"cpu": strconv.Itoa(int(stats[i].CPU))}
		for name, stat := range statNames {
			if stats[i].Has(stat) {
				words[name] = strconv.Itoa(int(stats[i].Count[stat]))
			}
		}
		cpus = append(cpus, words)
	}
	return cpus
}

// TestExpectedConnection lets the FTP helper see a server offer a port, and a client take it.
func TestExpectedConnection(t *testing.T) {
	w := newNetwork(t, 1)
	rules := fmt.Sprintf("table inet t {\nct helper f { type \"ftp\" protocol tcp; }\nchain c { type filter hook output priority 0;\n"+
		"tcp dport %d ct helper set \"f\"\nudp dport %d ct label set 5 ct label set 100\n}\n}\n", openPort, echoPort)
	if _, err := w.a.Try(rules, "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	w.dial("udp", "10.9.0.2", echoPort, "label me")
	var control net.Conn
	var err error
	w.a.Do(func() { control, err = net.DialTimeout("tcp", fmt.Sprintf("10.9.0.2:%d", openPort), time.Second) })
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	say(t, control, "220 hello\r\n") // the helper looks at lines that follow one it has seen
	say(t, control, fmt.Sprintf("227 Entering Passive Mode (10,9,0,2,%d,%d)\r\n", closePort>>8, closePort&255))
	conn := dial(t, w.a)
	if n, err := conn.Expectations(t.Context()); n != 1 || err != nil {
		t.Fatalf("%d expectations, %v; want the one that the helper made", n, err)
	}
	w.dial("tcp", "10.9.0.2", closePort, "")
	checkExpected(t, collectEntries(t, conn, Filter{}))
	w.hangUp()
}

// say sends a line to a server that sends it back.
func say(t *testing.T, c net.Conn, line string) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := io.WriteString(c, line); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, len(line))); err != nil {
		t.Fatal(err)
	}
}

func checkExpected(t *testing.T, entries []Entry) {
	t.Helper()
	found := 0
	for i := range entries {
		e := &entries[i]
		switch e.Original.DstPort {
		case openPort:
			found++
			if e.Helper != "ftp" || e.Has(AttrTupleMaster) {
				t.Errorf("control connection: helper %q, master %+v", e.Helper, e.Master)
			}
		case closePort:
			found++
			if m := e.Master; m.DstPort != openPort || m.Proto != 6 || m.Dst != e.Original.Dst || e.Status&1 == 0 {
				t.Errorf("expected connection: master %+v, status %x", m, e.Status)
			}
		case echoPort:
			found++
			want := make([]byte, 16)
			want[0], want[12] = 1<<5, 1<<4
			if diff := gocmp.Diff(want, append([]byte(nil), e.Labels...)); diff != "" {
				t.Errorf("labels 5 and 100:\n%s", diff)
			}
		}
	}
	if found != 3 {
		t.Errorf("%d of the three connections", found)
	}
}

// BenchmarkEntries reads a table of many connections, made by datagrams to as many ports.
func BenchmarkEntries(b *testing.B) {
	testhost.Tool(b, "nft", "nftables")
	ns := testhost.NewNetNS(b)
	if _, err := ns.Try("table ip t { chain c { type filter hook output priority 0; ct state new accept; }; }\n", "nft", "-f", "-"); err != nil {
		b.Fatal(err)
	}
	const flows = 20_000
	ns.Do(func() {
		for port := range flows {
			if c, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", 10_000+port)); err == nil {
				_, _ = c.Write([]byte("x"))
				c.Close()
			}
		}
	})
	c, err := Dial(ns.FD())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for _, err := range c.Entries(b.Context(), Filter{}) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n < flows/2 {
			b.Fatal(n)
		}
	}
}
