package netops

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/internal/state"
)

// inputPolicySpec is the policy drop for what comes in. It is an entry of the own table like others: its
// elements are the ports that stay open, and a table with such elements has an input chain that drops. Where none is
// registered what comes in is accepted.
type inputPolicySpec struct {
	Kept      []string `json:"kept"`                // ports that stay open, as portRun.String has them, in order
	Confirmed bool     `json:"confirmed,omitempty"` // somebody has said that the node can still be reached
	Former    []string `json:"former,omitempty"`    // Kept of what a roll-back returns to; absent: the policy accept

	// Until is when the kernel by itself returns to what was before, unless it was confirmed: a little after the daemon
	// does so, for the case that there is no daemon then.
	Until time.Time `json:"until,omitzero"`
}

// sure are the ports by which the node is known to be reached: those of the list that was confirmed last. None: everything was
// accepted.
func (s inputPolicySpec) sure() []string {
	if s.Confirmed {
		return s.Kept
	}
	return s.Former
}

// onTrial tells whether the kernel is to know of a trial.
func (s inputPolicySpec) onTrial() bool { return !s.Confirmed && !s.Until.IsZero() }

// policyKey is the one key of its registry, and its id.
const policyKey = "input"

const resourceInputPolicy = "input_policy"

func (s inputPolicySpec) resource() string { return resourceInputPolicy }
func (s inputPolicySpec) id() string       { return policyKey }
func (s inputPolicySpec) lasts() bool      { return true }
func (s inputPolicySpec) label() string    { return "kept open by the configuration" }
func (s inputPolicySpec) line() string     { return "drop but for " + strings.Join(s.Kept, ", ") }
func (s inputPolicySpec) locks() []state.Object {
	return []state.Object{state.Exclusive("input_policy")}
}

func (s inputPolicySpec) needs() needs { return needs{table: true, sets: keptSets} }

// keptSets are the sets of the ports that stay open.
var keptSets = []string{
	shape{use: useKept}.name(), shape{use: useKept, ports: portBlocks}.name(), shape{use: useKept, ports: portSingles}.name(),
}

func (s inputPolicySpec) elements() (list []element) {
	list = openPorts(s.Kept, useKept)
	if !s.onTrial() {
		return list
	}
	for _, family := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		list = append(list, element{shape: shapeTrial, key: []byte{family}, until: s.Until})
	}
	return append(list, openPorts(s.Former, useFormer)...)
}

// shapeTrial is the set of the families that are on trial. What comes in is dropped as long as it has them.
var shapeTrial = shape{use: useTrial, ports: portAny}

// trialOver goes on where the trial is over.
func trialOver() []nft.Step {
	return []nft.Step{nft.LoadMeta(unix.NFT_META_NFPROTO, reg0), nft.Miss(shapeTrial.name(), reg0)}
}

func openPorts(texts []string, as use) (list []element) {
	for _, text := range texts {
		run, err := parsePorts(text)
		if err != nil {
			continue // of a version that keeps more open
		}
		list = append(list, run.elements(as)...)
	}
	return list
}

func (s inputPolicySpec) plan(h *held) (p plan) {
	want, have := map[elementRef]bool{}, map[elementRef]bool{}
	for _, el := range openPorts(s.Kept, useKept) {
		want[el.ref()] = true
	}
	for ref := range h.elements {
		if slices.Contains(keptSets, ref.set) {
			have[ref] = true
		}
	}
	trial := false
	if h.table != nil {
		_, trial = h.table.sets[shapeTrial.name()]
	}
	same := maps.Equal(want, have)
	if same && trial == s.onTrial() {
		return p
	}
	p.missing = len(have) == 0
	switch {
	case p.missing:
	case !same:
		p.differ("kept_open", fmt.Sprint(len(want), " elements"), fmt.Sprint(len(have), " others"), nil)
	default:
		p.differ("on_trial", strconv.FormatBool(s.onTrial()), strconv.FormatBool(trial), nil)
	}
	p.steps = []step{setInputPolicy{s}}
	return p
}

func (s inputPolicySpec) removal(h *held) (p plan) {
	for ref := range h.elements {
		if slices.Contains(keptSets, ref.set) {
			return plan{steps: []step{dropInputPolicy{}}}
		}
	}
	return p
}

// setInputPolicy has what comes in dropped but for some ports, in one transaction with all else that the table has: at no
// moment is there less of it, or more let in than before and after.
type setInputPolicy struct{ Policy inputPolicySpec }

func (s setInputPolicy) String() string { return "set the input policy to " + s.Policy.line() }

func (s setInputPolicy) take(ctx context.Context, t *taker) error {
	return t.net.changeTable(ctx, func(c *nft.Conn) error { return t.net.rebuild(ctx, c, s.Policy, "") })
}

// dropInputPolicy has what comes in accepted.
type dropInputPolicy struct{}

func (dropInputPolicy) String() string { return "set the input policy to accept" }

func (dropInputPolicy) take(ctx context.Context, t *taker) error {
	return t.net.changeTable(ctx, func(c *nft.Conn) error { return t.net.rebuild(ctx, c, nil, policyKey) })
}

