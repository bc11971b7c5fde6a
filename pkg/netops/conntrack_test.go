package netops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/ct"
	"github.com/geomind/my_os_server/internal/nlsock"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// resultOf calls a method as the server does, and returns its result, which is checked against the
// method's schema.
func resultOf(t *testing.T, n *Net, method, params string) (json.RawMessage, error) {
	t.Helper()
	m, ok := registry.Lookup(method)
	if !ok {
		t.Fatalf("no method %s", method)
	}
	p, err := m.Decode([]byte(params))
	if err != nil {
		return nil, err
	}
	var whole []byte
	out := &registry.Out{Write: func(b []byte) error { whole = append(whole, b...); return nil }}
	if err := m.Call(context.Background(), &registry.Servers{Net: n}, p, out); err != nil {
		return nil, err
	}
	whole = append(whole, out.Buf...)
	testhost.ValidateResult(t, method, whole)
	return whole, nil
}

// entriesOf lists net.conntrack.
func entriesOf(t *testing.T, n *Net, params string) []registry.ConntrackEntry {
	t.Helper()
	raw, err := resultOf(t, n, "net.conntrack", params)
	if err != nil {
		t.Fatal(err)
	}
	var result struct {
		Entries []registry.ConntrackEntry `json:"entries"`
	}
	if err := json.Unmarshal(raw, &result); err != nil {
		t.Fatal(err)
	}
	return result.Entries
}

