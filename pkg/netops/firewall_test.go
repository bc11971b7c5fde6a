package netops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/hostexec"
	"github.com/geomind/my_os_server/internal/nlsock"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// filteringHost is a host with nft(8) at hand.
func filteringHost(t *testing.T) (*testhost.NetNS, *Net) {
	t.Helper()
	testhost.Tool(t, "nft", "nftables")
	ns := testhost.NewNetNS(t)
	n, err := New(Options{NetNS: ns.Path()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return ns, n
}

func loadRuleset(t *testing.T, ns *testhost.NetNS, rules string) {
	t.Helper()
	if _, err := ns.Try(rules, "nft", "-f", "-"); err != nil {
		t.Fatalf("%v\nof:\n%s", err, rules)
	}
}

// firewallOf lists net.firewall.
func firewallOf(t *testing.T, n *Net, params string) (items []registry.NftItem, end registry.NetFirewallEnd) {
	t.Helper()
	raw, err := resultOf(t, n, "net.firewall", params)
	if err != nil {
		t.Fatal(err)
	}
	var result struct {
		Items []registry.NftItem `json:"items"`
	}
	if err := errors.Join(json.Unmarshal(raw, &result), json.Unmarshal(raw, &end)); err != nil {
		t.Fatal(err)
	}
	return result.Items, end
}

// TestFirewallAgainstNft makes rulesets at random and compares all of them with what nft(8) says: its
// JSON for tables, chains, sets, elements, objects, comments and handles, and its own decoding of
// netlink for every expression of every rule.
func TestFirewallAgainstNft(t *testing.T) {
	compareRulesets(t, testhost.Rounds(4), 200)
}

// compareRulesets does so with rulesets of so many rules, and returns what the kernel took.
func compareRulesets(t *testing.T, rounds, rulesEach int) randomRuleset {
	t.Helper()
	ns, n := filteringHost(t)
	r := randomRuleset{rng: rand.New(rand.NewPCG(testhost.Seed(t), 0))}
	r.probe(ns)
	seen := map[string]int{}
	for range rounds {
		rules := r.write(rulesEach)
		loadRuleset(t, ns, rules)
		items, end := firewallOf(t, n, `{"text":true}`)
		if !end.Generation.IsSet() || end.Consistent.IsSet() {
			t.Fatalf("generation %v, consistent %v of a ruleset at rest", end.Generation, end.Consistent)
		}
		compareThings(t, items, ns.Run("nft", "-j", "-a", "list", "ruleset"))
		compareRules(t, items, ns.Run("nft", "--debug=netlink", "list", "ruleset"))
		compareTexts(t, items, ns.Run("nft", "-a", "list", "ruleset"))
		countKinds(t, items, seen)
		if t.Failed() {
			t.Fatalf("of:\n%s", rules)
		}
	}
	t.Log(seen)
	return r
}

func compare(t *testing.T, what string, theirs, ours any) {
	t.Helper()
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("%s: nft (-) and ours (+):\n%s", what, diff)
	}
}

// countKinds counts the kinds of expressions, and wants none undecoded.
func countKinds(t *testing.T, items []registry.NftItem, seen map[string]int) {
	t.Helper()
	for _, it := range items {
		if it.Rule == nil {
			continue
		}
		for _, x := range it.Rule.Expressions {
			seen[x.Type]++
			if x.Raw.IsSet() {
				t.Errorf("an expression %s of %+v is not all decoded: %s", x.Type, it.Rule, x.Raw.Or(""))
			}
		}
	}
}

// compareRules compares expressions with nft's own decoding of netlink: for each rule its table, chain,
// handle and position, and a line an expression.
func compareRules(t *testing.T, items []registry.NftItem, debug string) {
	t.Helper()
	var ours []string
	for _, it := range items {
		if it.Rule == nil {
			continue
		}
		r := it.Rule
		rule := fmt.Sprintf("%s %s %s %d", r.Family, r.Table, r.Chain, r.Handle) + opt(" %d", r.Position)
		for i := range r.Expressions {
			rule += "\n[ " + exprWords(&r.Expressions[i]) + " ]"
		}
		ours = append(ours, rule)
	}
	compare(t, "rules", debugRules(debug), ours)
}

var debugHead = regexp.MustCompile(`^(ip|ip6|inet|arp|bridge|netdev) \S+ [^@]\S* \d+`)

func debugRules(debug string) []string {
	var rules []string
	for line := range strings.Lines(debug) {
		line = strings.TrimRight(line, " \n")
		switch {
		case strings.HasPrefix(line, "table "):
			return rules
		case debugHead.MatchString(line):
			rules = append(rules, line)
		case strings.HasPrefix(line, "  ["):
			rules[len(rules)-1] += "\n" + strings.TrimSpace(line)
		}
	}
	return rules
}

// compareTexts finds every rule's text in what nft prints.
func compareTexts(t *testing.T, items []registry.NftItem, printed string) {
	t.Helper()
	lines := map[string]bool{}
	for line := range strings.Lines(printed) {
		lines[strings.TrimSpace(line)] = true
	}
	for _, it := range items {
		if r := it.Rule; r != nil && !lines[fmt.Sprintf("%s # handle %d", r.Text.Or(""), r.Handle)] {
			t.Errorf("%s %s %d: nft prints no %q", r.Table, r.Chain, r.Handle, r.Text.Or(""))
		}
	}
}

// things is what nft's JSON has of each kind, by kind, family, table and name, in words.
type things map[string]string

func compareThings(t *testing.T, items []registry.NftItem, witness string) {
	t.Helper()
	var doc struct {
		Nftables []map[string]json.RawMessage `json:"nftables"`
	}
	if err := json.Unmarshal([]byte(witness), &doc); err != nil {
		t.Fatal(err)
	}
	theirs, ours := things{}, things{}
	for _, entry := range doc.Nftables {
		for kind, raw := range entry {
			theirs.addWitness(t, kind, raw)
		}
	}
	elements := map[string][]string{}
	for i := range items {
		ours.add(&items[i], elements)
	}
	for set, list := range elements {
		slices.Sort(list)
		if _, named := ours["set "+set]; named {
			ours["elements "+set] = strings.Join(list, "\n")
		}
	}
	compare(t, "tables, chains, sets, objects", theirs, ours)
}

func (th things) add(it *registry.NftItem, elements map[string][]string) {
	switch {
	case it.Table != nil:
		th[fmt.Sprintf("table %s %s", it.Table.Family, it.Table.Name)] = fmt.Sprint(it.Table.Handle)
	case it.Chain != nil:
		c := it.Chain
		words := fmt.Sprintf("%d %s %s", c.Handle, c.Type.Or(""), c.Hook.Or("")) + opt(" %d ", c.Priority) + c.Policy.Or("")
		if c.Family == registry.NftFamilyNetdev {
			words += fmt.Sprint(c.Devices)
		}
		th[fmt.Sprintf("chain %s %s %s", c.Family, c.Table, c.Name)] = words
	case it.Flowtable != nil:
		f := it.Flowtable
		th[fmt.Sprintf("flowtable %s %s %s", f.Family, f.Table, f.Name)] = fmt.Sprintf("%d %s %d %v", f.Handle, f.Hook, f.Priority, f.Devices)
	case it.Rule != nil:
		r := it.Rule
		th[fmt.Sprintf("rule %s %s %d", r.Family, r.Table, r.Handle)] = r.Chain + " " + r.Comment.Or("")
	case it.Set != nil:
		if !strings.HasPrefix(it.Set.Name, "__") {
			th.addSet(it.Set)
		}
	case it.Elements != nil:
		e := it.Elements
		set := fmt.Sprintf("%s %s %s", e.Family, e.Table, e.Set)
		for i := range e.Elements {
			elements[set] = append(elements[set], elementWords(&e.Elements[i]))
		}
	case it.Object != nil:
		o := it.Object
		th[fmt.Sprintf("%s %s %s %s", strings.Replace(o.Type, "ct_", "ct ", 1), o.Family, o.Table, o.Name)] = objectWords(o)
	}
}

func (th things) addSet(s *registry.NftSet) {
	words := fmt.Sprintf("%d %s", s.Handle, s.KeyType)
	if s.Map {
		words += " : " + s.DataType.Or(s.ObjectType.Or(""))
	}
	for _, f := range s.Flags {
		if slices.Contains([]string{"constant", "interval", "timeout"}, f) {
			words += " " + f
		}
	}
	words += opt(" size %d", s.Size)
	if v, ok := s.TimeoutS.Get(); ok {
		words += fmt.Sprintf(" timeout %.0f", v)
	}
	if v, ok := s.GcIntervalS.Get(); ok {
		words += fmt.Sprintf(" gc %.0f", v)
	}
	if s.Policy.Or("performance") == "memory" {
		words += " memory"
	}
	th[fmt.Sprintf("set %s %s %s", s.Family, s.Table, s.Name)] = words
}

func elementWords(e *registry.NftElement) string {
	words := plainText(e.KeyText.Or("?"))
	if e.CatchAll.Or(false) {
		words = "*"
	}
	if v := e.Verdict; v != nil {
		words += " : " + v.Code + v.Chain.Or("")
	} else if text, ok := e.DataText.Get(); ok {
		words += " : " + plainText(text)
	} else if object, ok := e.Object.Get(); ok {
		words += " : " + object
	}
	if v, ok := e.TimeoutS.Get(); ok {
		words += fmt.Sprintf(" timeout %.0f", v)
	}
	if c, ok := e.Comment.Get(); ok {
		words += " comment " + c
	}
	for i := range e.Expressions {
		if c := e.Expressions[i].Counter; c != nil {
			words += fmt.Sprintf(" counter %d %d", c.Packets, c.Bytes)
		}
	}
	return words
}

var hexNumber = regexp.MustCompile(`0x[0-9a-f]{8}`)

// plainText is a text as nft's JSON has it: numbers decimal, no quotes.
func plainText(s string) string {
	s = strings.ReplaceAll(s, `"`, "")
	return hexNumber.ReplaceAllStringFunc(s, func(h string) string {
		v, _ := strconv.ParseUint(h, 0, 32)
		return strconv.FormatUint(v, 10)
	})
}

func objectWords(o *registry.NftObject) string {
	words := fmt.Sprint(o.Handle)
	switch {
	case o.Counter != nil:
		words += fmt.Sprintf(" %d %d", o.Counter.Packets, o.Counter.Bytes)
	case o.Quota != nil:
		words += fmt.Sprintf(" %d %d %v", o.Quota.Bytes, o.Quota.Consumed, o.Quota.Invert)
	case o.Limit != nil:
		l := o.Limit
		rate, burst := l.Rate, l.Burst
		words += fmt.Sprintf(" %d %s %d %s %v", rate, limitUnits[l.UnitS], burst, l.LimitType, l.Invert)
	case o.CtHelper != nil:
		words += fmt.Sprintf(" %s %s %s", o.CtHelper.Name, o.CtHelper.L4protocol, o.CtHelper.L3protocol.Or(""))
	case o.CtTimeout != nil:
		// The kernel tells every state's timeout, nft those that are not its defaults.
		maps.DeleteFunc(o.CtTimeout.TimeoutsS, func(state string, _ int64) bool {
			return !slices.Contains([]string{"established", "close", "unreplied", "replied"}, state)
		})
		words += fmt.Sprintf(" %s %s %v", o.CtTimeout.L4protocol, o.CtTimeout.L3protocol.Or(""), o.CtTimeout.TimeoutsS)
	case o.CtExpectation != nil:
		e := o.CtExpectation
		words += fmt.Sprintf(" %s %s %d %.0f %d", e.L4protocol, e.L3protocol.Or(""), e.Port, e.TimeoutS*1000, e.Size)
	case o.Synproxy != nil:
		words += fmt.Sprintf(" %d %d %v", o.Synproxy.Mss, o.Synproxy.WindowScale, slices.Sorted(slices.Values(o.Synproxy.Flags)))
	}
	return words
}

// Filters give exactly what the whole list has of that family and table.
func TestFirewallFilters(t *testing.T) {
	ns, n := filteringHost(t)
	r := randomRuleset{rng: rand.New(rand.NewPCG(1, 0))}
	loadRuleset(t, ns, r.write(100))
	all, _ := firewallOf(t, n, "{}")
	for params, fits := range map[string]func(family, table string) bool{
		`{"family":"ip"}`:                      func(f, _ string) bool { return f == "ip" },
		`{"family":"inet","table":"mixed"}`:    func(f, table string) bool { return f == "inet" && table == "mixed" },
		`{"table":"br"}`:                       func(_, table string) bool { return table == "br" },
		`{"table":"none"}`:                     func(_, _ string) bool { return false },
		`{"family":"netdev","table":"mixed"}`:  func(_, _ string) bool { return false },
		`{"family":"ip6","table":"v6"}`:        func(f, _ string) bool { return f == "ip6" },
		`{"family":"arp","text":true}`:         func(f, _ string) bool { return f == "arp" },
		`{"family":"bridge","limit":10000000}`: func(f, _ string) bool { return f == "bridge" },
	} {
		var want, got []string
		for i := range all {
			if family, table := placeOf(t, &all[i]); fits(family, table) {
				want = append(want, withoutText(&all[i]))
			}
		}
		some, _ := firewallOf(t, n, params)
		for i := range some {
			got = append(got, withoutText(&some[i]))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: chosen from all (-), filtered (+):\n%s", params, diff)
		}
	}
	if some, _ := firewallOf(t, n, `{"limit":7}`); len(some) != 7 {
		t.Errorf("limit 7 gives %d", len(some))
	}
	if some, _ := firewallOf(t, n, `{"tag":"web"}`); len(some) != 0 {
		t.Errorf("a tag gives %d items, with no rule registered", len(some))
	}
}

var passing = regexp.MustCompile(`"expires_s":[0-9.]+,?`)

func withoutText(it *registry.NftItem) string {
	if it.Rule != nil {
		it.Rule.Text = registry.Opt[string]{}
	}
	return passing.ReplaceAllString(string(it.AppendJSON(nil)), "")
}

func placeOf(t *testing.T, it *registry.NftItem) (family, table string) {
	t.Helper()
	var members map[string]struct{ Family, Table, Name string }
	if err := json.Unmarshal(it.AppendJSON(nil), &members); err != nil || len(members) != 1 {
		t.Fatalf("%s: %v; want one member", it.AppendJSON(nil), err)
	}
	for kind := range maps.Keys(members) {
		if m := members[kind]; kind == "table" {
			return m.Family, m.Name
		}
		return members[kind].Family, members[kind].Table
	}
	return "", ""
}

// The order of the list: tables, chains, flowtables, objects, sets with their elements, rules.
func TestFirewallOrder(t *testing.T) {
	ns, n := filteringHost(t)
	r := randomRuleset{rng: rand.New(rand.NewPCG(2, 0))}
	loadRuleset(t, ns, r.write(50))
	items, _ := firewallOf(t, n, "{}")
	last, set := 0, ""
	for i := range items {
		it := &items[i]
		rank := []bool{it.Table != nil, it.Chain != nil, it.Flowtable != nil, it.Object != nil, it.Set != nil || it.Elements != nil, it.Rule != nil}
		at := slices.Index(rank, true)
		if at < last {
			t.Fatalf("item %d: out of order: %s", i, it.AppendJSON(nil))
		}
		last = at
		if it.Set != nil {
			set = it.Set.Table + " " + it.Set.Name
		}
		if e := it.Elements; e != nil && (set != e.Table+" "+e.Set || len(e.Elements) == 0 || len(e.Elements) > 64) {
			t.Errorf("%d elements of %s %s behind set %s", len(e.Elements), e.Table, e.Set, set)
		}
	}
}

func TestFirewallManaged(t *testing.T) {
	ns, n := filteringHost(t)
	loadRuleset(t, ns, "table inet my_os_server {\nchain c {\ncounter\n}\nset s {\ntype mark\n}\n}\ntable ip my_os_server {\nchain c {\n}\n}\n")
	items, _ := firewallOf(t, n, "{}")
	for i := range items {
		text := string(items[i].AppendJSON(nil))
		if want := strings.Contains(text, `"family":"inet"`); strings.Contains(text, `"managed":true`) != want {
			t.Errorf("managed is to be %v: %s", want, text)
		}
	}
	if len(items) != 6 {
		t.Errorf("%d items of 6", len(items))
	}
}

func TestFirewallWithoutPrivilege(t *testing.T) {
	_, n := filteringHost(t)
	var err error
	testhost.WithoutCapabilities(t, func() { _, err = resultOf(t, n, "net.firewall", `{"text":true}`) })
	var refused *nlsock.OpError
	if !errors.As(err, &refused) || refused.Capability() != "CAP_NET_ADMIN" || !errors.Is(err, syscall.EPERM) {
		t.Errorf("%v", err)
	}
}

func TestToolErrors(t *testing.T) {
	var missing *registry.ToolMissingError
	if err := toolError(&hostexec.ToolMissing{Tool: "nft", Package: "nftables"}); !errors.As(err, &missing) || missing.Tool != "nft" || missing.Package.Or("") != "nftables" {
		t.Errorf("%#v", err)
	}
	var failed *registry.OSError
	if err := toolError(&hostexec.Exit{Tool: "nft", Code: 1, Stderr: "no"}); !errors.As(err, &failed) || failed.Op != "run nft" || failed.Text.Or("") != "no" {
		t.Errorf("%#v", err)
	}
	if err := toolError(context.Canceled); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