// portRun is some ports of a protocol.
type portRun struct {
	protocol    string
	first, last int
}

// String is "tcp/443" or "udp/5000-5010".
func (r portRun) String() string { return r.protocol + "/" + portsText(r.first, r.last) }

// parsePorts is the inverse of String.
func parsePorts(text string) (r portRun, err error) {
	protocol, ports, found := strings.Cut(text, "/")
	first, last, ranged := strings.Cut(ports, "-")
	if !ranged {
		last = first
	}
	a, errA := strconv.ParseUint(first, 10, 16)
	b, errB := strconv.ParseUint(last, 10, 16)
	if !found || errA != nil || errB != nil || a == 0 || b < a || !slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) {
		return r, fmt.Errorf("ports %q: must be as in tcp/443 or udp/5000-5010", text)
	}
	return portRun{protocol, int(a), int(b)}, nil
}

// has tells whether some of the ports of a protocol from first to last are among these.
func (r portRun) has(protocol string, first, last int) bool {
	return r.protocol == protocol && r.first <= last && first <= r.last
}

// joinPorts puts ports in order, each once.
func joinPorts(list []portRun) (out []portRun) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b portRun) int {
		if a.protocol != b.protocol {
			return strings.Compare(a.protocol, b.protocol)
		}
		return a.first - b.first
	})
	for _, r := range list {
		if n := len(out) - 1; n >= 0 && out[n].protocol == r.protocol && r.first <= out[n].last+1 {
			out[n].last = max(out[n].last, r.last)
			continue
		}
		out = append(out, r)
	}
	return out
}

func (r portRun) elements(as use) (list []element) {
	proto := []byte{protocolNumbers[r.protocol]}
	add := func(s shape, port int) {
		list = append(list, element{shape: s, key: joinKey(s.fields(), proto, portBytes(port))})
	}
	if r.first == r.last {
		add(shape{use: as}, r.first)
		return list
	}
	for _, b := range blocksOf(r.first, r.last) {
		s := shape{use: as, ports: portBlocks}
		if b.bits == 0 {
			s.ports = portSingles
		}
		add(s, b.middle())
	}
	return list
}

// Types of ICMP without which a node cannot be reached for long, from the first to the last (RFC 4890, section 4.4;
// RFC 1122, section 3.2.2): errors, of which path MTU discovery lives, echo requests, the discovery of
// neighbours and routers, and what tells switches of multicast listeners.
var (
	icmpOpen   = [][2]byte{{3, 3}, {8, 8}, {11, 12}}
	icmpv6Open = [][2]byte{{1, 4}, {128, 128}, {130, 136}, {143, 143}}
)

// Ports of those that ask for addresses (RFC 2131, RFC 8415).
const (
	portDHCPClient   = 68
	portDHCPv6Client = 546
)

// alwaysOpen are the rules in front of an input chain that drops.
func alwaysOpen() []ruleWant {
	rules := []ruleWant{
		knownFlows(),
		{"loopback", []nft.Step{nft.LoadMeta(unix.NFT_META_IIFNAME, reg0), nft.Equal(reg0, ifnameBytes("lo")), nft.Accept()}},
	}
	for _, of := range []struct {
		name   string
		family uint8
		number uint8
		types  [][2]byte
	}{{"icmp", unix.NFPROTO_IPV4, unix.IPPROTO_ICMP, icmpOpen}, {"icmpv6", unix.NFPROTO_IPV6, unix.IPPROTO_ICMPV6, icmpv6Open}} {
		for _, t := range of.types {
			steps := append(protocolIs(of.family, of.number), nft.LoadPayload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1, reg0))
			if t[0] == t[1] {
				steps = append(steps, nft.Equal(reg0, t[:1]))
			} else {
				steps = append(steps, nft.Compare(unix.NFT_CMP_GTE, reg0, t[:1]), nft.Compare(unix.NFT_CMP_LTE, reg0, t[1:]))
			}
			rules = append(rules, ruleWant{fmt.Sprint(of.name, " ", t[0]), append(steps, nft.Accept())})
		}
	}
	for _, of := range []struct {
		name   string
		family uint8
		port   int
	}{{"dhcp", unix.NFPROTO_IPV4, portDHCPClient}, {"dhcpv6", unix.NFPROTO_IPV6, portDHCPv6Client}} {
		steps := append(protocolIs(of.family, unix.IPPROTO_UDP), nft.LoadPayload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, reg0), nft.Equal(reg0, portBytes(of.port)))
		rules = append(rules, ruleWant{of.name + " client", append(steps, nft.Accept())})
	}
	return rules
}

func protocolIs(family, number uint8) []nft.Step {
	return append(familyIs(family), nft.LoadMeta(unix.NFT_META_L4PROTO, reg0), nft.Equal(reg0, []byte{number}))
}

// knownFlows lets through what belongs to a flow that was let through.
func knownFlows() ruleWant {
	return ruleWant{"known", append(anyBit(nft.LoadCt(unix.NFT_CT_STATE, reg0), ctStateKnown), nft.Accept())}
}