// trackedHost is a host that talks with itself, in zones, with marks.
func trackedHost(t *testing.T) (*testhost.NetNS, *Net) {
	t.Helper()
	testhost.Tool(t, "conntrack", "conntrack")
	testhost.Tool(t, "nft", "nftables")
	ns := testhost.NewNetNS(t)
	n, err := New(Options{NetNS: ns.Path()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	ns.Run("sysctl", "-qw", "net.netfilter.nf_conntrack_acct=1", "net.netfilter.nf_conntrack_timestamp=1")
	rules := "table inet t {\n"
	for _, hook := range []string{"prerouting", "output"} {
		rules += "chain z" + hook + " {\ntype filter hook " + hook + " priority -300;\n" +
			"udp dport 1000-1099 ct zone set 5\nudp dport 1100-1199 ct original zone set 7\nudp dport 1200-1299 ct reply zone set 9\n" +
			"tcp dport 1000-1099 ct zone set 6\ntcp sport 1000-1099 ct zone set 6\n}\n"
	}
	rules += "chain m {\ntype filter hook output priority 0;\nudp dport 1000-1149 ct mark set 0x1234abcd\ntcp dport 1-65535 ct mark set 7\nct label set 3\n}\n}\n"
	if _, err := ns.Try(rules, "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	takeCalls(t, ns)
	return ns, n
}

// takeCalls listens where talk dials, in a zone and outside.
func takeCalls(t *testing.T, ns *testhost.NetNS) {
	t.Helper()
	ns.Do(func() {
		for _, address := range []string{"127.0.0.1:1050", "127.0.0.1:2050", "[::1]:1050", "[::1]:2050"} {
			l, err := net.Listen("tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { l.Close() })
		}
	})
}

// talk makes flows of several protocols at random. The connections stand until the test ends.
func talk(t *testing.T, ns *testhost.NetNS, rng *rand.Rand, flows int) {
	t.Helper()
	ns.Do(func() {
		for range flows {
			host := []string{"127.0.0.1", "::1"}[rng.IntN(2)]
			network := []string{"tcp", "udp", "udp", "raw"}[rng.IntN(4)]
			port := map[string]int{"tcp": 1050 + 1000*rng.IntN(2), "udp": 1000 + rng.IntN(400)}[network]
			if network == "raw" {
				network, port = map[string]string{"127.0.0.1": "ip4:icmp", "::1": "ip6:47"}[host], 0
			}
			speak(t, network, host, port)
		}
	})
}

func speak(t *testing.T, network, host string, port int) {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	if port == 0 {
		address = host
	}
	d := net.Dialer{Timeout: 20 * time.Millisecond, KeepAlive: -1} // one kept alive would be tracked anew 15 s after it was forgotten
	c, err := d.Dial(network, address)
	if err != nil {
		return // a handshake that its zones part stays half made, and is listed so
	}
	t.Cleanup(func() { c.Close() })
	payload := "hello there!"
	switch network {
	case "ip4:icmp":
		payload = "\x08\x00\xf7\xfd\x00\x01\x00\x01"
	case "ip6:47":
		payload = "\x20\x00\x08\x00\x00\x00\x00\x07abcd"
	}
	_, _ = io.WriteString(c, payload)
}

// line is an entry as one line of conntrack(8), in words that both sides can give.
type line struct {
	Head  []string // family, protocol, state
	Words []string // key=value in their order
	Marks []string // [ASSURED], [UNREPLIED]
}

var (
	lineHead  = regexp.MustCompile(`^(ipv[46]) +\d+ (\w+) +(\d+)(?: (\d+))?(?: ([A-Z][A-Z_0-9]+))? src=`)
	lineWord  = regexp.MustCompile(`[a-z-]+=\S+`)
	lineFlags = regexp.MustCompile(`\[[A-Z]+\]`)
)

// conntrackLines lists the table with conntrack(8), by id, without what changes while one looks.
func conntrackLines(t *testing.T, ns *testhost.NetNS) (lines map[string]line, timeouts map[string]int64) {
	t.Helper()
	lines, timeouts = map[string]line{}, map[string]int64{}
	for text := range strings.Lines(ns.Run("conntrack", "-L", "-o", "extended,id")) {
		head := lineHead.FindStringSubmatch(text)
		words := lineWord.FindAllString(text, -1)
		if head == nil || len(words) == 0 {
			t.Fatalf("conntrack: %q", text)
		}
		id := words[len(words)-1]
		words = slices.DeleteFunc(words, func(w string) bool { return strings.HasPrefix(w, "delta-time=") || strings.HasPrefix(w, "use=") })
		lines[id] = line{Head: []string{head[1], head[3], strings.ToLower(head[5])}, Words: words, Marks: lineFlags.FindAllString(text, -1)}
		timeouts[id], _ = strconv.ParseInt(head[4], 10, 64)
	}
	return lines, timeouts
}

// asLine says one of our entries as conntrack(8) would.
func asLine(e *registry.ConntrackEntry) line {
	id, _ := strconv.ParseUint(e.ID.Or(""), 16, 32)
	mark, _ := strconv.ParseUint(e.Mark.Or(""), 16, 32)
	l := line{Head: []string{string(e.Family), strconv.FormatInt(e.ProtocolNumber, 10), e.State.Or("")}}
	l.Words = append(l.Words, tupleWords(&e.Original, "zone-orig")...)
	l.Words = append(l.Words, tupleWords(&e.Reply, "zone-reply")...)
	l.Words = append(l.Words, fmt.Sprint("mark=", mark))
	if e.Zone != 0 {
		l.Words = append(l.Words, fmt.Sprint("zone=", e.Zone))
	}
	l.Words = append(l.Words, fmt.Sprint("id=", id))
	if !slices.Contains(e.Status, "seen_reply") {
		l.Marks = append(l.Marks, "[UNREPLIED]")
	}
	if slices.Contains(e.Status, "assured") {
		l.Marks = append(l.Marks, "[ASSURED]")
	}
	return l
}

func tupleWords(t *registry.ConntrackTuple, zone string) []string {
	words := []string{fmt.Sprint("src=", t.Source), fmt.Sprint("dst=", t.Destination)}
	add := func(format string, v registry.Opt[int64]) {
		if n, ok := v.Get(); ok {
			words = append(words, fmt.Sprintf(format, n))
		}
	}
	add("sport=%d", t.SourcePort)
	add("dport=%d", t.DestinationPort)
	add("srckey=0x%x", t.SourceKey)
	add("dstkey=0x%x", t.DestinationKey)
	add("type=%d", t.IcmpType)
	add("code=%d", t.IcmpCode)
	add("id=%d", t.IcmpID)
	add(zone+"=%d", t.Zone)
	add("packets=%d", t.Packets)
	add("bytes=%d", t.Bytes)
	return words
}

func TestConntrackAgainstConntrackTool(t *testing.T) {
	ns, n := trackedHost(t)
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 0))
	for range testhost.Rounds(5) {
		if _, err := ns.Try("", "conntrack", "-F"); err != nil {
			t.Fatal(err)
		}
		talk(t, ns, rng, 3+rng.IntN(10))
		compareConntrack(t, ns, n)
	}
}

// compareConntrack reads the table between two looks of the witness, which must agree: a table that was
// about to change is looked at again.
func compareConntrack(t *testing.T, ns *testhost.NetNS, n *Net) {
	t.Helper()
	for range 20 {
		want, timeouts := conntrackLines(t, ns)
		entries := entriesOf(t, n, "{}")
		if after, _ := conntrackLines(t, ns); !cmp.Equal(want, after) {
			continue
		}
		got := map[string]line{}
		for _, e := range entries {
			l := asLine(&e)
			id := l.Words[len(l.Words)-1]
			got[id] = l
			if e.TimeoutS.Or(-9) > timeouts[id] || e.TimeoutS.Or(-9) < timeouts[id]-2 {
				t.Errorf("%v: %v s left, the witness says %d", l, e.TimeoutS, timeouts[id])
			}
			checkEntry(t, &e)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("conntrack -L (-) and ours (+):\n%s", diff)
		}
		return
	}
	t.Fatal("the table does not come to rest")
}

// checkEntry looks at what conntrack(8) does not tell.
func checkEntry(t *testing.T, e *registry.ConntrackEntry) {
	t.Helper()
	started, ok := e.StartedAt.Get()
	if age := time.Since(started); !ok || age < 0 || age > time.Minute {
		t.Errorf("started at %v", e.StartedAt)
	}
	if e.Labels.Or("") != "00000000000000000000000000000008" {
		t.Errorf("labels %q, want that of bit 3", e.Labels.Or(""))
	}
	if e.ProtocolNumber == unix.IPPROTO_TCP && !e.TcpFlagsOriginal.IsSet() {
		t.Error("a TCP connection without its flags")
	}
	if e.Use.Or(0) < 1 || !slices.Contains(e.Status, "confirmed") {
		t.Errorf("use %v, status %v", e.Use, e.Status)
	}
}

func TestConntrackFilters(t *testing.T) {
	ns, n := trackedHost(t)
	talk(t, ns, rand.New(rand.NewPCG(1, 0)), 80)
	all := entriesOf(t, n, "{}")
	zoneOf := func(e *registry.ConntrackEntry) int64 {
		return max(e.Zone, e.Original.Zone.Or(0), e.Reply.Zone.Or(0))
	}
	for params, fits := range map[string]func(*registry.ConntrackEntry) bool{
		`{"zone":5}`:                 func(e *registry.ConntrackEntry) bool { return zoneOf(e) == 5 },
		`{"zone":0}`:                 func(e *registry.ConntrackEntry) bool { return zoneOf(e) == 0 },
		`{"zone":9,"family":"ipv6"}`: func(e *registry.ConntrackEntry) bool { return zoneOf(e) == 9 && e.Family == "ipv6" },
		`{"protocol":"udp"}`:         func(e *registry.ConntrackEntry) bool { return e.ProtocolNumber == 17 },
		`{"protocol":"47"}`:          func(e *registry.ConntrackEntry) bool { return e.Protocol == "gre" },
		`{"mark":"1234abcd"}`:        func(e *registry.ConntrackEntry) bool { return e.Mark.Or("") == "1234abcd" },
		`{"mark":"cd","mark_mask":"ff"}`: func(e *registry.ConntrackEntry) bool {
			return strings.HasSuffix(e.Mark.Or(""), "cd")
		},
		`{"state":"established"}`:                            func(e *registry.ConntrackEntry) bool { return e.State.Or("") == "established" },
		`{"source":"127.0.0.1/32","protocol":"tcp"}`:         func(e *registry.ConntrackEntry) bool { return e.Family == "ipv4" && e.Protocol == "tcp" },
		`{"destination":"::/64"}`:                            func(e *registry.ConntrackEntry) bool { return e.Family == "ipv6" },
		`{"source":"::1/128","destination":"127.0.0.0/8"}`:   func(e *registry.ConntrackEntry) bool { return false },
		`{"family":"ipv4","source":"::1/128"}`:               func(e *registry.ConntrackEntry) bool { return false },
		`{"destination":"::1/128","family":"ipv6","zone":0}`: func(e *registry.ConntrackEntry) bool { return e.Family == "ipv6" && zoneOf(e) == 0 },
	} {
		var want, got []string
		for i := range all {
			if fits(&all[i]) {
				want = append(want, all[i].ID.Or(""))
			}
		}
		for _, e := range entriesOf(t, n, params) {
			got = append(got, e.ID.Or(""))
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: chosen from all (-), filtered (+):\n%s", params, diff)
		}
	}
	if got := len(entriesOf(t, n, `{"limit":3}`)); got != 3 {
		t.Errorf("limit 3 gives %d", got)
	}
}

func TestConntrackParams(t *testing.T) {
	ns := testhost.NewNetNS(t)
	n, err := New(Options{NetNS: ns.Path()})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for params, want := range map[string][]string{
		`{"protocol":"carrier_pigeon"}`:                  {"protocol"},
		`{"protocol":"256"}`:                             {"protocol"},
		`{"mark":"100000000"}`:                           {"mark"},
		`{"mark_mask":"ff"}`:                             {"mark_mask"},
		`{"protocol":"x","mark":"100000000"}`:            {"protocol", "mark"},
		`{"mark":"1","mark_mask":"fffffffffffffffffff"}`: {"mark_mask"},
	} {
		_, err := resultOf(t, n, "net.conntrack", params)
		var faults *registry.ParamsError
		if !errors.As(err, &faults) {
			t.Errorf("%s: %v", params, err)
			continue
		}
		var got []string
		for _, f := range faults.Faults {
			got = append(got, f.Path)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", params, diff)
		}
	}
}

func TestConntrackStats(t *testing.T) {
	ns, n := trackedHost(t)
	talk(t, ns, rand.New(rand.NewPCG(2, 0)), 20)
	raw, err := resultOf(t, n, "net.conntrack.stats", "{}")
	if err != nil {
		t.Fatal(err)
	}
	var got registry.NetConntrackStatsResult
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	entries := int64(len(entriesOf(t, n, "{}")))
	if got.Count != entries || got.Max < entries || !got.Accounting.Or(false) || !got.Timestamps.Or(false) || got.ExpectCount.Or(-1) != 0 {
		t.Errorf("%s; the list has %d", raw, entries)
	}
	checkTotal(t, &got, ns.Run("conntrack", "-S"))
}

// checkTotal adds up what conntrack -S says of each CPU.
func checkTotal(t *testing.T, got *registry.NetConntrackStatsResult, witness string) {
	t.Helper()
	sums := map[string]int64{}
	for _, m := range regexp.MustCompile(`(\w+)=(\d+)`).FindAllStringSubmatch(witness, -1) {
		v, _ := strconv.ParseInt(m[2], 10, 64)
		sums[m[1]] += v
	}
	delete(sums, "cpu")
	c := got.Total
	ours := map[string]int64{
		"found": c.Found, "invalid": c.Invalid, "insert": c.Insert, "insert_failed": c.InsertFailed, "drop": c.Drop,
		"early_drop": c.EarlyDrop, "error": c.Error, "search_restart": c.SearchRestart,
		"clash_resolve": c.ClashResolve.Or(-1), "chaintoolong": c.ChainTooLong.Or(-1),
	}
	if diff := cmp.Diff(sums, ours); diff != "" {
		t.Errorf("conntrack -S, summed (-), and ours (+):\n%s", diff)
	}
	if len(got.Cpus) != strings.Count(witness, "cpu=") {
		t.Errorf("%d CPUs", len(got.Cpus))
	}
}

// Without CAP_NET_ADMIN the list is refused with the capability's name; of the statistics, what procfs
// has is still there.
func TestConntrackWithoutPrivilege(t *testing.T) {
	ns, n := trackedHost(t)
	talk(t, ns, rand.New(rand.NewPCG(3, 0)), 5)
	own, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	var list, stats error
	var raw json.RawMessage
	testhost.WithoutCapabilities(t, func() {
		_, list = resultOf(t, n, "net.conntrack", "{}")
		raw, stats = resultOf(t, own, "net.conntrack.stats", "{}")
	})
	var refused *nlsock.OpError
	if !errors.As(list, &refused) || refused.Capability() != "CAP_NET_ADMIN" || !errors.Is(list, syscall.EPERM) {
		t.Errorf("list: %v", list)
	}
	if stats != nil || strings.Contains(string(raw), "total") || !strings.Contains(string(raw), `"max":`) {
		t.Errorf("statistics: %s %v", raw, stats)
	}
}

func TestConntrackErrorOfAKernelWithout(t *testing.T) {
	err := conntrackError(fmt.Errorf("%w: %w", ct.ErrNoConntrack, syscall.EINVAL))
	var unsupported *registry.UnsupportedError
	if !errors.As(err, &unsupported) || unsupported.Reason != registry.UnsupportedReasonKernel || unsupported.Missing.Or("") == "" {
		t.Errorf("%#v", err)
	}
	if other := conntrackError(syscall.ENOBUFS); !errors.Is(other, syscall.ENOBUFS) {
		t.Error(other)
	}
}

// Without /proc the kernel is asked how full the table is; without privilege either, that is said.
func TestConntrackStatsWithoutProc(t *testing.T) {
	ns, n := trackedHost(t)
	talk(t, ns, rand.New(rand.NewPCG(4, 0)), 10)
	bare, err := New(Options{NetNS: ns.Path(), Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	raw, err := resultOf(t, bare, "net.conntrack.stats", "{}")
	if err != nil {
		t.Fatal(err)
	}
	var got registry.NetConntrackStatsResult
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if want := int64(len(entriesOf(t, n, "{}"))); got.Count != want || got.Max == 0 || got.Buckets.IsSet() || got.Total == nil {
		t.Errorf("%s; the list has %d", raw, want)
	}
	testhost.WithoutCapabilities(t, func() { _, err = resultOf(t, bare, "net.conntrack.stats", "{}") })
	if !errors.Is(err, syscall.EPERM) {
		t.Errorf("without privilege: %v", err)
	}
}
